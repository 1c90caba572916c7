// Packing for 64-bit ARM: a tile is a transposition of its rows' 32-bit words.
#include "pack.h"

#if defined(__aarch64__)
#include <arm_neon.h>

// In every 32-bit word, eight codes in their order become four bytes with the first four codes low and the others high.
static inline uint32x4_t interleave(uint32x4_t v) {
    static const uint8_t first[16] = {0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13};
    const uint8x16_t at = vld1q_u8(first);
    uint8x16_t bytes = vreinterpretq_u8_u32(v);
    uint16x8_t a = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, at));
    uint16x8_t b = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, vaddq_u8(at, vdupq_n_u8(2))));
    // Of each two bytes the lower one takes the low code and the upper one the high code.
    uint16x8_t low = vbslq_u16(vdupq_n_u16(0x000f), a, vandq_u16(vshrq_n_u16(a, 4), vdupq_n_u16(0x0f00)));
    uint16x8_t high = vbslq_u16(vdupq_n_u16(0xf000), b, vandq_u16(vshlq_n_u16(b, 4), vdupq_n_u16(0x00f0)));
    return vreinterpretq_u32_u16(vorrq_u16(low, high));
}

void pack_neon(const uint8_t *codes, size_t stride, size_t outputs, size_t inputs, int bits, uint8_t *into) {
    size_t bytes = inputs * (size_t)bits / 8, i = 0;
    for (; outputs == CPU_TILE && i + 16 <= bytes; i += 16) {
        for (size_t n = 0; n < CPU_TILE; n += 4) {
            uint32x4_t v[4];
            for (size_t j = 0; j < 4; j++) {
                v[j] = vreinterpretq_u32_u8(vld1q_u8(codes + (n + j) * stride + i));
                v[j] = bits == 4 ? interleave(v[j]) : v[j];
            }
            uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(v[0], v[1])), b = vreinterpretq_u64_u32(vtrn2q_u32(v[0], v[1]));
            uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(v[2], v[3])), d = vreinterpretq_u64_u32(vtrn2q_u32(v[2], v[3]));
            uint8_t *to = into + 16 * i + 4 * n;
            vst1q_u8(to, vreinterpretq_u8_u64(vtrn1q_u64(a, c)));
            vst1q_u8(to + 64, vreinterpretq_u8_u64(vtrn1q_u64(b, d)));
            vst1q_u8(to + 128, vreinterpretq_u8_u64(vtrn2q_u64(a, c)));
            vst1q_u8(to + 192, vreinterpretq_u8_u64(vtrn2q_u64(b, d)));
        }
    }
    pack_plain(codes + i, stride, outputs, (bytes - i) * 8 / (size_t)bits, bits, into + 16 * i);
}

// Scales of a model file may lie at any address.
static inline float32x4_t four_scales(const void *scales, bool half, size_t i) {
    if (half) {
        return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)scales + 2 * i)));
    }
    return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)scales + 4 * i));
}

// Without their sign, floats are ordered as integers are, NaN above infinity above the rest.
float largest_neon(const void *scales, bool half, size_t n) {
    uint32x4_t most = vdupq_n_u32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32x4_t bits = vreinterpretq_u32_f32(four_scales(scales, half, i));
        most = vmaxq_u32(most, vandq_u32(bits, vdupq_n_u32(0x7fffffff)));
    }
    float parts[5];
    vst1q_f32(parts, vreinterpretq_f32_u32(most));
    parts[4] = largest_plain((const char *)scales + i * (half ? 2 : 4), half, n - i);
    return largest_plain(parts, false, 5);
}

void halve_neon(const void *scales, bool half, size_t n, float inverse, uint16_t *to) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float16x4_t v = vcvt_f16_f32(vmulq_n_f32(four_scales(scales, half, i), inverse));
        vst1_u16(to + i, vreinterpret_u16_f16(v));
    }
    halve_plain((const char *)scales + i * (half ? 2 : 4), half, n - i, inverse, to + i);
}

float quantise_weights_neon(const float *w, size_t n, int bits, uint8_t *codes) {
    float32x4_t least = vld1q_f32(w), largest = least;
    uint32x4_t top = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vld1q_f32(w + i);
        least = vminq_f32(least, v);
        largest = vmaxq_f32(largest, v);
        top = vmaxq_u32(top, vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x7fffffff)));
    }
    if (vmaxvq_u32(top) >= 0x7f800000) {
        return NAN;
    }
    float scale = weight_scale(vminvq_f32(least), vmaxvq_f32(largest), bits), factor = weight_factor(scale);
    const float32x4_t middle = vdupq_n_f32(bits == 4 ? 8 : 128), most = vdupq_n_f32(bits == 4 ? 15 : 255);
    for (size_t i = 0; codes && i < n; i += 8) {
        uint32x4_t part[2];
        for (size_t j = 0; j < 2; j++) {
            float32x4_t scaled = vmulq_n_f32(vld1q_f32(w + i + 4 * j), factor);
            float32x4_t code = vminq_f32(vmaxq_f32(vaddq_f32(scaled, middle), vdupq_n_f32(0)), most);
            part[j] = vcvtaq_u32_f32(code); // half of one goes up, away from zero
        }
        vst1_u8(codes + i, vmovn_u16(vcombine_u16(vmovn_u32(part[0]), vmovn_u32(part[1]))));
    }
    return scale;
}
#endif
