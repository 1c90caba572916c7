// The reader of memory reads each word once, and nothing beyond.
#include "../bandwidth.h"
#include "check.h"

int main(void) {
    for (size_t n = 0; n <= 4096; n += 256) {
        uint64_t *x = aligned_alloc(64, n + 64 * (n == 0));
        CHECK(x, "no memory");
        uint64_t want = 0;
        uint32_t state = 1;
        for (size_t i = 0; i < n / sizeof *x; i++) {
            x[i] = (uint64_t)next_random(&state) << 32 | next_random(&state);
            want += x[i];
        }
        uint64_t got = cpu_read_sum(x, n);
        CHECK(got == want, "%zu bytes: got %llx, want %llx", n, (unsigned long long)got, (unsigned long long)want);
        free(x);
    }
    return 0;
}
