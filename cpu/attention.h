// Attention over a cache, with the meaning of com.microsoft's GroupQueryAttention: rotary positions, a length for each
// sequence, keys and values appended to the cache in place, a sliding window, a soft cap, a sink. Arithmetic is in float32.
//
// The result of a token depends on that token and on what lies before it, to the last bit on nothing else: not on how the
// tokens were cut into calls, on the other tokens of the call, on which part ran where, or on the rung. The scores of a query
// are sums over the head's elements in their order; keys are taken in blocks that begin at multiples of a fixed position, each
// block giving a softmax of its own, and a query's blocks are merged in their order.
//
// NaN among the inputs becomes NaN in the outputs that depend on it and in no others; so does a score beyond the range of floats.
// Places of the cache behind the last token are never read.
#ifndef SHAMMAH_CPU_ATTENTION_H
#define SHAMMAH_CPU_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// head_dim is at most this; where it is not a multiple of 8 the plain rung computes.
#define CPU_ATTENTION_DIM 512

typedef struct {
    uint32_t heads, kv_heads; // heads is a multiple of kv_heads
    uint32_t head_dim;
    uint32_t rotary_dim;    // how many leading elements of a head rotate: even, 0 for none
    uint32_t capacity;      // positions that the cache has room for
    int32_t window;         // at least 1: a query at p sees the keys p-window+1 to p; -1: all up to p
    float scale;            // of q.k
    float softcap;          // 0: none; else a score s becomes softcap * tanh(s / softcap)
    bool interleaved;       // elements 2i and 2i+1 rotate together, in place of i and i+rotary_dim/2
    bool half;              // the cache's elements are float16, in place of float32
    const float *cos, *sin; // (positions, rotary_dim/2)
    const float *sink;      // (heads) one more score in each softmax, which takes a share and gives no value; may be NULL.
                            // GroupQueryAttention's smooth_softmax is a sink of 0
} cpu_attention;

// One sequence of a batch: length new tokens behind past ones. A token's position is its place in the cache.
typedef struct {
    const float *q;                       // token t at q + t*q_stride: (heads, head_dim)
    const float *k, *v;                   // likewise: (kv_heads, head_dim)
    size_t q_stride, k_stride, v_stride;  // in floats
    size_t length, past;                  // past + length is at most capacity
    void *keys, *values;                  // (kv_heads, capacity, head_dim)
    float *y;                             // (length, heads, head_dim)
} cpu_sequence;

// Three phases, one behind the other; within a phase the parts run in any order on any threads. Where a phase has one part, the
// caller had better run it itself. local is memory of the running part alone, scratch of the sequence from the second phase
// to the third; both are aligned to 64 bytes and hold nothing before. The parts depend on the arguments alone.

// 1. Rotates k and stores k and v in the cache.
size_t cpu_append_parts(const cpu_attention *a, const cpu_sequence *s);
void cpu_append(const cpu_attention *a, const cpu_sequence *s, size_t part);

// 2. Attends: each part a range of queries, or, where there are few queries, a range of keys.
size_t cpu_attend_parts(const cpu_attention *a, const cpu_sequence *s);
size_t cpu_attend_scratch(const cpu_attention *a, const cpu_sequence *s); // bytes, may be 0
size_t cpu_attend_local(const cpu_attention *a, const cpu_sequence *s);   // bytes
void cpu_attend(const cpu_attention *a, const cpu_sequence *s, size_t part, void *scratch, void *local);

// 3. Merges what the ranges of keys gave. No parts where phase 2 was cut by queries alone.
size_t cpu_attend_finish_parts(const cpu_attention *a, const cpu_sequence *s);
void cpu_attend_finish(const cpu_attention *a, const cpu_sequence *s, size_t part, const void *scratch);

#endif
