/* SHA-256 (FIPS 180-4) of a buffer, each digest seeding the next round: rotates and adds. */
#include "bench.h"

static uint32_t round_constants[64];

/* A number of 16-bit digits, the lowest first, multiplied. */
static void times(uint16_t number[8], uint64_t by)
{
    uint64_t carry = 0;
    for (int i = 0; i < 8; i++) {
        carry += number[i] * by;
        number[i] = (uint16_t)carry;
        carry >>= 16;
    }
}

/* The constants are the first 32 bits of the fractions of the cube roots of the first 64
 * primes (section 4.2.2), found here by integer cube root. */
static void make_constants(void)
{
    int count = 0;
    for (uint32_t p = 2; count < 64; p++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= p; d++)
            prime &= p % d != 0;
        if (!prime)
            continue;
        uint64_t root = 0;
        for (int bit = 34; bit >= 0; bit--) {
            uint64_t r = root | UINT64_C(1) << bit;
            uint16_t cube[8] = {1};
            for (int i = 0; i < 3; i++)
                times(cube, r);
            if (((uint32_t)cube[7] << 16 | cube[6]) < p)
                root = r;
        }
        round_constants[count++] = (uint32_t)root;
    }
}

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8
             | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3)
             + (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t1 = s[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25))
                    + ((e & s[5]) ^ (~e & s[6])) + round_constants[i] + w[i];
        uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22))
                    + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6]; s[6] = s[5]; s[5] = e; s[4] = s[3] + t1;
        s[3] = s[2]; s[2] = s[1]; s[1] = a; s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

int main(int argc, char **argv)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static uint8_t buffer[16384];
    uint64_t seed = 1, sum = 0;
    make_constants();
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (uint8_t)next_random(&seed);
    for (uint64_t n = work_size(argc, argv); n; n--) {
        uint32_t state[8];
        memcpy(state, initial, sizeof state);
        for (size_t i = 0; i < sizeof buffer; i += 64)
            compress(state, buffer + i);
        memcpy(buffer, state, sizeof state);
        sum = mix(sum, (uint64_t)state[0] << 32 | state[7]);
    }
    return report("sha256", sum);
}
