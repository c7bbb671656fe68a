/* Faults in a hot loop: what the handler sees in its context, and what its changes do. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGES ((char *)0x20000000)
#define SIZE 4096
#define ROUNDS 60
#define STEPS 20000

extern char loop_start[];
long loop(char *at, long steps, double *sum);

/* a0: address, a1: steps, a2: where the sum goes; each step changes most registers */
asm(".globl loop\n.balign 4\n"
    "loop:\n addi sp, sp, -64\n sd s0, 0(sp)\n sd s1, 8(sp)\n sd s2, 16(sp)\n sd s3, 24(sp)\n"
    " li s0, 1\n li s1, 2\n li s2, 3\n li s3, 4\n li a3, 5\n li a4, 6\n li a5, 7\n li a6, 8\n"
    " li t0, 9\n li t1, 10\n li t2, 11\n li t3, 0\n li t4, 0\n li t5, 0\n li t6, 0\n"
    " fmv.d.x fa0, zero\n fcvt.d.l fa1, s2\n fcvt.d.l fa2, s3\n"
    ".globl loop_start\nloop_start:\n"
    "1: addi s0, s0, 3\n xor s1, s1, s0\n addw a3, a3, s1\n"
    " ld t0, 0(a0)\n add a4, a4, t0\n"
    " lw t1, 8(a0)\n sub s2, s2, t1\n"
    " sd a4, 16(a0)\n addi s3, s3, 7\n"
    " fadd.d fa0, fa0, fa1\n fsd fa0, 24(a0)\n fld fa2, 32(a0)\n"
    " sw a3, 40(a0)\n addi a0, a0, 48\n mv a6, a0\n amoadd.d t2, s0, (a6)\n"
    " addi a0, a0, -48\n addi a5, a5, 1\n addi a1, a1, -1\n bnez a1, 1b\n"
    " fsd fa0, 0(a2)\n add a0, a4, s2\n add a0, a0, a3\n add a0, a0, t2\n"
    " ld s0, 0(sp)\n ld s1, 8(sp)\n ld s2, 16(sp)\n ld s3, 24(sp)\n addi sp, sp, 64\n ret\n");

static unsigned long seen, faults;
static int mode;

static void note(unsigned long value)
{
    seen = (seen ^ value) * 0x100000001b3ul + (seen >> 29);
}

static void handler(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    unsigned long *x = uc->uc_mcontext.__gregs;
    char local;
    faults++;
    note(number);
    note(info->si_code);
    note((unsigned long)info->si_addr);
    note(x[0] - (unsigned long)loop_start);
    for (int i = 5; i < 32; i++)
        if (i != 12 && i != 17 && !(i >= 20 && i < 28)) /* those that the loop sets */
            note(x[i]);
    for (int i = 10; i < 12; i++)
        note(uc->uc_mcontext.__fpregs.__d.__f[i]);
    stack_t stack;
    sigaltstack(0, &stack);
    note(&local >= (char *)stack.ss_sp && &local < (char *)stack.ss_sp + stack.ss_size);
    note(stack.ss_flags);
    if (mode == 0) { /* let the access through */
        mprotect(PAGES, 2 * SIZE, PROT_READ | PROT_WRITE);
    } else if (mode == 1) { /* skip the instruction */
        x[0] += 4;
        x[5] += 77;
        x[14] ^= faults;
    } else { /* go somewhere else */
        x[10] = (unsigned long)PAGES;
        x[16] = (unsigned long)PAGES + 48;
        x[8] += 1;
        uc->uc_mcontext.__fpregs.__d.__f[10] ^= 1;
    }
}

int main(void)
{
    char *stack = malloc(65536);
    stack_t alternate = {.ss_sp = stack, .ss_size = 65536};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    double sum;
    mmap(PAGES, 3 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    loop(PAGES, 5000000, &sum); /* hot before there is a handler */
    sigaltstack(&alternate, 0);
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
    for (int round = 0; round < ROUNDS; round++) {
        mode = round % 3;
        unsigned long *words = (unsigned long *)PAGES;
        mprotect(PAGES, 2 * SIZE, PROT_READ | PROT_WRITE);
        for (int i = 0; i < 2 * SIZE / 8; i++)
            words[i] = i * 0x9e3779b9ul;
        note(loop(PAGES + round * 8, STEPS, &sum));
        int rights = round & 4 ? PROT_READ : PROT_NONE;
        mprotect(PAGES + SIZE, SIZE, rights);
        char *at = PAGES + SIZE - 8 * (round % 8);
        note(loop(at, mode == 1 ? 20 : STEPS, &sum));
        unsigned long bits;
        memcpy(&bits, &sum, 8);
        note(bits);
    }
    mprotect(PAGES, 2 * SIZE, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 2 * SIZE / 8; i++)
        note(((unsigned long *)PAGES)[i]);
    printf("%lu faults, %lx\n", faults, seen);
    fflush(stdout);
    signal(SIGSEGV, SIG_DFL);
    loop((char *)64, 1, &sum);
    return 0;
}
