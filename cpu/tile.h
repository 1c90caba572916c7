// What the rungs of the linear kernels share: where the parts of a tile lie, and the table of what a rung provides.
#ifndef SHAMMAH_CPU_TILE_H
#define SHAMMAH_CPU_TILE_H

#include "half.h"
#include "lora_kernels.h"

#include <stdbool.h>
#include <string.h>

// At most this many rows go through a tile together, on any rung.
#define ROWS_MAX 16

typedef struct {
    const uint8_t *codes;
    const uint16_t *scales;
    const uint8_t *zeros; // NULL: all are the middle one
    const float *factors;
    size_t bytes;  // of the tile
    size_t blocks; // of inputs
    size_t units;  // of a block
    size_t groups; // of 64 bytes in a unit
    int bits;
    bool cold; // not yet read by the rows before: what lies ahead is prefetched
} tile_parts;

static inline size_t up_to_64(size_t n) { return (n + 63) & ~(size_t)63; }

// Where the parts begin in a tile, and where it ends.
typedef struct {
    size_t scales, zeros, factors, end;
} tile_offsets;

static inline tile_offsets offsets_of(const cpu_matrix *m) {
    size_t blocks = m->inputs / m->block, scales = (size_t)m->inputs * m->bits * 2;
    size_t zeros = scales + up_to_64(blocks * 32), factors = zeros + (m->zeros ? up_to_64(blocks * 16) : 0);
    return (tile_offsets){scales, zeros, factors, factors + 64};
}

static inline tile_parts parts_of(const cpu_matrix *m, size_t tile) {
    tile_offsets o = offsets_of(m);
    size_t unit = m->block < 32 ? 16 : 32;
    const uint8_t *at = m->tiles + tile * (m->apart ? m->apart : o.end);
    return (tile_parts){
        .codes = at,
        .scales = (const uint16_t *)(at + o.scales),
        .zeros = m->zeros ? at + o.zeros : NULL,
        .factors = (const float *)(at + o.factors),
        .bytes = o.end,
        .blocks = m->inputs / m->block,
        .units = m->block / unit,
        .groups = unit * m->bits / 32,
        .bits = m->bits,
        .cold = true,
    };
}

// What is added to a tile's outputs: 16 for each row, stride floats apart; a bias has stride 0. Nothing where at is NULL.
typedef struct {
    const float *at;
    size_t stride;
} tile_addend;

// From so many rows on.
static inline tile_addend addend_from(tile_addend a, size_t row) {
    return (tile_addend){a.at ? a.at + row * a.stride : NULL, a.stride};
}

// The kernels of a rung.
struct linear_rung {
    size_t rows; // that go through a tile together
    // Rows [row, row+rows), no more than the above, by one tile: y[r*stride + n], r and n counted from the first of these.
    void (*tile)(const tile_parts *t, const cpu_activations *a, size_t row, size_t rows, tile_addend bias, float *y,
                 size_t stride);
    void (*quantise)(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum);
    void (*gate)(int act, const float *gate, float *up, size_t n); // up = act(gate) * up, n a multiple of 16
    // The codes of a tile of up to 16 outputs, each stride bytes behind the one before.
    void (*pack)(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into);
    float (*largest)(const void *scales, bool half, size_t n); // magnitude; not finite where one is not
    void (*halve)(const void *scales, bool half, size_t n, float inverse, uint16_t *to); // each times inverse, as float16
    // The scale of a block of n weights; NaN or infinite where one is. And its codes, a byte each, unless codes is NULL.
    float (*quantise_weights)(const float *w, size_t n, int bits, uint8_t *codes);
    // Of low-rank additions, see lora_kernels.h.
    void (*down)(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t);
    void (*up)(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride);
    void (*down_wide)(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride);
    void (*up_wide)(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride);
};

extern const struct linear_rung linear_plain;
#if defined(__x86_64__)
extern const struct linear_rung linear_avx2, linear_avxvnni, linear_avx512, linear_avx512vnni;
#elif defined(__aarch64__)
extern const struct linear_rung linear_neon, linear_neondot;
#endif

#endif
