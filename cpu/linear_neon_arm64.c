// The linear kernels for NEON without the dot product: products of signed bytes, added in 16 bits as far as those reach. Of 4 bits,
// eight products of at most 15 * 127; of 8 bits, two of at most 128 * 127.
#if defined(__aarch64__)
#define TARGET
#define ROWS 2
#include "linear_neon.h"

#include "exp.h"
#include "gate.h"

// Products of the bytes of two pairs of outputs, in the lower and the upper half.
typedef struct {
    int16x8_t low, high;
} products;

INLINE products multiply(int8x16_t codes, int8x16_t q) {
    return (products){vmull_s8(vget_low_s8(codes), vget_low_s8(q)), vmull_s8(vget_high_s8(codes), vget_high_s8(q))};
}

INLINE products multiply_add(products p, int8x16_t codes, int8x16_t q) {
    return (products){vmlal_s8(p.low, vget_low_s8(codes), vget_low_s8(q)), vmlal_s8(p.high, vget_high_s8(codes), vget_high_s8(q))};
}

// The four products of each output.
INLINE int32x4_t total(products p) { return vpaddq_s32(vpaddlq_s16(p.low), vpaddlq_s16(p.high)); }

INLINE void add_unit(int32x4_t sum[ROWS][2], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits) {
    products part[ROWS][2];
    UNROLL
    for (size_t g = 0; g < groups; g += bits / 4) {
        int8x16_t a[2], b[2];
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            uint8x16_t v = vld1q_u8(w + 64 * g + 16 * h);
            if (bits == 4) {
                a[h] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
                b[h] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
            } else {
                a[h] = vreinterpretq_s8_u8(veorq_u8(v, vdupq_n_u8(128)));
                b[h] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 64 * g + 64 + 16 * h), vdupq_n_u8(128)));
            }
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const int8_t *at = q + r * ld + 32 / (size_t)bits * g;
            int8x16_t first = four(at), second = four(at + 4);
            UNROLL
            for (size_t h = 0; h < 2; h++) {
                products p = g == 0 || bits == 8 ? multiply(a[h], first) : multiply_add(part[r][h], a[h], first);
                part[r][h] = multiply_add(p, b[h], second);
                if (bits == 8) {
                    sum[r][h] = vaddq_s32(sum[r][h], total(part[r][h]));
                }
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows && bits == 4; r++) {
        sum[r][0] = vaddq_s32(sum[r][0], total(part[r][0]));
        sum[r][1] = vaddq_s32(sum[r][1], total(part[r][1]));
    }
}

static inline uint32_t largest(const float *x, size_t n) {
    uint32x4_t most = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 4) {
        most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
    }
    return vmaxvq_u32(most);
}

// Four values of a unit to integers. Zero times what is not finite is NaN, so an inverse of 0 is looked at first.
static inline int32x4_t to_integers(const float *x, float inverse) {
    return inverse == 0 ? vdupq_n_s32(0) : vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
}

void quantise_neon(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum) {
    for (size_t i = 0; i < n; i += unit, x += unit, q += unit, scale++, sum++) {
        float inverse = quantiser(largest(x, unit), scale);
        int32x4_t s = vdupq_n_s32(0);
        for (size_t j = 0; j < unit; j += 8) {
            int32x4_t a = to_integers(x + j, inverse), b = to_integers(x + j + 4, inverse);
            s = vaddq_s32(s, vaddq_s32(a, b));
            vst1_s8(q + j, vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b))));
        }
        *sum = -8 * vaddvq_s32(s);
    }
}

// x / (1 + exp(-z)) without x.
static inline float32x4_t share_of(float32x4_t z) {
    const float32x4_t one = vdupq_n_f32(1);
    float32x4_t e = exp_neon(vnegq_f32(vabsq_f32(z)));
    return vdivq_f32(vbslq_f32(vcltq_f32(z, vdupq_n_f32(0)), e, one), vaddq_f32(one, e));
}

static inline float32x4_t share_of_erf(float32x4_t x) {
    static const float c[] = {ERFC_1, ERFC_2, ERFC_3, ERFC_4, ERFC_5, ERFC_6, ERFC_7, ERFC_8, ERFC_9};
    const float32x4_t one = vdupq_n_f32(1), half = vdupq_n_f32(0.5f);
    float32x4_t a = vmulq_f32(vabsq_f32(x), vdupq_n_f32(SQRT_HALF)), p = vdupq_n_f32(ERFC_0);
    float32x4_t t = vdivq_f32(one, vfmaq_f32(one, a, half));
    for (size_t j = 0; j < sizeof c / sizeof *c; j++) {
        p = vfmaq_f32(vdupq_n_f32(c[j]), p, t);
    }
    float32x4_t h = vmulq_f32(vmulq_f32(half, t), exp_neon(vfmsq_f32(p, a, a)));
    return vbslq_f32(vcltq_f32(x, vdupq_n_f32(0)), h, vsubq_f32(one, h));
}

void gate_neon(int act, const float *g, float *up, size_t n) {
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t x = vld1q_f32(g + i), share;
        if (act == CPU_GELU_ERF) {
            share = share_of_erf(x);
        } else if (act == CPU_GELU_TANH) {
            float32x4_t square = vmulq_f32(x, x);
            share = share_of(vmulq_f32(x, vfmaq_f32(vdupq_n_f32(GELU_LINE), square, vdupq_n_f32(GELU_CUBE))));
        } else {
            share = share_of(x);
        }
        vst1q_f32(up + i, vmulq_f32(vld1q_f32(up + i), vmulq_f32(x, share)));
    }
}

const struct linear_rung linear_neon = {
    ROWS, tile, quantise_neon, gate_neon, pack_neon, largest_neon, halve_neon, quantise_weights_neon,
    LORA_RUNG(neon),
};
#endif
