/* SPDX-License-Identifier: MIT
 *
 * Resizing of one RGB frame.
 */
#ifndef VMT_MEDIA_RESIZE_H
#define VMT_MEDIA_RESIZE_H

#include "base/ctx.h"
#include "media/media.h"

/* A part of a frame, in place. */
typedef struct media_view {
    const uint8_t *pixels;
    int64_t width, height, row_bytes;
} media_view;

/**
 * Bicubic (a = -0.5) with the kernel widened when shrinking, 22 bits of fixed point, columns first:
 * bit for bit what PIL's Image.resize gives, which is what FastVMT feeds its model.
 *   to  [height, row_bytes] with width pixels a row
 */
enum vmt_status media_resize(vmt_ctx *ctx, uint8_t *to, int64_t width, int64_t height,
                             int64_t row_bytes, const media_view *from);

/* [height, width, 3] out of a frame of another size, as `fit` says. */
enum vmt_status media_fit_frame(vmt_ctx *ctx, uint8_t *to, int64_t width, int64_t height,
                                enum media_fit fit, const media_view *from, double pixel_aspect);

#endif
