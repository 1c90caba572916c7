// Softmax for 64-bit ARM.
#include "softmax.h"

#if defined(__aarch64__)
// Sixteen values in place, and into the parts of the sum.
static inline void step(float *x, float32x4_t top, float32x4_t scale, float64x2_t part[8]) {
    for (size_t j = 0; j < 4; j++) {
        float32x4_t e = exp_neon(vmulq_f32(vsubq_f32(vld1q_f32(x + 4 * j), top), scale));
        vst1q_f32(x + 4 * j, e);
        part[2 * j] = vaddq_f64(part[2 * j], vcvt_f64_f32(vget_low_f32(e)));
        part[2 * j + 1] = vaddq_f64(part[2 * j + 1], vcvt_high_f64_f32(e));
    }
}

void cpu_softmax_neon(float *x, size_t n, float top, float scale) {
    const float32x4_t t = vdupq_n_f32(top), s = vdupq_n_f32(scale);
    float64x2_t part[8];
    for (size_t j = 0; j < 8; j++) {
        part[j] = vdupq_n_f64(0);
    }
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        step(x + i, t, s, part);
    }
    if (i < n) {
        float tail[SUM_PARTS];
        pad(tail, x + i, n - i);
        step(tail, t, s, part);
        memcpy(x + i, tail, (n - i) * sizeof *x);
    }
    double parts[SUM_PARTS];
    for (size_t j = 0; j < 8; j++) {
        vst1q_f64(parts + 2 * j, part[j]);
    }
    float sum = sum_of(parts);
    for (i = 0; i + 4 <= n; i += 4) {
        vst1q_f32(x + i, vdivq_f32(vld1q_f32(x + i), vdupq_n_f32(sum)));
    }
    for (; i < n; i++) {
        x[i] /= sum;
    }
}
#endif
