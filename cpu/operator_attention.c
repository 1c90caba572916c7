// Attention: the inputs and outputs of com.microsoft GroupQueryAttention, over a cache that past and present share.
#include "operator.h"

static OrtStatus *read_floats(const struct node *n, const OrtKernelInfo *info, const char *name, const cpu_floats **list) {
    int64_t at = read_int(n, info, name, -1);
    if (at >= (int64_t)n->graph->n_floats) {
        return invalid(n, "a list of floats that is not in the table");
    }
    *list = at < 0 ? NULL : &n->graph->floats[at];
    return NULL;
}

static float read_float(const struct node *n, const OrtKernelInfo *info, const char *name) {
    float v = 0;
    OrtStatus *s = n->api->KernelInfoGetAttribute_float(info, name, &v);
    if (s) {
        n->api->ReleaseStatus(s);
        v = 0;
    }
    return v;
}

OrtStatus *attention_read(struct node *n, const OrtKernelInfo *info) {
    int64_t heads = read_int(n, info, "num_heads", 0), kv_heads = read_int(n, info, "kv_num_heads", 0);
    int64_t head_dim = read_int(n, info, "head_dim", 0), rotary_dim = read_int(n, info, "rotary_dim", 0);
    int64_t window = read_int(n, info, "local_window_size", -1), interleaved = read_int(n, info, "rotary_interleaved", 0);
    const cpu_floats *cosines = NULL, *sines = NULL, *sink = NULL;
    OrtStatus *s = read_floats(n, info, "cosines", &cosines);
    if (!s && !(s = read_floats(n, info, "sines", &sines))) {
        s = read_floats(n, info, "sink", &sink);
    }
    if (s) {
        return s;
    }
    if (heads < 1 || kv_heads < 1 || heads % kv_heads || heads > 1 << 16 || head_dim < 1 || head_dim > CPU_ATTENTION_DIM) {
        return invalid(n, "heads, heads of keys and values, or the size of a head make no sense");
    }
    n->attention = (cpu_attention){.heads = (uint32_t)heads, .kv_heads = (uint32_t)kv_heads, .head_dim = (uint32_t)head_dim,
        .window = (int32_t)window, .scale = read_float(n, info, "scale"), .softcap = read_float(n, info, "softcap"), .interleaved = interleaved != 0};
    n->positions = SIZE_MAX;
    if (rotary_dim) {
        if (!cosines || !sines || rotary_dim < 2 || rotary_dim > head_dim || rotary_dim % 2 || cosines->n != sines->n) {
            return invalid(n, "a rotary embedding without its tables, or of a wrong size");
        }
        n->attention.rotary_dim = (uint32_t)rotary_dim;
        n->attention.cos = cosines->values;
        n->attention.sin = sines->values;
        n->positions = cosines->n / ((size_t)rotary_dim / 2);
    }
    if (sink && sink->n != (size_t)heads) {
        return invalid(n, "as many sinks as heads were expected");
    }
    n->attention.sink = sink ? sink->values : NULL;
    return NULL;
}

// All rows of a batch at once: the parts of a phase are those of the first row, then those of the second, and so on.
struct attend {
    const struct node *n;
    cpu_attention a;
    size_t rows;
    cpu_sequence *s;
    size_t *shared_at; // where each row's part of shared begins
    char *shared, *local;
    size_t local_bytes;
};

enum phase { APPEND, ATTEND, FINISH };

static size_t phase_parts(const struct attend *t, enum phase p, size_t row) {
    const cpu_sequence *s = &t->s[row];
    return p == APPEND ? cpu_append_parts(&t->a, s) : p == ATTEND ? cpu_attend_parts(&t->a, s) : cpu_attend_finish_parts(&t->a, s);
}

static size_t row_of(const struct attend *t, enum phase p, size_t *part) {
    size_t row = 0;
    for (size_t n; *part >= (n = phase_parts(t, p, row)); row++) {
        *part -= n;
    }
    return row;
}

static void append_part(void *arg, size_t part, size_t worker) {
    (void)worker;
    struct attend *t = arg;
    size_t row = row_of(t, APPEND, &part);
    cpu_append(&t->a, &t->s[row], part);
}

static void attend_part(void *arg, size_t part, size_t worker) {
    struct attend *t = arg;
    size_t row = row_of(t, ATTEND, &part);
    cpu_attend(&t->a, &t->s[row], part, t->shared + t->shared_at[row], t->local + worker * t->local_bytes);
}

static void finish_part(void *arg, size_t part, size_t worker) {
    (void)worker;
    struct attend *t = arg;
    size_t row = row_of(t, FINISH, &part);
    cpu_attend_finish(&t->a, &t->s[row], part, t->shared + t->shared_at[row]);
}

static OrtStatus *run_phase(struct attend *t, const OrtKernelContext *context, enum phase p, void (*part)(void *, size_t, size_t)) {
    size_t parts = 0;
    for (size_t i = 0; i < t->rows; i++) {
        parts += phase_parts(t, p, i);
    }
    size_t floats = t->rows * t->s[0].length * t->a.kv_heads * t->a.head_dim;
    if (p != ATTEND && floats <= 8192) { // less than waking a thread takes
        for (size_t i = 0; i < parts; i++) {
            part(t, i, 0);
        }
        return NULL;
    }
    return parts ? run_parts(t->n, context, parts, part, t) : NULL;
}

static size_t up(size_t n) { return (n + 63) & ~(size_t)63; }

static OrtStatus *attend(struct attend *t, const OrtKernelContext *context) {
    size_t shared = 0;
    for (size_t i = 0; i < t->rows; i++) {
        size_t local = up(cpu_attend_local(&t->a, &t->s[i]));
        t->local_bytes = local > t->local_bytes ? local : t->local_bytes;
        t->shared_at[i] = shared;
        shared += up(cpu_attend_scratch(&t->a, &t->s[i]));
    }
    t->shared = room(&t->n->graph->scratch, shared + t->local_bytes * t->n->graph->threads + 1);
    if (!t->shared) {
        return t->n->api->CreateStatus(ORT_FAIL, "no memory for attention");
    }
    t->local = t->shared + shared;
    OrtStatus *s = run_phase(t, context, APPEND, append_part);
    if (!s) {
        s = run_phase(t, context, ATTEND, attend_part);
    }
    return s ? s : run_phase(t, context, FINISH, finish_part);
}

// The tensors of one call.
struct tensors {
    struct shape q, k, v, past, value, lengths;
    const float *query, *key, *values;
    const void *past_key, *past_value;
    const int32_t *last; // (batch): length of each row with the new tokens, less one
    float *y;
};

static OrtStatus *read_tensors(const struct node *n, OrtKernelContext *context, struct tensors *t) {
    OrtStatus *s = read_input(n, context, 0, &t->q, (const void **)&t->query);
    if (s || (s = read_input(n, context, 1, &t->k, (const void **)&t->key)) || (s = read_input(n, context, 2, &t->v, (const void **)&t->values)) ||
        (s = read_input(n, context, 3, &t->past, &t->past_key)) || (s = read_input(n, context, 4, &t->value, &t->past_value)) ||
        (s = read_input(n, context, 5, &t->lengths, (const void **)&t->last))) {
        return s;
    }
    const cpu_attention *a = &n->attention;
    size_t heads = a->heads + (t->key ? 0 : 2 * (size_t)a->kv_heads);
    if (t->q.rank < 3 || t->past.rank != 4 || t->value.rank != 4 || !t->key != !t->values) {
        return invalid(n, "a query of three dimensions and a cache of four were expected");
    }
    int64_t row = t->q.rank == 4 ? t->q.dims[2] * t->q.dims[3] : t->q.dims[2];
    if (row != (int64_t)(heads * a->head_dim) || t->past.dims[1] != a->kv_heads || t->past.dims[3] != a->head_dim ||
        t->past.dims[0] != t->q.dims[0] || t->lengths.rank < 1 || t->lengths.dims[0] != t->q.dims[0]) {
        return invalid(n, "the sizes of query, cache and lengths do not fit each other");
    }
    for (int i = 0; i < 4; i++) {
        if (t->past.dims[i] != t->value.dims[i]) {
            return invalid(n, "keys and values of one shape were expected");
        }
    }
    if (t->past.type != t->value.type || (t->past.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && t->past.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)) {
        return invalid(n, "a cache of float32 or float16 was expected");
    }
    void *present_key, *present_value;
    struct shape out = {.dims = {t->q.dims[0], t->q.dims[1], (int64_t)a->heads * a->head_dim}, .rank = 3};
    if ((s = make_output(n, context, 0, &out, (void **)&t->y)) || (s = make_output(n, context, 1, &t->past, &present_key)) ||
        (s = make_output(n, context, 2, &t->past, &present_value))) {
        return s;
    }
    if (present_key != t->past_key || present_value != t->past_value) {
        return invalid(n, "past and present were expected in one buffer");
    }
    return NULL;
}

OrtStatus *attention_compute(struct node *n, OrtKernelContext *context) {
    struct tensors t = {0};
    OrtStatus *status = read_tensors(n, context, &t);
    if (status) {
        return status;
    }
    struct attend w = {.n = n, .a = n->attention, .rows = (size_t)t.q.dims[0]};
    w.a.capacity = (uint32_t)t.past.dims[2];
    w.a.half = t.past.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    size_t length = (size_t)t.q.dims[1], d = w.a.head_dim, kv = w.a.kv_heads * d, hidden = w.a.heads * d;
    size_t stride = t.key ? hidden : hidden + 2 * kv, cache = kv * w.a.capacity * (w.a.half ? 2 : 4);
    if (length == 0 || w.rows == 0) {
        return NULL;
    }
    w.s = room(&n->graph->rows, w.rows * (sizeof *w.s + sizeof *w.shared_at));
    if (!w.s) {
        return n->api->CreateStatus(ORT_FAIL, "no memory for attention");
    }
    w.shared_at = (size_t *)(w.s + w.rows);
    for (size_t b = 0; b < w.rows; b++) {
        int64_t total = (int64_t)t.last[b] + 1;
        if (total < (int64_t)length || total > (int64_t)w.a.capacity || (uint64_t)total > n->positions) {
            return invalid(n, "a row is longer than the cache or the rotary tables, or shorter than what is new");
        }
        const float *q = t.query + b * length * stride;
        w.s[b] = (cpu_sequence){.q = q, .k = t.key ? t.key + b * length * kv : q + hidden, .v = t.key ? t.values + b * length * kv : q + hidden + kv,
            .q_stride = stride, .k_stride = t.key ? kv : stride, .v_stride = t.key ? kv : stride, .length = length, .past = (size_t)total - length,
            .keys = (char *)t.past_key + b * cache, .values = (char *)t.past_value + b * cache, .y = t.y + b * length * hidden};
    }
    return attend(&w, context);
}
