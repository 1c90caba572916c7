// The kernels of attention for AVX2, with FMA and F16C. Lanes as for AVX-512.
#include "attention_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define INLINE __attribute__((always_inline)) AVX2 static inline
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define ROWS 12  // of a tile
#define STRIPE 6 // rows that are in registers together
#define PANEL 16 // packed keys: (keys/PANEL, dim, PANEL)

// Rows are taken in stripes of about the same size.
INLINE size_t stripe_of(size_t rows) {
    const size_t stripes = (rows + STRIPE - 1) / STRIPE;
    return (rows + stripes - 1) / stripes;
}

// Eight elements of a row of the cache.
INLINE __m256 eight(const void *row, size_t i, const bool half) {
    return half ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)row + i)))
                : _mm256_loadu_ps((const float *)row + i);
}

AVX2 static void rotate(const cpu_attention *a, const float *x, size_t position, float factor, float *to) {
    const size_t half = a->rotary_dim / 2;
    if (half % 8) {
        cpu_attention_plain.rotate(a, x, position, factor, to);
        return;
    }
    const float *cos = a->cos + position * half, *sin = a->sin + position * half;
    const __m256 f = _mm256_set1_ps(factor);
    for (size_t i = 0; i < half; i += 8) {
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i), even, odd;
        if (a->interleaved) { // in the order 0 1 4 5 2 3 6 7, which unpacking undoes
            const __m256 first = _mm256_loadu_ps(x + 2 * i), second = _mm256_loadu_ps(x + 2 * i + 8);
            even = _mm256_shuffle_ps(first, second, 0x88);
            odd = _mm256_shuffle_ps(first, second, 0xdd);
            c = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(c), 0xd8));
            s = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(s), 0xd8));
        } else {
            even = _mm256_loadu_ps(x + i);
            odd = _mm256_loadu_ps(x + half + i);
        }
        const __m256 new_even = _mm256_mul_ps(_mm256_fmsub_ps(even, c, _mm256_mul_ps(odd, s)), f);
        const __m256 new_odd = _mm256_mul_ps(_mm256_fmadd_ps(odd, c, _mm256_mul_ps(even, s)), f);
        if (a->interleaved) {
            _mm256_storeu_ps(to + 2 * i, _mm256_unpacklo_ps(new_even, new_odd));
            _mm256_storeu_ps(to + 2 * i + 8, _mm256_unpackhi_ps(new_even, new_odd));
        } else {
            _mm256_storeu_ps(to + i, new_even);
            _mm256_storeu_ps(to + half + i, new_odd);
        }
    }
    for (size_t i = 2 * half; i < a->head_dim; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), f));
    }
}

AVX2 static void narrow(const float *x, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(to + i), h);
    }
}

AVX2 static void widen(const uint16_t *x, size_t n, float *to) {
    for (size_t i = 0; i < n; i += 8) {
        _mm256_storeu_ps(to + i, eight(x, i, true));
    }
}

// Eight elements of eight keys: pairs, then fours in each lane, then the lanes.
INLINE void pack8(const char *const key[8], size_t d, const bool half, float *to) {
    __m256 t[8];
    UNROLL
    for (size_t i = 0; i < 8; i += 4) {
        const __m256 r0 = eight(key[i], d, half), r1 = eight(key[i + 1], d, half);
        const __m256 r2 = eight(key[i + 2], d, half), r3 = eight(key[i + 3], d, half);
        const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(r0, r1)), cd = _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3));
        const __m256d ef = _mm256_castps_pd(_mm256_unpackhi_ps(r0, r1)), gh = _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ef, gh));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ef, gh));
    }
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * PANEL, _mm256_permute2f128_ps(t[i], t[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * PANEL, _mm256_permute2f128_ps(t[i], t[i + 4], 0x31));
    }
}

INLINE void pack_of(const char *keys, size_t n, size_t dim, float *packed, const bool half) {
    for (size_t i = 0; i < n; i += 8) {
        const char *key[8];
        for (size_t j = 0; j < 8; j++) { // behind the last key its scores are repeated, and not used
            key[j] = keys + (i + j < n ? i + j : n - 1) * dim * (half ? 2 : 4);
        }
        float *to = packed + i / PANEL * PANEL * dim + i % PANEL;
        for (size_t d = 0; d < dim; d += 8) {
            pack8(key, d, half, to + d * PANEL);
        }
    }
}

AVX2 static void pack(const void *keys, bool half, size_t n, size_t dim, float *packed) {
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
        __m256 sum[STRIPE][2];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r][0] = sum[r][1] = _mm256_setzero_ps();
        }
        for (size_t d = 0; d < dim; d++, near += 64) {
            const __m256 k0 = _mm256_loadu_ps(key + d * PANEL), k1 = _mm256_loadu_ps(key + d * PANEL + 8);
            _mm_prefetch(near, _MM_HINT_T1);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const __m256 x = _mm256_broadcast_ss(q + d * ROWS + r);
                sum[r][0] = _mm256_fmadd_ps(x, k0, sum[r][0]);
                sum[r][1] = _mm256_fmadd_ps(x, k1, sum[r][1]);
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            _mm256_storeu_ps(s + r * KEYS + i, sum[r][0]);
            _mm256_storeu_ps(s + r * KEYS + i + 8, sum[r][1]);
        }
    }
}

#define SCORES(n)                                                                                                              \
    case n:                                                                                                                    \
        scores_of(q + r, dim, packed, from, to, s + r * KEYS, near, n);                                                        \
        break;

AVX2 static void scores(const float *q, size_t rows, size_t dim, const float *packed, size_t from, size_t to, float *s,
                        const char *near) {
    const size_t stripe = stripe_of(rows);
    for (size_t r = 0; r < rows; r += stripe) {
        switch (rows - r < stripe ? rows - r : stripe) { SCORES(1) SCORES(2) SCORES(3) SCORES(4) SCORES(5) SCORES(6) }
    }
}

INLINE __m256 exp2_avx2(__m256 t) {
    const __m256 magic = _mm256_set1_ps(EXP2_MAGIC);
    t = _mm256_max_ps(_mm256_set1_ps(EXP2_LEAST), t); // the second operand where one is NaN
    const __m256 shifted = _mm256_add_ps(t, magic);
    const __m256 r = _mm256_sub_ps(t, _mm256_sub_ps(shifted, magic));
    __m256 p = _mm256_set1_ps(EXP2_C5);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP2_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP2_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP2_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP2_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}

INLINE __m256 tanh_avx2(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(-TANH_MOST), _mm256_min_ps(_mm256_set1_ps(TANH_MOST), x));
    const __m256 xx = _mm256_mul_ps(x, x);
    __m256 p = _mm256_set1_ps(TANH_P13), q = _mm256_set1_ps(TANH_Q6);
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P11));
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P9));
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P7));
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P5));
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P3));
    p = _mm256_fmadd_ps(p, xx, _mm256_set1_ps(TANH_P1));
    q = _mm256_fmadd_ps(q, xx, _mm256_set1_ps(TANH_Q4));
    q = _mm256_fmadd_ps(q, xx, _mm256_set1_ps(TANH_Q2));
    q = _mm256_fmadd_ps(q, xx, _mm256_set1_ps(TANH_Q0));
    return _mm256_div_ps(_mm256_mul_ps(p, x), q);
}

// Lanes of eight keys from i on that lie between from and to.
INLINE __m256i lanes(size_t i, size_t from, size_t to) {
    const __m256i key = _mm256_add_epi32(_mm256_set1_epi32((int)i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)from), key);
    return _mm256_andnot_si256(low, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)to), key));
}

INLINE __m256 top_of(float *s, __m256i here, float cap, __m256 best) {
    __m256 x = _mm256_maskload_ps(s, here);
    if (cap > 0) {
        x = _mm256_mul_ps(tanh_avx2(x), _mm256_set1_ps(cap));
        _mm256_maskstore_ps(s, here, x);
    }
    x = _mm256_max_ps(x, best); // the second where one is NaN
    return _mm256_blendv_ps(best, x, _mm256_castsi256_ps(here));
}

INLINE __m256 weight_of(float *s, __m256i here, __m256 best, __m256 total) {
    const __m256 x = exp2_avx2(_mm256_sub_ps(_mm256_maskload_ps(s, here), best));
    _mm256_maskstore_ps(s, here, x);
    return _mm256_add_ps(total, _mm256_and_ps(x, _mm256_castsi256_ps(here)));
}

INLINE float largest(__m256 v) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_shuffle_ps(h, h, 1)));
}

AVX2 static void weigh(float *s, size_t from, size_t to, float cap, float *sum, float *top) {
    const __m256i all = _mm256_set1_epi32(-1);
    __m256 best = _mm256_set1_ps(NO_SCORE), total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = from / 8 * 8; i < to; i += 8) {
        best = top_of(s + i, i >= from && i + 8 <= to ? all : lanes(i, from, to), cap, best);
    }
    *top = largest(best);
    best = _mm256_set1_ps(*top);
    for (size_t i = from / SUM_LANES * SUM_LANES; i < to; i += SUM_LANES) {
        if (i >= from && i + SUM_LANES <= to) {
            total[0] = weight_of(s + i, all, best, total[0]);
            total[1] = weight_of(s + i + 8, all, best, total[1]);
        } else {
            total[0] = weight_of(s + i, lanes(i, from, to), best, total[0]);
            total[1] = weight_of(s + i + 8, lanes(i + 8, from, to), best, total[1]);
        }
    }
    _mm256_storeu_ps(sum, total[0]);
    _mm256_storeu_ps(sum + 8, total[1]);
}

// 8 * width elements of a stripe.
INLINE void mix_of(const float *w, size_t from, size_t to, const char *v, size_t dim, float *row, const char *near,
                   const size_t rows, const size_t width, const bool half) {
    const size_t stride = row_floats(dim);
    __m256 sum[STRIPE][2];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            sum[r][c] = _mm256_loadu_ps(row + r * stride + 8 * c);
        }
    }
    for (size_t i = from; i < to; i++) {
        __m256 value[2];
        UNROLL
        for (size_t c = 0; c < width; c++) {
            value[c] = eight(v + i * dim * (half ? 2 : 4), 8 * c, half);
        }
        _mm_prefetch(near, _MM_HINT_T1);
        near += half ? 32 : 64;
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const __m256 x = _mm256_broadcast_ss(w + r * KEYS + i);
            UNROLL
            for (size_t c = 0; c < width; c++) {
                sum[r][c] = _mm256_fmadd_ps(x, value[c], sum[r][c]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            _mm256_storeu_ps(row + r * stride + 8 * c, sum[r][c]);
        }
    }
}

#define MIX(n)                                                                                                                 \
    case n:                                                                                                                    \
        if (dim - d >= 16) {                                                                                                   \
            mix_of(w, from, to, v, dim, o, near, n, 2, half);                                                                  \
        } else {                                                                                                               \
            mix_of(w, from, to, v, dim, o, near, n, 1, half);                                                                  \
        }                                                                                                                      \
        break;

INLINE void mix_all(const float *weights, size_t rows, size_t from, size_t to, const char *values, size_t dim, float *row,
                    const bool half) {
    const size_t stripe = stripe_of(rows), size = half ? 2 : 4;
    for (size_t r = 0; from < to && r < rows; r += stripe) {
        const float *w = weights + r * KEYS;
        for (size_t d = 0; d < dim; d += 16) {
            // Each column of 16 elements brings its share of the keys behind nearer.
            const char *v = values + d * size, *near = values + (to * dim + d * (to - from)) * size;
            float *o = row + r * row_floats(dim) + d;
            switch (rows - r < stripe ? rows - r : stripe) { MIX(1) MIX(2) MIX(3) MIX(4) MIX(5) MIX(6) }
        }
    }
}

AVX2 static void mix(const float *weights, size_t rows, size_t from, size_t to, const void *values, bool half, size_t dim,
                     float *row) {
    if (half) {
        mix_all(weights, rows, from, to, values, dim, row, true);
    } else {
        mix_all(weights, rows, from, to, values, dim, row, false);
    }
}

AVX2 static void merge(float *row, const float *block, size_t dim) {
    float *top = row_top(row, dim);
    const float other = block[dim + SUM_LANES], best = other > *top ? other : *top;
    const __m256 old = exp2_avx2(_mm256_set1_ps(*top - best)), new = exp2_avx2(_mm256_set1_ps(other - best));
    for (size_t i = 0; i < dim + SUM_LANES; i += 8) {
        const __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(row + i), old);
        _mm256_storeu_ps(row + i, _mm256_fmadd_ps(_mm256_loadu_ps(block + i), new, kept));
    }
    *top = best;
}

AVX2 static void finish(float *row, const float *sink, size_t dim, float *y) {
    const float top = *row_top(row, dim);
    float total = row_total(row_sum(row, dim)), share = 1;
    if (sink) {
        const float score = *sink * LOG2E, best = score > top ? score : top;
        const __m256 part = exp2_avx2(_mm256_set1_ps(top - best)), rest = exp2_avx2(_mm256_set1_ps(score - best));
        share = _mm256_cvtss_f32(part);
        total = _mm256_cvtss_f32(_mm256_fmadd_ps(_mm256_set1_ps(total), part, rest));
    }
    const __m256 factor = _mm256_set1_ps(share / total);
    for (size_t i = 0; i < dim; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(row + i), factor));
    }
}

const struct cpu_attention_rung cpu_attention_avx2 = {ROWS, PANEL, rotate, narrow, widen, pack, scores, weigh, mix, merge, finish};
#endif
