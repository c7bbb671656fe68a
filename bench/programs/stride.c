/* Reads and read-modify-writes of 4 MiB with strides from one word to a page and more. */
#include "bench.h"

enum { WORDS = 1 << 19 };
static uint64_t words[WORDS];

int main(int argc, char **argv)
{
    static const uint32_t strides[] = {1, 3, 8, 64, 513, 1024};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = i * 0x9e3779b97f4a7c15ULL;
    for (uint64_t n = work_size(argc, argv); n; n--)
        for (int k = 0; k < 6; k++) {
            uint64_t total = 0;
            uint32_t at = (uint32_t)n;
            for (uint32_t i = 0; i < WORDS / 4; i++, at += strides[k])
                total += words[at % WORDS];
            for (uint32_t i = 0; i < WORDS / 8; i++, at += strides[k])
                words[at % WORDS] ^= total;
            sum = mix(sum, total);
        }
    return report("stride", sum);
}
