/* SPDX-License-Identifier: MIT */
#include "media/resize.h"

#include <math.h>
#include <string.h>

enum { FRACTION_BITS = 22 }; /* 8 bits of pixel, 2 of headroom for the kernel's overshoot */

typedef struct kernel {
    int64_t *first; /* per output: first input and number of inputs */
    int64_t *count;
    int32_t *weights; /* [outputs, taps] */
    int64_t taps;
} kernel;

/* Keys' cubic with a = -1/2. */
static double cubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void kernel_free(kernel *k)
{
    vmt_free(k->first);
    vmt_free(k->count);
    vmt_free(k->weights);
}

static void kernel_row(kernel *k, int64_t at, double scale, int64_t in)
{
    const double widened = scale < 1 ? 1 : scale, support = 2 * widened, shrink = 1 / widened;
    const double centre = ((double)at + 0.5) * scale;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    int32_t *weights = k->weights + at * k->taps;
    double sum = 0;

    first = first < 0 ? 0 : first;
    end = end > in ? in : end;
    for (int64_t i = first; i < end; i++)
        sum += cubic(((double)i - centre + 0.5) * shrink);
    for (int64_t i = first; i < end; i++) {
        const double weight = cubic(((double)i - centre + 0.5) * shrink) / sum;
        weights[i - first] = (int32_t)(weight * (1 << FRACTION_BITS) + (weight < 0 ? -0.5 : 0.5));
    }
    k->first[at] = first;
    k->count[at] = end - first;
}

static enum vmt_status kernel_make(vmt_ctx *ctx, kernel *k, int64_t in, int64_t out)
{
    const double scale = (double)in / (double)out;
    void *first, *count, *weights;

    *k = (kernel){.taps = 2 * (int64_t)ceil(2 * (scale < 1 ? 1 : scale)) + 1};
    VMT_TRY(vmt_alloc(ctx, &first, (size_t)out, sizeof *k->first));
    k->first = first;
    VMT_TRY(vmt_alloc(ctx, &count, (size_t)out, sizeof *k->count));
    k->count = count;
    VMT_TRY(vmt_alloc(ctx, &weights, (size_t)(out * k->taps), sizeof *k->weights));
    k->weights = weights;
    for (int64_t i = 0; i < out; i++)
        kernel_row(k, i, scale, in);
    return VMT_OK;
}

/* One pixel: inputs lie `step` bytes apart. */
static void weigh(uint8_t *to, const uint8_t *from, int64_t step, const int32_t *weights,
                  int64_t count)
{
    int64_t sum[3] = {1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1)};

    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++)
            sum[c] += (int64_t)weights[i] * from[i * step + c];
    for (int c = 0; c < 3; c++) {
        const int64_t value = sum[c] >> FRACTION_BITS;
        to[c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static enum vmt_status resize_with(vmt_ctx *ctx, uint8_t *to, int64_t width, int64_t height,
                                   int64_t row_bytes, const media_view *from, const kernel *across,
                                   const kernel *down)
{
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)from->height, (size_t)(3 * width)));
    uint8_t *narrow = memory;
    for (int64_t y = 0; y < from->height; y++)
        for (int64_t x = 0; x < width; x++)
            weigh(narrow + (y * width + x) * 3,
                  from->pixels + y * from->row_bytes + 3 * across->first[x], 3,
                  across->weights + x * across->taps, across->count[x]);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            weigh(to + y * row_bytes + 3 * x, narrow + (down->first[y] * width + x) * 3, 3 * width,
                  down->weights + y * down->taps, down->count[y]);
    vmt_free(memory);
    return VMT_OK;
}

enum vmt_status media_resize(vmt_ctx *ctx, uint8_t *to, int64_t width, int64_t height,
                             int64_t row_bytes, const media_view *from)
{
    kernel across = {0}, down = {0};

    if (from->width == width && from->height == height) {
        for (int64_t y = 0; y < height; y++)
            memcpy(to + y * row_bytes, from->pixels + y * from->row_bytes, (size_t)(3 * width));
        return VMT_OK;
    }
    enum vmt_status status = kernel_make(ctx, &across, from->width, width);
    if (status == VMT_OK)
        status = kernel_make(ctx, &down, from->height, height);
    if (status == VMT_OK)
        status = resize_with(ctx, to, width, height, row_bytes, from, &across, &down);
    kernel_free(&across);
    kernel_free(&down);
    return status;
}

static int64_t at_least_one(double value, int64_t most)
{
    const int64_t whole = (int64_t)value;
    return whole < 1 ? 1 : whole > most ? most : whole;
}

enum vmt_status media_fit_frame(vmt_ctx *ctx, uint8_t *to, int64_t width, int64_t height,
                                enum media_fit fit, const media_view *from, double pixel_aspect)
{
    /* aspect ratio of the target, measured in pixels of the source */
    const double aspect = (double)width / (double)height / pixel_aspect;
    const double have = (double)from->width / (double)from->height;
    const double slack = 1e-9;
    media_view part = *from;
    int64_t w = width, h = height;

    if (fit == MEDIA_FIT_CROP && have > aspect * (1 + slack))
        part.width = at_least_one((double)from->height * aspect + slack, from->width);
    else if (fit == MEDIA_FIT_CROP && have < aspect * (1 - slack))
        part.height = at_least_one((double)from->width / aspect + slack, from->height);
    else if (fit == MEDIA_FIT_PAD && have > aspect * (1 + slack))
        h = at_least_one((double)height * aspect / have + 0.5, height);
    else if (fit == MEDIA_FIT_PAD && have < aspect * (1 - slack))
        w = at_least_one((double)width * have / aspect + 0.5, width);
    part.pixels +=
        (from->height - part.height) / 2 * from->row_bytes + (from->width - part.width) / 2 * 3;
    if (w != width || h != height)
        memset(to, 0, (size_t)(3 * width * height));
    return media_resize(ctx, to + 3 * ((height - h) / 2 * width + (width - w) / 2), w, h, 3 * width,
                        &part);
}
