// The linear kernels on every rung, over all remainders of rows and outputs, blocks, widths and zero points: against the plain
// rung bit for bit, and against the definition in double precision. All lies in memory of its exact size.
#include "../linear.h"
#include "check.h"

typedef struct {
    uint32_t outputs, inputs;
    uint16_t block;
    uint8_t bits;
    int zeros; // 0: none, 1: one byte each, 2: packed
    int half;  // scales
    float size; // of scales
} shape;

// A matrix as a model has it, and packed.
typedef struct {
    shape s;
    size_t blocks, zero_bytes;
    uint8_t *codes, *zeros, *tiles;
    void *scales;
    cpu_matrix m;
    cpu_codes c;
} matrix;

static void *exactly(size_t bytes) {
    void *p = malloc(bytes + (bytes == 0));
    CHECK(p, "no memory for %zu bytes", bytes);
    return p;
}

static float half_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float v = exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void new_matrix(matrix *x, shape s, uint32_t *seed) {
    x->s = s;
    x->blocks = s.inputs / s.block;
    size_t codes = (size_t)s.outputs * s.inputs * s.bits / 8, n = s.outputs * x->blocks;
    x->codes = exactly(codes);
    for (size_t i = 0; i < codes; i++) {
        x->codes[i] = (uint8_t)(next_random(seed) >> 8);
    }
    x->scales = exactly(n * (s.half ? 2 : 4));
    for (size_t i = 0; i < n; i++) {
        float v = s.size * (float)(1 + next_random(seed) % 1000) / 500 * (next_random(seed) % 4 ? 1 : -1);
        if (s.half) {
            uint32_t r = next_random(seed), exponent = s.size < 1e-3f ? 0 : (s.size > 1000 ? 29 : 4) + (r >> 10 & 1);
            ((uint16_t *)x->scales)[i] = (uint16_t)((r & 0x83ff) | exponent << 10);
        } else {
            ((float *)x->scales)[i] = v;
        }
    }
    size_t packed = (x->blocks * s.bits + 7) / 8;
    x->zero_bytes = s.zeros == 2 ? s.outputs * packed : s.zeros == 1 ? n : 0;
    x->zeros = exactly(x->zero_bytes);
    for (size_t i = 0; i < x->zero_bytes; i++) {
        x->zeros[i] = (uint8_t)(next_random(seed) >> 8) & (s.zeros == 1 && s.bits == 4 ? 15 : 255);
    }
    x->m = (cpu_matrix){s.outputs, s.inputs, s.block, s.bits, s.zeros != 0, NULL};
    x->c = (cpu_codes){x->codes, x->scales, s.half, s.zeros ? x->zeros : NULL, s.zeros == 2};
    size_t tiles = (s.outputs + 15) / 16, bytes = tiles * cpu_tile_bytes(&x->m);
    CHECK(bytes % 64 == 0, "a tile is no multiple of 64 bytes");
    x->tiles = aligned_alloc(64, bytes);
    CHECK(x->tiles, "no memory");
    memset(x->tiles, 0xaa, bytes);
    x->m.tiles = x->tiles;
    CHECK(cpu_pack(&x->m, x->tiles, 0, tiles, &x->c) == 0, "packing failed");
}

static void free_matrix(matrix *x) {
    free(x->codes);
    free(x->scales);
    free(x->zeros);
    free(x->tiles);
}

static int code_at(const matrix *x, size_t n, size_t k) {
    size_t i = n * x->s.inputs + k;
    return x->s.bits == 8 ? x->codes[i] : x->codes[i / 2] >> (i % 2 * 4) & 15;
}

static int zero_of(const matrix *x, size_t n, size_t b) {
    if (x->s.zeros == 2 && x->s.bits == 4) {
        return x->zeros[n * ((x->blocks + 1) / 2) + b / 2] >> (b % 2 * 4) & 15;
    }
    return x->s.zeros ? x->zeros[n * x->blocks + b] : x->s.bits == 4 ? 8 : 128;
}

static double scale_of(const matrix *x, size_t n, size_t b) {
    size_t i = n * x->blocks + b;
    return x->s.half ? (double)half_value(((uint16_t *)x->scales)[i]) : (double)((float *)x->scales)[i];
}

// The weight as the model has it.
static double weight(const matrix *x, size_t n, size_t k) {
    size_t b = k / x->s.block;
    return (code_at(x, n, k) - zero_of(x, n, b)) * scale_of(x, n, b);
}

typedef struct {
    size_t rows, inputs, units;
    int8_t *q;
    float *scale;
    int32_t *sum;
    cpu_activations a;
} rows;

static void new_rows(rows *x, size_t n, size_t inputs, size_t unit, const float *values) {
    *x = (rows){n, inputs, inputs / unit, NULL, NULL, NULL, {0}};
    x->q = exactly(n * inputs);
    x->scale = exactly(n * x->units * sizeof *x->scale);
    x->sum = exactly(n * x->units * sizeof *x->sum);
    for (size_t r = 0; r < n; r++) {
        cpu_quantise(values + r * inputs, inputs, unit, x->q + r * inputs, x->scale + r * x->units, x->sum + r * x->units);
    }
    x->a = (cpu_activations){x->q, x->scale, x->sum, n, inputs, unit};
}

static void free_rows(rows *x) {
    free(x->q);
    free(x->scale);
    free(x->sum);
}

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
    for (size_t r = 0; r < a->rows; r++) {
        for (size_t n = 0; n < x->s.outputs; n++) {
            double want = bias ? (double)bias[n] : 0, size = fabs(want);
            for (size_t k = 0; k < x->s.inputs; k++) {
                size_t unit = r * a->units + k / a->a.unit;
                double term = weight(x, n, k) * a->q[r * x->s.inputs + k] * (double)a->scale[unit];
                want += term;
                size += fabs(term);
            }
            double error = fabs((double)y[r * x->s.outputs + n] - want);
            // A scale of 32 bits is rounded to 11; the sum over units is one of floats.
            double limit = size * ((x->s.half ? 0 : 0x1p-11) + 0x1p-20);
            CHECK(error <= limit, "outputs %u, inputs %u, block %d, bits %d, zeros %d: row %zu, output %zu: got %g, want %g",
                  x->s.outputs, x->s.inputs, x->s.block, x->s.bits, x->s.zeros, r, n, (double)y[r * x->s.outputs + n], want);
        }
    }
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
    matrix again = x;
    again.tiles = aligned_alloc(64, tiles * cpu_tile_bytes(&x.m));
    CHECK(again.tiles && cpu_pack(&x.m, again.tiles, 0, tiles, &x.c) == 0, "packing failed");
    CHECK(memcmp(again.tiles, x.tiles, tiles * cpu_tile_bytes(&x.m)) == 0, "tiles are not those of the plain rung");
    free(again.tiles);
    for (int biased = 0; biased < 2; biased++) {
        plain();
        cpu_linear(&x.m, 0, tiles, &a.a, 0, n, biased ? bias : NULL, want, s.outputs);
        if (oracle) {
            check_oracle(&x, &a, biased ? bias : NULL, want);
        }
        cpu_rung_set(under_test);
        // In parts, which must not matter.
        size_t middle = tiles / 2, row = n / 3;
        cpu_linear(&x.m, 0, middle, &a.a, 0, n, biased ? bias : NULL, got, s.outputs);
        cpu_linear(&x.m, middle, tiles - middle, &a.a, row, n - row, biased ? bias : NULL, got, s.outputs);
        cpu_linear(&x.m, middle, tiles - middle, &a.a, 0, row, biased ? bias : NULL, got, s.outputs);
        check_same(got, want, size, "linear");
    }
    for (int act = 0; act < 3; act++) {
        plain();
        cpu_gated(&x.m, &up.m, act, 0, tiles, &a.a, 0, n, NULL, bias, want, s.outputs);
        cpu_rung_set(under_test);
        cpu_gated(&x.m, &up.m, act, 0, tiles, &a.a, 0, n, NULL, bias, got, s.outputs);
        check_same(got, want, size, "gated");
    }
    free(got);
    free(want);
    free(values);
    free(bias);
    free_rows(&a);
    free_rows(&b);
    free_matrix(&x);
    free_matrix(&up);
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
                    check_shape((shape){17, blocks[b] * 3u, blocks[b], bits, zeros, 0, 0.02f}, n, false, &seed);
                }
            }
            for (uint32_t outputs = 1; outputs <= 35; outputs++) {
                check_shape((shape){outputs, blocks[b], blocks[b], bits, 0, 1, 0.02f}, 2, false, &seed);
            }
        }
    }
}

int main(void) { return on_each_rung(test); }
