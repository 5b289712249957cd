/* SPDX-License-Identifier: MIT
 *
 * The ops of the motion guidance.
 */
#include "backend/cuda/cuda_state.h"

#include <math.h>

#define LAUNCH(op, call) return cuda_check(ctx, #op, cuda_##call)
#define STREAM cuda_of(ctx)->stream

static cuda_flow_geometry geometry_of(const vmt_flow_geometry *g)
{
    return (cuda_flow_geometry){.grid_h = (int)g->grid_h,
                                .grid_w = (int)g->grid_w,
                                .tile_h = (int)g->tile_h,
                                .tile_w = (int)g->tile_w,
                                .window_h = (int)g->window_h,
                                .window_w = (int)g->window_w,
                                .released = g->positions == VMT_POSITIONS_RELEASED,
                                .tiles = (int)vmt_flow_tiles(g)};
}

static float logit_factor(double logit_scale, int64_t d)
{
    return (float)(logit_scale / sqrt((double)d));
}

static enum vmt_status qk_reduce(vmt_ctx *ctx, vmt_tensor *Q, const vmt_tensor *q,
                                 enum vmt_qk_reduction reduction)
{
    LAUNCH(qk_reduce, qk_reduce(STREAM, Q->data, cuda_view_of(q), reduction == VMT_REDUCE_RELEASED,
                                q->shape[0], q->shape[1], q->shape[2]));
}

static enum vmt_status qk_reduce_bwd(vmt_ctx *ctx, vmt_tensor *dq, const vmt_tensor *dQ,
                                     enum vmt_qk_reduction reduction)
{
    LAUNCH(qk_reduce_bwd,
           qk_reduce_bwd(STREAM, cuda_view_of(dq), dQ->data, reduction == VMT_REDUCE_RELEASED,
                         dq->shape[0], dq->shape[1], dq->shape[2]));
}

/* z = x yᵀ.   z: [rows, keys]; x: [rows, d]; y: [keys, d]. */
static enum vmt_status logits(vmt_ctx *ctx, float *z, const float *x, const float *y, int64_t rows,
                              int64_t keys, int64_t d)
{
    const cuda_matmul product = {.m = rows,
                                 .n = keys,
                                 .k = d,
                                 .a_row = d,
                                 .b_row = d,
                                 .c_row = keys,
                                 .in = VMT_F32,
                                 .out = VMT_F32,
                                 .b_turned = true};
    return cuda_matmul_run(ctx, &product, z, x, y, NULL, NULL);
}

/* Logits of all pairs of a frame's tokens, in scratch. */
static enum vmt_status pair_logits(vmt_ctx *ctx, float **z, const vmt_tensor *q,
                                   const vmt_tensor *k)
{
    const int64_t tokens = q->shape[0];
    void *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory, (size_t)(tokens * tokens) * sizeof(float)));
    *z = memory;
    return logits(ctx, *z, q->data, k->data, tokens, tokens, q->shape[1]);
}

/* dq += dz k, dk += dzᵀ q.   dz: [tokens, tokens]. */
static enum vmt_status spread_dz(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, const float *dz,
                                 const vmt_tensor *q, const vmt_tensor *k)
{
    const int64_t tokens = q->shape[0], d = q->shape[1];
    cuda_matmul product = {.m = tokens,
                           .n = d,
                           .k = tokens,
                           .a_row = tokens,
                           .b_row = d,
                           .c_row = d,
                           .in = VMT_F32,
                           .out = VMT_F32,
                           .add = true};

    VMT_TRY(cuda_matmul_run(ctx, &product, dq->data, dz, k->data, NULL, NULL));
    product.a_turned = true;
    return cuda_matmul_run(ctx, &product, dk->data, dz, q->data, NULL, NULL);
}

static enum vmt_status flow_full(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                 const vmt_tensor *k, const vmt_flow_geometry *geometry,
                                 double logit_scale)
{
    const int64_t tokens = q->shape[0];
    float *z = NULL;

    VMT_TRY(pair_logits(ctx, &z, q, k));
    LAUNCH(flow_full, flow_expect(STREAM, flow->data, z, logit_factor(logit_scale, q->shape[1]),
                                  tokens, tokens, (int)geometry->grid_w, true));
}

static enum vmt_status flow_full_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                         const vmt_tensor *dflow, const vmt_tensor *flow,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_flow_geometry *geometry, double logit_scale)
{
    float *z = NULL;

    VMT_TRY(pair_logits(ctx, &z, q, k));
    VMT_TRY(cuda_check(ctx, "flow_full_bwd_acc",
                       cuda_flow_full_dz(STREAM, z, dflow->data, flow->data,
                                         logit_factor(logit_scale, q->shape[1]), q->shape[0],
                                         (int)geometry->grid_w)));
    return spread_dz(ctx, dq, dk, z, q, k);
}

/* Logits of all pairs, of which each query keeps its largest. */
static enum vmt_status top_logits(vmt_ctx *ctx, float **z, const vmt_tensor *q, const vmt_tensor *k,
                                  int64_t top)
{
    VMT_TRY(pair_logits(ctx, z, q, k));
    LAUNCH(flow_top, keep_top(STREAM, *z, q->shape[0], q->shape[0], top));
}

static enum vmt_status flow_top(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                const vmt_tensor *k, const vmt_flow_geometry *geometry,
                                double logit_scale, int64_t top)
{
    const int64_t tokens = q->shape[0];
    float *z = NULL;

    VMT_TRY(top_logits(ctx, &z, q, k, top));
    LAUNCH(flow_top, flow_expect(STREAM, flow->data, z, logit_factor(logit_scale, q->shape[1]),
                                 tokens, tokens, (int)geometry->grid_w, true));
}

static enum vmt_status flow_top_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                        const vmt_tensor *dflow, const vmt_tensor *flow,
                                        const vmt_tensor *q, const vmt_tensor *k,
                                        const vmt_flow_geometry *geometry, double logit_scale,
                                        int64_t top)
{
    float *z = NULL;

    VMT_TRY(top_logits(ctx, &z, q, k, top));
    VMT_TRY(cuda_check(ctx, "flow_top_bwd_acc",
                       cuda_flow_full_dz(STREAM, z, dflow->data, flow->data,
                                         logit_factor(logit_scale, q->shape[1]), q->shape[0],
                                         (int)geometry->grid_w)));
    return spread_dz(ctx, dq, dk, z, q, k);
}

static enum vmt_status flow_windows(vmt_ctx *ctx, vmt_tensor *rows, vmt_tensor *cols,
                                    const vmt_tensor *q, const vmt_tensor *k,
                                    const vmt_flow_geometry *geometry, double logit_scale)
{
    const int64_t tokens = q->shape[0], d = q->shape[1], tiles = rows->shape[0];
    const cuda_flow_geometry g = geometry_of(geometry);
    void *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory, (size_t)(tiles * (d + tokens + 2)) * sizeof(float)));
    float *const centres = memory, *const z = centres + tiles * d,
                 *const places = z + tiles * tokens;
    VMT_TRY(cuda_check(ctx, "flow_windows", cuda_flow_centres(STREAM, centres, q->data, g, d)));
    VMT_TRY(logits(ctx, z, centres, k->data, tiles, tokens, d));
    VMT_TRY(cuda_check(ctx, "flow_windows",
                       cuda_flow_expect(STREAM, places, z, logit_factor(logit_scale, d), tiles,
                                        tokens, g.grid_w, false)));
    LAUNCH(flow_windows, flow_place(STREAM, rows->data, cols->data, places, g));
}

static enum vmt_status flow_windowed(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                     const vmt_tensor *k, const vmt_tensor *rows,
                                     const vmt_tensor *cols, const vmt_flow_geometry *geometry,
                                     double logit_scale)
{
    float *z = NULL;

    VMT_TRY(pair_logits(ctx, &z, q, k));
    LAUNCH(flow_windowed,
           flow_windowed(STREAM, flow->data, z, rows->data, cols->data, geometry_of(geometry),
                         logit_factor(logit_scale, q->shape[1])));
}

static enum vmt_status flow_windowed_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                             const vmt_tensor *dflow, const vmt_tensor *flow,
                                             const vmt_tensor *q, const vmt_tensor *k,
                                             const vmt_tensor *rows, const vmt_tensor *cols,
                                             const vmt_flow_geometry *geometry, double logit_scale)
{
    float *z = NULL;

    VMT_TRY(pair_logits(ctx, &z, q, k));
    VMT_TRY(cuda_check(ctx, "flow_windowed_bwd_acc",
                       cuda_flow_windowed_dz(STREAM, z, dflow->data, flow->data, rows->data,
                                             cols->data, geometry_of(geometry),
                                             logit_factor(logit_scale, q->shape[1]))));
    return spread_dz(ctx, dq, dk, z, q, k);
}

static enum vmt_status flow_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *dflow,
                                 const vmt_tensor *flow, const vmt_tensor *ref,
                                 const vmt_tensor *token_weights, double weight, double grad_scale)
{
    LAUNCH(flow_loss, flow_loss(STREAM, loss->data, dflow ? dflow->data : NULL, flow->data,
                                ref->data, token_weights ? token_weights->data : NULL, weight,
                                (float)(2 * grad_scale * weight), flow->shape[0], flow->shape[1]));
}

static enum vmt_status window_mean(vmt_ctx *ctx, vmt_tensor *mean, const vmt_tensor *k,
                                   const vmt_tensor *rows, const vmt_tensor *cols,
                                   const vmt_flow_geometry *geometry)
{
    LAUNCH(window_mean, window_mean(STREAM, mean->data, k->data, rows->data, cols->data,
                                    geometry_of(geometry), k->shape[1]));
}

static enum vmt_status window_mean_bwd_acc(vmt_ctx *ctx, vmt_tensor *dk, const vmt_tensor *dmean,
                                           const vmt_tensor *rows, const vmt_tensor *cols,
                                           const vmt_flow_geometry *geometry)
{
    LAUNCH(window_mean_bwd_acc, window_mean_bwd(STREAM, dk->data, dmean->data, rows->data,
                                                cols->data, geometry_of(geometry), dk->shape[1]));
}

static enum vmt_status track_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *da, vmt_tensor *db,
                                  const vmt_tensor *a, const vmt_tensor *b,
                                  const vmt_tensor *tile_weights, double weight, double grad_scale)
{
    void *norms = NULL;

    VMT_TRY(cuda_scratch(ctx, &norms, (size_t)a->shape[0] * sizeof(double)));
    LAUNCH(track_loss, track_loss(STREAM, loss->data, da ? da->data : NULL, db ? db->data : NULL,
                                  norms, a->data, b->data, tile_weights ? tile_weights->data : NULL,
                                  weight, grad_scale, a->shape[0], a->shape[1]));
}

static cuda_pooling pooling_of(const vmt_pooling *p)
{
    return (cuda_pooling){.grid_h = (int)p->grid_h,
                          .grid_w = (int)p->grid_w,
                          .cells_h = (int)p->cells_h,
                          .cells_w = (int)p->cells_w};
}

static enum vmt_status pool(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                            const vmt_pooling *pooling)
{
    LAUNCH(pool, pool(STREAM, y->data, x->data, pooling_of(pooling), x->shape[0], x->shape[2]));
}

static enum vmt_status pool_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                const vmt_pooling *pooling)
{
    LAUNCH(pool_bwd,
           pool_bwd(STREAM, dx->data, dy->data, pooling_of(pooling), dx->shape[0], dx->shape[2]));
}

static enum vmt_status centre(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    LAUNCH(centre, centre(STREAM, y->data, x->data, x->shape[0], x->shape[1], x->shape[2]));
}

static enum vmt_status unit_rows(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                 const vmt_tensor *mask)
{
    LAUNCH(unit_rows,
           unit_rows(STREAM, y->data, x->data, mask ? mask->data : NULL, x->shape[0], x->shape[1]));
}

static enum vmt_status unit_rows_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                     const vmt_tensor *x, const vmt_tensor *mask)
{
    LAUNCH(unit_rows_bwd, unit_rows_bwd(STREAM, dx->data, dy->data, x->data,
                                        mask ? mask->data : NULL, x->shape[0], x->shape[1]));
}

static enum vmt_status adamw_step(vmt_ctx *ctx, vmt_tensor *x, vmt_tensor *m, vmt_tensor *v,
                                  const vmt_tensor *g, const vmt_adamw *adamw)
{
    const double k = (double)adamw->step;
    const cuda_adamw a = {.beta1 = (float)adamw->beta1,
                          .rest1 = (float)(1 - adamw->beta1),
                          .beta2 = (float)adamw->beta2,
                          .rest2 = (float)(1 - adamw->beta2),
                          .keep = (float)(1 - adamw->lr * adamw->weight_decay),
                          .rate = (float)(adamw->lr / (1 - pow(adamw->beta1, k))),
                          .root = (float)sqrt(1 - pow(adamw->beta2, k)),
                          .eps = (float)adamw->eps};
    LAUNCH(adamw_step, adamw_step(STREAM, x->data, m->data, v->data, g->data, a, vmt_numel(x)));
}

void cuda_table_motion(vmt_ops *ops)
{
    ops->qk_reduce = qk_reduce;
    ops->qk_reduce_bwd = qk_reduce_bwd;
    ops->flow_full = flow_full;
    ops->flow_full_bwd_acc = flow_full_bwd_acc;
    ops->flow_top = flow_top;
    ops->flow_top_bwd_acc = flow_top_bwd_acc;
    ops->flow_windows = flow_windows;
    ops->flow_windowed = flow_windowed;
    ops->flow_windowed_bwd_acc = flow_windowed_bwd_acc;
    ops->flow_loss = flow_loss;
    ops->window_mean = window_mean;
    ops->window_mean_bwd_acc = window_mean_bwd_acc;
    ops->track_loss = track_loss;
    ops->pool = pool;
    ops->pool_bwd = pool_bwd;
    ops->centre = centre;
    ops->unit_rows = unit_rows;
    ops->unit_rows_bwd = unit_rows_bwd;
    ops->adamw_step = adamw_step;
}
