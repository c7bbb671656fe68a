/* clock_gettime of all clocks, some that there are not, and to addresses that cannot be
 * written; the second time natively. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int answer(int clock, void *to)
{
    errno = 0;
    return syscall(SYS_clock_gettime, clock, to) ? errno : 0;
}

int main(void)
{
    void *read_only = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int round = 0; round < 3; round++)
        for (int clock = -3; clock < 14; clock++) {
            struct timespec now = {-1, -1};
            int plain = answer(clock, &now);
            int sane = plain ? now.tv_sec == -1 : now.tv_nsec >= 0 && now.tv_nsec < 1000000000;
            printf("%d: %d %d, null %d, low %d, read-only %d\n", clock, plain, sane,
                   answer(clock, 0), answer(clock, (void *)8), answer(clock, read_only));
        }
    return 0;
}
