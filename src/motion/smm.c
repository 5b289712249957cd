/* SPDX-License-Identifier: MIT
 *
 * Spatial marginal means: how the mean hidden state of a few cells of the frame, beside that of the
 * whole frame, changes from frame to frame (hidden.h).
 * Source: Space-Time Features, arXiv 2311.17009; docs/methods.md says what differs.
 */
#include "motion/guidance.h"

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    const int64_t side = g->settings.smm_pool;

    (void)shape;
    if (side < 2)
        return vmt_fail(ctx, VMT_E_ARG, "smm-pool: %d, must be at least 2", (int)side);
    VMT_TRY(vmt_hidden_layout(ctx, arena, &g->hidden, grid, heads * head_dim, side));
    g->features = (vmt_feature_shape){.rank = 2,
                                      .axes = {g->hidden.moved.shape[0], g->hidden.moved.shape[1]}};
    return VMT_OK;
}

static enum vmt_status reference(vmt_ctx *ctx, vmt_guidance *g, vmt_tensor *features,
                                 const vmt_taps *taps)
{
    VMT_TRY(vmt_hidden_moved(ctx, &g->hidden, taps->hidden));
    return vmt_unit_rows(ctx, features, &g->hidden.moved, NULL);
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    VMT_TRY(vmt_hidden_moved(ctx, &g->hidden, taps->hidden));
    gradient->hidden = &g->hidden.dhidden;
    return vmt_hidden_distance(ctx, &g->hidden, &g->amf_loss, step->references[0].features, NULL,
                               (double)g->settings.amf_weight);
}

const vmt_motion_method vmt_method_smm = {
    .row = {.name = "smm",
            .about = "mean hidden states of a few cells of the frame, from frame to frame",
            .paper = "arXiv 2311.17009",
            .taps = "hidden"},
    .feature = "smm",
    .tap = VMT_TAP_HIDDEN,
    .schedule = {.guided_steps = 1, .inner_steps = 1, .lr_first = 1, .lr_last = 1, .interval = 1},
    .layout = layout,
    .reference = reference,
    .gradient = gradient,
};
