// Low-rank additions: packing, and which kernel computes what.
#include "lora.h"

#include "rungs.h"

#include <math.h>

enum { ROWS_AT_ONCE = 16 };

static size_t groups_of(const cpu_addition *p) { return (p->rank + CPU_RANKS - 1) / CPU_RANKS; }

static size_t first_tile(const cpu_addition *p) { return p->first / CPU_TILE; }

static size_t tiles_of(const cpu_addition *p) { return (p->first + p->outputs - 1) / CPU_TILE - first_tile(p) + 1; }

static size_t value_bytes(const cpu_addition *p) { return p->narrow ? 1 : 4; }

static size_t group_bytes(const cpu_addition *p) { return (size_t)(p->inputs + 15) / 16 * 16 * CPU_RANKS * value_bytes(p); }

static size_t tile_bytes(const cpu_addition *p) { return groups_of(p) * CPU_RANKS * CPU_TILE * value_bytes(p); }

static size_t factors_at(const cpu_addition *p) { return groups_of(p) * group_bytes(p); } // in down

size_t cpu_addition_down_bytes(const cpu_addition *p) { return factors_at(p) + up_to_64(groups_of(p) * CPU_RANKS * sizeof(float)); }

size_t cpu_addition_up_bytes(const cpu_addition *p) { return tiles_of(p) * tile_bytes(p); }

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

// What values up to a magnitude are multiplied by before they are rounded, to reach steps, and the factor that makes up for it.
static float inverse_of(float most, float steps, float *factor) {
    bool some = most >= 0x1p-100f; // or the quotient would overflow
    *factor = some ? most / steps : 0;
    return some ? steps / most : 0;
}

static void put(const cpu_addition *p, void *into, size_t at, float v) {
    if (p->narrow) {
        ((int8_t *)into)[at] = (int8_t)lrintf(v);
    } else {
        ((float *)into)[at] = v;
    }
}

// Where in the memory of a tile the value of a rank and an output lies.
static size_t place_in_tile(const cpu_addition *p, size_t rank, size_t output) {
    return p->narrow ? rank / 2 * 2 * CPU_TILE + 2 * output + rank % 2 : rank * CPU_TILE + output;
}

bool cpu_addition_pack(cpu_addition *p, float scale, const float *a, const float *b, void *down, void *up) {
    memset(down, 0, cpu_addition_down_bytes(p));
    memset(up, 0, cpu_addition_up_bytes(p));
    p->down = down;
    p->up = up;
    float *factors = (float *)((char *)down + factors_at(p));
    for (size_t j = 0; j < p->rank; j++) {
        float of_a = largest(a + j * p->inputs, p->inputs, 1), of_b = largest(b + j, p->outputs, p->rank), factor_a = 1, factor_b = 1;
        if (!isfinite(of_a) || !isfinite(of_b) || !isfinite(scale)) {
            return false;
        }
        of_a = p->narrow ? inverse_of(of_a, 127, &factor_a) : 1;
        of_b = p->narrow ? inverse_of(of_b, 127, &factor_b) : 1;
        factors[j] = factor_a * factor_b * scale;
        if (!isfinite(factors[j])) {
            return false;
        }
        char *group = (char *)down + j / CPU_RANKS * group_bytes(p);
        for (size_t k = 0; k < p->inputs; k++) {
            put(p, group, (k / 16 * CPU_RANKS + j % CPU_RANKS) * 16 + k % 16, a[j * p->inputs + k] * of_a);
        }
        for (size_t n = 0; n < p->outputs; n++) {
            size_t at = p->first % CPU_TILE + n;
            put(p, (char *)up + at / CPU_TILE * tile_bytes(p), place_in_tile(p, j, at % CPU_TILE), b[n * p->rank + j] * of_b);
        }
    }
    return true;
}

cpu_addend cpu_addend_of(const cpu_addition *p, size_t from, size_t to, float scale) {
    return (cpu_addend){.addition = p, .from = from, .to = to, .groups = groups_of(p), .first = first_tile(p), .tiles = tiles_of(p), .scale = scale};
}

size_t cpu_addend_bytes(const cpu_addend *p) {
    return (p->to - p->from) * p->groups * (p->addition->narrow ? sizeof(cpu_ranks) : sizeof(cpu_ranks_wide));
}

static void scale_ranks(const cpu_addend *p, size_t group, cpu_ranks_wide *t) {
    const float *factors = (const float *)((const char *)p->addition->down + factors_at(p->addition)) + group * CPU_RANKS;
    for (size_t j = 0; j < CPU_RANKS; j++) {
        t->values[j] *= factors[j];
        t->values[j] *= p->scale;
    }
}

static cpu_ranks round_ranks(const cpu_ranks_wide *t) {
    cpu_ranks into = {.step = NAN};
    float most = largest(t->values, CPU_RANKS, 1);
    if (isfinite(most)) {
        float inverse = inverse_of(most, 32767, &into.step);
        for (size_t j = 0; j < CPU_RANKS; j++) {
            into.values[j] = (int16_t)lrintf(t->values[j] * inverse);
        }
    }
    return into;
}

void cpu_addend_down(const cpu_addend *p, size_t group, const cpu_activations *a, size_t row, size_t rows) {
    cpu_ranks *t = (cpu_ranks *)p->t + row * p->groups + group;
    const int8_t *down = (const int8_t *)p->addition->down + group * group_bytes(p->addition);
    for (size_t end = row + rows, n; row < end; row += n) {
        cpu_ranks_wide sums[ROWS_AT_ONCE];
        n = end - row < ROWS_AT_ONCE ? end - row : ROWS_AT_ONCE;
        cpu_rung_now()->linear->down(down, a, p->from + row, n, sums);
        for (size_t r = 0; r < n; r++, t += p->groups) {
            scale_ranks(p, group, &sums[r]);
            *t = round_ranks(&sums[r]);
        }
    }
}

void cpu_addend_down_wide(const cpu_addend *p, size_t group, const float *x, size_t row, size_t rows) {
    cpu_ranks_wide *t = (cpu_ranks_wide *)p->t + row * p->groups + group;
    const cpu_addition *of = p->addition;
    const float *down = (const float *)of->down + group * group_bytes(of) / sizeof(float);
    cpu_rung_now()->linear->down_wide(down, of->inputs, x + (p->from + row) * of->inputs, rows, t, p->groups);
    for (size_t r = 0; r < rows; r++, t += p->groups) {
        scale_ranks(p, group, t);
    }
}

// The tiles and rows of a call.
struct part {
    size_t tile, tiles, row, rows;
};

// What of it an addend adds to; nothing where there are no tiles or no rows.
static struct part meet(const cpu_addend *e, struct part p) {
    size_t first = p.tile > e->first ? p.tile : e->first, end = p.tile + p.tiles < e->first + e->tiles ? p.tile + p.tiles : e->first + e->tiles;
    size_t from = p.row > e->from ? p.row : e->from, to = p.row + p.rows < e->to ? p.row + p.rows : e->to;
    return (struct part){first, end > first ? end - first : 0, from, to > from ? to - from : 0};
}

static void add_addend(const cpu_addend *e, struct part p, lora_base from, float *y, size_t stride) {
    const struct linear_rung *k = cpu_rung_now()->linear;
    const char *up = (const char *)e->addition->up + (p.tile - e->first) * tile_bytes(e->addition);
    size_t at = (p.row - e->from) * e->groups;
    if (e->addition->narrow) {
        k->up((const int8_t *)up, e->groups, (const cpu_ranks *)e->t + at, p.rows, p.tiles, from, y, stride);
    } else {
        k->up_wide((const float *)up, e->groups, (const cpu_ranks_wide *)e->t + at, p.rows, p.tiles, from, y, stride);
    }
}

static void fill(struct part p, const float *bias, size_t outputs, float *sums) {
    for (size_t t = p.tile; t < p.tile + p.tiles; t++) {
        size_t at = t * CPU_TILE, there = outputs - at < CPU_TILE ? outputs - at : CPU_TILE;
        for (size_t r = 0; r < p.rows; r++, sums += CPU_TILE) {
            memset(sums, 0, CPU_TILE * sizeof *sums);
            if (bias) {
                memcpy(sums, bias + at, there * sizeof *sums);
            }
        }
    }
}

void cpu_sums(const cpu_addends *p, size_t tile, size_t tiles, size_t row, size_t rows, const float *bias, size_t outputs, float *sums) {
    const struct part all = {tile, tiles, row, rows};
    const size_t stride = rows * CPU_TILE;
    bool filled = false;
    for (const cpu_addend *e = p->list, *last = e + p->n; e < last; e++) {
        struct part m = meet(e, all);
        if (m.tiles == 0 || m.rows == 0) {
            continue;
        }
        float *y = sums + (m.tile - tile) * stride + (m.row - row) * CPU_TILE;
        lora_base from = {y, stride, CPU_TILE};
        if (!filled && m.tiles == tiles && m.rows == rows && (!bias || (tile + tiles) * CPU_TILE <= outputs)) { // the bias need not be copied before
            from = (lora_base){bias ? bias + tile * CPU_TILE : NULL, CPU_TILE, 0};
        } else if (!filled) {
            fill(all, bias, outputs, sums);
        }
        filled = true;
        add_addend(e, m, from, y, stride);
    }
    if (!filled) {
        fill(all, bias, outputs, sums);
    }
}
