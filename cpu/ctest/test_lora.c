// Low-rank additions on every rung, over ranks, remainders of inputs and outputs, and both precisions: against the plain rung bit for bit, and
// against the definition in double precision. All lies in memory of its exact size.
#include "layer.h"

#define LISTS 2 // addends, each of its own rows

typedef struct {
    cpu_addition p;
    float *a, *b;
    void *memory;
    float scale;
} addition;

static void new_addition(addition *x, uint32_t rank, uint32_t inputs, uint32_t first, uint32_t outputs, bool narrow, float size, uint32_t *seed) {
    *x = (addition){.p = {.rank = rank, .inputs = inputs, .first = first, .outputs = outputs, .narrow = narrow}, .scale = 0.5f + (float)(rank % 3)};
    x->a = exactly((size_t)rank * inputs * sizeof *x->a);
    x->b = exactly((size_t)outputs * rank * sizeof *x->b);
    for (size_t i = 0; i < (size_t)rank * inputs; i++) {
        x->a[i] = next_logit(seed) * size;
    }
    for (size_t i = 0; i < (size_t)outputs * rank; i++) {
        x->b[i] = i / rank == 1 ? 0 : next_logit(seed) / size / 8;
    }
    x->memory = aligned_alloc(64, cpu_addition_bytes(&x->p));
    CHECK(x->memory, "no memory");
    CHECK(cpu_addition_pack(&x->p, x->scale, x->a, x->b, x->memory), "packing failed");
}

static void free_addition(addition *x) {
    free(x->a);
    free(x->b);
    free(x->memory);
}

static size_t under_test, plain; // rungs

static void check_same(const float *got, const float *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        bool same = memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i]));
        CHECK(same, "%s: at %zu got %a, want %a as the plain rung has it", what, i, (double)got[i], (double)want[i]);
    }
}

static size_t ranks(const addition *x) { return (x->p.rank + 3u) / 4 * 4; }

// All of t, in pieces of so many rows.
static void fill(const cpu_addend *e, const float *x, size_t inputs, size_t piece) {
    for (size_t group = 0; group < (e->addition->rank + 3) / 4; group++) {
        for (size_t row = 0; row < e->to - e->from; row += piece) {
            size_t rows = e->to - e->from - row;
            cpu_addend_down(e, group, x + e->from * inputs, inputs, row, rows < piece ? rows : piece);
        }
    }
}

// y (rows, outputs up to a tile) and what the addends add, in pieces of so many rows.
static void add(const cpu_addends *plus, size_t tiles, size_t rows, size_t piece, float *y) {
    float *sums = exactly(piece * CPU_TILE * sizeof *sums);
    for (size_t tile = 0; tile < tiles; tile++) {
        for (size_t row = 0; row < rows; row += piece) {
            size_t n = rows - row < piece ? rows - row : piece;
            float *at = y + row * tiles * CPU_TILE + tile * CPU_TILE;
            tile_addend e = cpu_addends_up(plus, tile, row, n, (tile_addend){NULL, 0}, sums);
            for (size_t i = 0; i < n * CPU_TILE && e.at; i++) {
                at[i / CPU_TILE * tiles * CPU_TILE + i % CPU_TILE] += e.at[i / CPU_TILE * e.stride + i % CPU_TILE];
            }
        }
    }
    free(sums);
}

static double largest_of(const float *x, size_t n, size_t stride) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)x[i * stride]));
    }
    return most;
}

static void check_oracle(const addition *x, const cpu_addend *e, const float *values, const float *y, const float *before, size_t stride) {
    const size_t rank = x->p.rank, inputs = x->p.inputs;
    const double scale = fabs((double)x->scale * (double)e->scale);
    for (size_t r = e->from; r < e->to; r++) {
        for (size_t n = 0; n < x->p.outputs; n++) {
            double delta = 0, size = 0, rounded = 0;
            for (size_t j = 0; j < rank; j++) {
                double t = 0, terms = 0, all = 0;
                for (size_t k = 0; k < inputs; k++) {
                    double term = (double)x->a[j * inputs + k] * (double)values[r * inputs + k];
                    t += term;
                    terms += fabs(term);
                    all += fabs((double)values[r * inputs + k]);
                }
                double b = (double)x->b[n * rank + j];
                delta += b * t * (double)x->scale * (double)e->scale;
                size += fabs(b) * terms * scale;
                // Of 8 bits, each value is at most half a step from what it was.
                double step_a = largest_of(x->a + j * inputs, inputs, 1) / 254 * all, step_b = largest_of(x->b + j, x->p.outputs, rank) / 254;
                rounded += (fabs(b) * step_a + step_b * (fabs(t) + step_a)) * scale;
            }
            size_t at = r * stride + x->p.first + n;
            double want = (double)before[at] + delta, error = fabs((double)y[at] - want);
            double limit = (x->p.narrow ? 1.0001 * rounded : 0) + size * 0x1p-20 + fabs(want) * 0x1p-22; // sums are of floats
            CHECK(error <= limit, "rank %zu, inputs %zu, narrow %d: row %zu, output %zu: got %g, want %g", rank, inputs, x->p.narrow, r, n,
                  (double)y[at], want);
        }
    }
}

static void check(uint32_t rank, uint32_t inputs, uint32_t first, uint32_t outputs, bool narrow, float size, size_t rows, uint32_t *seed) {
    addition x[LISTS];
    cpu_addend list[LISTS];
    const size_t tiles = (first + outputs + 15) / 16, all = rows * tiles * CPU_TILE, middle = rows / 3;
    float *values = exactly(rows * inputs * sizeof *values), *before = exactly(all * sizeof *before), *got = exactly(all * sizeof *got),
          *want = exactly(all * sizeof *want);
    for (size_t i = 0; i < rows * inputs; i++) {
        values[i] = next_logit(seed);
    }
    for (size_t i = 0; i < all; i++) {
        before[i] = next_logit(seed);
    }
    for (size_t i = 0; i < LISTS; i++) {
        new_addition(&x[i], rank + (uint32_t)i, inputs, first, outputs, narrow, size, seed);
        list[i] = cpu_addend_of(&x[i].p, i ? middle : 0, i ? rows : middle, i ? -0.75f : 1);
        list[i].t = exactly((list[i].to - list[i].from) * ranks(&x[i]) * sizeof *list[i].t);
    }
    const cpu_addends plus = {.list = list, .n = LISTS};
    for (int rung = 0; rung < 2; rung++) {
        cpu_rung_set(rung ? under_test : plain);
        float *y = rung ? got : want;
        memcpy(y, before, all * sizeof *y);
        for (size_t i = 0; i < LISTS; i++) {
            fill(&list[i], values, inputs, rung ? 3 : rows);
        }
        add(&plus, tiles, rows, rung ? 5 : rows, y);
        for (size_t i = 0; i < LISTS; i++) {
            check_oracle(&x[i], &list[i], values, y, before, tiles * CPU_TILE);
        }
    }
    check_same(got, want, all, "additions");
    for (size_t i = 0; i < all; i++) {
        size_t n = i % (tiles * CPU_TILE);
        CHECK((n >= first && n < first + outputs) || got[i] == before[i], "output %zu beside [%u, %u) changed", n, first, first + outputs);
    }
    for (size_t i = 0; i < LISTS; i++) {
        free_addition(&x[i]);
        free(list[i].t);
    }
    free(values);
    free(before);
    free(got);
    free(want);
}

// A layer with additions is the layer whose bias they are part of, computed tile by tile or for all tiles before.
static void check_layer(uint32_t outputs, uint16_t block, size_t n, uint32_t *seed) {
    enum { INPUTS = 64 };
    matrix m[2];
    addition x[2];
    cpu_addend list[2];
    cpu_addends plus[2], before[2];
    rows a;
    const size_t tiles = (outputs + 15) / 16, size = n * outputs, from = n > 2;
    float *values = exactly(n * INPUTS * sizeof *values), *bias = exactly(outputs * sizeof *bias), *got = exactly(size * sizeof *got),
          *again = exactly(size * sizeof *again), *want[2], *sums[2];
    for (size_t i = 0; i < n * INPUTS; i++) {
        values[i] = next_logit(seed);
    }
    for (size_t i = 0; i < outputs; i++) {
        bias[i] = next_logit(seed);
    }
    new_rows(&a, n, INPUTS, block < 32 ? 16 : 32, values);
    for (size_t i = 0; i < 2; i++) {
        const float *b = i ? bias : NULL;
        new_matrix(&m[i], (shape){outputs, INPUTS, block, i ? 8 : 4, 0, 0, 0.02f}, seed);
        new_addition(&x[i], 6, INPUTS, outputs > 20 ? 5 : 0, outputs > 20 ? outputs - 7 : outputs, true, 0.1f, seed);
        list[i] = cpu_addend_of(&x[i].p, from, n, 1);
        list[i].t = exactly((n - from) * ranks(&x[i]) * sizeof *list[i].t);
        fill(&list[i], values, INPUTS, n);
        before[i] = plus[i] = (cpu_addends){.list = &list[i], .n = 1, .rows = n};
        before[i].sums = sums[i] = exactly(tiles * n * CPU_TILE * sizeof *sums[i]);
        cpu_sums(&m[i].m, b, &plus[i], 0, tiles / 2, sums[i]);
        cpu_sums(&m[i].m, b, &plus[i], tiles / 2, tiles - tiles / 2, sums[i] + tiles / 2 * n * CPU_TILE);
        want[i] = exactly(size * sizeof *want[i]);
        for (size_t r = 0; r < n; r++) { // each row with a bias of its own
            float *of_row = exactly(outputs * sizeof *of_row);
            for (size_t o = 0; o < outputs; o++) {
                of_row[o] = sums[i][(o / 16 * n + r) * 16 + o % 16];
            }
            cpu_linear(&m[i].m, 0, tiles, &a.a, r, 1, of_row, NULL, want[i], outputs);
            free(of_row);
        }
        cpu_linear(&m[i].m, 0, tiles, &a.a, 0, n, b, &plus[i], got, outputs);
        cpu_linear(&m[i].m, 0, tiles, &a.a, 0, n, b, &before[i], again, outputs);
        check_same(got, want[i], size, "linear");
        check_same(again, want[i], size, "linear with the sums of before");
    }
    cpu_gated(&m[0].m, &m[1].m, CPU_SILU, 0, tiles, &a.a, 0, n, NULL, bias, plus, got, outputs);
    cpu_gated(&m[0].m, &m[1].m, CPU_SILU, 0, tiles, &a.a, 0, n, NULL, bias, before, again, outputs);
    check_same(again, got, size, "gated with the sums of before");
    for (size_t i = 0; i < size; i++) {
        double g = (double)want[0][i], w = g / (1 + exp(-g)) * (double)want[1][i];
        CHECK(fabs((double)got[i] - w) <= 1e-5 * fabs(w) + 1e-6, "gated: at %zu got %g, want %g", i, (double)got[i], w);
    }
    for (size_t i = 0; i < 2; i++) {
        free_matrix(&m[i]);
        free_addition(&x[i]);
        free(list[i].t);
        free(want[i]);
        free(sums[i]);
    }
    free(values);
    free(bias);
    free(got);
    free(again);
    free_rows(&a);
}

static void check_refused(uint32_t *seed) {
    addition x;
    new_addition(&x, 3, 20, 0, 5, true, 1, seed);
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float was = x.a[7];
        x.a[7] = wrong[i];
        CHECK(!cpu_addition_pack(&x.p, 1, x.a, x.b, x.memory), "%g in A was packed", (double)wrong[i]);
        x.a[7] = was;
        was = x.b[14];
        x.b[14] = wrong[i];
        CHECK(!cpu_addition_pack(&x.p, 1, x.a, x.b, x.memory), "%g in B was packed", (double)wrong[i]);
        x.b[14] = was;
        CHECK(!cpu_addition_pack(&x.p, wrong[i], x.a, x.b, x.memory), "a scale of %g was packed", (double)wrong[i]);
    }
    free_addition(&x);
}

static void test(void) {
    uint32_t seed = 11;
    plain = 0;
    for (size_t i = 0; cpu_rung_name(i); i++) {
        under_test = strcmp(cpu_rung_name(i), cpu_rung_in_use()) == 0 ? i : under_test;
        plain = i;
    }
    static const float sizes[] = {1, 1e-4f, 1e12f, 1e-20f};
    for (int narrow = 0; narrow < 2; narrow++) {
        for (uint32_t rank = 1; rank <= 18; rank++) {
            check(rank, 64, 0, 32, narrow, 1, 9, &seed);
            check(rank, 1 + next_random(&seed) % 70, next_random(&seed) % 40, 1 + next_random(&seed) % 50, narrow, sizes[rank % 4],
                  1 + next_random(&seed) % 13, &seed);
        }
        check(64, 896, 16, 112, narrow, 0.05f, 2, &seed);
    }
    for (uint32_t outputs = 1; outputs <= 40; outputs += 3) {
        cpu_rung_set(under_test);
        check_layer(outputs, 32, 1 + outputs % 7, &seed);
        check_layer(outputs, 16, 1 + outputs % 5, &seed);
    }
    check_refused(&seed);
}

int main(void) { return on_each_rung(test); }
