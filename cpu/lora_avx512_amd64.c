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

// 16 values, the i-th lot.
INLINE __m512 lot(const void *from, size_t i, const bool narrow) {
    if (narrow) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)((const char *)from + 16 * i))));
    }
    return _mm512_loadu_ps((const char *)from + 64 * i);
}

// The sum of 16, in halves.
INLINE float total(__m512 v) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

INLINE void down_rows(const void *a, size_t inputs, const float *x, size_t ld, float *t, size_t stride, const size_t rows, const bool narrow) {
    __m512 sum[ROWS][CPU_RANKS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            sum[r][j] = _mm512_setzero_ps();
        }
    }
    for (size_t k = 0; k < inputs; k += 16) {
        const char *ahead = (const char *)a + k * CPU_RANKS * (narrow ? 1 : 4) + AHEAD;
        _mm_prefetch(ahead, _MM_HINT_T0);
        if (!narrow) {
            _mm_prefetch(ahead + 64, _MM_HINT_T0);
            _mm_prefetch(ahead + 128, _MM_HINT_T0);
            _mm_prefetch(ahead + 192, _MM_HINT_T0);
        }
        __mmask16 there = inputs - k < 16 ? (__mmask16)((1u << (inputs - k)) - 1) : 0xffff;
        __m512 v[ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            v[r] = _mm512_maskz_loadu_ps(there, x + r * ld + k);
        }
        UNROLL
        for (size_t j = 0; j < CPU_RANKS; j++) {
            __m512 w = lot(a, k / 16 * CPU_RANKS + j, narrow);
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
            t[r * stride + j] = total(sum[r][j]);
        }
    }
}

INLINE void down_of(const void *a, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride, const bool narrow) {
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * ld, t += ROWS * stride) {
        down_rows(a, inputs, x, ld, t, stride, ROWS, narrow);
    }
    for (; rows > 0; rows--, x += ld, t += stride) {
        down_rows(a, inputs, x, ld, t, stride, 1, narrow);
    }
}

AVX512 void lora_down_avx512(const void *a, bool narrow, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride) {
    if (narrow) {
        down_of(a, inputs, x, ld, rows, t, stride, true);
    } else {
        down_of(a, inputs, x, ld, rows, t, stride, false);
    }
}

INLINE void up_rows(const void *b, size_t rank, const float *t, size_t ld, tile_addend from, float *y, const size_t rows, const bool narrow) {
    __m512 even[ROWS], odd[ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        even[r] = from.at ? _mm512_loadu_ps(from.at + r * from.stride) : _mm512_setzero_ps();
        odd[r] = _mm512_setzero_ps();
    }
    for (size_t j = 0; j < rank; j++) {
        _mm_prefetch((const char *)b + j * (narrow ? 16 : 64) + AHEAD, _MM_HINT_T0);
        __m512 w = lot(b, j, narrow);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            even[r] = _mm512_fmadd_ps(w, _mm512_set1_ps(t[r * ld + j]), even[r]);
        }
        if (++j == rank) {
            break;
        }
        w = lot(b, j, narrow);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            odd[r] = _mm512_fmadd_ps(w, _mm512_set1_ps(t[r * ld + j]), odd[r]);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        _mm512_storeu_ps(y + r * 16, _mm512_add_ps(even[r], odd[r]));
    }
}

INLINE void up_of(const void *b, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y, const bool narrow) {
    for (; rows >= ROWS; rows -= ROWS, t += ROWS * ld, y += ROWS * 16, from = addend_from(from, ROWS)) {
        up_rows(b, rank, t, ld, from, y, ROWS, narrow);
    }
    for (; rows > 0; rows--, t += ld, y += 16, from = addend_from(from, 1)) {
        up_rows(b, rank, t, ld, from, y, 1, narrow);
    }
}

AVX512 void lora_up_avx512(const void *b, bool narrow, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y) {
    if (narrow) {
        up_of(b, rank, t, ld, rows, from, y, true);
    } else {
        up_of(b, rank, t, ld, rows, from, y, false);
    }
}
#endif
