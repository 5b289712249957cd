/* SPDX-License-Identifier: MIT
 *
 * 8 bit Y'CbCr planes to R'G'B' and back.  Sources: ITU-R BT.601-7 section 2.5, BT.709-6 section 3.
 */
#ifndef VMT_MEDIA_COLOUR_H
#define VMT_MEDIA_COLOUR_H

#include <stdbool.h>
#include <stdint.h>

enum media_matrix { MEDIA_BT601 = 0, MEDIA_BT709 };

typedef struct media_planes {
    uint8_t *y, *cb, *cr; /* cb NULL: grey */
    int64_t stride_y, stride_c;
    int64_t width, height; /* of y; chroma: divided by 1 << shift, rounded up */
    int shift_x, shift_y;  /* 0 or 1: chroma has half the columns, rows */
    bool centred;          /* chroma between two columns (JPEG, MPEG-1), else on the even ones */
    bool full;             /* 0..255, else 16..235 and 16..240 */
    enum media_matrix matrix;
} media_planes;

/* The matrix of untagged video of this size. */
enum media_matrix media_guess_matrix(int64_t width, int64_t height);

/* pixels: [height, width, 3].  Chroma is interpolated linearly. */
void media_planes_to_rgb(uint8_t *pixels, const media_planes *planes);

/* Chroma is filtered by 1-2-1 across columns (left-sited) and 1-1 across rows; `centred` must be
 * false, and shifts both 0 or both 1. */
void media_planes_from_rgb(media_planes *planes, const uint8_t *pixels);

#endif
