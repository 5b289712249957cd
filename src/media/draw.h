/* SPDX-License-Identifier: MIT
 *
 * Lines with soft edges, and a few words, on an RGB frame.
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

/* Mixes `cover` (0..1) of a colour into one pixel. */
void media_draw_pixel(media_canvas *canvas, int64_t x, int64_t y, const uint8_t colour[3],
                      double cover);

/* A dot of that radius where the arrow starts, and from it an arrow when it is longer than that.
 * opacity: 0..1. */
void media_draw_arrow(media_canvas *canvas, media_point from, media_point to, double thickness,
                      const uint8_t colour[3], double opacity);

/* A line with round ends; of no length a dot. */
void media_draw_line(media_canvas *canvas, media_point from, media_point to, double thickness,
                     const uint8_t colour[3], double opacity);

enum { MEDIA_GLYPH_WIDTH = 6, MEDIA_GLYPH_HEIGHT = 7 };

/* Digits, '.', and the letters of "px in frames", in black; each glyph takes MEDIA_GLYPH_WIDTH x
 * MEDIA_GLYPH_HEIGHT pixels times `size`, the column between two included. */
void media_draw_text(media_canvas *canvas, int64_t x, int64_t y, int64_t size, const char *text);

#endif
