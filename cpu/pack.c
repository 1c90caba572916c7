// Packing: from the layout of MatMulNBits into tiles.
#include "pack.h"

#include "rungs.h"

// Data of a model file may lie at any address.
static inline float scale_at(const cpu_codes *c, size_t i) {
    if (c->half) {
        uint16_t h;
        memcpy(&h, (const char *)c->scales + 2 * i, sizeof h);
        return from_half(h);
    }
    float f;
    memcpy(&f, (const char *)c->scales + 4 * i, sizeof f);
    return f;
}

static inline uint8_t zero_at(const cpu_matrix *m, const cpu_codes *c, size_t n, size_t b, size_t blocks) {
    if (!c->zeros) {
        return m->bits == 4 ? 8 : 128;
    }
    if (!c->packed_zeros || m->bits == 8) {
        return c->zeros[n * blocks + b];
    }
    return c->zeros[n * ((blocks + 1) / 2) + b / 2] >> (b % 2 * 4) & 15;
}

// Scales, zero points and factor of column n of a tile; absent ones have 0, the middle, and 1.
static int pack_scales(const cpu_matrix *m, const tile_parts *t, size_t output, size_t n, const cpu_codes *c) {
    float largest = 0;
    bool there = output < m->outputs;
    for (size_t b = 0; there && b < t->blocks; b++) {
        float s = fabsf(scale_at(c, output * t->blocks + b));
        if (!(s < INFINITY)) {
            return 1;
        }
        largest = s > largest ? s : largest;
    }
    float factor = factor_of(largest, c->half), inverse = 1 / factor;
    ((float *)t->factors)[n] = factor;
    for (size_t b = 0; b < t->blocks; b++) {
        float s = there ? scale_at(c, output * t->blocks + b) : 0;
        ((uint16_t *)t->scales)[b * CPU_TILE + n] = to_half(s * inverse);
        if (t->zeros) {
            ((uint8_t *)t->zeros)[b * CPU_TILE + n] = there ? zero_at(m, c, output, b, t->blocks) : m->bits == 4 ? 8 : 128;
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
        k->pack(c->codes + first * stride, stride, outputs, m->inputs, m->bits, (uint8_t *)t.codes);
        clear_gaps(m, (uint8_t *)t.codes);
        for (size_t n = 0; n < CPU_TILE; n++) {
            if (pack_scales(m, &t, first + n, n, c)) {
                return 1;
            }
        }
    }
    return 0;
}
