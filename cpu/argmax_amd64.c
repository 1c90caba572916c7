// Argmax for x86-64. One pass takes the largest value of each block, and with it the block where the winner lies; only that
// block is searched for the index. A NaN or an infinity is noticed on the way and sends the row to the plain rung.
#include "argmax.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))

// max(x, m) gives m where x is NaN: a NaN never wins. One comparison of two vectors tells whether either holds a NaN.
AVX512 static inline float block_f32_avx512(const float *x, size_t n, __mmask16 *nan) {
    const __m512 masked = _mm512_set1_ps(-INFINITY);
    __m512 m0 = masked, m1 = masked, m2 = masked, m3 = masked;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
        __m512 c = _mm512_loadu_ps(x + i + 32), d = _mm512_loadu_ps(x + i + 48);
        m0 = _mm512_max_ps(a, m0);
        m1 = _mm512_max_ps(b, m1);
        m2 = _mm512_max_ps(c, m2);
        m3 = _mm512_max_ps(d, m3);
        *nan |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) | _mm512_cmp_ps_mask(c, d, _CMP_UNORD_Q);
    }
    for (; i < n; i += 16) {
        __mmask16 here = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : (__mmask16)0xffff;
        __m512 a = _mm512_mask_loadu_ps(masked, here, x + i);
        m0 = _mm512_max_ps(a, m0);
        *nan |= _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(m0, m1), _mm512_max_ps(m2, m3)));
}

AVX512 cpu_result cpu_argmax_f32_avx512(const float *x, size_t n) {
    float best = -INFINITY;
    size_t block = 0;
    __mmask16 nan = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        float m = block_f32_avx512(x + i, n - i < BLOCK ? n - i : BLOCK, &nan);
        if (m > best) {
            best = m;
            block = i;
        }
    }
    return nan ? cpu_argmax_f32_plain(x, n) : winner_f32(x, n, block, best);
}

AVX2 static inline float block_f32_avx2(const float *x, size_t n, __m256 *nan) {
    const __m256 masked = _mm256_set1_ps(-INFINITY);
    __m256 m0 = masked, m1 = masked, m2 = masked, m3 = masked;
    for (size_t i = 0; i < n; i += 32) {
        float tail[32];
        const float *p = n - i < 32 ? padded_f32(tail, 32, x + i, n - i) : x + i;
        __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
        __m256 c = _mm256_loadu_ps(p + 16), d = _mm256_loadu_ps(p + 24);
        m0 = _mm256_max_ps(a, m0);
        m1 = _mm256_max_ps(b, m1);
        m2 = _mm256_max_ps(c, m2);
        m3 = _mm256_max_ps(d, m3);
        *nan = _mm256_or_ps(*nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
        *nan = _mm256_or_ps(*nan, _mm256_cmp_ps(c, d, _CMP_UNORD_Q));
    }
    __m256 m = _mm256_max_ps(_mm256_max_ps(m0, m1), _mm256_max_ps(m2, m3));
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_shuffle_ps(h, h, 1)));
}

AVX2 cpu_result cpu_argmax_f32_avx2(const float *x, size_t n) {
    float best = -INFINITY;
    size_t block = 0;
    __m256 nan = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += BLOCK) {
        float m = block_f32_avx2(x + i, n - i < BLOCK ? n - i : BLOCK, &nan);
        if (m > best) {
            best = m;
            block = i;
        }
    }
    return _mm256_movemask_ps(nan) ? cpu_argmax_f32_plain(x, n) : winner_f32(x, n, block, best);
}

// The largest of eight signed 16-bit numbers, through the one horizontal instruction there is: the least of unsigned ones.
AVX2 static inline int largest_epi16(__m128i v) {
    __m128i flipped = _mm_sub_epi16(_mm_set1_epi16(0x7fff), v);
    return 0x7fff - (_mm_cvtsi128_si32(_mm_minpos_epu16(flipped)) & 0xffff);
}

AVX2 static inline __m128i halves_epi16(__m256i v) {
    return _mm_max_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

// The key of a half is its sign and magnitude as one signed number. least takes the smallest key of the row: below -infinity
// lie the NaNs that have a sign.
AVX512 static inline __m512i key_avx512(__m512i v, __m512i *least) {
    __m512i sign = _mm512_srai_epi16(v, 15); // 0 or -1: x ^ sign - sign is x or -x
    __m512i magnitude = _mm512_and_si512(v, _mm512_set1_epi16(0x7fff));
    __m512i key = _mm512_sub_epi16(_mm512_xor_si512(magnitude, sign), sign);
    *least = _mm512_min_epi16(*least, key);
    return key;
}

AVX512 static inline int block_f16_avx512(const uint16_t *x, size_t n, __m512i *least) {
    __m512i m0 = _mm512_set1_epi16(-HALF_INFINITY), m1 = m0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        m0 = _mm512_max_epi16(m0, key_avx512(_mm512_loadu_si512(x + i), least));
        m1 = _mm512_max_epi16(m1, key_avx512(_mm512_loadu_si512(x + i + 32), least));
    }
    for (; i < n; i += 32) {
        __mmask32 here = n - i < 32 ? (1u << (n - i)) - 1 : 0xffffffff;
        __m512i v = _mm512_mask_loadu_epi16(_mm512_set1_epi16((short)0xfc00), here, x + i);
        m0 = _mm512_max_epi16(m0, key_avx512(v, least));
    }
    m0 = _mm512_max_epi16(m0, m1);
    __m256i h = _mm256_max_epi16(_mm512_castsi512_si256(m0), _mm512_extracti64x4_epi64(m0, 1));
    return largest_epi16(halves_epi16(h));
}

AVX512 cpu_result cpu_argmax_f16_avx512(const uint16_t *x, size_t n) {
    int best = -HALF_INFINITY;
    size_t block = 0;
    __m512i least = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += BLOCK) {
        int m = block_f16_avx512(x + i, n - i < BLOCK ? n - i : BLOCK, &least);
        if (m > best) {
            best = m;
            block = i;
        }
    }
    bool nan = _mm512_cmplt_epi16_mask(least, _mm512_set1_epi16(-HALF_INFINITY));
    return nan ? cpu_argmax_f16_plain(x, n) : winner_f16(x, n, block, best);
}

AVX2 static inline int block_f16_avx2(const uint16_t *x, size_t n, __m256i *least) {
    const __m256i magnitude = _mm256_set1_epi16(0x7fff);
    __m256i m[2] = {_mm256_set1_epi16(-HALF_INFINITY), _mm256_set1_epi16(-HALF_INFINITY)};
    for (size_t i = 0; i < n; i += 32) {
        uint16_t tail[32];
        const uint16_t *p = n - i < 32 ? padded_f16(tail, 32, x + i, n - i) : x + i;
        for (size_t j = 0; j < 2; j++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(p + 16 * j));
            __m256i key = _mm256_sign_epi16(_mm256_and_si256(v, magnitude), v);
            m[j] = _mm256_max_epi16(m[j], key);
            *least = _mm256_min_epi16(*least, key);
        }
    }
    return largest_epi16(halves_epi16(_mm256_max_epi16(m[0], m[1])));
}

AVX2 cpu_result cpu_argmax_f16_avx2(const uint16_t *x, size_t n) {
    int best = -HALF_INFINITY;
    size_t block = 0;
    __m256i least = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += BLOCK) {
        int m = block_f16_avx2(x + i, n - i < BLOCK ? n - i : BLOCK, &least);
        if (m > best) {
            best = m;
            block = i;
        }
    }
    bool nan = _mm256_movemask_epi8(_mm256_cmpgt_epi16(_mm256_set1_epi16(-HALF_INFINITY), least)) != 0;
    return nan ? cpu_argmax_f16_plain(x, n) : winner_f16(x, n, block, best);
}
#endif
