#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

// From this size on, whole pages straight from the system: zeroed for nothing and given back at once.
enum { alignment = 64, pages_from = 1 << 16 };

void *memory_new(size_t bytes) {
  if (bytes >= pages_from) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
  }
  void *p = NULL;
  if (posix_memalign(&p, alignment, bytes ? bytes : 1)) return NULL;
  return memset(p, 0, bytes);
}

void memory_free(void *p, size_t bytes) {
  if (bytes >= pages_from)
    munmap(p, bytes);
  else
    free(p);
}

static const size_t huge_page = (size_t)2 << 20; // of x86-64, and of arm64 with 4 KiB pages

void *memory_new_huge(size_t bytes) {
  size_t size = (bytes + huge_page - 1) & ~(huge_page - 1);
  if (size < bytes) return NULL;
  char *map = mmap(NULL, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return NULL;
  size_t before = (huge_page - (size_t)map % huge_page) % huge_page;
  if (before) munmap(map, before);
  munmap(map + before + size, huge_page - before);
#ifdef MADV_HUGEPAGE
  madvise(map + before, size, MADV_HUGEPAGE); // a wish: without it the pages are small and all else is the same
#endif
  return map + before;
}

void memory_free_huge(void *p, size_t bytes) { munmap(p, (bytes + huge_page - 1) & ~(huge_page - 1)); }
