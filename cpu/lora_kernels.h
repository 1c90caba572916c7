// The kernels of low-rank additions, see lora.h. Inside the package only.
//
//   down:      a group of 4 ranks of A x, for rows [row, row+rows) of x, to t (rows)
//   up:        tiles of 16 outputs: y[i*stride + 16*r + n] = from + B t for tile i and row r of t (rows, groups)
//   down_wide: a group of ranks, for rows of x (rows, inputs), to t, stride groups before the next row's
#ifndef SHAMMAH_CPU_LORA_KERNELS_H
#define SHAMMAH_CPU_LORA_KERNELS_H

#include "lora.h"

// What B t is added to, which may be where it goes: at[i*tile_stride + r*row_stride + n], zeros where at is NULL.
typedef struct {
    const float *at;
    size_t tile_stride, row_stride;
} lora_base;

// From so many rows on.
static inline lora_base base_from(lora_base b, size_t row) {
    return (lora_base){b.at ? b.at + row * b.row_stride : NULL, b.tile_stride, b.row_stride};
}

#define LORA_KERNELS(rung)                                                                                                                        \
    void lora_down_##rung(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t);                                 \
    void lora_up_##rung(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride);  \
    void lora_down_wide_##rung(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride);                     \
    void lora_up_wide_##rung(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride);

// In the order of struct linear_rung.
#define LORA_RUNG(rung) lora_down_##rung, lora_up_##rung, lora_down_wide_##rung, lora_up_wide_##rung

LORA_KERNELS(plain)
#if defined(__x86_64__)
LORA_KERNELS(avx2)
LORA_KERNELS(avx512)
#elif defined(__aarch64__)
LORA_KERNELS(neon)
#endif

#endif
