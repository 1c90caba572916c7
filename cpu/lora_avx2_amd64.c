// The kernels of low-rank additions for AVX2: a lot of 16 values is two registers, row by row.
#if defined(__x86_64__)
#include "lora_kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE AVX2 static inline __attribute__((always_inline))

// Eight values, the i-th narrow of a lot.
INLINE __m256 eight(const void *from, size_t i, const bool narrow) {
    if (narrow) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)((const char *)from + 8 * i))));
    }
    return _mm256_loadu_ps((const float *)((const char *)from + 32 * i));
}

INLINE float total(__m256 low, __m256 high) {
    __m256 v = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

INLINE void down_row(const void *a, size_t inputs, const float *x, float *t, const bool narrow) {
    __m256 sum[CPU_RANKS][2];
    for (size_t j = 0; j < CPU_RANKS; j++) {
        sum[j][0] = sum[j][1] = _mm256_setzero_ps();
    }
    for (size_t k = 0; k < inputs; k += 16) {
        float rest[16] = {0};
        const float *from = x + k;
        if (inputs - k < 16) {
            memcpy(rest, from, (inputs - k) * sizeof *rest);
            from = rest;
        }
        __m256 low = _mm256_loadu_ps(from), high = _mm256_loadu_ps(from + 8);
        for (size_t j = 0; j < CPU_RANKS; j++) {
            size_t at = 2 * (k / 16 * CPU_RANKS + j);
            sum[j][0] = _mm256_fmadd_ps(eight(a, at, narrow), low, sum[j][0]);
            sum[j][1] = _mm256_fmadd_ps(eight(a, at + 1, narrow), high, sum[j][1]);
        }
    }
    for (size_t j = 0; j < CPU_RANKS; j++) {
        t[j] = total(sum[j][0], sum[j][1]);
    }
}

AVX2 void lora_down_avx2(const void *a, bool narrow, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride) {
    for (; rows > 0; rows--, x += ld, t += stride) {
        if (narrow) {
            down_row(a, inputs, x, t, true);
        } else {
            down_row(a, inputs, x, t, false);
        }
    }
}

INLINE void up_row(const void *b, size_t rank, const float *t, const float *from, float *y, const bool narrow) {
    __m256 sum[2][2];
    sum[0][0] = from ? _mm256_loadu_ps(from) : _mm256_setzero_ps();
    sum[0][1] = from ? _mm256_loadu_ps(from + 8) : _mm256_setzero_ps();
    sum[1][0] = sum[1][1] = _mm256_setzero_ps();
    for (size_t j = 0; j < rank; j++) {
        __m256 v = _mm256_set1_ps(t[j]);
        sum[0][0] = _mm256_fmadd_ps(eight(b, 2 * j, narrow), v, sum[0][0]);
        sum[0][1] = _mm256_fmadd_ps(eight(b, 2 * j + 1, narrow), v, sum[0][1]);
        if (++j == rank) {
            break;
        }
        v = _mm256_set1_ps(t[j]);
        sum[1][0] = _mm256_fmadd_ps(eight(b, 2 * j, narrow), v, sum[1][0]);
        sum[1][1] = _mm256_fmadd_ps(eight(b, 2 * j + 1, narrow), v, sum[1][1]);
    }
    _mm256_storeu_ps(y, _mm256_add_ps(sum[0][0], sum[1][0]));
    _mm256_storeu_ps(y + 8, _mm256_add_ps(sum[0][1], sum[1][1]));
}

AVX2 void lora_up_avx2(const void *b, bool narrow, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y) {
    for (; rows > 0; rows--, t += ld, y += 16, from = addend_from(from, 1)) {
        if (narrow) {
            up_row(b, rank, t, from.at, y, true);
        } else {
            up_row(b, rank, t, from.at, y, false);
        }
    }
}
#endif
