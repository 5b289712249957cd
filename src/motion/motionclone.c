/* SPDX-License-Identifier: MIT
 *
 * MotionClone, as far as a transformer without separate temporal attention has it: of each token's
 * attention to another frame only the top_k largest weights count, since the rest is noise or
 * appearance.  Flow and distance are FastVMT's (flow.c) over those keys alone.
 * Source: arXiv 2406.05338; docs/methods.md says what differs.
 */
#include "motion/guidance.h"

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    (void)shape;
    return vmt_guidance_flow_layout(ctx, arena, g, grid, heads, head_dim);
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    VMT_TRY(vmt_guidance_flow_distance(ctx, g, taps, step));
    return vmt_guidance_flow_back(ctx, g, gradient);
}

const vmt_motion_method vmt_method_motionclone = {
    .row = {.name = "motionclone",
            .about = "flow of the largest attention weights alone",
            .paper = "arXiv 2406.05338",
            .taps = "q, k",
            .flow = 1},
    .feature = "amf",
    .tap = VMT_TAP_QK,
    .schedule = {.guided_steps = 1, .inner_steps = 1, .lr_first = 1, .lr_last = 1, .interval = 1},
    .layout = layout,
    .reference = vmt_guidance_flow_reference,
    .gradient = gradient,
};
