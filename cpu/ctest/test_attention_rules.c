// What a token's output depends on: not on how the tokens were cut into calls; on a NaN only where it is seen. And what becomes
// of extreme scores, of packed inputs, and of every half.
#include "problem.h"

static cpu_attention shape(uint32_t heads, uint32_t kv_heads, uint32_t dim, bool half) {
    return (cpu_attention){.heads = heads, .kv_heads = kv_heads, .head_dim = dim, .rotary_dim = dim, .window = -1,
                           .scale = 1 / sqrtf((float)dim), .half = half};
}

static float *copy(const float *x, size_t n) {
    float *to = room(n, sizeof *to);
    memcpy(to, x, n * sizeof *x);
    return to;
}

// Runs all tokens in pieces of at most the given size, or of random sizes where that is 0.
static void run_cut(struct problem *p, size_t size, uint32_t *seed) {
    clear_cache(p);
    for (size_t past = 0, n; past < p->length; past += n) {
        n = size ? size : 1 + next_random(seed) % 90;
        n = n < p->length - past ? n : p->length - past;
        run(p, past, n, 2, seed);
    }
}

static void check_cuts(cpu_attention a, size_t length, uint32_t *seed) {
    const size_t sizes[] = {1, 2, 7, 16, 64, 100, 256, 0, 0, 0};
    struct problem p = problem(a, length, false, seed);
    const size_t n = length * a.heads * a.head_dim;
    run_cut(&p, length, seed);
    float *want = copy(p.y, n);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(p.y, 0xff, n * sizeof *p.y);
        run_cut(&p, sizes[i], seed);
        for (size_t token = 0; token < length; token++) {
            const size_t row = (size_t)a.heads * a.head_dim;
            CHECK(same(want + token * row, p.y + token * row, row), "head_dim %u, window %d: token %zu is another in pieces of %zu",
                  a.head_dim, a.window, token, sizes[i]);
        }
    }
    free(want);
    free_problem(&p);
}

static void check_all_cuts(uint32_t *seed) {
    cpu_attention a = shape(14, 2, 16, false);
    check_cuts(a, 600, seed);
    a.window = 100, a.softcap = 3;
    check_cuts(a, 400, seed);
    a = shape(6, 1, 80, true);
    a.rotary_dim = 32, a.window = 256;
    check_cuts(a, 530, seed);
    check_cuts(shape(3, 3, 24, false), 300, seed);
    check_cuts(shape(2, 2, 5, true), 300, seed); // of which only the plain rung knows
}

// A NaN in one place: the outputs that depend on it are NaN, all others as they were.
static void check_nan(cpu_attention a, size_t past, size_t length, uint32_t *seed) {
    struct problem p = problem(a, past + length, false, seed);
    const size_t dim = a.head_dim, row = a.heads * dim, n = p.length * row, group = a.heads / a.kv_heads;
    run_cut(&p, p.length, seed);
    float *want = copy(p.y, n);
    for (size_t turn = 0; turn < 12; turn++) {
        float *const inputs[] = {p.q, p.k, p.v};
        const size_t kind = turn % 3, heads = kind ? a.kv_heads : a.heads;
        const size_t at = turn < 6 ? p.length - 1 - turn / 3 * 3 : next_random(seed) % p.length;
        const size_t head = next_random(seed) % heads, i = next_random(seed) % dim;
        float *x = inputs[kind] + (at * heads + head) * dim + i, was = *x;
        const uint32_t nan = next_random(seed) | 0x7f800001;
        memcpy(x, &nan, sizeof nan);
        clear_cache(&p);
        const cpu_sequence before = sequence(&p, 0, past);
        append(&p.a, &before);
        run(&p, past, length, 2, seed);
        for (size_t j = past * row; j < n; j++) {
            const size_t token = j / row, its = j / dim % a.heads, element = j % dim;
            bool depends = kind ? token >= at && its / group == head : token == at && its == head;
            depends = depends && (a.window < 0 || token < at + (size_t)a.window || kind == 0) && (kind != 2 || element == i);
            CHECK(depends ? isnan(p.y[j]) : p.y[j] == want[j], "NaN in %c of token %zu: token %zu, head %zu, element %zu: %g, was %g",
                  "qkv"[kind], at, token, its, element, (double)p.y[j], (double)want[j]);
        }
        *x = was;
    }
    free(want);
    free_problem(&p);
}

static void check_nans(uint32_t *seed) {
    cpu_attention a = shape(6, 2, 24, false);
    check_nan(a, 0, 300, seed);
    check_nan(a, 600, 1, seed);
    check_nan(a, 250, 20, seed);
    a.window = 9;
    check_nan(a, 0, 300, seed);
    a.half = true, a.softcap = 2;
    check_nan(a, 500, 50, seed);
    check_nan(shape(1, 1, 64, true), 300, 30, seed);
}

// One query over keys whose scores are given, with values 1, 2, 3 and so on in all elements.
static float weighed(const float *score, size_t n, float softcap, const float *sink) {
    enum { DIM = 8 };
    cpu_attention a = {.heads = 1, .kv_heads = 1, .head_dim = DIM, .capacity = (uint32_t)n, .window = -1, .scale = 1,
                       .softcap = softcap, .sink = sink};
    float *keys = room(n * DIM, sizeof *keys), *values = room(n * DIM, sizeof *values), q[DIM] = {1}, y[DIM];
    memset(keys, 0, n * DIM * sizeof *keys);
    for (size_t i = 0; i < n * DIM; i++) {
        keys[i] = i % DIM ? 0 : score[i / DIM];
        values[i] = (float)(1 + i / DIM);
    }
    const size_t last = (n - 1) * DIM;
    const cpu_sequence s = {.q = q, .k = keys + last, .v = values + last, .q_stride = DIM, .k_stride = DIM, .v_stride = DIM,
                            .length = 1, .past = n - 1, .keys = keys, .values = values, .y = y};
    void *scratch = poisoned(cpu_attend_scratch(&a, &s)), *local = poisoned(cpu_attend_local(&a, &s));
    for (size_t i = 0; i < cpu_attend_parts(&a, &s); i++) {
        cpu_attend(&a, &s, i, scratch, local);
    }
    for (size_t i = 0; i < cpu_attend_finish_parts(&a, &s); i++) {
        cpu_attend_finish(&a, &s, i, scratch);
    }
    free(keys), free(values), free(scratch), free(local);
    return y[DIM - 1];
}

static void check_weighed(const char *what, float got, float want) {
    CHECK(fabsf(got - want) <= 1e-6f * want || (isnan(want) && isnan(got)), "%s: got %.9g, want %.9g", what, (double)got,
          (double)want);
}

static void check_extremes(void) {
    const float big = 2e38f, none = -INFINITY, zero = 0, huge = 1e30f;
    check_weighed("one key", weighed((float[]){-5}, 1, 0, NULL), 1);
    check_weighed("large scores", weighed((float[]){big, -big, 0}, 3, 0, NULL), 1);
    check_weighed("equal large scores", weighed((float[]){-1e37f, -1e37f}, 2, 0, NULL), 1.5f);
    check_weighed("a masked key", weighed((float[]){none, 3, 3}, 3, 0, NULL), 2.5f);
    check_weighed("all masked", weighed((float[]){none, none}, 2, 0, NULL), NAN);
    check_weighed("an infinite score", weighed((float[]){INFINITY, 1}, 2, 0, NULL), NAN);
    check_weighed("large scores under a cap", weighed((float[]){big, -big, big}, 3, 1000, NULL), 2);
    check_weighed("infinite scores under a cap", weighed((float[]){INFINITY, none, INFINITY}, 3, 1000, NULL), 2);
    check_weighed("a sink of the same score", weighed((float[]){0}, 1, 0, &zero), 0.5f);
    check_weighed("a sink of no score", weighed((float[]){0}, 1, 0, &none), 1);
    check_weighed("a sink that takes all", weighed((float[]){0}, 1, 0, &huge), 0);
    float score[600];
    for (size_t i = 0; i < 600; i++) {
        score[i] = i == 100 || i == 500 ? 50 : -100; // in blocks of their own; the rest is below the last bit
    }
    check_weighed("two keys of many", weighed(score, 600, 0, NULL), 301);
    for (size_t i = 0; i < 600; i++) {
        score[i] = i < 300 ? none : 7;
    }
    check_weighed("a masked block", weighed(score, 600, 0, NULL), 450.5f);
}

// Query, key and value in one row, as a graph packs them.
static void check_packed(uint32_t *seed) {
    const cpu_attention a = shape(6, 2, 16, false);
    struct problem p = problem(a, 40, false, seed);
    const size_t q = 6 * 16, k = 2 * 16, row = q + 2 * k, n = p.length * q;
    run_cut(&p, p.length, seed);
    float *want = copy(p.y, n), *packed = room(p.length * row, sizeof *packed);
    for (size_t t = 0; t < p.length; t++) {
        memcpy(packed + t * row, p.q + t * q, q * sizeof *packed);
        memcpy(packed + t * row + q, p.k + t * k, k * sizeof *packed);
        memcpy(packed + t * row + q + k, p.v + t * k, k * sizeof *packed);
    }
    cpu_sequence s = sequence(&p, 0, p.length);
    s.q = packed, s.k = packed + q, s.v = packed + q + k;
    s.q_stride = s.k_stride = s.v_stride = row;
    clear_cache(&p);
    memset(p.y, 0xff, n * sizeof *p.y);
    append(&p.a, &s);
    void *local = poisoned(cpu_attend_local(&p.a, &s));
    for (size_t i = 0; i < cpu_attend_parts(&p.a, &s); i++) {
        cpu_attend(&p.a, &s, i, NULL, local);
    }
    CHECK(same(want, p.y, n), "packed rows give something else");
    free(want), free(packed), free(local);
    free_problem(&p);
}

// Every half and what lies between it and the next one, through the cache: rounded to the nearest, ties to the even one.
static void check_halves(void) {
    enum { DIM = 16 };
    cpu_attention a = {.heads = 1, .kv_heads = 1, .head_dim = DIM, .capacity = 1, .window = -1, .scale = 1, .half = true};
    for (uint32_t first = 0; first < 0x10000; first += DIM / 4) {
        float x[DIM], y[DIM];
        uint16_t keys[DIM], values[DIM];
        for (uint32_t i = 0; i < DIM; i++) {
            const uint16_t half = (uint16_t)(first + i / 4);
            const double one = half_value(half), two = half_value((uint16_t)(half + 1));
            const bool finite = isfinite(one) && isfinite(two);
            x[i] = (float)(finite ? one + (two - one) * (i % 4) * 0.25 : one);
        }
        const cpu_sequence s = {.q = x, .k = x, .v = x, .length = 1, .keys = keys, .values = values, .y = y};
        append(&a, &s);
        for (uint32_t i = 0; i < DIM; i++) {
            const uint32_t half = first + i / 4, quarter = i % 4;
            const bool finite = isfinite(half_value((uint16_t)half)) && isfinite(half_value((uint16_t)(half + 1)));
            const bool up = finite && (quarter == 3 || (quarter == 2 && half % 2));
            const double want = half_value((uint16_t)(half + up)), got = half_value(keys[i]);
            CHECK(keys[i] == values[i] && (isnan(want) ? isnan(got) : keys[i] == (uint16_t)(half + up)),
                  "%a: got half %#x, want %#x", (double)x[i], keys[i], half + up);
        }
        void *local = poisoned(cpu_attend_local(&a, &s));
        cpu_attend(&a, &s, 0, NULL, local); // one key: its value as it is, or NaN where the score is
        for (uint32_t i = 0; i < DIM; i++) {
            const double value = half_value(values[i]);
            CHECK(isnan(y[i]) ? !isfinite((double)y[0]) || !isfinite(value) : (double)y[i] == value, "half %#x: got %a", values[i],
                  (double)y[i]);
        }
        free(local);
    }
}

// The largest float that rounds to a half, the least that does not, and subnormal floats.
static void check_half_ends(void) {
    const float x[8] = {65519.996f, 65520, -65519.996f, -65520, 1e38f, 0x1p-25f, 0x1.000002p-25f, -1e-45f};
    const uint16_t want[8] = {0x7bff, 0x7c00, 0xfbff, 0xfc00, 0x7c00, 0, 1, 0x8000};
    uint16_t keys[8], values[8];
    const cpu_attention a = {.heads = 1, .kv_heads = 1, .head_dim = 8, .capacity = 1, .window = -1, .half = true};
    const cpu_sequence s = {.k = x, .v = x, .length = 1, .keys = keys, .values = values};
    append(&a, &s);
    for (size_t i = 0; i < 8; i++) {
        CHECK(keys[i] == want[i], "%a: got half %#x, want %#x", (double)x[i], keys[i], want[i]);
    }
}

static void test(void) {
    uint32_t seed = 1;
    check_all_cuts(&seed);
    check_nans(&seed);
    check_extremes();
    check_packed(&seed);
    check_halves();
    check_half_ends();
}

int main(void) { return on_each_rung(test); }
