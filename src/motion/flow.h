/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow: where does each token of frame i find itself again in frame j?
 *
 *     Q, K            features of every token, [frames, tokens, head_dim] R (vmt_qk_reduce)
 *     pairs (i, j)    i <= j < min(frames, i + frame_span), ordered by i, then j
 *     i = j           every token against all tokens of its own frame
 *     i < j           every token against its tile's sliding window in frame j (motion/window.h)
 *     flow            expected position - own position, [pairs, tokens, 2] R, rows then columns
 *
 * So with FastVMT's reductions; a plan without them compares all pairs of frames, or looks at the
 * whole frame, or at the best keys alone.
 *
 * Source: FastVMT, "attention motion flow"; both variants: docs/method.md, docs/released-code.md.
 */
#ifndef VMT_MOTION_FLOW_H
#define VMT_MOTION_FLOW_H

#include "motion/mask.h"
#include "motion/window.h"

/* One thing to follow.  The distance is the sum over all of them, each times its weight. */
typedef struct vmt_motion_reference {
    const vmt_tensor *features; /* a flow: [pairs, tokens, 2] R, of the same plan */
    double weight;
    const vmt_motion_mask *mask; /* which tokens count, and how much; NULL: all, once */
} vmt_motion_reference;

/* flow of all pairs.   Q, K: [frames, tokens, head_dim] R; windows: vmt_windows_choose. */
enum vmt_status vmt_flow_forward(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *flow,
                                 const vmt_window_set *windows, const vmt_tensor *Q,
                                 const vmt_tensor *K);

/* dQ +=, dK += ; flow as the forward gave it.  The windows are constants. */
enum vmt_status vmt_flow_backward_acc(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *dQ,
                                      vmt_tensor *dK, const vmt_tensor *dflow,
                                      const vmt_tensor *flow, const vmt_window_set *windows,
                                      const vmt_tensor *Q, const vmt_tensor *K);

/* *loss += 1/pairs Σ_references Σ_pairs weight · pair weight · Σ_tokens |flow - reference|².
 *   dflow    out  [pairs, tokens, 2] R, grad_scale times its gradient, overwritten
 *   scratch  -    [tokens, 2] R, used from the second reference on */
enum vmt_status vmt_flow_distance(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *loss,
                                  vmt_tensor *dflow, vmt_tensor *scratch, const vmt_tensor *flow,
                                  const vmt_motion_reference *references, int64_t count,
                                  double grad_scale);

/* What a flow is made of and its gradient on the way back. */
typedef struct vmt_flow_memory {
    vmt_tensor dq, dk;       /* [N, heads, head_dim] A */
    vmt_tensor Q, K, dQ, dK; /* [frames, tokens, feature_dim] R */
    vmt_tensor flow, dflow;  /* [pairs, tokens, 2] R */
    vmt_tensor scratch;      /* [tokens, 2] R */
    vmt_window_set windows;
} vmt_flow_memory;

enum vmt_status vmt_flow_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                vmt_flow_memory *memory);

/* flow of a block's q, k ([N, heads, head_dim] A), which may be memory->flow.  Leaves Q, K and
 * windows. */
enum vmt_status vmt_flow_of(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_flow_memory *memory,
                            vmt_tensor *flow, const vmt_tensor *q, const vmt_tensor *k);

/* The way back: memory->dq, dk from memory->dflow, flow, and from what other losses left in dQ,
 * dK. */
enum vmt_status vmt_flow_back(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_flow_memory *memory);

#endif
