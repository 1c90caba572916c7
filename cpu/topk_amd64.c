// Top-k for x86-64: the two passes of the sieve.
#include "topk.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))

// Four vectors at a time become one, whose lanes belong to as many groups; the next four go to the next groups.
AVX512 static bool maxima_avx512(const float *x, size_t n, float maxima[GROUPS]) {
    __mmask16 nan = 0;
    size_t i = 0;
    no_maxima(maxima);
    for (; i + 64 <= n; i += 64) {
        float *group = maxima + i / 4 % GROUPS;
        __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
        __m512 c = _mm512_loadu_ps(x + i + 32), d = _mm512_loadu_ps(x + i + 48);
        nan |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) | _mm512_cmp_ps_mask(c, d, _CMP_UNORD_Q);
        a = _mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d));
        _mm512_storeu_ps(group, _mm512_max_ps(a, _mm512_loadu_ps(group)));
    }
    return deal_rest(x, i, n, maxima) && !nan;
}

AVX512 static size_t above_avx512(const float *x, size_t i, size_t n, float floor) {
    const __m512 f = _mm512_set1_ps(floor);
    for (; i % 16 != 0 && i < n; i++) {
        if (x[i] > floor) {
            return i;
        }
    }
    for (; i + 64 <= n; i += 64) {
        __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
        __m512 c = _mm512_loadu_ps(x + i + 32), d = _mm512_loadu_ps(x + i + 48);
        __m512 m = _mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d));
        if (_mm512_cmp_ps_mask(m, f, _CMP_GT_OQ)) {
            break;
        }
    }
    for (; i + 16 <= n; i += 16) {
        __mmask16 hit = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), f, _CMP_GT_OQ);
        if (hit) {
            return i + (size_t)__builtin_ctz(hit);
        }
    }
    return above_one_by_one(x, i, n, floor);
}

cpu_result cpu_topk_avx512(const float *x, size_t n, size_t k, int32_t *index, float *value) {
    return cpu_topk_sieved(x, n, k, index, value, (struct cpu_sieve){maxima_avx512, above_avx512});
}

AVX2 static bool maxima_avx2(const float *x, size_t n, float maxima[GROUPS]) {
    __m256 nan = _mm256_setzero_ps();
    size_t i = 0;
    no_maxima(maxima);
    for (; i + 32 <= n; i += 32) {
        float *group = maxima + i / 4 % GROUPS;
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        __m256 c = _mm256_loadu_ps(x + i + 16), d = _mm256_loadu_ps(x + i + 24);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(c, d, _CMP_UNORD_Q));
        a = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
        _mm256_storeu_ps(group, _mm256_max_ps(a, _mm256_loadu_ps(group)));
    }
    return deal_rest(x, i, n, maxima) && !_mm256_movemask_ps(nan);
}

AVX2 static size_t above_avx2(const float *x, size_t i, size_t n, float floor) {
    const __m256 f = _mm256_set1_ps(floor);
    for (; i % 8 != 0 && i < n; i++) {
        if (x[i] > floor) {
            return i;
        }
    }
    for (; i + 32 <= n; i += 32) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        __m256 c = _mm256_loadu_ps(x + i + 16), d = _mm256_loadu_ps(x + i + 24);
        __m256 m = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
        if (_mm256_movemask_ps(_mm256_cmp_ps(m, f, _CMP_GT_OQ))) {
            break;
        }
    }
    for (; i + 8 <= n; i += 8) {
        int hit = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + i), f, _CMP_GT_OQ));
        if (hit) {
            return i + (size_t)__builtin_ctz((unsigned)hit);
        }
    }
    return above_one_by_one(x, i, n, floor);
}

cpu_result cpu_topk_avx2(const float *x, size_t n, size_t k, int32_t *index, float *value) {
    return cpu_topk_sieved(x, n, k, index, value, (struct cpu_sieve){maxima_avx2, above_avx2});
}
#endif
