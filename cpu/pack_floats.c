// Packing of float weights: block-wise symmetric quantisation.
#include "pack.h"

#include "rungs.h"

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

// The codes of one block of one output, a byte each, to where a tile has them.
static void write_codes(uint8_t *to, const uint8_t *codes, size_t block, int bits) {
    for (size_t k = 0; k < block; k += bits == 4 ? 8 : 4, to += 64) {
        uint32_t word, high;
        memcpy(&word, codes + k, sizeof word);
        if (bits == 4) {
            memcpy(&high, codes + k + 4, sizeof high);
            word |= high << 4;
        }
        memcpy(to, &word, sizeof word);
    }
}

// The factors of a tile, from the largest scale of each output. 1 where a weight is not finite.
static int write_factors(const struct linear_rung *k, const tile_parts *t, size_t block, const float *w, size_t outputs,
                         size_t stride_n, size_t stride_k) {
    float largest[CPU_TILE] = {0}, part[CPU_TILE][BLOCK_MAX];
    for (size_t b = 0; b < t->blocks; b++) {
        gather(part, w + b * block * stride_k, outputs, block, stride_n, stride_k);
        for (size_t n = 0; n < outputs; n++) {
            float scale = fabsf(k->quantise_weights(part[n], block, t->bits, NULL));
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
    const struct linear_rung *k = cpu_rung_now()->linear;
    float part[CPU_TILE][BLOCK_MAX];
    for (size_t i = tile; i < tile + tiles; i++) {
        tile_parts t = target(m, into, i);
        size_t first = i * CPU_TILE, outputs = m->outputs - first < CPU_TILE ? m->outputs - first : CPU_TILE;
        if (write_factors(k, &t, m->block, w + first * stride_n, outputs, stride_n, stride_k)) {
            return 1;
        }
        clear_gaps(m, (uint8_t *)t.codes);
        for (size_t b = 0; b < t.blocks; b++) {
            gather(part, w + first * stride_n + b * m->block * stride_k, outputs, m->block, stride_n, stride_k);
            for (size_t n = 0; n < CPU_TILE; n++) {
                uint8_t codes[BLOCK_MAX];
                float scale = k->quantise_weights(part[n], m->block, m->bits, codes);
                write_codes((uint8_t *)t.codes + b * m->block * m->bits * 2 + 4 * n, codes, m->block, m->bits);
                ((uint16_t *)t.scales)[b * CPU_TILE + n] = to_half(scale * (1 / t.factors[n]));
            }
        }
    }
    return 0;
}
