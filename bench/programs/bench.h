/* What every benchmark program shares: its size, its random numbers, its checksum.
 * Each program is run as `program N`, does work in proportion to N and prints one line that
 * depends on everything it worked out, so that a wrong translation shows. */
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The amount of work: argv[1], or 1. */
static inline uint64_t work_size(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    return n ? n : 1;
}

/* xorshift64*, the same sequence on every machine. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

/* One step of a 64-bit FNV-1a-like hash over words. */
static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x100000001b3ULL;
    return sum ^ (sum >> 29);
}

static inline uint64_t mix_double(uint64_t sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return mix(sum, bits);
}

static inline int report(const char *name, uint64_t sum)
{
    printf("%s %016" PRIx64 "\n", name, sum);
    return 0;
}

#endif
