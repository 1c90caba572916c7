// The kernels of low-rank additions, see lora.h. Inside the package only.
//
//   down: one group of 4 ranks: t[r*stride + j] for row r of x, which is ld floats before the next
//   up:   one tile of 16 outputs: y[16*r + n] for row r of t, which is ld floats before the next, on top of from, which may be y
#ifndef SHAMMAH_CPU_LORA_KERNELS_H
#define SHAMMAH_CPU_LORA_KERNELS_H

#include "lora.h"

#define LORA_KERNELS(rung)                                                                                                     \
    void lora_down_##rung(const void *a, bool narrow, size_t inputs, const float *x, size_t ld, size_t rows, float *t,         \
                          size_t stride);                                                                                      \
    void lora_up_##rung(const void *b, bool narrow, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y);

LORA_KERNELS(plain)
#if defined(__x86_64__)
LORA_KERNELS(avx2)
LORA_KERNELS(avx512)
#elif defined(__aarch64__)
LORA_KERNELS(neon)
#endif

#endif
