/* A few hot loops with calls, and the sum that they must give. */
#include <stdio.h>
#include <stdlib.h>

#ifndef STEP
#define STEP 3
#endif

static unsigned long mix(unsigned long value, unsigned long count)
{
    for (unsigned long i = 0; i < count; i++)
        value = (value ^ value << 7 ^ value >> 9) + STEP;
    return value;
}

__attribute__((noinline)) static unsigned long sorted(unsigned *words, unsigned count)
{
    unsigned long sum = 0;
    for (unsigned i = 1; i < count; i++)
        for (unsigned j = i; j && words[j - 1] > words[j]; j--) {
            unsigned kept = words[j];
            words[j] = words[j - 1];
            words[j - 1] = kept;
        }
    for (unsigned i = 0; i < count; i++)
        sum = sum * 31 + words[i];
    return sum;
}

int main(int argc, char **argv)
{
    static unsigned words[400];
    unsigned rounds = argc > 1 ? atoi(argv[1]) : 1;
    unsigned long sum = 1;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 400; i++)
            words[i] = (i * 7919 + round) % 1009;
        sum = mix(sum, 20000) + sorted(words, 400);
    }
    printf("%lx\n", sum);
    return 0;
}
