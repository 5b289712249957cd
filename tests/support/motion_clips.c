/* SPDX-License-Identifier: MIT */
#include "motion_clips.h"

#include <math.h>
#include <string.h>

enum { WAVES = 14 };

/* A sum of waves of 7 to 40 pixels: band limited, so that it can be moved by parts of a pixel. */
typedef struct texture {
    double kx[WAVES], ky[WAVES], cos_phase[3][WAVES], sin_phase[3][WAVES], mean[3];
} texture;

static texture texture_make(unsigned number)
{
    test_rng rng = {0x9e3779b97f4a7c15u * (number + 1)};
    texture t;

    for (int i = 0; i < 8; i++)
        (void)test_uniform(&rng);
    for (int c = 0; c < 3; c++)
        t.mean[c] = 128 + 40 * test_uniform(&rng);
    for (int i = 0; i < WAVES; i++) {
        const double length = 7 * pow(40.0 / 7, (test_uniform(&rng) + 1) / 2);
        const double angle = acos(-1.0) * test_uniform(&rng);
        t.kx[i] = 2 * acos(-1.0) / length * cos(angle);
        t.ky[i] = 2 * acos(-1.0) / length * sin(angle);
        double first = 0;
        for (int c = 0; c < 3; c++) {
            const double own = acos(-1.0) * test_uniform(&rng) * (c ? 0.2 : 1);
            first = c ? first : own;
            t.cos_phase[c][i] = cos(c ? own + first : own);
            t.sin_phase[c][i] = sin(c ? own + first : own);
        }
    }
    return t;
}

static void texture_at(const texture *t, double x, double y, double rgb[3])
{
    for (int c = 0; c < 3; c++)
        rgb[c] = t->mean[c];
    for (int i = 0; i < WAVES; i++) { /* cos(angle + phase), one angle for all colours */
        const double angle = t->kx[i] * x + t->ky[i] * y, s = sin(angle), c0 = cos(angle);
        for (int c = 0; c < 3; c++)
            rgb[c] += 15 * (c0 * t->cos_phase[c][i] - s * t->sin_phase[c][i]);
    }
}

static void rotate(double *x, double *y, double turn)
{
    const double a = *x * cos(turn) - *y * sin(turn), b = *x * sin(turn) + *y * cos(turn);

    *x = a;
    *y = b;
}

/* Centre of disc i at frame t; they meet in the middle of 17 frames. */
static void disc(const motion_clip *m, int64_t width, int64_t height, double t, int i, double *x,
                 double *y)
{
    *x = (double)width / 2 + (i ? -1 : 1) * m->vx * (t - 8);
    *y = (double)height / 2 + m->vy * (t - 8) + (i ? 2 : -2);
}

static double disc_radius(int64_t height)
{
    return (double)height / 5;
}

/* Which layer shows at a place: discs 1 and 0 before the background 2; parallax: 0 above, 1 below.
 */
static int layer_at(const motion_clip *m, int64_t width, int64_t height, double t, double x,
                    double y)
{
    if (m->kind == MOTION_PARALLAX)
        return y >= (double)height / 2;
    if (m->kind != MOTION_CROSSING)
        return 0;
    for (int i = 1; i >= 0; i--) {
        double cx, cy;
        disc(m, width, height, t, i, &cx, &cy);
        if (hypot(x - cx, y - cy) < disc_radius(height))
            return i;
    }
    return 2;
}

/* A place of frame t in the coordinates of its layer's texture; `sign` -1 leads back. */
static void to_texture(const motion_clip *m, int64_t width, int64_t height, int layer, double t,
                       double *x, double *y, bool back)
{
    const double cx = (double)(width - 1) / 2, cy = (double)(height - 1) / 2;
    double sx = 0, sy = 0;

    if (m->kind == MOTION_SHIFT || m->kind == MOTION_PARALLAX) {
        const double share = m->kind == MOTION_PARALLAX && !layer ? 0.5 : 1;
        sx = share * m->vx * t;
        sy = share * m->vy * t;
    }
    if (m->kind == MOTION_CROSSING && layer < 2) {
        disc(m, width, height, t, layer, &sx, &sy);
    }
    if (m->kind == MOTION_ROTATE || m->kind == MOTION_ZOOM) {
        *x -= cx;
        *y -= cy;
        if (m->kind == MOTION_ROTATE)
            rotate(x, y, (back ? 1 : -1) * m->turn * t);
        else {
            const double factor = pow(1 + m->turn, back ? t : -t);
            *x *= factor;
            *y *= factor;
        }
        *x += cx;
        *y += cy;
    }
    *x += back ? sx : -sx;
    *y += back ? sy : -sy;
}

vmt_clip motion_clip_make(vmt_ctx *ctx, const motion_clip *m, int64_t frames, int64_t width,
                          int64_t height)
{
    texture textures[3];
    test_rng rng = {77 + m->texture};
    vmt_clip clip;

    for (unsigned i = 0; i < 3; i++)
        textures[i] = texture_make(3 * m->texture + i);
    CHECK_OK(ctx, vmt_clip_new(ctx, &clip, frames, height, width, 16));
    for (int64_t i = 0; i < frames * height * width; i++) {
        const int64_t t = i / (height * width), row = i / width % height;
        double x = (double)(i % width), y = (double)row, rgb[3];
        const int layer = layer_at(m, width, height, (double)t, x, y);
        to_texture(m, width, height, layer, (double)t, &x, &y, false);
        texture_at(&textures[layer], x, y, rgb);
        for (int c = 0; c < 3; c++) {
            double grain = 0; /* twelve uniform numbers: nearly normal */
            for (int k = 0; m->grain > 0 && k < 12; k++)
                grain += m->grain * test_uniform(&rng) / 2;
            clip.pixels[3 * i + c] = (uint8_t)lrint(fmin(fmax(rgb[c] + grain, 0), 255));
        }
    }
    return clip;
}

bool motion_clip_next(const motion_clip *m, int64_t width, int64_t height, int64_t t, double x,
                      double y, double *to_x, double *to_y)
{
    const int layer = layer_at(m, width, height, (double)t, x, y);

    *to_x = x;
    *to_y = y;
    to_texture(m, width, height, layer, (double)t, to_x, to_y, false);
    to_texture(m, width, height, layer, (double)(t + 1), to_x, to_y, true);
    return layer_at(m, width, height, (double)(t + 1), *to_x, *to_y) == layer && *to_x >= 0 &&
           *to_y >= 0 && *to_x <= (double)(width - 1) && *to_y <= (double)(height - 1);
}

/* The pixel that lies before a place, and the place's distance from it. */
static int64_t pixel_before(int64_t at, int64_t factor, int64_t size, double *share)
{
    const double place = ((double)at + 0.5) / (double)factor - 0.5;
    const double inside = fmin(fmax(place, 0), (double)(size - 1));
    const int64_t first = (int64_t)fmin(inside, (double)(size - 2));

    *share = inside - (double)first;
    return first;
}

vmt_clip motion_clip_enlarge(vmt_ctx *ctx, const vmt_clip *clip, int64_t factor)
{
    const int64_t width = factor * clip->width, height = factor * clip->height;
    vmt_clip large;

    CHECK_OK(ctx, vmt_clip_new(ctx, &large, clip->frames, height, width, clip->fps));
    for (int64_t i = 0; i < clip->frames * height * width; i++) {
        double sx, sy;
        const int64_t x = pixel_before(i % width, factor, clip->width, &sx);
        const int64_t y = pixel_before(i / width % height, factor, clip->height, &sy);
        const uint8_t *above =
            clip->pixels + 3 * ((i / (width * height) * clip->height + y) * clip->width + x);
        const uint8_t *below = above + 3 * clip->width;
        for (int c = 0; c < 3; c++) {
            const double upper = above[c] + sx * (above[c + 3] - above[c]);
            const double lower = below[c] + sx * (below[c + 3] - below[c]);
            large.pixels[3 * i + c] = (uint8_t)lrint(upper + sy * (lower - upper));
        }
    }
    return large;
}

vmt_clip motion_clip_mirror(vmt_ctx *ctx, const vmt_clip *clip)
{
    vmt_clip m;

    CHECK_OK(ctx, vmt_clip_new(ctx, &m, clip->frames, clip->height, clip->width, clip->fps));
    for (int64_t i = 0; i < clip->frames * clip->height * clip->width; i++)
        memcpy(m.pixels + 3 * i,
               clip->pixels + 3 * (i - i % clip->width + clip->width - 1 - i % clip->width), 3);
    return m;
}

vmt_clip motion_clip_reverse(vmt_ctx *ctx, const vmt_clip *clip)
{
    const size_t bytes = (size_t)(3 * clip->width * clip->height);
    vmt_clip r;

    CHECK_OK(ctx, vmt_clip_new(ctx, &r, clip->frames, clip->height, clip->width, clip->fps));
    for (int64_t t = 0; t < clip->frames; t++)
        memcpy(r.pixels + (size_t)t * bytes, clip->pixels + (size_t)(clip->frames - 1 - t) * bytes,
               bytes);
    return r;
}
