// Low-rank additions on every rung, over ranks, remainders of outputs and, where wide, of inputs, and both precisions: against the plain rung bit for bit, and
// against the definition in double precision. All lies in memory of its exact size.
#include "../lora.h"
#include "layer.h"

#define LISTS 3 // addends: two of rows of their own, and one on top of both

typedef struct {
    cpu_addition p;
    float *a, *b, scale;
    void *down, *up;
} addition;

static bool pack(addition *x, float scale) { return cpu_addition_pack(&x->p, scale, x->a, x->b, x->down, x->up); }

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
    x->down = aligned_alloc(64, cpu_addition_down_bytes(&x->p));
    x->up = aligned_alloc(64, cpu_addition_up_bytes(&x->p));
    CHECK(x->down && x->up, "no memory");
    CHECK(pack(x, x->scale), "packing failed");
}

static void free_addition(addition *x) {
    free(x->a);
    free(x->b);
    free(x->down);
    free(x->up);
}

static size_t under_test, plain; // rungs

static void check_same(const float *got, const float *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        bool same = memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i]));
        CHECK(same, "%s: at %zu got %a, want %a as the plain rung has it", what, i, (double)got[i], (double)want[i]);
    }
}

// All of t, in pieces of so many rows: of a, or of x where the addition is wide.
static void fill(const cpu_addend *e, const cpu_activations *a, const float *x, size_t piece) {
    for (size_t group = 0; group < e->groups; group++) {
        for (size_t row = 0; row < e->to - e->from; row += piece) {
            size_t rows = e->to - e->from - row < piece ? e->to - e->from - row : piece;
            if (e->addition->narrow) {
                cpu_addend_down(e, group, a, row, rows);
            } else {
                cpu_addend_down_wide(e, group, x, row, rows);
            }
        }
    }
}

// All sums, to y (rows, tiles, 16), in pieces of so many tiles and rows.
static void add(const cpu_addends *plus, size_t tiles, size_t rows, const float *bias, size_t outputs, size_t tiles_each, size_t rows_each, float *y) {
    float *sums = exactly(tiles_each * rows_each * CPU_TILE * sizeof *sums);
    for (size_t tile = 0; tile < tiles; tile += tiles_each) {
        for (size_t row = 0; row < rows; row += rows_each) {
            size_t n = rows - row < rows_each ? rows - row : rows_each, t = tiles - tile < tiles_each ? tiles - tile : tiles_each;
            cpu_sums(plus, tile, t, row, n, bias, outputs, sums);
            for (size_t i = 0; i < t * n; i++) {
                memcpy(y + ((row + i % n) * tiles + tile + i / n) * CPU_TILE, sums + i * CPU_TILE, CPU_TILE * sizeof *y);
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

// A value as it is packed, beside the largest of its rank.
static double packed(bool narrow, float v, double most) {
    float largest = (float)most;
    return !narrow ? (double)v : largest < 0x1p-100f ? 0 : (double)rintf(v * (127 / largest)) * (double)(largest / 127);
}

// What an addition adds to an output of a row whose values are as the kernels have them, in double precision; and how far off it may be.
static double added(const addition *x, const cpu_addend *e, const float *values, size_t n, double *limit) {
    const size_t rank = x->p.rank, inputs = x->p.inputs;
    const double scale = (double)x->scale * (double)e->scale;
    double sum = 0, group = 0;
    *limit = 0;
    for (size_t j = 0; j < rank; j++) {
        double t = 0, terms = 0, of_a = largest_of(x->a + j * inputs, inputs, 1), of_b = largest_of(x->b + j, x->p.outputs, rank);
        for (size_t k = 0; k < inputs; k++) {
            double term = packed(x->p.narrow, x->a[j * inputs + k], of_a) * (double)values[k];
            t += term;
            terms += fabs(term);
        }
        double b = packed(x->p.narrow, x->b[n * rank + j], of_b);
        sum += b * t * scale;
        *limit += fabs(b * scale) * terms * 0x1p-20; // sums are of floats
        // t times the factor of B is rounded to half a step of the largest of its group; B's codes are up to 127.
        group = fmax(group, of_b * fabs(t * scale));
        if (x->p.narrow && (j % CPU_RANKS == CPU_RANKS - 1 || j == rank - 1)) {
            *limit += 1.02 * CPU_RANKS * group / 65534;
            group = 0;
        }
    }
    return sum;
}

static void check(uint32_t rank, uint32_t inputs, uint32_t first, uint32_t outputs, bool narrow, float size, size_t n, uint32_t *seed) {
    addition x[LISTS];
    cpu_addend list[LISTS];
    const uint32_t all_outputs = first + outputs + next_random(seed) % 35, others = 1 + next_random(seed) % all_outputs;
    const size_t tiles = (all_outputs + 15) / 16, all = n * tiles * CPU_TILE, middle = n / 3, unit = inputs % 32 ? 16 : 32;
    float *values = exactly(n * inputs * sizeof *values), *bias = exactly(all_outputs * sizeof *bias), *got = exactly(all * sizeof *got),
          *want = exactly(all * sizeof *want);
    for (size_t i = 0; i < n * inputs; i++) {
        values[i] = next_logit(seed);
    }
    for (size_t i = 0; i < all_outputs; i++) {
        bias[i] = next_logit(seed);
    }
    const float *given = rank % 2 ? bias : NULL;
    for (size_t i = 0; i < LISTS; i++) {
        new_addition(&x[i], rank + (uint32_t)i, inputs, i < 2 ? first : all_outputs - others, i < 2 ? outputs : others, narrow, size, seed);
        list[i] = cpu_addend_of(&x[i].p, i == 0 ? 0 : i == 1 ? middle : middle / 2, i ? n : middle, i ? -0.75f : 1);
        list[i].t = exactly(cpu_addend_bytes(&list[i]));
    }
    rows a = {0};
    if (narrow) {
        new_rows(&a, n, inputs, unit, values);
        for (size_t i = 0; i < n * inputs; i++) { // how they were rounded is not tested here
            values[i] = (float)a.q[i] * a.scale[i / unit];
        }
    }
    const cpu_addends plus = {.list = list, .n = LISTS};
    for (int rung = 0; rung < 2; rung++) {
        cpu_rung_set(rung ? under_test : plain);
        for (size_t i = 0; i < LISTS; i++) {
            fill(&list[i], &a.a, values, rung ? 3 : n + 1);
        }
        add(&plus, tiles, n, given, all_outputs, rung ? 3 : 1, rung ? 5 : n, rung ? got : want);
    }
    check_same(got, want, all, "additions");
    for (size_t i = 0; i < all; i++) {
        size_t row = i / (tiles * CPU_TILE), at = i % (tiles * CPU_TILE);
        double sum = given && at < all_outputs ? (double)bias[at] : 0, limit = 0;
        for (size_t j = 0; j < LISTS; j++) {
            const cpu_addition *p = &x[j].p;
            if (row >= list[j].from && row < list[j].to && at >= p->first && at < p->first + p->outputs) {
                double of;
                sum += added(&x[j], &list[j], values + row * inputs, at - p->first, &of);
                limit += of + fabs(sum) * 0x1p-22;
            }
        }
        CHECK(fabs((double)got[i] - sum) <= limit, "rank %u, inputs %u, outputs [%u, %u) of %u, narrow %d: row %zu, output %zu: got %g, want %g within %g",
              rank, inputs, first, first + outputs, all_outputs, narrow, row, at, (double)got[i], sum, limit);
    }
    for (size_t i = 0; i < LISTS; i++) {
        free_addition(&x[i]);
        free(list[i].t);
    }
    free(values);
    free(bias);
    free(got);
    free(want);
    free_rows(&a);
}

// A layer with sums is the layer whose bias they are, row by row.
static void check_layer(uint32_t outputs, uint16_t block, size_t n, uint32_t *seed) {
    enum { INPUTS = 64 };
    matrix m[2];
    addition x[2];
    cpu_addend e[2];
    rows a;
    const size_t tiles = (outputs + 15) / 16, size = n * outputs, from = n > 2;
    float *values = exactly(n * INPUTS * sizeof *values), *bias = exactly(outputs * sizeof *bias), *got = exactly(size * sizeof *got), *want[2], *sums[2];
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
        e[i] = cpu_addend_of(&x[i].p, from, n, 1);
        e[i].t = exactly(cpu_addend_bytes(&e[i]));
        fill(&e[i], &a.a, NULL, n);
        sums[i] = exactly(tiles * n * CPU_TILE * sizeof *sums[i]);
        cpu_sums(&(cpu_addends){&e[i], 1}, 0, tiles, 0, n, b, outputs, sums[i]);
        want[i] = exactly(size * sizeof *want[i]);
        for (size_t r = 0; r < n; r++) { // each row with a bias of its own
            float *of_row = exactly(outputs * sizeof *of_row);
            for (size_t o = 0; o < outputs; o++) {
                of_row[o] = sums[i][(o / 16 * n + r) * 16 + o % 16];
            }
            cpu_linear(&m[i].m, 0, tiles, &a.a, r, 1, of_row, NULL, want[i], outputs);
            free(of_row);
        }
        cpu_linear(&m[i].m, 0, tiles, &a.a, 0, n, b, sums[i], got, outputs);
        check_same(got, want[i], size, "linear");
    }
    cpu_gated(&m[0].m, &m[1].m, CPU_SILU, 0, tiles, &a.a, 0, n, NULL, bias, sums[0], sums[1], got, outputs);
    for (size_t i = 0; i < size; i++) {
        double g = (double)want[0][i], w = g / (1 + exp(-g)) * (double)want[1][i];
        CHECK(fabs((double)got[i] - w) <= 1e-5 * fabs(w) + 1e-6, "gated: at %zu got %g, want %g", i, (double)got[i], w);
    }
    // The same in pieces, with sums of their own.
    float *again = exactly(size * sizeof *again), *linear = exactly(size * sizeof *linear), *piece[2];
    for (size_t tile = 0; tile < tiles; tile += 2) {
        for (size_t row = 0; row < n; row += 3) {
            size_t t = tiles - tile < 2 ? 1 : 2, r = n - row < 3 ? n - row : 3;
            for (size_t i = 0; i < 2; i++) {
                piece[i] = exactly(t * r * CPU_TILE * sizeof *piece[i]);
                cpu_sums(&(cpu_addends){&e[i], 1}, tile, t, row, r, i ? bias : NULL, outputs, piece[i]);
            }
            cpu_gated(&m[0].m, &m[1].m, CPU_SILU, tile, t, &a.a, row, r, NULL, bias, piece[0], piece[1], again, outputs);
            cpu_linear(&m[1].m, tile, t, &a.a, row, r, bias, piece[1], linear, outputs);
            free(piece[0]);
            free(piece[1]);
        }
    }
    check_same(again, got, size, "gated in pieces");
    check_same(linear, want[1], size, "linear in pieces");
    free(again);
    free(linear);
    for (size_t i = 0; i < 2; i++) {
        free_matrix(&m[i]);
        free_addition(&x[i]);
        free(e[i].t);
        free(want[i]);
        free(sums[i]);
    }
    free(values);
    free(bias);
    free(got);
    free_rows(&a);
}

// What is not finite stays so, in its row alone.
static void check_not_finite(uint32_t *seed) {
    enum { INPUTS = 64, ROWS = 3 };
    addition x;
    rows a;
    float values[ROWS * INPUTS], sums[ROWS * 2 * CPU_TILE];
    for (size_t i = 0; i < ROWS * INPUTS; i++) {
        values[i] = next_logit(seed);
    }
    values[INPUTS + 7] = NAN;
    new_rows(&a, ROWS, INPUTS, 32, values);
    new_addition(&x, 5, INPUTS, 0, 32, true, 1, seed);
    cpu_addend e = cpu_addend_of(&x.p, 0, ROWS, 1);
    e.t = exactly(cpu_addend_bytes(&e));
    fill(&e, &a.a, NULL, ROWS);
    cpu_sums(&(cpu_addends){&e, 1}, 0, 2, 0, ROWS, NULL, 32, sums);
    for (size_t i = 0; i < ROWS * 2 * CPU_TILE; i++) {
        CHECK(!isnan(sums[i]) == (i / CPU_TILE % ROWS != 1), "row %zu: got %g", i / CPU_TILE % ROWS, (double)sums[i]);
    }
    free(e.t);
    free_addition(&x);
    free_rows(&a);
}

static void check_refused(uint32_t *seed) {
    addition x;
    new_addition(&x, 3, 20, 0, 5, true, 1, seed);
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float was = x.a[7];
        x.a[7] = wrong[i];
        CHECK(!pack(&x, 1), "%g in A was packed", (double)wrong[i]);
        x.a[7] = was;
        was = x.b[14];
        x.b[14] = wrong[i];
        CHECK(!pack(&x, 1), "%g in B was packed", (double)wrong[i]);
        x.b[14] = was;
        CHECK(!pack(&x, wrong[i]), "a scale of %g was packed", (double)wrong[i]);
    }
    x.a[7] = 0x1p100f;
    CHECK(!pack(&x, 0x1p100f), "a factor that is infinite was packed");
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
            uint32_t inputs = narrow ? 16 * (1 + next_random(&seed) % 5) : 1 + next_random(&seed) % 70;
            check(rank, inputs, next_random(&seed) % 40, 1 + next_random(&seed) % 50, narrow, sizes[rank % 4], 1 + next_random(&seed) % 13, &seed);
        }
        check(64, 896, 16, 112, narrow, 0.05f, 2, &seed);
    }
    for (uint32_t outputs = 1; outputs <= 40; outputs += 3) {
        cpu_rung_set(under_test);
        check_layer(outputs, 32, 1 + outputs % 7, &seed);
        check_layer(outputs, 16, 1 + outputs % 5, &seed);
    }
    check_not_finite(&seed);
    check_refused(&seed);
}

int main(void) { return on_each_rung(test); }
