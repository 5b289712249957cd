/* SPDX-License-Identifier: MIT
 *
 * Corresponding-window loss: the windows that follow one tile through the frames j = i+1, i+2, …
 * show the same thing, so their mean features should not change from frame to frame.
 *
 *     track = mean over i, consecutive j and tiles t of ‖mean_{j+1}[t] - mean_j[t]‖₂
 *
 * over the frames i that have two windows or more; 0 when there is none, or no windows at all.  It
 * looks at the generated clip only.  Source: FastVMT, "corresponding window loss".
 */
#ifndef VMT_MOTION_TRACK_H
#define VMT_MOTION_TRACK_H

#include "motion/mask.h"
#include "motion/window.h"

/* Means of the windows of one frame i, and their gradients. */
typedef struct vmt_track_means {
    vmt_tensor mean, dmean; /* [frame_span - 1, tiles, C] R; C = head_dim, or the window's entries
                               in the released arithmetic */
} vmt_track_means;

enum vmt_status vmt_track_layout(vmt_ctx *ctx, vmt_arena *arena, const vmt_flow_plan *plan,
                                 vmt_track_means *means);

/* *loss += track; dK += grad_scale · d track / dK.   K, dK: [frames, tokens, head_dim] R.
 *   mask  weights of tiles, or NULL */
enum vmt_status vmt_track_loss_acc(vmt_ctx *ctx, const vmt_flow_plan *plan, vmt_tensor *loss,
                                   vmt_tensor *dK, vmt_track_means *means, const vmt_tensor *K,
                                   const vmt_window_set *windows, const vmt_motion_mask *mask,
                                   double grad_scale);

#endif
