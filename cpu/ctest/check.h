// What the kernels' own tests share. The rows lie in memory of their exact size, so that the address sanitizer sees a kernel
// that reads or writes one element too many.
#ifndef SHAMMAH_CPU_CHECK_H
#define SHAMMAH_CPU_CHECK_H

#include "../kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...)                                                                                                  \
    do {                                                                                                                       \
        if (!(condition)) {                                                                                                    \
            fprintf(stderr, "%s:%d: on %s: ", __FILE__, __LINE__, cpu_rung_in_use());                                          \
            fprintf(stderr, __VA_ARGS__);                                                                                      \
            fprintf(stderr, "\n");                                                                                             \
            exit(1);                                                                                                           \
        }                                                                                                                      \
    } while (0)

// Every length up to 257, then some about the sizes of blocks and groups, then those of real vocabularies.
static const size_t beyond[] = {511,  512,  513,  1023, 1024, 1025,  1087,  2047,
                                2048, 2049, 4095, 4097, 8192, 32000, 32001, 151936};
#define LENGTHS (258 + sizeof beyond / sizeof *beyond)

static inline size_t length(size_t i) { return i < 258 ? i : beyond[i - 258]; }

// n elements of the given size that end where their memory ends, and begin offset elements after an aligned place.
static inline void *row_at(void **whole, size_t n, size_t offset, size_t size) {
    *whole = malloc((offset + n) * size + (offset + n == 0));
    if (!*whole) {
        fprintf(stderr, "no memory for %zu elements\n", n);
        exit(1);
    }
    return (char *)*whole + offset * size;
}

static inline uint32_t next_random(uint32_t *state) { // xorshift
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline float next_logit(uint32_t *state) { return (float)((int32_t)next_random(state) >> 8) * 0x1p-20f; }

// Runs test once on every rung of the ladder.
static inline int on_each_rung(void (*test)(void)) {
    for (size_t i = 0; cpu_rung_name(i); i++) {
        cpu_rung_set(i);
        CHECK(strcmp(cpu_rung_in_use(), cpu_rung_name(i)) == 0, "expected to run on %s", cpu_rung_name(i));
        test();
        printf("%s ok\n", cpu_rung_name(i));
    }
    return 0;
}

#endif
