// Top-k for 64-bit ARM: the two passes of the sieve.
#include "topk.h"

#if defined(__aarch64__)
#include <arm_neon.h>

// Four vectors at a time become one, whose lanes belong to as many groups. FMAX keeps a NaN, so a group with one ends as NaN.
static bool maxima(const float *x, size_t n, float maxima[GROUPS]) {
    size_t i = 0;
    no_maxima(maxima);
    for (; i + 16 <= n; i += 16) {
        float *group = maxima + i / 4 % GROUPS;
        float32x4_t a = vmaxq_f32(vld1q_f32(x + i), vld1q_f32(x + i + 4));
        float32x4_t b = vmaxq_f32(vld1q_f32(x + i + 8), vld1q_f32(x + i + 12));
        vst1q_f32(group, vmaxq_f32(vmaxq_f32(a, b), vld1q_f32(group)));
    }
    return deal_rest(x, i, n, maxima);
}

static size_t above(const float *x, size_t i, size_t n, float floor) {
    const float32x4_t f = vdupq_n_f32(floor);
    for (; i % 4 != 0 && i < n; i++) {
        if (x[i] > floor) {
            return i;
        }
    }
    for (; i + 16 <= n; i += 16) {
        float32x4_t a = vmaxq_f32(vld1q_f32(x + i), vld1q_f32(x + i + 4));
        float32x4_t b = vmaxq_f32(vld1q_f32(x + i + 8), vld1q_f32(x + i + 12));
        if (vmaxvq_u32(vcgtq_f32(vmaxq_f32(a, b), f))) {
            break;
        }
    }
    return above_one_by_one(x, i, n, floor);
}

cpu_result cpu_topk_neon(const float *x, size_t n, size_t k, int32_t *index, float *value) {
    return cpu_topk_sieved(x, n, k, index, value, (struct cpu_sieve){maxima, above});
}
#endif
