/* Shift registers and bit tricks: population count, bit reversal, leading zeros, Gray code. */
#include "bench.h"

static uint64_t reverse(uint64_t x)
{
    x = (x & 0x5555555555555555ULL) << 1 | (x >> 1 & 0x5555555555555555ULL);
    x = (x & 0x3333333333333333ULL) << 2 | (x >> 2 & 0x3333333333333333ULL);
    x = (x & 0x0f0f0f0f0f0f0f0fULL) << 4 | (x >> 4 & 0x0f0f0f0f0f0f0f0fULL);
    x = (x & 0x00ff00ff00ff00ffULL) << 8 | (x >> 8 & 0x00ff00ff00ff00ffULL);
    x = (x & 0x0000ffff0000ffffULL) << 16 | (x >> 16 & 0x0000ffff0000ffffULL);
    return x << 32 | x >> 32;
}

static unsigned population(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
    return (unsigned)(x * 0x0101010101010101ULL >> 56);
}

static unsigned leading_zeros(uint64_t x)
{
    unsigned count = 0;
    for (unsigned step = 32; step; step >>= 1)
        if (!(x >> (64 - step))) {
            count += step;
            x <<= step;
        }
    return count;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, lfsr = 0xace1, gray = 0;
    for (uint64_t n = 10000 * work_size(argc, argv); n; n--) {
        /* x^64 + x^63 + x^61 + x^60 + 1, Galois form */
        lfsr = lfsr >> 1 ^ (-(lfsr & 1) & 0xd800000000000000ULL);
        gray ^= n ^ n >> 1;
        sum += population(lfsr ^ gray) * leading_zeros(lfsr | 1);
        sum ^= reverse(lfsr + sum);
    }
    return report("lfsr", sum);
}
