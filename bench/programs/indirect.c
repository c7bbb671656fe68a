/* Calls through a table of function pointers, chosen at random: indirect branches. */
#include "bench.h"

typedef uint64_t operation(uint64_t x, uint64_t y);

static uint64_t add(uint64_t x, uint64_t y) { return x + y; }
static uint64_t subtract(uint64_t x, uint64_t y) { return x - y; }
static uint64_t exclusive(uint64_t x, uint64_t y) { return x ^ y; }
static uint64_t multiply(uint64_t x, uint64_t y) { return x * (y | 1); }
static uint64_t rotate(uint64_t x, uint64_t y) { return x << (y & 31) | x >> (64 - (y & 31)) % 64; }
static uint64_t both(uint64_t x, uint64_t y) { return (x & y) + 1; }
static uint64_t largest(uint64_t x, uint64_t y) { return x > y ? x : y; }
static uint64_t invert(uint64_t x, uint64_t y) { return ~x + (y >> 3); }

/* volatile: the compiler must not see which functions are in the table. */
static operation *volatile table[8] = {add, subtract, exclusive, multiply,
                                       rotate, both, largest, invert};

int main(int argc, char **argv)
{
    uint64_t sum = 1, seed = 31;
    for (uint64_t n = 10000 * work_size(argc, argv); n; n--) {
        uint64_t r = next_random(&seed);
        sum = table[r >> 61](sum, r);
        sum ^= table[n % 8](r, sum);
    }
    return report("indirect", sum);
}
