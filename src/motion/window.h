/* SPDX-License-Identifier: MIT
 *
 * Sliding windows: for each pair i < j and each tile of frame i, the part of frame j that the
 * tile's tokens are compared with.  Only the tile's centre token looks at all of frame j; the
 * window lies around the place it expects.  That choice has no gradient.
 */
#ifndef VMT_MOTION_WINDOW_H
#define VMT_MOTION_WINDOW_H

#include "motion/flow_plan.h"

/* Token rows and columns of each window's entries, I32. */
typedef struct vmt_window_set {
    vmt_tensor rows; /* [windowed_pairs, tiles, window_h] */
    vmt_tensor cols; /* [windowed_pairs, tiles, window_w] */
} vmt_window_set;

enum vmt_status vmt_windows_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                   vmt_window_set *windows);

/* Q, K: [frames, tokens, head_dim] R. */
enum vmt_status vmt_windows_choose(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_window_set *windows,
                                   const vmt_tensor *Q, const vmt_tensor *K);

#endif
