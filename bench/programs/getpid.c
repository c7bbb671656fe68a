/* The shortest system call, over and over (made by hand: libc might remember the answer). */
#include "bench.h"
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long first = syscall(SYS_getpid);
    uint64_t same = 0;
    for (uint64_t n = 1000 * work_size(argc, argv); n; n--)
        same += syscall(SYS_getpid) == first;
    return report("getpid", same);
}
