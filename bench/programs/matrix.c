/* Integer matrix products (32-bit wrapping, and 64-bit modulo a prime): multiply, divide. */
#include "bench.h"

enum { SIZE = 64 };
static uint32_t a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

static void multiply(void)
{
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            uint32_t total = 0;
            for (int k = 0; k < SIZE; k++)
                total += a[i][k] * b[k][j];
            c[i][j] = total;
        }
}

static void multiply_modulo(uint64_t prime)
{
    for (int i = 0; i < SIZE; i += 4)
        for (int j = 0; j < SIZE; j += 4) {
            uint64_t total = 0;
            for (int k = 0; k < SIZE; k++)
                total = (total + (uint64_t)a[i][k] * b[k][j]) % prime;
            c[i][j] ^= (uint32_t)total;
        }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 7;
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (uint32_t)next_random(&seed);
            b[i][j] = (uint32_t)next_random(&seed);
        }
    for (uint64_t n = work_size(argc, argv); n; n--) {
        multiply();
        multiply_modulo(4294967291u);
        memcpy(a, b, sizeof a);
        memcpy(b, c, sizeof b);
        sum = mix(sum, c[n % SIZE][(n * 5) % SIZE]);
    }
    return report("matrix", sum);
}
