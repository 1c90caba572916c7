// The kernels of low-rank additions for NEON, row by row: 16 values are four registers.
#if defined(__aarch64__)
#include "lora_kernels.h"

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

// The sum of four, in halves.
INLINE float total(float32x4_t four) {
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

void lora_down_neon(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t) {
    const size_t units = x->inputs / x->unit;
    for (; rows > 0; rows--, row++, t++) {
        const int8_t *q = x->q + row * x->inputs, *from = a;
        const float *scale = x->scale + row * units;
        float32x4_t low[CPU_RANKS], high[CPU_RANKS]; // of inputs 0 to 7 and 8 to 15 of 16, by twos
        for (size_t j = 0; j < CPU_RANKS; j++) {
            low[j] = high[j] = vdupq_n_f32(0);
        }
        for (size_t u = 0; u < units; u++) {
            int32x4_t dot[CPU_RANKS][2];
            for (size_t j = 0; j < CPU_RANKS; j++) {
                dot[j][0] = dot[j][1] = vdupq_n_s32(0);
            }
            for (size_t k = 0; k < x->unit; k += 16, q += 16) {
                int8x16_t v = vld1q_s8(q);
                for (size_t j = 0; j < CPU_RANKS; j++, from += 16) {
                    int8x16_t w = vld1q_s8(from);
                    dot[j][0] = vpadalq_s16(dot[j][0], vmull_s8(vget_low_s8(w), vget_low_s8(v)));
                    dot[j][1] = vpadalq_s16(dot[j][1], vmull_s8(vget_high_s8(w), vget_high_s8(v)));
                }
            }
            for (size_t j = 0; j < CPU_RANKS; j++) {
                low[j] = vfmaq_n_f32(low[j], vcvtq_f32_s32(dot[j][0]), scale[u]);
                high[j] = vfmaq_n_f32(high[j], vcvtq_f32_s32(dot[j][1]), scale[u]);
            }
        }
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t->values[j] = total(vaddq_f32(low[j], high[j]));
        }
    }
}

// 4 outputs, of 4 ranks, on top of what is there.
INLINE float32x4_t four(const int8_t *b, const cpu_ranks *t, float32x4_t sum) {
    int16x8_t two = vmovl_s8(vld1_s8(b)), more = vmovl_s8(vld1_s8(b + 32)); // outputs by 2 ranks
    int32_t pair[2];
    memcpy(pair, t->values, sizeof pair);
    int16x8_t v = vreinterpretq_s16_s32(vdupq_n_s32(pair[0])), w = vreinterpretq_s16_s32(vdupq_n_s32(pair[1]));
    int32x4_t low = vmull_s16(vget_low_s16(two), vget_low_s16(v)), high = vmull_high_s16(two, v);
    low = vmlal_s16(low, vget_low_s16(more), vget_low_s16(w));
    high = vmlal_high_s16(high, more, w);
    return vfmaq_n_f32(sum, vcvtq_f32_s32(vpaddq_s32(low, high)), t->step);
}

void lora_up_neon(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t tile = 0; tile < tiles; tile++, b += 64 * groups, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t i = 0; i < 4; i++) {
                float32x4_t sum = from.at ? vld1q_f32(from.at + tile * from.tile_stride + r * from.row_stride + 4 * i) : vdupq_n_f32(0);
                for (size_t g = 0; g < groups; g++) {
                    sum = four(b + 64 * g + 8 * i, &t[r * groups + g], sum);
                }
                vst1q_f32(y + 16 * r + 4 * i, sum);
            }
        }
    }
}

void lora_down_wide_neon(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride) {
    for (; rows > 0; rows--, x += inputs, t += stride) {
        const float *of = a;
        float32x4_t sum[CPU_RANKS][4];
        for (size_t j = 0; j < CPU_RANKS; j++) {
            sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = vdupq_n_f32(0);
        }
        for (size_t k = 0; k < inputs; k += 16, of += 64) {
            float rest[16] = {0};
            const float *from = x + k;
            if (inputs - k < 16) {
                memcpy(rest, from, (inputs - k) * sizeof *rest);
                from = rest;
            }
            for (size_t i = 0; i < 4; i++) {
                float32x4_t v = vld1q_f32(from + 4 * i);
                for (size_t j = 0; j < CPU_RANKS; j++) {
                    sum[j][i] = vfmaq_f32(sum[j][i], vld1q_f32(of + 16 * j + 4 * i), v);
                }
            }
        }
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t->values[j] = total(vaddq_f32(vaddq_f32(sum[j][0], sum[j][2]), vaddq_f32(sum[j][1], sum[j][3])));
        }
    }
}

void lora_up_wide_neon(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t tile = 0; tile < tiles; tile++, b += 64 * groups, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t i = 0; i < 4; i++) {
                float32x4_t sum = from.at ? vld1q_f32(from.at + tile * from.tile_stride + r * from.row_stride + 4 * i) : vdupq_n_f32(0);
                for (size_t j = 0; j < CPU_RANKS * groups; j++) {
                    sum = vfmaq_n_f32(sum, vld1q_f32(b + 16 * j + 4 * i), t[r * groups + j / CPU_RANKS].values[j % CPU_RANKS]);
                }
                vst1q_f32(y + 16 * r + 4 * i, sum);
            }
        }
    }
}
#endif
