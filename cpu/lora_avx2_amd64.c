// The kernels of low-rank additions for AVX2, row by row: 16 values are two registers.
#if defined(__x86_64__)
#include "lora_kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE AVX2 static inline __attribute__((always_inline))

// 16 values of 8 bits.
INLINE __m256i wide(const int8_t *from) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from)); }

// The sum of 8, in halves.
INLINE float total(__m256 eight) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

AVX2 void lora_down_avx2(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t) {
    const size_t units = x->inputs / x->unit;
    for (; rows > 0; rows--, row++, t++) {
        const int8_t *q = x->q + row * x->inputs, *from = a;
        const float *scale = x->scale + row * units;
        __m256 sum[CPU_RANKS];
        for (size_t j = 0; j < CPU_RANKS; j++) {
            sum[j] = _mm256_setzero_ps();
        }
        for (size_t u = 0; u < units; u++) {
            __m256i dot[CPU_RANKS];
            for (size_t j = 0; j < CPU_RANKS; j++) {
                dot[j] = _mm256_setzero_si256();
            }
            for (size_t k = 0; k < x->unit; k += 16, q += 16) {
                __m256i v = wide(q);
                for (size_t j = 0; j < CPU_RANKS; j++, from += 16) {
                    dot[j] = _mm256_add_epi32(dot[j], _mm256_madd_epi16(wide(from), v));
                }
            }
            for (size_t j = 0; j < CPU_RANKS; j++) {
                sum[j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[j]), _mm256_set1_ps(scale[u]), sum[j]);
            }
        }
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t->values[j] = total(sum[j]);
        }
    }
}

// Two values of t, for all outputs.
INLINE __m256i both(const int16_t *t) {
    int32_t two;
    memcpy(&two, t, sizeof two);
    return _mm256_set1_epi32(two);
}

// 8 outputs, of 4 ranks, on top of what is there.
INLINE __m256 eight(const int8_t *b, const cpu_ranks *t, __m256 sum) {
    __m256i dot = _mm256_add_epi32(_mm256_madd_epi16(wide(b), both(t->values)), _mm256_madd_epi16(wide(b + 32), both(t->values + 2)));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(t->step), sum);
}

AVX2 void lora_up_avx2(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t i = 0; i < tiles; i++, b += 64 * groups, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            const float *at = from.at ? from.at + i * from.tile_stride + r * from.row_stride : NULL;
            __m256 low = at ? _mm256_loadu_ps(at) : _mm256_setzero_ps(), high = at ? _mm256_loadu_ps(at + 8) : _mm256_setzero_ps();
            for (size_t g = 0; g < groups; g++) {
                low = eight(b + 64 * g, &t[r * groups + g], low);
                high = eight(b + 64 * g + 16, &t[r * groups + g], high);
            }
            _mm256_storeu_ps(y + 16 * r, low);
            _mm256_storeu_ps(y + 16 * r + 8, high);
        }
    }
}

AVX2 void lora_down_wide_avx2(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride) {
    for (; rows > 0; rows--, x += inputs, t += stride) {
        const float *of = a;
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
            for (size_t j = 0; j < CPU_RANKS; j++, of += 16) {
                sum[j][0] = _mm256_fmadd_ps(_mm256_loadu_ps(of), low, sum[j][0]);
                sum[j][1] = _mm256_fmadd_ps(_mm256_loadu_ps(of + 8), high, sum[j][1]);
            }
        }
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t->values[j] = total(_mm256_add_ps(sum[j][0], sum[j][1]));
        }
    }
}

AVX2 void lora_up_wide_avx2(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t i = 0; i < tiles; i++, b += 64 * groups, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            const float *at = from.at ? from.at + i * from.tile_stride + r * from.row_stride : NULL;
            __m256 low = at ? _mm256_loadu_ps(at) : _mm256_setzero_ps(), high = at ? _mm256_loadu_ps(at + 8) : _mm256_setzero_ps();
            for (size_t j = 0; j < CPU_RANKS * groups; j++) {
                __m256 v = _mm256_set1_ps(t[r * groups + j / CPU_RANKS].values[j % CPU_RANKS]);
                low = _mm256_fmadd_ps(_mm256_loadu_ps(b + 16 * j), v, low);
                high = _mm256_fmadd_ps(_mm256_loadu_ps(b + 16 * j + 8), v, high);
            }
            _mm256_storeu_ps(y + 16 * r, low);
            _mm256_storeu_ps(y + 16 * r + 8, high);
        }
    }
}
#endif
