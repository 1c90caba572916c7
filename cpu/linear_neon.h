// The linear kernels for NEON: a tile is four quarters of four outputs, and up to ROWS rows share what is unpacked. A file that
// includes this says how many as ROWS, what it may use as TARGET, and how a unit is multiplied:
//
//   add_unit(sum, w, q, ld, rows, groups, bits): to sum[r], r < rows, the products of one unit of four outputs with row r of q,
//   ld bytes apart; w is the first 16 bytes of their codes, of which there are groups, 64 bytes apart. From codes of 8 bits 128 is
//   taken first, since products are of signed bytes here.
#ifndef SHAMMAH_CPU_LINEAR_NEON_H
#define SHAMMAH_CPU_LINEAR_NEON_H

#include "pack.h"

#include <arm_neon.h>

#define INLINE TARGET static inline __attribute__((always_inline))
#define AHEAD 4096 // bytes, of the tiles as they follow each other in memory
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

void quantise_neon(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum);
void gate_neon(int act, const float *gate, float *up, size_t n);
float largest_neon(const void *scales, bool half, size_t n);
void halve_neon(const void *scales, bool half, size_t n, float inverse, uint16_t *to);

INLINE void add_unit(int32x4_t sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits);

// Four consecutive values of a row for all outputs.
INLINE int8x16_t four(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

// The zero points of a quarter, less what add_unit takes from the codes.
INLINE int32x4_t zeros_of(const tile_parts *t, size_t b, size_t h, const int bits) {
    uint32_t bytes;
    memcpy(&bytes, t->zeros + b * CPU_TILE + 4 * h, sizeof bytes);
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));
    return vsubq_s32(vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))), vdupq_n_s32(bits == 8 ? 128 : 0));
}

// Where a unit starts, -zero * (sum of q), out of -8 * (sum of q).
INLINE int32x4_t start(int32_t sum, const int bits, const bool zeros, int32x4_t zero) {
    int32x4_t s = vdupq_n_s32(sum);
    return zeros ? vshrq_n_s32(vmulq_s32(zero, s), 3) : bits == 4 ? s : vdupq_n_s32(0);
}

INLINE void tile_of(const tile_parts *t, const cpu_activations *x, size_t row, const float *bias, float *y, size_t stride,
                    const size_t rows, const size_t groups, const int bits, const bool zeros) {
    const size_t ld = x->inputs, units = x->inputs / x->unit, depth = 32 * groups / (size_t)bits, step = t->bytes / units;
    const int8_t *q = x->q + row * ld;
    const float *scale = x->scale + row * units;
    const int32_t *sums = x->sum + row * units;
    const uint8_t *w = t->codes, *ahead = w + AHEAD;
    float32x4_t acc[4][ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[0][r] = acc[1][r] = acc[2][r] = acc[3][r] = vdupq_n_f32(0);
    }
    for (size_t b = 0; b < t->blocks; b++) {
        for (size_t u = 0; u < t->units; u++) {
            for (size_t i = 0; t->cold && i < step; i += 64) {
                __builtin_prefetch(ahead + i);
            }
            ahead += step;
            UNROLL
            for (size_t h = 0; h < 4; h++) {
                int32x4_t zero = zeros ? zeros_of(t, b, h, bits) : vdupq_n_s32(0), sum[ROWS];
                UNROLL
                for (size_t r = 0; r < rows; r++) {
                    sum[r] = start(sums[r * units], bits, zeros, zero);
                }
                add_unit(sum, w + 16 * h, q, ld, rows, groups, bits);
                float32x4_t ws = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(t->scales + b * CPU_TILE + 4 * h)));
                UNROLL
                for (size_t r = 0; r < rows; r++) {
                    float32x4_t v = vmulq_n_f32(vcvtq_f32_s32(sum[r]), scale[r * units]);
                    acc[h][r] = vfmaq_f32(acc[h][r], v, ws);
                }
            }
            w += 64 * groups;
            q += depth;
            scale++;
            sums++;
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t h = 0; h < 4; h++) {
            float32x4_t v = vmulq_f32(acc[h][r], vld1q_f32(t->factors + 4 * h));
            vst1q_f32(y + r * stride + 4 * h, bias ? vaddq_f32(v, vld1q_f32(bias + 4 * h)) : v);
        }
    }
}

INLINE void any_rows(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, const float *bias, float *y,
                     size_t stride, const size_t groups, const int bits, const bool zeros) {
    for (; ROWS == 4 && rows == 4; rows -= 4) {
        tile_of(t, x, row, bias, y, stride, ROWS, groups, bits, zeros);
    }
    for (; rows >= 2; rows -= 2, row += 2, y += 2 * stride) {
        tile_of(t, x, row, bias, y, stride, 2, groups, bits, zeros);
    }
    if (rows > 0) {
        tile_of(t, x, row, bias, y, stride, 1, groups, bits, zeros);
    }
}

TARGET static void tile(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, const float *bias, float *y,
                        size_t stride) {
    if (x->unit == 16) {
        if (t->bits == 4 && t->zeros) {
            any_rows(t, x, row, rows, bias, y, stride, 2, 4, true);
        } else if (t->bits == 4) {
            any_rows(t, x, row, rows, bias, y, stride, 2, 4, false);
        } else if (t->zeros) {
            any_rows(t, x, row, rows, bias, y, stride, 4, 8, true);
        } else {
            any_rows(t, x, row, rows, bias, y, stride, 4, 8, false);
        }
    } else if (t->bits == 4 && t->zeros) {
        any_rows(t, x, row, rows, bias, y, stride, 4, 4, true);
    } else if (t->bits == 4) {
        any_rows(t, x, row, rows, bias, y, stride, 4, 4, false);
    } else if (t->zeros) {
        any_rows(t, x, row, rows, bias, y, stride, 8, 8, true);
    } else {
        any_rows(t, x, row, rows, bias, y, stride, 8, 8, false);
    }
}

#endif
