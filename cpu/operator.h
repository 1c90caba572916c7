// What the operators share. Inside the package only.
#ifndef SHAMMAH_CPU_OPERATOR_H
#define SHAMMAH_CPU_OPERATOR_H

#include <stdatomic.h>
#include <stdbool.h>

#include "attention.h"
#include "onnxruntime_c_api.h"
#include "operators.h"

enum op_kind { OP_LINEAR, OP_GATED, OP_EMBED, OP_LORA, OP_ATTENTION, OP_ATTENTION_HALF }; // attention last

struct op {
    OrtCustomOp base; // first: the runtime hands this back
    cpu_graph *graph;
    enum op_kind kind;
};

// The parts that a worker has left: the first in the low half, the one behind the last in the high one. On a cache line of its own.
struct range {
    _Alignas(64) _Atomic uint64_t parts;
};

// Memory that is kept from one node to the next.
struct buffer {
    void *at;
    size_t bytes;
};

struct cpu_graph {
    struct op ops[CPU_OPERATORS];
    cpu_matrix *matrices;
    cpu_floats *floats;
    size_t n_matrices, n_floats, threads;
    struct range *ranges;         // of each worker
    struct buffer scratch, rows, addends, sums; // of the node that runs: values, the rows of a batch, and what adapters add
    struct buffer uses;                   // of adapters, and where each list of them ends
    const size_t *ends;
    size_t lists; // 0: no adapter
    atomic_flag busy;
};

enum { NODE_MATRICES_MAX = 8, QUANTISE_ROWS = 4, EMBED_ROWS = 16 }; // rows of one part

struct node {
    const OrtApi *api;
    cpu_graph *graph;
    enum op_kind kind;
    size_t n; // matrices
    const cpu_matrix *matrix[NODE_MATRICES_MAX];
    const float *bias[NODE_MATRICES_MAX];
    int64_t target[NODE_MATRICES_MAX]; // of adapters, -1: none
    int activation;
    cpu_attention attention;
    size_t positions; // that the rotary tables have; without them SIZE_MAX
};

enum { SHAPE_RANK_MAX = 8 };

struct shape {
    int64_t dims[SHAPE_RANK_MAX];
    size_t rank;
    ONNXTensorElementDataType type;
};

OrtStatus *linear_read(struct node *n, const OrtKernelInfo *info);
OrtStatus *linear_compute(struct node *n, OrtKernelContext *context);
OrtStatus *lora_read(struct node *n, const OrtKernelInfo *info);
OrtStatus *lora_compute(struct node *n, OrtKernelContext *context);
OrtStatus *embed_compute(struct node *n, OrtKernelContext *context);
OrtStatus *attention_read(struct node *n, const OrtKernelInfo *info);
OrtStatus *attention_compute(struct node *n, OrtKernelContext *context);

// Parts that all threads of a node take from one counter; who finds none left waits for the others.
struct shared_parts {
    size_t n;
    _Atomic size_t next, done;
};

// What the adapters of a run add to a node's products: t, which all threads share.
struct lora {
    const struct node *node;
    cpu_addends plus[NODE_MATRICES_MAX];
    const cpu_addend *list; // of all matrices
    const float *x;
    size_t inputs, row_blocks;
    struct shared_parts down;
    bool any; // something is added
};

// What is added to the products of rows of x (rows, inputs) with each of the node's matrices, of so many outputs. It is valid until the next call.
OrtStatus *lora_prepare(const struct node *n, const float *x, size_t inputs, const size_t *outputs, size_t rows, struct lora *l);

// Returns when t is complete. All threads that work on the node call it and share what is left, so that it takes no round of parts of its own.
void lora_ready(struct lora *l);

// Memory of at least so many bytes, 64-byte aligned, valid until the next call for the same buffer. NULL without memory.
void *room(struct buffer *b, size_t bytes);

// The parts that a worker takes first, the first of them before any other part; others may take them from the end.
struct span {
    size_t from, to;
};

static inline struct span span_of(size_t parts, size_t workers, size_t worker) {
    return (struct span){parts * worker / workers, parts * (worker + 1) / workers};
}

// How many work on so many parts.
static inline size_t workers_of(const cpu_graph *g, size_t parts) { return parts < g->threads ? parts : g->threads; }

// Calls part(arg, i, worker) for every i below parts, each once, on the session's threads; worker is below graph->threads and no two calls
// with the same one run at the same time.
OrtStatus *run_parts(const struct node *n, const OrtKernelContext *context, size_t parts, void (*part)(void *, size_t, size_t), void *arg);

OrtStatus *read_shape(const OrtApi *api, const OrtValue *v, struct shape *s);
// data is NULL where an optional input is absent.
OrtStatus *read_input(const struct node *n, const OrtKernelContext *context, size_t i, struct shape *s, const void **data);
OrtStatus *make_output(const struct node *n, OrtKernelContext *context, size_t i, const struct shape *s, void **data);
int64_t read_int(const struct node *n, const OrtKernelInfo *info, const char *name, int64_t missing);
OrtStatus *invalid(const struct node *n, const char *what);

#endif
