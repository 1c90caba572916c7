// Low-rank additions: packing, and which kernel computes what.
#include "lora.h"

#include "rungs.h"

#include <math.h>

static size_t groups_of(const cpu_addition *p) { return (p->rank + CPU_RANKS - 1) / CPU_RANKS; }

static size_t blocks_of(const cpu_addition *p) { return (p->inputs + 15) / 16; }

static size_t first_tile(const cpu_addition *p) { return p->first / CPU_TILE; }

static size_t tiles_of(const cpu_addition *p) { return (p->first + p->outputs - 1) / CPU_TILE - first_tile(p) + 1; }

static size_t value_bytes(const cpu_addition *p) { return p->narrow ? 1 : 4; }

static size_t group_bytes(const cpu_addition *p) { return blocks_of(p) * CPU_RANKS * 16 * value_bytes(p); }

static size_t tile_bytes(const cpu_addition *p) { return p->rank * (size_t)CPU_TILE * value_bytes(p); }

static size_t b_at(const cpu_addition *p) { return up_to_64(groups_of(p) * group_bytes(p)); }

static size_t factors_at(const cpu_addition *p) { return b_at(p) + up_to_64(tiles_of(p) * tile_bytes(p)); }

size_t cpu_addition_bytes(const cpu_addition *p) { return factors_at(p) + up_to_64(groups_of(p) * CPU_RANKS * sizeof(float)); }

// The largest magnitude of n values; not finite where one is not.
static float largest(const float *x, size_t n, size_t stride) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float v = fabsf(x[i * stride]);
        most = v > most || isnan(v) ? v : most;
        if (!isfinite(most)) {
            break;
        }
    }
    return most;
}

// What a rank's values are multiplied by before they are rounded, and the factor that makes up for it.
static float inverse_of(const cpu_addition *p, float largest, float *factor) {
    if (!p->narrow) {
        *factor = 1;
        return 1;
    }
    bool some = largest >= 0x1p-100f; // or the quotient would overflow
    *factor = some ? largest / 127 : 0;
    return some ? 127 / largest : 0;
}

static void put(const cpu_addition *p, void *into, size_t at, float v) {
    if (p->narrow) {
        ((int8_t *)into)[at] = (int8_t)lrintf(v);
    } else {
        ((float *)into)[at] = v;
    }
}

bool cpu_addition_pack(cpu_addition *p, float scale, const float *a, const float *b, void *into) {
    char *to_b = (char *)into + b_at(p);
    float *factors = (float *)((char *)into + factors_at(p));
    memset(into, 0, cpu_addition_bytes(p));
    for (size_t j = 0; j < p->rank; j++) {
        float of_a = largest(a + j * p->inputs, p->inputs, 1), of_b = largest(b + j, p->outputs, p->rank);
        if (!isfinite(of_a) || !isfinite(of_b) || !isfinite(scale)) {
            return false;
        }
        float factor_a, factor_b;
        of_a = inverse_of(p, of_a, &factor_a);
        of_b = inverse_of(p, of_b, &factor_b);
        factors[j] = factor_a * factor_b * scale;
        char *to_a = (char *)into + j / CPU_RANKS * group_bytes(p);
        for (size_t k = 0; k < p->inputs; k++) {
            put(p, to_a, (k / 16 * CPU_RANKS + j % CPU_RANKS) * 16 + k % 16, a[j * p->inputs + k] * of_a);
        }
        for (size_t n = 0; n < p->outputs; n++) {
            size_t at = p->first % CPU_TILE + n;
            put(p, to_b, (at / CPU_TILE * p->rank + j) * CPU_TILE + at % CPU_TILE, b[n * p->rank + j] * of_b);
        }
    }
    p->a = into;
    p->b = to_b;
    p->factors = factors;
    return true;
}

cpu_addend cpu_addend_of(const cpu_addition *p, size_t from, size_t to, float scale) {
    return (cpu_addend){.addition = p, .b = p->b, .from = from, .to = to, .first = first_tile(p), .tiles = tiles_of(p), .scale = scale,
                        .ranks = (uint32_t)(groups_of(p) * CPU_RANKS), .tile_bytes = (uint32_t)tile_bytes(p)};
}

void cpu_addend_down(const cpu_addend *p, size_t group, const float *x, size_t ld, size_t row, size_t rows) {
    const cpu_addition *of = p->addition;
    size_t stride = p->ranks;
    float *t = p->t + row * stride + group * CPU_RANKS;
    const void *a = (const char *)of->a + group * group_bytes(of);
    cpu_rung_now()->linear->down(a, of->narrow, of->inputs, x + row * ld, ld, rows, t, stride);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t[r * stride + j] *= of->factors[group * CPU_RANKS + j];
            t[r * stride + j] *= p->scale;
        }
    }
}

void cpu_addend_copy(tile_addend a, size_t rows, float *into) {
    for (size_t r = 0; r < rows; r++, into += CPU_TILE) {
        if (a.at) {
            memcpy(into, a.at + r * a.stride, CPU_TILE * sizeof *into);
        } else {
            memset(into, 0, CPU_TILE * sizeof *into);
        }
    }
}

tile_addend cpu_addends_up(const cpu_addends *p, size_t tile, size_t row, size_t rows, tile_addend bias, float *into) {
    size_t done = row, end = row + rows; // rows before it have their sums so far
    for (const cpu_addend *e = p->list, *last = e + p->n; e < last; e++) {
        size_t from = row > e->from ? row : e->from, to = end < e->to ? end : e->to, at = tile - e->first;
        if (at >= e->tiles || from >= to) {
            continue;
        }
        tile_addend base = {into + (from - row) * CPU_TILE, CPU_TILE};
        if (from >= done) { // the first of these rows
            if (from > done) {
                cpu_addend_copy(addend_from(bias, done - row), from - done, into + (done - row) * CPU_TILE);
            }
            base = addend_from(bias, from - row);
            done = to;
        }
        const float *t = e->t + (from - e->from) * e->ranks;
        cpu_rung_now()->linear->up(e->b + at * e->tile_bytes, e->addition->narrow, e->addition->rank, t, e->ranks, to - from, base, into + (from - row) * CPU_TILE);
    }
    if (done == row) {
        return bias;
    }
    if (done < end) {
        cpu_addend_copy(addend_from(bias, done - row), end - done, into + (done - row) * CPU_TILE);
    }
    return (tile_addend){into, CPU_TILE};
}
