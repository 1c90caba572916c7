// Argmax, the plain rung: the meaning of every other one, and what takes the rows that are not clean.
#include "rungs.h"

#include <math.h>

cpu_result cpu_argmax_f32_plain(const float *x, size_t n) {
    float best = -INFINITY;
    int64_t at = -1;
    bool clean = true;
    for (size_t i = 0; i < n; i++) {
        clean &= x[i] < INFINITY; // false for NaN too
        if (x[i] > best && x[i] < INFINITY) {
            best = x[i];
            at = (int64_t)i;
        }
    }
    return (cpu_result){at, clean && at >= 0};
}

// Half-precision values are compared as integers: sign and magnitude become one signed number, in which both zeros are 0.
cpu_result cpu_argmax_f16_plain(const uint16_t *x, size_t n) {
    const int infinity = 0x7c00; // magnitudes above it are NaN
    int best = -infinity;
    int64_t at = -1;
    bool clean = true;
    for (size_t i = 0; i < n; i++) {
        int magnitude = x[i] & 0x7fff;
        int key = x[i] & 0x8000 ? -magnitude : magnitude;
        clean &= -infinity <= key && key < infinity;
        if (key > best && key < infinity) {
            best = key;
            at = (int64_t)i;
        }
    }
    return (cpu_result){at, clean && at >= 0};
}
