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

static void new_addition(addition *x, uint32_t rank, uint32_t inputs, uint32_t first, uint32_t outputs, bool half, float size, uint32_t *seed) {
    *x = (addition){.p = {.rank = rank, .inputs = inputs, .first = first, .outputs = outputs, .half = half}, .scale = 0.5f + (float)(rank % 3)};
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

// y (rows, outputs up to a tile) with what the addends add, in pieces of so many rows.
static void add(const cpu_addends *plus, size_t tiles, size_t rows, size_t piece, float *y) {
    for (size_t tile = 0; tile < tiles; tile++) {
        for (size_t row = 0; row < rows; row += piece) {
            cpu_addends_up(plus, tile, row, rows - row < piece ? rows - row : piece, y + row * tiles * CPU_TILE + tile * CPU_TILE, tiles * CPU_TILE);
        }
    }
}

static void check_oracle(const addition *x, const cpu_addend *e, const float *values, const float *y, const float *before, size_t stride) {
    for (size_t r = e->from; r < e->to; r++) {
        for (size_t n = 0; n < x->p.outputs; n++) {
            double delta = 0, size = 0;
            for (size_t j = 0; j < x->p.rank; j++) {
                double t = 0, most = 0;
                for (size_t k = 0; k < x->p.inputs; k++) {
                    double term = (double)x->a[j * x->p.inputs + k] * (double)values[r * x->p.inputs + k];
                    t += term;
                    most += fabs(term);
                }
                double w = (double)x->b[n * x->p.rank + j] * (double)x->scale * (double)e->scale;
                delta += w * t;
                size += fabs(w) * most;
            }
            size_t at = r * stride + x->p.first + n;
            double want = (double)before[at] + delta, error = fabs((double)y[at] - want);
            // Each value of A and B is rounded to 11 bits, or not at all; sums are of floats.
            double limit = size * ((x->p.half ? 0x1p-10 : 0) + 0x1p-20) + fabs(want) * 0x1p-22;
            CHECK(error <= limit, "rank %u, inputs %u, half %d: row %zu, output %zu: got %g, want %g", x->p.rank, x->p.inputs, x->p.half, r, n,
                  (double)y[at], want);
        }
    }
}

static void check(uint32_t rank, uint32_t inputs, uint32_t first, uint32_t outputs, bool half, float size, size_t rows, uint32_t *seed) {
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
        new_addition(&x[i], rank + (uint32_t)i, inputs, first, outputs, half, size, seed);
        list[i] = (cpu_addend){.addition = &x[i].p, .from = i ? middle : 0, .to = i ? rows : middle, .scale = i ? -0.75f : 1};
        list[i].t = exactly((list[i].to - list[i].from) * ranks(&x[i]) * sizeof *list[i].t);
    }
    const cpu_addends plus = {list, LISTS};
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

// A layer with additions is the layer without, and the additions on top: before the activation where there is one.
static void check_layer(uint32_t outputs, size_t rows_of, uint32_t *seed) {
    enum { INPUTS = 64 };
    matrix m[2];
    addition x[2];
    cpu_addend list[2];
    cpu_addends plus[2];
    rows a;
    const size_t tiles = (outputs + 15) / 16, size = rows_of * outputs;
    float *values = exactly(rows_of * INPUTS * sizeof *values), *got = exactly(size * sizeof *got), *want[2];
    for (size_t i = 0; i < rows_of * INPUTS; i++) {
        values[i] = next_logit(seed);
    }
    new_rows(&a, rows_of, INPUTS, 32, values);
    for (size_t i = 0; i < 2; i++) {
        new_matrix(&m[i], (shape){outputs, INPUTS, 32, 4, 0, 0, 0.02f}, seed);
        new_addition(&x[i], 6, INPUTS, outputs > 20 ? 5 : 0, outputs > 20 ? outputs - 7 : outputs, true, 0.1f, seed);
        list[i] = (cpu_addend){.addition = &x[i].p, .from = rows_of > 2, .to = rows_of, .scale = 1};
        list[i].t = exactly((list[i].to - list[i].from) * ranks(&x[i]) * sizeof *list[i].t);
        fill(&list[i], values, INPUTS, rows_of);
        plus[i] = (cpu_addends){&list[i], 1};
        want[i] = exactly(size * sizeof *want[i]);
        cpu_linear(&m[i].m, 0, tiles, &a.a, 0, rows_of, NULL, NULL, want[i], outputs);
        for (size_t r = 0; r < rows_of; r++) {
            float whole[64] = {0};
            CHECK(outputs <= 64, "BUG: room for 64 outputs");
            memcpy(whole, want[i] + r * outputs, outputs * sizeof *whole);
            for (size_t t = 0; t < tiles; t++) {
                cpu_addends_up(&plus[i], t, r, 1, whole + t * CPU_TILE, CPU_TILE);
            }
            memcpy(want[i] + r * outputs, whole, outputs * sizeof *whole);
        }
        cpu_linear(&m[i].m, 0, tiles, &a.a, 0, rows_of, NULL, &plus[i], got, outputs);
        check_same(got, want[i], size, "linear");
    }
    cpu_gated(&m[0].m, &m[1].m, CPU_SILU, 0, tiles, &a.a, 0, rows_of, NULL, NULL, plus, got, outputs);
    for (size_t i = 0; i < size; i++) {
        double g = (double)want[0][i], w = g / (1 + exp(-g)) * (double)want[1][i];
        CHECK(fabs((double)got[i] - w) <= 1e-5 * fabs(w) + 1e-6, "gated: at %zu got %g, want %g", i, (double)got[i], w);
    }
    for (size_t i = 0; i < 2; i++) {
        free_matrix(&m[i]);
        free_addition(&x[i]);
        free(list[i].t);
        free(want[i]);
    }
    free(values);
    free(got);
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
    for (int half = 0; half < 2; half++) {
        for (uint32_t rank = 1; rank <= 18; rank++) {
            check(rank, 64, 0, 32, half, 1, 9, &seed);
            check(rank, 1 + next_random(&seed) % 70, next_random(&seed) % 40, 1 + next_random(&seed) % 50, half, sizes[rank % 4],
                  1 + next_random(&seed) % 13, &seed);
        }
        check(64, 896, 16, 112, half, 0.05f, 2, &seed);
    }
    for (uint32_t outputs = 1; outputs <= 40; outputs += 3) {
        cpu_rung_set(under_test);
        check_layer(outputs, 1 + outputs % 7, &seed);
    }
    check_refused(&seed);
}

int main(void) { return on_each_rung(test); }
