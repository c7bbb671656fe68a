/* A loop of known length: 20 guest instructions a round, 10,000 rounds for each unit of size. */
#include "bench.h"

static uint64_t rounds(uint64_t *memory, uint64_t first, uint64_t second, uint64_t rounds)
{
#ifdef __riscv
    /* Registers as compilers choose them in a leaf function. */
    register uint64_t a __asm__("a0") = first, b __asm__("a1") = second;
    register uint64_t c __asm__("a2"), d __asm__("a3"), e __asm__("a4");
    register uint64_t count __asm__("a5") = rounds;
    __asm__ volatile(".balign 16\n"
                     "1: add %2, %0, %1\n"
                     "xor %3, %0, %1\n"
                     "slli %4, %2, 7\n"
                     "srli %3, %3, 3\n"
                     "ld %1, 0(%6)\n"
                     "add %0, %4, %3\n"
                     "xor %1, %1, %0\n"
                     "andi %2, %0, 63\n"
                     "sd %1, 8(%6)\n"
                     "or %3, %2, %1\n"
                     "sub %0, %0, %3\n"
                     "beqz %0, 2f\n"
                     "addi %0, %0, 13\n"
                     "2: lw %4, 8(%6)\n"
                     "addw %4, %4, %2\n"
                     "xor %0, %0, %4\n"
                     "sltu %2, %0, %1\n"
                     "add %1, %1, %2\n"
                     "addi %5, %5, -1\n"
                     "bnez %5, 1b\n"
                     : "+&r"(a), "+&r"(b), "=&r"(c), "=&r"(d), "=&r"(e), "+&r"(count)
                     : "r"(memory)
                     : "memory");
#else
    uint64_t a = first, b = second;
    for (uint64_t count = rounds; count; count--) {
        uint64_t c = a + b, d = (a ^ b) >> 3, e = c << 7;
        a = e + d;
        b = memory[0] ^ a;
        c = a & 63;
        memory[1] = b;
        a -= c | b;
        if (a)
            a += 13;
        e = (uint64_t)(int64_t)(int32_t)((uint32_t)memory[1] + (uint32_t)c);
        a ^= e;
        b += a < b;
    }
#endif
    return a ^ b;
}

int main(int argc, char **argv)
{
    uint64_t memory[2] = {0x9E3779B97F4A7C15, 0};
    uint64_t size = work_size(argc, argv), sum = 0;
    for (uint64_t n = 0; n < size; n++)
        sum = rounds(memory, sum + n, ~n, 10000);
    return report("instructions", sum);
}
