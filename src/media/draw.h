/* SPDX-License-Identifier: MIT
 *
 * Lines with soft edges on an RGB frame.
 */
#ifndef VMT_MEDIA_DRAW_H
#define VMT_MEDIA_DRAW_H

#include <stdint.h>

typedef struct media_canvas {
    uint8_t *pixels; /* [height, row_bytes] */
    int64_t width, height, row_bytes;
} media_canvas;

typedef struct media_point {
    double x, y; /* pixels; the centre of the first one is (0.5, 0.5) */
} media_point;

/* A dot of that radius where the arrow starts, and from it an arrow when it is longer than that. */
void media_draw_arrow(media_canvas *canvas, media_point from, media_point to, double thickness,
                      const uint8_t colour[3]);

#endif
