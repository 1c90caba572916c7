// What the rungs of top-k share: a sieve for whatever can compare many values at once.
#ifndef SHAMMAH_CPU_TOPK_H
#define SHAMMAH_CPU_TOPK_H

#include "rungs.h"

#include <math.h>

// How many groups a row is dealt into. Where they are many times k, the k-th largest maximum of a group is hardly below the
// k-th largest value of the row.
#define GROUPS 2048

// Each vector rung brings these two.
struct cpu_sieve {
    // Deals the row into groups, each value into one, and writes the maxima, -Inf for a group that got none.
    // Returns false when the row is not clean; maxima mean nothing then.
    bool (*maxima)(const float *x, size_t n, float maxima[GROUPS]);
    // The first index from i on whose value is larger than floor, or n.
    size_t (*above)(const float *x, size_t i, size_t n, float floor);
};

cpu_result cpu_topk_sieved(const float *x, size_t n, size_t k, int32_t *index, float *value, struct cpu_sieve sieve);

// The end of a row, too short for a vector, dealt into the groups that are there.
static inline bool deal_rest(const float *x, size_t i, size_t n, float maxima[GROUPS]) {
    bool clean = true;
    for (; i < n; i++) {
        float *m = &maxima[i % GROUPS];
        *m = x[i] > *m ? x[i] : *m;
        clean &= x[i] < INFINITY;
    }
    for (i = 0; i < GROUPS; i++) {
        clean &= maxima[i] < INFINITY;
    }
    return clean;
}

static inline void no_maxima(float maxima[GROUPS]) {
    for (size_t i = 0; i < GROUPS; i++) {
        maxima[i] = -INFINITY;
    }
}

static inline size_t above_one_by_one(const float *x, size_t i, size_t n, float floor) {
    while (i < n && !(x[i] > floor)) {
        i++;
    }
    return i;
}

#endif
