/* Vectors of bytes: pictures blended by a mask, brightened, and compared. */
#include "bench.h"
#include "lanes.h"

enum { PIXELS = 1 << 14 };
static uint8_t front[PIXELS], back[PIXELS], mask[PIXELS], out[PIXELS];

static void blend(void)
{
    for (int i = 0; i < PIXELS; i += 8) {
        uint8x8_t m = vld1_u8(mask + i);
        uint16x8_t wide = vmull_u8(vld1_u8(front + i), m);
        wide = vmlal_u8(wide, vld1_u8(back + i), vmvn_u8(m));
        vst1_u8(out + i, vrshrn_n_u16(wide, 8));
    }
}

static void brighten(const uint8_t *by)
{
    uint8x16_t amount = vld1q_u8(by);
    for (int i = 0; i < PIXELS; i += 16)
        vst1q_u8(out + i, vqaddq_u8(vld1q_u8(out + i), amount));
}

static uint64_t farthest(uint64_t sum)
{
    uint8_t lanes[16] = {0};
    uint8x16_t most = vld1q_u8(lanes), all = most;
    for (int i = 0; i < PIXELS; i += 16) {
        uint8x16_t pixels = vld1q_u8(out + i);
        most = vmaxq_u8(most, vabdq_u8(pixels, vld1q_u8(front + i)));
        all = veorq_u8(all, pixels);
    }
    vst1q_u8(lanes, veorq_u8(most, all));
    for (int i = 0; i < 16; i++)
        sum = mix(sum, lanes[i]);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 5;
    for (int i = 0; i < PIXELS; i++) {
        front[i] = (uint8_t)(next_random(&seed) >> 56);
        back[i] = (uint8_t)(next_random(&seed) >> 56);
        mask[i] = (uint8_t)(next_random(&seed) >> 56);
    }
    for (uint64_t n = work_size(argc, argv); n; n--) {
        mask[n % PIXELS] = (uint8_t)n;
        blend();
        brighten(mask + n % 1024);
        sum = farthest(sum);
    }
    return report("blend", sum);
}
