/* The NEON intrinsics that programs use; where there is no NEON, lane by lane. */
#ifndef LANES_H
#define LANES_H

#include <stdint.h>
#include <string.h>

#ifdef __ARM_NEON
#include <arm_neon.h>
#else
typedef uint8_t uint8x8_t __attribute__((vector_size(8)));
typedef uint8_t uint8x16_t __attribute__((vector_size(16)));
typedef uint16_t uint16x8_t __attribute__((vector_size(16)));
typedef int16_t int16x4_t __attribute__((vector_size(8)));
typedef int16_t int16x8_t __attribute__((vector_size(16)));
typedef int32_t int32x4_t __attribute__((vector_size(16)));
typedef float float32x4_t __attribute__((vector_size(16)));

#define LOAD(name, vector, lane) \
    static inline vector name(const lane *p) { vector v; memcpy(&v, p, sizeof v); return v; }
#define STORE(name, vector, lane) \
    static inline void name(lane *p, vector v) { memcpy(p, &v, sizeof v); }
LOAD(vld1_u8, uint8x8_t, uint8_t)
LOAD(vld1q_u8, uint8x16_t, uint8_t)
LOAD(vld1_s16, int16x4_t, int16_t)
LOAD(vld1q_s16, int16x8_t, int16_t)
LOAD(vld1q_f32, float32x4_t, float)
STORE(vst1_u8, uint8x8_t, uint8_t)
STORE(vst1q_u8, uint8x16_t, uint8_t)
STORE(vst1q_f32, float32x4_t, float)

#define LANES(name, vector, other, count, expression) \
    static inline vector name(other a, other b) \
    { vector r; for (int i = 0; i < count; i++) r[i] = expression; return r; }
LANES(vqaddq_u8, uint8x16_t, uint8x16_t, 16, a[i] + b[i] > 255 ? 255 : a[i] + b[i])
LANES(vabdq_u8, uint8x16_t, uint8x16_t, 16, a[i] > b[i] ? a[i] - b[i] : b[i] - a[i])
LANES(vmaxq_u8, uint8x16_t, uint8x16_t, 16, a[i] > b[i] ? a[i] : b[i])
LANES(veorq_u8, uint8x16_t, uint8x16_t, 16, a[i] ^ b[i])
LANES(vmull_u8, uint16x8_t, uint8x8_t, 8, a[i] * b[i])
LANES(vmulq_f32, float32x4_t, float32x4_t, 4, a[i] * b[i])
LANES(vaddq_f32, float32x4_t, float32x4_t, 4, a[i] + b[i])
LANES(vsubq_f32, float32x4_t, float32x4_t, 4, a[i] - b[i])
LANES(vaddq_s32, int32x4_t, int32x4_t, 4, (int32_t)((uint32_t)a[i] + (uint32_t)b[i]))

static inline uint16x8_t vmlal_u8(uint16x8_t sum, uint8x8_t a, uint8x8_t b)
{
    return sum + vmull_u8(a, b);
}

static inline int32x4_t vmlal_s16(int32x4_t sum, int16x4_t a, int16x4_t b)
{
    for (int i = 0; i < 4; i++)
        sum[i] = (int32_t)((uint32_t)sum[i] + (uint32_t)(a[i] * b[i]));
    return sum;
}

static inline uint8x8_t vmvn_u8(uint8x8_t a)
{
    return ~a;
}

#define vrshrn_n_u16(a, n) __extension__({ \
    uint16x8_t wide_ = (a); uint8x8_t narrow_; \
    for (int i_ = 0; i_ < 8; i_++) narrow_[i_] = (uint8_t)((wide_[i_] + (1 << (n - 1))) >> n); \
    narrow_; })
#define vdupq_n_s32(x) ((int32x4_t){x, x, x, x})
#define vdupq_n_f32(x) ((float32x4_t){x, x, x, x})
#define vget_low_s16(v) ((int16x4_t){v[0], v[1], v[2], v[3]})
#define vget_high_s16(v) ((int16x4_t){v[4], v[5], v[6], v[7]})
#define vgetq_lane_s32(v, n) (v[n])
#endif

#endif
