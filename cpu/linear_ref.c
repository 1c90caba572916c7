// The linear kernels, the plain rung: the meaning of every other one.
#include "exp.h"
#include "gate.h"
#include "pack.h"

// One output of one row.
static float product(const tile_parts *t, size_t n, const int8_t *q, const float *scale, const int32_t *sum) {
    int zero = t->bits == 4 ? 8 : 128;
    const uint8_t *codes = t->codes + 4 * n;
    float acc = 0;
    for (size_t b = 0; b < t->blocks; b++) {
        if (t->zeros) {
            zero = t->zeros[b * CPU_TILE + n];
        }
        for (size_t u = 0; u < t->units; u++, scale++, sum++) {
            int32_t dot = zero * (*sum / 8); // sum is a multiple of 8
            for (size_t g = 0; g < t->groups; g++, codes += 64) {
                for (size_t j = 0; j < 4; j++) {
                    dot += t->bits == 4 ? (codes[j] & 15) * q[j] + (codes[j] >> 4) * q[4 + j] : codes[j] * q[j];
                }
                q += t->bits == 4 ? 8 : 4;
            }
            acc = fmaf((float)dot * *scale, from_half(t->scales[b * CPU_TILE + n]), acc);
        }
    }
    return acc * t->factors[n];
}

static void tile(const tile_parts *t, const cpu_activations *a, size_t row, size_t rows, tile_addend bias, float *y,
                 size_t stride) {
    size_t units = a->inputs / a->unit;
    for (size_t r = 0; r < rows; r++) {
        const int8_t *q = a->q + (row + r) * a->inputs;
        for (size_t n = 0; n < CPU_TILE; n++) {
            float v = product(t, n, q, a->scale + (row + r) * units, a->sum + (row + r) * units);
            y[r * stride + n] = bias.at ? v + bias.at[r * bias.stride + n] : v;
        }
    }
}

// Floats without their sign are ordered as integers are, NaN above infinity above the rest.
static uint32_t largest(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

static void quantise(const float *x, size_t n, size_t unit, int8_t *q, float *scale, int32_t *sum) {
    for (size_t i = 0; i < n; i += unit, x += unit, q += unit, scale++, sum++) {
        float inverse = quantiser(largest(x, unit), scale);
        int32_t s = 0;
        for (size_t j = 0; j < unit; j++) {
            q[j] = inverse == 0 ? 0 : (int8_t)lrintf(x[j] * inverse);
            s += q[j];
        }
        *sum = -8 * s;
    }
}

static void gate(int act, const float *g, float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x = g[i], share;
        if (act == CPU_GELU_ERF) {
            float a = fabsf(x) * SQRT_HALF;
            float t = 1 / fmaf(a, 0.5f, 1), p = ERFC_0;
            static const float c[] = {ERFC_1, ERFC_2, ERFC_3, ERFC_4, ERFC_5, ERFC_6, ERFC_7, ERFC_8, ERFC_9};
            for (size_t j = 0; j < sizeof c / sizeof *c; j++) {
                p = fmaf(p, t, c[j]);
            }
            float h = 0.5f * t * exp_plain(fmaf(-a, a, p));
            share = 1 - h;
            share = x < 0 ? h : share;
        } else {
            float z = act == CPU_SILU ? x : x * fmaf(x * x, GELU_CUBE, GELU_LINE);
            float e = exp_plain(-fabsf(z));
            share = (z < 0 ? e : 1) / (1 + e);
        }
        up[i] *= x * share;
    }
}

const struct linear_rung linear_plain = {
    ROWS_MAX, tile, quantise, gate, pack_plain, largest_plain, halve_plain, quantise_weights_plain,
    LORA_RUNG(plain),
};
