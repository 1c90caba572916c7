// Random layers for the tests of the linear kernels. Everything lies in memory of its exact size.
#ifndef SHAMMAH_CPU_LAYER_H
#define SHAMMAH_CPU_LAYER_H

#include "../linear.h"
#include "check.h"

typedef struct {
    uint32_t outputs, inputs;
    uint16_t block;
    uint8_t bits;
    int zeros; // 0: none, 1: one byte each, 2: packed
    int half;  // scales
    float size; // of scales
} shape;

// A matrix as a model has it, and packed.
typedef struct {
    shape s;
    size_t blocks, zero_bytes;
    uint8_t *codes, *zeros, *tiles;
    void *scales;
    cpu_matrix m;
    cpu_codes c;
} matrix;

static inline void *exactly(size_t bytes) {
    void *p = malloc(bytes + (bytes == 0));
    CHECK(p, "no memory for %zu bytes", bytes);
    return p;
}

static inline float half_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float v = exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return h & 0x8000 ? -v : v;
}

static inline void new_matrix(matrix *x, shape s, uint32_t *seed) {
    x->s = s;
    x->blocks = s.inputs / s.block;
    size_t codes = (size_t)s.outputs * s.inputs * s.bits / 8, n = s.outputs * x->blocks;
    x->codes = exactly(codes);
    for (size_t i = 0; i < codes; i++) {
        x->codes[i] = (uint8_t)(next_random(seed) >> 8);
    }
    x->scales = exactly(n * (s.half ? 2 : 4));
    for (size_t i = 0; i < n; i++) {
        float v = s.size * (float)(1 + next_random(seed) % 1000) / 500 * (next_random(seed) % 4 ? 1 : -1);
        if (s.half) {
            uint32_t r = next_random(seed), exponent = s.size < 1e-3f ? 0 : (s.size > 1000 ? 29 : 4) + (r >> 10 & 1);
            ((uint16_t *)x->scales)[i] = (uint16_t)((r & 0x83ff) | exponent << 10);
        } else {
            ((float *)x->scales)[i] = v;
        }
    }
    size_t packed = (x->blocks * s.bits + 7) / 8;
    x->zero_bytes = s.zeros == 2 ? s.outputs * packed : s.zeros == 1 ? n : 0;
    x->zeros = exactly(x->zero_bytes);
    for (size_t i = 0; i < x->zero_bytes; i++) {
        x->zeros[i] = (uint8_t)(next_random(seed) >> 8) & (s.zeros == 1 && s.bits == 4 ? 15 : 255);
    }
    x->m = (cpu_matrix){.outputs = s.outputs, .inputs = s.inputs, .block = s.block, .bits = s.bits, .zeros = s.zeros != 0};
    x->c = (cpu_codes){x->codes, x->scales, s.half, s.zeros ? x->zeros : NULL, s.zeros == 2};
    size_t tiles = (s.outputs + 15) / 16, bytes = tiles * cpu_tile_bytes(&x->m);
    CHECK(bytes % 64 == 0, "a tile is no multiple of 64 bytes");
    x->tiles = aligned_alloc(64, bytes);
    CHECK(x->tiles, "no memory");
    memset(x->tiles, 0xaa, bytes);
    x->m.tiles = x->tiles;
    CHECK(cpu_pack(&x->m, x->tiles, 0, tiles, &x->c) == 0, "packing failed");
}

static inline void free_matrix(matrix *x) {
    free(x->codes);
    free(x->scales);
    free(x->zeros);
    free(x->tiles);
}

static inline int code_at(const matrix *x, size_t n, size_t k) {
    size_t i = n * x->s.inputs + k;
    return x->s.bits == 8 ? x->codes[i] : x->codes[i / 2] >> (i % 2 * 4) & 15;
}

static inline int zero_of(const matrix *x, size_t n, size_t b) {
    if (x->s.zeros == 2 && x->s.bits == 4) {
        return x->zeros[n * ((x->blocks + 1) / 2) + b / 2] >> (b % 2 * 4) & 15;
    }
    return x->s.zeros ? x->zeros[n * x->blocks + b] : x->s.bits == 4 ? 8 : 128;
}

static inline double scale_of(const matrix *x, size_t n, size_t b) {
    size_t i = n * x->blocks + b;
    return x->s.half ? (double)half_value(((uint16_t *)x->scales)[i]) : (double)((float *)x->scales)[i];
}

// The weight as the model has it.
static inline double weight(const matrix *x, size_t n, size_t k) {
    size_t b = k / x->s.block;
    return (code_at(x, n, k) - zero_of(x, n, b)) * scale_of(x, n, b);
}

typedef struct {
    size_t rows, inputs, units;
    int8_t *q;
    float *scale;
    int32_t *sum;
    cpu_activations a;
} rows;

static inline void new_rows(rows *x, size_t n, size_t inputs, size_t unit, const float *values) {
    *x = (rows){n, inputs, inputs / unit, NULL, NULL, NULL, {0}};
    x->q = exactly(n * inputs);
    x->scale = exactly(n * x->units * sizeof *x->scale);
    x->sum = exactly(n * x->units * sizeof *x->sum);
    for (size_t r = 0; r < n; r++) {
        cpu_quantise(values + r * inputs, inputs, unit, x->q + r * inputs, x->scale + r * x->units, x->sum + r * x->units);
    }
    x->a = (cpu_activations){x->q, x->scale, x->sum, n, inputs, unit};
}

static inline void free_rows(rows *x) {
    free(x->q);
    free(x->scale);
    free(x->sum);
}

#endif
