/* SPDX-License-Identifier: MIT */
#include "media/draw.h"

#include <math.h>

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

/* Coverage falls from 1 to 0 across the one pixel at the edge. */
static void draw_line(media_canvas *c, media_point a, media_point b, double thickness,
                      const uint8_t colour[3])
{
    const double reach = thickness / 2 + 1;
    const int64_t x0 = limit(fmin(a.x, b.x) - reach, c->width);
    const int64_t x1 = limit(fmax(a.x, b.x) + reach + 1, c->width);
    const int64_t y0 = limit(fmin(a.y, b.y) - reach, c->height);
    const int64_t y1 = limit(fmax(a.y, b.y) + reach + 1, c->height);

    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) {
            const media_point p = {(double)x + 0.5, (double)y + 0.5};
            double cover = thickness / 2 + 0.5 - distance(p, a, b);
            if (cover <= 0)
                continue;
            cover = cover > 1 ? 1 : cover;
            uint8_t *rgb = c->pixels + y * c->row_bytes + 3 * x;
            for (int i = 0; i < 3; i++)
                rgb[i] = (uint8_t)lrint(rgb[i] + cover * (colour[i] - rgb[i]));
        }
}

static void draw_shape(media_canvas *c, media_point from, media_point to, double thickness,
                       double head, const uint8_t colour[3])
{
    const double dx = to.x - from.x, dy = to.y - from.y, length = hypot(dx, dy);

    draw_line(c, from, from, 2 * thickness, colour);
    if (!(length > thickness)) /* NaN too */
        return;
    const double ux = dx / length, uy = dy / length;
    const double barb = fmin(head, 0.6 * length), slope = 0.55;
    const media_point left = {to.x - barb * (ux + slope * uy), to.y - barb * (uy - slope * ux)};
    const media_point right = {to.x - barb * (ux - slope * uy), to.y - barb * (uy + slope * ux)};
    draw_line(c, from, to, thickness, colour);
    draw_line(c, to, left, thickness, colour);
    draw_line(c, to, right, thickness, colour);
}

void media_draw_arrow(media_canvas *canvas, media_point from, media_point to, double thickness,
                      const uint8_t colour[3])
{
    static const uint8_t outline[3] = {0, 0, 0};
    const double head = 4 * thickness;

    draw_shape(canvas, from, to, thickness + 2, head, outline);
    draw_shape(canvas, from, to, thickness, head, colour);
}
