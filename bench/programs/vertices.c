/* Vectors of floats: points turned by matrices, four lanes in single precision. */
#include "bench.h"
#include "lanes.h"

enum { POINTS = 4096 };
static float points[POINTS][4], turned[POINTS][4];

static void turn(const float matrix[4][4])
{
    float32x4_t column[4];
    for (int i = 0; i < 4; i++)
        column[i] = vld1q_f32(matrix[i]);
    for (int i = 0; i < POINTS; i++) {
        float32x4_t sum = vmulq_f32(column[0], vdupq_n_f32(points[i][0]));
        for (int k = 1; k < 4; k++)
            sum = vaddq_f32(sum, vmulq_f32(column[k], vdupq_n_f32(points[i][k])));
        vst1q_f32(turned[i], sum);
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 9;
    float matrix[4][4] = {{0.6f, 0.8f, 0, 0}, {-0.8f, 0.6f, 0, 0}, {0, 0, 1, 0}, {1, 2, 3, 1}};
    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < 4; k++)
            points[i][k] = (float)(next_random(&seed) >> 40) / 65536.0f - 127.0f;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        matrix[3][n % 3] = (float)(n % 7);
        turn(matrix);
        float32x4_t spread = vdupq_n_f32(0);
        for (int i = 0; i < POINTS; i++)
            spread = vaddq_f32(spread, vsubq_f32(vld1q_f32(turned[i]), vld1q_f32(points[i])));
        float lanes[4];
        vst1q_f32(lanes, spread);
        for (int k = 0; k < 4; k++) {
            uint32_t bits;
            memcpy(&bits, &lanes[k], sizeof bits);
            sum = mix(sum, bits);
        }
    }
    return report("vertices", sum);
}
