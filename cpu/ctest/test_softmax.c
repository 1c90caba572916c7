// Softmax over rows of every length, in memory of exactly that length, against the C library's exp in double precision; all
// rungs of all machines against each other, bit for bit; and its exp over exponents all along the line.
#include "check.h"

#define ERROR_MAX 2e-7

static void check(float *x, size_t n, float scale) {
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    double *want = malloc(n * sizeof *want + 1), sum = 0, total = 0;
    CHECK(want, "no memory");
    for (size_t i = 0; i < n; i++) {
        float t = (x[i] - top) * scale;
        want[i] = exp((double)t);
        sum += want[i];
    }
    cpu_softmax(x, n, scale);
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)x[i] * sum - want[i]) / want[i];
        total += (double)x[i];
        // A subnormal result has few bits of its own, and may be 0.
        bool near = want[i] / sum < 0x1p-126 ? x[i] <= 0x1p-126f : e <= ERROR_MAX;
        CHECK(near, "length %zu, place %zu: got %a, a relative error of %g", n, i, (double)x[i], e);
    }
    CHECK(fabs(total - 1) <= ERROR_MAX, "length %zu: the sum is 1 %+g", n, total - 1);
    free(want);
}

// A sum over the bits of everything that one rung computed, and what it is on every rung of every machine.
static uint64_t fingerprint;
#define FINGERPRINT 0x5eeb1f9f32d963dcu

static void add_fingerprint(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        fingerprint = (fingerprint ^ bits) * 0x100000001b3u;
    }
}

static void check_row(size_t n, size_t offset, uint32_t *seed) {
    void *whole;
    float *x = row_at(&whole, n, offset, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = next_logit(seed) * (i % 7 == 3 ? 20 : 1);
    }
    if (n > 0) {
        check(x, n, offset % 2 ? 1.0f / 0.7f : 1);
    }
    add_fingerprint(x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = i % 3 == 1 ? -INFINITY : (float)(i % 5);
    }
    if (n > 0) {
        check(x, n, 1);
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = -INFINITY;
    }
    cpu_softmax(x, n, 1);
    for (size_t i = 0; i < n; i++) {
        CHECK(isnan(x[i]), "length %zu, all masked: got %g, want NaN", n, (double)x[i]);
    }
    free(whole);
}

// Beside a 0, every 1,009th float from 0 down to where exp is 0.
static void check_line(void) {
    enum { SIZE = 4096 };
    float x[SIZE];
    const uint32_t zero = 0x80000000, least = 0xc2aeac50; // -0 and the float next to ln 2^-126
    for (uint32_t bits = zero; bits < least;) {
        x[0] = 0;
        for (size_t i = 1; i < SIZE; i++) {
            memcpy(x + i, &bits, sizeof bits);
            bits = bits + 1009 < least ? bits + 1009 : least;
        }
        check(x, SIZE, 1);
        add_fingerprint(x, SIZE);
    }
}

static void test(void) {
    uint32_t seed = 1;
    fingerprint = 1;
    for (size_t i = 0; i < LENGTHS; i++) {
        for (size_t offset = 0; offset < (length(i) < 258 ? 16 : 1); offset++) {
            check_row(length(i), offset, &seed);
        }
    }
    check_line();
    cpu_softmax(NULL, 0, 1);
    CHECK(fingerprint == FINGERPRINT, "the bits are not those of the other rungs: got %llx, want %llx",
          (unsigned long long)fingerprint, (unsigned long long)FINGERPRINT);
}

int main(void) { return on_each_rung(test); }
