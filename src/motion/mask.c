/* SPDX-License-Identifier: MIT */
#include "motion/mask.h"

#include <inttypes.h>
#include <math.h>

enum vmt_status vmt_motion_mask_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                       vmt_motion_mask *mask)
{
    VMT_TRY(vmt_take(ctx, arena, &mask->full, ctx->real, VMT_SHAPE(plan->frames, plan->tokens)));
    VMT_TRY(
        vmt_take(ctx, arena, &mask->windowed, ctx->real, VMT_SHAPE(plan->frames, plan->tokens)));
    return vmt_take(ctx, arena, &mask->tile, ctx->real, VMT_SHAPE(plan->frames, plan->tiles));
}

/* Sorts one frame's weights: tile by tile if the flow is so, and the mean of each tile. */
static void arrange(const vmt_flow_plan *plan, float *windowed, float *tile, const float *weights)
{
    const vmt_flow_geometry *g = &plan->geometry;
    int64_t next = 0, t = 0;

    for (int64_t top = 0; top < g->grid_h; top += g->tile_h)
        for (int64_t left = 0; left < g->grid_w; left += g->tile_w) {
            double sum = 0.0;
            int64_t count = 0;

            for (int64_t r = top; r < top + g->tile_h && r < g->grid_h; r++)
                for (int64_t c = left; c < left + g->tile_w && c < g->grid_w; c++) {
                    const int64_t token = r * g->grid_w + c;
                    const int64_t row = g->positions == VMT_POSITIONS_RELEASED ? next : token;
                    windowed[row] = weights[token];
                    sum += (double)weights[token];
                    count++;
                    next++;
                }
            tile[t++] = (float)(sum / (double)count);
        }
}

enum vmt_status vmt_motion_mask_set(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_motion_mask *mask,
                                    const float *weights)
{
    void *memory;
    enum vmt_status status = VMT_OK;

    for (int64_t i = 0; i < plan->frames * plan->tokens; i++)
        if (!(weights[i] >= 0.0f) || !isfinite(weights[i]))
            return vmt_fail(ctx, VMT_E_ARG, "mask: weight %" PRId64 " is %g, must be >= 0", i,
                            (double)weights[i]);
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)(plan->tokens + plan->tiles), sizeof(float)));
    for (int64_t f = 0; f < plan->frames && status == VMT_OK; f++) {
        float *const windowed = memory, *const tile = windowed + plan->tokens;
        const float *const frame = weights + f * plan->tokens;
        const vmt_tensor from[] = {
            vmt_tensor_over((void *)(uintptr_t)frame, VMT_F32, VMT_SHAPE(plan->tokens)),
            vmt_tensor_over(windowed, VMT_F32, VMT_SHAPE(plan->tokens)),
            vmt_tensor_over(tile, VMT_F32, VMT_SHAPE(plan->tiles))};
        vmt_tensor to[] = {vmt_index(&mask->full, f), vmt_index(&mask->windowed, f),
                           vmt_index(&mask->tile, f)};

        arrange(plan, windowed, tile, frame);
        for (int i = 0; i < 3 && status == VMT_OK; i++)
            status = vmt_upload(ctx, &to[i], &from[i]);
    }
    vmt_free(memory);
    return status;
}

vmt_tensor vmt_motion_mask_tokens(const vmt_motion_mask *mask, const vmt_frame_pair *pair)
{
    return vmt_index(pair->windowed ? &mask->windowed : &mask->full, pair->i);
}

vmt_tensor vmt_motion_mask_tiles(const vmt_motion_mask *mask, int64_t i)
{
    return vmt_index(&mask->tile, i);
}
