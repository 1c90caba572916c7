// The kernels of attention, the plain rung. fmaf and single roundings: see softmax_ref.c.
#include "attention_kernels.h"

#include <math.h>
#include <string.h>

// Products are kept in variables of their own, so that no compiler fuses them with the addition.
static void rotate(const cpu_attention *a, const float *x, size_t position, float factor, float *to) {
    const size_t half = a->rotary_dim / 2;
    for (size_t i = 0; i < half; i++) {
        const size_t even = a->interleaved ? 2 * i : i, odd = a->interleaved ? 2 * i + 1 : i + half;
        const float c = a->cos[position * half + i], s = a->sin[position * half + i];
        const float low = x[odd] * s, high = x[even] * s;
        to[even] = fmaf(x[even], c, -low) * factor;
        to[odd] = fmaf(x[odd], c, high) * factor;
    }
    for (size_t i = 2 * half; i < a->head_dim; i++) {
        to[i] = x[i] * factor;
    }
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Rounded to nearest, ties to even. Adding the right power of two leaves a float's last bit where the half's is.
static uint16_t half_of(float x) {
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    }
    if (magnitude >= 0x477ff000) { // 65520 and more
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { // below 2^-14: subnormal
        return (uint16_t)(sign | (bits_of(of_bits(magnitude) + 0.5f) - bits_of(0.5f)));
    }
    const uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

static float float_of(uint16_t x) {
    const uint32_t sign = (uint32_t)(x & 0x8000) << 16, magnitude = x & 0x7fff;
    if (magnitude >= 0x7c00) { // NaN is made quiet
        return of_bits(sign | 0x7f800000 | magnitude << 13 | (magnitude > 0x7c00 ? 0x400000 : 0));
    }
    return of_bits(sign | bits_of(of_bits(magnitude << 13) * 0x1p+112f));
}

static void narrow(const float *x, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = half_of(x[i]);
    }
}

static void widen(const uint16_t *x, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = float_of(x[i]);
    }
}

static void pack(const void *keys, bool half, size_t n, size_t dim, float *packed) {
    if (half) {
        widen(keys, n * dim, packed);
    } else {
        memcpy(packed, keys, n * dim * sizeof *packed);
    }
}

static void scores(const float *q, size_t rows, size_t dim, const float *packed, size_t from, size_t to, float *s,
                   const char *near) {
    (void)near;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = from; i < to; i++) {
            float sum = 0;
            for (size_t d = 0; d < dim; d++) {
                sum = fmaf(q[d * TILE_ROWS + r], packed[i * dim + d], sum);
            }
            s[r * KEYS + i] = sum;
        }
    }
}

static float exp2_plain(float t) {
    t = t < EXP2_LEAST ? EXP2_LEAST : t;
    float shifted = t + EXP2_MAGIC;
    float n = shifted - EXP2_MAGIC;
    float r = t - n;
    float p = EXP2_C5;
    p = fmaf(p, r, EXP2_C4);
    p = fmaf(p, r, EXP2_C3);
    p = fmaf(p, r, EXP2_C2);
    p = fmaf(p, r, EXP2_C1);
    p = fmaf(p, r, 1);
    return p * of_bits(bits_of(shifted) << 23);
}

static float tanh_plain(float x) {
    x = x < -TANH_MOST ? -TANH_MOST : x > TANH_MOST ? TANH_MOST : x;
    float xx = x * x, p = TANH_P13, q = TANH_Q6;
    p = fmaf(p, xx, TANH_P11);
    p = fmaf(p, xx, TANH_P9);
    p = fmaf(p, xx, TANH_P7);
    p = fmaf(p, xx, TANH_P5);
    p = fmaf(p, xx, TANH_P3);
    p = fmaf(p, xx, TANH_P1);
    q = fmaf(q, xx, TANH_Q4);
    q = fmaf(q, xx, TANH_Q2);
    q = fmaf(q, xx, TANH_Q0);
    return p * x / q;
}

static void weigh(float *s, size_t from, size_t to, float cap, float *sum, float *top) {
    float best = NO_SCORE;
    for (size_t i = from; i < to; i++) {
        s[i] = cap > 0 ? tanh_plain(s[i]) * cap : s[i];
        best = s[i] > best ? s[i] : best;
    }
    for (size_t i = from; i < to; i++) {
        s[i] = exp2_plain(s[i] - best);
        sum[i % SUM_LANES] += s[i];
    }
    *top = best;
}

static void mix(const float *weights, size_t rows, size_t from, size_t to, const void *values, bool half, size_t dim,
                float *row) {
    for (size_t i = from; i < to; i++) {
        for (size_t d = 0; d < dim; d++) {
            const size_t at = i * dim + d;
            const float value = half ? float_of(((const uint16_t *)values)[at]) : ((const float *)values)[at];
            for (size_t r = 0; r < rows; r++) {
                float *sum = row + r * row_floats(dim) + d;
                *sum = fmaf(weights[r * KEYS + i], value, *sum);
            }
        }
    }
}

static void merge(float *row, const float *block, size_t dim) {
    float *top = row + dim + SUM_LANES;
    const float other = block[dim + SUM_LANES], best = other > *top ? other : *top;
    const float old = exp2_plain(*top - best), new = exp2_plain(other - best);
    for (size_t i = 0; i < dim + SUM_LANES; i++) {
        const float kept = row[i] * old;
        row[i] = fmaf(block[i], new, kept);
    }
    *top = best;
}

static void finish(float *row, const float *sink, size_t dim, float *y) {
    const float top = *row_top(row, dim);
    float total = row_total(row_sum(row, dim)), share = 1;
    if (sink) {
        const float score = *sink * LOG2E, best = score > top ? score : top;
        share = exp2_plain(top - best);
        total = fmaf(total, share, exp2_plain(score - best));
    }
    const float factor = share / total;
    for (size_t i = 0; i < dim; i++) {
        y[i] = row[i] * factor;
    }
}

const struct cpu_attention_rung cpu_attention_plain = {TILE_ROWS, KEYS, rotate, narrow, widen, pack, scores,
                                                       weigh,     mix,    merge,  finish};
