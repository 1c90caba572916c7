// Softmax for x86-64.
#include "softmax.h"

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))

// Sixteen values in place, and into the parts of the sum.
AVX512 static inline void step_avx512(float *x, __m512 top, __m512 scale, __m512d part[2]) {
    __m512 e = exp_avx512(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x), top), scale));
    _mm512_storeu_ps(x, e);
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(e), 1));
    part[0] = _mm512_add_pd(part[0], _mm512_cvtps_pd(_mm512_castps512_ps256(e)));
    part[1] = _mm512_add_pd(part[1], _mm512_cvtps_pd(high));
}

AVX512 void cpu_softmax_avx512(float *x, size_t n, float top, float scale) {
    const __m512 t = _mm512_set1_ps(top), s = _mm512_set1_ps(scale);
    __m512d part[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        step_avx512(x + i, t, s, part);
    }
    if (i < n) {
        float tail[SUM_PARTS];
        pad(tail, x + i, n - i);
        step_avx512(tail, t, s, part);
        memcpy(x + i, tail, (n - i) * sizeof *x);
    }
    double parts[SUM_PARTS];
    _mm512_storeu_pd(parts, part[0]);
    _mm512_storeu_pd(parts + 8, part[1]);
    float sum = sum_of(parts);
    for (i = 0; i + 16 <= n; i += 16) {
        _mm512_storeu_ps(x + i, _mm512_div_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(sum)));
    }
    for (; i < n; i++) {
        x[i] /= sum;
    }
}

AVX2 static inline void step_avx2(float *x, __m256 top, __m256 scale, __m256d part[4]) {
    for (size_t j = 0; j < 2; j++) {
        __m256 e = exp_avx2(_mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + 8 * j), top), scale));
        _mm256_storeu_ps(x + 8 * j, e);
        part[2 * j] = _mm256_add_pd(part[2 * j], _mm256_cvtps_pd(_mm256_castps256_ps128(e)));
        part[2 * j + 1] = _mm256_add_pd(part[2 * j + 1], _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1)));
    }
}

AVX2 void cpu_softmax_avx2(float *x, size_t n, float top, float scale) {
    const __m256 t = _mm256_set1_ps(top), s = _mm256_set1_ps(scale);
    __m256d part[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        step_avx2(x + i, t, s, part);
    }
    if (i < n) {
        float tail[SUM_PARTS];
        pad(tail, x + i, n - i);
        step_avx2(tail, t, s, part);
        memcpy(x + i, tail, (n - i) * sizeof *x);
    }
    double parts[SUM_PARTS];
    for (size_t j = 0; j < 4; j++) {
        _mm256_storeu_pd(parts + 4 * j, part[j]);
    }
    float sum = sum_of(parts);
    for (i = 0; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(x + i, _mm256_div_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(sum)));
    }
    for (; i < n; i++) {
        x[i] /= sum;
    }
}
#endif
