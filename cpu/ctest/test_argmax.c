// Argmax over rows of every length, in memory of exactly that length, against a plain loop.
#include "check.h"

static cpu_result expected_f32(const float *x, size_t n) {
    cpu_result r = {-1, true};
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]) || x[i] == INFINITY) {
            r.ok = false;
        } else if (x[i] != -INFINITY && (r.found < 0 || x[i] > x[r.found])) {
            r.found = (int64_t)i;
        }
    }
    r.ok = r.ok && r.found >= 0;
    return r;
}

static void check_f32(const float *x, size_t n) {
    cpu_result got = cpu_argmax_f32(x, n), want = expected_f32(x, n);
    CHECK(got.found == want.found && got.ok == want.ok, "length %zu: got %lld, %d; want %lld, %d", n, (long long)got.found,
          got.ok, (long long)want.found, want.ok);
}

static float half(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                  : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                                 : ldexpf((float)fraction, -24);
    return bits & 0x8000 ? -value : value;
}

static void check_f16(const uint16_t *x, size_t n) {
    float *wide = malloc(n * sizeof *wide + 1);
    CHECK(wide, "no memory");
    for (size_t i = 0; i < n; i++) {
        wide[i] = half(x[i]);
    }
    cpu_result got = cpu_argmax_f16(x, n), want = expected_f32(wide, n);
    CHECK(got.found == want.found && got.ok == want.ok, "length %zu: got %lld, %d; want %lld, %d", n, (long long)got.found,
          got.ok, (long long)want.found, want.ok);
    free(wide);
}

static void check_row_f32(size_t n, size_t offset, uint32_t *seed) {
    static const float specials[] = {NAN, INFINITY, -INFINITY, 1e9f, -0.0f, 1e-45f};
    void *whole;
    float *x = row_at(&whole, n, offset, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_logit(seed);
    }
    check_f32(x, n);
    for (size_t i = 0; n > 0 && i < sizeof specials / sizeof *specials; i++) {
        size_t at[] = {0, n - 1, next_random(seed) % n};
        for (size_t j = 0; j < 3; j++) {
            float was = x[at[j]];
            x[at[j]] = specials[i];
            check_f32(x, n);
            x[at[j]] = was;
        }
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = i % 3 ? 0.0f : -0.0f;
    }
    check_f32(x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = -INFINITY;
    }
    check_f32(x, n);
    free(whole);
}

static void check_row_f16(size_t n, size_t offset, uint32_t *seed) {
    static const uint16_t specials[] = {0x7c00, 0xfc00, 0x7c01, 0xfc01, 0x7fff, 0xffff, 0x7bff, 0x8000, 1};
    void *whole;
    uint16_t *x = row_at(&whole, n, offset, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_random(seed) & 0xbfff; // finite, and subnormal now and then
    }
    check_f16(x, n);
    for (size_t i = 0; n > 0 && i < sizeof specials / sizeof *specials; i++) {
        size_t at[] = {0, n - 1, next_random(seed) % n};
        for (size_t j = 0; j < 3; j++) {
            uint16_t was = x[at[j]];
            x[at[j]] = specials[i];
            check_f16(x, n);
            x[at[j]] = was;
        }
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = 0xfc00;
    }
    check_f16(x, n);
    free(whole);
}

static void test(void) {
    uint32_t seed = 1;
    for (size_t i = 0; i < LENGTHS; i++) {
        for (size_t offset = 0; offset < (length(i) < 258 ? 16 : 2); offset++) {
            check_row_f32(length(i), offset, &seed);
            check_row_f16(length(i), offset, &seed);
        }
    }
    CHECK(cpu_argmax_f32(NULL, 0).found == -1, "no row");
    CHECK(cpu_argmax_f16(NULL, 0).found == -1, "no row");
}

int main(void) { return on_each_rung(test); }
