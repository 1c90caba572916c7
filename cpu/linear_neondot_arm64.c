// The linear kernels for NEON with the dot product, which multiplies and adds four signed bytes at once.
#if defined(__aarch64__)
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define ROWS 4
#include "linear_neon.h"

INLINE void add_unit(int32x4_t sum[ROWS], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits) {
    UNROLL
    for (size_t g = 0; g < groups; g++) {
        uint8x16_t v = vld1q_u8(w + 64 * g);
        if (bits == 8) {
            int8x16_t codes = vreinterpretq_s8_u8(veorq_u8(v, vdupq_n_u8(128)));
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r] = vdotq_s32(sum[r], codes, four(q + r * ld + 4 * g));
            }
            continue;
        }
        int8x16_t a = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))), b = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            sum[r] = vdotq_s32(sum[r], a, four(q + r * ld + 8 * g));
            sum[r] = vdotq_s32(sum[r], b, four(q + r * ld + 8 * g + 4));
        }
    }
}

const struct linear_rung linear_neondot = {ROWS, tile, quantise_neon, gate_neon, pack_plain, largest_neon, halve_neon};
#endif
