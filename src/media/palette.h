/* SPDX-License-Identifier: MIT
 *
 * A clip's colours in 255: by splitting boxes at their mean, then moving each colour to the mean of
 * what it stands for.  A clip of at most 255 colours keeps them.
 */
#ifndef VMT_MEDIA_PALETTE_H
#define VMT_MEDIA_PALETTE_H

#include "base/ctx.h"

enum { MEDIA_PALETTE_COLOURS = 255 };

typedef struct media_palette media_palette;

/* Allocated; freed with vmt_free.  Errors: VMT_E_MEMORY, VMT_E_CANCELLED. */
enum vmt_status media_palette_make(vmt_ctx *ctx, media_palette **palette, const vmt_clip *clip);

/* Colour `index`, 3 values; black from the last colour on. */
const uint8_t *media_palette_colour(const media_palette *palette, int index);

/* One frame as indices, [height, width].  Ordered dither: it stands still where the picture does,
 * and is as strong as the palette is coarse. */
void media_palette_apply(media_palette *palette, uint8_t *indices, const uint8_t *pixels,
                         int64_t width, int64_t height);

#endif
