// The linear kernels on every rung, over all remainders of rows and outputs, blocks, widths and zero points: against the plain
// rung bit for bit, and against the definition in double precision. All lies in memory of its exact size.
#include "layer.h"

static void check_same(const float *got, const float *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        bool same = memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i]));
        CHECK(same, "%s: at %zu got %a, want %a as the plain rung has it", what, i, (double)got[i], (double)want[i]);
    }
}

static void plain(void) {
    size_t i = 0;
    while (cpu_rung_name(i + 1)) {
        i++;
    }
    cpu_rung_set(i);
}

static size_t under_test; // the rung

static void check_oracle(const matrix *x, const rows *a, const float *bias, const float *y) {
    size_t inputs = x->s.inputs;
    double *w = exactly(inputs * sizeof *w);
    for (size_t n = 0; n < x->s.outputs; n++) {
        for (size_t k = 0; k < inputs; k++) {
            w[k] = weight(x, n, k);
        }
        for (size_t r = 0; r < a->rows; r++) {
            double want = bias ? (double)bias[n] : 0, size = fabs(want);
            for (size_t k = 0; k < inputs; k++) {
                double term = w[k] * a->q[r * inputs + k] * (double)a->scale[r * a->units + k / a->a.unit];
                want += term;
                size += fabs(term);
            }
            double error = fabs((double)y[r * x->s.outputs + n] - want);
            // A scale of 32 bits is rounded to 11; the sum over units is one of floats.
            double limit = size * ((x->s.half ? 0 : 0x1p-11) + 0x1p-20);
            CHECK(error <= limit, "outputs %u, inputs %zu, block %d, bits %d, zeros %d: row %zu, output %zu: got %g, want %g",
                  x->s.outputs, inputs, x->s.block, x->s.bits, x->s.zeros, r, n, (double)y[r * x->s.outputs + n], want);
        }
    }
    free(w);
}

static void check_tiles(const matrix *x) {
    size_t tiles = (x->s.outputs + 15) / 16, bytes = tiles * cpu_tile_bytes(&x->m);
    uint8_t *again = aligned_alloc(64, bytes);
    CHECK(again && cpu_pack(&x->m, again, 0, tiles, &x->c) == 0, "packing failed");
    CHECK(memcmp(again, x->tiles, bytes) == 0, "tiles are not those of the plain rung");
    free(again);
}

static void check_shape(shape s, size_t n, bool oracle, uint32_t *seed) {
    matrix x, up;
    cpu_rung_set(under_test);
    new_matrix(&x, s, seed);
    new_matrix(&up, s, seed);
    size_t unit = s.block == 16 ? 16 : 32, tiles = (s.outputs + 15) / 16, size = n * s.outputs;
    float *values = exactly(n * s.inputs * sizeof *values), *bias = exactly(s.outputs * sizeof *bias);
    for (size_t i = 0; i < n * s.inputs; i++) {
        values[i] = next_logit(seed);
    }
    for (size_t i = 0; i < s.outputs; i++) {
        bias[i] = next_logit(seed) * s.size;
    }
    float *got = exactly(size * sizeof *got), *want = exactly(size * sizeof *want);
    rows a, b;
    new_rows(&a, n, s.inputs, unit, values);
    plain();
    new_rows(&b, n, s.inputs, unit, values);
    CHECK(memcmp(a.q, b.q, n * s.inputs) == 0 && memcmp(a.scale, b.scale, n * a.units * 4) == 0 &&
              memcmp(a.sum, b.sum, n * a.units * 4) == 0,
          "activations are not those of the plain rung");
    check_tiles(&x);
    for (int biased = 0; biased < 2; biased++) {
        plain();
        cpu_linear(&x.m, 0, tiles, &a.a, 0, n, biased ? bias : NULL, NULL, want, s.outputs);
        if (oracle) {
            check_oracle(&x, &a, biased ? bias : NULL, want);
        }
        cpu_rung_set(under_test);
        // In parts, which must not matter.
        size_t middle = tiles / 2, row = n / 3;
        cpu_linear(&x.m, 0, middle, &a.a, 0, n, biased ? bias : NULL, NULL, got, s.outputs);
        cpu_linear(&x.m, middle, tiles - middle, &a.a, row, n - row, biased ? bias : NULL, NULL, got, s.outputs);
        cpu_linear(&x.m, middle, tiles - middle, &a.a, 0, row, biased ? bias : NULL, NULL, got, s.outputs);
        check_same(got, want, size, "linear");
    }
    int act = (int)(n % 3);
    plain();
    cpu_gated(&x.m, &up.m, act, 0, tiles, &a.a, 0, n, NULL, bias, NULL, NULL, want, s.outputs);
    cpu_rung_set(under_test);
    cpu_gated(&x.m, &up.m, act, 0, tiles, &a.a, 0, n, NULL, bias, NULL, NULL, got, s.outputs);
    check_same(got, want, size, "gated");
    free(got);
    free(want);
    free(values);
    free(bias);
    free_rows(&a);
    free_rows(&b);
    free_matrix(&x);
    free_matrix(&up);
}

// Float weights, some of them zeros of either sign, give the plain rung's tiles; and every output unpacks.
static void check_floats(uint16_t block, uint8_t bits, uint32_t *seed) {
    cpu_matrix m = {.outputs = 19, .inputs = 2u * block, .block = block, .bits = bits};
    size_t n = m.outputs * m.inputs, bytes = 2 * cpu_tile_bytes(&m);
    float *w = exactly(n * sizeof *w), *row = exactly(m.inputs * sizeof *row);
    uint8_t *got = aligned_alloc(64, bytes), *want = aligned_alloc(64, bytes);
    CHECK(got && want, "no memory");
    for (size_t i = 0; i < n; i++) {
        w[i] = i < block ? (i % 2 ? 0.0f : -0.0f) : i < 2u * block ? -1e-45f : next_logit(seed) * 0.5f; // -4 to 4
    }
    plain();
    CHECK(cpu_pack_floats(&m, want, 0, 2, w, m.inputs, 1) == 0, "packing failed");
    cpu_rung_set(under_test);
    CHECK(cpu_pack_floats(&m, got, 0, 2, w, m.inputs, 1) == 0, "packing failed");
    CHECK(memcmp(got, want, bytes) == 0, "block %d, bits %d: tiles of floats are not those of the plain rung", block, bits);
    m.tiles = got;
    for (size_t i = 0; i < m.outputs; i++) {
        cpu_unpack(&m, i, row);
        for (size_t k = 0; k < m.inputs; k++) {
            CHECK(fabsf(row[k] - w[i * m.inputs + k]) < 0.6f, "output %zu, input %zu: got %g of %g", i, k, (double)row[k],
                  (double)w[i * m.inputs + k]);
        }
    }
    w[n - 1] = NAN;
    CHECK(cpu_pack_floats(&m, got, 1, 1, w, m.inputs, 1) == 1, "NaN was packed");
    free(w);
    free(row);
    free(got);
    free(want);
}

static void test(void) {
    uint32_t seed = 7;
    for (size_t i = 0; cpu_rung_name(i); i++) {
        under_test = strcmp(cpu_rung_name(i), cpu_rung_in_use()) == 0 ? i : under_test;
    }
    static const uint16_t blocks[] = {16, 32, 64, 128};
    static const float sizes[] = {0.01f, 1e-7f, 60000};
    for (size_t b = 0; b < 4; b++) {
        for (uint8_t bits = 4; bits <= 8; bits += 4) {
            for (int zeros = 0; zeros < 3; zeros++) {
                for (size_t i = 0; i < 3; i++) {
                    for (int half = 0; half < 2; half++) {
                        uint32_t outputs = 1 + next_random(&seed) % 50, inputs = (1 + next_random(&seed) % 5) * blocks[b];
                        shape s = {outputs, inputs, blocks[b], bits, zeros, half, sizes[i]};
                        check_shape(s, 1 + next_random(&seed) % 20, true, &seed);
                    }
                }
                for (size_t n = 1; n <= 33; n++) {
                    if (zeros < 2 && blocks[b] <= 32) {
                        check_shape((shape){17, blocks[b] * 2u, blocks[b], bits, zeros, 0, 0.02f}, n, false, &seed);
                    }
                }
            }
            check_floats(blocks[b], bits, &seed);
            for (uint32_t outputs = 1; outputs <= 35; outputs++) {
                check_shape((shape){outputs, blocks[b], blocks[b], bits, 0, 1, 0.02f}, 2, false, &seed);
            }
        }
    }
}

int main(void) { return on_each_rung(test); }
