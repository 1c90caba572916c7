// Linear, Gated and Embed.
#include <string.h>

#include "operator.h"

static OrtStatus *read_ints(const struct node *n, const OrtKernelInfo *info, const char *name, int64_t *list, size_t *count) {
    *count = NODE_MATRICES_MAX;
    return n->api->KernelInfoGetAttributeArray_int64(info, name, list, count);
}

// What a node's matrices must have in common, so that the activations are quantised once for all.
static OrtStatus *check_matrices(const struct node *n) {
    for (size_t i = 0; i < n->n; i++) {
        const cpu_matrix *m = n->matrix[i];
        if (n->kind != OP_EMBED && m->bits != 4 && m->bits != 8) {
            return invalid(n, "a matrix that is not quantised to 4 or 8 bits");
        }
        if (m->inputs != n->matrix[0]->inputs || (m->block == 16) != (n->matrix[0]->block == 16)) {
            return invalid(n, "matrices whose inputs or blocks differ");
        }
    }
    if (n->kind == OP_GATED && (n->n != 2 || n->matrix[0]->outputs != n->matrix[1]->outputs)) {
        return invalid(n, "it takes two matrices of one shape");
    }
    return NULL;
}

OrtStatus *linear_read(struct node *n, const OrtKernelInfo *info) {
    int64_t matrices[NODE_MATRICES_MAX], biases[NODE_MATRICES_MAX];
    size_t n_biases = 0, n_targets = 0;
    for (size_t i = 0; i < NODE_MATRICES_MAX; i++) {
        n->target[i] = -1;
    }
    OrtStatus *s = read_ints(n, info, "matrices", matrices, &n->n);
    if (!s && n->kind != OP_EMBED) {
        s = read_ints(n, info, "biases", biases, &n_biases);
    }
    if (!s && n->kind != OP_EMBED) {
        s = read_ints(n, info, "targets", n->target, &n_targets);
    }
    if (s) {
        return s;
    }
    if (n->n == 0 || (n->kind != OP_EMBED && (n_biases != n->n || n_targets != n->n))) {
        return invalid(n, "as many biases and targets as matrices, at least one, were expected");
    }
    for (size_t i = 0; i < n->n; i++) {
        if (matrices[i] < 0 || (size_t)matrices[i] >= n->graph->n_matrices) {
            return invalid(n, "a matrix that is not in the table");
        }
        n->matrix[i] = &n->graph->matrices[matrices[i]];
        if (n->kind == OP_EMBED || biases[i] < 0) {
            continue;
        }
        if ((size_t)biases[i] >= n->graph->n_floats || n->graph->floats[biases[i]].n != n->matrix[i]->outputs) {
            return invalid(n, "a bias that is not in the table, or of another length");
        }
        n->bias[i] = n->graph->floats[biases[i]].values;
    }
    n->activation = (int)read_int(n, info, "activation", 0);
    return check_matrices(n);
}

enum { SUM_ROWS = 8 }; // so few that what adapters add to all of a worker's range is added up before

struct linear {
    const struct node *n;
    const float *x;
    float *y[NODE_MATRICES_MAX];
    int8_t *q;
    float *scale;
    int32_t *sum;
    cpu_activations a;
    struct lora lora;
    size_t parts;             // of the product
    float *sums;              // (workers, held, part_floats): what adapters add to parts, bias and all
    size_t held, part_floats; // parts of each worker, and their sizes
    size_t row_blocks, rows_each;             // of a product
    size_t tiles_each, first[NODE_MATRICES_MAX + 1]; // first part of each matrix
};

static void quantise_rows(void *arg, size_t part, size_t worker) {
    (void)worker;
    struct linear *l = arg;
    size_t k = l->a.inputs, units = k / l->a.unit, end = (part + 1) * QUANTISE_ROWS;
    for (size_t r = part * QUANTISE_ROWS; r < end && r < l->a.rows; r++) {
        cpu_quantise(l->x + r * k, k, l->a.unit, l->q + r * k, l->scale + r * units, l->sum + r * units);
    }
}

// Some tiles of one matrix, or of gate and up, by a block of rows.
struct piece {
    size_t matrix, tile, tiles, row, rows;
};

static struct piece piece_of(const struct linear *l, size_t part) {
    const struct node *n = l->n;
    size_t per_block = l->first[n->kind == OP_GATED ? 1 : n->n], at = part % per_block, row = part / per_block * l->rows_each, i = 0;
    while (at >= l->first[i + 1]) {
        i++;
    }
    size_t all = (n->matrix[i]->outputs + 15) / 16, tile = (at - l->first[i]) * l->tiles_each;
    return (struct piece){i, tile, all - tile < l->tiles_each ? all - tile : l->tiles_each, row, l->a.rows - row < l->rows_each ? l->a.rows - row : l->rows_each};
}

// What adapters add to a part, one matrix after the other, in memory of the worker: lines that another core wrote are slow to come.
static void add_up(struct linear *l, size_t part, float *sums) {
    struct piece p = piece_of(l, part);
    size_t count = l->n->kind == OP_GATED ? 2 : 1;
    for (size_t k = 0; k < count; k++, sums += l->part_floats / count) {
        const cpu_addends *plus = &l->lora.plus[p.matrix + k];
        if (plus->n > 0) {
            cpu_sums(plus, p.tile, p.tiles, p.row, p.rows, l->n->bias[p.matrix + k], l->n->matrix[p.matrix + k]->outputs, sums);
        }
    }
}

// The sums of a part. Where they all can be held, a worker adds up those of its range with the first of it: B lies elsewhere in memory than the
// weights, and reading here and there takes longer than one after the other.
static const float *sums_of(struct linear *l, size_t part, size_t worker) {
    size_t workers = workers_of(l->n->graph, l->parts);
    struct span own = span_of(l->parts, workers, worker);
    float *sums = l->sums + worker * l->held * l->part_floats, *last = sums + (l->held - 1) * l->part_floats;
    if (l->held == 1 || part < own.from || part >= own.to) {
        add_up(l, part, last);
        return last;
    }
    for (size_t i = own.from; part == own.from && i < own.to; i++) {
        add_up(l, i, sums + (i - own.from) * l->part_floats);
    }
    return sums + (part - own.from) * l->part_floats;
}

// One part is a block of rows by a few tiles of one matrix. Parts that follow each other share their rows.
static void multiply(void *arg, size_t part, size_t worker) {
    struct linear *l = arg;
    const struct node *n = l->n;
    struct piece p = piece_of(l, part);
    const cpu_matrix *m = n->matrix[p.matrix];
    const float *sums[2] = {NULL};
    if (l->lora.parts > 0) {
        lora_ready(&l->lora, worker);
        const float *of = sums_of(l, part, worker);
        sums[0] = l->lora.plus[p.matrix].n > 0 ? of : NULL;
        sums[1] = n->kind == OP_GATED && l->lora.plus[1].n > 0 ? of + l->part_floats / 2 : NULL;
    }
    if (n->kind == OP_GATED) {
        cpu_gated(m, n->matrix[1], n->activation, p.tile, p.tiles, &l->a, p.row, p.rows, n->bias[0], n->bias[1], sums[0], sums[1], l->y[0], m->outputs);
    } else {
        cpu_linear(m, p.tile, p.tiles, &l->a, p.row, p.rows, n->bias[p.matrix], sums[0], l->y[p.matrix], m->outputs);
    }
}

// Cuts the work so that a part is long beside the cost of taking it, and short beside the whole.
static size_t cut(struct linear *l) {
    enum { rows_most = 128, part_bytes = 48 << 10, part_products = 2 << 20 };
    const struct node *n = l->n;
    size_t k = l->a.inputs, rows = l->a.rows;
    l->row_blocks = (rows + rows_most - 1) / rows_most;
    l->rows_each = (rows + l->row_blocks - 1) / l->row_blocks;
    l->row_blocks = (rows + l->rows_each - 1) / l->rows_each;
    size_t by_bytes = part_bytes / cpu_tile_bytes(n->matrix[0]), by_products = part_products / (16 * k * l->rows_each);
    l->tiles_each = by_bytes < by_products ? by_bytes : by_products;
    if (l->tiles_each < 1) {
        l->tiles_each = 1;
    }
    l->first[0] = 0;
    size_t lists = n->kind == OP_GATED ? 1 : n->n;
    for (size_t i = 0; i < lists; i++) {
        size_t tiles = (n->matrix[i]->outputs + 15) / 16;
        l->first[i + 1] = l->first[i] + (tiles + l->tiles_each - 1) / l->tiles_each;
    }
    return l->first[lists] * l->row_blocks;
}

OrtStatus *linear_compute(struct node *n, OrtKernelContext *context) {
    struct linear l = {.n = n};
    struct shape s;
    OrtStatus *status = read_input(n, context, 0, &s, (const void **)&l.x);
    if (status) {
        return status;
    }
    size_t k = n->matrix[0]->inputs, rows = 1, unit = n->matrix[0]->block == 16 ? 16 : 32, units = k / unit;
    if (s.rank < 1 || s.dims[s.rank - 1] != (int64_t)k) {
        return invalid(n, "the input's last dimension is not the matrix's number of inputs");
    }
    for (size_t i = 0; i + 1 < s.rank; i++) {
        rows *= (size_t)s.dims[i];
    }
    for (size_t i = 0; i < (n->kind == OP_GATED ? 1 : n->n); i++) {
        s.dims[s.rank - 1] = n->matrix[i]->outputs;
        if ((status = make_output(n, context, i, &s, (void **)&l.y[i]))) {
            return status;
        }
    }
    if (rows == 0) {
        return NULL;
    }
    size_t q_bytes = (rows * k + 127) & ~(size_t)63; // kernels may read a few bytes past the last row
    char *scratch = room(&n->graph->scratch, q_bytes + rows * units * 8);
    if (!scratch) {
        return n->api->CreateStatus(ORT_FAIL, "no memory for quantised activations");
    }
    l.q = (int8_t *)scratch;
    l.scale = (float *)(scratch + q_bytes);
    l.sum = (int32_t *)(l.scale + rows * units);
    l.a = (cpu_activations){.q = l.q, .scale = l.scale, .sum = l.sum, .rows = rows, .inputs = k, .unit = unit};
    size_t parts = (rows + QUANTISE_ROWS - 1) / QUANTISE_ROWS;
    if (rows <= QUANTISE_ROWS) {
        quantise_rows(&l, 0, 0);
    } else if ((status = run_parts(n, context, parts, quantise_rows, &l))) {
        return status;
    }
    size_t outputs[NODE_MATRICES_MAX];
    for (size_t i = 0; i < n->n; i++) {
        outputs[i] = n->matrix[i]->outputs;
    }
    if ((status = lora_prepare(n, &l.a, NULL, k, outputs, rows, &l.lora))) {
        return status;
    }
    l.parts = cut(&l);
    if (l.lora.parts > 0) {
        size_t workers = workers_of(n->graph, l.parts);
        l.held = rows <= SUM_ROWS ? (l.parts + workers - 1) / workers + 1 : 1; // one more for parts of others
        l.part_floats = l.tiles_each * l.rows_each * CPU_TILE * (n->kind == OP_GATED ? 2 : 1);
        l.sums = room(&n->graph->sums, workers * l.held * l.part_floats * sizeof(float));
        if (!l.sums) {
            return n->api->CreateStatus(ORT_FAIL, "no memory for what adapters add");
        }
    }
    return run_parts(n, context, l.parts, multiply, &l);
}

struct embed {
    const struct node *n;
    const int64_t *ids;
    size_t rows;
    float *y;
};

static void embed_rows(void *arg, size_t part, size_t worker) {
    (void)worker;
    struct embed *e = arg;
    const cpu_matrix *m = e->n->matrix[0];
    for (size_t r = part * EMBED_ROWS; r < (part + 1) * EMBED_ROWS && r < e->rows; r++) {
        float *y = e->y + r * m->inputs;
        if (m->bits == 32) {
            memcpy(y, m->tiles + (size_t)e->ids[r] * m->inputs * sizeof *y, m->inputs * sizeof *y);
        } else {
            cpu_unpack(m, (size_t)e->ids[r], y);
        }
    }
}

OrtStatus *embed_compute(struct node *n, OrtKernelContext *context) {
    struct embed e = {.n = n, .rows = 1};
    struct shape s;
    OrtStatus *status = read_input(n, context, 0, &s, (const void **)&e.ids);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < s.rank; i++) {
        e.rows *= (size_t)s.dims[i];
    }
    for (size_t r = 0; r < e.rows; r++) {
        if (e.ids[r] < 0 || e.ids[r] >= (int64_t)n->matrix[0]->outputs) {
            return invalid(n, "a token that is not in the vocabulary");
        }
    }
    if (s.rank == SHAPE_RANK_MAX) {
        return invalid(n, "too many dimensions");
    }
    s.dims[s.rank++] = n->matrix[0]->inputs;
    if ((status = make_output(n, context, 0, &s, (void **)&e.y)) || e.rows == 0) {
        return status;
    }
    return run_parts(n, context, (e.rows + EMBED_ROWS - 1) / EMBED_ROWS, embed_rows, &e);
}
