// Dynamic rounding modes: all instructions that round, on operands whose results are ties.
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static const double doubles[] = {
    1.0, 3.0, 0x1p-53, 0x3p-53, 0x1.8p-53, -0x1p-53, 0x1.0000000000001p0, 0x1.fffffffffffffp0,
    0x1.8p0, 0x0.8p-1074 * 0 + 0x1p-1074, 0x3p-1074, 0x1p-1022, 0.5, 1.5, 2.5, -2.5, -0.5,
    0x1.000002p0, 0x1.000001p0, 0x1.000003p0, 0x1p-150, 0x3p-150, 0x1.fffffep127, 0x1.ffffffp127,
    0x1.0p1023, 0x1.fffffffffffffp1023, 4503599627370497.5, 2147483647.5, -2147483648.5, 1e300,
};
static const float floats[] = {
    1.0f, 3.0f, 0x1p-24f, 0x3p-24f, 0x1.8p-24f, -0x1p-24f, 0x1.000002p0f, 0x1.fffffep0f, 1.5f,
    0x1p-149f, 0x3p-149f, 0x1p-126f, 0.5f, 2.5f, -2.5f, -0.5f, 0x1.fffffep127f, 8388609.0f,
};
static const uint64_t integers[] = {
    0, 1, 0x20000000000001, 0x20000000000003, 0x40000000000002, 0x1000001, 0x1000003, 0x2000002,
    0x8000000000000400, 0x8000000000000c00, 0x7ffffffffffffe00, 0xffffffffffffffff,
};
#define COUNT(a) (sizeof a / sizeof *a)

static uint64_t hash;
static void note(uint64_t value) { hash = (hash ^ value) * 0x100000001b3; }
static void note_double(double d) { uint64_t u; memcpy(&u, &d, 8); note(u); }
static void note_float(float f) { uint32_t u; memcpy(&u, &f, 4); note(u); }

#define BINARY(op, t, a, b) ({ t r_; asm volatile(op " %0, %1, %2" : "=f"(r_) : "f"(a), "f"(b)); r_; })
#define FUSED(op, t, a, b, c) ({ t r_; asm volatile(op " %0, %1, %2, %3" \
    : "=f"(r_) : "f"(a), "f"(b), "f"(c)); r_; })
#define UNARY(op, t, a) ({ t r_; asm volatile(op " %0, %1, dyn" : "=f"(r_) : "f"(a)); r_; })
#define TO_INT(op, a) ({ uint64_t r_; asm volatile(op " %0, %1, dyn" : "=r"(r_) : "f"(a)); r_; })
#define FROM_INT(op, t, a) ({ t r_; asm volatile(op " %0, %1, dyn" : "=f"(r_) : "r"(a)); r_; })

static void operations(void)
{
    for (int i = 0; i < COUNT(doubles); i++) {
        double a = doubles[i];
        note_double(UNARY("fsqrt.d", double, a));
        note_float(UNARY("fcvt.s.d", float, a));
        note(TO_INT("fcvt.w.d", a)); note(TO_INT("fcvt.wu.d", a));
        note(TO_INT("fcvt.l.d", a)); note(TO_INT("fcvt.lu.d", a));
        for (int j = 0; j < COUNT(doubles); j++) {
            double b = doubles[j], c = doubles[(i + j) % COUNT(doubles)];
            note_double(BINARY("fadd.d", double, a, b)); note_double(BINARY("fsub.d", double, a, b));
            note_double(BINARY("fmul.d", double, a, b)); note_double(BINARY("fdiv.d", double, a, b));
            note_double(FUSED("fmadd.d", double, a, b, c));
            note_double(FUSED("fmsub.d", double, a, b, c));
            note_double(FUSED("fnmadd.d", double, a, b, c));
            note_double(FUSED("fnmsub.d", double, a, b, c));
        }
    }
    for (int i = 0; i < COUNT(floats); i++) {
        float a = floats[i];
        note_float(UNARY("fsqrt.s", float, a));
        note(TO_INT("fcvt.w.s", a)); note(TO_INT("fcvt.wu.s", a));
        note(TO_INT("fcvt.l.s", a)); note(TO_INT("fcvt.lu.s", a));
        for (int j = 0; j < COUNT(floats); j++) {
            float b = floats[j], c = floats[(i + j) % COUNT(floats)];
            note_float(BINARY("fadd.s", float, a, b)); note_float(BINARY("fsub.s", float, a, b));
            note_float(BINARY("fmul.s", float, a, b)); note_float(BINARY("fdiv.s", float, a, b));
            note_float(FUSED("fmadd.s", float, a, b, c));
            note_float(FUSED("fnmsub.s", float, a, b, c));
        }
    }
    for (int i = 0; i < COUNT(integers); i++) {
        uint64_t a = integers[i];
        note_double(FROM_INT("fcvt.d.l", double, a)); note_double(FROM_INT("fcvt.d.lu", double, a));
        note_float(FROM_INT("fcvt.s.l", float, a)); note_float(FROM_INT("fcvt.s.lu", float, a));
        note_float(FROM_INT("fcvt.s.w", float, a)); note_float(FROM_INT("fcvt.s.wu", float, a));
    }
}

static unsigned set_mode(unsigned mode)
{
    unsigned old;
    asm volatile("fsrm %0, %1" : "=r"(old) : "r"(mode) : "memory");
    return old;
}

static unsigned flags(void)
{
    unsigned old;
    asm volatile("fsflags %0, zero" : "=r"(old) : : "memory");
    return old;
}

static volatile int illegal, seen_mode;

static void on_illegal(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    illegal++;
    u->uc_mcontext.__fpregs.__d.__fcsr = 4 << 5;  // the instruction, again, in RMM
}

static void on_alarm(int number, siginfo_t *info, void *context)
{
    seen_mode = set_mode(1);  // gone at the return
}

static void *thread(void *result)
{
    *(double *)result = BINARY("fadd.d", double, 1.0, 0x1p-53);
    return 0;
}

int main(void)
{
    for (int mode = 0; mode < 5; mode++) {
        hash = 0xcbf29ce484222325;
        set_mode(mode);
        operations();
        unsigned raised = flags();
        unsigned old = set_mode(0);
        printf("mode %u: %016lx, flags %x\n", old, hash, raised);
    }
    // Often to and fro in a loop that gets hot, with a function that both call.
    double sum = 0;
    for (int i = 0; i < 200000; i++) {
        set_mode(i & 1 ? 4 : 0);
        sum += BINARY("fadd.d", double, 1.0, 0x1p-53) - 1.0;
    }
    set_mode(0);
    printf("sum %a\n", sum);
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, 0);
    for (int mode = 5; mode < 8; mode++) {
        set_mode(mode);
        double copy = BINARY("fsgnj.d", double, doubles[1], doubles[0]);  // rounds nothing
        double down = ({ double r; asm volatile("fadd.d %0, %1, %2, rdn" : "=f"(r) : "f"(1.0), "f"(-0x1p-53)); r; });
        double away = BINARY("fadd.d", double, 1.0, 0x1p-53);
        unsigned old = set_mode(0);
        printf("reserved %d: %g %a %a, %d illegal, then %u\n", mode, copy, down, away, illegal, old);
    }
    action.sa_sigaction = on_alarm;
    sigaction(SIGUSR1, &action, 0);
    set_mode(4);
    kill(getpid(), SIGUSR1);
    double after = BINARY("fadd.d", double, 1.0, 0x1p-53), other = 0;
    pthread_t t;
    pthread_create(&t, 0, thread, &other);
    pthread_join(t, 0);
    unsigned old = set_mode(0);
    printf("handler saw %d, then %a; thread %a; mode %u\n", seen_mode, after, other, old);
    return 0;
}
