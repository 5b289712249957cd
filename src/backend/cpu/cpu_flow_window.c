/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow of tiles against the keys of their windows, and the windows' means.  The
 * keys of a window are gathered; a tile's queries share them.  Gradients of keys, which may be in
 * many windows, are summed frame row by frame row in the order of the tiles.
 */
#include "backend/cpu/cpu_flow.h"

#include <string.h>

typedef struct windows {
    const cpu_kernels *kernels;
    const vmt_flow_geometry *g;
    const int32_t *rows, *cols; /* [tiles, window_h], [tiles, window_w] */
    const float *q, *k;
    int64_t tiles, entries, d, row;
    int64_t queries; /* of a whole tile */
    int64_t lanes;   /* of a row of z */
    float s;
    float *dz;         /* backward: [tiles, entries and some, lanes] */
    float *queries_of; /* backward: [tiles, queries, row] */
    cpu_parts scratch;
} windows;

/* A thread's scratch. */
typedef struct block {
    float *keys, *u, *v; /* [entries, row]; [entries] */
    float *q, *packed;   /* [queries, row]; right operand */
    float *z;            /* [entries, lanes] */
    float *from;         /* [4, lanes] */
    float *sums;         /* of rows: [queries or window_w, row] */
} block;

/* Rows of z of a tile: products round up from any row of a window. */
static int64_t z_rows(const windows *w)
{
    return w->entries + CPU_TILE_ROWS;
}

static block lay_out(const windows *w, vmt_arena *arena)
{
    const int64_t entries = cpu_round_up(w->entries, CPU_TILE_ROWS);
    const int64_t most = w->queries > w->g->window_w ? w->queries : w->g->window_w;
    block b = {.keys = cpu_take_floats(arena, entries * w->row)};

    b.u = cpu_take_floats(arena, w->entries);
    b.v = cpu_take_floats(arena, w->entries);
    b.q = cpu_take_floats(arena, w->queries * w->row);
    b.packed = cpu_take_floats(arena, cpu_round_up(w->queries, w->kernels->panel) * w->d);
    b.z = cpu_take_floats(arena, z_rows(w) * w->lanes);
    b.from = cpu_take_floats(arena, 4 * w->lanes);
    b.sums = cpu_take_floats(arena, cpu_round_up(most, CPU_TILE_ROWS) * w->row);
    return b;
}

static void lay_out_shared(windows *w, vmt_arena *arena, bool backward)
{
    if (!backward)
        return;
    w->dz = cpu_take_floats(arena, w->tiles * z_rows(w) * w->lanes);
    w->queries_of = cpu_take_floats(arena, w->tiles * w->queries * w->row);
}

static enum vmt_status open_windows(vmt_ctx *ctx, windows *w, const vmt_tensor *q,
                                    const vmt_tensor *k, const vmt_tensor *rows,
                                    const vmt_tensor *cols, const vmt_flow_geometry *g,
                                    double logit_scale, bool backward)
{
    vmt_arena shared = vmt_arena_measure(), own = vmt_arena_measure();

    *w = (windows){.kernels = cpu_of(ctx)->kernels,
                   .g = g,
                   .rows = rows->data,
                   .cols = cols->data,
                   .q = q->data,
                   .k = k->data,
                   .tiles = rows->shape[0],
                   .entries = g->window_h * g->window_w,
                   .d = k->shape[1],
                   .row = cpu_flow_row(k->shape[1]),
                   .queries = g->tile_h * g->tile_w,
                   .s = cpu_logit_factor(logit_scale, k->shape[1])};
    w->lanes = cpu_round_up(cpu_round_up(w->queries, CPU_TILE_ROWS), CPU_MAX_LANES);
    lay_out_shared(w, &shared, backward);
    (void)lay_out(w, &own);
    VMT_TRY(cpu_scratch_parts(ctx, &w->scratch, shared.used, own.used));
    shared = (vmt_arena){.base = w->scratch.shared, .capacity = w->scratch.shared_bytes};
    lay_out_shared(w, &shared, backward);
    return VMT_OK;
}

static block own_block(const windows *w)
{
    vmt_arena arena = cpu_own_arena(&w->scratch);
    return lay_out(w, &arena);
}

/* Keys, places and queries of a tile; z = keys · queries.  Returns the number of queries. */
static int64_t load_tile(const windows *w, const block *b, const flow_tile *tile)
{
    const int32_t *const rows = w->rows + tile->index * w->g->window_h;
    const int32_t *const cols = w->cols + tile->index * w->g->window_w;
    const int64_t count = tile->rows * tile->cols;

    for (int64_t p = 0; p < w->entries; p++) {
        const int64_t key = rows[p / w->g->window_w] * w->g->grid_w + cols[p % w->g->window_w];
        int64_t place[2];
        memcpy(b->keys + p * w->row, w->k + key * w->d, (size_t)w->d * sizeof(float));
        flow_entry_place(w->g, rows, cols, p, place);
        b->u[p] = (float)place[0];
        b->v[p] = (float)place[1];
    }
    for (int64_t n = 0; n < count; n++)
        memcpy(b->q + n * w->row, w->q + flow_query_of(w->g, tile, n).token * w->d,
               (size_t)w->d * sizeof(float));
    w->kernels->pack_across(cpu_units(b->packed), (cpu_rows){b->q, w->row, false}, count, w->d,
                            false);
    return count;
}

static void logits(const windows *w, const block *b, float *z, int64_t count)
{
    const cpu_product product = {.a = cpu_units(b->keys),
                                 .a_row = w->row,
                                 .a_step = 1,
                                 .b = cpu_units(b->packed),
                                 .b_panel = w->d * w->kernels->panel,
                                 .b_step = w->kernels->panel,
                                 .c_row = w->lanes,
                                 .rows = w->entries,
                                 .columns = count,
                                 .steps = w->d};
    w->kernels->product(z, &product);
}

/* All tokens of a tile against its window: expected place minus own.   flow: [S, 2] R. */
enum vmt_status cpu_flow_windowed(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                  const vmt_tensor *k, const vmt_tensor *rows,
                                  const vmt_tensor *cols, const vmt_flow_geometry *geometry,
                                  double logit_scale)
{
    windows w;

    VMT_TRY(open_windows(ctx, &w, q, k, rows, cols, geometry, logit_scale, false));
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
    for (int64_t t = 0; t < w.tiles; t++) {
        const block b = own_block(&w);
        const flow_tile tile = flow_tile_at(geometry, t);
        const int64_t count = load_tile(&w, &b, &tile);
        logits(&w, &b, b.z, count);
        memset(b.from, 0, 2 * (size_t)w.lanes * sizeof(float));
        for (int64_t n = 0; n < count; n++) {
            const flow_query query = flow_query_of(geometry, &tile, n);
            b.from[n] = (float)query.own_row;
            b.from[w.lanes + n] = (float)query.own_col;
        }
        w.kernels->flow_mean(b.from, b.z, w.lanes, (float)((double)w.s * LOG2_E), b.u, b.v,
                             w.entries, count);
        for (int64_t n = 0; n < count; n++) {
            const flow_query query = flow_query_of(geometry, &tile, n);
            float *const out = (float *)flow->data + 2 * query.flow_row;
            out[0] = b.from[n];
            out[1] = b.from[w.lanes + n];
        }
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- backward */

/* dz of a tile, kept for the keys, and dq += Σ dz k. */
static void tile_gradient(const windows *w, float *dq, const float *dflow, const float *flow,
                          int64_t t)
{
    const block b = own_block(w);
    const flow_tile tile = flow_tile_at(w->g, t);
    const int64_t count = load_tile(w, &b, &tile);
    float *const dz = w->dz + t * z_rows(w) * w->lanes;
    const cpu_product product = {.a = cpu_units(dz),
                                 .a_row = 1,
                                 .a_step = w->lanes,
                                 .b = cpu_units(b.keys),
                                 .b_panel = w->kernels->panel,
                                 .b_step = w->row,
                                 .c_row = w->row,
                                 .rows = count,
                                 .columns = w->d,
                                 .steps = w->entries};

    memset(b.from, 0, 4 * (size_t)w->lanes * sizeof(float));
    for (int64_t n = 0; n < count; n++) {
        const flow_query query = flow_query_of(w->g, &tile, n);
        const int64_t at = 2 * query.flow_row;
        b.from[n] = dflow[at];
        b.from[w->lanes + n] = dflow[at + 1];
        b.from[2 * w->lanes + n] = flow[at] + (float)query.own_row;
        b.from[3 * w->lanes + n] = flow[at + 1] + (float)query.own_col;
    }
    logits(w, &b, dz, count);
    w->kernels->flow_grad(dz, w->lanes, (float)((double)w->s * LOG2_E), w->s, b.from, b.u, b.v,
                          w->entries, count);
    memcpy(w->queries_of + t * w->queries * w->row, b.q, (size_t)(count * w->row) * sizeof(float));
    w->kernels->product(b.sums, &product);
    for (int64_t n = 0; n < count; n++) {
        float *const out = dq + flow_query_of(w->g, &tile, n).token * w->d;
        w->kernels->add(out, out, b.sums + n * w->row, w->d);
    }
}

/* dk of the keys in frame row `key_row` += Σ dz q, over tiles and rows of windows in order. */
static void row_gradient(const windows *w, float *dk, int64_t key_row)
{
    const block b = own_block(w);
    const vmt_flow_geometry *g = w->g;

    for (int64_t t = 0; t < w->tiles; t++) {
        const flow_tile tile = flow_tile_at(g, t);
        for (int64_t a = 0; a < g->window_h; a++) {
            if (w->rows[t * g->window_h + a] != key_row)
                continue;
            const float *dz = w->dz + (t * z_rows(w) + a * g->window_w) * w->lanes;
            const cpu_product product = {.a = (const uint32_t *)(const void *)dz,
                                         .a_row = w->lanes,
                                         .a_step = 1,
                                         .b = cpu_units(w->queries_of + t * w->queries * w->row),
                                         .b_panel = w->kernels->panel,
                                         .b_step = w->row,
                                         .c_row = w->row,
                                         .rows = g->window_w,
                                         .columns = w->d,
                                         .steps = tile.rows * tile.cols};
            w->kernels->product(b.sums, &product);
            for (int64_t c = 0; c < g->window_w; c++) {
                float *const out = dk + (key_row * g->grid_w + w->cols[t * g->window_w + c]) * w->d;
                w->kernels->add(out, out, b.sums + c * w->row, w->d);
            }
        }
    }
}

/* dq += , dk += ; dflow and flow in the forward's row order.  Each frame row of keys is summed by
 * one thread. */
enum vmt_status cpu_flow_windowed_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                          const vmt_tensor *dflow, const vmt_tensor *flow,
                                          const vmt_tensor *q, const vmt_tensor *k,
                                          const vmt_tensor *rows, const vmt_tensor *cols,
                                          const vmt_flow_geometry *geometry, double logit_scale)
{
    windows w;

    VMT_TRY(open_windows(ctx, &w, q, k, rows, cols, geometry, logit_scale, true));
#pragma omp parallel num_threads(ctx->threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < w.tiles; t++)
            tile_gradient(&w, dq->data, dflow->data, flow->data, t);
#pragma omp for schedule(dynamic)
        for (int64_t key_row = 0; key_row < geometry->grid_h; key_row++)
            row_gradient(&w, dk->data, key_row);
    }
    return VMT_OK;
}
