/* SPDX-License-Identifier: MIT
 *
 * The motion field as pictures: arrows over a frame, and colours.  What is known to be unsure
 * (field->confidence) is faint in both.
 */
#ifndef VMT_MEDIA_FLOW_PICTURE_H
#define VMT_MEDIA_FLOW_PICTURE_H

#include "media/draw.h"
#include "media/media.h"

/* Arrows of video frame `frame` on the canvas, which shows that frame `enlarged` times. */
void media_field_arrows(media_canvas *canvas, const vmt_motion_field *field, int64_t frame,
                        double enlarged);

/* The length, in pixels, that gets a full colour: all but the longest hundredth, each times its
 * confidence, have less, and it is at least half a token, so that a still clip stays pale. */
double media_field_scale(vmt_ctx *ctx, const vmt_motion_field *field);

/* The same field in colours, with the wheel that explains them: hue = direction (right red, down
 * yellow-green, left cyan, up violet), from white = no motion to full = `scale` pixels. */
void media_field_colours(media_canvas *canvas, const vmt_motion_field *field, int64_t frame,
                         double enlarged, double scale);

#endif
