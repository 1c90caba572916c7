// What the rungs of attention share: the kernels that each provides, the shapes they work on, and the constants of their
// functions. Every rung does the same operations in the same order, each rounded once, so that all give the same bits.
#ifndef SHAMMAH_CPU_ATTENTION_KERNELS_H
#define SHAMMAH_CPU_ATTENTION_KERNELS_H

#include "attention.h"

#define KEYS 256       // positions of a block of keys; a block begins at a multiple of it
#define TILE_ROWS 14   // at most so many queries are a tile
#define SUM_LANES 16   // a softmax has this many partial sums: key i of a block adds to sum i % SUM_LANES
#define ROW_EXTRA 32   // floats of a row's state beside its output

// The state of a row (one head of one token) in the softmax over its keys so far: (head_dim) sums of weight times value,
// SUM_LANES sums of weights, and the largest score, in units of log 2, to which the weights relate.
static inline size_t row_floats(size_t dim) { return dim + ROW_EXTRA; }
static inline float *row_sum(float *row, size_t dim) { return row + dim; }
static inline float *row_top(float *row, size_t dim) { return row + dim + SUM_LANES; }

// The total of the partial sums, which are overwritten.
static inline float row_total(float *sum) {
    for (size_t width = SUM_LANES / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            sum[i] += sum[i + width];
        }
    }
    return sum[0];
}

#define NO_SCORE -0x1.fffffep+127f // the top of an empty row; finite, so that no difference to it is NaN

struct cpu_attention_rung {
    size_t rows;  // of a full tile
    size_t panel; // keys that are packed together; divides KEYS
    // A head's dim elements at x, rotated for a position and multiplied by factor.
    void (*rotate)(const cpu_attention *a, const float *x, size_t position, float factor, float *to);
    void (*narrow)(const float *x, size_t n, uint16_t *to);
    void (*widen)(const uint16_t *x, size_t n, float *to);
    // n keys (n, dim) into this rung's own order, dim floats a key, in whole panels.
    void (*pack)(const void *keys, bool half, size_t n, size_t dim, float *packed);
    // s[r*KEYS + i] = q of row r . key i, for at least the keys from <= i < to. q: (dim, this rung's rows). near: what
    // to bring nearer meanwhile, dim floats a key.
    void (*scores)(const float *q, size_t rows, size_t dim, const float *packed, size_t from, size_t to, float *s,
                   const char *near);
    // Scores from <= i < to of one row into weights; fills in the row's sums and top. cap: see capped.
    void (*weigh)(float *s, size_t from, size_t to, float cap, float *sum, float *top);
    // Adds weight times value of the keys from <= i < to to the first dim floats of each row, key by key.
    void (*mix)(const float *weights, size_t rows, size_t from, size_t to, const void *values, bool half, size_t dim,
                float *row);
    // Adds the state of one block of keys to a row's.
    void (*merge)(float *row, const float *block, size_t dim);
    // The row's output; sink is NULL or the row's.
    void (*finish)(float *row, const float *sink, size_t dim, float *y);
};

const struct cpu_attention_rung *cpu_attention_in_use(void);
extern const struct cpu_attention_rung cpu_attention_plain;
#if defined(__x86_64__)
extern const struct cpu_attention_rung cpu_attention_avx512;
extern const struct cpu_attention_rung cpu_attention_avx2;
#elif defined(__aarch64__)
extern const struct cpu_attention_rung cpu_attention_neon;
#endif

// 2^t for t <= 0: n is t rounded to an integer and 2^(t-n) a polynomial of degree five (minimax in the relative error, 9.2e-8,
// with 2^0 exactly 1), computed with fused multiply-add. Adding EXP2_MAGIC rounds, and leaves n plus the exponent's bias in the
// low bits; at EXP2_LEAST those are 0, and so is the result: what would be subnormal is 0. NaN stays NaN.
#define LOG2E 0x1.715476p+0f
#define EXP2_LEAST -127.0f
#define EXP2_MAGIC (0x1.8p+23f + 127)
#define EXP2_C1 0x1.62e42ap-1f
#define EXP2_C2 0x1.ebf9bcp-3f
#define EXP2_C3 0x1.c6b752p-5f
#define EXP2_C4 0x1.3cea88p-7f
#define EXP2_C5 0x1.5bba14p-10f

// tanh(x) as a quotient of polynomials in x^2 (those of Eigen and of the runtime), for |x| <= TANH_MOST. Under a soft cap the
// queries are multiplied by scale / softcap, and a score is cap * tanh(q.k) with cap = softcap / ln 2; else by scale / ln 2.
#define TANH_MOST 9.0f
#define TANH_P1 4.89352455891786e-03f
#define TANH_P3 6.37261928875436e-04f
#define TANH_P5 1.48572235717979e-05f
#define TANH_P7 5.12229709037114e-08f
#define TANH_P9 -8.60467152213735e-11f
#define TANH_P11 2.00018790482477e-13f
#define TANH_P13 -2.76076847742355e-16f
#define TANH_Q0 4.89352518554385e-03f
#define TANH_Q2 2.26843463243900e-03f
#define TANH_Q4 1.18534705686654e-04f
#define TANH_Q6 1.19825839466702e-06f

#endif
