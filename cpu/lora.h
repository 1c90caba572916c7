// Low-rank additions to the products of a layer: y += B (s A x), with few ranks. Every rung computes the same values, bit for bit.
//
// Narrow ones, of 8 bits, take the quantised activations q of linear.h, whose units have scales:
//   t[j] = sum over units, in order, of fma((float)(sum of a[j][k] q[k]), scale, ...), as 8 sums over k/2 mod 8, which are then added in halves:
//          i and i+4, i and i+2, i and i+1; times the factor of rank j, times the scale of the use.
//          Each 4 ranks of t are then rounded to 16 bits, relative to the largest of them: to 0 where that is below 2^-100, and to a step
//          that is NaN where it is not finite
//   y[n] = fma((float)(sum over 4 ranks of b[n][j] t[j]), step, y[n]), for each 4 ranks in order
// Wide ones, of float32, take floats:
//   t[j] = sum over k of a[j][k] x[k], as 16 sums over k mod 16, each in order of k, which are then added in halves; times both as above
//   y[n] = fma(b[n][j], t[j], y[n]), for each rank in order
// y starts as the bias; where there are several additions, each starts from the one before.
//
// So a result does not depend on how many rows there are, where its row lies, how work is split among threads, or on the rung.
#ifndef SHAMMAH_CPU_LORA_H
#define SHAMMAH_CPU_LORA_H

#include "linear.h"

#include <stdbool.h>

enum { CPU_RANKS = 4 }; // that lie, and are computed, together: a group

// One addition, packed, to outputs [first, first+outputs) of a matrix (outputs, inputs). 8 bits are relative to the largest of each rank of A and of
// B: an error of at most 1/254 of that, about 1 % of what is added, where the model's own weights have 4 bits. What is not there is 0.
//
// down: for each group, for each 16 inputs, 4 ranks of 16 values; then factors, a float for each rank: what makes up for the rounding, and the
//       module's own scale.
// up:   for each tile of 16 outputs of the matrix that it touches, for each group: narrow, two times 16 outputs of 2 ranks; wide, 4 ranks of 16.
typedef struct {
    uint32_t rank, inputs, first, outputs;
    bool narrow;
    const void *down, *up;
} cpu_addition;

// The memory of a packed addition, multiples of 64. They are apart, so that those of additions that follow each other can lie together: a
// change from one stream of memory to another costs time.
size_t cpu_addition_down_bytes(const cpu_addition *p);
size_t cpu_addition_up_bytes(const cpu_addition *p);

// Packs A (rank, inputs) and B (outputs, rank) into memory of these sizes, 64-byte aligned, and points p there. false where a value or a factor is NaN or infinite.
bool cpu_addition_pack(cpu_addition *p, float scale, const float *a, const float *b, void *down, void *up);

// A group of ranks of t: narrow, rounded; wide, floats.
typedef struct {
    int16_t values[CPU_RANKS];
    float step;
} cpu_ranks;

typedef struct {
    float values[CPU_RANKS];
} cpu_ranks_wide;

// What is added to rows [from, to): B t. The rest is of the addition, at hand for every part.
typedef struct {
    const cpu_addition *addition;
    void *t; // (to - from, groups): cpu_ranks, or cpu_ranks_wide
    size_t from, to, groups, first, tiles; // tiles: of the matrix, from first on
    float scale;
} cpu_addend;

// All but t.
cpu_addend cpu_addend_of(const cpu_addition *p, size_t from, size_t to, float scale);

// The memory of t, a multiple of 4.
size_t cpu_addend_bytes(const cpu_addend *p);

typedef struct {
    const cpu_addend *list;
    size_t n;
} cpu_addends;

// One group of ranks of t, of rows [row, row+rows) counted from the addend's first. a, or for a wide one x (rows, inputs), has all rows.
void cpu_addend_down(const cpu_addend *p, size_t group, const cpu_activations *a, size_t row, size_t rows);
void cpu_addend_down_wide(const cpu_addend *p, size_t group, const float *x, size_t row, size_t rows);

// What is added to tiles [tile, tile+tiles) of rows [row, row+rows) of a matrix of so many outputs: bias, which may be NULL, and what the addends add.
void cpu_sums(const cpu_addends *p, size_t tile, size_t tiles, size_t row, size_t rows, const float *bias, size_t outputs, float *sums); // (tiles, rows, 16)

#endif
