// The kernels of low-rank additions, the plain rung: the meaning of every other one.
#include "lora_kernels.h"

#include <math.h>

static float value(const void *from, bool narrow, size_t i) { return narrow ? ((const int8_t *)from)[i] : ((const float *)from)[i]; }

void lora_down_plain(const void *a, bool narrow, size_t inputs, const float *x, size_t ld, size_t rows, float *t, size_t stride) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < CPU_RANKS; j++) {
            float sum[16] = {0};
            for (size_t k = 0; k < inputs; k++) {
                sum[k % 16] = fmaf(value(a, narrow, (k / 16 * CPU_RANKS + j) * 16 + k % 16), x[r * ld + k], sum[k % 16]);
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

void lora_up_plain(const void *b, bool narrow, size_t rank, const float *t, size_t ld, size_t rows, tile_addend from, float *y) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < 16; n++) {
            float sum[2] = {from.at ? from.at[r * from.stride + n] : 0, 0};
            for (size_t j = 0; j < rank; j++) {
                sum[j % 2] = fmaf(value(b, narrow, j * 16 + n), t[r * ld + j], sum[j % 2]);
            }
            y[r * 16 + n] = sum[0] + sum[1];
        }
    }
}
