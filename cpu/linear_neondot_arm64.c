// The linear kernels for NEON with the dot product, which multiplies and adds four signed bytes at once.
#if defined(__aarch64__)
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define ROWS 4
#include "linear_neon.h"

INLINE void add_unit(int32x4_t sum[ROWS][2], const uint8_t *w, const int8_t *q, size_t ld, const size_t rows, const size_t groups,
                     const int bits) {
    UNROLL
    for (size_t g = 0; g < groups; g++) {
        uint8x16_t v[2] = {vld1q_u8(w + 64 * g), vld1q_u8(w + 64 * g + 16)};
        int8x16_t a[2], b[2];
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            a[h] = vreinterpretq_s8_u8(bits == 4 ? vandq_u8(v[h], vdupq_n_u8(15)) : veorq_u8(v[h], vdupq_n_u8(128)));
            b[h] = vreinterpretq_s8_u8(vshrq_n_u8(v[h], 4));
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const int8_t *at = q + r * ld + 32 / (size_t)bits * g;
            int8x16_t first = four(at);
            sum[r][0] = vdotq_s32(sum[r][0], a[0], first);
            sum[r][1] = vdotq_s32(sum[r][1], a[1], first);
            if (bits == 4) {
                int8x16_t second = four(at + 4);
                sum[r][0] = vdotq_s32(sum[r][0], b[0], second);
                sum[r][1] = vdotq_s32(sum[r][1], b[1], second);
            }
        }
    }
}

const struct linear_rung linear_neondot = {
    ROWS, tile, quantise_neon, gate_neon, pack_neon, largest_neon, halve_neon, quantise_weights_neon,
    LORA_RUNG(neon),
};
#endif
