/* Code made at run time: overwritten by stores, by read() and by stat(). */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __arm__
#define LOAD(i) (0xe3a00000 | (i)) /* mov r0, #i */
#define RETURN 0xe12fff1e          /* bx lr */
#else
#define LOAD(i) (0x00000513 | (i) << 20) /* li a0, i */
#define RETURN 0x00008067                /* ret */
#endif

static void flush(unsigned *p) { __builtin___clear_cache((char *)p, (char *)p + 8); }

int main(void)
{
    unsigned *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int (*function)(void) = (void *)p, ends[2];
    pipe(ends);
    for (int i = 1; i < 4; i++) {
        p[0] = LOAD(i);
        p[1] = RETURN;
        flush(p);
        printf("%d\n", function());
    }
    unsigned code[2] = {LOAD(55), RETURN};
    write(ends[1], code, 8);
    printf("read %d\n", (int)read(ends[0], p, 8));
    flush(p);
    printf("%d\n", function());
    printf("stat %d\n", stat("/", (struct stat *)(p + 128)));
    mprotect(p, 8192, PROT_READ | PROT_EXEC);
    printf("%d\n", function());
    return 0;
}
