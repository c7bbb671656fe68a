/* Writes to and reads from a pipe by one process: system calls that move data. */
#include "bench.h"
#include <unistd.h>

int main(int argc, char **argv)
{
    static uint8_t out[4096], in[4096];
    uint64_t sum = 0, seed = 41;
    int ends[2];
    if (pipe(ends))
        return perror("pipe"), 1;
    for (uint64_t n = 100 * work_size(argc, argv); n; n--) {
        size_t length = 1 + next_random(&seed) % sizeof out;
        out[0] = (uint8_t)n;
        out[length - 1] ^= (uint8_t)length;
        if (write(ends[1], out, length) != (ssize_t)length
            || read(ends[0], in, sizeof in) != (ssize_t)length)
            return perror("pipe"), 1;
        sum = mix(sum, in[0] + in[length - 1] + length);
    }
    return report("pipe", sum);
}
