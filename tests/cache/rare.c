/* Threads, and a fork, that execute instructions which are rare in programs: carry-less
   products, float in all forms, bit counts.  With a second argument it waits before. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BINARY(name, insn)                                                                         \
    static uint64_t name(uint64_t a, uint64_t b) {                                                 \
        uint64_t r;                                                                                \
        asm(insn " %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));                                        \
        return r;                                                                                  \
    }
BINARY(product, "clmul")
BINARY(high, "clmulh")
BINARY(reversed, "clmulr")
BINARY(invert, "binv")
BINARY(extract, "bext")
BINARY(rotate, "ror")
BINARY(rotate32, "rolw")
BINARY(least, "minu")
BINARY(remainder32, "remuw")

static uint64_t unusual(uint64_t x) {
    uint64_t r = product(x, x >> 3) + high(x, ~x) + reversed(x, 77) + invert(x, 5) + extract(x, 9);
    r = rotate(r, x) ^ rotate32(x, r) ^ least(r, x) ^ remainder32(r, x | 1);
    double d = (double)(int64_t)x, e = 0;
    float f = (float)(x & 0xffff), g = 0;
    uint64_t bits = 0;
    asm("fnmsub.d %0, %1, %1, %1, rdn" : "=f"(e) : "f"(d));
    asm("fnmadd.s %0, %1, %1, %1, rup" : "=f"(g) : "f"(f));
    asm("fsqrt.s %0, %1, rtz" : "=f"(f) : "f"(f));
    asm("fmax.d %0, %1, %2" : "=f"(d) : "f"(d), "f"(e));
    asm("fclass.d %0, %1" : "=r"(bits) : "f"(e));
    r += bits;
    asm("fcvt.lu.s %0, %1, rmm" : "=r"(bits) : "f"(f));
    r += bits;
    asm("fmv.x.d %0, %1" : "=r"(bits) : "f"(d));
    r ^= bits;
    asm("fmv.x.w %0, %1" : "=r"(bits) : "f"(g));
    return r ^ bits;
}

static void *run(void *argument) {
    uint64_t x = (uintptr_t)argument * 0x9e3779b97f4a7c15;
    for (int i = 0; i < 20000; i++)
        x = x * 6364136223846793005 + unusual(x);
    return (void *)x;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    pthread_t threads[16];
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 2) {
        char line[8];
        puts("ready");
        fgets(line, sizeof line, stdin);
    }
    pid_t child = fork();
    if (child == 0)
        return (uintptr_t)run((void *)99) & 63;
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < count; i++) {
        void *result;
        pthread_join(threads[i], &result);
        printf("%lx\n", (unsigned long)result);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%d\n", WEXITSTATUS(status));
    return 0;
}
