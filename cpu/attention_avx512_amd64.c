// The kernels of attention for AVX-512. Lanes are keys in the scores, so that a score is a sum in the order of its elements, and
// elements of the head in the output, so that it is a sum in the order of the keys.
#include "attention_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,f16c")))
#define INLINE __attribute__((always_inline)) AVX512 static inline
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PANEL 32    // packed keys: (keys/PANEL, dim, PANEL)

// The lanes that hold elements from to to-1 where the first lane holds element i.
INLINE __mmask16 lanes(size_t i, size_t from, size_t to) {
    uint32_t low = i < from ? 0xffffu << (from - i < 16 ? from - i : 16) : 0xffffu;
    uint32_t high = i + 16 > to ? 0xffffu >> (i + 16 - to < 16 ? i + 16 - to : 16) : 0xffffu;
    return (__mmask16)(low & high);
}

AVX512 static void rotate(const cpu_attention *a, const float *x, size_t position, float factor, float *to) {
    const size_t half = a->rotary_dim / 2;
    const float *cos = a->cos + position * half, *sin = a->sin + position * half;
    const __m512 f = _mm512_set1_ps(factor);
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    for (size_t i = 0; i < half; i += 16) {
        const __mmask16 here = lanes(i, 0, half), one = lanes(2 * i, 0, 2 * half), two = lanes(2 * i + 16, 0, 2 * half);
        __m512 c = _mm512_maskz_loadu_ps(here, cos + i), s = _mm512_maskz_loadu_ps(here, sin + i), even, odd;
        if (a->interleaved) {
            __m512 first = _mm512_maskz_loadu_ps(one, x + 2 * i), second = _mm512_maskz_loadu_ps(two, x + 2 * i + 16);
            even = _mm512_permutex2var_ps(first, evens, second);
            odd = _mm512_permutex2var_ps(first, odds, second);
        } else {
            even = _mm512_maskz_loadu_ps(here, x + i);
            odd = _mm512_maskz_loadu_ps(here, x + half + i);
        }
        __m512 new_even = _mm512_mul_ps(_mm512_fmsub_ps(even, c, _mm512_mul_ps(odd, s)), f);
        __m512 new_odd = _mm512_mul_ps(_mm512_fmadd_ps(odd, c, _mm512_mul_ps(even, s)), f);
        if (a->interleaved) {
            _mm512_mask_storeu_ps(to + 2 * i, one, _mm512_permutex2var_ps(new_even, low, new_odd));
            _mm512_mask_storeu_ps(to + 2 * i + 16, two, _mm512_permutex2var_ps(new_even, high, new_odd));
        } else {
            _mm512_mask_storeu_ps(to + i, here, new_even);
            _mm512_mask_storeu_ps(to + half + i, here, new_odd);
        }
    }
    for (size_t i = 2 * half; i < a->head_dim; i += 16) {
        const __mmask16 here = lanes(i, 0, a->head_dim);
        _mm512_mask_storeu_ps(to + i, here, _mm512_mul_ps(_mm512_maskz_loadu_ps(here, x + i), f));
    }
}

AVX512 static void narrow(const float *x, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i += 8) { // n is a multiple of 8
        __m512 v = _mm512_castps256_ps512(_mm256_loadu_ps(x + i));
        __m256i h = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(to + i), _mm256_castsi256_si128(h));
    }
}

AVX512 static void widen(const uint16_t *x, size_t n, float *to) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + i))));
    }
    if (i < n) { // 8 are left
        __m256i h = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(x + i)));
        _mm256_storeu_ps(to + i, _mm512_castps512_ps256(_mm512_cvtph_ps(h)));
    }
}

// Eight elements of a row of the cache, or sixteen.
INLINE __m256 eight(const void *row, size_t d, const bool half) {
    return half ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)row + d)))
                : _mm256_loadu_ps((const float *)row + d);
}

INLINE __m512 sixteen(const void *row, size_t d, __mmask16 here, const bool half) {
    return half ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(here, (const uint16_t *)row + d))
                : _mm512_maskz_loadu_ps(here, (const float *)row + d);
}

// Eight elements of sixteen keys. Row r < 4 of either half holds keys r and 4+r (second half: 8+r and 12+r), four elements a lane:
// 4x4 are transposed in each lane, and two shuffles put the keys' lanes in order.
INLINE void pack8(const char *const key[16], size_t d, const bool half, float *to) {
    __m512 t[2][4];
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        __m512 row[4];
        UNROLL
        for (size_t r = 0; r < 4; r++) {
            const __m512d low = _mm512_castps_pd(_mm512_castps256_ps512(eight(key[8 * h + r], d, half)));
            const __m256d high = _mm256_castps_pd(eight(key[8 * h + r + 4], d, half));
            row[r] = _mm512_castpd_ps(_mm512_insertf64x4(low, high, 1));
        }
        const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(row[0], row[1]));
        const __m512d cd = _mm512_castps_pd(_mm512_unpacklo_ps(row[2], row[3]));
        const __m512d ef = _mm512_castps_pd(_mm512_unpackhi_ps(row[0], row[1]));
        const __m512d gh = _mm512_castps_pd(_mm512_unpackhi_ps(row[2], row[3]));
        t[h][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        t[h][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
        t[h][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ef, gh));
        t[h][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ef, gh));
    }
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        _mm512_storeu_ps(to + i * PANEL, _mm512_shuffle_f32x4(t[0][i], t[1][i], 0x88));
        _mm512_storeu_ps(to + (4 + i) * PANEL, _mm512_shuffle_f32x4(t[0][i], t[1][i], 0xdd));
    }
}

INLINE void pack_of(const char *keys, size_t n, size_t dim, float *packed, const bool half) {
    for (size_t i = 0; i < n; i += 16) {
        const char *key[16];
        for (size_t j = 0; j < 16; j++) { // behind the last key its scores are repeated, and not used
            key[j] = keys + (i + j < n ? i + j : n - 1) * dim * (half ? 2 : 4);
        }
        float *to = packed + i / PANEL * PANEL * dim + i % PANEL;
        for (size_t d = 0; d < dim; d += 8) {
            pack8(key, d, half, to + d * PANEL);
        }
    }
}

AVX512 static void pack(const void *keys, bool half, size_t n, size_t dim, float *packed) {
    if (half) {
        pack_of(keys, n, dim, packed, true);
    } else {
        pack_of(keys, n, dim, packed, false);
    }
}

INLINE void scores_of(const float *q, size_t dim, const float *packed, size_t from, size_t to, float *s, const char *near,
                      const size_t rows) {
    for (size_t i = from / PANEL * PANEL; i < to; i += PANEL) {
        const float *key = packed + i * dim;
        __m512 sum[TILE_ROWS][2];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r][0] = sum[r][1] = _mm512_setzero_ps();
        }
        for (size_t d = 0; d < dim; d++) {
            const __m512 k0 = _mm512_loadu_ps(key + d * PANEL), k1 = _mm512_loadu_ps(key + d * PANEL + 16);
            _mm_prefetch(near, _MM_HINT_T1); // into L1 it would wait in line with the loads
            _mm_prefetch(near + 64, _MM_HINT_T1);
            near += 128;
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const __m512 x = _mm512_set1_ps(q[d * TILE_ROWS + r]);
                sum[r][0] = _mm512_fmadd_ps(x, k0, sum[r][0]);
                sum[r][1] = _mm512_fmadd_ps(x, k1, sum[r][1]);
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm512_storeu_ps(s + r * KEYS + i, sum[r][0]);
            _mm512_storeu_ps(s + r * KEYS + i + 16, sum[r][1]);
        }
    }
}

#define SCORES(n)                                                                                                              \
    case n:                                                                                                                    \
        scores_of(q, dim, packed, from, to, s, near, n);                                                                             \
        break;

AVX512 static void scores(const float *q, size_t rows, size_t dim, const float *packed, size_t from, size_t to, float *s,
                          const char *near) {
    switch (rows) {
        SCORES(1) SCORES(2) SCORES(3) SCORES(4) SCORES(5) SCORES(6) SCORES(7)
        SCORES(8) SCORES(9) SCORES(10) SCORES(11) SCORES(12) SCORES(13) SCORES(14)
    }
}

INLINE __m512 exp2_avx512(__m512 t) {
    const __m512 magic = _mm512_set1_ps(EXP2_MAGIC);
    t = _mm512_max_ps(_mm512_set1_ps(EXP2_LEAST), t); // the second operand where one is NaN
    __m512 shifted = _mm512_add_ps(t, magic);
    __m512 r = _mm512_sub_ps(t, _mm512_sub_ps(shifted, magic));
    __m512 p = _mm512_set1_ps(EXP2_C5);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

INLINE __m512 tanh_avx512(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-TANH_MOST), _mm512_min_ps(_mm512_set1_ps(TANH_MOST), x));
    __m512 xx = _mm512_mul_ps(x, x), p = _mm512_set1_ps(TANH_P13), q = _mm512_set1_ps(TANH_Q6);
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P11));
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P9));
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P7));
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P5));
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P3));
    p = _mm512_fmadd_ps(p, xx, _mm512_set1_ps(TANH_P1));
    q = _mm512_fmadd_ps(q, xx, _mm512_set1_ps(TANH_Q4));
    q = _mm512_fmadd_ps(q, xx, _mm512_set1_ps(TANH_Q2));
    q = _mm512_fmadd_ps(q, xx, _mm512_set1_ps(TANH_Q0));
    return _mm512_div_ps(_mm512_mul_ps(p, x), q);
}

INLINE __m512 top_of(float *s, __mmask16 here, float cap, __m512 best) {
    __m512 x = _mm512_mask_loadu_ps(best, here, s);
    if (cap > 0) {
        x = _mm512_mul_ps(tanh_avx512(x), _mm512_set1_ps(cap));
        _mm512_mask_storeu_ps(s, here, x);
    }
    return _mm512_mask_max_ps(best, here, x, best); // the second where one is NaN
}

INLINE __m512 weight_of(float *s, __mmask16 here, __m512 best, __m512 total) {
    __m512 x = exp2_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(here, s), best));
    _mm512_mask_storeu_ps(s, here, x);
    return _mm512_mask_add_ps(total, here, total, x);
}

AVX512 static void weigh(float *s, size_t from, size_t to, float cap, float *sum, float *top) {
    const size_t first = from / 16 * 16, last = (to - 1) / 16 * 16; // the vectors that may not be full
    const __mmask16 head = lanes(first, from, to), tail = lanes(last, from, to);
    __m512 best = top_of(s + first, head, cap, _mm512_set1_ps(NO_SCORE)), total = _mm512_setzero_ps();
    for (size_t i = first + 16; i < last; i += 16) {
        best = top_of(s + i, 0xffff, cap, best);
    }
    best = first < last ? top_of(s + last, tail, cap, best) : best;
    *top = _mm512_reduce_max_ps(best);
    best = _mm512_set1_ps(*top);
    total = weight_of(s + first, head, best, total);
    for (size_t i = first + 16; i < last; i += 16) {
        total = weight_of(s + i, 0xffff, best, total);
    }
    total = first < last ? weight_of(s + last, tail, best, total) : total;
    _mm512_storeu_ps(sum, total);
}

// As many as 7 rows and 64 elements. last are the lanes of the last vector that there are; near is to be brought nearer meanwhile.
INLINE void mix_of(const float *w, size_t from, size_t to, const char *v, size_t dim, float *row, const char *near,
                   const size_t rows, const size_t width, __mmask16 last, const bool half) {
    const size_t stride = row_floats(dim);
    __m512 sum[7][4];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            sum[r][c] = _mm512_maskz_loadu_ps(c + 1 < width ? 0xffff : last, row + r * stride + 16 * c);
        }
    }
    for (size_t i = from; i < to; i++) {
        __m512 value[4];
        UNROLL
        for (size_t c = 0; c < width; c++) {
            value[c] = sixteen(v + i * dim * (half ? 2 : 4), 16 * c, c + 1 < width ? 0xffff : last, half);
        }
        UNROLL
        for (size_t c = 0; c < width; c++) {
            if (!half || c % 2 == 0) {
                _mm_prefetch(near + (half ? 32 : 64) * c, _MM_HINT_T1);
            }
        }
        near += half ? 128 : 256;
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const __m512 x = _mm512_set1_ps(w[r * KEYS + i]);
            UNROLL
            for (size_t c = 0; c < width; c++) {
                sum[r][c] = _mm512_fmadd_ps(x, value[c], sum[r][c]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            _mm512_mask_storeu_ps(row + r * stride + 16 * c, c + 1 < width ? 0xffff : last, sum[r][c]);
        }
    }
}

#define MIX(n)                                                                                                                 \
    case n:                                                                                                                    \
        mix_of(w, from, to, v, dim, row, near, n, width, last, half);                                                          \
        break;

INLINE void mix_rows(const float *w, size_t rows, size_t from, size_t to, const char *v, size_t dim, float *row,
                     const char *near, const size_t width, __mmask16 last, const bool half) {
    switch (rows) { MIX(1) MIX(2) MIX(3) MIX(4) MIX(5) MIX(6) MIX(7) }
}

INLINE void mix_all(const float *weights, size_t rows, size_t from, size_t to, const char *values, size_t dim, float *row,
                    const bool half) {
    for (size_t r = 0; from < to && r < rows; r += 7) {
        const size_t n = rows - r < 7 ? rows - r : 7, size = half ? 2 : 4;
        const float *w = weights + r * KEYS;
        for (size_t d = 0; d < dim; d += 64) {
            const size_t left = dim - d;
            // Each column of 64 elements brings its share of the keys behind nearer.
            const char *v = values + d * size, *near = values + (to * dim + d * (to - from)) * size;
            float *o = row + r * row_floats(dim) + d;
            if (left > 48) {
                mix_rows(w, n, from, to, v, dim, o, near, 4, lanes(48, 0, left), half);
            } else if (left > 32) {
                mix_rows(w, n, from, to, v, dim, o, near, 3, lanes(32, 0, left), half);
            } else if (left > 16) {
                mix_rows(w, n, from, to, v, dim, o, near, 2, lanes(16, 0, left), half);
            } else {
                mix_rows(w, n, from, to, v, dim, o, near, 1, lanes(0, 0, left), half);
            }
        }
    }
}

AVX512 static void mix(const float *weights, size_t rows, size_t from, size_t to, const void *values, bool half, size_t dim,
                       float *row) {
    if (half) {
        mix_all(weights, rows, from, to, values, dim, row, true);
    } else {
        mix_all(weights, rows, from, to, values, dim, row, false);
    }
}

AVX512 static void merge(float *row, const float *block, size_t dim) {
    float *top = row_top(row, dim);
    const float other = block[dim + SUM_LANES], best = other > *top ? other : *top;
    const __m512 old = exp2_avx512(_mm512_set1_ps(*top - best)), new = exp2_avx512(_mm512_set1_ps(other - best));
    for (size_t i = 0; i < dim + SUM_LANES; i += 16) {
        const __mmask16 here = lanes(i, 0, dim + SUM_LANES);
        __m512 kept = _mm512_mul_ps(_mm512_maskz_loadu_ps(here, row + i), old);
        _mm512_mask_storeu_ps(row + i, here, _mm512_fmadd_ps(_mm512_maskz_loadu_ps(here, block + i), new, kept));
    }
    *top = best;
}

AVX512 static void finish(float *row, const float *sink, size_t dim, float *y) {
    const float top = *row_top(row, dim);
    float total = row_total(row_sum(row, dim)), share = 1;
    if (sink) {
        const float score = *sink * LOG2E, best = score > top ? score : top;
        __m512 part = _mm512_set1_ps(top - best), rest = exp2_avx512(_mm512_set1_ps(score - best));
        part = exp2_avx512(part);
        share = _mm512_cvtss_f32(part);
        total = _mm512_cvtss_f32(_mm512_fmadd_ps(_mm512_set1_ps(total), part, rest));
    }
    const __m512 factor = _mm512_set1_ps(share / total);
    for (size_t i = 0; i < dim; i += 16) {
        const __mmask16 here = lanes(i, 0, dim);
        _mm512_mask_storeu_ps(y + i, here, _mm512_mul_ps(_mm512_maskz_loadu_ps(here, row + i), factor));
    }
}

const struct cpu_attention_rung cpu_attention_avx512 = {TILE_ROWS, PANEL, rotate, narrow, widen, pack, scores,
                                                        weigh,     mix,    merge,  finish};
#endif
