/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow: expected position of a softmax over keys, minus the query's own.
 * Displacement component 0 = rows, 1 = columns.  Backward of one query with keys k_p at (u_p, v_p),
 * a = softmax(s q·k), s = logit_scale / √d, (ū, v̄) the expected position, g = dflow:
 *     dz_p = s a_p (g_u (u_p - ū) + g_v (v_p - v̄));   dq = Σ_p dz_p k_p;   dk_p += dz_p q
 * Source: FastVMT, attention motion flow.
 */
#include "backend/flow_tiles.h"
#include "backend/ref/ref.h"

#include <string.h>

/* (Σ a u, Σ a v). */
static void expected_position(const real *a, const real *u, const real *v, int64_t count,
                              double position[2])
{
    double rows = 0, cols = 0;
    for (int64_t p = 0; p < count; p++) {
        rows += (double)a[p] * (double)u[p];
        cols += (double)a[p] * (double)v[p];
    }
    position[0] = rows;
    position[1] = cols;
}

/* z = s q·k over `count` keys given as columns. */
static void logits(real *z, const real *q, const real *k_columns, int64_t d, int64_t count, real s)
{
    REF(dots)(z, q, k_columns, d, count);
    for (int64_t p = 0; p < count; p++)
        z[p] *= s;
}

static real logit_factor(double logit_scale, int64_t d)
{
    return (real)(logit_scale / sqrt((double)d));
}

/* Rows and columns of all tokens of a frame. */
static void frame_positions(real *u, real *v, const vmt_flow_geometry *g)
{
    for (int64_t i = 0; i < g->grid_h * g->grid_w; i++) {
        u[i] = (real)(i / g->grid_w);
        v[i] = (real)(i % g->grid_w);
    }
}

/* ---------------------------------------------------------------- all keys of a frame */

/* flow = Σ_p softmax_p(logit_scale q·k/√d) pos(p) - own.   flow: [S, 2] R; q, k: [S, d] R. */
enum vmt_status REF(flow_full)(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                               const vmt_tensor *k, const vmt_flow_geometry *geometry,
                               double logit_scale)
{
    const int64_t tokens = q->shape[0], d = q->shape[1];
    const real s = logit_factor(logit_scale, d);
    real *shared, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * (d + 2), tokens, &shared, &scratch));
    real *const u = shared + tokens * d, *const v = u + tokens;
    REF(load_matrix)(NULL, shared, k, tokens, d, d, 0);
    frame_positions(u, v, geometry);
    REF_PARALLEL_FOR(ctx)
    for (int64_t i = 0; i < tokens; i++) {
        real *a = scratch + tokens * ref_thread(), *out = (real *)flow->data + 2 * i;
        double position[2];
        logits(a, (const real *)q->data + i * d, shared, d, tokens, s);
        REF(softmax)(a, tokens);
        expected_position(a, u, v, tokens, position);
        out[0] = (real)(position[0] - (double)u[i]);
        out[1] = (real)(position[1] - (double)v[i]);
    }
    return VMT_OK;
}

/* dq += , dk += ; dflow, flow: [S, 2] R.  One pass over queries, one over keys: each output row is
 * written by one thread, in a fixed order of summation. */
enum vmt_status REF(flow_full_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                       const vmt_tensor *dflow, const vmt_tensor *flow,
                                       const vmt_tensor *q, const vmt_tensor *k,
                                       const vmt_flow_geometry *geometry, double logit_scale)
{
    const int64_t tokens = q->shape[0], d = q->shape[1], own = tokens + d;
    const real s = logit_factor(logit_scale, d), *qs = q->data, *ks = k->data;
    const real *g = dflow->data, *flows = flow->data;
    real *k_columns, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * (2 * d + 3), own, &k_columns, &scratch));
    real *const q_columns = k_columns + tokens * d, *const u = q_columns + tokens * d;
    real *const v = u + tokens, *const lse = v + tokens;
    REF(load_matrix)(NULL, k_columns, k, tokens, d, d, 0);
    REF(load_matrix)(NULL, q_columns, q, tokens, d, d, 0);
    frame_positions(u, v, geometry);
    REF_PARALLEL_FOR(ctx)
    for (int64_t i = 0; i < tokens; i++) {
        real *dz = scratch + own * ref_thread(), *row = dz + tokens;
        const real mean_u = flows[2 * i] + u[i], mean_v = flows[2 * i + 1] + v[i];
        logits(dz, qs + i * d, k_columns, d, tokens, s);
        lse[i] = REF(softmax)(dz, tokens);
        for (int64_t p = 0; p < tokens; p++)
            dz[p] *= s * (g[2 * i] * (u[p] - mean_u) + g[2 * i + 1] * (v[p] - mean_v));
        REF(weighted_rows)(row, dz, ks, tokens, d);
        for (int64_t c = 0; c < d; c++)
            ((real *)dq->data)[i * d + c] += row[c];
    }
    REF_PARALLEL_FOR(ctx)
    for (int64_t p = 0; p < tokens; p++) {
        real *dz = scratch + own * ref_thread(), *row = dz + tokens;
        logits(dz, ks + p * d, q_columns, d, tokens, s);
        for (int64_t i = 0; i < tokens; i++)
            dz[i] = s * ref_exp(dz[i] - lse[i]) *
                    (g[2 * i] * (u[p] - (flows[2 * i] + u[i])) +
                     g[2 * i + 1] * (v[p] - (flows[2 * i + 1] + v[i])));
        REF(weighted_rows)(row, dz, qs, tokens, d);
        for (int64_t c = 0; c < d; c++)
            ((real *)dk->data)[p * d + c] += row[c];
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- the best keys of a frame */

/* All but the `top` largest of z become -infinity; the earlier one wins a tie.   best: [top]. */
static void keep_top(real *z, int64_t count, int64_t top, real *best)
{
    int64_t held = 0, equal = 0;

    if (top >= count)
        return;
    for (int64_t p = 0; p < count; p++) { /* best: the largest so far, falling */
        int64_t at = held;
        if (held == top && !(z[p] > best[top - 1]))
            continue;
        held += held < top;
        at = at < top ? at : top - 1;
        for (; at > 0 && best[at - 1] < z[p]; at--)
            best[at] = best[at - 1];
        best[at] = z[p];
    }
    for (int64_t n = 0; n < top; n++)
        equal += best[n] == best[top - 1];
    for (int64_t p = 0; p < count; p++)
        if (!(z[p] > best[top - 1]) && !(z[p] == best[top - 1] && equal-- > 0))
            z[p] = -(real)INFINITY;
}

/* As flow_full over the `top` best keys of each query. */
enum vmt_status REF(flow_top)(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_flow_geometry *geometry,
                              double logit_scale, int64_t top)
{
    const int64_t tokens = q->shape[0], d = q->shape[1];
    const int64_t own = tokens + ref_min(top, tokens);
    const real s = logit_factor(logit_scale, d);
    real *shared, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * (d + 2), own, &shared, &scratch));
    real *const u = shared + tokens * d, *const v = u + tokens;
    REF(load_matrix)(NULL, shared, k, tokens, d, d, 0);
    frame_positions(u, v, geometry);
    REF_PARALLEL_FOR(ctx)
    for (int64_t i = 0; i < tokens; i++) {
        real *a = scratch + own * ref_thread(), *out = (real *)flow->data + 2 * i;
        double position[2];
        logits(a, (const real *)q->data + i * d, shared, d, tokens, s);
        keep_top(a, tokens, top, a + tokens);
        REF(softmax)(a, tokens);
        expected_position(a, u, v, tokens, position);
        out[0] = (real)(position[0] - (double)u[i]);
        out[1] = (real)(position[1] - (double)v[i]);
    }
    return VMT_OK;
}

/* Which keys a query kept is known by its row alone: dz of all pairs is held, [tokens, tokens]. */
enum vmt_status REF(flow_top_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                      const vmt_tensor *dflow, const vmt_tensor *flow,
                                      const vmt_tensor *q, const vmt_tensor *k,
                                      const vmt_flow_geometry *geometry, double logit_scale,
                                      int64_t top)
{
    const int64_t tokens = q->shape[0], d = q->shape[1], own = tokens + d;
    const real s = logit_factor(logit_scale, d), *qs = q->data, *ks = k->data;
    const real *g = dflow->data, *flows = flow->data;
    real *columns, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * (d + 2 + tokens), own, &columns, &scratch));
    real *const u = columns + tokens * d, *const v = u + tokens, *const dz = v + tokens;
    REF(load_matrix)(NULL, columns, k, tokens, d, d, 0);
    frame_positions(u, v, geometry);
    REF_PARALLEL_FOR(ctx)
    for (int64_t i = 0; i < tokens; i++) {
        real *best = scratch + own * ref_thread(), *row = best + tokens, *z = dz + i * tokens;
        const real mean_u = flows[2 * i] + u[i], mean_v = flows[2 * i + 1] + v[i];
        logits(z, qs + i * d, columns, d, tokens, s);
        keep_top(z, tokens, top, best);
        REF(softmax)(z, tokens);
        for (int64_t p = 0; p < tokens; p++)
            z[p] *= s * (g[2 * i] * (u[p] - mean_u) + g[2 * i + 1] * (v[p] - mean_v));
        REF(weighted_rows)(row, z, ks, tokens, d);
        for (int64_t c = 0; c < d; c++)
            ((real *)dq->data)[i * d + c] += row[c];
    }
    REF_PARALLEL_FOR(ctx)
    for (int64_t p = 0; p < tokens; p++) {
        real *column = scratch + own * ref_thread(), *row = column + tokens;
        for (int64_t i = 0; i < tokens; i++)
            column[i] = dz[i * tokens + p];
        REF(weighted_rows)(row, column, qs, tokens, d);
        for (int64_t c = 0; c < d; c++)
            ((real *)dk->data)[p * d + c] += row[c];
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- where each tile looks */

/* Entry indices of one axis: window of `count` around `centre`, which lies in [0, size). */
void REF(flow_window_axis)(int32_t *entry, real centre, int64_t count, int64_t size,
                           enum vmt_flow_positions positions)
{
    if (positions == VMT_POSITIONS_RELEASED) {
        const int64_t half = count / 2;
        const real low = (real)half, high = (real)(size - half - 1);
        for (int64_t o = 0; o < count; o++) {
            real at = centre + (real)(o - half);
            at = at >= low ? at : low; /* a NaN, too, becomes an index inside */
            at = at <= high ? at : high;
            entry[o] = (int32_t)at;
        }
        return;
    }
    const double rounded = floor((double)(centre + (real)0.5));
    const double last = (double)(size - count), wanted = rounded - (double)(count / 2);
    const double start = wanted >= 0 ? (wanted <= last ? wanted : last) : 0;
    for (int64_t o = 0; o < count; o++)
        entry[o] = (int32_t)start + (int32_t)o;
}

/* Centre token of each tile against all keys, a window around the expected position.
 *   rows: [tiles, window_h] I32; cols: [tiles, window_w] I32.  No gradient: only indices. */
enum vmt_status REF(flow_windows)(vmt_ctx *ctx, vmt_tensor *rows, vmt_tensor *cols,
                                  const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_flow_geometry *geometry, double logit_scale)
{
    const vmt_flow_geometry *g = geometry;
    const int64_t tokens = q->shape[0], d = q->shape[1], tiles = rows->shape[0];
    const real s = logit_factor(logit_scale, d);
    real *shared, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * (d + 2), tokens, &shared, &scratch));
    real *const u = shared + tokens * d, *const v = u + tokens;
    REF(load_matrix)(NULL, shared, k, tokens, d, d, 0);
    frame_positions(u, v, g);
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tiles; t++) {
        real *a = scratch + tokens * ref_thread();
        double centre[2];
        logits(a, (const real *)q->data + flow_centre_of(g, t) * d, shared, d, tokens, s);
        REF(softmax)(a, tokens);
        expected_position(a, u, v, tokens, centre);
        REF(flow_window_axis)
        ((int32_t *)rows->data + t * g->window_h, (real)centre[0], g->window_h, g->grid_h,
         g->positions);
        REF(flow_window_axis)
        ((int32_t *)cols->data + t * g->window_w, (real)centre[1], g->window_w, g->grid_w,
         g->positions);
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- keys of a window */

/* Keys of one tile's window and the positions they count as; lies in a thread's scratch. */
struct window {
    real *keys, *columns; /* [entries, d], [d, entries] */
    real *u, *v;          /* [entries] */
};

static int64_t window_reals(int64_t entries, int64_t d)
{
    return entries * (2 * d + 2);
}

static struct window gather_window(real *memory, const real *k, int64_t d, const vmt_tensor *rows,
                                   const vmt_tensor *cols, const vmt_flow_geometry *g, int64_t tile)
{
    const int64_t entries = g->window_h * g->window_w;
    const int32_t *row = (const int32_t *)rows->data + tile * g->window_h;
    const int32_t *col = (const int32_t *)cols->data + tile * g->window_w;
    struct window w = {.keys = memory};

    w.columns = w.keys + entries * d;
    w.u = w.columns + entries * d;
    w.v = w.u + entries;
    for (int64_t p = 0; p < entries; p++) {
        const int64_t a = p / g->window_w, b = p % g->window_w;
        const real *key = k + ((int64_t)row[a] * g->grid_w + col[b]) * d;
        for (int64_t c = 0; c < d; c++) {
            w.keys[p * d + c] = key[c];
            w.columns[c * entries + p] = key[c];
        }
        int64_t place[2];
        flow_entry_place(g, row, col, p, place);
        w.u[p] = (real)place[0];
        w.v[p] = (real)place[1];
    }
    return w;
}

/* All tokens of a tile against its window: expected position minus own.   flow: [S, 2] R. */
enum vmt_status REF(flow_windowed)(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                   const vmt_tensor *k, const vmt_tensor *rows,
                                   const vmt_tensor *cols, const vmt_flow_geometry *geometry,
                                   double logit_scale)
{
    const int64_t d = q->shape[1], tiles = rows->shape[0];
    const int64_t entries = geometry->window_h * geometry->window_w;
    const int64_t own = window_reals(entries, d) + entries;
    const real s = logit_factor(logit_scale, d);
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, own, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tiles; t++) {
        real *a = scratch + own * ref_thread();
        const struct window w = gather_window(a + entries, k->data, d, rows, cols, geometry, t);
        const flow_tile tile = flow_tile_at(geometry, t);
        for (int64_t n = 0; n < tile.rows * tile.cols; n++) {
            const flow_query query = flow_query_of(geometry, &tile, n);
            real *out = (real *)flow->data + 2 * query.flow_row;
            double position[2];
            logits(a, (const real *)q->data + query.token * d, w.columns, d, entries, s);
            REF(softmax)(a, entries);
            expected_position(a, w.u, w.v, entries, position);
            out[0] = (real)(position[0] - (double)query.own_row);
            out[1] = (real)(position[1] - (double)query.own_col);
        }
    }
    return VMT_OK;
}

/* dz of every token of a tile, [S, entries] by flow row, and dq += Σ dz k. */
static void tile_query_gradient(real *dz, real *dq, const struct window *w, const flow_tile *tile,
                                const vmt_flow_geometry *g, const real *dflow, const real *flow,
                                const real *q, int64_t d, real s, real *row)
{
    const int64_t entries = g->window_h * g->window_w;

    for (int64_t n = 0; n < tile->rows * tile->cols; n++) {
        const flow_query query = flow_query_of(g, tile, n);
        const real *gradient = dflow + 2 * query.flow_row;
        const real mean_u = flow[2 * query.flow_row] + (real)query.own_row;
        const real mean_v = flow[2 * query.flow_row + 1] + (real)query.own_col;
        real *z = dz + query.flow_row * entries;
        logits(z, q + query.token * d, w->columns, d, entries, s);
        REF(softmax)(z, entries);
        for (int64_t p = 0; p < entries; p++)
            z[p] *= s * (gradient[0] * (w->u[p] - mean_u) + gradient[1] * (w->v[p] - mean_v));
        REF(weighted_rows)(row, z, w->keys, entries, d);
        for (int64_t c = 0; c < d; c++)
            dq[query.token * d + c] += row[c];
    }
}

/* dk of the keys in frame row `key_row` += Σ dz q, over tiles, entries and tokens in order. */
static void row_key_gradient(real *dk, const real *dz, int64_t key_row, const vmt_tensor *rows,
                             const vmt_tensor *cols, const vmt_flow_geometry *g, const real *q,
                             int64_t d)
{
    const int64_t entries = g->window_h * g->window_w;

    for (int64_t t = 0; t < rows->shape[0]; t++) {
        const flow_tile tile = flow_tile_at(g, t);
        for (int64_t p = 0; p < entries; p++) {
            if (((const int32_t *)rows->data)[t * g->window_h + p / g->window_w] != key_row)
                continue;
            const int64_t col = ((const int32_t *)cols->data)[t * g->window_w + p % g->window_w];
            real *out = dk + (key_row * g->grid_w + col) * d;
            for (int64_t n = 0; n < tile.rows * tile.cols; n++) {
                const flow_query query = flow_query_of(g, &tile, n);
                const real z = dz[query.flow_row * entries + p];
                for (int64_t c = 0; c < d; c++)
                    out[c] += z * q[query.token * d + c];
            }
        }
    }
}

/* dq += , dk += ; dflow and flow in the forward's row order.  A key may be in many windows: each
 * frame row of keys is summed by one thread. */
enum vmt_status REF(flow_windowed_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                           const vmt_tensor *dflow, const vmt_tensor *flow,
                                           const vmt_tensor *q, const vmt_tensor *k,
                                           const vmt_tensor *rows, const vmt_tensor *cols,
                                           const vmt_flow_geometry *geometry, double logit_scale)
{
    const int64_t tokens = q->shape[0], d = q->shape[1], tiles = rows->shape[0];
    const int64_t entries = geometry->window_h * geometry->window_w;
    const int64_t own = window_reals(entries, d) + d;
    const real s = logit_factor(logit_scale, d);
    real *dz, *scratch;

    VMT_TRY(REF(scratch)(ctx, tokens * entries, own, &dz, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tiles; t++) {
        real *row = scratch + own * ref_thread();
        const struct window w = gather_window(row + d, k->data, d, rows, cols, geometry, t);
        const flow_tile tile = flow_tile_at(geometry, t);
        tile_query_gradient(dz, dq->data, &w, &tile, geometry, dflow->data, flow->data, q->data, d,
                            s, row);
    }
    REF_PARALLEL_FOR(ctx)
    for (int64_t key_row = 0; key_row < geometry->grid_h; key_row++)
        row_key_gradient(dk->data, dz, key_row, rows, cols, geometry, q->data, d);
    return VMT_OK;
}
