/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow against all keys of a frame, a block of queries at a time:
 *     dz_p = s a_p (g_u (u_p - ū) + g_v (v_p - v̄));   dq = Σ_p dz_p k_p;   dk_p += dz_p q
 * with a = softmax(s q·k), (ū, v̄) the expected place.  dk of a block of keys is added up in the
 * order of the queries: a task waits for its turn, as in attention's backward.
 */
#include "backend/cpu/cpu_flow.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { QUERIES = 48, KEYS = 192 };

typedef struct frame {
    const cpu_kernels *kernels;
    int64_t tokens, d, row, grid_w;
    float s;
    const float *q;         /* the op's */
    float *k_rows, *q_rows; /* [tokens rounded up, row]; q_rows for the backward */
    float *u, *v;           /* places of the tokens */
    float *dk;              /* sums, [tokens rounded up, row] */
    atomic_int *turn;       /* of each block of keys: blocks of queries added */
    unsigned char *own;     /* scratch of the threads */
    size_t own_bytes;
    atomic_llong next;
} frame;

/* A thread's scratch. */
typedef struct block {
    float *z;      /* [tokens, QUERIES] */
    float *packed; /* right operand */
    float *rows;   /* [QUERIES, row]: gathered queries; dq */
    float *from;   /* [4, QUERIES] */
} block;

static block lay_out(const frame *f, vmt_arena *arena)
{
    const int64_t keys = cpu_round_up(f->tokens, CPU_TILE_ROWS);
    block b = {.z = cpu_take_floats(arena, keys * QUERIES)};

    b.packed = cpu_take_floats(arena, cpu_round_up(QUERIES, f->kernels->panel) * f->d);
    b.rows = cpu_take_floats(arena, QUERIES * f->row);
    b.from = cpu_take_floats(arena, 4 * QUERIES);
    return b;
}

static void lay_out_shared(frame *f, vmt_arena *arena, bool backward)
{
    const int64_t rows = cpu_round_up(f->tokens, CPU_TILE_ROWS) * f->row;

    f->k_rows = cpu_take_floats(arena, rows);
    f->u = cpu_take_floats(arena, f->tokens);
    f->v = cpu_take_floats(arena, f->tokens);
    if (backward) {
        f->q_rows = cpu_take_floats(arena, rows);
        f->dk = cpu_take_floats(arena, rows);
        f->turn = vmt_arena_take(arena, (size_t)(f->tokens / KEYS + 1) * sizeof(atomic_int));
    }
}

/* Memory, places, and copies of the rows with room behind them. */
static enum vmt_status open_frame(vmt_ctx *ctx, frame *f, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_flow_geometry *g, double logit_scale, bool backward)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    vmt_arena shared = vmt_arena_measure(), own = vmt_arena_measure();
    size_t all, total;
    void *memory = NULL;

    *f = (frame){.kernels = cpu_of(ctx)->kernels,
                 .tokens = k->shape[0],
                 .d = k->shape[1],
                 .row = cpu_flow_row(k->shape[1]),
                 .grid_w = g->grid_w,
                 .s = cpu_logit_factor(logit_scale, k->shape[1]),
                 .q = q->data};
    lay_out_shared(f, &shared, backward);
    (void)lay_out(f, &own);
    f->own_bytes = (own.used + mask) & ~mask;
    const size_t first = (shared.used + mask) & ~mask;
    if (!vmt_mul_size(f->own_bytes, (size_t)ctx->threads, &all) ||
        !vmt_add_size(all, first, &total))
        total = SIZE_MAX;
    VMT_TRY(cpu_scratch(ctx, &memory, total));
    shared = (vmt_arena){.base = memory, .capacity = first};
    lay_out_shared(f, &shared, backward);
    f->own = (unsigned char *)memory + first;
    for (int64_t i = 0; i < f->tokens; i++) {
        f->u[i] = (float)(i / g->grid_w);
        f->v[i] = (float)(i % g->grid_w);
    }
    for (int64_t i = 0; backward && i <= f->tokens / KEYS; i++)
        atomic_init(&f->turn[i], 0);
    f->kernels->pack_rows(cpu_units(f->k_rows), f->row, (cpu_rows){k->data, f->d, false}, f->tokens,
                          f->d, false);
    if (backward)
        f->kernels->pack_rows(cpu_units(f->q_rows), f->row, (cpu_rows){q->data, f->d, false},
                              f->tokens, f->d, false);
    return VMT_OK;
}

static block own_block(const frame *f)
{
    vmt_arena arena = {.base = f->own + (size_t)omp_get_thread_num() * f->own_bytes,
                       .capacity = f->own_bytes};
    return lay_out(f, &arena);
}

/* z = k qᵀ for some queries that lie `query_row` floats apart. */
static void logits(const frame *f, const block *b, const float *q, int64_t query_row, int64_t count)
{
    f->kernels->pack_across(cpu_units(b->packed), (cpu_rows){q, query_row, false}, count, f->d,
                            false);
    const cpu_product product = {.a = cpu_units(f->k_rows),
                                 .a_row = f->row,
                                 .a_step = 1,
                                 .b = cpu_units(b->packed),
                                 .b_panel = f->d * f->kernels->panel,
                                 .b_step = f->kernels->panel,
                                 .c_row = QUERIES,
                                 .rows = f->tokens,
                                 .columns = count,
                                 .steps = f->d};
    f->kernels->product(b->z, &product);
}

/* Places in b->from [2, QUERIES] become what the expected places are away from them. */
static void expect(const frame *f, const block *b, int64_t count)
{
    f->kernels->flow_mean(b->from, b->z, QUERIES, (float)((double)f->s * LOG2_E), f->u, f->v,
                          f->tokens, count);
}

/* flow = Σ_p softmax_p(logit_scale q·k/√d) pos(p) - own.   flow: [S, 2] R; q, k: [S, d] R. */
enum vmt_status cpu_flow_full(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_flow_geometry *geometry,
                              double logit_scale)
{
    frame f;

    VMT_TRY(open_frame(ctx, &f, q, k, geometry, logit_scale, false));
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
    for (int64_t first = 0; first < f.tokens; first += QUERIES) {
        const block b = own_block(&f);
        const int64_t count = cpu_min(QUERIES, f.tokens - first);
        float *const out = (float *)flow->data + 2 * first;
        logits(&f, &b, f.q + first * f.d, f.d, count);
        for (int64_t i = 0; i < QUERIES; i++) {
            const int64_t t = i < count ? first + i : first; /* what lies behind is unused */
            b.from[i] = f.u[t];
            b.from[QUERIES + i] = f.v[t];
        }
        expect(&f, &b, count);
        for (int64_t i = 0; i < count; i++) {
            out[2 * i] = b.from[i];
            out[2 * i + 1] = b.from[QUERIES + i];
        }
    }
    return VMT_OK;
}

/* The key with the largest logit of one query.  Expected places that choose windows are counted
 * from there: one that all but lies on a token must not be cut off below it. */
static int64_t best_key(const frame *f, const float *z)
{
    int64_t best = 0;

    for (int64_t p = 1; p < f->tokens; p++)
        if (f->s * z[p * QUERIES] > f->s * z[best * QUERIES])
            best = p;
    return best;
}

/* Centre token of each tile against all keys, a window around the expected place.
 *   rows: [tiles, window_h] I32; cols: [tiles, window_w] I32.  No gradient: only indices. */
enum vmt_status cpu_flow_windows(vmt_ctx *ctx, vmt_tensor *rows, vmt_tensor *cols,
                                 const vmt_tensor *q, const vmt_tensor *k,
                                 const vmt_flow_geometry *geometry, double logit_scale)
{
    const vmt_flow_geometry *g = geometry;
    const int64_t tiles = rows->shape[0];
    frame f;

    VMT_TRY(open_frame(ctx, &f, q, k, g, logit_scale, false));
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
    for (int64_t first = 0; first < tiles; first += QUERIES) {
        const block b = own_block(&f);
        const int64_t count = cpu_min(QUERIES, tiles - first);
        int64_t best[QUERIES];
        for (int64_t i = 0; i < count; i++)
            memcpy(b.rows + i * f.row, f.q + flow_centre_of(g, first + i) * f.d,
                   (size_t)f.d * sizeof(float));
        logits(&f, &b, b.rows, f.row, count);
        for (int64_t i = 0; i < QUERIES; i++) {
            best[i] = i < count ? best_key(&f, b.z + i) : 0;
            b.from[i] = f.u[best[i]];
            b.from[QUERIES + i] = f.v[best[i]];
        }
        expect(&f, &b, count);
        for (int64_t i = 0; i < count; i++) {
            const int64_t t = first + i;
            flow_window_axis_ref32((int32_t *)rows->data + t * g->window_h,
                                   f.u[best[i]] + b.from[i], g->window_h, g->grid_h, g->positions);
            flow_window_axis_ref32((int32_t *)cols->data + t * g->window_w,
                                   f.v[best[i]] + b.from[QUERIES + i], g->window_w, g->grid_w,
                                   g->positions);
        }
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- backward */

/* dq of the block += dz kᵀ. */
static void query_gradient(const frame *f, const block *b, float *dq, int64_t count)
{
    const cpu_product product = {.a = cpu_units(b->z),
                                 .a_row = 1,
                                 .a_step = QUERIES,
                                 .b = cpu_units(f->k_rows),
                                 .b_panel = f->kernels->panel,
                                 .b_step = f->row,
                                 .c_row = f->row,
                                 .rows = count,
                                 .columns = f->d,
                                 .steps = f->tokens};
    f->kernels->product(b->rows, &product);
    for (int64_t i = 0; i < count; i++)
        f->kernels->add(dq + i * f->d, dq + i * f->d, b->rows + i * f->row, f->d);
}

/* Sums of dk += dz q, a block of keys at a time, each when it is this block's turn. */
static void key_gradient(const frame *f, const block *b, int64_t first, int64_t count)
{
    const int number = (int)(first / QUERIES);

    for (int64_t key = 0; key < f->tokens; key += KEYS) {
        atomic_int *const turn = &f->turn[key / KEYS];
        const cpu_product product = {.a = cpu_units(b->z + key * QUERIES),
                                     .a_row = QUERIES,
                                     .a_step = 1,
                                     .b = cpu_units(f->q_rows + first * f->row),
                                     .b_panel = f->kernels->panel,
                                     .b_step = f->row,
                                     .c_row = f->row,
                                     .rows = cpu_min(KEYS, f->tokens - key),
                                     .columns = f->d,
                                     .steps = count,
                                     .add = number > 0};
        while (atomic_load_explicit(turn, memory_order_acquire) != number)
            sched_yield();
        f->kernels->product(f->dk + key * f->row, &product);
        atomic_store_explicit(turn, number + 1, memory_order_release);
    }
}

/* dq += , dk += ; dflow, flow: [S, 2] R. */
enum vmt_status cpu_flow_full_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                      const vmt_tensor *dflow, const vmt_tensor *flow,
                                      const vmt_tensor *q, const vmt_tensor *k,
                                      const vmt_flow_geometry *geometry, double logit_scale)
{
    const float *const g = dflow->data, *const flows = flow->data;
    frame f;

    VMT_TRY(open_frame(ctx, &f, q, k, geometry, logit_scale, true));
    const float scale = (float)((double)f.s * LOG2_E);
    atomic_init(&f.next, 0);
#pragma omp parallel num_threads(ctx->threads)
    {
        const block b = own_block(&f);
        for (;;) { /* tasks begin in order, so the first unfinished one never waits */
            const int64_t first = atomic_fetch_add(&f.next, 1) * QUERIES;
            if (first >= f.tokens)
                break;
            const int64_t count = cpu_min(QUERIES, f.tokens - first);
            for (int64_t i = 0; i < QUERIES; i++) {
                const int64_t t = i < count ? first + i : first; /* what lies behind is unused */
                b.from[i] = g[2 * t];
                b.from[QUERIES + i] = g[2 * t + 1];
                b.from[2 * QUERIES + i] = flows[2 * t] + f.u[t];
                b.from[3 * QUERIES + i] = flows[2 * t + 1] + f.v[t];
            }
            logits(&f, &b, f.q + first * f.d, f.d, count);
            f.kernels->flow_grad(b.z, QUERIES, scale, f.s, b.from, f.u, f.v, f.tokens, count);
            query_gradient(&f, &b, (float *)dq->data + first * f.d, count);
            key_gradient(&f, &b, first, count);
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t i = 0; i < f.tokens; i++)
            f.kernels->add((float *)dk->data + i * f.d, (const float *)dk->data + i * f.d,
                           f.dk + i * f.row, f.d);
    }
    return VMT_OK;
}
