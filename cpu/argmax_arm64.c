// Argmax for 64-bit ARM; the method is that of argmax_amd64.c.
#include "argmax.h"

#if defined(__aarch64__)
#include <arm_neon.h>

// FMAX gives NaN where either is NaN, so the maximum of a block with a NaN is NaN.
static inline float block_f32(const float *x, size_t n) {
    float32x4_t m[4];
    for (size_t j = 0; j < 4; j++) {
        m[j] = vdupq_n_f32(-INFINITY);
    }
    for (size_t i = 0; i < n; i += 16) {
        float tail[16];
        const float *p = n - i < 16 ? padded_f32(tail, 16, x + i, n - i) : x + i;
        for (size_t j = 0; j < 4; j++) {
            m[j] = vmaxq_f32(m[j], vld1q_f32(p + 4 * j));
        }
    }
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(m[0], m[1]), vmaxq_f32(m[2], m[3])));
}

cpu_result cpu_argmax_f32_neon(const float *x, size_t n) {
    float best = -INFINITY;
    size_t block = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        float m = block_f32(x + i, n - i < BLOCK ? n - i : BLOCK);
        if (m > best) {
            best = m;
            block = i;
        } else if (isnan(m)) {
            return cpu_argmax_f32_plain(x, n);
        }
    }
    return winner_f32(x, n, block, best);
}

// least takes the smallest key of the row: below -infinity lie the NaNs that have a sign.
static inline int block_f16(const uint16_t *x, size_t n, int16x8_t *least) {
    int16x8_t m[2] = {vdupq_n_s16(-HALF_INFINITY), vdupq_n_s16(-HALF_INFINITY)};
    for (size_t i = 0; i < n; i += 16) {
        uint16_t tail[16];
        const uint16_t *p = n - i < 16 ? padded_f16(tail, 16, x + i, n - i) : x + i;
        for (size_t j = 0; j < 2; j++) {
            int16x8_t v = vreinterpretq_s16_u16(vld1q_u16(p + 8 * j));
            int16x8_t magnitude = vandq_s16(v, vdupq_n_s16(0x7fff));
            int16x8_t sign = vshrq_n_s16(v, 15); // 0 or -1: the key is magnitude or its negative
            int16x8_t key = vsubq_s16(veorq_s16(magnitude, sign), sign);
            m[j] = vmaxq_s16(m[j], key);
            *least = vminq_s16(*least, key);
        }
    }
    return vmaxvq_s16(vmaxq_s16(m[0], m[1]));
}

cpu_result cpu_argmax_f16_neon(const uint16_t *x, size_t n) {
    int best = -HALF_INFINITY;
    size_t block = 0;
    int16x8_t least = vdupq_n_s16(0);
    for (size_t i = 0; i < n; i += BLOCK) {
        int m = block_f16(x + i, n - i < BLOCK ? n - i : BLOCK, &least);
        if (m > best) {
            best = m;
            block = i;
        }
    }
    return vminvq_s16(least) < -HALF_INFINITY ? cpu_argmax_f16_plain(x, n) : winner_f16(x, n, block, best);
}
#endif
