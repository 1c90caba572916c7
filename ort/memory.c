#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
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
