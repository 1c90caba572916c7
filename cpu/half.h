// float16 in plain C.
#ifndef SHAMMAH_CPU_HALF_H
#define SHAMMAH_CPU_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

// A float16 as a float, exact.
static inline float from_half(uint16_t h) {
    uint32_t magnitude = h & 0x7fff, sign = (uint32_t)(h & 0x8000) << 16, bits;
    if (magnitude >= 0x7c00) {
        bits = sign | 0x7f800000 | (magnitude & 0x3ff) << 13;
    } else if (magnitude >= 0x400) {
        bits = sign | ((magnitude << 13) + (112u << 23));
    } else {
        float f = (float)magnitude * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// To the nearest float16, ties to even. x is finite and below 2^16 less half a step.
static inline uint16_t to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits < 113u << 23) { // subnormal: the addition rounds where the last bit of it lies
        float f = fabsf(x) + 0.5f;
        memcpy(&bits, &f, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - (112u << 23)) >> 13);
}

#endif
