/* SPDX-License-Identifier: MIT
 *
 * FastVMT: attention motion flow (flow.c) with a key window that slides over the frame (window.c),
 * and the corresponding-window loss (track.c).  Its third part, gradient reuse, is in guidance.c.
 * Source: arXiv 2602.05551.
 */
#include "motion/guidance.h"

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    (void)shape;
    VMT_TRY(vmt_guidance_flow_layout(ctx, arena, g, grid, heads, head_dim));
    return vmt_track_layout(ctx, arena, &g->plan, &g->means);
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    vmt_flow_memory *m = &g->flow;

    VMT_TRY(vmt_guidance_flow_distance(ctx, g, taps, step));
    VMT_TRY(vmt_track_loss_acc(ctx, &g->plan, &g->track_loss, &m->dK, &g->means, &m->K, &m->windows,
                               step->track_mask, (double)g->settings.track_weight));
    return vmt_guidance_flow_back(ctx, g, gradient);
}

const vmt_motion_method vmt_method_fastvmt = {
    .row = {.name = "fastvmt",
            .about = "attention motion flow in sliding windows, corresponding-window loss, "
                     "gradients reused",
            .paper = "arXiv 2602.05551",
            .taps = "q, k",
            .flow = 1},
    .feature = "amf",
    .tap = VMT_TAP_QK,
    .schedule = {.guided_steps = 1, .inner_steps = 1, .lr_first = 1, .lr_last = 1},
    .layout = layout,
    .reference = vmt_guidance_flow_reference,
    .gradient = gradient,
};
