// The linear kernels for AVX2: unsigned codes times signed activations, two products added in 16 bits. Codes are 4 bits there,
// those of 8 cut in two, so that no sum leaves the 16 bits: 16 products of one unit are at most 16 * 15 * 127 = 30480.
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "linear_256.h"

#include "exp.h"
#include "gate.h"

// The loop over groups is not unrolled whole, or the compiler moves so many loads before it that nothing stays in registers.
INLINE void multiply(__m256i sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), sixteens = _mm256_set1_epi16(16);
    __m256i low[ROWS], high[ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        low[r] = high[r] = _mm256_setzero_si256();
    }
    UNROLL_2
    for (size_t g = 0; g < groups; g++) {
        __m256i v = _mm256_load_si256((const __m256i *)(w + 64 * g));
        __m256i a = _mm256_and_si256(v, mask), b = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const int8_t *at = q + r * ld + (bits == 4 ? 8 : 4) * g;
            __m256i first = _mm256_maddubs_epi16(a, four(at)), second = _mm256_maddubs_epi16(b, four(bits == 4 ? at + 4 : at));
            low[r] = _mm256_add_epi16(low[r], first);
            if (bits == 4) {
                low[r] = _mm256_add_epi16(low[r], second);
            } else {
                high[r] = _mm256_add_epi16(high[r], second);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r] = _mm256_madd_epi16(low[r], ones);
        if (bits == 8) {
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(high[r], sixteens));
        }
    }
}

// Eight values of a unit to 32-bit integers. Zero times what is not finite is NaN, so an inverse of 0 is looked at first.
TARGET static inline __m256i eight(const float *x, float inverse) {
    return inverse == 0 ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(inverse)));
}

TARGET static inline uint32_t largest(const float *x, size_t n) {
    __m256i most = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 8) {
        __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + i)), _mm256_set1_epi32(0x7fffffff));
        most = _mm256_max_epi32(most, magnitude);
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

TARGET void quantise_avx2(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum) {
    for (size_t i = 0; i < n; i += unit, x += unit, q += unit, scale++, sum++) {
        float inverse = quantiser(largest(x, unit), scale);
        __m256i total = _mm256_setzero_si256();
        for (size_t j = 0; j < unit; j += 16) {
            __m256i a = eight(x + j, inverse), b = eight(x + j + 8, inverse);
            total = _mm256_add_epi32(total, _mm256_add_epi32(a, b));
            __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
            __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            _mm_storeu_si128((__m128i *)(q + j), bytes);
        }
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        *sum = -8 * _mm_cvtsi128_si32(s);
    }
}

// x / (1 + exp(-z)) without x.
TARGET static inline __m256 share_of(__m256 z) {
    const __m256 one = _mm256_set1_ps(1);
    __m256 e = exp_avx2(_mm256_or_ps(z, _mm256_set1_ps(-0.0f)));
    __m256 negative = _mm256_cmp_ps(z, _mm256_setzero_ps(), _CMP_LT_OQ);
    return _mm256_div_ps(_mm256_blendv_ps(one, e, negative), _mm256_add_ps(one, e));
}

TARGET static inline __m256 share_of_erf(__m256 x) {
    static const float c[] = {ERFC_1, ERFC_2, ERFC_3, ERFC_4, ERFC_5, ERFC_6, ERFC_7, ERFC_8, ERFC_9};
    const __m256 one = _mm256_set1_ps(1), half = _mm256_set1_ps(0.5f);
    __m256 a = _mm256_mul_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), _mm256_set1_ps(SQRT_HALF));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(a, half, one)), p = _mm256_set1_ps(ERFC_0);
    for (size_t j = 0; j < sizeof c / sizeof *c; j++) {
        p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(c[j]));
    }
    __m256 h = _mm256_mul_ps(_mm256_mul_ps(half, t), exp_avx2(_mm256_fnmadd_ps(a, a, p)));
    __m256 negative = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ);
    return _mm256_blendv_ps(_mm256_sub_ps(one, h), h, negative);
}

TARGET void gate_avx2(int act, const float *g, float *up, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        __m256 x = _mm256_loadu_ps(g + i), share;
        if (act == CPU_GELU_ERF) {
            share = share_of_erf(x);
        } else if (act == CPU_GELU_TANH) {
            __m256 inner = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(GELU_CUBE), _mm256_set1_ps(GELU_LINE));
            share = share_of(_mm256_mul_ps(x, inner));
        } else {
            share = share_of(x);
        }
        _mm256_storeu_ps(up + i, _mm256_mul_ps(_mm256_loadu_ps(up + i), _mm256_mul_ps(x, share)));
    }
}

const struct linear_rung linear_avx2 = {
    ROWS, tile, quantise_avx2, gate_avx2, pack_avx2, largest_avx2, halve_avx2, quantise_weights_avx2,
    LORA_RUNG(avx2),
};
#endif
