// The linear kernels for AVX-512 with VNNI: 16 outputs are one register, and up to twelve rows share what is unpacked.
#include "pack.h"

#if defined(__x86_64__)
#include "exp.h"
#include "gate.h"

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c,prfchw")))
#define INLINE VNNI static inline __attribute__((always_inline))
#define ROWS 12
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// How far ahead weights are prefetched, in bytes, of the tiles as they follow each other in memory. One row waits for memory and
// wants them in the first-level cache; more rows have other things to do, and lose less with the second-level one.
#define AHEAD_ONE (12 << 10)
#define AHEAD_MORE (24 << 10)

// The next part of the weights, of about 288 bytes.
INLINE void prefetch(const uint8_t *w, const size_t rows) {
    UNROLL
    for (size_t i = 0; i < 5; i++) {
        if (rows == 1) {
            _mm_prefetch((const char *)w + AHEAD_ONE + 64 * i, _MM_HINT_T0);
        } else {
            _mm_prefetch((const char *)w + AHEAD_MORE + 64 * i, _MM_HINT_T1);
        }
    }
}

// Four consecutive values of a row for all outputs.
INLINE __m512i four(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm512_set1_epi32(word);
}

// One unit of all rows, on top of sum. To codes of 4 bits lift is added.
INLINE void add_unit(__m512i sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits, const bool lifted, __m512i lift) {
    const __m512i low = _mm512_set1_epi8(15);
    UNROLL
    for (size_t g = 0; g < groups; g++) {
        __m512i v = _mm512_load_si512(w + 64 * g);
        if (bits == 8) {
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r] = _mm512_dpbusd_epi32(sum[r], v, four(q + r * ld + 4 * g));
            }
            continue;
        }
        __m512i a = _mm512_and_si512(v, low), b = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
        a = lifted ? _mm512_add_epi8(a, lift) : a;
        b = lifted ? _mm512_add_epi8(b, lift) : b;
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r] = _mm512_dpbusd_epi32(sum[r], a, four(q + r * ld + 8 * g));
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r] = _mm512_dpbusd_epi32(sum[r], b, four(q + r * ld + 8 * g + 4));
        }
    }
}

// What a block's zero points become. 4 bits: 16 - zero, added to each code, so that all outputs start from -16 times the sum of
// q. 8 bits, where a byte has no room for that: the zero points in 32 bits.
INLINE __m512i zeros_of(const tile_parts *t, size_t b, const int bits, const bool zeros) {
    if (!zeros) {
        return _mm512_set1_epi32(128); // of 8 bits; 4 bits start from what is stored
    }
    __m128i z = _mm_load_si128((const __m128i *)(t->zeros + b * CPU_TILE));
    __m512i wide = _mm512_cvtepu8_epi32(z);
    return bits == 8 ? wide : _mm512_mullo_epi32(_mm512_sub_epi32(_mm512_set1_epi32(16), wide), _mm512_set1_epi32(0x01010101));
}

// Where a unit starts, out of -8 times the sum of q. A zero point of 8 bits and that sum each fit 16 bits.
INLINE __m512i start(int32_t sum, const int bits, const bool zeros, __m512i zero) {
    __m512i s = _mm512_set1_epi32(sum);
    if (bits == 4) {
        return zeros ? _mm512_add_epi32(s, s) : s;
    }
    return _mm512_srai_epi32(_mm512_madd_epi16(zero, s), 3);
}

INLINE void tile_of(const tile_parts *t, const cpu_activations *x, size_t row, tile_addend bias, float *y, size_t stride,
                    const size_t rows, const size_t groups, const int bits, const bool zeros) {
    const size_t ld = x->inputs, units = x->inputs / x->unit, depth = 32 * groups / (size_t)bits, step = t->bytes / units;
    const int8_t *q = x->q + row * ld;
    const float *scale = x->scale + row * units;
    const int32_t *sums = x->sum + row * units;
    const uint8_t *w = t->codes, *next = w;
    __m512 acc[ROWS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[r] = _mm512_setzero_ps();
        __builtin_prefetch(y + r * stride, 1); // or the results of many rows wait for their place in the end
    }
    for (size_t b = 0; b < t->blocks; b++) {
        __m512 ws = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(t->scales + b * CPU_TILE)));
        __m512i zero = zeros_of(t, b, bits, zeros);
        for (size_t u = 0; u < t->units; u++) {
            if (t->cold) {
                prefetch(next, rows);
                next += step;
            }
            __m512i sum[ROWS];
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r] = start(sums[r * units], bits, zeros, zero);
            }
            add_unit(sum, w, q, ld, rows, groups, bits, zeros, zero);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r]), _mm512_set1_ps(scale[r * units]));
                acc[r] = _mm512_fmadd_ps(v, ws, acc[r]);
            }
            w += 64 * groups;
            q += depth;
            scale++;
            sums++;
        }
    }
    const __m512 factor = _mm512_load_ps(t->factors);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m512 v = _mm512_mul_ps(acc[r], factor);
        _mm512_storeu_ps(y + r * stride, bias.at ? _mm512_add_ps(v, _mm512_loadu_ps(bias.at + r * bias.stride)) : v);
    }
}

#define CASE(n)                                                                                                                \
    case n:                                                                                                                    \
        tile_of(t, x, row, bias, y, stride, n, groups, bits, zeros);                                                           \
        break;

// A path of its own for every number of rows.
INLINE void any_rows(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                     size_t stride, const size_t groups, const int bits, const bool zeros) {
    switch (rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
    }
}

#define KIND(name, groups, bits, zeros)                                                                                        \
    VNNI static void name(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,  \
                          size_t stride) {                                                                                     \
        any_rows(t, x, row, rows, bias, y, stride, groups, bits, zeros);                                                       \
    }
KIND(tile_4, 4, 4, false)
KIND(tile_4_zeros, 4, 4, true)
KIND(tile_8, 8, 8, false)
KIND(tile_8_zeros, 8, 8, true)

// A unit of 16 is rare, and goes two rows at a time.
INLINE void few_rows(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                     size_t stride, const size_t groups, const int bits, const bool zeros) {
    for (; rows > 1; rows -= 2, row += 2, y += 2 * stride, bias = addend_from(bias, 2)) {
        tile_of(t, x, row, bias, y, stride, 2, groups, bits, zeros);
    }
    if (rows > 0) {
        tile_of(t, x, row, bias, y, stride, 1, groups, bits, zeros);
    }
}

VNNI static void tile_of_16(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                            size_t stride) {
    if (t->bits == 4 && t->zeros) {
        few_rows(t, x, row, rows, bias, y, stride, 2, 4, true);
    } else if (t->bits == 4) {
        few_rows(t, x, row, rows, bias, y, stride, 2, 4, false);
    } else if (t->zeros) {
        few_rows(t, x, row, rows, bias, y, stride, 4, 8, true);
    } else {
        few_rows(t, x, row, rows, bias, y, stride, 4, 8, false);
    }
}

VNNI static void tile(const tile_parts *t, const cpu_activations *x, size_t row, size_t rows, tile_addend bias, float *y,
                      size_t stride) {
    if (x->unit == 16) {
        tile_of_16(t, x, row, rows, bias, y, stride);
    } else if (t->bits == 8) {
        (t->zeros ? tile_8_zeros : tile_8)(t, x, row, rows, bias, y, stride);
    } else {
        (t->zeros ? tile_4_zeros : tile_4)(t, x, row, rows, bias, y, stride);
    }
}

VNNI static void quantise(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (size_t i = 0; i < n; i += unit, x += unit, q += unit, scale++, sum++) {
        __m512 a = _mm512_loadu_ps(x), b = unit == 16 ? _mm512_setzero_ps() : _mm512_loadu_ps(x + 16);
        __m512i bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                        _mm512_and_si512(_mm512_castps_si512(b), magnitude));
        __m512 inverse = _mm512_set1_ps(quantiser(_mm512_reduce_max_epu32(bits), scale));
        // Zero times what is not finite is NaN, which no conversion may see.
        __mmask16 some = _mm512_cmp_ps_mask(inverse, _mm512_setzero_ps(), _CMP_NEQ_OQ);
        __m512i qa = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(a, inverse));
        __m512i qb = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(b, inverse));
        _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(qa));
        if (unit != 16) {
            _mm_storeu_si128((__m128i *)(q + 16), _mm512_cvtepi32_epi8(qb));
        }
        *sum = -8 * _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
    }
}

// x / (1 + exp(-z)) without x.
INLINE __m512 share_of(__m512 z) {
    const __m512 one = _mm512_set1_ps(1), sign = _mm512_set1_ps(-0.0f);
    __m512 e = exp_avx512(_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(z), _mm512_castps_si512(sign))));
    __mmask16 negative = _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_div_ps(_mm512_mask_mov_ps(one, negative, e), _mm512_add_ps(one, e));
}

INLINE __m512 share_of_erf(__m512 x) {
    static const float c[] = {ERFC_1, ERFC_2, ERFC_3, ERFC_4, ERFC_5, ERFC_6, ERFC_7, ERFC_8, ERFC_9};
    const __m512 one = _mm512_set1_ps(1), half = _mm512_set1_ps(0.5f);
    __m512 a = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(SQRT_HALF)), p = _mm512_set1_ps(ERFC_0);
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(a, half, one));
    for (size_t j = 0; j < sizeof c / sizeof *c; j++) {
        p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c[j]));
    }
    __m512 h = _mm512_mul_ps(_mm512_mul_ps(half, t), exp_avx512(_mm512_fnmadd_ps(a, a, p)));
    __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(_mm512_sub_ps(one, h), negative, h);
}

VNNI static void gate(int act, const float *g, float *up, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        __m512 x = _mm512_loadu_ps(g + i), share;
        if (act == CPU_GELU_ERF) {
            share = share_of_erf(x);
        } else if (act == CPU_GELU_TANH) {
            __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(GELU_CUBE), _mm512_set1_ps(GELU_LINE));
            share = share_of(_mm512_mul_ps(x, inner));
        } else {
            share = share_of(x);
        }
        _mm512_storeu_ps(up + i, _mm512_mul_ps(_mm512_loadu_ps(up + i), _mm512_mul_ps(x, share)));
    }
}

const struct linear_rung linear_avx512vnni = {
    ROWS, tile, quantise, gate, pack_avx2, largest_avx2, halve_avx2, quantise_weights_avx2,
    LORA_RUNG(avx512),
};
#endif
