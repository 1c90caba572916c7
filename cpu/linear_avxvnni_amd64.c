// The linear kernels for AVX-VNNI, which multiplies and adds four bytes at once in 256-bit registers, on processors that have no
// AVX-512. AVX-512 VL with VNNI has the same instruction in another encoding; the test of this file uses that.
#if defined(__x86_64__)
#if defined(AVXVNNI_AS_AVX512)
#define TARGET __attribute__((target("avx2,fma,f16c,avx512vl,avx512vnni")))
#define dot_256 _mm256_dpbusd_epi32
#else
#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#define dot_256 _mm256_dpbusd_avx_epi32
#endif
#include "linear_256.h"

INLINE void multiply(__m256i sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits) {
    const __m256i mask = _mm256_set1_epi8(15);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r] = _mm256_setzero_si256();
    }
    UNROLL
    for (size_t g = 0; g < groups; g++) {
        __m256i v = _mm256_load_si256((const __m256i *)(w + 64 * g));
        __m256i a = _mm256_and_si256(v, mask), b = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const int8_t *at = q + r * ld + 32 / (size_t)bits * g;
            sum[r] = dot_256(sum[r], bits == 4 ? a : v, four(at));
            sum[r] = bits == 4 ? dot_256(sum[r], b, four(at + 4)) : sum[r];
        }
    }
}

const struct linear_rung linear_avxvnni = {
    ROWS, tile, quantise_avx2, gate_avx2, pack_avx2, largest_avx2, halve_avx2, quantise_weights_avx2,
    LORA_RUNG(avx2),
};
#endif
