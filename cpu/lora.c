// Low-rank additions: packing, and which kernel computes what.
#include "lora.h"

#include "pack.h"
#include "rungs.h"

static size_t groups_of(const cpu_addition *p) { return (p->rank + CPU_RANKS - 1) / CPU_RANKS; }

static size_t blocks_of(const cpu_addition *p) { return (p->inputs + 15) / 16; }

static size_t first_tile(const cpu_addition *p) { return p->first / CPU_TILE; }

static size_t tiles_of(const cpu_addition *p) { return (p->first + p->outputs - 1) / CPU_TILE - first_tile(p) + 1; }

static size_t value_bytes(const cpu_addition *p) { return p->half ? 2 : 4; }

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

static void put(const cpu_addition *p, void *into, size_t at, float v, float factor) {
    if (p->half) {
        ((uint16_t *)into)[at] = to_half(v / factor);
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
        of_a = p->half ? factor_of(of_a, 0) : 1;
        of_b = p->half ? factor_of(of_b, 0) : 1;
        factors[j] = of_a * of_b * scale;
        char *to_a = (char *)into + j / CPU_RANKS * group_bytes(p);
        for (size_t k = 0; k < p->inputs; k++) {
            put(p, to_a, (k / 16 * CPU_RANKS + j % CPU_RANKS) * 16 + k % 16, a[j * p->inputs + k], of_a);
        }
        for (size_t n = 0; n < p->outputs; n++) {
            size_t at = p->first % CPU_TILE + n;
            put(p, to_b, (at / CPU_TILE * p->rank + j) * CPU_TILE + at % CPU_TILE, b[n * p->rank + j], of_b);
        }
    }
    p->a = into;
    p->b = to_b;
    p->factors = factors;
    return true;
}

void cpu_addend_down(const cpu_addend *p, size_t group, const float *x, size_t ld, size_t row, size_t rows) {
    const cpu_addition *of = p->addition;
    size_t stride = groups_of(of) * CPU_RANKS;
    float *t = p->t + row * stride + group * CPU_RANKS;
    const void *a = (const char *)of->a + group * group_bytes(of);
    cpu_rung_now()->linear->down(a, of->half, of->inputs, x + row * ld, ld, rows, t, stride);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < CPU_RANKS; j++) {
            t[r * stride + j] *= of->factors[group * CPU_RANKS + j];
            t[r * stride + j] *= p->scale;
        }
    }
}

void cpu_addends_up(const cpu_addends *p, size_t tile, size_t row, size_t rows, float *y, size_t stride) {
    for (size_t i = 0; i < p->n; i++) {
        const cpu_addend *e = &p->list[i];
        const cpu_addition *of = e->addition;
        size_t from = row > e->from ? row : e->from, to = row + rows < e->to ? row + rows : e->to, at = tile - first_tile(of);
        if (tile < first_tile(of) || at >= tiles_of(of) || from >= to) {
            continue;
        }
        size_t bytes = tile_bytes(of), each = groups_of(of) * CPU_RANKS;
        const char *b = (const char *)of->b + at * bytes;
        for (size_t ahead = 0; at + 2 < tiles_of(of) && ahead < bytes; ahead += 64) {
            __builtin_prefetch(b + 2 * bytes + ahead);
        }
        cpu_rung_now()->linear->up(b, of->half, of->rank, e->t + (from - e->from) * each, each, to - from, y + (from - row) * stride, stride);
    }
}
