/* SPDX-License-Identifier: MIT */
#include "motion/track.h"

enum vmt_status vmt_track_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                 vmt_track_means *means)
{
    const vmt_flow_geometry *g = &plan->geometry;
    const int64_t width =
        g->positions == VMT_POSITIONS_RELEASED ? g->window_h * g->window_w : plan->head_dim;
    const int64_t windows =
        plan->frame_span < plan->frames ? plan->frame_span - 1 : plan->frames - 1;

    if (!plan->windowed)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &means->mean, ctx->real, VMT_SHAPE(windows, plan->tiles, width)));
    return vmt_take(ctx, arena, &means->dmean, ctx->real, VMT_SHAPE(windows, plan->tiles, width));
}

/* Frames that frame i has windows in. */
static int64_t windows_of(const vmt_flow_plan *plan, int64_t i)
{
    const int64_t left = plan->frames - i;

    return (left < plan->frame_span ? left : plan->frame_span) - 1;
}

/* The part of frame i, whose windows are numbers first..first+count-1 of the set. */
static enum vmt_status track_frame(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *loss,
                                   vmt_tensor *dK, vmt_track_means *means, const vmt_tensor *K,
                                   const vmt_window_set *windows, const vmt_tensor *tile_weights,
                                   int64_t i, int64_t first, double weight, double grad_scale)
{
    const int64_t count = windows_of(plan, i);

    VMT_TRY(vmt_zero(ctx, &means->dmean));
    for (int64_t n = 0; n < count; n++) {
        vmt_tensor mean = vmt_index(&means->mean, n);
        const vmt_tensor k = vmt_index(K, i + 1 + n);
        const vmt_tensor rows = vmt_index(&windows->rows, first + n);
        const vmt_tensor cols = vmt_index(&windows->cols, first + n);

        VMT_TRY(vmt_window_mean(ctx, &mean, &k, &rows, &cols, &plan->geometry));
    }
    for (int64_t n = 0; n + 1 < count; n++) {
        const vmt_tensor a = vmt_index(&means->mean, n), b = vmt_index(&means->mean, n + 1);
        vmt_tensor da = vmt_index(&means->dmean, n), db = vmt_index(&means->dmean, n + 1);

        VMT_TRY(vmt_track_loss(ctx, loss, &da, &db, &a, &b, tile_weights, weight, grad_scale));
    }
    for (int64_t n = 0; n < count; n++) {
        vmt_tensor dk = vmt_index(dK, i + 1 + n);
        const vmt_tensor dmean = vmt_index(&means->dmean, n);
        const vmt_tensor rows = vmt_index(&windows->rows, first + n);
        const vmt_tensor cols = vmt_index(&windows->cols, first + n);

        VMT_TRY(vmt_window_mean_bwd_acc(ctx, &dk, &dmean, &rows, &cols, &plan->geometry));
    }
    return VMT_OK;
}

enum vmt_status vmt_track_loss_acc(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *loss,
                                   vmt_tensor *dK, vmt_track_means *means, const vmt_tensor *K,
                                   const vmt_window_set *windows, const vmt_motion_mask *mask,
                                   double grad_scale)
{
    int64_t followed = 0; /* frames with two windows or more */
    int64_t first = 0;

    if (!plan->windowed)
        return VMT_OK;
    for (int64_t i = 0; i < plan->frames; i++)
        followed += windows_of(plan, i) >= 2;
    for (int64_t i = 0; i < plan->frames; i++) {
        const int64_t count = windows_of(plan, i);

        if (count >= 2) {
            const double terms = (double)followed * (double)(count - 1) * (double)plan->tiles;
            vmt_tensor tiles;
            if (mask)
                tiles = vmt_motion_mask_tiles(mask, i);
            VMT_TRY(track_frame(ctx, plan, loss, dK, means, K, windows, mask ? &tiles : NULL, i,
                                first, 1.0 / terms, grad_scale));
        }
        first += count;
    }
    return VMT_OK;
}
