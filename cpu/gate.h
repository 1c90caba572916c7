// What the rungs share of quantising and gating: constants and the order of operations, so that all give the same bits.
//
// SiLU and the tanh form of GELU are x / (1 + exp(-z)), with z = x and z = 2 sqrt(2 / pi) (x + 0.044715 x^3), as x * e / (1 + e)
// where z is negative. The erf form is x * erfc(-x / sqrt 2) / 2, with erfc(a) = t exp(-a^2 + P(t)), t = 1 / (1 + a / 2), from
// Numerical Recipes, whose relative error is 1.2e-7.
#ifndef SHAMMAH_CPU_GATE_H
#define SHAMMAH_CPU_GATE_H

#include <stdint.h>
#include <string.h>
#include <math.h>

#define GELU_LINE 1.5957691216f // 2 sqrt(2 / pi)
#define GELU_CUBE 0.0713548163f // that times 0.044715
#define SQRT_HALF 0.70710678f
#define ERFC_0 0.17087277f
#define ERFC_1 -0.82215223f
#define ERFC_2 1.48851587f
#define ERFC_3 -1.13520398f
#define ERFC_4 0.27886807f
#define ERFC_5 -0.18628806f
#define ERFC_6 0.09678418f
#define ERFC_7 0.37409196f
#define ERFC_8 1.00002368f
#define ERFC_9 -1.26551223f

// The scale of a unit whose largest magnitude has these bits, and what its values are multiplied by: 0 for one without a value
// (all 0, or so small that the quotient would overflow), and for one that is not finite, whose scale is NaN.
static inline float quantiser(uint32_t largest, float *scale) {
    float max;
    memcpy(&max, &largest, sizeof max);
    if (largest >= 0x7f800000) {
        *scale = NAN;
        return 0;
    }
    if (max < 0x1p-100f) {
        *scale = 0;
        return 0;
    }
    *scale = max / 127;
    return 127 / max;
}

#endif
