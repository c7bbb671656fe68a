/* memcpy, memmove and memset of many sizes and alignments, as libc does them. */
#include "bench.h"

enum { SIZE = 1 << 16 };
static uint8_t from[SIZE + 64], to[SIZE + 64];

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {8, 24, 64, 200, 1024, 4096, SIZE};
    uint64_t sum = 0, seed = 17;
    for (int i = 0; i < SIZE + 64; i++)
        from[i] = (uint8_t)next_random(&seed);
    for (uint64_t n = work_size(argc, argv); n; n--)
        for (int k = 0; k < 7; k++)
            for (uint32_t done = 0; done < SIZE; done += sizes[k]) {
                uint64_t r = next_random(&seed);
                uint8_t *target = to + (r & 31), *origin = from + (r >> 5 & 31);
                uint32_t at = (uint32_t)(r >> 10) % (SIZE - sizes[k] + 1);
                memcpy(target + at, origin, sizes[k]);
                memset(from + at, (int)(r >> 40), sizes[k] / 8);
                memmove(to + 3, to, sizes[k] / 2);
                sum = mix(sum, target[at] + to[sizes[k] / 2]);
            }
    return report("memcopy", sum);
}
