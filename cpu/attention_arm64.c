// The kernels of attention for 64-bit ARM. Lanes as for AVX-512.
#include "attention_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define INLINE __attribute__((always_inline)) static inline
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

// Four elements of a row of the cache.
INLINE float32x4_t four(const void *row, size_t i, const bool half) {
    return half ? vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)row + i))) : vld1q_f32((const float *)row + i);
}

// even * c - odd * s and odd * c + even * s, each product with s rounded by itself; then times factor.
INLINE float32x4x2_t rotated(float32x4_t even, float32x4_t odd, float32x4_t c, float32x4_t s, float factor) {
    const float32x4_t low = vmulq_f32(odd, s), high = vmulq_f32(even, s);
    const float32x4_t new_even = vfmaq_f32(vnegq_f32(low), even, c), new_odd = vfmaq_f32(high, odd, c);
    return (float32x4x2_t){{vmulq_n_f32(new_even, factor), vmulq_n_f32(new_odd, factor)}};
}

static void rotate(const cpu_attention *a, const float *x, size_t position, float factor, float *to) {
    const size_t half = a->rotary_dim / 2;
    if (half % 4) {
        cpu_attention_plain.rotate(a, x, position, factor, to);
        return;
    }
    const float *cos = a->cos + position * half, *sin = a->sin + position * half;
    for (size_t i = 0; i < half; i += 4) {
        const float32x4_t c = vld1q_f32(cos + i), s = vld1q_f32(sin + i);
        if (a->interleaved) {
            const float32x4x2_t pair = vld2q_f32(x + 2 * i);
            vst2q_f32(to + 2 * i, rotated(pair.val[0], pair.val[1], c, s, factor));
        } else {
            const float32x4x2_t pair = rotated(vld1q_f32(x + i), vld1q_f32(x + half + i), c, s, factor);
            vst1q_f32(to + i, pair.val[0]);
            vst1q_f32(to + half + i, pair.val[1]);
        }
    }
    for (size_t i = 2 * half; i < a->head_dim; i += 4) {
        vst1q_f32(to + i, vmulq_n_f32(vld1q_f32(x + i), factor));
    }
}

static void narrow(const float *x, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i += 4) {
        vst1_u16(to + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    }
}

static void widen(const uint16_t *x, size_t n, float *to) {
    for (size_t i = 0; i < n; i += 4) {
        vst1q_f32(to + i, four(x, i, true));
    }
}

// Four elements of four keys.
INLINE void pack4(const char *const key[4], size_t d, const bool half, float *to) {
    const float32x4_t r0 = four(key[0], d, half), r1 = four(key[1], d, half);
    const float32x4_t r2 = four(key[2], d, half), r3 = four(key[3], d, half);
    const float64x2_t ab = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1)), cd = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
    const float64x2_t ef = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1)), gh = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
    vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(ab, cd)));
    vst1q_f32(to + PANEL, vreinterpretq_f32_f64(vtrn1q_f64(ef, gh)));
    vst1q_f32(to + 2 * PANEL, vreinterpretq_f32_f64(vtrn2q_f64(ab, cd)));
    vst1q_f32(to + 3 * PANEL, vreinterpretq_f32_f64(vtrn2q_f64(ef, gh)));
}

INLINE void pack_of(const char *keys, size_t n, size_t dim, float *packed, const bool half) {
    for (size_t i = 0; i < n; i += 4) {
        const char *key[4];
        for (size_t j = 0; j < 4; j++) { // behind the last key its scores are repeated, and not used
            key[j] = keys + (i + j < n ? i + j : n - 1) * dim * (half ? 2 : 4);
        }
        float *to = packed + i / PANEL * PANEL * dim + i % PANEL;
        for (size_t d = 0; d < dim; d += 4) {
            pack4(key, d, half, to + d * PANEL);
        }
    }
}

static void pack(const void *keys, bool half, size_t n, size_t dim, float *packed) {
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
        float32x4_t sum[STRIPE][4];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = vdupq_n_f32(0);
        }
        for (size_t d = 0; d < dim; d++, key += PANEL, near += 64) {
            const float32x4_t k0 = vld1q_f32(key), k1 = vld1q_f32(key + 4), k2 = vld1q_f32(key + 8), k3 = vld1q_f32(key + 12);
            __builtin_prefetch(near, 0, 2);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const float x = q[d * ROWS + r];
                sum[r][0] = vfmaq_n_f32(sum[r][0], k0, x);
                sum[r][1] = vfmaq_n_f32(sum[r][1], k1, x);
                sum[r][2] = vfmaq_n_f32(sum[r][2], k2, x);
                sum[r][3] = vfmaq_n_f32(sum[r][3], k3, x);
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            UNROLL
            for (size_t c = 0; c < 4; c++) {
                vst1q_f32(s + r * KEYS + i + 4 * c, sum[r][c]);
            }
        }
    }
}

#define SCORES(n)                                                                                                              \
    case n:                                                                                                                    \
        scores_of(q + r, dim, packed, from, to, s + r * KEYS, near, n);                                                        \
        break;

static void scores(const float *q, size_t rows, size_t dim, const float *packed, size_t from, size_t to, float *s,
                   const char *near) {
    const size_t stripe = stripe_of(rows);
    for (size_t r = 0; r < rows; r += stripe) {
        switch (rows - r < stripe ? rows - r : stripe) { SCORES(1) SCORES(2) SCORES(3) SCORES(4) SCORES(5) SCORES(6) }
    }
}

INLINE float32x4_t exp2_neon(float32x4_t t) {
    const float32x4_t magic = vdupq_n_f32(EXP2_MAGIC);
    t = vmaxq_f32(t, vdupq_n_f32(EXP2_LEAST)); // NaN where one is NaN
    const float32x4_t shifted = vaddq_f32(t, magic);
    const float32x4_t r = vsubq_f32(t, vsubq_f32(shifted, magic));
    float32x4_t p = vdupq_n_f32(EXP2_C5);
    p = vfmaq_f32(vdupq_n_f32(EXP2_C4), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP2_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP2_C2), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP2_C1), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    return vmulq_f32(p, vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23)));
}

INLINE float32x4_t tanh_neon(float32x4_t x) {
    x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(TANH_MOST)), vdupq_n_f32(-TANH_MOST));
    const float32x4_t xx = vmulq_f32(x, x);
    float32x4_t p = vdupq_n_f32(TANH_P13), q = vdupq_n_f32(TANH_Q6);
    p = vfmaq_f32(vdupq_n_f32(TANH_P11), p, xx);
    p = vfmaq_f32(vdupq_n_f32(TANH_P9), p, xx);
    p = vfmaq_f32(vdupq_n_f32(TANH_P7), p, xx);
    p = vfmaq_f32(vdupq_n_f32(TANH_P5), p, xx);
    p = vfmaq_f32(vdupq_n_f32(TANH_P3), p, xx);
    p = vfmaq_f32(vdupq_n_f32(TANH_P1), p, xx);
    q = vfmaq_f32(vdupq_n_f32(TANH_Q4), q, xx);
    q = vfmaq_f32(vdupq_n_f32(TANH_Q2), q, xx);
    q = vfmaq_f32(vdupq_n_f32(TANH_Q0), q, xx);
    return vdivq_f32(vmulq_f32(p, x), q);
}

// Lanes of four keys from i on that lie between from and to.
INLINE uint32x4_t lanes(size_t i, size_t from, size_t to) {
    const uint32x4_t key = vaddq_u32(vdupq_n_u32((uint32_t)i), (uint32x4_t){0, 1, 2, 3});
    return vandq_u32(vcgeq_u32(key, vdupq_n_u32((uint32_t)from)), vcltq_u32(key, vdupq_n_u32((uint32_t)to)));
}

// The scores' memory has room for the whole block, so that lanes beyond the ends may be read and written.
static void weigh(float *s, size_t from, size_t to, float cap, float *sum, float *top) {
    const float32x4_t none = vdupq_n_f32(NO_SCORE);
    float32x4_t best = none, total[4];
    for (size_t i = from / 4 * 4; i < to; i += 4) {
        float32x4_t x = vld1q_f32(s + i);
        if (cap > 0) {
            x = vmulq_n_f32(tanh_neon(x), cap);
            vst1q_f32(s + i, x);
        }
        x = vbslq_f32(lanes(i, from, to), x, none);
        best = vmaxnmq_f32(best, x); // the other where one is NaN
    }
    *top = vmaxnmvq_f32(best);
    best = vdupq_n_f32(*top);
    UNROLL
    for (size_t c = 0; c < 4; c++) {
        total[c] = vdupq_n_f32(0);
    }
    for (size_t i = from / SUM_LANES * SUM_LANES; i < to; i += SUM_LANES) {
        UNROLL
        for (size_t c = 0; c < 4; c++) {
            const float32x4_t x = exp2_neon(vsubq_f32(vld1q_f32(s + i + 4 * c), best));
            vst1q_f32(s + i + 4 * c, x);
            const uint32x4_t kept = vandq_u32(vreinterpretq_u32_f32(x), lanes(i + 4 * c, from, to));
            total[c] = vaddq_f32(total[c], vreinterpretq_f32_u32(kept));
        }
    }
    UNROLL
    for (size_t c = 0; c < 4; c++) {
        vst1q_f32(sum + 4 * c, total[c]);
    }
}

// 4 * width elements of a stripe.
INLINE void mix_of(const float *w, size_t from, size_t to, const char *v, size_t dim, float *row, const char *near,
                   const size_t rows, const size_t width, const bool half) {
    const size_t stride = row_floats(dim);
    float32x4_t sum[STRIPE][4];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            sum[r][c] = vld1q_f32(row + r * stride + 4 * c);
        }
    }
    for (size_t i = from; i < to; i++) {
        float32x4_t value[4];
        UNROLL
        for (size_t c = 0; c < width; c++) {
            value[c] = four(v + i * dim * (half ? 2 : 4), 4 * c, half);
        }
        __builtin_prefetch(near, 0, 2);
        near += half ? 32 : 64;
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const float x = w[r * KEYS + i];
            UNROLL
            for (size_t c = 0; c < width; c++) {
                sum[r][c] = vfmaq_n_f32(sum[r][c], value[c], x);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < width; c++) {
            vst1q_f32(row + r * stride + 4 * c, sum[r][c]);
        }
    }
}

#define MIX(n)                                                                                                                 \
    case n:                                                                                                                    \
        if (dim - d >= 16) {                                                                                                   \
            mix_of(w, from, to, v, dim, o, near, n, 4, half);                                                                  \
        } else {                                                                                                               \
            mix_of(w, from, to, v, dim, o, near, n, 2, half);                                                                  \
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

static void mix(const float *weights, size_t rows, size_t from, size_t to, const void *values, bool half, size_t dim,
                float *row) {
    if (half) {
        mix_all(weights, rows, from, to, values, dim, row, true);
    } else {
        mix_all(weights, rows, from, to, values, dim, row, false);
    }
}

static void merge(float *row, const float *block, size_t dim) {
    float *top = row_top(row, dim);
    const float other = block[dim + SUM_LANES], best = other > *top ? other : *top;
    const float32x4_t old = exp2_neon(vdupq_n_f32(*top - best)), new = exp2_neon(vdupq_n_f32(other - best));
    for (size_t i = 0; i < dim + SUM_LANES; i += 4) {
        vst1q_f32(row + i, vfmaq_f32(vmulq_f32(vld1q_f32(row + i), old), vld1q_f32(block + i), new));
    }
    *top = best;
}

static void finish(float *row, const float *sink, size_t dim, float *y) {
    const float top = *row_top(row, dim);
    float total = row_total(row_sum(row, dim)), share = 1;
    if (sink) {
        const float score = *sink * LOG2E, best = score > top ? score : top;
        const float32x4_t part = exp2_neon(vdupq_n_f32(top - best)), rest = exp2_neon(vdupq_n_f32(score - best));
        share = vgetq_lane_f32(part, 0);
        total = vgetq_lane_f32(vfmaq_n_f32(rest, part, total), 0);
    }
    const float factor = share / total;
    for (size_t i = 0; i < dim; i += 4) {
        vst1q_f32(y + i, vmulq_n_f32(vld1q_f32(row + i), factor));
    }
}

const struct cpu_attention_rung cpu_attention_neon = {ROWS, PANEL, rotate, narrow, widen, pack, scores, weigh, mix, merge, finish};
#endif
