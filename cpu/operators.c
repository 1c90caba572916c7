// The operators of domain ai.shammah. A node names its weights by their place in the session's table, so that the runtime never
// sees them; work is cut into parts that the session's own threads take one after the other.
//
//   Linear     x (..., inputs) -> y1 (..., outputs 1), y2 ...; matrices, biases and targets of adapters (-1: none): ints
//   Gated      x (..., inputs) -> y (..., outputs): act(gate x) * (up x); matrices, biases, targets: ints of two; activation: int
//   Lora       x, y -> y and what adapters add to it, see operator_lora.c
//   Embed      ids (...) int64 -> y (..., inputs): rows of the matrix; matrix: int
//   Attention  as com.microsoft GroupQueryAttention over a cache that past and present share; cosines, sines, sink: ints or -1.
//              AttentionHalf is the same for a cache of float16: the runtime would want a shape function to infer one type from two inputs.
#include "operators.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operator.h"

static const char *op_name(const OrtCustomOp *op) {
    static const char *const names[CPU_OPERATORS] = {"Linear", "Gated", "Embed", "Lora", "Attention", "AttentionHalf"};
    return names[((const struct op *)op)->kind];
}

static const char *op_provider(const OrtCustomOp *op) {
    (void)op;
    return NULL; // the CPU
}

static bool attends(const OrtCustomOp *op) { return ((const struct op *)op)->kind >= OP_ATTENTION; }

static size_t op_inputs(const OrtCustomOp *op) { return attends(op) ? 7 : ((const struct op *)op)->kind == OP_LORA ? 2 : 1; }

static size_t op_outputs(const OrtCustomOp *op) { return attends(op) ? 3 : 1; }

static ONNXTensorElementDataType cache_type(const OrtCustomOp *op) {
    return ((const struct op *)op)->kind == OP_ATTENTION_HALF ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

static ONNXTensorElementDataType op_input_type(const OrtCustomOp *op, size_t i) {
    if (((const struct op *)op)->kind == OP_EMBED) {
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    }
    return i >= 5 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : i >= 3 ? cache_type(op) : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

static ONNXTensorElementDataType op_output_type(const OrtCustomOp *op, size_t i) {
    return attends(op) && i > 0 ? cache_type(op) : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

static OrtCustomOpInputOutputCharacteristic op_input_kind(const OrtCustomOp *op, size_t i) {
    bool optional = attends(op) && (i == 1 || i == 2); // absent where q, k and v are one tensor
    return optional ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
}

static OrtCustomOpInputOutputCharacteristic op_output_kind(const OrtCustomOp *op, size_t i) {
    (void)i;
    return ((const struct op *)op)->kind == OP_LINEAR ? INPUT_OUTPUT_VARIADIC : INPUT_OUTPUT_REQUIRED;
}

static OrtMemType op_memory(const OrtCustomOp *op, size_t i) {
    (void)op, (void)i;
    return OrtMemTypeDefault;
}

// Lora's output may lie where its second input does.
static size_t lora_in_place(int **inputs, int **outputs) {
    static int input = 1, output = 0;
    *inputs = &input;
    *outputs = &output;
    return 1;
}

static void lora_release(int *inputs, int *outputs) { (void)inputs, (void)outputs; }

static int op_one(const OrtCustomOp *op) {
    (void)op;
    return 1;
}

static int op_version_max(const OrtCustomOp *op) {
    (void)op;
    return INT32_MAX;
}

static OrtStatus *op_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    const struct op *o = (const struct op *)op;
    struct node *n = calloc(1, sizeof *n);
    if (!n) {
        return api->CreateStatus(ORT_FAIL, "no memory for a node");
    }
    n->api = api;
    n->graph = o->graph;
    n->kind = o->kind;
    OrtStatus *s = o->kind >= OP_ATTENTION ? attention_read(n, info) : o->kind == OP_LORA ? lora_read(n, info) : linear_read(n, info);
    if (s) {
        free(n);
        return s;
    }
    *kernel = n;
    return NULL;
}

static void op_destroy(void *kernel) { free(kernel); }

static OrtStatus *op_compute(void *kernel, OrtKernelContext *context) {
    struct node *n = kernel;
    if (atomic_flag_test_and_set(&n->graph->busy)) {
        return n->api->CreateStatus(ORT_FAIL, "two runs of one session at the same time, whose nodes share their scratch memory");
    }
    OrtStatus *s = n->kind >= OP_ATTENTION ? attention_compute(n, context)
                   : n->kind == OP_LORA    ? lora_compute(n, context)
                   : n->kind == OP_EMBED   ? embed_compute(n, context)
                                           : linear_compute(n, context);
    atomic_flag_clear(&n->graph->busy);
    return s;
}

cpu_graph *cpu_graph_new(const cpu_matrix *matrices, size_t n_matrices, const cpu_floats *floats, size_t n_floats, size_t threads) {
    cpu_graph *g = calloc(1, sizeof *g);
    cpu_matrix *m = malloc((n_matrices + 1) * sizeof *m);
    cpu_floats *f = malloc((n_floats + 1) * sizeof *f);
    void *ranges = NULL;
    if (threads < 1 || threads > 4096) {
        threads = 1;
    }
    if (!g || !m || !f || posix_memalign(&ranges, sizeof(struct range), 2 * threads * sizeof(struct range))) {
        free(g);
        free(m);
        free(f);
        return NULL;
    }
    memcpy(m, matrices, n_matrices * sizeof *m);
    memcpy(f, floats, n_floats * sizeof *f);
    *g = (cpu_graph){.matrices = m, .n_matrices = n_matrices, .floats = f, .n_floats = n_floats, .threads = threads};
    g->ranges = ranges;
    g->downs = g->ranges + threads;
    atomic_flag_clear(&g->busy);
    for (int i = 0; i < CPU_OPERATORS; i++) {
        g->ops[i] = (struct op){
            .base = {.version = ORT_API_VERSION, .GetName = op_name, .GetExecutionProviderType = op_provider, .GetInputType = op_input_type,
                     .GetInputTypeCount = op_inputs, .GetOutputType = op_output_type, .GetOutputTypeCount = op_outputs,
                     .KernelDestroy = op_destroy, .GetInputCharacteristic = op_input_kind, .GetOutputCharacteristic = op_output_kind,
                     .GetInputMemoryType = op_memory, .GetVariadicInputMinArity = op_one, .GetVariadicInputHomogeneity = op_one,
                     .GetVariadicOutputMinArity = op_one, .GetVariadicOutputHomogeneity = op_one, .CreateKernelV2 = op_create,
                     .KernelComputeV2 = op_compute, .GetStartVersion = op_one, .GetEndVersion = op_version_max},
            .graph = g,
            .kind = (enum op_kind)i};
        if (i == OP_LORA) {
            g->ops[i].base.GetMayInplace = lora_in_place;
            g->ops[i].base.ReleaseMayInplace = lora_release;
        }
    }
    return g;
}

void cpu_graph_free(cpu_graph *g) {
    if (g) {
        free(g->scratch.at);
        free(g->rows.at);
        free(g->addends.at);
        free(g->sums.at);
        free(g->uses.at);
        free(g->ranges);
        free(g->matrices);
        free(g->floats);
        free(g);
    }
}

const void *cpu_graph_operator(const cpu_graph *g, size_t i) { return &g->ops[i]; }

void *room(struct buffer *b, size_t bytes) {
    if (bytes > b->bytes) {
        size_t more = (bytes + bytes / 4 + 4095) & ~(size_t)4095; // so that growing prompts do not grow it each time
        free(b->at);
        *b = (struct buffer){0};
        if (posix_memalign(&b->at, 64, more)) {
            b->at = NULL;
            return NULL;
        }
        b->bytes = more;
    }
    return b->at;
}

struct job {
    void (*part)(void *, size_t, size_t);
    void *arg;
    struct range *ranges;
    size_t workers;
};

// Takes a part from the front of a worker's range, or from its end; SIZE_MAX if it is empty.
static size_t take(struct range *r, bool front) {
    uint64_t now = atomic_load_explicit(&r->parts, memory_order_relaxed);
    for (;;) {
        uint32_t from = (uint32_t)now, to = (uint32_t)(now >> 32);
        if (from >= to) {
            return SIZE_MAX;
        }
        uint64_t next = front ? now + 1 : now - ((uint64_t)1 << 32);
        if (atomic_compare_exchange_weak_explicit(&r->parts, &now, next, memory_order_relaxed, memory_order_relaxed)) {
            return front ? from : to - 1;
        }
    }
}

size_t next_part(struct range *ranges, size_t workers, size_t worker) {
    size_t part = take(&ranges[worker], true);
    for (size_t k = 1; part == SIZE_MAX && k < workers; k++) {
        part = take(&ranges[(worker + k) % workers], false);
    }
    return part;
}

void share_parts(struct range *ranges, size_t workers, size_t parts) {
    for (size_t w = 0; w < workers; w++) {
        struct span own = span_of(parts, workers, w);
        atomic_store_explicit(&ranges[w].parts, own.from | (uint64_t)own.to << 32, memory_order_relaxed);
        atomic_store_explicit(&ranges[w].done, 0, memory_order_relaxed);
    }
}

static void work(void *p, size_t worker) {
    struct job *j = p;
    for (size_t i; (i = next_part(j->ranges, j->workers, worker)) != SIZE_MAX;) {
        j->part(j->arg, i, worker);
    }
}

OrtStatus *run_parts(const struct node *n, const OrtKernelContext *context, size_t parts, void (*part)(void *, size_t, size_t), void *arg) {
    size_t workers = workers_of(n->graph, parts);
    if (workers < 2 || parts > UINT32_MAX) {
        for (size_t i = 0; i < parts; i++) {
            part(arg, i, 0);
        }
        return NULL;
    }
    struct job j = {.part = part, .arg = arg, .ranges = n->graph->ranges, .workers = workers};
    share_parts(j.ranges, workers, parts);
    return n->api->KernelContext_ParallelFor(context, work, workers, workers, &j);
}

OrtStatus *read_shape(const OrtApi *api, const OrtValue *v, struct shape *s) {
    OrtTensorTypeAndShapeInfo *info = NULL;
    OrtStatus *status = api->GetTensorTypeAndShape(v, &info);
    if (status) {
        return status;
    }
    if (!(status = api->GetTensorElementType(info, &s->type)) && !(status = api->GetDimensionsCount(info, &s->rank))) {
        if (s->rank > SHAPE_RANK_MAX) {
            status = api->CreateStatus(ORT_INVALID_ARGUMENT, "a tensor has more than 8 dimensions");
        } else {
            status = api->GetDimensions(info, s->dims, s->rank);
        }
    }
    api->ReleaseTensorTypeAndShapeInfo(info);
    return status;
}

OrtStatus *read_input(const struct node *n, const OrtKernelContext *context, size_t i, struct shape *s, const void **data) {
    const OrtValue *v = NULL;
    OrtStatus *status = n->api->KernelContext_GetInput(context, i, &v);
    *data = NULL;
    if (status || !v) {
        return status;
    }
    if ((status = read_shape(n->api, v, s))) {
        return status;
    }
    return n->api->GetTensorMutableData((OrtValue *)v, (void **)data);
}

OrtStatus *make_output(const struct node *n, OrtKernelContext *context, size_t i, const struct shape *s, void **data) {
    OrtValue *v = NULL;
    OrtStatus *status = n->api->KernelContext_GetOutput(context, i, s->dims, s->rank, &v);
    return status ? status : n->api->GetTensorMutableData(v, data);
}

int64_t read_int(const struct node *n, const OrtKernelInfo *info, const char *name, int64_t missing) {
    int64_t value = missing;
    OrtStatus *s = n->api->KernelInfoGetAttribute_int64(info, name, &value);
    if (s) {
        n->api->ReleaseStatus(s);
        return missing;
    }
    return value;
}

OrtStatus *invalid(const struct node *n, const char *what) {
    char text[160];
    snprintf(text, sizeof text, "ai.shammah %s: %s", op_name(&n->graph->ops[n->kind].base), what);
    return n->api->CreateStatus(ORT_INVALID_ARGUMENT, text);
}
