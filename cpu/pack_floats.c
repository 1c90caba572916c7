// Packing of float weights: block-wise symmetric quantisation.
#include "pack.h"

#include <math.h>

#define BLOCK_MAX 128

// One block of the tile's outputs, in the order of memory whichever way the matrix lies. Absent ones are 0.
static void gather(float to[CPU_TILE][BLOCK_MAX], const float *w, size_t outputs, size_t block, size_t stride_n,
                   size_t stride_k) {
    for (size_t n = outputs; n < CPU_TILE; n++) {
        memset(to[n], 0, block * sizeof **to);
    }
    if (stride_n < stride_k) {
        for (size_t k = 0; k < block; k++) {
            for (size_t n = 0; n < outputs; n++) {
                to[n][k] = w[n * stride_n + k * stride_k];
            }
        }
        return;
    }
    for (size_t n = 0; n < outputs; n++) {
        for (size_t k = 0; k < block; k++) {
            to[n][k] = w[n * stride_n + k * stride_k];
        }
    }
}

// The value of largest magnitude, a negative one before a positive one; NaN where there is one.
static float extreme(const float *x, size_t n) {
    float min = x[0], max = x[0];
    bool nan = false;
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        nan |= isnan(x[i]);
    }
    return nan ? NAN : fabsf(max) > fabsf(min) ? max : min;
}

static float scale_of(float extreme, int bits) { return bits == 4 ? -extreme / 8 : fabsf(extreme) / 127; }

// The codes of one block of one output, where a tile has them. ONNX Runtime's quantiser rounds as roundf, half away from zero.
static void write_codes(uint8_t *to, const float *w, size_t block, float scale, int bits) {
    float reciprocal = 1 / scale, limit = bits == 4 ? 15 : 255, middle = bits == 4 ? 8 : 128;
    reciprocal = isfinite(reciprocal) ? reciprocal : 0; // of nothing, or next to it
    for (size_t k = 0; k < block; k++) {
        float scaled = w[k] * reciprocal, code = roundf(scaled + middle);
        uint8_t c = (uint8_t)(code < 0 ? 0 : code > limit ? limit : code);
        if (bits == 8) {
            to[k / 4 * 64 + k % 4] = c;
        } else if (k % 8 < 4) {
            to[k / 8 * 64 + k % 4] = c;
        } else {
            to[k / 8 * 64 + k % 4] |= (uint8_t)(c << 4);
        }
    }
}

// The factors of a tile, from the largest scale of each output. 1 where a weight is not finite.
static int write_factors(const tile_parts *t, size_t block, const float *w, size_t outputs, size_t stride_n, size_t stride_k) {
    float largest[CPU_TILE] = {0}, part[CPU_TILE][BLOCK_MAX];
    for (size_t b = 0; b < t->blocks; b++) {
        gather(part, w + b * block * stride_k, outputs, block, stride_n, stride_k);
        for (size_t n = 0; n < CPU_TILE; n++) {
            float scale = fabsf(scale_of(extreme(part[n], block), t->bits));
            if (!(scale < INFINITY)) {
                return 1;
            }
            largest[n] = scale > largest[n] ? scale : largest[n];
        }
    }
    for (size_t n = 0; n < CPU_TILE; n++) {
        ((float *)t->factors)[n] = factor_of(largest[n], 0);
    }
    return 0;
}

int cpu_pack_floats(const cpu_matrix *m, uint8_t *into, size_t tile, size_t tiles, const float *w, size_t stride_n,
                    size_t stride_k) {
    float part[CPU_TILE][BLOCK_MAX];
    for (size_t i = tile; i < tile + tiles; i++) {
        tile_parts t = target(m, into, i);
        size_t first = i * CPU_TILE, outputs = m->outputs - first < CPU_TILE ? m->outputs - first : CPU_TILE;
        if (write_factors(&t, m->block, w + first * stride_n, outputs, stride_n, stride_k)) {
            return 1;
        }
        clear_gaps(m, (uint8_t *)t.codes);
        for (size_t b = 0; b < t.blocks; b++) {
            gather(part, w + first * stride_n + b * m->block * stride_k, outputs, m->block, stride_n, stride_k);
            for (size_t n = 0; n < CPU_TILE; n++) {
                float scale = scale_of(extreme(part[n], m->block), m->bits);
                uint8_t *codes = (uint8_t *)t.codes + b * m->block * m->bits * 2 + 4 * n;
                write_codes(codes, part[n], m->block, scale, m->bits);
                ((uint16_t *)t.scales)[b * CPU_TILE + n] = to_half(scale * (1 / t.factors[n]));
            }
        }
    }
    return 0;
}
