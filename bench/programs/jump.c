/* setjmp and longjmp out of nested calls: returns that no call matches. */
#include "bench.h"
#include <setjmp.h>

static jmp_buf escape;

__attribute__((noinline)) static uint64_t descend(uint64_t depth, uint64_t sum)
{
    if (depth == 0 && sum) /* not zero here; but the compiler cannot know */
        longjmp(escape, 1 + (int)(sum & 0xff));
    if (depth == 0)
        return sum;
    return descend(depth - 1, mix(sum, depth)) + 1;
}

int main(int argc, char **argv)
{
    /* volatile: changed between setjmp and longjmp, and read after it */
    volatile uint64_t sum = 0, left = 1000 * work_size(argc, argv);
    while (left) {
        int code = setjmp(escape);
        if (code == 0)
            return (int)descend(left % 12, left | 1 << 20);
        sum = mix(sum, (uint64_t)code);
        left--;
    }
    return report("jump", sum);
}
