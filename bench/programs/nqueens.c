/* Solutions of the n-queens problem by bit masks: recursion and bit tricks. */
#include "bench.h"

enum { SIZE = 8 };

static uint64_t place(uint32_t columns, uint32_t left, uint32_t right, uint64_t *visited)
{
    uint32_t full = (1u << SIZE) - 1;
    uint64_t solutions = 0;
    ++*visited;
    if (columns == full)
        return 1;
    for (uint32_t open = full & ~(columns | left | right); open; open &= open - 1) {
        uint32_t queen = open & -open;
        solutions += place(columns | queen, (left | queen) << 1, (right | queen) >> 1, visited);
    }
    return solutions;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        uint64_t visited = n;
        sum = mix(sum, place(0, 0, 0, &visited));
        sum = mix(sum, visited);
    }
    return report("nqueens", sum);
}
