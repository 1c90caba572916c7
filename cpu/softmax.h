// What the rungs of softmax share: the constants of exp and the order of the sum. Every rung does the same operations in the
// same order, each rounded once, so that all give the same bits.
//
// exp(t), t <= 0: t = n ln 2 + r with |r| <= ln 2 / 2, and exp(r) is a polynomial of degree six (minimax in the relative
// error: 3.1e-9), computed with fused multiply-add. The relative error of the result is at most 7.8e-8 (measured over every
// float from EXP_LEAST to -2^-31). Below EXP_LEAST, where floats become subnormal, the result is 0. The sum and the quotient
// are each rounded once more: 2e-7 in all.
#ifndef SHAMMAH_CPU_SOFTMAX_H
#define SHAMMAH_CPU_SOFTMAX_H

#include "rungs.h"

#include <math.h>
#include <string.h>

#define EXP_LEAST -0x1.5d589ep+6f   // ln 2^-126
#define EXP_CLAMP -88.0f            // below EXP_LEAST, and small enough for n to fit an exponent
#define EXP_LOG2E 0x1.715476p+0f    // 1 / ln 2
#define EXP_MAGIC 0x1.8p+23f        // adding it rounds to an integer, which then lies in the low bits
#define EXP_LN2_HIGH 0x1.62e43p-1f
#define EXP_LN2_LOW -0x1.05c61p-29f
#define EXP_C6 0x1.6a23d0p-10f
#define EXP_C5 0x1.123a20p-7f
#define EXP_C4 0x1.5558f2p-5f
#define EXP_C3 0x1.555492p-3f
#define EXP_C2 0x1.fffffcp-2f
#define EXP_BIAS 127

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
