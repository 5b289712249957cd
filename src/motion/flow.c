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

        if (!pair.windowed && plan->top) {
            VMT_TRY(vmt_flow_top(ctx, &out, &q, &k, &plan->geometry, plan->logit_scale, plan->top));
        } else if (!pair.windowed) {
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

        if (!pair.windowed && plan->top) {
            VMT_TRY(vmt_flow_top_bwd_acc(ctx, &dq, &dk, &dout, &out, &q, &k, &plan->geometry,
                                         plan->logit_scale, plan->top));
        } else if (!pair.windowed) {
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
            const vmt_tensor theirs = vmt_index(references[r].features, pair.index);
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

/* ---------------------------------------------------------------- from and to a block's q, k */

enum vmt_status vmt_flow_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                vmt_flow_memory *memory)
{
    vmt_flow_memory *const m = memory;
    vmt_tensor *const heads[] = {&m->dq, &m->dk}, *const features[] = {&m->Q, &m->K, &m->dQ,
                                                                       &m->dK};
    vmt_tensor *const flows[] = {&m->flow, &m->dflow};

    for (int i = 0; i < 2; i++)
        VMT_TRY(vmt_take(ctx, arena, heads[i], ctx->act,
                         VMT_SHAPE(plan->frames * plan->tokens, plan->heads, plan->head_dim)));
    for (int i = 0; i < 4; i++)
        VMT_TRY(vmt_take(ctx, arena, features[i], ctx->real,
                         VMT_SHAPE(plan->frames, plan->tokens, plan->feature_dim)));
    for (int i = 0; i < 2; i++)
        VMT_TRY(vmt_take(ctx, arena, flows[i], ctx->real, VMT_SHAPE(plan->pairs, plan->tokens, 2)));
    VMT_TRY(vmt_take(ctx, arena, &m->scratch, ctx->real, VMT_SHAPE(plan->tokens, 2)));
    return vmt_windows_layout(ctx, arena, plan, &m->windows);
}

/* [frames, tokens, feature_dim] as the rows that q or k make: [N, head_dim], or all heads apart. */
static vmt_tensor feature_rows(const vmt_flow_plan *plan, const vmt_tensor *t)
{
    const int64_t rows = plan->frames * plan->tokens;

    return plan->keeps_heads ? vmt_reshape(t, VMT_SHAPE(rows, plan->heads, plan->head_dim))
                             : vmt_reshape(t, VMT_SHAPE(rows, plan->head_dim));
}

enum vmt_status vmt_flow_of(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_flow_memory *memory,
                            vmt_tensor *flow, const vmt_tensor *q, const vmt_tensor *k)
{
    vmt_tensor Q = feature_rows(plan, &memory->Q), K = feature_rows(plan, &memory->K);

    if (plan->keeps_heads) {
        VMT_TRY(vmt_copy(ctx, &Q, q));
        VMT_TRY(vmt_copy(ctx, &K, k));
    } else {
        VMT_TRY(vmt_qk_reduce(ctx, &Q, q, plan->reduction));
        VMT_TRY(vmt_qk_reduce(ctx, &K, k, plan->reduction));
    }
    VMT_TRY(vmt_windows_choose(ctx, plan, &memory->windows, &memory->Q, &memory->K));
    return vmt_flow_forward(ctx, plan, flow, &memory->windows, &memory->Q, &memory->K);
}

enum vmt_status vmt_flow_back(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_flow_memory *memory)
{
    vmt_flow_memory *const m = memory;
    const vmt_tensor dQ = feature_rows(plan, &m->dQ), dK = feature_rows(plan, &m->dK);

    VMT_TRY(vmt_flow_backward_acc(ctx, plan, &m->dQ, &m->dK, &m->dflow, &m->flow, &m->windows,
                                  &m->Q, &m->K));
    if (plan->keeps_heads) {
        VMT_TRY(vmt_copy(ctx, &m->dq, &dQ));
        return vmt_copy(ctx, &m->dk, &dK);
    }
    VMT_TRY(vmt_qk_reduce_bwd(ctx, &m->dq, &dQ, plan->reduction));
    return vmt_qk_reduce_bwd(ctx, &m->dk, &dK, plan->reduction);
}
