/* Product of double matrices with explicit fused multiply-adds. */
#include "bench.h"
#include <math.h>

enum { SIZE = 48 };
static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 3;
    for (int i = 0; i < SIZE * SIZE; i++) {
        a[i / SIZE][i % SIZE] = (double)(next_random(&seed) >> 40) / (1 << 24) - 0.5;
        b[i / SIZE][i % SIZE] = (double)(next_random(&seed) >> 40) / (1 << 24) - 0.5;
    }
    for (uint64_t n = work_size(argc, argv); n; n--) {
        memset(c, 0, sizeof c);
        for (int i = 0; i < SIZE; i++)
            for (int k = 0; k < SIZE; k++) {
                double scale = a[i][k];
                for (int j = 0; j < SIZE; j++)
                    c[i][j] = fma(scale, b[k][j], c[i][j]);
            }
        for (int i = 0; i < SIZE; i++)
            sum = mix_double(sum, c[i][(i * 7) % SIZE]);
        a[n % SIZE][n * 5 % SIZE] = c[n * 3 % SIZE][n % SIZE] / 8;
    }
    return report("matmul", sum);
}
