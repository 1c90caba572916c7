// What the vector rungs of argmax share.
#ifndef SHAMMAH_CPU_ARGMAX_H
#define SHAMMAH_CPU_ARGMAX_H

#include "rungs.h"

#include <math.h>
#include <string.h>

// A block is what is searched for the index afterwards: small enough to be quick, large enough that the horizontal maximum
// at its end costs nothing beside it.
#define BLOCK 1024

#define HALF_INFINITY 0x7c00

// The last part of a row, filled up with masked values to a whole number of vectors.
static inline const float *padded_f32(float *to, size_t size, const float *x, size_t n) {
    for (size_t i = n; i < size; i++) {
        to[i] = -INFINITY;
    }
    return memcpy(to, x, n * sizeof *x);
}

static inline const uint16_t *padded_f16(uint16_t *to, size_t size, const uint16_t *x, size_t n) {
    for (size_t i = n; i < size; i++) {
        to[i] = 0x8000 | HALF_INFINITY;
    }
    return memcpy(to, x, n * sizeof *x);
}

// The first place of best, which lies in the block that begins at i. The row has no NaN, but best may be an infinity.
static inline cpu_result winner_f32(const float *x, size_t n, size_t i, float best) {
    if (best == INFINITY) {
        return cpu_argmax_f32_plain(x, n);
    }
    if (best == -INFINITY) {
        return (cpu_result){-1, false};
    }
    while (x[i] != best) {
        i++;
    }
    return (cpu_result){(int64_t)i, true};
}

// The same, where best is sign and magnitude as one signed number. A NaN without a sign lies above infinity.
static inline cpu_result winner_f16(const uint16_t *x, size_t n, size_t i, int best) {
    if (best >= HALF_INFINITY) {
        return cpu_argmax_f16_plain(x, n);
    }
    if (best == -HALF_INFINITY) {
        return (cpu_result){-1, false};
    }
    while ((x[i] & 0x8000 ? -(x[i] & 0x7fff) : x[i]) != best) {
        i++;
    }
    return (cpu_result){(int64_t)i, true};
}

#endif
