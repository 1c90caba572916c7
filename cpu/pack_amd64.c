// Packing for x86-64: a tile is a transposition of its rows' 32-bit words.
#include "pack.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))

// In every 32-bit word, eight codes in their order become four bytes with the first four codes low and the others high.
AVX2 static inline __m256i interleave(__m256i v) {
    const __m256i first = _mm256_set_epi8(13, 13, 12, 12, 9, 9, 8, 8, 5, 5, 4, 4, 1, 1, 0, 0, 13, 13, 12, 12, 9, 9, 8, 8, 5, 5, 4,
                                          4, 1, 1, 0, 0);
    const __m256i two = _mm256_set1_epi8(2);
    __m256i a = _mm256_shuffle_epi8(v, first), b = _mm256_shuffle_epi8(v, _mm256_add_epi8(first, two));
    // Of each two bytes the lower one takes the low code and the upper one the high code.
    __m256i low = _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi16(0x000f)),
                                  _mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi16(0x0f00)));
    __m256i high = _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(b, 4), _mm256_set1_epi16(0x00f0)),
                                   _mm256_and_si256(b, _mm256_set1_epi16((short)0xf000)));
    return _mm256_or_si256(low, high);
}

// Eight rows of eight words to eight words of each: word i goes to the 32 bytes at 64 i.
AVX2 static inline void transpose(__m256i v[8], uint8_t *into) {
    __m256i t[8], u[8];
    for (size_t i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4) {
        u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (size_t i = 0; i < 4; i++) {
        _mm256_store_si256((__m256i *)(into + 64 * i), _mm256_permute2x128_si256(u[i], u[i + 4], 0x20));
        _mm256_store_si256((__m256i *)(into + 64 * (i + 4)), _mm256_permute2x128_si256(u[i], u[i + 4], 0x31));
    }
}

AVX2 void pack_avx2(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into) {
    size_t bytes = inputs * (size_t)bits / 8, i = 0;
    for (; outputs == CPU_TILE && i + 32 <= bytes; i += 32) {
        for (size_t n = 0; n < CPU_TILE; n += 8) {
            __m256i v[8];
            for (size_t j = 0; j < 8; j++) {
                v[j] = _mm256_loadu_si256((const __m256i *)(codes + (n + j) * stride + i));
                v[j] = bits == 4 ? interleave(v[j]) : v[j];
            }
            transpose(v, into + 16 * i + 4 * n);
        }
    }
    pack_plain(codes + i, stride, outputs, (bytes - i) * 8 / (size_t)bits, bits, into + 16 * i);
}

AVX2 static inline __m256 eight(const void *scales, bool half, size_t i) {
    if (half) {
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const char *)scales + 2 * i)));
    }
    return _mm256_loadu_ps((const float *)((const char *)scales + 4 * i));
}

// Without their sign, floats are ordered as integers are, NaN above infinity above the rest.
AVX2 float largest_avx2(const void *scales, bool half, size_t n) {
    __m256i most = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i bits = _mm256_castps_si256(eight(scales, half, i));
        most = _mm256_max_epi32(most, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
    }
    float parts[9];
    _mm256_storeu_si256((__m256i *)parts, most);
    parts[8] = largest_plain((const char *)scales + i * (half ? 2 : 4), half, n - i);
    return largest_plain(parts, false, 9);
}

AVX2 void halve_avx2(const void *scales, bool half, size_t n, float inverse, uint16_t *to) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(eight(scales, half, i), _mm256_set1_ps(inverse));
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    halve_plain((const char *)scales + i * (half ? 2 : 4), half, n - i, inverse, to + i);
}

AVX2 static inline float reduce(__m256 v, bool most) {
    float x[8];
    _mm256_storeu_ps(x, v);
    for (size_t i = 1; i < 8; i++) {
        x[0] = (most ? x[i] > x[0] : x[i] < x[0]) ? x[i] : x[0];
    }
    return x[0];
}

AVX2 float quantise_weights_avx2(const float *w, size_t n, int bits, uint8_t *codes) {
    __m256 least = _mm256_loadu_ps(w), largest = least, wrong = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_loadu_ps(w + i);
        least = _mm256_min_ps(least, v);
        largest = _mm256_max_ps(largest, v);
        wrong = _mm256_or_ps(wrong, _mm256_cmp_ps(_mm256_sub_ps(v, v), _mm256_setzero_ps(), _CMP_UNORD_Q)); // not finite
    }
    if (_mm256_movemask_ps(wrong)) {
        return NAN;
    }
    float scale = weight_scale(reduce(least, false), reduce(largest, true), bits), factor = weight_factor(scale);
    const __m256 middle = _mm256_set1_ps(bits == 4 ? 8 : 128), most = _mm256_set1_ps(bits == 4 ? 15 : 255);
    for (size_t i = 0; codes && i < n; i += 8) {
        __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(w + i), _mm256_set1_ps(factor));
        __m256 code = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(scaled, middle), _mm256_setzero_ps()), most);
        __m256i whole = _mm256_cvttps_epi32(code);
        __m256 up = _mm256_cmp_ps(_mm256_sub_ps(code, _mm256_cvtepi32_ps(whole)), _mm256_set1_ps(0.5f), _CMP_GE_OQ);
        whole = _mm256_sub_epi32(whole, _mm256_castps_si256(up)); // minus -1
        __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64((__m128i *)(codes + i), _mm_packus_epi16(words, words));
    }
    return scale;
}
#endif
