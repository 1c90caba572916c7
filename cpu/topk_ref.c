// Top-k: a heap of the best so far, its worst at the root, kept in the caller's two slices.
#include "topk.h"

#include <string.h>

struct heap {
    int32_t *index;
    float *value;
    size_t size, room;
};

// The lower value is worse, and of equal ones the higher index.
static inline bool worse(const struct heap *h, size_t a, size_t b) {
    return h->value[a] < h->value[b] || (h->value[a] == h->value[b] && h->index[a] > h->index[b]);
}

static inline void swap(struct heap *h, size_t a, size_t b) {
    float v = h->value[a];
    int32_t i = h->index[a];
    h->value[a] = h->value[b];
    h->index[a] = h->index[b];
    h->value[b] = v;
    h->index[b] = i;
}

static void sift_down(struct heap *h) {
    for (size_t at = 0, child; (child = 2 * at + 1) < h->size; at = child) {
        if (child + 1 < h->size && worse(h, child + 1, child)) {
            child++;
        }
        if (!worse(h, child, at)) {
            return;
        }
        swap(h, at, child);
    }
}

static void sift_up(struct heap *h, size_t at) {
    while (at > 0 && worse(h, at, (at - 1) / 2)) {
        swap(h, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

// Takes a value that is larger than floor, and returns the floor for the next: once the heap is full, its worst value. As the
// indices that are offered rise, a later value that equals it has no claim.
static float offer(struct heap *h, float floor, float value, size_t index) {
    bool full = h->size == h->room;
    size_t at = full ? 0 : h->size++;
    h->value[at] = value;
    h->index[at] = (int32_t)index;
    if (full) {
        sift_down(h);
    } else {
        sift_up(h, at);
    }
    return h->size < h->room ? floor : h->value[0];
}

// Takes out the worst again and again, and puts it behind the others: what is left lies in falling order.
static void sort(struct heap *h) {
    size_t size = h->size;
    while (h->size > 1) {
        swap(h, 0, --h->size);
        sift_down(h);
    }
    h->size = size;
}

cpu_result cpu_topk_plain(const float *x, size_t n, size_t k, int32_t *index, float *value) {
    struct heap h = {index, value, 0, k};
    float floor = -INFINITY;
    bool clean = true, any = false;
    for (size_t i = 0; i < n; i++) {
        clean &= x[i] < INFINITY; // false for NaN too
        if (x[i] > floor && x[i] < INFINITY) {
            any = true;
            floor = k > 0 ? offer(&h, floor, x[i], i) : floor;
        }
    }
    sort(&h);
    return (cpu_result){(int64_t)h.size, clean && any};
}

// Floats in their order as integers, and back: the bits of a negative one count downwards.
static inline int32_t ordered(float f) {
    int32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits ^ ((bits >> 31) & INT32_MAX);
}

static inline float from_ordered(int32_t key) {
    int32_t bits = key ^ ((key >> 31) & INT32_MAX);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static size_t count_above(const float maxima[GROUPS], float floor) {
    int32_t count = 0;
    for (size_t i = 0; i < GROUPS; i++) {
        count += maxima[i] > floor;
    }
    return (size_t)count;
}

// A value that at least k groups exceed, found by halving; -Inf where there is none. It need not be the largest such value:
// some more candidates for the heap cost less than the last steps.
static float floor_of(const float maxima[GROUPS], size_t k) {
    int64_t low = ordered(-INFINITY), high = ordered(INFINITY);
    size_t count = count_above(maxima, -INFINITY);
    while (count > k + k / 4 && high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        size_t c = count_above(maxima, from_ordered((int32_t)middle));
        if (c >= k) {
            low = middle;
            count = c;
        } else {
            high = middle;
        }
    }
    return from_ordered((int32_t)low);
}

// A first pass over the row finds a floor close below the k-th largest value, a second one offers the heap what is above it.
// The order of the values in the row hardly matters then: a rising row, each value of which would go through the heap, costs
// no more than any other.
cpu_result cpu_topk_sieved(const float *x, size_t n, size_t k, int32_t *index, float *value, struct cpu_sieve sieve) {
    float maxima[GROUPS];
    if (k == 0 || !sieve.maxima(x, n, maxima)) {
        return cpu_topk_plain(x, n, k, index, value);
    }
    struct heap h = {index, value, 0, k};
    float floor = floor_of(maxima, k);
    for (size_t i = sieve.above(x, 0, n, floor); i < n; i = sieve.above(x, i + 1, n, floor)) {
        floor = offer(&h, floor, x[i], i);
    }
    sort(&h);
    return (cpu_result){(int64_t)h.size, h.size > 0};
}
