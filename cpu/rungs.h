// What one rung of the ladder provides, and the kernels of each. Inside the package only.
#ifndef SHAMMAH_CPU_RUNGS_H
#define SHAMMAH_CPU_RUNGS_H

#include "kernels.h"
#include "tile.h"

struct cpu_rung {
    const char *name;
    bool (*runs)(void); // the processor has it and the system saves its registers
    cpu_result (*argmax_f32)(const float *x, size_t n);
    cpu_result (*argmax_f16)(const uint16_t *x, size_t n);
    cpu_result (*topk)(const float *x, size_t n, size_t k, int32_t *index, float *value);
    // x is clean and top is its largest value, so that every exponent is at most 0.
    void (*softmax)(float *x, size_t n, float top, float scale);
    const struct cpu_attention_rung *attention; // see attention_kernels.h
    const struct linear_rung *linear;           // see tile.h
};

// The rung in use.
const struct cpu_rung *cpu_rung_now(void);

// The plain rung takes any row. The others take clean rows, and hand one that is not clean to the plain rung.
cpu_result cpu_argmax_f32_plain(const float *x, size_t n);
cpu_result cpu_argmax_f16_plain(const uint16_t *x, size_t n);
cpu_result cpu_topk_plain(const float *x, size_t n, size_t k, int32_t *index, float *value);
void cpu_softmax_plain(float *x, size_t n, float top, float scale);

#if defined(__x86_64__)
cpu_result cpu_argmax_f32_avx2(const float *x, size_t n);
cpu_result cpu_argmax_f16_avx2(const uint16_t *x, size_t n);
cpu_result cpu_topk_avx2(const float *x, size_t n, size_t k, int32_t *index, float *value);
void cpu_softmax_avx2(float *x, size_t n, float top, float scale);

cpu_result cpu_argmax_f32_avx512(const float *x, size_t n);
cpu_result cpu_argmax_f16_avx512(const uint16_t *x, size_t n);
cpu_result cpu_topk_avx512(const float *x, size_t n, size_t k, int32_t *index, float *value);
void cpu_softmax_avx512(float *x, size_t n, float top, float scale);
#elif defined(__aarch64__)
cpu_result cpu_argmax_f32_neon(const float *x, size_t n);
cpu_result cpu_argmax_f16_neon(const uint16_t *x, size_t n);
cpu_result cpu_topk_neon(const float *x, size_t n, size_t k, int32_t *index, float *value);
void cpu_softmax_neon(float *x, size_t n, float top, float scale);
#endif

#endif
