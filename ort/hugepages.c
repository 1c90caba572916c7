#include "hugepages.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const size_t page = (size_t)2 << 20;         // a huge page, see memory.c
static const size_t region_size = (size_t)64 << 20; // of address space; what is not touched takes no memory
static const size_t small = 64 << 10;               // below this, malloc serves
static const size_t kept = (size_t)4 << 20;         // of a region that a run left empty: short steps find their pages again
enum { header_size = 64 };                          // also the alignment of every block

// A block's place in its region.
typedef struct span {
  size_t at, bytes;
} span;

// A block goes into the first gap that has room for it, so that what a run takes depends on nothing but its blocks: with malloc it would
// depend on the threads that it happened to run on, each of which keeps what was freed.
typedef struct region {
  struct region *next;
  char *start;
  size_t capacity, touched;
  span *spans; // taken, by address
  size_t n, room;
} region;

typedef enum { RUNS, WEIGHTS, POOLS } pool; // apart, so that weights do not hold the memory of runs

// Before every block.
typedef struct header {
  region *region; // NULL: from malloc
  size_t bytes;   // with this header
  pool pool;
} header;

typedef struct huge {
  OrtAllocator base; // first: the runtime hands this back
  const OrtApi *table;
  const OrtMemoryInfo *info;
  pthread_mutex_t mu;
  region *pools[POOLS];
  size_t in_use, in_use_max, mapped, allocs, reserves;
} huge;

static size_t up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

static region *region_new(huge *h, pool p, size_t need) {
  region *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->capacity = need > region_size ? up(need, page) : region_size;
  r->start = memory_new_huge(r->capacity);
  if (!r->start) {
    free(r);
    return NULL;
  }
  h->mapped += r->capacity;
  r->next = h->pools[p];
  h->pools[p] = r;
  return r;
}

static void region_free(huge *h, pool p, region *r) {
  region **at = &h->pools[p];
  while (*at != r) at = &(*at)->next;
  *at = r->next;
  h->mapped -= r->capacity;
  memory_free_huge(r->start, r->capacity);
  free(r->spans);
  free(r);
}

// region_take is a new block, NULL where there is no gap for it.
static char *region_take(region *r, size_t bytes) {
  size_t i = 0, at = 0;
  while (i < r->n && r->spans[i].at - at < bytes) {
    at = r->spans[i].at + r->spans[i].bytes;
    i++;
  }
  if (r->capacity - at < bytes) return NULL;
  if (r->n == r->room) {
    size_t more = r->room ? 2 * r->room : 64;
    span *spans = realloc(r->spans, more * sizeof *spans);
    if (!spans) return NULL;
    r->spans = spans;
    r->room = more;
  }
  memmove(r->spans + i + 1, r->spans + i, (r->n - i) * sizeof *r->spans);
  r->spans[i] = (span){at, bytes};
  r->n++;
  if (at + bytes > r->touched) r->touched = at + bytes;
  return r->start + at;
}

static void region_give(region *r, const char *p) {
  size_t low = 0, high = r->n, at = (size_t)(p - r->start);
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    *(r->spans[middle].at <= at ? &low : &high) = middle;
  }
  r->n--;
  memmove(r->spans + low, r->spans + low + 1, (r->n - low) * sizeof *r->spans);
}

// take is a block of a pool, or one from malloc if it is small.
static void *take(huge *h, pool p, size_t size, size_t *count) {
  if (size == 0 || size > SIZE_MAX / 2) return NULL;
  header at = {.bytes = up(size + header_size, header_size), .pool = p};
  void *block = NULL;
  if (size < small && posix_memalign(&block, header_size, at.bytes)) return NULL;
  pthread_mutex_lock(&h->mu);
  if (!block) {
    for (at.region = h->pools[p]; at.region; at.region = at.region->next)
      if ((block = region_take(at.region, at.bytes))) break;
    if (!block && (at.region = region_new(h, p, at.bytes)) && !(block = region_take(at.region, at.bytes))) region_free(h, p, at.region);
  }
  if (block) {
    *(header *)block = at;
    h->in_use += at.bytes;
    if (h->in_use > h->in_use_max) h->in_use_max = h->in_use;
    (*count)++;
  }
  pthread_mutex_unlock(&h->mu);
  return block ? (char *)block + header_size : NULL;
}

static void *ORT_API_CALL alloc(OrtAllocator *a, size_t size) { return take((huge *)a, RUNS, size, &((huge *)a)->allocs); }

// reserve serves what a session keeps for its whole life: its weights.
static void *ORT_API_CALL reserve(OrtAllocator *a, size_t size) { return take((huge *)a, WEIGHTS, size, &((huge *)a)->reserves); }

static void ORT_API_CALL release(OrtAllocator *a, void *p) {
  if (!p) return;
  huge *h = (huge *)a;
  header *block = (header *)((char *)p - header_size), at = *block;
  pthread_mutex_lock(&h->mu);
  h->in_use -= at.bytes;
  if (at.region) {
    region_give(at.region, (char *)block);
    if (at.region->n == 0 && (at.pool == WEIGHTS || at.region->touched > kept)) region_free(h, at.pool, at.region);
  }
  pthread_mutex_unlock(&h->mu);
  if (!at.region) free(block);
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
  while (h->pools[RUNS]) region_free(h, RUNS, h->pools[RUNS]); // the one that a run left empty
  pthread_mutex_destroy(&h->mu);
  free(h);
}
