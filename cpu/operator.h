// What the operators share. Inside the package only.
#ifndef SHAMMAH_CPU_OPERATOR_H
#define SHAMMAH_CPU_OPERATOR_H

#include <stdatomic.h>
#include <stdbool.h>

#include "attention.h"
#include "lora.h"
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
    _Atomic size_t done; // of downs: how many that worker has done, whoever's they were
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
    struct range *ranges, *downs; // of each worker: parts of the node, and of what its adapters multiply first
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

// What the adapters of a run add to a node's products: t, which all threads share.
struct lora {
    cpu_addends plus[NODE_MATRICES_MAX];
    const cpu_addend *list; // of all matrices
    const cpu_activations *a; // of narrow additions
    const float *x;           // of wide ones
    size_t row_blocks;        // of each addend
    size_t parts;             // of t, 0: nothing is added
    size_t workers;           // all of the graph's; what belongs to those that do not come is done by others
    struct range *ranges;
};

// What is added to the products of rows with each of the node's matrices, of so many outputs: of a where the matrices are quantised, otherwise of
// x (rows, inputs). It is valid until the next call.
OrtStatus *lora_prepare(const struct node *n, const cpu_activations *a, const float *x, size_t inputs, const size_t *outputs, size_t rows, struct lora *l);

// Returns when t is complete. All threads that work on the node call it and share what is left, so that it takes no round of parts of its own.
void lora_ready(struct lora *l, size_t worker);

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

// Gives each worker its span of the parts.
void share_parts(struct range *ranges, size_t workers, size_t parts);

// The next part for a worker: its own from front to end, so that what the kernels prefetch behind a part is what it takes next, and then those of
// others, from their end. SIZE_MAX: none is left.
size_t next_part(struct range *ranges, size_t workers, size_t worker);

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
