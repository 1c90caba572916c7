// What the rungs of softmax share: the order of the sum. Every rung does the same operations in the same order, each rounded
// once, so that all give the same bits. The relative error of exp is at most 7.8e-8 (see exp.h); the sum and the quotient are
// each rounded once more: 2e-7 in all.
#ifndef SHAMMAH_CPU_SOFTMAX_H
#define SHAMMAH_CPU_SOFTMAX_H

#include "exp.h"
#include "rungs.h"

// The sum has this many parts, value i going to part i % SUM_PARTS, in double precision.
#define SUM_PARTS 16

static inline float sum_of(double part[SUM_PARTS]) {
    for (size_t width = SUM_PARTS / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            part[i] += part[i + width];
        }
    }
    return (float)part[0];
}

// The last part of a row, filled up with values that add 0 to the sum.
static inline void pad(float to[SUM_PARTS], const float *x, size_t n) {
    for (size_t i = n; i < SUM_PARTS; i++) {
        to[i] = -INFINITY;
    }
    memcpy(to, x, n * sizeof *x);
}

#endif
