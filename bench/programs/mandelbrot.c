/* Escape times of the Mandelbrot set: a double-precision loop that ends on a comparison. */
#include "bench.h"

enum { WIDTH = 40, HEIGHT = 30, LIMIT = 200 };

static uint32_t escape(double cr, double ci)
{
    double r = 0, i = 0;
    uint32_t steps = 0;
    for (; steps < LIMIT; steps++) {
        double rr = r * r, ii = i * i;
        if (rr + ii > 4)
            break;
        i = 2 * r * i + ci;
        r = rr - ii + cr;
    }
    return steps;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                sum = mix(sum, escape(-2 + 3.0 * (x + (double)(n % 64) / 64) / WIDTH,
                                      -1 + 2.0 * y / HEIGHT));
    return report("mandelbrot", sum);
}
