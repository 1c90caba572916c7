// Packing: from the layout of MatMulNBits into tiles.
#include "pack.h"

#include "rungs.h"

// Zero points of one output of a tile.
static void pack_zeros(const cpu_matrix *m, const cpu_codes *c, size_t output, size_t blocks, uint8_t *to) {
    bool nibbles = c->packed_zeros && m->bits == 4;
    const uint8_t *from = c->zeros + output * (nibbles ? (blocks + 1) / 2 : blocks);
    for (size_t b = 0; b < blocks; b++) {
        to[b * CPU_TILE] = nibbles ? from[b / 2] >> (b % 2 * 4) & 15 : from[b];
    }
}

// Factors and scales of a tile. 1 where a scale is not finite.
static int pack_scales(const struct linear_rung *k, const tile_parts *t, size_t first, size_t outputs, const cpu_codes *c) {
    enum { PART = 64 };
    uint16_t part[CPU_TILE][PART] = {{0}};
    const char *scales = (const char *)c->scales + first * t->blocks * (c->half ? 2 : 4);
    float *factors = (float *)t->factors;
    for (size_t n = 0; n < CPU_TILE; n++) {
        float most = n < outputs ? k->largest(scales + n * t->blocks * (c->half ? 2 : 4), c->half, t->blocks) : 0;
        if (!(most < INFINITY)) {
            return 1;
        }
        factors[n] = factor_of(most, c->half);
    }
    for (size_t b = 0; b < t->blocks; b += PART) {
        size_t some = t->blocks - b < PART ? t->blocks - b : PART;
        for (size_t n = 0; n < outputs; n++) {
            k->halve(scales + (n * t->blocks + b) * (c->half ? 2 : 4), c->half, some, 1 / factors[n], part[n]);
        }
        uint16_t *to = (uint16_t *)t->scales + b * CPU_TILE;
        for (size_t i = 0; i < some; i++) {
            for (size_t n = 0; n < CPU_TILE; n++) {
                to[i * CPU_TILE + n] = part[n][i];
            }
        }
    }
    return 0;
}

int cpu_pack(const cpu_matrix *m, uint8_t *into, size_t tile, size_t tiles, const cpu_codes *c) {
    const struct linear_rung *k = cpu_rung_now()->linear;
    size_t stride = (size_t)m->inputs * m->bits / 8;
    for (size_t i = tile; i < tile + tiles; i++) {
        tile_parts t = target(m, into, i);
        size_t first = i * CPU_TILE, outputs = m->outputs - first < CPU_TILE ? m->outputs - first : CPU_TILE;
        if (pack_scales(k, &t, first, outputs, c)) {
            return 1;
        }
        k->pack(c->codes + first * stride, stride, outputs, m->inputs, m->bits, (uint8_t *)t.codes);
        if (t.zeros) {
            memset((uint8_t *)t.zeros, m->bits == 4 ? 8 : 128, t.blocks * CPU_TILE); // of outputs that are not there
            for (size_t n = 0; n < outputs; n++) {
                pack_zeros(m, c, first + n, t.blocks, (uint8_t *)t.zeros + n);
            }
        }
        clear_gaps(m, (uint8_t *)t.codes);
    }
    return 0;
}
