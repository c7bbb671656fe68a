/* Radix-2 fast Fourier transform, forward and back, in double precision. */
#include "bench.h"
#include <math.h>

enum { BITS = 10, SIZE = 1 << BITS };
struct complex { double re, im; };
static struct complex data[SIZE], roots[BITS];

/* roots[k] = exp(i pi / 2^k), by half-angle formulas: the same bits with every libm. */
static void make_roots(void)
{
    roots[0] = (struct complex){-1, 0};
    roots[1] = (struct complex){0, 1};
    for (int k = 2; k < BITS; k++) {
        double re = sqrt((1 + roots[k - 1].re) / 2);
        roots[k] = (struct complex){re, roots[k - 1].im / (2 * re)};
    }
}

static struct complex times(struct complex a, struct complex b)
{
    return (struct complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static void transform(int sign)
{
    for (unsigned i = 1, j = 0; i < SIZE; i++) {
        unsigned bit = SIZE >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            struct complex t = data[i];
            data[i] = data[j];
            data[j] = t;
        }
    }
    for (int level = 0; level < BITS; level++) {
        int half = 1 << level;
        struct complex step = {roots[level].re, sign * roots[level].im}, turn = {1, 0};
        for (int j = 0; j < half; j++, turn = times(turn, step))
            for (int i = j; i < SIZE; i += 2 * half) {
                struct complex a = data[i], b = times(turn, data[i + half]);
                data[i] = (struct complex){a.re + b.re, a.im + b.im};
                data[i + half] = (struct complex){a.re - b.re, a.im - b.im};
            }
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 5;
    make_roots();
    for (int i = 0; i < SIZE; i++)
        data[i].re = (double)(int64_t)(next_random(&seed) >> 44) / (1 << 19) - 1;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        transform(1);
        sum = mix_double(sum, data[n % SIZE].re);
        transform(-1);
        for (int i = 0; i < SIZE; i++)
            data[i] = (struct complex){data[i].re / SIZE, data[i].im / SIZE};
    }
    return report("fft", mix_double(sum, data[1].im));
}
