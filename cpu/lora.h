// Low-rank additions to the products of a layer: y += B (s A x), with few ranks. Every rung computes the same values, bit for bit:
//
//   t[j] = sum over k of a[j][k] x[k], as 16 sums over k = i mod 16, each in order of k, which are then added in halves:
//          i and i+8, i and i+4, i and i+2, i and i+1; times the factor of rank j, times the scale of the use
//   bias + sum over even j of b[n][j] t[j], each added in order, and then the sum over odd j, is what is added to output n; where there are
//          several additions, each starts from the one before
//
// so that a result does not depend on how many rows there are, where its row lies, how work is split among threads, or on the rung.
#ifndef SHAMMAH_CPU_LORA_H
#define SHAMMAH_CPU_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_RANKS = 4 }; // that lie, and are computed, together

// One addition, packed, to outputs [first, first+outputs) of a matrix (outputs, inputs). Its values are float32, or 8 bits relative to the largest
// of each rank of A and of B: an error of at most 1/254 of that, about 1 % of what is added, where the model's own weights have 4 bits.
//
// 1. a, for each group of 4 ranks, for each 16 inputs: 4 ranks of 16 values. What is not there is 0.
// 2. b, for each tile of 16 outputs of the matrix that it touches: all ranks, 16 values each. What is not there is 0.
// 3. factors (ranks up to a multiple of 4): what makes up for the rounding, and the module's own scale.
typedef struct {
    uint32_t rank, inputs, first, outputs;
    bool narrow;
    const void *a, *b;
    const float *factors;
} cpu_addition;

// The memory of a packed addition, a multiple of 64.
size_t cpu_addition_bytes(const cpu_addition *p);

// Packs A (rank, inputs) and B (outputs, rank) into memory of that size, 64-byte aligned, and points p there. false where a value is NaN or infinite.
bool cpu_addition_pack(cpu_addition *p, float scale, const float *a, const float *b, void *into);

// What is added to rows [from, to): B t. The rest is of the addition, at hand for every tile.
typedef struct {
    const cpu_addition *addition;
    float *t; // (to - from, ranks)
    const char *b;
    size_t from, to, first, tiles; // tiles: of the matrix, from first on
    uint32_t ranks, tile_bytes;    // ranks: up to a multiple of 4
    float scale;
} cpu_addend;

// All but t.
cpu_addend cpu_addend_of(const cpu_addition *p, size_t from, size_t to, float scale);

typedef struct {
    const cpu_addend *list;
    size_t n, rows;
    const float *sums; // NULL, or what was added up before, bias and all, from the first tile of a call on: (tiles, rows, 16)
} cpu_addends;

// One group of ranks of t, of rows [row, row+rows) counted from the addend's first; x is its first row, ld floats before the next.
void cpu_addend_down(const cpu_addend *p, size_t group, const float *x, size_t ld, size_t row, size_t rows);

// What is added to a tile's outputs: 16 for each row, stride floats apart; a bias has stride 0. Nothing where at is NULL.
typedef struct {
    const float *at;
    size_t stride;
} tile_addend;

// From so many rows on.
static inline tile_addend addend_from(tile_addend a, size_t row) {
    return (tile_addend){a.at ? a.at + row * a.stride : NULL, a.stride};
}

// Copies that many rows of it, zeros where there is nothing, to (rows, 16).
void cpu_addend_copy(tile_addend a, size_t rows, float *into);

// What is added to a tile of rows [row, row+rows): bias, and what the addends add to it, which is written to into (rows, 16). bias alone where that
// is nothing.
tile_addend cpu_addends_up(const cpu_addends *p, size_t tile, size_t row, size_t rows, tile_addend bias, float *into);

#endif
