/* Gravity among five bodies in double precision: square roots, divisions, multiply-adds. */
#include "bench.h"
#include <math.h>

enum { BODIES = 5 };
struct body { double at[3], speed[3], mass; };

/* Sun and four planets in round numbers; astronomical units, years, masses of 4 pi^2. */
static struct body bodies[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, 39.5},
    {{4.84, -1.16, -0.10}, {0.606, 2.81, -0.02}, 0.0377},
    {{8.34, 4.12, -0.40}, {-1.01, 1.82, 0.008}, 0.0113},
    {{12.9, -15.1, -0.22}, {1.08, 0.868, -0.01}, 0.0017},
    {{15.4, -25.9, 0.18}, {0.979, 0.594, -0.035}, 0.0020},
};

static void advance(double step)
{
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = a->at[k] - b->at[k];
                square += d[k] * d[k];
            }
            double force = step / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                a->speed[k] -= d[k] * b->mass * force;
                b->speed[k] += d[k] * a->mass * force;
            }
        }
    }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].at[k] += step * bodies[i].speed[k];
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = 1000 * work_size(argc, argv); n; n--)
        advance(0.001);
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            sum = mix_double(sum, bodies[i].at[k]);
    return report("nbody", sum);
}
