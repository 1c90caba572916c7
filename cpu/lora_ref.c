// The kernels of low-rank additions, the plain rung: the meaning of every other one.
#include "half.h"
#include "lora_kernels.h"

static float value(const void *from, bool half, size_t i) { return half ? from_half(((const uint16_t *)from)[i]) : ((const float *)from)[i]; }

void lora_down_plain(const void *a, bool half, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < CPU_RANKS; j++) {
            float sum[16] = {0};
            for (size_t k = 0; k < inputs; k++) {
                sum[k % 16] = fmaf(value(a, half, (k / 16 * CPU_RANKS + j) * 16 + k % 16), x[r * ld + k], sum[k % 16]);
            }
            for (size_t width = 8; width > 0; width /= 2) {
                for (size_t i = 0; i < width; i++) {
                    sum[i] += sum[i + width];
                }
            }
            t[r * stride + j] = sum[0];
        }
    }
}

void lora_up_plain(const void *b, bool half, size_t rank, const float *t, size_t ld, size_t rows, float *y, size_t stride) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < 16; n++) {
            float sum[2] = {y[r * stride + n], 0};
            for (size_t j = 0; j < rank; j++) {
                sum[j % 2] = fmaf(value(b, half, j * 16 + n), t[r * ld + j], sum[j % 2]);
            }
            y[r * stride + n] = sum[0] + sum[1];
        }
    }
}
