/* clock_gettime in a loop; what is checked is that time never runs backwards. */
#include "bench.h"
#include <time.h>

int main(int argc, char **argv)
{
    struct timespec now, before = {0, 0};
    uint64_t backwards = 0;
    for (uint64_t n = 1000 * work_size(argc, argv); n; n--) {
        if (clock_gettime(CLOCK_MONOTONIC, &now))
            return perror("clock_gettime"), 1;
        backwards += now.tv_sec < before.tv_sec
                     || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec);
        before = now;
    }
    return report("clock", backwards);
}
