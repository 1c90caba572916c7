// What both ways of packing share.
#ifndef SHAMMAH_CPU_PACK_H
#define SHAMMAH_CPU_PACK_H

#include "tile.h"

// The plain rung's, where others have nothing better.
void pack_plain(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into);
float largest_plain(const void *scales, bool half, size_t n);
void halve_plain(const void *scales, bool half, size_t n, float inverse, uint16_t *to);
float quantise_weights_plain(const float *w, size_t n, int bits, uint8_t *codes);
#if defined(__x86_64__)
void pack_avx2(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into);
float largest_avx2(const void *scales, bool half, size_t n);
void halve_avx2(const void *scales, bool half, size_t n, float inverse, uint16_t *to);
float quantise_weights_avx2(const float *w, size_t n, int bits, uint8_t *codes);
#elif defined(__aarch64__)
void pack_neon(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into);
float largest_neon(const void *scales, bool half, size_t n);
void halve_neon(const void *scales, bool half, size_t n, float inverse, uint16_t *to);
float quantise_weights_neon(const float *w, size_t n, int bits, uint8_t *codes);
#endif

// The factor of an output whose largest scale is given: that scale divided by it lies from 2^14 to 2^15, or to 2^16 where it was
// a float16 of that size, so that every float16 keeps its value.
static inline float factor_of(float largest, int half) {
    if (largest == 0) {
        return 1;
    }
    int exponent = ilogbf(largest) - 14;
    exponent = exponent < -126 ? -126 : exponent;
    return ldexpf(1, half && exponent > 0 ? 0 : exponent);
}

// The scale of a block with these least and largest weights. That of 4 bits has the sign that makes the largest magnitude -8
// times it, as ONNX Runtime's quantiser has it.
static inline float weight_scale(float least, float largest, int bits) {
    float extreme = fabsf(largest) > fabsf(least) ? largest : least;
    if (extreme == 0) {
        return 0; // of one sign, whichever zero came first
    }
    return bits == 4 ? -extreme / 8 : fabsf(extreme) / 127;
}

// What weights are multiplied by: 0 where nothing, or next to nothing, is there.
static inline float weight_factor(float scale) { return fabsf(scale) < 0x1p-126f ? 0 : 1 / scale; }

// A tile as it is written: into is the memory of all of them.
static inline tile_parts target(const cpu_matrix *m, uint8_t *into, size_t tile) {
    cpu_matrix written = *m;
    written.tiles = into;
    return parts_of(&written, tile);
}

// What fills the parts up to 64 bytes is 0, so that packed files are the same whatever the memory held before.
static inline void clear_gaps(const cpu_matrix *m, uint8_t *tile) {
    tile_offsets o = offsets_of(m);
    size_t blocks = m->inputs / m->block, scales = o.scales + blocks * 32, zeros = o.zeros + blocks * 16;
    memset(tile + scales, 0, o.zeros - scales);
    if (m->zeros) {
        memset(tile + zeros, 0, o.factors - zeros);
    }
}

#endif
