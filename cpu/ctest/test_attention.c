// Attention over all shapes and options: the plain rung against the definition in double precision, the others against the plain
// one bit for bit; and what a token's output depends on.
#include "problem.h"

#define ERROR_MAX 2e-5 // of values between -1 and 1; a score's own error is its exponential's relative one

// A sum over the bits of all that the plain rung computed, and what it is on every machine.
#define FINGERPRINT 0x07515a05u
static uint32_t fingerprint = 2166136261u;

static void add_fingerprint(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        fingerprint = (fingerprint ^ bits) * 16777619u;
    }
}

static void describe(const struct problem *p, size_t past) {
    const cpu_attention *a = &p->a;
    fprintf(stderr,
            "heads %u/%u, head_dim %u, rotary %u%s, past %zu, length %zu, window %d, softcap %g, %s cache, %s:\n", a->heads,
            a->kv_heads, a->head_dim, a->rotary_dim, a->interleaved ? " interleaved" : "", past, p->length - past, a->window,
            (double)a->softcap, a->half ? "half" : "float", a->sink ? "sink" : "no sink");
}

static void check_cache(const struct problem *p) {
    const size_t dim = p->a.head_dim;
    double want[CPU_ATTENTION_DIM];
    for (size_t i = 0; i < p->length * p->a.kv_heads; i++) {
        const size_t token = i / p->a.kv_heads, head = i % p->a.kv_heads;
        rotated(p, p->k + i * dim, token, want);
        for (size_t d = 0; d < dim; d++) {
            const double k = cached(p, p->keys, head, token, d), v = cached(p, p->values, head, token, d);
            const double limit = p->a.half ? 0x1p-10 : 3e-7;
            CHECK(fabs(k - want[d]) <= limit * 2, "key %zu, head %zu, element %zu: got %g, want %g", token, head, d, k, want[d]);
            CHECK(fabs(v - (double)p->v[i * dim + d]) <= (p->a.half ? limit * 2 : 0), "value %zu, head %zu, element %zu", token,
                  head, d);
        }
    }
}

static void check_outputs(const struct problem *p, size_t past) {
    const size_t dim = p->a.head_dim;
    double want[CPU_ATTENTION_DIM];
    for (size_t token = past; token < p->length; token++) {
        for (size_t head = 0; head < p->a.heads; head++) {
            const float *got = p->y + (token * p->a.heads + head) * dim;
            attended(p, token, head, want);
            for (size_t d = 0; d < dim; d++) {
                if (!(fabs((double)got[d] - want[d]) <= ERROR_MAX)) {
                    describe(p, past);
                }
                CHECK(fabs((double)got[d] - want[d]) <= ERROR_MAX, "token %zu, head %zu, element %zu: got %.9g, want %.9g", token,
                      head, d, (double)got[d], want[d]);
            }
        }
    }
}

// All rungs on one problem, the plain one first; the tokens before past are in the cache already.
static void check(struct problem *p, size_t past) {
    uint32_t seed = 1; // of its own, because machines differ in how many rungs they have
    const size_t n = p->length * p->a.heads * p->a.head_dim;
    size_t rungs = 0;
    while (cpu_rung_name(rungs)) {
        rungs++;
    }
    float *want = room(n, sizeof *want);
    for (size_t rung = rungs; rung-- > 0;) {
        cpu_rung_set(rung);
        clear_cache(p);
        memset(p->y, 0xff, n * sizeof *p->y);
        const cpu_sequence before = sequence(p, 0, past);
        append(&p->a, &before);
        run(p, past, p->length - past, (int)(rung % 3), &seed);
        if (rung == rungs - 1) {
            check_cache(p);
            check_outputs(p, past);
            memcpy(want, p->y, n * sizeof *want);
            const size_t row = (size_t)p->a.heads * p->a.head_dim;
            add_fingerprint(want + past * row, n - past * row);
            continue;
        }
        if (!same(want, p->y, n)) {
            describe(p, past);
        }
        CHECK(same(want, p->y, n), "not the bits of %s", cpu_rung_name(rungs - 1));
    }
    free(want);
}

static const uint32_t dims[] = {8, 16, 64, 80, 96, 128, 256}, groups[] = {1, 2, 3, 7};
static const size_t lengths[] = {1, 2, 15, 16, 17, 64, 100}, pasts[] = {0, 1, 255, 256, 257, 1000};
#define COUNT(x) (sizeof(x) / sizeof *(x))

// The options take turns, each in a rhythm of its own.
static cpu_attention attention(uint32_t dim, uint32_t group, size_t turn) {
    static const int32_t windows[] = {-1, -1, 1, 16, 100, 256, 300};
    cpu_attention a = {.kv_heads = 1 + turn % 2, .head_dim = dim, .window = windows[turn % COUNT(windows)]};
    a.heads = a.kv_heads * group;
    a.rotary_dim = turn % 5 == 0 ? 0 : turn % 5 == 1 ? dim / 4 * 2 : dim;
    a.scale = 1 / sqrtf((float)dim);
    a.softcap = turn % 4 == 1 ? 5 : 0;
    a.interleaved = turn % 3 == 1;
    a.half = turn % 11 % 2;
    return a;
}

static void check_shapes(uint32_t *seed) {
    size_t turn = 0;
    for (size_t i = 0; i < COUNT(dims) * COUNT(groups) * COUNT(lengths) * COUNT(pasts); i++, turn++) {
        const uint32_t dim = dims[i % COUNT(dims)], group = groups[i / COUNT(dims) % COUNT(groups)];
        const size_t length = lengths[i / COUNT(dims) / COUNT(groups) % COUNT(lengths)];
        const size_t past = pasts[i / COUNT(dims) / COUNT(groups) / COUNT(lengths)];
        const cpu_attention a = attention(dim, group, turn);
        if (length * (past + length) * a.heads * dim > 4000000 && turn % 37) {
            continue; // these take long; some are enough
        }
        struct problem p = problem(a, past + length, turn % 6 == 2, seed);
        check(&p, past);
        free_problem(&p);
    }
}

int main(void) {
    uint32_t seed = 1;
    check_shapes(&seed);
    CHECK(fingerprint == FINGERPRINT, "the bits are not those of other machines: got %#x, want %#x", fingerprint, FINGERPRINT);
    printf("ok\n");
    return 0;
}
