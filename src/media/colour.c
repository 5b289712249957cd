/* SPDX-License-Identifier: MIT */
#include "media/colour.h"

#include <math.h>
#include <stddef.h>

enum { ONE = 1 << 16 }; /* fixed point of the coefficients */

typedef struct luma_weights {
    double r, g, b;
} luma_weights;

static luma_weights weights_of(enum media_matrix matrix)
{
    const double r = matrix == MEDIA_BT709 ? 0.2126 : 0.299;
    const double b = matrix == MEDIA_BT709 ? 0.0722 : 0.114;
    return (luma_weights){r, 1 - r - b, b};
}

enum media_matrix media_guess_matrix(int64_t width, int64_t height)
{
    return width >= 1280 || height > 576 ? MEDIA_BT709 : MEDIA_BT601;
}

static uint8_t clamp(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static int64_t last_chroma(int64_t size, int shift)
{
    return ((size + shift) >> shift) - 1;
}

/* The two rows or columns that position `at` lies between, and their weights in quarters. */
typedef struct taps {
    int64_t near, far;
    int near_weight, far_weight; /* sum 4 */
} taps;

static taps taps_at(int64_t at, int shift, bool centred, int64_t last)
{
    const int64_t half = at >> shift;

    if (!shift)
        return (taps){half, half, 4, 0};
    if (centred) {
        const int64_t other = at & 1 ? half + 1 : half - 1;
        return (taps){half, other < 0 ? 0 : other > last ? last : other, 3, 1};
    }
    if (at & 1)
        return (taps){half, half + 1 > last ? last : half + 1, 2, 2};
    return (taps){half, half, 4, 0};
}

/* 16 * (interpolated sample - 128) */
static int chroma_at(const uint8_t *plane, int64_t stride, taps row, taps column)
{
    const uint8_t *a = plane + row.near * stride, *b = plane + row.far * stride;
    const int first = row.near_weight * a[column.near] + row.far_weight * b[column.near];
    const int second = row.near_weight * a[column.far] + row.far_weight * b[column.far];
    return column.near_weight * first + column.far_weight * second - 16 * 128;
}

void media_planes_to_rgb(uint8_t *pixels, const media_planes *p)
{
    const luma_weights k = weights_of(p->matrix);
    const double y_gain = p->full ? 1 : 255.0 / 219, c_gain = p->full ? 1 : 255.0 / 224;
    const int y_one = (int)lrint(y_gain * ONE), black = p->full ? 0 : 16;
    const int r_cr = (int)lrint(c_gain * 2 * (1 - k.r) * ONE);
    const int b_cb = (int)lrint(c_gain * 2 * (1 - k.b) * ONE);
    const int g_cr = (int)lrint(c_gain * 2 * (1 - k.r) * k.r / k.g * ONE);
    const int g_cb = (int)lrint(c_gain * 2 * (1 - k.b) * k.b / k.g * ONE);
    const int64_t last_x = last_chroma(p->width, p->shift_x);
    const int64_t last_y = last_chroma(p->height, p->shift_y);
    const int half = 8 * ONE;

    for (int64_t y = 0; y < p->height; y++) {
        const taps row = taps_at(y, p->shift_y, true, last_y);
        for (int64_t x = 0; x < p->width; x++, pixels += 3) {
            const taps column = taps_at(x, p->shift_x, p->centred, last_x);
            const int cb = p->cb ? chroma_at(p->cb, p->stride_c, row, column) : 0;
            const int cr = p->cb ? chroma_at(p->cr, p->stride_c, row, column) : 0;
            const int luma = 16 * (p->y[y * p->stride_y + x] - black) * y_one + half;
            pixels[0] = clamp((luma + r_cr * cr) >> 20);
            pixels[1] = clamp((luma - g_cr * cr - g_cb * cb) >> 20);
            pixels[2] = clamp((luma + b_cb * cb) >> 20);
        }
    }
}

/* Sum of weighted neighbours of (2x, 2y), weights 1-2-1 by 1-1: 8 in all. */
static void filtered(int sum[3], const uint8_t *pixels, const media_planes *p, int64_t x, int64_t y)
{
    sum[0] = sum[1] = sum[2] = 0;
    for (int64_t dy = 0; dy < 2; dy++) {
        const int64_t row = 2 * y + dy < p->height ? 2 * y + dy : p->height - 1;
        for (int64_t dx = -1; dx <= 1; dx++) {
            int64_t column = 2 * x + dx;
            column = column < 0 ? 0 : column >= p->width ? p->width - 1 : column;
            const uint8_t *rgb = pixels + 3 * (row * p->width + column);
            for (int c = 0; c < 3; c++)
                sum[c] += (dx ? 1 : 2) * rgb[c];
        }
    }
}

static void chroma_from_rgb(media_planes *p, const uint8_t *pixels)
{
    const luma_weights k = weights_of(p->matrix);
    const double gain = (p->full ? 1 : 224.0 / 255) / (p->shift_x ? 8 : 1);
    const double cb_gain = gain / (2 * (1 - k.b)), cr_gain = gain / (2 * (1 - k.r));
    const int64_t last_x = last_chroma(p->width, p->shift_x);
    const int64_t last_y = last_chroma(p->height, p->shift_y);
    int rgb[3];

    for (int64_t y = 0; y <= last_y; y++)
        for (int64_t x = 0; x <= last_x; x++) {
            if (p->shift_x)
                filtered(rgb, pixels, p, x, y);
            else
                for (int c = 0; c < 3; c++)
                    rgb[c] = pixels[3 * (y * p->width + x) + c];
            const double luma = k.r * rgb[0] + k.g * rgb[1] + k.b * rgb[2];
            p->cb[y * p->stride_c + x] = clamp((int)lrint(128 + cb_gain * (rgb[2] - luma)));
            p->cr[y * p->stride_c + x] = clamp((int)lrint(128 + cr_gain * (rgb[0] - luma)));
        }
}

void media_planes_from_rgb(media_planes *p, const uint8_t *pixels)
{
    const luma_weights k = weights_of(p->matrix);
    const double gain = p->full ? 1 : 219.0 / 255, black = p->full ? 0 : 16;

    for (int64_t y = 0; y < p->height; y++)
        for (int64_t x = 0; x < p->width; x++) {
            const uint8_t *rgb = pixels + 3 * (y * p->width + x);
            const double luma = k.r * rgb[0] + k.g * rgb[1] + k.b * rgb[2];
            p->y[y * p->stride_y + x] = clamp((int)lrint(black + gain * luma));
        }
    chroma_from_rgb(p, pixels);
}
