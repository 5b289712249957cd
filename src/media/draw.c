/* SPDX-License-Identifier: MIT */
#include "media/draw.h"

#include <math.h>
#include <stddef.h>

/* Distance from p to the segment a–b. */
static double distance(media_point p, media_point a, media_point b)
{
    const double dx = b.x - a.x, dy = b.y - a.y, square = dx * dx + dy * dy;
    double at = square > 0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / square : 0;

    at = at < 0 ? 0 : at > 1 ? 1 : at;
    return hypot(p.x - a.x - at * dx, p.y - a.y - at * dy);
}

static int64_t limit(double value, int64_t most)
{
    return value < 0 ? 0 : value > (double)most ? most : (int64_t)value;
}

void media_draw_pixel(media_canvas *c, int64_t x, int64_t y, const uint8_t colour[3], double cover)
{
    uint8_t *rgb = c->pixels + y * c->row_bytes + 3 * x;

    for (int i = 0; i < 3; i++)
        rgb[i] = (uint8_t)lrint(rgb[i] + cover * (colour[i] - rgb[i]));
}

typedef struct stroke {
    media_point a, b;
    double thickness;
} stroke;

/* An arrow: dot, shaft, two barbs; of a short one the dot alone.  Returns how many. */
static int arrow_strokes(stroke strokes[4], media_point from, media_point to, double thickness)
{
    const double dx = to.x - from.x, dy = to.y - from.y, length = hypot(dx, dy);

    strokes[0] = (stroke){from, from, 2 * thickness};
    if (!(length > thickness)) /* NaN too */
        return 1;
    const double ux = dx / length, uy = dy / length;
    const double barb = fmin(4 * thickness, 0.6 * length), slope = 0.55;
    const media_point left = {to.x - barb * (ux + slope * uy), to.y - barb * (uy - slope * ux)};
    const media_point right = {to.x - barb * (ux - slope * uy), to.y - barb * (uy + slope * ux)};
    strokes[1] = (stroke){from, to, thickness};
    strokes[2] = (stroke){to, left, thickness};
    strokes[3] = (stroke){to, right, thickness};
    return 4;
}

/* All strokes as one shape, `wider` than they are.  Coverage falls from 1 to 0 across the one pixel
 * at the edge. */
static void draw_shape(media_canvas *c, const stroke *strokes, int count, double wider,
                       const uint8_t colour[3], double opacity)
{
    double low_x = INFINITY, high_x = -INFINITY, low_y = INFINITY, high_y = -INFINITY;

    for (int i = 0; i < count; i++) {
        const stroke *s = &strokes[i];
        const double reach = (s->thickness + wider) / 2 + 1;
        low_x = fmin(low_x, fmin(s->a.x, s->b.x) - reach);
        high_x = fmax(high_x, fmax(s->a.x, s->b.x) + reach + 1);
        low_y = fmin(low_y, fmin(s->a.y, s->b.y) - reach);
        high_y = fmax(high_y, fmax(s->a.y, s->b.y) + reach + 1);
    }
    const int64_t x0 = limit(low_x, c->width), x1 = limit(high_x, c->width);
    const int64_t y0 = limit(low_y, c->height), y1 = limit(high_y, c->height);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) {
            const media_point p = {(double)x + 0.5, (double)y + 0.5};
            double cover = 0;
            for (int i = 0; i < count; i++) {
                const stroke *s = &strokes[i];
                const double radius = (s->thickness + wider) / 2;
                cover = fmax(cover, radius + 0.5 - distance(p, s->a, s->b));
            }
            if (cover > 0)
                media_draw_pixel(c, x, y, colour, opacity * fmin(cover, 1));
        }
}

void media_draw_arrow(media_canvas *canvas, media_point from, media_point to, double thickness,
                      const uint8_t colour[3], double opacity)
{
    static const uint8_t outline[3] = {0, 0, 0};
    stroke strokes[4];
    const int count = arrow_strokes(strokes, from, to, thickness);

    draw_shape(canvas, strokes, count, 2, outline, opacity);
    draw_shape(canvas, strokes, count, 0, colour, opacity);
}

void media_draw_line(media_canvas *canvas, media_point from, media_point to, double thickness,
                     const uint8_t colour[3], double opacity)
{
    const stroke line = {from, to, thickness};

    draw_shape(canvas, &line, 1, 0, colour, opacity);
}

/* ---- words */

/* Seven rows of five pixels each, the leftmost in bit 4. */
typedef struct glyph {
    char letter;
    uint8_t rows[MEDIA_GLYPH_HEIGHT];
} glyph;

static const glyph glyphs[] = {
    {'0', {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e}},
    {'1', {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'2', {0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f}},
    {'3', {0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e}},
    {'4', {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02}},
    {'5', {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e}},
    {'6', {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e}},
    {'7', {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08}},
    {'8', {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e}},
    {'9', {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c}},
    {'.', {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c}},
    {'a', {0x00, 0x00, 0x0e, 0x01, 0x0f, 0x11, 0x0f}},
    {'e', {0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e}},
    {'f', {0x06, 0x08, 0x1c, 0x08, 0x08, 0x08, 0x08}},
    {'i', {0x04, 0x00, 0x0c, 0x04, 0x04, 0x04, 0x0e}},
    {'m', {0x00, 0x00, 0x1a, 0x15, 0x15, 0x15, 0x15}},
    {'n', {0x00, 0x00, 0x16, 0x19, 0x11, 0x11, 0x11}},
    {'p', {0x00, 0x00, 0x1e, 0x11, 0x1e, 0x10, 0x10}},
    {'r', {0x00, 0x00, 0x16, 0x19, 0x10, 0x10, 0x10}},
    {'s', {0x00, 0x00, 0x0f, 0x10, 0x0e, 0x01, 0x1e}},
    {'x', {0x00, 0x00, 0x11, 0x0a, 0x04, 0x0a, 0x11}},
};

static void draw_glyph(media_canvas *c, int64_t left, int64_t top, int64_t size, const glyph *g)
{
    static const uint8_t black[3] = {0, 0, 0};

    for (int64_t y = 0; y < MEDIA_GLYPH_HEIGHT * size; y++)
        for (int64_t x = 0; x < (MEDIA_GLYPH_WIDTH - 1) * size; x++)
            if ((g->rows[y / size] >> (MEDIA_GLYPH_WIDTH - 2 - x / size) & 1) &&
                left + x < c->width && top + y < c->height)
                media_draw_pixel(c, left + x, top + y, black, 1);
}

void media_draw_text(media_canvas *canvas, int64_t x, int64_t y, int64_t size, const char *text)
{
    for (; *text; text++, x += MEDIA_GLYPH_WIDTH * size)
        for (size_t i = 0; i < sizeof glyphs / sizeof *glyphs; i++)
            if (glyphs[i].letter == *text)
                draw_glyph(canvas, x, y, size, &glyphs[i]);
}
