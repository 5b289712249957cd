/* SPDX-License-Identifier: MIT
 *
 * Clips whose motion is known: smooth random textures moved by formulas.
 */
#ifndef MOTION_CLIPS_H
#define MOTION_CLIPS_H

#include "testing.h"

enum motion_kind {
    MOTION_STILL = 0,
    MOTION_SHIFT,    /* everything by (vx, vy) pixels a frame */
    MOTION_ROTATE,   /* about the centre by `turn` radians a frame */
    MOTION_ZOOM,     /* about the centre by the factor 1 + turn a frame */
    MOTION_PARALLAX, /* the lower half by (vx, vy), the upper by half of it */
    MOTION_CROSSING  /* a still background, two discs that cross at (vx, vy) and (-vx, vy) */
};

typedef struct motion_clip {
    enum motion_kind kind;
    double vx, vy, turn;
    unsigned texture; /* another number, another texture and colours */
    double grain;     /* standard deviation of noise, grey levels; 0: none */
} motion_clip;

vmt_clip motion_clip_make(vmt_ctx *ctx, const motion_clip *m, int64_t frames, int64_t width,
                          int64_t height);

/* Where what is at (x, y) in frame t is in frame t + 1; false where it is hidden there or now. */
bool motion_clip_next(const motion_clip *m, int64_t width, int64_t height, int64_t t, double x,
                      double y, double *to_x, double *to_y);

/* So many times as large, linear between pixels. */
vmt_clip motion_clip_enlarge(vmt_ctx *ctx, const vmt_clip *clip, int64_t factor);

/* Left and right exchanged; or the frames' order. */
vmt_clip motion_clip_mirror(vmt_ctx *ctx, const vmt_clip *clip);
vmt_clip motion_clip_reverse(vmt_ctx *ctx, const vmt_clip *clip);

#endif
