/* SPDX-License-Identifier: MIT
 *
 * The checked calls of the motion's ops: flows, features, losses, the optimiser.
 */
#include "tensor/op_check.h"

/* split: [N, n, d]; merged: [N, d] R. */
static void check_reduction(struct call *call, const vmt_tensor *split, const char *split_dtypes,
                            const vmt_tensor *merged, enum vmt_qk_reduction reduction)
{
    check_tensor(call, "q", split, split_dtypes, VMT_SHAPE(ANY, ANY, ANY));
    check_tensor(call, "Q", merged, "R", VMT_SHAPE(axis(split, 0), axis(split, 2)));
    if (call->status == VMT_OK && reduction == VMT_REDUCE_RELEASED)
        check_bool(call, "q", axis(split, 1) > 0 && axis(split, 0) % axis(split, 1) == 0,
                   "a number of tokens that the heads divide");
}

enum vmt_status vmt_qk_reduce(vmt_ctx *ctx, vmt_tensor *Q, const vmt_tensor *q,
                              enum vmt_qk_reduction reduction)
{
    BEGIN(qk_reduce);
    check_reduction(&call, q, "A", Q, reduction);
    RUN(qk_reduce, Q, q, reduction);
}

enum vmt_status vmt_qk_reduce_bwd(vmt_ctx *ctx, vmt_tensor *dq, const vmt_tensor *dQ,
                                  enum vmt_qk_reduction reduction)
{
    BEGIN(qk_reduce_bwd);
    check_reduction(&call, dq, "RA", dQ, reduction);
    RUN(qk_reduce_bwd, dq, dQ, reduction);
}

/* q, k: [S, d] R with S of the geometry. */
static void check_frame(struct call *call, const vmt_tensor *q, const vmt_tensor *k,
                        const vmt_flow_geometry *g)
{
    check_bool(call, "geometry", g->grid_h >= 1 && g->grid_w >= 1, "a grid from 1x1 on");
    check_tensor(call, "q", q, "R", VMT_SHAPE(g->grid_h * g->grid_w, ANY));
    check_like(call, "k", k, "R", q);
}

/* Tiles and windows fit the frame; rows, cols: I32 of every tile's window. */
static void check_windows(struct call *call, const vmt_tensor *rows, const vmt_tensor *cols,
                          const vmt_flow_geometry *g)
{
    check_bool(call, "geometry",
               g->grid_h >= 1 && g->grid_w >= 1 && g->tile_h >= 1 && g->tile_w >= 1 &&
                   g->window_h >= 1 && g->window_w >= 1,
               "grid, tile and window from 1x1 on");
    if (call->status != VMT_OK)
        return;
    if (g->positions == VMT_POSITIONS_RELEASED)
        check_bool(call, "geometry",
                   g->grid_h % g->tile_h == 0 && g->grid_w % g->tile_w == 0 &&
                       g->window_h % 2 == 1 && g->window_w % 2 == 1 &&
                       g->grid_h > g->window_h / 2 && g->grid_w > g->window_w / 2,
                   "tiles that divide the grid, odd windows, a grid larger than half a window");
    else
        check_bool(call, "geometry", g->window_h <= g->grid_h && g->window_w <= g->grid_w,
                   "a window inside the grid");
    if (call->status != VMT_OK)
        return;
    check_tensor(call, "rows", rows, "I", VMT_SHAPE(vmt_flow_tiles(g), g->window_h));
    check_tensor(call, "cols", cols, "I", VMT_SHAPE(vmt_flow_tiles(g), g->window_w));
}

enum vmt_status vmt_flow_full(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_flow_geometry *geometry,
                              double logit_scale)
{
    BEGIN(flow_full);
    check_frame(&call, q, k, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    RUN(flow_full, flow, q, k, geometry, logit_scale);
}

enum vmt_status vmt_flow_full_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                      const vmt_tensor *dflow, const vmt_tensor *flow,
                                      const vmt_tensor *q, const vmt_tensor *k,
                                      const vmt_flow_geometry *geometry, double logit_scale)
{
    BEGIN(flow_full_bwd_acc);
    check_frame(&call, q, k, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    WANT(dflow, "R", axis(q, 0), 2);
    WANT_LIKE(dq, "R", q);
    WANT_LIKE(dk, "R", q);
    RUN(flow_full_bwd_acc, dq, dk, dflow, flow, q, k, geometry, logit_scale);
}

enum vmt_status vmt_flow_top(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                             const vmt_tensor *k, const vmt_flow_geometry *geometry,
                             double logit_scale, int64_t top)
{
    BEGIN(flow_top);
    check_frame(&call, q, k, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    WANT_THAT("top", top >= 1);
    RUN(flow_top, flow, q, k, geometry, logit_scale, top);
}

enum vmt_status vmt_flow_top_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                     const vmt_tensor *dflow, const vmt_tensor *flow,
                                     const vmt_tensor *q, const vmt_tensor *k,
                                     const vmt_flow_geometry *geometry, double logit_scale,
                                     int64_t top)
{
    BEGIN(flow_top_bwd_acc);
    check_frame(&call, q, k, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    WANT(dflow, "R", axis(q, 0), 2);
    WANT_LIKE(dq, "R", q);
    WANT_LIKE(dk, "R", q);
    WANT_THAT("top", top >= 1);
    RUN(flow_top_bwd_acc, dq, dk, dflow, flow, q, k, geometry, logit_scale, top);
}

enum vmt_status vmt_flow_windows(vmt_ctx *ctx, vmt_tensor *rows, vmt_tensor *cols,
                                 const vmt_tensor *q, const vmt_tensor *k,
                                 const vmt_flow_geometry *geometry, double logit_scale)
{
    BEGIN(flow_windows);
    check_frame(&call, q, k, geometry);
    check_windows(&call, rows, cols, geometry);
    RUN(flow_windows, rows, cols, q, k, geometry, logit_scale);
}

enum vmt_status vmt_flow_windowed(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                  const vmt_tensor *k, const vmt_tensor *rows,
                                  const vmt_tensor *cols, const vmt_flow_geometry *geometry,
                                  double logit_scale)
{
    BEGIN(flow_windowed);
    check_frame(&call, q, k, geometry);
    check_windows(&call, rows, cols, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    RUN(flow_windowed, flow, q, k, rows, cols, geometry, logit_scale);
}

enum vmt_status vmt_flow_windowed_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                          const vmt_tensor *dflow, const vmt_tensor *flow,
                                          const vmt_tensor *q, const vmt_tensor *k,
                                          const vmt_tensor *rows, const vmt_tensor *cols,
                                          const vmt_flow_geometry *geometry, double logit_scale)
{
    BEGIN(flow_windowed_bwd_acc);
    check_frame(&call, q, k, geometry);
    check_windows(&call, rows, cols, geometry);
    WANT(flow, "R", axis(q, 0), 2);
    WANT(dflow, "R", axis(q, 0), 2);
    WANT_LIKE(dq, "R", q);
    WANT_LIKE(dk, "R", q);
    RUN(flow_windowed_bwd_acc, dq, dk, dflow, flow, q, k, rows, cols, geometry, logit_scale);
}

enum vmt_status vmt_flow_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *dflow,
                              const vmt_tensor *flow, const vmt_tensor *ref,
                              const vmt_tensor *token_weights, double weight, double grad_scale)
{
    BEGIN(flow_loss);
    WANT(loss, "R", 1);
    WANT(flow, "R", ANY, ANY);
    WANT_LIKE(ref, "R", flow);
    if (dflow)
        WANT_LIKE(dflow, "R", flow);
    if (token_weights)
        WANT(token_weights, "R", axis(flow, 0));
    RUN(flow_loss, loss, dflow, flow, ref, token_weights, weight, grad_scale);
}

/* mean: [tiles, d] or [tiles, entries] by the geometry; k: [S, d] R. */
static void check_window_mean(struct call *call, const vmt_tensor *mean, const vmt_tensor *k,
                              const vmt_tensor *rows, const vmt_tensor *cols,
                              const vmt_flow_geometry *g)
{
    const bool released = g->positions == VMT_POSITIONS_RELEASED;

    check_windows(call, rows, cols, g);
    check_tensor(call, "k", k, "R", VMT_SHAPE(g->grid_h * g->grid_w, ANY));
    check_tensor(call, "mean", mean, "R",
                 VMT_SHAPE(axis(rows, 0), released ? g->window_h * g->window_w : axis(k, 1)));
}

enum vmt_status vmt_window_mean(vmt_ctx *ctx, vmt_tensor *mean, const vmt_tensor *k,
                                const vmt_tensor *rows, const vmt_tensor *cols,
                                const vmt_flow_geometry *geometry)
{
    BEGIN(window_mean);
    check_window_mean(&call, mean, k, rows, cols, geometry);
    RUN(window_mean, mean, k, rows, cols, geometry);
}

enum vmt_status vmt_window_mean_bwd_acc(vmt_ctx *ctx, vmt_tensor *dk, const vmt_tensor *dmean,
                                        const vmt_tensor *rows, const vmt_tensor *cols,
                                        const vmt_flow_geometry *geometry)
{
    BEGIN(window_mean_bwd_acc);
    check_window_mean(&call, dmean, dk, rows, cols, geometry);
    RUN(window_mean_bwd_acc, dk, dmean, rows, cols, geometry);
}

enum vmt_status vmt_track_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *da, vmt_tensor *db,
                               const vmt_tensor *a, const vmt_tensor *b,
                               const vmt_tensor *tile_weights, double weight, double grad_scale)
{
    BEGIN(track_loss);
    WANT(loss, "R", 1);
    WANT(a, "R", ANY, ANY);
    WANT_LIKE(b, "R", a);
    WANT_THAT("db", !da == !db);
    if (da) {
        WANT_LIKE(da, "R", a);
        WANT_LIKE(db, "R", a);
    }
    if (tile_weights)
        WANT(tile_weights, "R", axis(a, 0));
    RUN(track_loss, loss, da, db, a, b, tile_weights, weight, grad_scale);
}

/* full: [T, S, C] with S of the pooling; pooled: [T, cells, C]. */
static void check_pooling(struct call *call, const char *full_name, const vmt_tensor *full,
                          const char *pooled_name, const vmt_tensor *pooled, const vmt_pooling *p)
{
    check_bool(call, "pooling",
               p->grid_h >= 1 && p->grid_w >= 1 && p->cells_h >= 1 && p->cells_w >= 1,
               "a grid and cells from 1x1 on");
    check_tensor(call, full_name, full, "R", VMT_SHAPE(ANY, p->grid_h * p->grid_w, ANY));
    check_tensor(call, pooled_name, pooled, "R",
                 VMT_SHAPE(axis(full, 0), p->cells_h * p->cells_w, axis(full, 2)));
}

enum vmt_status vmt_pool(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                         const vmt_pooling *pooling)
{
    BEGIN(pool);
    check_pooling(&call, "x", x, "y", y, pooling);
    RUN(pool, y, x, pooling);
}

enum vmt_status vmt_pool_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                             const vmt_pooling *pooling)
{
    BEGIN(pool_bwd);
    check_pooling(&call, "dx", dx, "dy", dy, pooling);
    RUN(pool_bwd, dx, dy, pooling);
}

enum vmt_status vmt_centre(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(centre);
    WANT(x, "R", ANY, ANY, ANY);
    WANT_LIKE(y, "R", x);
    RUN(centre, y, x);
}

enum vmt_status vmt_unit_rows(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                              const vmt_tensor *mask)
{
    BEGIN(unit_rows);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(y, "R", x);
    if (mask)
        WANT(mask, "R", axis(x, 1));
    RUN(unit_rows, y, x, mask);
}

enum vmt_status vmt_unit_rows_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                  const vmt_tensor *x, const vmt_tensor *mask)
{
    BEGIN(unit_rows_bwd);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(dx, "R", x);
    WANT_LIKE(dy, "R", x);
    if (mask)
        WANT(mask, "R", axis(x, 1));
    RUN(unit_rows_bwd, dx, dy, x, mask);
}

enum vmt_status vmt_adamw_step(vmt_ctx *ctx, vmt_tensor *x, vmt_tensor *m, vmt_tensor *v,
                               const vmt_tensor *g, const vmt_adamw *adamw)
{
    BEGIN(adamw_step);
    WANT_LIKE(x, "R", x);
    WANT_LIKE(m, "R", x);
    WANT_LIKE(v, "R", x);
    WANT_LIKE(g, "R", x);
    WANT_THAT("adamw", adamw->step >= 1);
    RUN(adamw_step, x, m, v, g, adamw);
}
