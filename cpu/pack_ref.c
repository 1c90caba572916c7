// Packing, the plain rung.
#include "pack.h"

// Of eight codes in their order the first four, or the last four, one to a byte.
static inline uint32_t spread(uint32_t half) {
    half = (half | half << 8) & 0x00ff00ff;
    return (half | half << 4) & 0x0f0f0f0f;
}

// Sixty-four bytes of every row at a time, since the rows of some shapes lie on the same few lines of the cache.
void pack_plain(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into) {
    size_t bytes = inputs * (size_t)bits / 8;
    for (size_t from = 0; from < bytes; from += 64) {
        size_t to = bytes - from < 64 ? bytes : from + 64;
        for (size_t n = 0; n < CPU_TILE; n++) {
            for (size_t i = from; i < to; i += 4) {
                uint32_t word = bits == 4 ? 0x88888888 : 0x80808080; // of an output that is not there
                if (n < outputs) {
                    memcpy(&word, codes + n * stride + i, sizeof word);
                    word = bits == 4 ? spread(word & 0xffff) | spread(word >> 16) << 4 : word;
                }
                memcpy(into + 16 * i + 4 * n, &word, sizeof word);
            }
        }
    }
}

// Scales of a model file may lie at any address.
static inline float scale_at(const void *scales, bool half, size_t i) {
    if (half) {
        uint16_t h;
        memcpy(&h, (const char *)scales + i * sizeof h, sizeof h);
        return from_half(h);
    }
    float f;
    memcpy(&f, (const char *)scales + i * sizeof f, sizeof f);
    return f;
}

float largest_plain(const void *scales, bool half, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float s = fabsf(scale_at(scales, half, i));
        if (!(s < INFINITY)) {
            return s;
        }
        most = s > most ? s : most;
    }
    return most;
}

void halve_plain(const void *scales, bool half, size_t n, float inverse, uint16_t *to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = to_half(scale_at(scales, half, i) * inverse);
    }
}

float quantise_weights_plain(const float *w, size_t n, int bits, uint8_t *codes) {
    float least = w[0], largest = w[0];
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(w[i])) {
            return NAN;
        }
        least = w[i] < least ? w[i] : least;
        largest = w[i] > largest ? w[i] : largest;
    }
    float scale = weight_scale(least, largest, bits), factor = weight_factor(scale);
    float middle = bits == 4 ? 8 : 128, most = bits == 4 ? 15 : 255;
    for (size_t i = 0; codes && i < n; i++) {
        float scaled = w[i] * factor, code = scaled + middle;
        code = code < 0 ? 0 : code > most ? most : code;
        int whole = (int)code; // and half of one rounds up, as roundf does
        codes[i] = (uint8_t)(whole + (code - (float)whole >= 0.5f));
    }
    return scale;
}
