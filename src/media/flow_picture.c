/* SPDX-License-Identifier: MIT */
#include "media/flow_picture.h"

#include "base/ctx.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_ARROWS = 24 /* across the wider side; finer fields are thinned out */ };

/* What the field says of one place. */
typedef struct motion {
    double rows, cols, confidence; /* pixels, pixels, 0..1 */
} motion;

/* A frame's motion leads to the next latent frame; the last one's is repeated. */
static int64_t field_frame(const vmt_motion_field *f, int64_t frame)
{
    const int64_t i = (frame + f->frames_per_latent - 1) / f->frames_per_latent;

    return i < f->frames ? i : f->frames - 1;
}

static motion motion_at(const vmt_motion_field *f, int64_t t, int64_t row, int64_t col)
{
    const int64_t token = (t * f->grid_h + row) * f->grid_w + col;

    return (motion){(double)f->flow[2 * token], (double)f->flow[2 * token + 1],
                    f->confidence ? (double)f->confidence[token] : 1};
}

void media_field_arrows(media_canvas *canvas, const vmt_motion_field *f, int64_t frame,
                        double enlarged)
{
    static const uint8_t yellow[3] = {255, 220, 40};
    const int64_t t = field_frame(f, frame);
    const int64_t wider = f->grid_h > f->grid_w ? f->grid_h : f->grid_w;
    const int64_t step = (wider + MOST_ARROWS - 1) / MOST_ARROWS;

    for (int64_t r = step / 2; r < f->grid_h; r += step)
        for (int64_t c = step / 2; c < f->grid_w; c += step) {
            const motion m = motion_at(f, t, r, c);
            const media_point from = {((double)c + 0.5) * f->cell_w * enlarged,
                                      ((double)r + 0.5) * f->cell_h * enlarged};
            const media_point to = {from.x + enlarged * m.cols, from.y + enlarged * m.rows};
            media_draw_arrow(canvas, from, to, 2, yellow, m.confidence);
        }
}

/* ---- colours */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

double media_field_scale(vmt_ctx *ctx, const vmt_motion_field *f)
{
    const int64_t count = f->frames * f->grid_h * f->grid_w;
    double scale = fmin(f->cell_h, f->cell_w) / 2;
    float *lengths;

    if (vmt_alloc(ctx, (void **)&lengths, (size_t)count, sizeof *lengths) != VMT_OK)
        return scale;
    for (int64_t i = 0; i < count; i++)
        lengths[i] =
            hypotf(f->flow[2 * i], f->flow[2 * i + 1]) * (f->confidence ? f->confidence[i] : 1);
    qsort(lengths, (size_t)count, sizeof *lengths, ascending);
    scale = fmax(scale, (double)lengths[(count - 1) * 99 / 100]);
    vmt_free(lengths);
    return ceil(scale);
}

/* Red, yellow, green, cyan, blue, magenta at sixths of the circle, clockwise from the right. */
static void wheel_colour(uint8_t rgb[3], double rows, double cols, double full)
{
    const double turn = (atan2(rows, cols) / (2 * acos(-1.0)) + 1) * 6;

    for (int i = 0; i < 3; i++) {
        const double at = fmod(turn + 6 - 2 * i, 6); /* this channel is full within 1 of 0 */
        const double far = fmin(at, 6 - at);
        const double hue = far < 1 ? 1 : far < 2 ? 2 - far : 0;
        rgb[i] = (uint8_t)lrint(255 * (1 - full + full * hue));
    }
}

static motion mix(motion a, motion b, double share)
{
    return (motion){a.rows + share * (b.rows - a.rows), a.cols + share * (b.cols - a.cols),
                    a.confidence + share * (b.confidence - a.confidence)};
}

/* Where a place lies between the centres of two tokens. */
static double between(double place, double cell, int64_t tokens, int64_t pair[2])
{
    const double at = fmin(fmax(place / cell - 0.5, 0), (double)(tokens - 1));

    pair[0] = (int64_t)at;
    pair[1] = pair[0] + 1 < tokens ? pair[0] + 1 : pair[0];
    return at - (double)pair[0];
}

static void draw_legend(media_canvas *canvas, const vmt_motion_field *f, double scale)
{
    static const uint8_t white[3] = {255, 255, 255}, grey[3] = {90, 90, 90};
    const int64_t size = canvas->height < 300 ? 1 : canvas->height / 300;
    const int64_t radius = 20 * size, margin = 4 * size;
    char text[64];

    const int chars = snprintf(text, sizeof text, "%.0f px in %" PRId64 " frame%s", scale,
                               f->frames_per_latent, f->frames_per_latent == 1 ? "" : "s");
    const int64_t width = 2 * radius + chars * MEDIA_GLYPH_WIDTH * size + 3 * margin;
    const int64_t height = 2 * (radius + margin);
    const int64_t top = canvas->height - height;
    if (top < 0 || width > canvas->width)
        return; /* too small a picture for words */
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const double dx = (double)(x - margin - radius) + 0.5;
            const double dy = (double)(y - margin - radius) + 0.5;
            const double far = hypot(dx, dy) - (double)radius;
            uint8_t rgb[3];
            wheel_colour(rgb, dy, dx, 1 + far / (double)radius);
            media_draw_pixel(canvas, x, top + y, far < 0 ? rgb : far < size ? grey : white, 1);
        }
    media_draw_text(canvas, 2 * (radius + margin), top + margin + radius - 3 * size, size, text);
}

void media_field_colours(media_canvas *canvas, const vmt_motion_field *f, int64_t frame,
                         double enlarged, double scale)
{
    const int64_t t = field_frame(f, frame);

    for (int64_t y = 0; y < canvas->height; y++) {
        int64_t rows[2], cols[2];
        const double down = between(((double)y + 0.5) / enlarged, f->cell_h, f->grid_h, rows);
        for (int64_t x = 0; x < canvas->width; x++) {
            const double right = between(((double)x + 0.5) / enlarged, f->cell_w, f->grid_w, cols);
            const motion m = mix(
                mix(motion_at(f, t, rows[0], cols[0]), motion_at(f, t, rows[0], cols[1]), right),
                mix(motion_at(f, t, rows[1], cols[0]), motion_at(f, t, rows[1], cols[1]), right),
                down);
            const double full = fmin(hypot(m.rows, m.cols) / scale, 1) * m.confidence;
            wheel_colour(canvas->pixels + y * canvas->row_bytes + 3 * x, m.rows, m.cols, full);
        }
    }
    draw_legend(canvas, f, scale);
}
