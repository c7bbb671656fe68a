/* Largest singular value of the matrix 1 / ((i + j)(i + j + 1) / 2 + i + 1) by power steps. */
#include "bench.h"
#include <math.h>

enum { SIZE = 60 };
static double u[SIZE], v[SIZE], t[SIZE];

static double element(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }

static void multiply(const double *in, double *out, int transposed)
{
    for (int i = 0; i < SIZE; i++) {
        double total = 0;
        for (int j = 0; j < SIZE; j++)
            total += (transposed ? element(j, i) : element(i, j)) * in[j];
        out[i] = total;
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        double uv = 0, vv = 0;
        for (int i = 0; i < SIZE; i++)
            u[i] = 1 + (double)(n * (uint64_t)i % 7);
        for (int round = 0; round < 4; round++) {
            multiply(u, t, 0);
            multiply(t, v, 1);
            multiply(v, t, 0);
            multiply(t, u, 1);
        }
        for (int i = 0; i < SIZE; i++) {
            uv += u[i] * v[i];
            vv += v[i] * v[i];
        }
        sum = mix_double(sum, sqrt(uv / vv));
    }
    return report("spectral", sum);
}
