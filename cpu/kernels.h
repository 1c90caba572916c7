// Kernels over one row of logits. The semantics are in the documentation of Go's package cpu; this is what they share:
//
// A row is clean when it holds no NaN and no +Inf; -Inf is a masked token, and allowed. Only finite values can win.
// Equal values (-0 and +0 among them) are won by the lowest index.
#ifndef SHAMMAH_CPU_KERNELS_H
#define SHAMMAH_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t found; // argmax: the winner's index, -1 for none; top-k: how many were written
    bool ok;       // the row is clean and holds a finite value
} cpu_result;

cpu_result cpu_argmax_f32(const float *x, size_t n);
cpu_result cpu_argmax_f16(const uint16_t *x, size_t n);

// Writes the k best to index and value, which have room for k, in falling order; fewer where fewer are finite.
cpu_result cpu_topk(const float *x, size_t n, size_t k, int32_t *index, float *value);

// Replaces each x by exp(scale * (x - max)) / sum. NaN everywhere when argmax is not ok or scale is not positive.
void cpu_softmax(float *x, size_t n, float scale);

// The ladder: the rungs that this machine can execute, best first. NULL past the last one.
const char *cpu_rung_name(size_t i);
const char *cpu_rung_in_use(void);
void cpu_rung_set(size_t i);

#endif
