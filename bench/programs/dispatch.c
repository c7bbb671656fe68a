/* A switch of many cases in a loop (a jump table) with unpredictable conditional branches. */
#include "bench.h"

static uint64_t step(uint64_t x, unsigned which)
{
    switch (which) {
    case 0: return x + 1;
    case 1: return x * 5;
    case 2: return x ^ x >> 7;
    case 3: return x - (x << 3);
    case 4: return x & 1 ? x + 77 : x >> 1;
    case 5: return ~x;
    case 6: return x << 9 | x >> 55;
    case 7: return x > 1000 ? x / 3 : x + 1000;
    case 8: return x + (x >> 32);
    case 9: return x & 4 ? x ^ 0xff00 : x * 3;
    case 10: return x | 1 << 12;
    case 11: return (int64_t)x < 0 ? 0 - x : x + 9;
    case 12: return x ^ 0x5555;
    case 13: return x % 1000003;
    case 14: return x * x;
    default: return x + which;
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 1, seed = 37;
    for (uint64_t n = 10000 * work_size(argc, argv); n; n--) {
        uint64_t r = next_random(&seed);
        for (; r & 7; r >>= 4)
            sum = step(sum, (unsigned)(r >> 2) % 20);
    }
    return report("dispatch", sum);
}
