// Softmax, the plain rung.
#include "softmax.h"

void cpu_softmax_plain(float *x, size_t n, float top, float scale) {
    double part[SUM_PARTS] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = exp_plain((x[i] - top) * scale);
        part[i % SUM_PARTS] += (double)x[i];
    }
    float sum = sum_of(part);
    for (size_t i = 0; i < n; i++) {
        x[i] /= sum;
    }
}
