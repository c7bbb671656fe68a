/* Vectors of 16-bit integers: a filter of 16 taps, with 32-bit sums. */
#include "bench.h"
#include "lanes.h"

enum { SAMPLES = 4096, TAPS = 16 };
static int16_t input[SAMPLES + TAPS], taps[TAPS];

static int32_t filter(const int16_t *at)
{
    int32x4_t low = vdupq_n_s32(0), high = low;
    for (int i = 0; i < TAPS; i += 8) {
        int16x8_t a = vld1q_s16(at + i), b = vld1q_s16(taps + i);
        low = vmlal_s16(low, vget_low_s16(a), vget_low_s16(b));
        high = vmlal_s16(high, vget_high_s16(a), vget_high_s16(b));
    }
    low = vaddq_s32(low, high);
    return vgetq_lane_s32(low, 0) + vgetq_lane_s32(low, 1) + vgetq_lane_s32(low, 2)
        + vgetq_lane_s32(low, 3);
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 3;
    for (int i = 0; i < SAMPLES + TAPS; i++)
        input[i] = (int16_t)((int64_t)next_random(&seed) >> 50);
    for (int i = 0; i < TAPS; i++)
        taps[i] = (int16_t)(i < TAPS / 2 ? 900 * i : 900 * (TAPS - i));
    for (uint64_t n = work_size(argc, argv); n; n--) {
        input[n % SAMPLES] ^= 1;
        uint32_t total = 0;
        for (int i = 0; i < SAMPLES; i++)
            total += (uint32_t)filter(input + i) >> 3;
        sum = mix(sum, total);
    }
    return report("convolve", sum);
}
