/* SPDX-License-Identifier: MIT */
#include "motion/flow.h"

enum vmt_status vmt_flow_forward(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *flow,
                                 const vmt_window_set *windows, const vmt_tensor *Q,
                                 const vmt_tensor *K)
{
    for (vmt_frame_pair pair = vmt_frame_pair_first(plan); vmt_frame_pair_valid(plan, &pair);
         vmt_frame_pair_next(plan, &pair)) {
        vmt_tensor out = vmt_index(flow, pair.index);
        const vmt_tensor q = vmt_index(Q, pair.i), k = vmt_index(K, pair.j);

        if (pair.i == pair.j) {
            VMT_TRY(vmt_flow_full(ctx, &out, &q, &k, &plan->geometry, plan->logit_scale));
        } else {
            const vmt_tensor rows = vmt_index(&windows->rows, pair.window);
            const vmt_tensor cols = vmt_index(&windows->cols, pair.window);
            VMT_TRY(vmt_flow_windowed(ctx, &out, &q, &k, &rows, &cols, &plan->geometry,
                                      plan->logit_scale));
        }
    }
    return VMT_OK;
}

enum vmt_status vmt_flow_backward_acc(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *dQ,
                                      vmt_tensor *dK, const vmt_tensor *dflow,
                                      const vmt_tensor *flow, const vmt_window_set *windows,
                                      const vmt_tensor *Q, const vmt_tensor *K)
{
    for (vmt_frame_pair pair = vmt_frame_pair_first(plan); vmt_frame_pair_valid(plan, &pair);
         vmt_frame_pair_next(plan, &pair)) {
        vmt_tensor dq = vmt_index(dQ, pair.i), dk = vmt_index(dK, pair.j);
        const vmt_tensor q = vmt_index(Q, pair.i), k = vmt_index(K, pair.j);
        const vmt_tensor out = vmt_index(flow, pair.index), dout = vmt_index(dflow, pair.index);

        if (pair.i == pair.j) {
            VMT_TRY(vmt_flow_full_bwd_acc(ctx, &dq, &dk, &dout, &out, &q, &k, &plan->geometry,
                                          plan->logit_scale));
        } else {
            const vmt_tensor rows = vmt_index(&windows->rows, pair.window);
            const vmt_tensor cols = vmt_index(&windows->cols, pair.window);
            VMT_TRY(vmt_flow_windowed_bwd_acc(ctx, &dq, &dk, &dout, &out, &q, &k, &rows, &cols,
                                              &plan->geometry, plan->logit_scale));
        }
    }
    return VMT_OK;
}

enum vmt_status vmt_flow_distance(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *loss,
                                  vmt_tensor *dflow, vmt_tensor *scratch, const vmt_tensor *flow,
                                  const vmt_motion_reference *references, int64_t count,
                                  double grad_scale)
{
    if (count < 1)
        return vmt_fail(ctx, VMT_E_INTERNAL, "flow distance: no reference");
    for (vmt_frame_pair pair = vmt_frame_pair_first(plan); vmt_frame_pair_valid(plan, &pair);
         vmt_frame_pair_next(plan, &pair)) {
        const vmt_tensor mine = vmt_index(flow, pair.index);
        vmt_tensor dmine = vmt_index(dflow, pair.index);

        for (int64_t r = 0; r < count; r++) {
            const vmt_tensor theirs = vmt_index(references[r].flow, pair.index);
            const double weight = references[r].weight * pair.weight / (double)plan->pairs;
            vmt_tensor tokens;

            if (references[r].mask)
                tokens = vmt_motion_mask_tokens(references[r].mask, &pair);
            VMT_TRY(vmt_flow_loss(ctx, loss, r == 0 ? &dmine : scratch, &mine, &theirs,
                                  references[r].mask ? &tokens : NULL, weight, grad_scale));
            if (r > 0)
                VMT_TRY(vmt_lincomb(ctx, &dmine, &dmine, scratch, 1.0, 1.0));
        }
    }
    return VMT_OK;
}
