// Top-k over rows of every length, in memory of exactly that length, against the definition: each of what was chosen comes
// before the next one and before everything that was not chosen.
#include "check.h"

// Whether value a at index i comes before value b at index j.
static bool before(float a, size_t i, float b, size_t j) { return a > b || (a == b && i < j); }

static void check(const float *x, size_t n, size_t k) {
    void *whole_index, *whole_value;
    int32_t *index = row_at(&whole_index, k, 0, sizeof *index);
    float *value = row_at(&whole_value, k, 0, sizeof *value);
    cpu_result got = cpu_topk(x, n, k, index, value);

    size_t finite = 0, behind = 0;
    bool clean = true;
    for (size_t i = 0; i < n; i++) {
        finite += isfinite(x[i]) != 0;
        clean = clean && (isfinite(x[i]) || x[i] == -INFINITY);
    }
    size_t found = (size_t)got.found;
    CHECK(found == (finite < k ? finite : k), "length %zu, k %zu: got %zu values of %zu", n, k, found, finite);
    CHECK(got.ok == (clean && finite > 0), "length %zu, k %zu: got ok %d", n, k, got.ok);
    for (size_t i = 0; i < found; i++) {
        size_t at = (size_t)index[i];
        CHECK(at < n && value[i] == x[at] && isfinite(x[at]), "length %zu, k %zu: place %zu is wrong", n, k, i);
        CHECK(i == 0 || before(value[i - 1], (size_t)index[i - 1], value[i], at), "length %zu, k %zu: order at %zu", n, k, i);
    }
    for (size_t i = 0; found > 0 && i < n; i++) {
        behind += isfinite(x[i]) && before(value[found - 1], (size_t)index[found - 1], x[i], i);
    }
    CHECK(found == 0 || behind == finite - found, "length %zu, k %zu: %zu values lie behind, want %zu", n, k, behind,
          finite - found);
    free(whole_index);
    free(whole_value);
}

static void check_all(const float *x, size_t n) {
    const size_t k[] = {0, 1, 2, 50, 400, 2048, 2500, n, n + 1};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        if (k[i] <= 2500 && k[i] <= n + 1) {
            check(x, n, k[i]);
        }
    }
}

static void check_row(size_t n, size_t offset, uint32_t *seed) {
    static const float specials[] = {NAN, INFINITY, -INFINITY, 1e9f};
    void *whole;
    float *x = row_at(&whole, n, offset, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_logit(seed);
    }
    check_all(x, n);
    for (size_t i = 0; n > 0 && i < sizeof specials / sizeof *specials; i++) {
        size_t at = i % 2 ? n - 1 : next_random(seed) % n;
        float was = x[at];
        x[at] = specials[i];
        check(x, n, 3);
        x[at] = was;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = next_random(seed) % 3 ? -INFINITY : (float)(next_random(seed) % 3);
    }
    check_all(x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)i;
    }
    check_all(x, n);
    free(whole);
}

static void test(void) {
    uint32_t seed = 1;
    for (size_t i = 0; i < LENGTHS; i++) {
        for (size_t offset = 0; offset < (length(i) < 258 ? 16 : 1); offset++) {
            check_row(length(i), offset, &seed);
        }
    }
    check(NULL, 0, 3);
}

int main(void) { return on_each_rung(test); }
