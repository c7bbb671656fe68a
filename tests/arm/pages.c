/* Calls that look at pages, of ranges with a hole: what the kernel says of its own programs. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#define TRY(call) do { \
    errno = 0; \
    int result = call; \
    printf("%s %d %d\n", #call, result, errno); \
    } while (0)

int main(void)
{
    unsigned char found[64] = {0};
    char *p = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    munmap(p + 8192, 4096);
    TRY(msync(p, 4096, MS_SYNC));
    TRY(msync(p + 1, 4096, MS_SYNC));
    TRY(msync(p, 16384, MS_SYNC));
    TRY(msync(p, 4096, 77));
    TRY(msync(p, 0, MS_SYNC));
    TRY(mlock(p + 5, 10));
    TRY(mlock(p, 16384));
    TRY(mlock(p, 0));
    TRY(munlock(p, 4096));
    TRY(munlock(p, 16384));
    TRY(mlock2(p, 4096, 6));
    TRY(mincore(p, 4096, found));
    TRY(mincore(p, 16384, found));
    TRY(mincore(p + 1, 4096, found));
    TRY(mincore(p, 4096, (void *)8));
    printf("%d\n", found[0] & 1);
    return 0;
}
