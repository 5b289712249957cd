/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow against all keys of a frame, a block of queries at a time:
 *     dz_p = s a_p (g_u (u_p - ū) + g_v (v_p - v̄));   dq = Σ_p dz_p k_p;   dk_p += dz_p q
 * with a = softmax(s q·k), (ū, v̄) the expected place.  Backward, dz of some blocks of queries is
 * kept; then each block of keys adds up its dk over them, in their order.
 */
#include "backend/cpu/cpu_flow.h"

#include <string.h>

enum { QUERIES = 48, KEYS = 48, KEPT_BYTES = 3 << 20 };

typedef struct frame {
    const cpu_kernels *kernels;
    int64_t tokens, d, row, grid_w;
    float s;
    const float *q;         /* the op's */
    float *k_rows, *q_rows; /* [tokens rounded up, row]; q_rows for the backward */
    float *u, *v;           /* places of the tokens */
    float *dk;              /* sums, [tokens rounded up, row] */
    float *dz;              /* backward: [kept, tokens rounded up, QUERIES] */
    int64_t kept;           /* blocks of queries; forward 0: each thread has z of one block */
    cpu_parts scratch;
} frame;

/* A thread's scratch. */
typedef struct block {
    float *z;      /* [tokens, QUERIES] */
    float *packed; /* right operand */
    float *rows;   /* [QUERIES, row]: gathered queries; dq */
    float *from;   /* [4, QUERIES] */
} block;

static int64_t z_floats(const frame *f)
{
    return cpu_round_up(f->tokens, CPU_TILE_ROWS) * QUERIES;
}

static block lay_out(const frame *f, vmt_arena *arena)
{
    block b = {.z = f->kept ? NULL : cpu_take_floats(arena, z_floats(f))};

    b.packed = cpu_take_floats(arena, cpu_round_up(QUERIES, f->kernels->panel) * f->d);
    b.rows = cpu_take_floats(arena, QUERIES * f->row);
    b.from = cpu_take_floats(arena, 4 * QUERIES);
    return b;
}

static void lay_out_shared(frame *f, vmt_arena *arena)
{
    const int64_t rows = cpu_round_up(f->tokens, CPU_TILE_ROWS) * f->row;

    f->k_rows = cpu_take_floats(arena, rows);
    f->u = cpu_take_floats(arena, f->tokens);
    f->v = cpu_take_floats(arena, f->tokens);
    if (f->kept) {
        f->q_rows = cpu_take_floats(arena, rows);
        f->dk = cpu_take_floats(arena, rows);
        f->dz = cpu_take_floats(arena, f->kept * z_floats(f));
    }
}

static int64_t blocks_of(const frame *f)
{
    return (f->tokens + QUERIES - 1) / QUERIES;
}

/* Memory, places, and copies of the rows with room behind them. */
static enum vmt_status open_frame(vmt_ctx *ctx, frame *f, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_flow_geometry *g, double logit_scale, bool backward)
{
    vmt_arena shared = vmt_arena_measure(), own = vmt_arena_measure();

    *f = (frame){.kernels = cpu_of(ctx)->kernels,
                 .tokens = k->shape[0],
                 .d = k->shape[1],
                 .row = cpu_flow_row(k->shape[1]),
                 .grid_w = g->grid_w,
                 .s = cpu_logit_factor(logit_scale, k->shape[1]),
                 .q = q->data};
    if (backward) {
        const int64_t fit = KEPT_BYTES / (z_floats(f) * (int64_t)sizeof(float));
        f->kept = cpu_min(fit > ctx->threads ? fit : ctx->threads, blocks_of(f));
    }
    lay_out_shared(f, &shared);
    (void)lay_out(f, &own);
    VMT_TRY(cpu_scratch_parts(ctx, &f->scratch, shared.used, own.used));
    shared = (vmt_arena){.base = f->scratch.shared, .capacity = f->scratch.shared_bytes};
    lay_out_shared(f, &shared);
    for (int64_t i = 0; i < f->tokens; i++) {
        f->u[i] = (float)(i / g->grid_w);
        f->v[i] = (float)(i % g->grid_w);
    }
    f->kernels->pack_rows(cpu_units(f->k_rows), f->row, (cpu_rows){k->data, f->d, false}, f->tokens,
                          f->d, false);
    if (backward)
        f->kernels->pack_rows(cpu_units(f->q_rows), f->row, (cpu_rows){q->data, f->d, false},
                              f->tokens, f->d, false);
    return VMT_OK;
}

static block own_block(const frame *f)
{
    vmt_arena arena = cpu_own_arena(&f->scratch);
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

/* dz of block n of the queries, and their dq += . */
static void query_block(const frame *f, int64_t n, float *dz, float *dq, const float *dflow,
                        const float *flow)
{
    block b = own_block(f);
    const int64_t first = n * QUERIES, count = cpu_min(QUERIES, f->tokens - first);

    b.z = dz;
    for (int64_t i = 0; i < QUERIES; i++) {
        const int64_t t = i < count ? first + i : first; /* what lies behind is unused */
        b.from[i] = dflow[2 * t];
        b.from[QUERIES + i] = dflow[2 * t + 1];
        b.from[2 * QUERIES + i] = flow[2 * t] + f->u[t];
        b.from[3 * QUERIES + i] = flow[2 * t + 1] + f->v[t];
    }
    logits(f, &b, f->q + first * f->d, f->d, count);
    f->kernels->flow_grad(b.z, QUERIES, (float)((double)f->s * LOG2_E), f->s, b.from, f->u, f->v,
                          f->tokens, count);
    query_gradient(f, &b, dq + first * f->d, count);
}

/* Σ dz q of the keys from `key` on over blocks begin … end - 1 of the queries; dk += the whole sum.
 */
static void key_block(const frame *f, int64_t key, int64_t begin, int64_t end, float *dk)
{
    const int64_t rows = cpu_min(KEYS, f->tokens - key);

    for (int64_t n = begin; n < end; n++) {
        const float *const dz = f->dz + (n - begin) * z_floats(f);
        const cpu_product product = {.a = (const uint32_t *)(const void *)(dz + key * QUERIES),
                                     .a_row = QUERIES,
                                     .a_step = 1,
                                     .b = cpu_units(f->q_rows + n * QUERIES * f->row),
                                     .b_panel = f->kernels->panel,
                                     .b_step = f->row,
                                     .c_row = f->row,
                                     .rows = rows,
                                     .columns = f->d,
                                     .steps = cpu_min(QUERIES, f->tokens - n * QUERIES),
                                     .add = n > 0};
        f->kernels->product(f->dk + key * f->row, &product);
    }
    if (end < blocks_of(f))
        return;
    for (int64_t i = key; i < key + rows; i++)
        f->kernels->add(dk + i * f->d, dk + i * f->d, f->dk + i * f->row, f->d);
}

/* dq += , dk += ; dflow, flow: [S, 2] R. */
enum vmt_status cpu_flow_full_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                      const vmt_tensor *dflow, const vmt_tensor *flow,
                                      const vmt_tensor *q, const vmt_tensor *k,
                                      const vmt_flow_geometry *geometry, double logit_scale)
{
    frame f;

    VMT_TRY(open_frame(ctx, &f, q, k, geometry, logit_scale, true));
#pragma omp parallel num_threads(ctx->threads)
    for (int64_t begin = 0; begin < blocks_of(&f); begin += f.kept) {
        const int64_t end = cpu_min(begin + f.kept, blocks_of(&f));
#pragma omp for schedule(dynamic)
        for (int64_t n = begin; n < end; n++)
            query_block(&f, n, f.dz + (n - begin) * z_floats(&f), dq->data, dflow->data,
                        flow->data);
#pragma omp for schedule(dynamic)
        for (int64_t key = 0; key < f.tokens; key += KEYS)
            key_block(&f, key, begin, end, dk->data);
    }
    return VMT_OK;
}
