// What adapters add: for Linear and Gated inside of them, for products that stay with the runtime by an operator behind these.
//
//   Lora       x (..., inputs), y (..., outputs) -> y, in its place where the runtime allows it; target: int
#include <sched.h>
#include <string.h>

#include "operator.h"

enum { DOWN_ROWS = 64, UP_ROWS = 16, UP_TILES = 8 }; // of one part
enum { SPINS_MAX = 1000 };

bool cpu_graph_use(cpu_graph *g, const cpu_use *uses, const size_t *ends, size_t lists) {
    g->lists = 0;
    if (lists == 0) {
        return true;
    }
    size_t n = ends[lists - 1], bytes = n * sizeof *uses;
    char *at = room(&g->uses, bytes + lists * sizeof *ends);
    if (!at) {
        return false;
    }
    memcpy(at, uses, bytes);
    memcpy(at + bytes, ends, lists * sizeof *ends);
    g->ends = (const size_t *)(at + bytes);
    g->lists = n > 0 ? lists : 0;
    return true;
}

// The additions of one use to one target.
static const cpu_addition *additions_of(const cpu_use *u, int64_t target, size_t *n) {
    const cpu_adapter *a = u->adapter;
    if (target < 0 || (size_t)target >= a->targets) {
        *n = 0;
        return NULL;
    }
    *n = a->first[target + 1] - a->first[target];
    return a->additions + a->first[target];
}

static size_t ranks_of(const cpu_addition *p) { return (p->rank + CPU_RANKS - 1) / CPU_RANKS * CPU_RANKS; }

// How many addends a node has, and how many floats their t take for each row.
static void count(const struct node *n, size_t *addends, size_t *floats) {
    const cpu_use *uses = n->graph->uses.at;
    *addends = *floats = 0;
    for (size_t m = 0; m < n->n; m++) {
        for (size_t u = 0; u < n->graph->ends[n->graph->lists - 1]; u++) {
            size_t of;
            const cpu_addition *p = additions_of(&uses[u], n->target[m], &of);
            for (size_t i = 0; i < of; i++) {
                ++*addends;
                *floats += ranks_of(&p[i]);
            }
        }
    }
}

// One part of t is a group of ranks of one addend by a block of rows.
static void down(const struct lora *l, size_t part) {
    const cpu_addend *e = l->list;
    for (size_t parts; part >= (parts = e->ranks / CPU_RANKS * l->row_blocks); e++) {
        part -= parts;
    }
    size_t row = part % l->row_blocks * DOWN_ROWS, rows = e->to - e->from - row;
    cpu_addend_down(e, part / l->row_blocks, l->x + e->from * l->inputs, l->inputs, row, rows < DOWN_ROWS ? rows : DOWN_ROWS);
}

void lora_ready(struct lora *l) {
    struct shared_parts *p = &l->down;
    if (atomic_load_explicit(&p->done, memory_order_acquire) >= p->n) {
        return;
    }
    for (size_t i; (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->n;) {
        down(l, i);
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
    }
    for (size_t spins = 0; atomic_load_explicit(&p->done, memory_order_acquire) < p->n; spins++) { // who took the last part is at it
        if (spins >= SPINS_MAX) {
            sched_yield();
        }
    }
}

OrtStatus *lora_prepare(const struct node *n, const float *x, size_t inputs, const size_t *outputs, size_t rows, struct lora *l) {
    cpu_graph *g = n->graph;
    memset(l->plus, 0, n->n * sizeof *l->plus);
    l->any = false;
    l->node = n;
    l->down.n = 0;
    atomic_init(&l->down.next, 0);
    atomic_init(&l->down.done, 0);
    if (g->lists == 0 || rows == 0) {
        return NULL;
    }
    if (rows % g->lists) {
        return invalid(n, "the rows cannot be shared among the lists of adapters");
    }
    size_t n_addends, floats, rows_each = rows / g->lists;
    count(n, &n_addends, &floats);
    if (n_addends == 0) {
        return NULL;
    }
    size_t head = (n_addends * sizeof(cpu_addend) + 63) & ~(size_t)63;
    char *memory = room(&g->addends, head + floats * rows_each * sizeof(float));
    if (!memory) {
        return n->api->CreateStatus(ORT_FAIL, "no memory for what adapters add");
    }
    cpu_addend *e = (cpu_addend *)memory;
    float *t = (float *)(memory + head);
    const cpu_use *uses = g->uses.at;
    for (size_t m = 0; m < n->n; m++) {
        const cpu_addend *first = e;
        for (size_t list = 0, u = 0; list < g->lists; list++) {
            for (; u < g->ends[list]; u++) {
                size_t of;
                const cpu_addition *p = additions_of(&uses[u], n->target[m], &of);
                for (size_t i = 0; i < of; i++, p++, e++) {
                    if (p->inputs != inputs || p->first + (size_t)p->outputs > outputs[m]) {
                        return invalid(n, "an adapter's matrices do not fit it");
                    }
                    *e = cpu_addend_of(p, list * rows_each, (list + 1) * rows_each, uses[u].scale);
                    e->t = t;
                    t += e->ranks * rows_each;
                }
            }
        }
        l->plus[m] = (cpu_addends){.list = first, .n = (size_t)(e - first), .rows = rows};
    }
    l->list = (const cpu_addend *)memory;
    l->x = x;
    l->inputs = inputs;
    l->row_blocks = (rows_each + DOWN_ROWS - 1) / DOWN_ROWS;
    l->down.n = floats / CPU_RANKS * l->row_blocks;
    l->any = true;
    return NULL;
}

OrtStatus *lora_read(struct node *n, const OrtKernelInfo *info) {
    n->n = 1;
    n->target[0] = read_int(n, info, "target", -1);
    return n->target[0] < 0 ? invalid(n, "it names no target") : NULL;
}

struct up {
    struct lora lora;
    size_t rows, outputs, tile_blocks;
    float *y;
};

static void up(void *arg, size_t part, size_t worker) {
    (void)worker;
    struct up *u = arg;
    lora_ready(&u->lora);
    size_t all = (u->outputs + CPU_TILE - 1) / CPU_TILE, tile = part % u->tile_blocks * UP_TILES, end = tile + UP_TILES < all ? tile + UP_TILES : all;
    size_t row = part / u->tile_blocks * UP_ROWS, rows = u->rows - row < UP_ROWS ? u->rows - row : UP_ROWS;
    for (; tile < end; tile++) {
        float *y = u->y + row * u->outputs + tile * CPU_TILE, sums[UP_ROWS * CPU_TILE];
        tile_addend e = cpu_addends_up(&u->lora.plus[0], tile, row, rows, (tile_addend){NULL, 0}, sums);
        size_t there = u->outputs - tile * CPU_TILE < CPU_TILE ? u->outputs - tile * CPU_TILE : CPU_TILE;
        for (size_t r = 0; r < rows && e.at; r++, y += u->outputs) {
            for (size_t n = 0; n < there; n++) {
                y[n] += sums[r * CPU_TILE + n];
            }
        }
    }
}

OrtStatus *lora_compute(struct node *n, OrtKernelContext *context) {
    struct shape sx, sy;
    const float *x, *from;
    struct up u;
    OrtStatus *status = read_input(n, context, 0, &sx, (const void **)&x);
    if (status || (status = read_input(n, context, 1, &sy, (const void **)&from)) || (status = make_output(n, context, 0, &sy, (void **)&u.y))) {
        return status;
    }
    if (sx.rank < 1 || sy.rank != sx.rank || memcmp(sx.dims, sy.dims, (sx.rank - 1) * sizeof *sx.dims) != 0) {
        return invalid(n, "its inputs have other rows");
    }
    u.rows = 1;
    for (size_t i = 0; i + 1 < sy.rank; i++) {
        u.rows *= (size_t)sy.dims[i];
    }
    u.outputs = (size_t)sy.dims[sy.rank - 1];
    if (u.y != from) {
        memcpy(u.y, from, u.rows * u.outputs * sizeof *from);
    }
    if ((status = lora_prepare(n, x, (size_t)sx.dims[sx.rank - 1], &u.outputs, u.rows, &u.lora)) || !u.lora.any) {
        return status;
    }
    u.tile_blocks = (u.outputs + CPU_TILE * UP_TILES - 1) / (CPU_TILE * UP_TILES);
    return run_parts(n, context, u.tile_blocks * ((u.rows + UP_ROWS - 1) / UP_ROWS), up, &u);
}
