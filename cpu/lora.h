// Low-rank additions to the products of a layer: y += B (s A x), with few ranks. Every rung computes the same values, bit for bit:
//
//   t[j] = sum over k of a[j][k] x[k], as 16 sums over k = i mod 16, each in order of k, which are then added in halves:
//          i and i+8, i and i+4, i and i+2, i and i+1; times the factor of rank j, times the scale of the use
//   y    = y + sum over even j of b[n][j] t[j], each added in order, and then the sum over odd j
//
// so that a result does not depend on how many rows there are, where its row lies, how work is split among threads, or on the rung.
#ifndef SHAMMAH_CPU_LORA_H
#define SHAMMAH_CPU_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_RANKS = 4 }; // that lie, and are computed, together

// One addition, packed, to outputs [first, first+outputs) of a matrix (outputs, inputs). Its values are float32, or float16 relative to
// a power of two of each rank of A and of B, so that their range never hurts: an error of at most 2^-11 of each, or 2^-39 of the rank's largest.
//
// 1. a, for each group of 4 ranks, for each 16 inputs: 4 ranks of 16 values. What is not there is 0.
// 2. b, for each tile of 16 outputs of the matrix that it touches: all ranks, 16 values each. What is not there is 0.
// 3. factors (ranks up to a multiple of 4): the powers of two, and the module's own scale.
typedef struct {
    uint32_t rank, inputs, first, outputs;
    bool half;
    const void *a, *b;
    const float *factors;
} cpu_addition;

// The memory of a packed addition, a multiple of 64.
size_t cpu_addition_bytes(const cpu_addition *p);

// Packs A (rank, inputs) and B (outputs, rank) into memory of that size, 64-byte aligned, and points p there. false where a value is NaN or infinite.
bool cpu_addition_pack(cpu_addition *p, float scale, const float *a, const float *b, void *into);

// What is added to rows [from, to): B t.
typedef struct {
    const cpu_addition *addition;
    size_t from, to;
    float scale;
    float *t; // (to - from, ranks up to a multiple of 4)
} cpu_addend;

typedef struct {
    const cpu_addend *list;
    size_t n;
} cpu_addends;

// One group of ranks of t, of rows [row, row+rows) counted from the addend's first; x is its first row, ld floats before the next.
void cpu_addend_down(const cpu_addend *p, size_t group, const float *x, size_t ld, size_t row, size_t rows);

// Adds to a tile of 16 outputs of rows [row, row+rows): y[r*stride + n], r counted from the first of these.
void cpu_addends_up(const cpu_addends *p, size_t tile, size_t row, size_t rows, float *y, size_t stride);

#endif
