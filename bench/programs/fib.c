/* Doubly recursive Fibonacci numbers and Ackermann's function: calls and returns. */
#include "bench.h"

/* Not inlined into itself: this program is about calls. */
__attribute__((noinline, optimize("no-optimize-sibling-calls")))
static uint64_t fibonacci(uint64_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline, optimize("no-optimize-sibling-calls")))
static uint64_t ackermann(uint64_t m, uint64_t n)
{
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        sum = mix(sum, fibonacci(19 + n % 3));
        sum = mix(sum, ackermann(2, 30 + n % 8));
    }
    return report("fib", sum);
}
