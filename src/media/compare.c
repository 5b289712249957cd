/* SPDX-License-Identifier: MIT
 *
 * Reference and result side by side, the motion field drawn on the reference.
 */
#include "media/draw.h"
#include "media/resize.h"
#include "media/source.h"

#include <inttypes.h>

enum {
    SMALL = 448,     /* halves narrower than this are enlarged */
    MOST_ARROWS = 24 /* across the wider side; finer fields are thinned out */
};

typedef struct field {
    const float *flow; /* [frames, rows, columns, 2] */
    int64_t frames, rows, columns;
} field;

static void draw_field(media_canvas *half, const field *f, int64_t frame, double enlarged)
{
    static const uint8_t yellow[3] = {255, 220, 40};
    const int64_t t = frame < f->frames ? frame : f->frames - 1;
    const int64_t wider = f->rows > f->columns ? f->rows : f->columns;
    const int64_t step = (wider + MOST_ARROWS - 1) / MOST_ARROWS;
    const double cell_w = (double)half->width / (double)f->columns;
    const double cell_h = (double)half->height / (double)f->rows;

    for (int64_t r = step / 2; r < f->rows; r += step)
        for (int64_t c = step / 2; c < f->columns; c += step) {
            const float *d = f->flow + ((t * f->rows + r) * f->columns + c) * 2;
            const media_point from = {((double)c + 0.5) * cell_w, ((double)r + 0.5) * cell_h};
            const media_point to = {from.x + enlarged * (double)d[1],
                                    from.y + enlarged * (double)d[0]};
            media_draw_arrow(half, from, to, 2, yellow);
        }
}

static enum vmt_status compose(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *reference,
                               const vmt_clip *result, const field *f, int64_t factor)
{
    const int64_t width = reference->width * factor, height = reference->height * factor;
    const int64_t row_bytes = 3 * picture->width, area = reference->width * reference->height;

    for (int64_t t = 0; t < picture->frames; t++) {
        uint8_t *left = picture->pixels + t * height * row_bytes;
        const media_view from = {reference->pixels + t * area * 3, reference->width,
                                 reference->height, 3 * reference->width};
        const media_view to = {result->pixels + t * area * 3, result->width, result->height,
                               3 * result->width};
        media_canvas half = {left, width, height, row_bytes};
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(media_resize(ctx, left, width, height, row_bytes, &from));
        VMT_TRY(media_resize(ctx, left + 3 * width, width, height, row_bytes, &to));
        if (f->flow)
            draw_field(&half, f, t, (double)factor);
    }
    return VMT_OK;
}

enum vmt_status media_compare(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *reference,
                              const vmt_clip *result, const float *flow, int64_t flow_frames,
                              int64_t grid_h, int64_t grid_w)
{
    const int64_t frames = reference->frames < result->frames ? reference->frames : result->frames;
    const field f = {flow, flow_frames, grid_h, grid_w};

    *picture = (vmt_clip){0};
    if (reference->width != result->width || reference->height != result->height)
        return vmt_fail(ctx, VMT_E_ARG,
                        "compare: the reference has %" PRId64 "x%" PRId64
                        " pixels, the result %" PRId64 "x%" PRId64,
                        reference->width, reference->height, result->width, result->height);
    if (flow && (flow_frames < 1 || grid_h < 1 || grid_w < 1))
        return vmt_fail(ctx, VMT_E_ARG, "compare: a motion field without values");
    const int64_t factor =
        reference->width < SMALL ? (SMALL + reference->width - 1) / reference->width : 1;
    VMT_TRY(vmt_clip_new(ctx, picture, frames, reference->height * factor,
                         2 * reference->width * factor, result->fps));
    const enum vmt_status status = compose(ctx, picture, reference, result, &f, factor);
    if (status != VMT_OK)
        vmt_clip_free(picture);
    return status;
}
