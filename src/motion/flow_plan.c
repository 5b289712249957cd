/* SPDX-License-Identifier: MIT */
#include "motion/flow_plan.h"

#include <inttypes.h>
#include <math.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---------------------------------------------------------------- pairs of frames */

static void weigh(const vmt_flow_plan *plan, vmt_frame_pair *pair)
{
    const double far = (double)(pair->j - pair->i);

    pair->windowed = plan->windowed && pair->i < pair->j;
    pair->weight = 1.0;
    if (plan->frame_span > 1 && !plan->all_pairs)
        pair->weight += (plan->last_pair_weight - 1.0) * far / (double)(plan->frame_span - 1);
}

vmt_frame_pair vmt_frame_pair_first(const vmt_flow_plan *plan)
{
    vmt_frame_pair pair = {0};

    weigh(plan, &pair);
    return pair;
}

bool vmt_frame_pair_valid(const vmt_flow_plan *plan, const vmt_frame_pair *pair)
{
    return pair->i < plan->frames;
}

void vmt_frame_pair_next(const vmt_flow_plan *plan, vmt_frame_pair *pair)
{
    pair->index++;
    pair->window += pair->windowed;
    pair->j++;
    if (pair->j ==
        (plan->all_pairs ? plan->frames : least(plan->frames, pair->i + plan->frame_span))) {
        pair->i++;
        pair->j = plan->all_pairs ? 0 : pair->i;
    }
    weigh(plan, pair);
}

/* ---------------------------------------------------------------- the plan */

static enum vmt_status check_ranges(vmt_ctx *ctx, const vmt_motion_settings *m)
{
    if (m->amf_tile[0] < 1 || m->amf_tile[1] < 1)
        return vmt_fail(ctx, VMT_E_ARG,
                        "amf-tile: %" PRId32 "x%" PRId32 ", both must be at least 1",
                        m->amf_tile[0], m->amf_tile[1]);
    if (m->amf_window < 0)
        return vmt_fail(ctx, VMT_E_ARG, "amf-window: %" PRId32 ", must be at least 0",
                        m->amf_window);
    if (m->method == VMT_METHOD_MOTIONCLONE && m->top_k < 2)
        return vmt_fail(ctx, VMT_E_ARG,
                        "top-k: %" PRId32 ", must be at least 2: the place of one key has no "
                        "gradient",
                        m->top_k);
    if (m->max_frame_gap < 1)
        return vmt_fail(ctx, VMT_E_ARG, "max-frame-gap: %" PRId32 ", must be at least 1",
                        m->max_frame_gap);
    if (!isfinite(m->logit_scale) || !isfinite(m->last_pair_weight))
        return vmt_fail(ctx, VMT_E_ARG, "logit-scale %g, last-pair-weight %g: must be finite",
                        (double)m->logit_scale, (double)m->last_pair_weight);
    return VMT_OK;
}

/* The released arithmetic has no answer for other shapes: its reshapes fail there. */
static enum vmt_status check_released(vmt_ctx *ctx, const vmt_flow_plan *plan, int64_t window)
{
    const vmt_flow_geometry *g = &plan->geometry;

    if (plan->frames * plan->tokens % plan->heads != 0)
        return vmt_fail(ctx, VMT_E_ARG,
                        "variant released: %" PRId64 " tokens do not divide by %" PRId64
                        " heads; choose another size, or variant paper",
                        plan->frames * plan->tokens, plan->heads);
    if (!plan->windowed)
        return VMT_OK;
    if (window % 2 == 0 || least(g->grid_h, g->grid_w) <= window / 2)
        return vmt_fail(ctx, VMT_E_ARG,
                        "variant released on %" PRId64 "x%" PRId64 " tokens: amf-window %" PRId64
                        " must be odd and less than %" PRId64 "; choose it so, or variant paper",
                        g->grid_h, g->grid_w, window, 2 * least(g->grid_h, g->grid_w));
    if (g->grid_h % g->tile_h != 0 || g->grid_w % g->tile_w != 0)
        return vmt_fail(ctx, VMT_E_ARG,
                        "variant released: amf-tile %" PRId64 "x%" PRId64
                        " does not divide the %" PRId64 "x%" PRId64
                        " tokens of a frame; choose one that does, or variant paper",
                        g->tile_h, g->tile_w, g->grid_h, g->grid_w);
    return VMT_OK;
}

/* Where the methods differ. */
static void choose_method(vmt_flow_plan *plan, const vmt_motion_settings *settings)
{
    plan->feature_dim = plan->head_dim;
    plan->windowed = settings->method == VMT_METHOD_FASTVMT && settings->amf_window > 0;
    switch ((enum vmt_method)settings->method) {
    case VMT_METHOD_DITFLOW:
        plan->all_pairs = plan->keeps_heads = true;
        plan->feature_dim = plan->heads * plan->head_dim;
        /* a token's logits of all heads are averaged: q·k / (heads · √head_dim) */
        plan->logit_scale /= sqrt((double)plan->heads);
        return;
    case VMT_METHOD_DITFLOW_10:
        plan->all_pairs = true;
        return;
    case VMT_METHOD_MOTIONCLONE:
        plan->top = settings->top_k;
        return;
    case VMT_METHOD_FASTVMT:
    case VMT_METHOD_MOFT:
    case VMT_METHOD_SMM:
    case VMT_METHOD_FLOWMOTION:
    case VMT_METHOD_NONE:
    case VMT_METHOD_NOISE:
    case VMT_METHOD_COUNT:
        return;
    }
}

enum vmt_status vmt_flow_plan_make(vmt_ctx *ctx, vmt_flow_plan *plan,
                                   const vmt_motion_settings *settings, const int64_t grid[3],
                                   int64_t heads, int64_t head_dim)
{
    const bool released = settings->variant == VMT_VARIANT_RELEASED;
    const int64_t window = settings->amf_window;

    VMT_TRY(check_ranges(ctx, settings));
    *plan = (vmt_flow_plan){
        .geometry = {.grid_h = grid[1],
                     .grid_w = grid[2],
                     .tile_h = settings->amf_tile[0],
                     .tile_w = settings->amf_tile[1],
                     .window_h = released ? window : least(window, grid[1]),
                     .window_w = released ? window : least(window, grid[2]),
                     .positions = released ? VMT_POSITIONS_RELEASED : VMT_POSITIONS_FRAME},
        .reduction = released ? VMT_REDUCE_RELEASED : VMT_REDUCE_HEADS,
        .frames = grid[0],
        .tokens = grid[1] * grid[2],
        .heads = heads,
        .head_dim = head_dim,
        .frame_span = settings->max_frame_gap,
        .logit_scale = (double)settings->logit_scale,
        .last_pair_weight = (double)settings->last_pair_weight,
    };
    choose_method(plan, settings);
    if (released)
        VMT_TRY(check_released(ctx, plan, window));
    plan->tiles = vmt_flow_tiles(&plan->geometry);
    for (int64_t i = 0; i < plan->frames; i++)
        plan->pairs += plan->all_pairs ? plan->frames : least(plan->frames - i, plan->frame_span);
    plan->windowed_pairs = plan->windowed ? plan->pairs - plan->frames : 0;
    return VMT_OK;
}
