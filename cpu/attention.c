// Attention: which queries meet which keys in which order. The arithmetic is in the rungs.
#include "attention_kernels.h"

#include <string.h>

#define PART_ROWS 126 // rows of a part: enough to make packing the keys cheap, few enough for their states to stay in cache
#define SPLIT 16      // tokens up to which the keys are split: more of them give parts enough, and would take much scratch
#define STREAM 32     // keys whose values are added before those of the next ones
#define APPEND 32     // tokens that one part appends

static size_t least(size_t a, size_t b) { return a < b ? a : b; }
static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t group_of(const cpu_attention *a) { return a->heads / a->kv_heads; }

static size_t tokens_of(const cpu_attention *a) { return most(1, PART_ROWS / group_of(a)); }

// The first key that a query at a position sees.
static size_t first_key(const cpu_attention *a, size_t position) {
    size_t window = (size_t)(a->window < 0 ? 0 : a->window);
    return a->window < 0 || position + 1 <= window ? 0 : position + 1 - window;
}

static const struct cpu_attention_rung *rung_of(const cpu_attention *a) {
    return a->head_dim % 8 ? &cpu_attention_plain : cpu_attention_in_use();
}

static size_t first_block(const cpu_attention *a, const cpu_sequence *s) { return first_key(a, s->past) / KEYS; }

static size_t blocks_of(const cpu_attention *a, const cpu_sequence *s) {
    return (s->past + s->length + KEYS - 1) / KEYS - first_block(a, s);
}

// Whether parts are blocks of keys: where there are few queries and several blocks.
static bool splits(const cpu_attention *a, const cpu_sequence *s) {
    return s->length > 0 && s->length <= least(SPLIT, tokens_of(a)) && blocks_of(a, s) > 1;
}

// The place of an element of the cache.
static size_t place(const cpu_attention *a, size_t head, size_t position) {
    return (head * a->capacity + position) * a->head_dim;
}

size_t cpu_append_parts(const cpu_attention *a, const cpu_sequence *s) {
    (void)a;
    return (s->length + APPEND - 1) / APPEND;
}

void cpu_append(const cpu_attention *a, const cpu_sequence *s, size_t part) {
    const struct cpu_attention_rung *rung = rung_of(a);
    const size_t dim = a->head_dim, end = least(s->length, (part + 1) * APPEND);
    for (size_t t = part * APPEND; t < end; t++) {
        for (size_t head = 0; head < a->kv_heads; head++) {
            const float *k = s->k + t * s->k_stride + head * dim, *v = s->v + t * s->v_stride + head * dim;
            const size_t at = place(a, head, s->past + t);
            if (a->half) {
                float rotated[CPU_ATTENTION_DIM];
                rung->rotate(a, k, s->past + t, 1, rotated);
                rung->narrow(rotated, dim, (uint16_t *)s->keys + at);
                rung->narrow(v, dim, (uint16_t *)s->values + at);
            } else {
                rung->rotate(a, k, s->past + t, 1, (float *)s->keys + at);
                memcpy((float *)s->values + at, v, dim * sizeof *v);
            }
        }
    }
}

size_t cpu_attend_parts(const cpu_attention *a, const cpu_sequence *s) {
    size_t tokens = tokens_of(a);
    return a->kv_heads * (splits(a, s) ? blocks_of(a, s) : (s->length + tokens - 1) / tokens);
}

size_t cpu_attend_scratch(const cpu_attention *a, const cpu_sequence *s) {
    size_t rows = a->heads * s->length * blocks_of(a, s);
    return splits(a, s) ? rows * row_floats(a->head_dim) * sizeof(float) : 0;
}

// One part: the queries of some tokens against the keys of one head, and where it keeps what.
struct part {
    const cpu_attention *a;
    const cpu_sequence *s;
    const struct cpu_attention_rung *rung;
    size_t head, token, rows;
    float *q;      // (tiles, dim, rung's rows)
    float *packed; // keys of a block
    float *wide;   // values of a block, where the cache is narrower and there are several tiles; else NULL
    float *scores; // (TILE_ROWS, KEYS)
    float *block;  // (TILE_ROWS) rows
    float *states; // (rows) rows
};

// Where in local everything lies. Returns how many floats that is, on the rung that needs the most.
static size_t lay_out(struct part *p, size_t rows, float *local) {
    const size_t dim = p->a->head_dim;
    const bool wide = p->a->half && rows > p->rung->rows;
    const size_t packed = (rows + TILE_ROWS) * dim, scores = packed + KEYS * dim * (p->a->half ? 2 : 1);
    const size_t block = scores + TILE_ROWS * KEYS, states = block + TILE_ROWS * row_floats(dim);
    if (local) {
        p->q = local;
        p->packed = local + packed;
        p->wide = wide ? p->packed + KEYS * dim : NULL;
        p->scores = local + scores;
        p->block = local + block;
        p->states = local + states;
    }
    return states + rows * row_floats(dim);
}

size_t cpu_attend_local(const cpu_attention *a, const cpu_sequence *s) {
    struct part p = {.a = a, .s = s, .rung = rung_of(a)};
    return lay_out(&p, least(s->length, tokens_of(a)) * group_of(a), NULL) * sizeof(float);
}

static const float *query(const struct part *p, size_t row) {
    const size_t group = group_of(p->a), head = p->head * group + row % group;
    return p->s->q + (p->token + row / group) * p->s->q_stride + head * p->a->head_dim;
}

// Rotates the part's queries and lays them out in tiles.
static void load_queries(struct part *p) {
    const cpu_attention *a = p->a;
    const size_t dim = a->head_dim, group = group_of(a), tile = p->rung->rows;
    const float factor = a->softcap > 0 ? a->scale / a->softcap : a->scale * LOG2E;
    for (size_t r = 0; r < p->rows; r++) {
        const size_t token = p->token + r / group;
        const float *x = query(p, r);
        for (size_t i = 0; r + 4 < p->rows && i < dim; i += 16) {
            __builtin_prefetch(query(p, r + 4) + i);
        }
        float rotated[CPU_ATTENTION_DIM], *to = p->q + r / tile * tile * dim + r % tile;
        p->rung->rotate(a, x, p->s->past + token, factor, rotated);
        for (size_t i = 0; i < dim; i++) {
            to[i * tile] = rotated[i];
        }
    }
}

static void empty(float *row, size_t dim) {
    memset(row, 0, row_floats(dim) * sizeof *row);
    *row_top(row, dim) = NO_SCORE;
}

// The keys of a block that a row sees: from <= i < to, counted from the block's first.
struct span {
    size_t from, to;
};

static struct span span_of(const struct part *p, size_t row, size_t block) {
    const size_t start = block * KEYS, position = p->s->past + p->token + row / group_of(p->a);
    const size_t from = most(first_key(p->a, position), start), to = least(position + 1, start + KEYS);
    return from < to ? (struct span){from - start, to - start} : (struct span){0, 0};
}

// A block of keys, of which the part sees n.
struct block {
    size_t n;
    const char *keys, *values; // in the cache
};

// The scores of the part's first tile. Each panel of keys is packed right before, and the one after the next is on its way.
static void first_scores(const struct part *p, const struct block *b, struct span any, size_t rows) {
    const size_t dim = p->a->head_dim, panel = p->rung->panel, bytes = panel * dim * (p->a->half ? 2 : 4);
    for (size_t i = any.from / panel; i * panel < b->n; i++) {
        const size_t n = least(panel, b->n - i * panel);
        float *packed = p->packed + i * panel * dim;
        p->rung->pack(b->keys + i * bytes, p->a->half, n, dim, packed);
        if (i * panel < any.to) {
            p->rung->scores(p->q, rows, dim, packed, 0, n, p->scores + i * panel, b->keys + (i + 2) * bytes);
        }
    }
}

// The states of a tile's rows over one block of keys, out of their scores. A row adds only the values of keys that it sees, because
// a weight of 0 does not hide a NaN; the rows of a tile see almost the same keys, so that most are added for all rows at once.
static void attend_tile(const struct part *p, const struct block *b, const struct span *span, size_t rows, float *states) {
    const size_t dim = p->a->head_dim, stride = row_floats(dim);
    const bool half = p->a->half && !p->wide;
    const void *values = p->wide ? (const char *)p->wide : b->values;
    const float cap = p->a->softcap > 0 ? p->a->softcap * LOG2E : 0;
    struct span all = {0, KEYS};
    for (size_t r = 0; r < rows; r++) {
        all = (struct span){most(all.from, span[r].from), least(all.to, span[r].to)};
    }
    for (size_t r = 0; r < rows; r++) {
        float *state = states + r * stride;
        empty(state, dim);
        if (span[r].from < span[r].to) {
            p->rung->weigh(p->scores + r * KEYS, span[r].from, span[r].to, cap, row_sum(state, dim), row_top(state, dim));
            size_t to = all.from < all.to ? all.from : span[r].to;
            p->rung->mix(p->scores + r * KEYS, 1, span[r].from, to, values, half, dim, state);
        }
    }
    if (all.from < all.to) {
        // Where the values come from memory: a few keys at a time, so that wide heads do not fetch them column by column.
        const size_t step = p->rows <= p->rung->rows ? STREAM : KEYS;
        for (size_t i = all.from, next; i < all.to; i = next) {
            next = least(all.to, i + step);
            p->rung->mix(p->scores, rows, i, next, values, half, dim, states);
        }
        for (size_t r = 0; r < rows; r++) {
            p->rung->mix(p->scores + r * KEYS, 1, all.to, span[r].to, values, half, dim, states + r * stride);
        }
    }
}

// Adds a tile's states over one block to the part's.
static void merge_tile(const struct part *p, const struct span *span, size_t row, size_t rows) {
    const size_t dim = p->a->head_dim, stride = row_floats(dim);
    for (size_t r = 0; r < rows; r++) {
        if (span[r].from < span[r].to) {
            p->rung->merge(p->states + (row + r) * stride, p->block + r * stride, dim);
        }
    }
}

// All tiles of the part against one block. The block's states go to each, or are merged into the part's where that is NULL.
static void attend_block(const struct part *p, size_t block, float *each) {
    const size_t dim = p->a->head_dim, start = block * KEYS;
    const size_t end = least(start + KEYS, p->s->past + p->token + (p->rows - 1) / group_of(p->a) + 1);
    const size_t at = place(p->a, p->head, start) * (p->a->half ? 2 : 4);
    const struct block b = {end - start, (const char *)p->s->keys + at, (const char *)p->s->values + at};
    if (p->wide) {
        p->rung->widen((const uint16_t *)b.values, b.n * dim, p->wide);
    }
    for (size_t row = 0; row < p->rows; row += p->rung->rows) {
        const size_t rows = least(p->rung->rows, p->rows - row);
        struct span span[TILE_ROWS], any = {0, 0};
        for (size_t r = 0; r < rows; r++) {
            span[r] = span_of(p, row + r, block);
            if (span[r].from < span[r].to) {
                any = (struct span){any.to ? least(any.from, span[r].from) : span[r].from, most(any.to, span[r].to)};
            }
        }
        if (row == 0) {
            first_scores(p, &b, any, rows);
        } else if (any.to) {
            const char *near = (const char *)(p->packed + p->rung->panel * dim);
            p->rung->scores(p->q + row * dim, rows, dim, p->packed, any.from, any.to, p->scores, near);
        }
        if (each) {
            attend_tile(p, &b, span, rows, each + row * row_floats(dim));
        } else if (any.to) {
            attend_tile(p, &b, span, rows, p->block);
            merge_tile(p, span, row, rows);
        }
    }
}

// A row's output, out of its state.
static void finish(const struct part *p, size_t row, float *state) {
    const size_t dim = p->a->head_dim, group = group_of(p->a);
    const size_t token = p->token + row / group, head = p->head * group + row % group;
    p->rung->finish(state, p->a->sink ? p->a->sink + head : NULL, dim, p->s->y + (token * p->a->heads + head) * dim);
}

void cpu_attend(const cpu_attention *a, const cpu_sequence *s, size_t part, void *scratch, void *local) {
    const bool split = splits(a, s);
    const size_t tokens = tokens_of(a), dim = a->head_dim, at = part / a->kv_heads;
    struct part p = {.a = a, .s = s, .rung = rung_of(a), .head = part % a->kv_heads};
    if (!split) { // the last tokens have the most keys, and come first
        p.token = ((s->length + tokens - 1) / tokens - 1 - at) * tokens;
    }
    p.rows = least(tokens, s->length - p.token) * group_of(a);
    lay_out(&p, p.rows, local);
    load_queries(&p);
    if (split) {
        float *each = (float *)scratch + (p.head * blocks_of(a, s) + at) * p.rows * row_floats(dim);
        attend_block(&p, first_block(a, s) + at, each);
        return;
    }
    for (size_t r = 0; r < p.rows; r++) {
        empty(p.states + r * row_floats(dim), dim);
    }
    const size_t last = s->past + p.token + (p.rows - 1) / group_of(a);
    for (size_t block = first_key(a, s->past + p.token) / KEYS; block <= last / KEYS; block++) {
        attend_block(&p, block, NULL);
    }
    for (size_t r = 0; r < p.rows; r++) {
        finish(&p, r, p.states + r * row_floats(dim));
    }
}

size_t cpu_attend_finish_parts(const cpu_attention *a, const cpu_sequence *s) { return splits(a, s) ? s->length : 0; }

// One token.
void cpu_attend_finish(const cpu_attention *a, const cpu_sequence *s, size_t part, const void *scratch) {
    const size_t dim = a->head_dim, stride = row_floats(dim), group = group_of(a), blocks = blocks_of(a, s);
    struct part p = {.a = a, .s = s, .rung = rung_of(a), .rows = s->length * group};
    for (p.head = 0; p.head < a->kv_heads; p.head++) {
        for (size_t row = part * group; row < (part + 1) * group; row++) {
            float state[CPU_ATTENTION_DIM + ROW_EXTRA];
            empty(state, dim);
            for (size_t block = 0; block < blocks; block++) {
                const struct span span = span_of(&p, row, first_block(a, s) + block);
                if (span.from < span.to) {
                    const float *each = (const float *)scratch + ((p.head * blocks + block) * p.rows + row) * stride;
                    p.rung->merge(state, each, dim);
                }
            }
            finish(&p, row, state);
        }
    }
}
