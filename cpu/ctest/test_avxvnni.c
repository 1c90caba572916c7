// The AVX-VNNI rung, which few machines can execute: here it is compiled with the same instruction as AVX-512 VL with VNNI
// encodes it, which more can, and called beside the ladder.
#include "layer.h"

#if defined(__x86_64__)
#define AVXVNNI_AS_AVX512
#define linear_avxvnni linear_under_test
#include "../linear_avxvnni_amd64.c"

static bool runs(void) {
    for (size_t i = 0; cpu_rung_name(i); i++) {
        if (strcmp(cpu_rung_name(i), "avx512vnni") == 0) {
            return true;
        }
    }
    return false;
}

static void check_shape(shape s, size_t n, uint32_t *seed) {
    matrix x;
    new_matrix(&x, s, seed);
    size_t count = n * s.inputs;
    float *values = exactly(count * sizeof *values), got[ROWS * CPU_TILE], want[ROWS * CPU_TILE], bias[CPU_TILE];
    for (size_t i = 0; i < count; i++) {
        values[i] = next_logit(seed);
    }
    for (size_t i = 0; i < CPU_TILE; i++) {
        bias[i] = next_logit(seed);
    }
    rows a;
    new_rows(&a, n, s.inputs, s.block == 16 ? 16 : 32, values);
    for (size_t t = 0; t < (s.outputs + 15) / 16; t++) {
        tile_parts parts = parts_of(&x.m, t);
        for (int biased = 0; biased < 2; biased++) {
            linear_under_test.tile(&parts, &a.a, 0, n, (tile_addend){biased ? bias : NULL, 0}, got, CPU_TILE);
            linear_plain.tile(&parts, &a.a, 0, n, (tile_addend){biased ? bias : NULL, 0}, want, CPU_TILE);
            CHECK(memcmp(got, want, n * CPU_TILE * sizeof *got) == 0,
                  "outputs %u, inputs %u, block %d, bits %d, zeros %d, %zu rows: not the bits of the plain rung", s.outputs,
                  s.inputs, s.block, s.bits, s.zeros, n);
        }
    }
    free(values);
    free_rows(&a);
    free_matrix(&x);
}

int main(void) {
    if (!runs()) {
        printf("avxvnni skipped: this machine has no AVX-512 VNNI\n");
        return 0;
    }
    static const uint16_t blocks[] = {16, 32, 64, 128};
    uint32_t seed = 11;
    for (size_t b = 0; b < 4; b++) {
        for (uint8_t bits = 4; bits <= 8; bits += 4) {
            for (int zeros = 0; zeros < 3; zeros++) {
                for (size_t n = 1; n <= ROWS; n++) {
                    for (uint32_t k = 1; k <= 5; k++) {
                        check_shape((shape){20, k * blocks[b], blocks[b], bits, zeros, k % 2, 0.02f}, n, &seed);
                    }
                }
            }
        }
    }
    printf("avxvnni ok, as AVX-512 VL encodes it\n");
    return 0;
}
#else
int main(void) {
    printf("avxvnni skipped: this is no x86-64\n");
    return 0;
}
#endif
