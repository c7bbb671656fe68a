/* Sieve of Eratosthenes over bytes: tight loops of stores with a growing stride. */
#include "bench.h"

enum { LIMIT = 1 << 18 };
static uint8_t composite[LIMIT];

static uint64_t sieve(void)
{
    uint64_t sum = 0;
    memset(composite, 0, sizeof composite);
    for (uint32_t i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        sum = mix(sum, i);
        for (uint64_t j = (uint64_t)i * i; j < LIMIT; j += i)
            composite[j] = 1;
    }
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--)
        sum = mix(sum, sieve());
    return report("sieve", sum);
}
