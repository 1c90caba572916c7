#include "hugepages.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const size_t page = (size_t)2 << 20;        // a huge page, see memory.c
static const size_t chunk_size = (size_t)64 << 20; // of address space; what is not touched takes no memory
static const size_t small = 64 << 10;              // below this, malloc serves a reservation too
enum { header_size = 64 };                         // also the alignment of every block

// A chunk is filled from its start and unmapped when all its blocks are gone.
typedef struct chunk {
  char *start;
  size_t used, capacity, blocks;
} chunk;

// Before every block.
typedef struct header {
  chunk *chunk; // NULL: from malloc
  size_t bytes; // with this header
} header;

typedef struct huge {
  OrtAllocator base; // first: the runtime hands this back
  const OrtApi *table;
  const OrtMemoryInfo *info;
  pthread_mutex_t mu;
  chunk *filling;
  size_t in_use, in_use_max, mapped, allocs, reserves;
} huge;

static size_t up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

static chunk *chunk_new(size_t need) {
  chunk *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->capacity = need > chunk_size ? up(need, page) : chunk_size;
  c->start = memory_new_huge(c->capacity);
  if (!c->start) {
    free(c);
    return NULL;
  }
  return c;
}

static void *finish(huge *h, header *at, chunk *c, size_t bytes) {
  at->chunk = c;
  at->bytes = bytes;
  h->in_use += bytes;
  if (h->in_use > h->in_use_max) h->in_use_max = h->in_use;
  return (char *)at + header_size;
}

static void *ORT_API_CALL alloc(OrtAllocator *a, size_t size) {
  huge *h = (huge *)a;
  void *p = NULL;
  if (size == 0 || size > SIZE_MAX - header_size || posix_memalign(&p, header_size, size + header_size)) return NULL;
  pthread_mutex_lock(&h->mu);
  h->allocs++;
  p = finish(h, p, NULL, size + header_size);
  pthread_mutex_unlock(&h->mu);
  return p;
}

// reserve serves what a session keeps for its whole life: its weights.
static void *ORT_API_CALL reserve(OrtAllocator *a, size_t size) {
  huge *h = (huge *)a;
  if (size < small || size > SIZE_MAX / 2) return alloc(a, size);
  size_t need = up(size + header_size, header_size);
  void *p = NULL;
  pthread_mutex_lock(&h->mu);
  chunk *c = h->filling;
  if (!c || c->used + need > c->capacity) {
    c = chunk_new(need);
    if (!c) goto out;
    h->mapped += c->capacity;
    if (c->capacity - need > 0) h->filling = c;
  }
  h->reserves++;
  c->blocks++;
  p = finish(h, (header *)(c->start + c->used), c, need);
  c->used += need;
out:
  pthread_mutex_unlock(&h->mu);
  return p;
}

static void ORT_API_CALL release(OrtAllocator *a, void *p) {
  if (!p) return;
  huge *h = (huge *)a;
  header *at = (header *)((char *)p - header_size);
  chunk *c = at->chunk;
  pthread_mutex_lock(&h->mu);
  h->in_use -= at->bytes;
  if (c && (char *)at + at->bytes == c->start + c->used) c->used -= at->bytes; // the last one: its room can be filled again
  if (c && --c->blocks == 0) {
    if (h->filling == c) h->filling = NULL;
    h->mapped -= c->capacity;
    memory_free_huge(c->start, c->capacity);
    free(c);
  }
  pthread_mutex_unlock(&h->mu);
  if (!c) free(at);
}

static const OrtMemoryInfo *ORT_API_CALL info(const OrtAllocator *a) { return ((const huge *)a)->info; }

static OrtStatus *ORT_API_CALL stats(const OrtAllocator *a, OrtKeyValuePairs **out) {
  huge *h = (huge *)a;
  pthread_mutex_lock(&h->mu);
  const struct { const char *key; size_t n; } all[] = {
      {"InUse", h->in_use}, {"MaxInUse", h->in_use_max}, {"TotalAllocated", h->mapped}, {"NumAllocs", h->allocs}, {"NumReserves", h->reserves}};
  pthread_mutex_unlock(&h->mu);
  h->table->CreateKeyValuePairs(out);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char text[32];
    snprintf(text, sizeof text, "%zu", all[i].n);
    h->table->AddKeyValuePair(*out, all[i].key, text);
  }
  return NULL;
}

OrtAllocator *huge_new(const OrtApi *t, const OrtMemoryInfo *memory) {
  huge *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  if (pthread_mutex_init(&h->mu, NULL)) {
    free(h);
    return NULL;
  }
  h->table = t;
  h->info = memory;
  h->base.version = ORT_API_VERSION;
  h->base.Alloc = alloc;
  h->base.Free = release;
  h->base.Info = info;
  h->base.Reserve = reserve;
  h->base.GetStats = stats;
  return &h->base;
}

void huge_free(OrtAllocator *a) {
  huge *h = (huge *)a;
  pthread_mutex_destroy(&h->mu);
  free(h);
}
