// exp for every rung: the same operations in the same order, each rounded once, so that all give the same bits.
//
// exp(t), t <= 0 or above it by no more than rounding: t = n ln 2 + r with |r| <= ln 2 / 2, and exp(r) is a polynomial of degree
// six (minimax in the relative error: 3.1e-9), computed with fused multiply-add. The relative error of the result is at most
// 7.8e-8 (measured over every float from EXP_LEAST to -2^-31). Below EXP_LEAST, where floats become subnormal, it is 0.
#ifndef SHAMMAH_CPU_EXP_H
#define SHAMMAH_CPU_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EXP_LEAST -0x1.5d589ep+6f   // ln 2^-126
#define EXP_CLAMP -88.0f            // below EXP_LEAST, and small enough for n to fit an exponent
#define EXP_LOG2E 0x1.715476p+0f    // 1 / ln 2
#define EXP_MAGIC 0x1.8p+23f        // adding it rounds to an integer, which then lies in the low bits
#define EXP_LN2_HIGH 0x1.62e43p-1f
#define EXP_LN2_LOW -0x1.05c61p-29f
#define EXP_C6 0x1.6a23d0p-10f
#define EXP_C5 0x1.123a20p-7f
#define EXP_C4 0x1.5558f2p-5f
#define EXP_C3 0x1.555492p-3f
#define EXP_C2 0x1.fffffcp-2f
#define EXP_BIAS 127

// fmaf is one instruction where the compiler may assume it, and a slow function of the C library on x86-64 from before 2013:
// the price of the same bits everywhere.
static inline float exp_plain(float t) {
    float c = t > EXP_CLAMP ? t : EXP_CLAMP;
    float shifted = fmaf(c, EXP_LOG2E, EXP_MAGIC);
    float n = shifted - EXP_MAGIC;
    float r = fmaf(-n, EXP_LN2_LOW, fmaf(-n, EXP_LN2_HIGH, c));
    float p = EXP_C6;
    p = fmaf(p, r, EXP_C5);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, 1);
    p = fmaf(p, r, 1);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + EXP_BIAS) << 23; // 2^n; what is above the exponent falls out
    float power;
    memcpy(&power, &bits, sizeof power);
    return t < EXP_LEAST ? 0 : p * power;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f,avx512bw"))) static inline __m512 exp_avx512(__m512 t) {
    const __m512 magic = _mm512_set1_ps(EXP_MAGIC), one = _mm512_set1_ps(1);
    __m512 c = _mm512_max_ps(t, _mm512_set1_ps(EXP_CLAMP));
    __m512 shifted = _mm512_fmadd_ps(c, _mm512_set1_ps(EXP_LOG2E), magic);
    __m512 n = _mm512_sub_ps(shifted, magic);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_HIGH), c);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(EXP_C6);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C2));
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_fmadd_ps(p, r, one);
    __m512i power = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(EXP_BIAS));
    p = _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(power, 23)));
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, _mm512_set1_ps(EXP_LEAST), _CMP_GE_OQ), p);
}

__attribute__((target("avx2,fma"))) static inline __m256 exp_avx2(__m256 t) {
    const __m256 magic = _mm256_set1_ps(EXP_MAGIC), one = _mm256_set1_ps(1);
    __m256 c = _mm256_max_ps(t, _mm256_set1_ps(EXP_CLAMP));
    __m256 shifted = _mm256_fmadd_ps(c, _mm256_set1_ps(EXP_LOG2E), magic);
    __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_HIGH), c);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_LOW), r);
    __m256 p = _mm256_set1_ps(EXP_C6);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C2));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    __m256i power = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(EXP_BIAS));
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
    return _mm256_and_ps(p, _mm256_cmp_ps(t, _mm256_set1_ps(EXP_LEAST), _CMP_GE_OQ));
}
#elif defined(__aarch64__)
#include <arm_neon.h>

static inline float32x4_t exp_neon(float32x4_t t) {
    const float32x4_t magic = vdupq_n_f32(EXP_MAGIC), one = vdupq_n_f32(1);
    float32x4_t c = vmaxq_f32(t, vdupq_n_f32(EXP_CLAMP));
    float32x4_t shifted = vfmaq_f32(magic, c, vdupq_n_f32(EXP_LOG2E));
    float32x4_t n = vsubq_f32(shifted, magic);
    float32x4_t r = vfmsq_f32(c, n, vdupq_n_f32(EXP_LN2_HIGH));
    r = vfmsq_f32(r, n, vdupq_n_f32(EXP_LN2_LOW));
    float32x4_t p = vdupq_n_f32(EXP_C6);
    p = vfmaq_f32(vdupq_n_f32(EXP_C5), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C4), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(EXP_C2), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    uint32x4_t power = vaddq_u32(vreinterpretq_u32_f32(shifted), vdupq_n_u32(EXP_BIAS));
    p = vmulq_f32(p, vreinterpretq_f32_u32(vshlq_n_u32(power, 23)));
    uint32x4_t kept = vcgeq_f32(t, vdupq_n_f32(EXP_LEAST));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), kept));
}
#endif

#endif
