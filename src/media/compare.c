/* SPDX-License-Identifier: MIT
 *
 * Side by side: the reference with its motion field | the result, or the field in colours; and the
 * frames of a clip as one picture.
 */
#include "media/flow_picture.h"
#include "media/resize.h"
#include "media/source.h"

#include <inttypes.h>

enum {
    SMALL = 448,      /* halves narrower than this are enlarged */
    SMALL_STRIP = 96, /* frames of a strip likewise */
    WIDE_STRIP = 1920 /* strips are no wider, if they hold more than one column */
};

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* The whole factor that brings a width to `least`. */
static int64_t enlarge_to(int64_t width, int64_t least)
{
    return width < least ? divide_up(least, width) : 1;
}

static media_view frame_of(const vmt_clip *clip, int64_t t)
{
    return (media_view){clip->pixels + t * clip->width * clip->height * 3, clip->width,
                        clip->height, 3 * clip->width};
}

/* field, result: NULL where there is none. */
static enum vmt_status compose(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *reference,
                               const vmt_clip *result, const vmt_motion_field *field,
                               int64_t factor)
{
    const int64_t width = reference->width * factor, height = reference->height * factor;
    const int64_t row_bytes = 3 * picture->width;
    const double scale = result ? 0 : media_field_scale(ctx, field);

    for (int64_t t = 0; t < picture->frames; t++) {
        uint8_t *left = picture->pixels + t * height * row_bytes;
        media_canvas halves[2] = {{left, width, height, row_bytes},
                                  {left + 3 * width, width, height, row_bytes}};
        const media_view from = frame_of(reference, t);
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(media_resize(ctx, left, width, height, row_bytes, &from));
        if (field)
            media_field_arrows(&halves[0], field, t, (double)factor);
        if (!result) {
            media_field_colours(&halves[1], field, t, (double)factor, scale);
            continue;
        }
        const media_view to = frame_of(result, t);
        VMT_TRY(media_resize(ctx, halves[1].pixels, width, height, row_bytes, &to));
    }
    return VMT_OK;
}

enum vmt_status media_compare(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *reference,
                              const vmt_clip *result, const vmt_motion_field *field)
{
    const int64_t frames =
        result && result->frames < reference->frames ? result->frames : reference->frames;

    *picture = (vmt_clip){0};
    if (field && !field->flow)
        field = NULL;
    if (result && (reference->width != result->width || reference->height != result->height))
        return vmt_fail(ctx, VMT_E_ARG,
                        "compare: the reference has %" PRId64 "x%" PRId64
                        " pixels, the result %" PRId64 "x%" PRId64,
                        reference->width, reference->height, result->width, result->height);
    if (!result && !field)
        return vmt_fail(ctx, VMT_E_ARG, "compare: neither a result nor a motion field");
    const int64_t factor = enlarge_to(reference->width, SMALL);
    VMT_TRY(vmt_clip_new(ctx, picture, frames, reference->height * factor,
                         2 * reference->width * factor, result ? result->fps : reference->fps));
    const enum vmt_status status = compose(ctx, picture, reference, result, field, factor);
    if (status != VMT_OK)
        vmt_clip_free(picture);
    return status;
}

enum vmt_status media_strip(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *clip)
{
    const int64_t factor = enlarge_to(clip->width, SMALL_STRIP);
    const int64_t width = factor * clip->width, height = factor * clip->height;
    const int64_t most = WIDE_STRIP > width ? WIDE_STRIP / width : 1;
    const int64_t rows = divide_up(clip->frames, most), columns = divide_up(clip->frames, rows);

    VMT_TRY(vmt_clip_new(ctx, picture, 1, rows * height, columns * width, clip->fps));
    for (int64_t t = 0; t < clip->frames; t++) {
        const media_view from = frame_of(clip, t);
        uint8_t *to =
            picture->pixels + ((t / columns) * height * picture->width + (t % columns) * width) * 3;
        const enum vmt_status status =
            media_resize(ctx, to, width, height, 3 * picture->width, &from);
        if (status != VMT_OK) {
            vmt_clip_free(picture);
            return status;
        }
    }
    return VMT_OK;
}
