// The kernels of low-rank additions for AVX-512: four ranks by up to four rows, and a tile of outputs by as many.
#if defined(__x86_64__)
#include "lora_kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#define INLINE AVX512 static inline __attribute__((always_inline))
#define ROWS 4
#define AHEAD 4096 // bytes
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE void ahead(const void *at) { _mm_prefetch((const char *)at + AHEAD, _MM_HINT_T0); }

// 32 values of 8 bits.
INLINE __m512i wide(const int8_t *from) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from)); }

INLINE __m256 half(__m512 v, const int i) { return i ? _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)) : _mm512_castps512_ps256(v); }

// The sum of 8, in halves.
INLINE float total(__m256 eight) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

INLINE void down_rows(const int8_t *a, const cpu_activations *x, size_t row, cpu_ranks_wide *t, const size_t rows, const size_t sixteens) {
    const size_t units = x->inputs / (16 * sixteens);
    const int8_t *q = x->q + row * x->inputs;
    const float *scale = x->scale + row * units;
    __m512 sum[ROWS][2];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    }
    for (size_t u = 0; u < units; u++) {
        __m512i dot[ROWS][2];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            dot[r][0] = dot[r][1] = _mm512_setzero_si512();
        }
        UNROLL
        for (size_t s = 0; s < sixteens; s++, a += 64, q += 16) {
            ahead(a);
            __m512i two = wide(a), more = wide(a + 32); // ranks by 16 inputs
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                __m512i v = _mm512_broadcast_i64x4(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(q + r * x->inputs))));
                dot[r][0] = _mm512_add_epi32(dot[r][0], _mm512_madd_epi16(two, v));
                dot[r][1] = _mm512_add_epi32(dot[r][1], _mm512_madd_epi16(more, v));
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m512 of = _mm512_set1_ps(scale[r * units + u]);
            sum[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][0]), of, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][1]), of, sum[r][1]);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t[r].values[j] = total(half(sum[r][j / 2], j % 2));
        }
    }
}

INLINE void down_of(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t, const size_t sixteens) {
    for (; rows >= ROWS; rows -= ROWS, row += ROWS, t += ROWS) {
        down_rows(a, x, row, t, ROWS, sixteens);
    }
    for (; rows > 0; rows--, row++, t++) {
        down_rows(a, x, row, t, 1, sixteens);
    }
}

AVX512 void lora_down_avx512(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t) {
    if (x->unit == 32) {
        down_of(a, x, row, rows, t, 2);
    } else {
        down_of(a, x, row, rows, t, 1);
    }
}

INLINE void load_tile(lora_base from, size_t tile, __m512 sum[ROWS], const size_t rows) {
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r] = from.at ? _mm512_loadu_ps(from.at + tile * from.tile_stride + r * from.row_stride) : _mm512_setzero_ps();
    }
}

INLINE void store_tile(float *y, const __m512 sum[ROWS], const size_t rows) {
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        _mm512_storeu_ps(y + 16 * r, sum[r]);
    }
}

// Two values of t, for all outputs.
INLINE __m512i both(const int16_t *t) {
    int32_t two;
    memcpy(&two, t, sizeof two);
    return _mm512_set1_epi32(two);
}

INLINE void up_rows(const int8_t *b, size_t groups, const cpu_ranks *t, size_t tiles, lora_base from, float *y, size_t stride, const size_t rows) {
    for (size_t i = 0; i < tiles; i++, b += 64 * groups, y += stride) {
        __m512 sum[ROWS];
        load_tile(from, i, sum, rows);
        for (size_t g = 0; g < groups; g++) {
            ahead(b + 64 * g);
            __m512i two = wide(b + 64 * g), more = wide(b + 64 * g + 32); // outputs by 2 ranks
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const cpu_ranks *of = &t[r * groups + g];
                __m512i dot = _mm512_add_epi32(_mm512_madd_epi16(two, both(of->values)), _mm512_madd_epi16(more, both(of->values + 2)));
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(of->step), sum[r]);
            }
        }
        store_tile(y, sum, rows);
    }
}

AVX512 void lora_up_avx512(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (; rows >= ROWS; rows -= ROWS, t += ROWS * groups, y += ROWS * 16) {
        up_rows(b, groups, t, tiles, from, y, stride, ROWS);
        from = base_from(from, ROWS);
    }
    for (; rows > 0; rows--, t += groups, y += 16) {
        up_rows(b, groups, t, tiles, from, y, stride, 1);
        from = base_from(from, 1);
    }
}

INLINE void down_wide_rows(const float *a, size_t inputs, const float *x, cpu_ranks_wide *t, size_t stride, const size_t rows) {
    __m512 sum[ROWS][CPU_RANKS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            sum[r][j] = _mm512_setzero_ps();
        }
    }
    for (size_t k = 0; k < inputs; k += 16, a += 64) {
        __mmask16 there = inputs - k < 16 ? (__mmask16)((1u << (inputs - k)) - 1) : 0xffff;
        __m512 v[ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            v[r] = _mm512_maskz_loadu_ps(there, x + r * inputs + k);
        }
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            ahead(a + 16 * j);
            __m512 w = _mm512_loadu_ps(a + 16 * j);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r][j] = _mm512_fmadd_ps(w, v[r], sum[r][j]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t[r * stride].values[j] = total(_mm256_add_ps(half(sum[r][j], 0), half(sum[r][j], 1)));
        }
    }
}

AVX512 void lora_down_wide_avx512(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride) {
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * inputs, t += ROWS * stride) {
        down_wide_rows(a, inputs, x, t, stride, ROWS);
    }
    for (; rows > 0; rows--, x += inputs, t += stride) {
        down_wide_rows(a, inputs, x, t, stride, 1);
    }
}

INLINE void up_wide_rows(const float *b, size_t groups, const cpu_ranks_wide *t, size_t tiles, lora_base from, float *y, size_t stride, const size_t rows) {
    for (size_t i = 0; i < tiles; i++, b += 64 * groups, y += stride) {
        __m512 sum[ROWS];
        load_tile(from, i, sum, rows);
        for (size_t g = 0; g < groups; g++) {
            UNROLL
            for (size_t j = 0; j < CPU_RANKS; j++) {
                ahead(b + (CPU_RANKS * g + j) * 16);
                __m512 w = _mm512_loadu_ps(b + (CPU_RANKS * g + j) * 16);
                UNROLL
                for (size_t r = 0; r < rows; r++) {
                    sum[r] = _mm512_fmadd_ps(w, _mm512_set1_ps(t[r * groups + g].values[j]), sum[r]);
                }
            }
        }
        store_tile(y, sum, rows);
    }
}

AVX512 void lora_up_wide_avx512(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (; rows >= ROWS; rows -= ROWS, t += ROWS * groups, y += ROWS * 16) {
        up_wide_rows(b, groups, t, tiles, from, y, stride, ROWS);
        from = base_from(from, ROWS);
    }
    for (; rows > 0; rows--, t += groups, y += 16) {
        up_wide_rows(b, groups, t, tiles, from, y, stride, 1);
        from = base_from(from, 1);
    }
}
#endif
