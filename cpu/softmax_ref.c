// Softmax, the plain rung. fmaf is one instruction where the compiler may assume it, and a slow function of the C library on
// x86-64 from before 2013: the price of the same bits everywhere.
#include "softmax.h"

static inline float exp_plain(float t) {
    float c = t > EXP_CLAMP ? t : EXP_CLAMP;
    float shifted = fmaf(c, EXP_LOG2E, EXP_MAGIC);
    float n = shifted - EXP_MAGIC;
    float r = fmaf(-n, EXP_LN2_LOW, fmaf(-n, EXP_LN2_HIGH, c));
    float p = EXP_C6;
    p = fmaf(p, r, EXP_C5);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, 1);
    p = fmaf(p, r, 1);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + EXP_BIAS) << 23; // 2^n; what is above the exponent falls out
    float power;
    memcpy(&power, &bits, sizeof power);
    return t < EXP_LEAST ? 0 : p * power;
}

void cpu_softmax_plain(float *x, size_t n, float top, float scale) {
    double part[SUM_PARTS] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = exp_plain((x[i] - top) * scale);
        part[i % SUM_PARTS] += (double)x[i];
    }
    float sum = sum_of(part);
    for (size_t i = 0; i < n; i++) {
        x[i] /= sum;
    }
}
