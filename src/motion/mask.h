/* SPDX-License-Identifier: MIT
 *
 * How much each token's motion counts.  A weight belongs to a token of frame i, the first of a
 * pair.
 */
#ifndef VMT_MOTION_MASK_H
#define VMT_MOTION_MASK_H

#include "motion/flow_plan.h"

typedef struct vmt_motion_mask {
    vmt_tensor full;     /* [frames, tokens] R, in the flow's row order for i = j */
    vmt_tensor windowed; /* [frames, tokens] R, in its row order for i < j */
    vmt_tensor tile;     /* [frames, tiles] R, mean over the tile's tokens */
} vmt_motion_mask;

enum vmt_status vmt_motion_mask_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                       vmt_motion_mask *mask);

/* Fills a mask from weights >= 0 on the host, [frames, rows, columns] of tokens. */
enum vmt_status vmt_motion_mask_set(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_motion_mask *mask,
                                    const float *weights);

/* The weights of one pair's flow, [tokens] R. */
vmt_tensor vmt_motion_mask_tokens(const vmt_motion_mask *mask, const vmt_frame_pair *pair);

/* The weights of frame i's tiles, [tiles] R. */
vmt_tensor vmt_motion_mask_tiles(const vmt_motion_mask *mask, int64_t i);

#endif
