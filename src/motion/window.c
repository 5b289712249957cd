/* SPDX-License-Identifier: MIT */
#include "motion/window.h"

enum vmt_status vmt_windows_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                   vmt_window_set *windows)
{
    const vmt_flow_geometry *g = &plan->geometry;

    if (!plan->windowed)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &windows->rows, VMT_I32,
                     VMT_SHAPE(plan->windowed_pairs, plan->tiles, g->window_h)));
    return vmt_take(ctx, arena, &windows->cols, VMT_I32,
                    VMT_SHAPE(plan->windowed_pairs, plan->tiles, g->window_w));
}

enum vmt_status vmt_windows_choose(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_window_set *windows,
                                   const vmt_tensor *Q, const vmt_tensor *K)
{
    for (vmt_frame_pair pair = vmt_frame_pair_first(plan); vmt_frame_pair_valid(plan, &pair);
         vmt_frame_pair_next(plan, &pair)) {
        const vmt_tensor q = vmt_index(Q, pair.i), k = vmt_index(K, pair.j);
        vmt_tensor rows, cols;

        if (!pair.windowed)
            continue;
        rows = vmt_index(&windows->rows, pair.window);
        cols = vmt_index(&windows->cols, pair.window);
        VMT_TRY(vmt_flow_windows(ctx, &rows, &cols, &q, &k, &plan->geometry, plan->logit_scale));
    }
    return VMT_OK;
}
