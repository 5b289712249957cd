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
 * Source: FastVMT, "attention motion flow"; both variants: docs/method.md, docs/released-code.md.
 */
#ifndef VMT_MOTION_FLOW_H
#define VMT_MOTION_FLOW_H

#include "motion/mask.h"
#include "motion/window.h"

/* One thing to follow.  The distance is the sum over all of them, each times its weight. */
typedef struct vmt_motion_reference {
    const vmt_tensor *flow; /* [pairs, tokens, 2] R, of the same plan */
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

#endif
