/* SPDX-License-Identifier: MIT
 *
 * Dense flow of all ordered pairs of frames, the current frame among them, in two settings.
 *
 *   ditflow      as published: logits averaged over the heads; the reference's flow points at each
 *                token's best match; only tokens that move in it count:
 *                    mean over them of |flow - flow_ref|²
 *   ditflow-10   what FastVMT accelerates: its own features, flow, distance and schedule, without
 *                windows, without choice of pairs, without gradient reuse
 *
 * Both distances are sums over a frame's tokens, as FastVMT's.
 * Source: DiTFlow, arXiv 2412.07776.
 */
#include "motion/guidance.h"

static enum vmt_status layout_10(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                                 const int64_t grid[3], int64_t heads, int64_t head_dim,
                                 const int64_t shape[4])
{
    (void)shape;
    return vmt_guidance_flow_layout(ctx, arena, g, grid, heads, head_dim);
}

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    VMT_TRY(layout_10(ctx, arena, g, grid, heads, head_dim, shape));
    return vmt_take(ctx, arena, &g->moving, ctx->real, VMT_SHAPE(g->plan.pairs, g->plan.tokens));
}

/* The best match of each token: arg-max instead of the expected position. */
static enum vmt_status reference(vmt_ctx *ctx, vmt_guidance *g, vmt_tensor *features,
                                 const vmt_taps *taps)
{
    vmt_flow_plan best = g->plan;

    best.top = 1;
    return vmt_flow_of(ctx, &best, &g->flow, features, taps->q, taps->k);
}

/* guidance->moving: 1 for tokens with a reference flow, else 0. */
static enum vmt_status begin(vmt_ctx *ctx, vmt_guidance *g, const vmt_guided_step *step)
{
    const int64_t count = g->plan.pairs * g->plan.tokens;
    float *memory;

    if (step->reference_count != 1)
        return vmt_fail(ctx, VMT_E_INTERNAL, "ditflow takes one reference");
    VMT_TRY(vmt_alloc(ctx, (void **)&memory, (size_t)(3 * count), sizeof *memory));
    float *const moves = memory + 2 * count;
    vmt_tensor flow = vmt_tensor_over(memory, VMT_F32, 3, g->features.axes);
    const vmt_tensor host = vmt_tensor_over(moves, VMT_F32, 2, g->features.axes);
    enum vmt_status status = vmt_download(ctx, &flow, step->references[0].features);
    g->moving_count = 0;
    for (int64_t i = 0; i < count; i++) {
        const bool still = memory[2 * i] == 0.0f && memory[2 * i + 1] == 0.0f;
        moves[i] = still ? 0.0f : 1.0f;
        g->moving_count += !still;
    }
    if (status == VMT_OK)
        status = vmt_upload(ctx, &g->moving, &host);
    vmt_free(memory);
    return status;
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    const vmt_flow_plan *plan = &g->plan;
    vmt_flow_memory *m = &g->flow;
    const double moving = (double)(g->moving_count ? g->moving_count : 1);

    VMT_TRY(vmt_flow_of(ctx, plan, m, &m->flow, taps->q, taps->k));
    VMT_TRY(vmt_zero(ctx, &m->dQ));
    VMT_TRY(vmt_zero(ctx, &m->dK));
    for (int64_t p = 0; p < plan->pairs; p++) {
        const vmt_tensor mine = vmt_index(&m->flow, p), weights = vmt_index(&g->moving, p);
        const vmt_tensor theirs = vmt_index(step->references[0].features, p);
        vmt_tensor dmine = vmt_index(&m->dflow, p);

        VMT_TRY(vmt_flow_loss(ctx, &g->amf_loss, &dmine, &mine, &theirs, &weights,
                              (double)plan->tokens / moving, (double)g->settings.amf_weight));
    }
    return vmt_guidance_flow_back(ctx, g, gradient);
}

static enum vmt_status gradient_10(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                   const vmt_taps *taps, const vmt_guided_step *step)
{
    VMT_TRY(vmt_guidance_flow_distance(ctx, g, taps, step));
    return vmt_guidance_flow_back(ctx, g, gradient);
}

/* Published: 5 inner steps in the first 11 of 50, rates 0.002 to 0.001, logits times 2. */
const vmt_motion_method vmt_method_ditflow = {
    .row = {.name = "ditflow",
            .about = "dense flow of all frame pairs, in its published form",
            .paper = "arXiv 2412.07776",
            .taps = "q, k",
            .flow = 1},
    .feature = "amf",
    .all_pairs = true,
    .tap = VMT_TAP_QK,
    .schedule = {.guided_steps = 1.1,
                 .inner_steps = 0.5,
                 .lr_first = 2.0 / 3.0,
                 .lr_last = 0.5,
                 .interval = 1,
                 .logit_scale = 2},
    .layout = layout,
    .reference = reference,
    .begin = begin,
    .gradient = gradient,
};

const vmt_motion_method vmt_method_ditflow_10 = {
    .row = {.name = "ditflow-10",
            .about = "FastVMT without its reductions: dense flow, all frame pairs, every gradient",
            .paper = "arXiv 2412.07776, as the base of 2602.05551",
            .taps = "q, k",
            .flow = 1},
    .feature = "amf",
    .all_pairs = true,
    .tap = VMT_TAP_QK,
    .schedule = {.guided_steps = 1, .inner_steps = 1, .lr_first = 1, .lr_last = 1, .interval = 1},
    .layout = layout_10,
    .reference = vmt_guidance_flow_reference,
    .gradient = gradient_10,
};
