#include "bandwidth.h"

#include <string.h>
#include <sys/mman.h>

static const size_t huge_page = (size_t)2 << 20; // of x86-64, and of arm64 with 4 KiB pages

void *cpu_pages_new(size_t size) {
    char *map = mmap(NULL, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (map == MAP_FAILED) {
        return NULL;
    }
    size_t before = (huge_page - (size_t)map % huge_page) % huge_page;
    if (before) {
        munmap(map, before);
    }
    if (huge_page - before) {
        munmap(map + before + size, huge_page - before);
    }
#ifdef MADV_HUGEPAGE
    madvise(map + before, size, MADV_HUGEPAGE); // a wish: without it the pages are small and all else is the same
#endif
    memset(map + before, 1, size); // what was never written is one page of zeros, however large it is
    return map + before;
}

void cpu_pages_free(void *pages, size_t size) { munmap(pages, size); }

// Whatever the compiler makes of it, vector registers of 16 bytes among others, it adds faster than memory gives.
typedef uint64_t line __attribute__((vector_size(64)));

uint64_t cpu_read_sum(const void *p, size_t n) {
    const line *x = p;
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < n / sizeof *x; i += 4) {
        a += x[i];
        b += x[i + 1];
        c += x[i + 2];
        d += x[i + 3];
    }
    a += b + (c + d);
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof a / sizeof sum; i++) {
        sum += a[i];
    }
    return sum;
}
