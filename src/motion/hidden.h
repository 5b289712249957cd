/* SPDX-License-Identifier: MIT
 *
 * What MOFT and SMM share: how the hidden state of parts of the frame changes from frame to frame.
 *
 *     pooled   mean of the hidden state over cells of the frame, [frames, cells, dim]; with more
 * than one cell, minus their mean: what is the same all over the frame moved    pooled[f + 1] -
 * pooled[f], one row per step, [frames - 1, cells · dim] unit     each row, masked, at length 1
 *     loss     mean over the rows of |unit - reference|²
 */
#ifndef VMT_MOTION_HIDDEN_H
#define VMT_MOTION_HIDDEN_H

#include "tensor/tensor.h"

typedef struct vmt_hidden_memory {
    vmt_pooling pooling;
    vmt_tensor pooled, dpooled; /* [frames, cells, dim] R */
    vmt_tensor moved, dmoved;   /* [frames - 1, cells · dim] R */
    vmt_tensor unit, dunit;     /* [frames - 1, cells · dim] R */
    vmt_tensor dhidden;         /* [N, dim] R */
} vmt_hidden_memory;

/* side: cells of each side of the frame.  Errors: VMT_E_ARG with fewer than two latent frames. */
enum vmt_status vmt_hidden_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_hidden_memory *memory,
                                  const int64_t grid[3], int64_t dim, int64_t side);

/* Leaves `moved`.   hidden: [N, dim] R. */
enum vmt_status vmt_hidden_moved(vmt_ctx *ctx, vmt_hidden_memory *memory, const vmt_tensor *hidden);

/* *loss += ; dhidden = grad_scale times its gradient.  After vmt_hidden_moved.
 *   reference  [frames - 1, cells · dim] R;   mask  [cells · dim] R or NULL */
enum vmt_status vmt_hidden_distance(vmt_ctx *ctx, vmt_hidden_memory *memory, vmt_tensor *loss,
                                    const vmt_tensor *reference, const vmt_tensor *mask,
                                    double grad_scale);

#endif
