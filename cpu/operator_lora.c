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

// How many addends a node has, and how many bytes their t take where each has so many rows.
static void count(const struct node *n, size_t rows, size_t *addends, size_t *bytes) {
    const cpu_use *uses = n->graph->uses.at;
    *addends = *bytes = 0;
    for (size_t m = 0; m < n->n; m++) {
        for (size_t u = 0; u < n->graph->ends[n->graph->lists - 1]; u++) {
            size_t of;
            const cpu_addition *p = additions_of(&uses[u], n->target[m], &of);
            for (size_t i = 0; i < of; i++) {
                cpu_addend e = cpu_addend_of(&p[i], 0, rows, 1);
                ++*addends;
                *bytes += cpu_addend_bytes(&e);
            }
        }
    }
}

// One part of t is a group of ranks of one addend by a block of rows.
static void down(const struct lora *l, size_t part) {
    const cpu_addend *e = l->list;
    for (size_t parts; part >= (parts = e->groups * l->row_blocks); e++) {
        part -= parts;
    }
    size_t row = part % l->row_blocks * DOWN_ROWS, rows = e->to - e->from - row, group = part / l->row_blocks;
    rows = rows < DOWN_ROWS ? rows : DOWN_ROWS;
    if (l->a) {
        cpu_addend_down(e, group, l->a, row, rows);
    } else {
        cpu_addend_down_wide(e, group, l->x, row, rows);
    }
}

// Whether all parts of t are there.
static bool complete(const struct lora *l) {
    size_t done = 0;
    for (size_t w = 0; w < l->workers; w++) {
        done += atomic_load_explicit(&l->ranges[w].done, memory_order_acquire);
    }
    return done >= l->parts;
}

void lora_ready(struct lora *l, size_t worker) {
    if (complete(l)) {
        return;
    }
    for (size_t i; (i = next_part(l->ranges, l->workers, worker)) != SIZE_MAX;) {
        down(l, i);
        atomic_fetch_add_explicit(&l->ranges[worker].done, 1, memory_order_release);
    }
    for (size_t spins = 0; !complete(l); spins++) { // who took the last part is at it
        if (spins >= SPINS_MAX) {
            sched_yield();
        }
    }
}

OrtStatus *lora_prepare(const struct node *n, const cpu_activations *a, const float *x, size_t inputs, const size_t *outputs, size_t rows, struct lora *l) {
    cpu_graph *g = n->graph;
    memset(l->plus, 0, n->n * sizeof *l->plus);
    l->parts = 0;
    if (g->lists == 0 || rows == 0) {
        return NULL;
    }
    if (rows % g->lists) {
        return invalid(n, "the rows cannot be shared among the lists of adapters");
    }
    size_t n_addends, bytes, rows_each = rows / g->lists;
    count(n, rows_each, &n_addends, &bytes);
    if (n_addends == 0) {
        return NULL;
    }
    size_t head = (n_addends * sizeof(cpu_addend) + 63) & ~(size_t)63;
    char *memory = room(&g->addends, head + bytes);
    if (!memory) {
        return n->api->CreateStatus(ORT_FAIL, "no memory for what adapters add");
    }
    char *t = memory + head;
    l->list = (const cpu_addend *)memory;
    l->a = a;
    l->x = x;
    l->row_blocks = (rows_each + DOWN_ROWS - 1) / DOWN_ROWS;
    cpu_addend *e = (cpu_addend *)memory;
    const cpu_use *uses = g->uses.at;
    for (size_t m = 0; m < n->n; m++) {
        const cpu_addend *first = e;
        for (size_t list = 0, u = 0; list < g->lists; list++) {
            for (; u < g->ends[list]; u++) {
                size_t of;
                const cpu_addition *p = additions_of(&uses[u], n->target[m], &of);
                for (size_t i = 0; i < of; i++, p++, e++) {
                    if (p->inputs != inputs || p->first + (size_t)p->outputs > outputs[m] || p->narrow != (a != NULL)) {
                        return invalid(n, "an adapter's matrices do not fit it");
                    }
                    *e = cpu_addend_of(p, list * rows_each, (list + 1) * rows_each, uses[u].scale);
                    e->t = t;
                    t += cpu_addend_bytes(e);
                    l->parts += e->groups * l->row_blocks;
                }
            }
        }
        l->plus[m] = (cpu_addends){.list = first, .n = (size_t)(e - first)};
    }
    if (l->parts > UINT32_MAX) {
        return invalid(n, "too many rows and ranks of adapters");
    }
    l->workers = g->threads;
    l->ranges = g->downs;
    share_parts(l->ranges, l->workers, l->parts);
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
    struct up *u = arg;
    lora_ready(&u->lora, worker);
    size_t all = (u->outputs + CPU_TILE - 1) / CPU_TILE, tile = part % u->tile_blocks * UP_TILES, tiles = all - tile < UP_TILES ? all - tile : UP_TILES;
    size_t row = part / u->tile_blocks * UP_ROWS, rows = u->rows - row < UP_ROWS ? u->rows - row : UP_ROWS;
    float sums[UP_TILES * UP_ROWS * CPU_TILE], *y = u->y + row * u->outputs;
    cpu_sums(&u->lora.plus[0], tile, tiles, row, rows, NULL, u->outputs, sums);
    for (size_t r = 0; r < rows; r++, y += u->outputs) {
        for (size_t n = tile * CPU_TILE; n < (tile + tiles) * CPU_TILE && n < u->outputs; n++) {
            y[n] += sums[((n / CPU_TILE - tile) * rows + r) * CPU_TILE + n % CPU_TILE];
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
    if ((status = lora_prepare(n, NULL, x, (size_t)sx.dims[sx.rank - 1], &u.outputs, u.rows, &u.lora)) || u.lora.parts == 0) {
        return status;
    }
    u.tile_blocks = (u.outputs + CPU_TILE * UP_TILES - 1) / (CPU_TILE * UP_TILES);
    return run_parts(n, context, u.tile_blocks * ((u.rows + UP_ROWS - 1) / UP_ROWS), up, &u);
}
