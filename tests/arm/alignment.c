/* Accesses that ask for alignment: which are faults, and what the handler is told. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>

static sigjmp_buf before;
static char buffer[64] __attribute__((aligned(64)));

static void handler(int number, siginfo_t *info, void *context)
{
    (void)context;
    printf(" signal %d code %d at %ld\n", number, info->si_code, (long)((char *)info->si_addr - buffer));
    siglongjmp(before, 1);
}

#define TRY(code, offset) do { \
    printf("%s + %d", code, offset); \
    if (!sigsetjmp(before, 1)) { \
        register char *place __asm__("r0") = buffer + (offset); \
        __asm__ volatile(code : : "r"(place) : "memory", "r1", "r2", "r3", "d0", "d1", "d2", "d3"); \
        puts(" done"); \
    } } while (0)

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, 0);
    TRY("vld1.64 {d0}, [r0:64]", 4);
    TRY("vld1.64 {d0}, [r0:64]", 8);
    TRY("vld1.64 {d0-d1}, [r0:128]!", 8);
    TRY("vld1.64 {d0-d3}, [r0:256]", 8);
    TRY("vst1.8 {d0-d3}, [r0:128]", 16);
    TRY("vld1.8 {d0-d1}, [r0]", 3);
    TRY("vld1.32 {d0[0]}, [r0:32]", 2);
    TRY("vld1.16 {d0[]}, [r0:16]", 1);
    TRY("vld2.32 {d0-d3}, [r0:256]", 8);
    TRY("vst3.8 {d0-d2}, [r0:64]", 4);
    TRY("vst4.16 {d0[1], d1[1], d2[1], d3[1]}, [r0:64]", 4);
    TRY("vld4.32 {d0[], d1[], d2[], d3[]}, [r0:128]", 8);
    TRY("ldrex r2, [r0, #4]", 2);
    TRY("ldrexh r2, [r0]", 1);
    TRY("ldrexd r2, r3, [r0]", 4);
    TRY("lda r2, [r0]", 1);
    TRY("stlh r2, [r0]", 1);
    TRY("ldr r2, [r0]", 1);
    TRY("vldr s0, [r0, #8]", 2);
    TRY("vldr d0, [r0, #-4]", 9);
    TRY("vldr d0, [r0]", 4);
    TRY("vstr s0, [r0]", 1);
    TRY("vstr d0, [r0, #4]", 3);
    TRY("vldmia r0, {s0-s3}", 2);
    TRY("vldmia r0!, {d0-d3}", 4);
    TRY("vldmdb r0!, {d0-d1}", 34);
    TRY("vstmia r0!, {d0-d1}", 1);
    TRY("vstmdb r0!, {s0-s2}", 35);
    TRY("strex r1, r2, [r0]", 2);
    TRY("strexd r1, r2, r3, [r0]", 4);
    return 0;
}
