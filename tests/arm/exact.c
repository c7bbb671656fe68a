/* What handlers of faults see in the middle of a loop of vectors; without a C library, so that
 * there is little to translate.  For each fault it writes a struct seen. */
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

enum { EXIT = 1, WRITE = 4, SIGRETURN = 173, SIGACTION = 174, MMAP2 = 192, PAGE = 4096 };
enum { BUS = 7, SEGV = 11, SIGINFO = 4, RESTORER = 0x04000000, NONE = 0, READ_WRITE = 3, PRIVATE = 0x22, PROTECT = 125 };

struct seen { int32_t number, code; uint32_t address, r[4], flags; uint64_t d[6]; };
struct action { void (*handler)(int, siginfo_t *, void *); uint32_t flags; void (*restorer)(void); uint64_t mask; };
static char *page;
extern char resumed[];

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r7 __asm__("r7") = number, r0 __asm__("r0") = a, r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c, r3 __asm__("r3") = d, r4 __asm__("r4") = e, r5 __asm__("r5") = f;
    __asm__ volatile("svc #0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5) : "memory");
    return r0;
}

static void __attribute__((naked)) restore(void)
{
    __asm__("mov r7, %0\n svc #0" : : "i"(SIGRETURN));
}

static void handler(int number, siginfo_t *info, void *context)
{
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    struct seen seen = {number, info->si_code, (char *)info->si_addr - page,
                        {m->arm_r0 - (uint32_t)page, m->arm_r1, m->arm_r2, m->arm_r3}, m->arm_cpsr >> 28, {0}};
    const uint64_t *d = (uint64_t *)((char *)((ucontext_t *)context)->uc_regspace + 8);
    for (int i = 0; i < 6; i++)
        seen.d[i] = d[i];
    call(WRITE, 1, (long)&seen, sizeof seen, 0, 0, 0);
    m->arm_pc = (uint32_t)resumed & ~1u;
}

static uint32_t __attribute__((noinline)) run(char *from, unsigned count)
{
    register char *at __asm__("r0") = from;
    register unsigned left __asm__("r1") = count;
    register uint32_t sum __asm__("r2") = 0;
    __asm__ volatile(
        "vmov.i32 q0, #1\n vmov.i32 q2, #3\n mov r3, #0\n"
        "1: vldr d3, [r0]\n vld1.64 {d2}, [r0:64]!\n"
        "vadd.i32 d0, d0, d2\n vmla.i32 q2, q0, q1\n vext.8 q0, q0, q2, #5\n"
        "vmov.32 r3, d0[1]\n add r2, r2, r3, ror #3\n"
        "subs r1, r1, #1\n bne 1b\n"
        "resumed:"
        : "+r"(at), "+r"(left), "+r"(sum) : : "r3", "d0", "d1", "d2", "d3", "d4", "d5", "cc", "memory");
    return sum;
}

void _start(void)
{
    struct action action = {handler, SIGINFO | RESTORER, restore, 0};
    page = (char *)call(MMAP2, 0, 2 * PAGE, READ_WRITE, PRIVATE, -1, 0);
    call(PROTECT, (long)page + PAGE, PAGE, NONE, 0, 0, 0);
    for (int i = 0; i < PAGE; i++)
        page[i] = (char)(i * i / 7);
    uint32_t sum = 0;
    for (int i = 0; i < 50; i++)
        sum += run(page, PAGE / 8);
    call(SIGACTION, SEGV, (long)&action, 0, 8, 0, 0);
    call(SIGACTION, BUS, (long)&action, 0, 8, 0, 0);
    run(page, 600);
    for (int i = 0; i < 50; i++)
        sum -= run(page, PAGE / 8);
    run(page + 2048, 257);
    run(page + 4, 10);
    run(page + 2, 10);
    call(EXIT, sum != 0, 0, 0, 0, 0, 0);
}
