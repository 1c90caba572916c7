// The linear kernels for NEON: a tile is two halves of twice four outputs, one after the other so that all sums stay in
// registers, and up to ROWS rows share what is unpacked. A file that includes this says how many as ROWS, what it may use as
// TARGET, and how a unit is multiplied:
//
//   add_unit(sum, w, q, ld, rows, groups, bits): to sum[r][h], r < rows, h < 2, the products of one unit of outputs 4h to 4h+3
//   with row r of q, ld bytes apart; w is the first 32 bytes of their codes, of which there are groups, 64 bytes apart. From codes
//   of 8 bits 128 is taken first, since products are of signed bytes here.
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

INLINE void add_unit(int32x4_t sum[ROWS][2], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits);

// Four consecutive values of a row for all outputs.
INLINE int8x16_t four(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

// The zero points of four outputs, less what add_unit takes from the codes.
INLINE int32x4_t zeros_of(const uint8_t *zeros, const int bits) {
    uint32_t bytes;
    memcpy(&bytes, zeros, sizeof bytes);
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));
    return vsubq_s32(vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide))), vdupq_n_s32(bits == 8 ? 128 : 0));
}

// Where a unit starts, -zero * (sum of q), out of -8 * (sum of q).
INLINE int32x4_t start(int32_t sum, const int bits, const bool zeros, int32x4_t zero) {
    int32x4_t s = vdupq_n_s32(sum);
    return zeros ? vshrq_n_s32(vmulq_s32(zero, s), 3) : bits == 4 ? s : vdupq_n_s32(0);
}

INLINE void half_of(const tile_parts *t, const cpu_activations *x, size_t row, size_t half, tile_addend bias, float *y,
                    size_t stride, const size_t rows, const size_t groups, const int bits, const bool zeros) {
    const size_t ld = x->inputs, units = x->inputs / x->unit, depth = 32 * groups / (size_t)bits, step = t->bytes / units;
    const int8_t *q = x->q + row * ld;
    const float *scale = x->scale + row * units;
    const int32_t *sums = x->sum + row * units;
    const uint8_t *w = t->codes + 32 * half, *ahead = t->codes + AHEAD;
    float32x4_t acc[ROWS][2];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[r][0] = acc[r][1] = vdupq_n_f32(0);
    }
    for (size_t b = 0; b < t->blocks; b++) {
        int32x4_t zero[2], sum[ROWS][2];
        float32x4_t ws[2];
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            size_t at = b * CPU_TILE + 8 * half + 4 * h;
            ws[h] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(t->scales + at)));
            zero[h] = zeros ? zeros_of(t->zeros + at, bits) : vdupq_n_s32(0);
        }
        for (size_t u = 0; u < t->units; u++) {
            for (size_t i = 0; half == 0 && t->cold && i < step; i += 64) {
                __builtin_prefetch(ahead + i);
            }
            ahead += step;
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r][0] = start(sums[r * units], bits, zeros, zero[0]);
                sum[r][1] = start(sums[r * units], bits, zeros, zero[1]);
            }
            add_unit(sum, w, q, ld, rows, groups, bits);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                float32x4_t v = vmulq_n_f32(vcvtq_f32_s32(sum[r][0]), scale[r * units]);
                acc[r][0] = vfmaq_f32(acc[r][0], v, ws[0]);
                v = vmulq_n_f32(vcvtq_f32_s32(sum[r][1]), scale[r * units]);
                acc[r][1] = vfmaq_f32(acc[r][1], v, ws[1]);
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
        for (size_t h = 0; h < 2; h++) {
            size_t at = 8 * half + 4 * h;
            float32x4_t v = vmulq_f32(acc[r][h], vld1q_f32(t->factors + at));
            vst1q_f32(y + r * stride + at, bias.at ? vaddq_f32(v, vld1q_f32(bias.at + r * bias.stride + at)) : v);
        }
    }
}

INLINE void tile_of(const tile_parts *t, const cpu_activations *x, size_t row, tile_addend bias, float *y, size_t stride,
                    const size_t rows, const size_t groups, const int bits, const bool zeros) {
    for (size_t half = 0; half < 2; half++) {
        half_of(t, x, row, half, bias, y, stride, rows, groups, bits, zeros);
    }
}

INLINE void any_rows(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                     size_t stride, const size_t groups, const int bits, const bool zeros) {
    for (; ROWS == 4 && rows == 4; rows -= 4) {
        tile_of(t, x, row, bias, y, stride, ROWS, groups, bits, zeros);
    }
    for (; rows >= 2; rows -= 2, row += 2, y += 2 * stride, bias = addend_from(bias, 2)) {
        tile_of(t, x, row, bias, y, stride, 2, groups, bits, zeros);
    }
    if (rows > 0) {
        tile_of(t, x, row, bias, y, stride, 1, groups, bits, zeros);
    }
}

TARGET static void tile(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
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
