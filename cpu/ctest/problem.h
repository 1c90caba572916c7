// What the tests of attention share: a problem of random numbers, its solution by the kernels, part by part in memory of the
// exact size, and by the definition in double precision.
#ifndef SHAMMAH_CPU_PROBLEM_H
#define SHAMMAH_CPU_PROBLEM_H

#include "../attention.h"
#include "check.h"

struct problem {
    cpu_attention a;
    size_t length; // tokens in all
    float *q, *k, *v, *cos, *sin, *sink;
    void *keys, *values;
    float *y;
};

static inline void *room(size_t n, size_t size) {
    void *p = malloc(n * size + (n == 0));
    CHECK(p, "no memory for %zu elements", n);
    return p;
}

static inline float *randoms(size_t n, float scale, uint32_t *seed) {
    float *x = room(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_logit(seed) * scale;
    }
    return x;
}

static inline size_t cache_size(const struct problem *p) { return (size_t)p->a.kv_heads * p->a.capacity * p->a.head_dim; }

// Nothing lies in the cache yet: every place of it is NaN.
static inline void clear_cache(struct problem *p) {
    memset(p->keys, 0xff, cache_size(p) * (p->a.half ? 2 : 4));
    memset(p->values, 0xff, cache_size(p) * (p->a.half ? 2 : 4));
}

static inline struct problem problem(cpu_attention a, size_t length, bool sink, uint32_t *seed) {
    struct problem p = {.a = a, .length = length};
    p.a.capacity = (uint32_t)length;
    p.q = randoms(length * a.heads * a.head_dim, 0.25f, seed);
    p.k = randoms(length * a.kv_heads * a.head_dim, 0.25f, seed);
    p.v = randoms(length * a.kv_heads * a.head_dim, 0.25f, seed);
    p.y = room(length * a.heads * a.head_dim, sizeof *p.y);
    p.sink = sink ? randoms(a.heads, 0.5f, seed) : NULL;
    const size_t half = a.rotary_dim / 2;
    p.cos = room(length * half, sizeof *p.cos);
    p.sin = room(length * half, sizeof *p.sin);
    for (size_t i = 0; i < length * half; i++) { // any angle will do, and the C library's would differ in a last bit
        const float c = next_logit(seed) * 0.125f, square = c * c;
        p.cos[i] = c;
        p.sin[i] = sqrtf(1 - square);
    }
    p.a.cos = p.cos, p.a.sin = p.sin, p.a.sink = p.sink;
    p.keys = room(cache_size(&p), a.half ? 2 : 4);
    p.values = room(cache_size(&p), a.half ? 2 : 4);
    clear_cache(&p);
    return p;
}

static inline void free_problem(struct problem *p) {
    void *all[] = {p->q, p->k, p->v, p->y, p->sink, p->cos, p->sin, p->keys, p->values};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static inline cpu_sequence sequence(const struct problem *p, size_t past, size_t length) {
    const size_t q = (size_t)p->a.heads * p->a.head_dim, k = (size_t)p->a.kv_heads * p->a.head_dim;
    return (cpu_sequence){.q = p->q + past * q, .k = p->k + past * k, .v = p->v + past * k, .q_stride = q, .k_stride = k,
                          .v_stride = k, .length = length, .past = past, .keys = p->keys, .values = p->values,
                          .y = p->y + past * q};
}

static inline void append(const cpu_attention *a, const cpu_sequence *s) {
    for (size_t part = cpu_append_parts(a, s); part-- > 0;) {
        cpu_append(a, s, part);
    }
}

// Memory that ends where it ends and in which every float is NaN.
static inline void *poisoned(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    CHECK(p, "no memory for %zu bytes", bytes);
    memset(p, 0xff, bytes);
    return p;
}

// Runs tokens past to past+length-1; the parts in their order, backwards, or in one that the seed gives.
static inline void run(const struct problem *p, size_t past, size_t length, int order, uint32_t *seed) {
    const cpu_sequence s = sequence(p, past, length);
    append(&p->a, &s);
    const size_t parts = cpu_attend_parts(&p->a, &s), ends = cpu_attend_finish_parts(&p->a, &s);
    const size_t bytes = cpu_attend_local(&p->a, &s);
    void *scratch = poisoned(cpu_attend_scratch(&p->a, &s));
    size_t *at = room(parts, sizeof *at);
    for (size_t i = 0; i < parts; i++) {
        size_t j = order == 2 ? next_random(seed) % (i + 1) : i;
        at[i] = at[j];
        at[j] = order == 1 ? parts - 1 - i : i;
    }
    for (size_t i = 0; i < parts; i++) {
        void *local = poisoned(bytes);
        cpu_attend(&p->a, &s, at[i], scratch, local);
        free(local);
    }
    for (size_t i = 0; i < ends; i++) {
        cpu_attend_finish(&p->a, &s, order ? ends - 1 - i : i, scratch);
    }
    free(at);
    free(scratch);
}

// Whether two rows have the same bits, any NaN being like any other.
static inline bool same(const float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(x + i, y + i, sizeof *x) != 0 && !(isnan(x[i]) && isnan(y[i]))) {
            return false;
        }
    }
    return true;
}

static inline double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                   : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                  : ldexp(fraction, -24);
    return bits & 0x8000 ? -value : value;
}

static inline double cached(const struct problem *p, const void *cache, size_t head, size_t position, size_t i) {
    const size_t at = (head * p->a.capacity + position) * p->a.head_dim + i;
    return p->a.half ? half_value(((const uint16_t *)cache)[at]) : (double)((const float *)cache)[at];
}

// One head's elements rotated, in double precision.
static inline void rotated(const struct problem *p, const float *x, size_t position, double *to) {
    const size_t half = p->a.rotary_dim / 2;
    for (size_t i = 0; i < p->a.head_dim; i++) {
        to[i] = (double)x[i];
    }
    for (size_t i = 0; i < half; i++) {
        const size_t one = p->a.interleaved ? 2 * i : i, two = p->a.interleaved ? 2 * i + 1 : i + half;
        const double c = (double)p->cos[position * half + i], s = (double)p->sin[position * half + i];
        to[one] = (double)x[one] * c - (double)x[two] * s;
        to[two] = (double)x[two] * c + (double)x[one] * s;
    }
}

// The definition, for one head of one token, over what lies in the cache.
static inline void attended(const struct problem *p, size_t token, size_t head, double *y) {
    const cpu_attention *a = &p->a;
    const size_t dim = a->head_dim, kv = head / (a->heads / a->kv_heads);
    double *q = room(dim, sizeof *q), *score = room(token + 1, sizeof *score), top = -INFINITY, sum = 0;
    rotated(p, p->q + (token * a->heads + head) * dim, token, q);
    size_t from = 0;
    if (a->window >= 0 && token + 1 > (size_t)a->window) {
        from = token + 1 - (size_t)a->window;
    }
    for (size_t i = from; i <= token; i++) {
        score[i] = 0;
        for (size_t d = 0; d < dim; d++) {
            score[i] += q[d] * cached(p, p->keys, kv, i, d) * (double)a->scale;
        }
        if (a->softcap > 0) {
            score[i] = (double)a->softcap * tanh(score[i] / (double)a->softcap);
        }
        top = score[i] > top ? score[i] : top;
    }
    memset(y, 0, dim * sizeof *y);
    for (size_t i = from; i <= token; i++) {
        const double weight = exp(score[i] - top);
        sum += weight;
        for (size_t d = 0; d < dim; d++) {
            y[d] += weight * cached(p, p->values, kv, i, d);
        }
    }
    sum += a->sink ? exp((double)a->sink[head] - top) : 0;
    for (size_t d = 0; d < dim; d++) {
        y[d] /= sum;
    }
    free(q);
    free(score);
}

#endif
