/* Single precision: a biquad cascade and a 32-tap filter over noise, clipped to 16 bits. */
#include "bench.h"
#include <math.h>

enum { SAMPLES = 4096, STAGES = 4, TAPS = 32 };
struct biquad { float b0, b1, b2, a1, a2, z1, z2; };
static float input[SAMPLES + TAPS], taps[TAPS];

static float run_stage(struct biquad *s, float x)
{
    float y = fmaf(s->b0, x, s->z1);
    s->z1 = s->b1 * x - s->a1 * y + s->z2;
    s->z2 = s->b2 * x - s->a2 * y;
    return y;
}

static int16_t clip(float x)
{
    float scaled = x * 20000.0f;
    return scaled > 32767.0f ? 32767 : scaled < -32768.0f ? -32768 : (int16_t)scaled;
}

int main(int argc, char **argv)
{
    struct biquad stages[STAGES];
    uint64_t sum = 0, seed = 11;
    for (int i = 0; i < STAGES; i++)
        stages[i] = (struct biquad){0.2f + 0.02f * i, 0.4f, 0.2f, -0.37f + 0.01f * i, 0.195f, 0, 0};
    for (int i = 0; i < TAPS; i++)
        taps[i] = (float)(i < TAPS / 2 ? i : TAPS - i) / (TAPS * TAPS / 4);
    for (uint64_t n = work_size(argc, argv); n; n--) {
        for (int i = 0; i < SAMPLES + TAPS; i++)
            input[i] = (float)(int32_t)(next_random(&seed) >> 32) / 2147483648.0f;
        for (int i = 0; i < SAMPLES; i++) {
            float total = 0;
            for (int k = 0; k < TAPS; k++)
                total += taps[k] * input[i + k];
            for (int k = 0; k < STAGES; k++)
                total = run_stage(&stages[k], total);
            sum = mix(sum, (uint16_t)clip(total));
        }
    }
    return report("filter", sum);
}
