// The linear kernels as others call them: matrices are cut into tiles, and rows into as many as a rung takes at once.
#include "rungs.h"

size_t cpu_tile_bytes(const cpu_matrix *m) { return offsets_of(m).end; }

void cpu_quantise(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum) {
    cpu_rung_now()->linear->quantise(x, n, unit, q, scale, sum);
}

// The activations of this many rows stay in the second-level cache while all tiles pass over them.
static size_t rows_in_cache(size_t inputs, size_t at_once) {
    size_t rows = (size_t)(384 << 10) / inputs / at_once * at_once;
    return rows < at_once ? at_once : rows;
}

// How many of the rows that are left go together next: no group is much smaller than the others.
static inline size_t next_rows(size_t left, size_t at_once) {
    size_t groups = (left + at_once - 1) / at_once;
    return (left + groups - 1) / groups;
}

// A tile of fewer than 16 outputs is computed whole, beside the result, and what there is of it is copied.
static const float *bias_of(const cpu_matrix *m, size_t tile, const float *bias, float here[CPU_TILE]) {
    size_t at = tile * CPU_TILE, outputs = m->outputs - at;
    if (!bias || outputs >= CPU_TILE) {
        return bias ? bias + at : NULL;
    }
    memset(here, 0, CPU_TILE * sizeof *here);
    memcpy(here, bias + at, outputs * sizeof *here);
    return here;
}

static void copy_rows(float *y, size_t stride, const float *from, size_t rows, size_t outputs) {
    for (size_t r = 0; r < rows; r++) {
        memcpy(y + r * stride, from + r * CPU_TILE, outputs * sizeof *y);
    }
}

// What is added to a tile of rows, tile and row counted from the first of the call.
static inline tile_addend addend_of(const float *sums, size_t rows, size_t tile, size_t row, const float *bias) {
    return sums ? (tile_addend){sums + (tile * rows + row) * CPU_TILE, CPU_TILE} : (tile_addend){bias, 0};
}

void cpu_linear(const cpu_matrix *m, size_t tile, size_t tiles, const cpu_activations *a, size_t row, size_t rows,
                const float *bias, const float *sums, float *y, size_t stride) {
    const struct linear_rung *k = cpu_rung_now()->linear;
    size_t chunk = rows_in_cache(m->inputs, k->rows);
    for (size_t from = row, end = row + rows; from < end; from += chunk) {
        size_t to = end - from < chunk ? end : from + chunk;
        for (size_t t = tile; t < tile + tiles; t++) {
            tile_parts parts = parts_of(m, t);
            size_t outputs = m->outputs - t * CPU_TILE;
            float padded[CPU_TILE], whole[ROWS_MAX * CPU_TILE];
            const float *b = bias_of(m, t, bias, padded);
            for (size_t r = from, n; r < to; r += n) {
                n = next_rows(to - r, k->rows);
                float *at = y + r * stride + t * CPU_TILE;
                tile_addend e = addend_of(sums, rows, t - tile, r - row, b);
                if (outputs >= CPU_TILE) {
                    k->tile(&parts, a, r, n, e, at, stride);
                } else {
                    k->tile(&parts, a, r, n, e, whole, CPU_TILE);
                    copy_rows(at, stride, whole, n, outputs);
                }
                parts.cold = false;
            }
        }
    }
}

void cpu_gated(const cpu_matrix *gate, const cpu_matrix *up, int act, size_t tile, size_t tiles, const cpu_activations *a, size_t row, size_t rows,
               const float *gate_bias, const float *up_bias, const float *gate_sums, const float *up_sums, float *y, size_t stride) {
    const struct linear_rung *k = cpu_rung_now()->linear;
    size_t chunk = rows_in_cache(gate->inputs, k->rows);
    for (size_t from = row, end = row + rows; from < end; from += chunk) {
        size_t to = end - from < chunk ? end : from + chunk;
        for (size_t t = tile; t < tile + tiles; t++) {
            tile_parts g = parts_of(gate, t), u = parts_of(up, t);
            size_t outputs = gate->outputs - t * CPU_TILE;
            float padded[2][CPU_TILE], gated[ROWS_MAX * CPU_TILE], whole[ROWS_MAX * CPU_TILE];
            const float *gb = bias_of(gate, t, gate_bias, padded[0]), *ub = bias_of(up, t, up_bias, padded[1]);
            for (size_t r = from, n; r < to; r += n) {
                n = next_rows(to - r, k->rows);
                k->tile(&g, a, r, n, addend_of(gate_sums, rows, t - tile, r - row, gb), gated, CPU_TILE);
                k->tile(&u, a, r, n, addend_of(up_sums, rows, t - tile, r - row, ub), whole, CPU_TILE);
                k->gate(act, gated, whole, n * CPU_TILE);
                copy_rows(y + r * stride + t * CPU_TILE, stride, whole, n, outputs < CPU_TILE ? outputs : CPU_TILE);
                g.cold = u.cold = false;
            }
        }
    }
}

void cpu_unpack(const cpu_matrix *m, size_t n, float *x) {
    tile_parts t = parts_of(m, n / CPU_TILE);
    size_t column = n % CPU_TILE, k = 0;
    for (size_t b = 0; b < t.blocks; b++) {
        float scale = from_half(t.scales[b * CPU_TILE + column]), factor = t.factors[column];
        int zero = t.zeros ? t.zeros[b * CPU_TILE + column] : m->bits == 4 ? 8 : 128;
        for (size_t end = k + m->block; k < end;) {
            const uint8_t *codes = t.codes + 4 * column;
            if (m->bits == 4) {
                codes += k / 8 * 64;
                for (size_t j = 0; j < 4; j++) {
                    x[k + j] = (float)((codes[j] & 15) - zero) * scale * factor;
                    x[k + 4 + j] = (float)((codes[j] >> 4) - zero) * scale * factor;
                }
                k += 8;
            } else {
                codes += k / 4 * 64;
                for (size_t j = 0; j < 4; j++) {
                    x[k + j] = (float)(codes[j] - zero) * scale * factor;
                }
                k += 4;
            }
        }
    }
}
