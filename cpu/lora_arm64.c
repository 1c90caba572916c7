// The kernels of low-rank additions for NEON: a lot of 16 values is four registers, row by row.
#if defined(__aarch64__)
#include "lora_kernels.h"

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

// Four values, the i-th quarter of a lot.
INLINE float32x4_t four(const void *from, size_t i, const bool narrow) {
    if (narrow) {
        uint32_t bytes;
        memcpy(&bytes, (const char *)from + 4 * i, sizeof bytes);
        int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    }
    return vld1q_f32((const float *)from + 4 * i);
}

INLINE float total(const float32x4_t v[4]) {
    float32x4_t sum = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
    float32x2_t two = vadd_f32(vget_low_f32(sum), vget_high_f32(sum));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

INLINE void down_row(const void *a, size_t inputs, const float *x, float *t, const bool narrow) {
    float32x4_t sum[CPU_RANKS][4];
    for (size_t j = 0; j < CPU_RANKS; j++) {
        sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = vdupq_n_f32(0);
    }
    for (size_t k = 0; k < inputs; k += 16) {
        float rest[16] = {0};
        const float *from = x + k;
        if (inputs - k < 16) {
            memcpy(rest, from, (inputs - k) * sizeof *rest);
            from = rest;
        }
        for (size_t i = 0; i < 4; i++) {
            float32x4_t v = vld1q_f32(from + 4 * i);
            for (size_t j = 0; j < CPU_RANKS; j++) {
                sum[j][i] = vfmaq_f32(sum[j][i], four(a, 4 * (k / 16 * CPU_RANKS + j) + i, narrow), v);
            }
        }
    }
    for (size_t j = 0; j < CPU_RANKS; j++) {
        t[j] = total(sum[j]);
    }
}

void lora_down_neon(const void *a, bool narrow, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride) {
    for (; rows > 0; rows--, x += ld, t += stride) {
        if (narrow) {
            down_row(a, inputs, x, t, true);
        } else {
            down_row(a, inputs, x, t, false);
        }
    }
}

INLINE void up_row(const void *b, size_t rank, const float *t, const float *from, float *y, const bool narrow) {
    float32x4_t sum[2][4];
    for (size_t i = 0; i < 4; i++) {
        sum[0][i] = from ? vld1q_f32(from + 4 * i) : vdupq_n_f32(0);
        sum[1][i] = vdupq_n_f32(0);
    }
    for (size_t j = 0; j < rank; j += 2) {
        for (size_t i = 0; i < 4; i++) {
            sum[0][i] = vfmaq_n_f32(sum[0][i], four(b, 4 * j + i, narrow), t[j]);
        }
        for (size_t i = 0; i < 4 && j + 1 < rank; i++) {
            sum[1][i] = vfmaq_n_f32(sum[1][i], four(b, 4 * (j + 1) + i, narrow), t[j + 1]);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        vst1q_f32(y + 4 * i, vaddq_f32(sum[0][i], sum[1][i]));
    }
}

void lora_up_neon(const void *b, bool narrow, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y) {
    for (; rows > 0; rows--, t += ld, y += 16, from = addend_from(from, 1)) {
        if (narrow) {
            up_row(b, rank, t, from.at, y, true);
        } else {
            up_row(b, rank, t, from.at, y, false);
        }
    }
}
#endif
