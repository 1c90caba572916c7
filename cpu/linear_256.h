// The linear kernels for 256-bit registers: a tile is two halves of eight outputs, one after the other so that all sums stay in
// registers, and up to four rows share what is unpacked. A file that includes this says what it may use as TARGET, and how a unit is multiplied:
//
//   multiply(sum, w, q, ld, rows, groups, bits): sum[r], r < rows, are the products of one unit of eight outputs with row r of q,
//   ld bytes apart; w is the first 32 bytes of their codes, of which there are groups, 64 bytes apart.
#ifndef SHAMMAH_CPU_LINEAR_256_H
#define SHAMMAH_CPU_LINEAR_256_H

#include "pack.h"

#include <immintrin.h>

#define INLINE TARGET static inline __attribute__((always_inline))
#define ROWS 4
#define AHEAD 4096 // bytes, of the tiles as they follow each other in memory
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#define UNROLL_2 _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_2 _Pragma("GCC unroll 2")
#endif

void quantise_avx2(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum);
void gate_avx2(int act, const float *gate, float *up, size_t n);

// Four consecutive values of a row for all outputs.
INLINE __m256i four(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm256_set1_epi32(word);
}

INLINE void multiply(__m256i sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits);

// What a unit has beside its products, -zero * (sum of q), out of -8 * (sum of q). A zero point and that sum each fit 16 bits.
INLINE __m256i correction(int32_t sum, const bool zeros, __m256i zero) {
    __m256i s = _mm256_set1_epi32(sum);
    return zeros ? _mm256_srai_epi32(_mm256_madd_epi16(zero, s), 3) : s;
}

INLINE void half_of(const tile_parts *t, const cpu_activations *x, size_t row, size_t half, tile_addend bias, float *y,
                    size_t stride, const size_t rows, const size_t groups, const int bits, const bool zeros) {
    const size_t ld = x->inputs, units = x->inputs / x->unit, depth = 32 * groups / (size_t)bits, step = t->bytes / units;
    const int8_t *q = x->q + row * ld;
    const float *scale = x->scale + row * units;
    const int32_t *sums = x->sum + row * units;
    const uint8_t *w = t->codes + 32 * half, *ahead = t->codes + AHEAD;
    __m256 acc[ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[r] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < t->blocks; b++) {
        __m256 ws = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(t->scales + b * CPU_TILE + 8 * half)));
        __m256i zero = _mm256_set1_epi32(128), sum[ROWS];
        if (zeros && t->zeros) {
            zero = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(t->zeros + b * CPU_TILE + 8 * half)));
        }
        for (size_t u = 0; u < t->units; u++) {
            for (size_t i = 0; half == 0 && t->cold && i < step; i += 64) {
                _mm_prefetch((const char *)ahead + i, _MM_HINT_T0);
            }
            ahead += step;
            multiply(sum, w, q, ld, rows, groups, bits);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                __m256 v = _mm256_cvtepi32_ps(_mm256_add_epi32(sum[r], correction(sums[r * units], zeros, zero)));
                v = _mm256_mul_ps(v, _mm256_set1_ps(scale[r * units]));
                acc[r] = _mm256_fmadd_ps(v, ws, acc[r]);
            }
            w += 64 * groups;
            q += depth;
            scale++;
            sums++;
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m256 v = _mm256_mul_ps(acc[r], _mm256_load_ps(t->factors + 8 * half));
        _mm256_storeu_ps(y + r * stride + 8 * half, bias.at ? _mm256_add_ps(v, _mm256_loadu_ps(bias.at + r * bias.stride + 8 * half)) : v);
    }
}

INLINE void tile_of(const tile_parts *t, const cpu_activations *x, size_t row, tile_addend bias, float *y, size_t stride,
                    const size_t rows, const size_t groups, const int bits, const bool zeros) {
    for (size_t half = 0; half < 2; half++) {
        half_of(t, x, row, half, bias, y, stride, rows, groups, bits, zeros);
    }
}

#define KIND(name, groups, bits, zeros)                                                                                        \
    TARGET static void name(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias,          \
                            float *y, size_t stride) {                                                                         \
        switch (rows) {                                                                                                        \
        case 1:                                                                                                                \
            tile_of(t, x, row, bias, y, stride, 1, groups, bits, zeros);                                                       \
            break;                                                                                                             \
        case 2:                                                                                                                \
            tile_of(t, x, row, bias, y, stride, 2, groups, bits, zeros);                                                       \
            break;                                                                                                             \
        case 3:                                                                                                                \
            tile_of(t, x, row, bias, y, stride, 3, groups, bits, zeros);                                                       \
            break;                                                                                                             \
        case 4:                                                                                                                \
            tile_of(t, x, row, bias, y, stride, 4, groups, bits, zeros);                                                       \
            break;                                                                                                             \
        }                                                                                                                      \
    }
KIND(tile_4, 4, 4, false)
KIND(tile_4_zeros, 4, 4, true)
KIND(tile_8, 8, 8, true)

// A unit of 16 is rare, and goes row by row.
TARGET static void tile_of_16(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                              size_t stride) {
    for (size_t r = 0; r < rows; r++, y += stride) {
        if (t->bits == 8) {
            tile_of(t, x, row + r, addend_from(bias, r), y, stride, 1, 4, 8, true);
        } else if (t->zeros) {
            tile_of(t, x, row + r, addend_from(bias, r), y, stride, 1, 2, 4, true);
        } else {
            tile_of(t, x, row + r, addend_from(bias, r), y, stride, 1, 2, 4, false);
        }
    }
}

TARGET static void tile(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                        size_t stride) {
    if (x->unit == 16) {
        tile_of_16(t, x, row, rows, bias, y, stride);
    } else if (t->bits == 8) {
        tile_8(t, x, row, rows, bias, y, stride);
    } else {
        (t->zeros ? tile_4_zeros : tile_4)(t, x, row, rows, bias, y, stride);
    }
}

#endif
