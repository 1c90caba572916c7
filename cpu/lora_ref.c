// The kernels of low-rank additions, the plain rung: the meaning of every other one.
#include "lora_kernels.h"

#include <math.h>

static float total(float *sum, size_t n) {
    for (size_t width = n / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            sum[i] += sum[i + width];
        }
    }
    return sum[0];
}

void lora_down_plain(const int8_t *a, const cpu_activations *x, size_t row, size_t rows, cpu_ranks_wide *t) {
    const size_t units = x->inputs / x->unit;
    for (size_t r = 0; r < rows; r++) {
        const int8_t *q = x->q + (row + r) * x->inputs;
        const float *scale = x->scale + (row + r) * units;
        for (size_t j = 0; j < CPU_RANKS; j++) {
            float sum[8] = {0};
            for (size_t u = 0; u < units; u++) {
                int32_t dot[8] = {0};
                for (size_t k = u * x->unit; k < (u + 1) * x->unit; k++) {
                    dot[k / 2 % 8] += a[(k / 16 * CPU_RANKS + j) * 16 + k % 16] * q[k];
                }
                for (size_t i = 0; i < 8; i++) {
                    sum[i] = fmaf((float)dot[i], scale[u], sum[i]);
                }
            }
            t[r].values[j] = total(sum, 8);
        }
    }
}

void lora_up_plain(const int8_t *b, size_t groups, const cpu_ranks *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t tile = 0; tile < tiles; tile++, b += groups * CPU_RANKS * CPU_TILE, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t n = 0; n < CPU_TILE; n++) {
                float sum = from.at ? from.at[tile * from.tile_stride + r * from.row_stride + n] : 0;
                for (size_t g = 0; g < groups; g++) {
                    const cpu_ranks *of = &t[r * groups + g];
                    int32_t dot = 0;
                    for (size_t j = 0; j < CPU_RANKS; j++) {
                        dot += b[g * CPU_RANKS * CPU_TILE + j / 2 * 2 * CPU_TILE + 2 * n + j % 2] * of->values[j];
                    }
                    sum = fmaf((float)dot, of->step, sum);
                }
                y[r * CPU_TILE + n] = sum;
            }
        }
    }
}

void lora_down_wide_plain(const float *a, size_t inputs, const float *x, size_t rows, cpu_ranks_wide *t, size_t stride) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < CPU_RANKS; j++) {
            float sum[16] = {0};
            for (size_t k = 0; k < inputs; k++) {
                sum[k % 16] = fmaf(a[(k / 16 * CPU_RANKS + j) * 16 + k % 16], x[r * inputs + k], sum[k % 16]);
            }
            t[r * stride].values[j] = total(sum, 16);
        }
    }
}

void lora_up_wide_plain(const float *b, size_t groups, const cpu_ranks_wide *t, size_t rows, size_t tiles, lora_base from, float *y, size_t stride) {
    for (size_t tile = 0; tile < tiles; tile++, b += groups * CPU_RANKS * CPU_TILE, y += stride) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t n = 0; n < CPU_TILE; n++) {
                float sum = from.at ? from.at[tile * from.tile_stride + r * from.row_stride + n] : 0;
                for (size_t j = 0; j < groups * CPU_RANKS; j++) {
                    sum = fmaf(b[j * CPU_TILE + n], t[r * groups + j / CPU_RANKS].values[j % CPU_RANKS], sum);
                }
                y[r * CPU_TILE + n] = sum;
            }
        }
    }
}
