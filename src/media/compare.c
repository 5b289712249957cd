/* SPDX-License-Identifier: MIT
 *
 * Side by side: the reference with its motion field | the result, or the field in colours.
 */
#include "media/flow_picture.h"
#include "media/resize.h"
#include "media/source.h"

#include <inttypes.h>

enum { SMALL = 448 /* halves narrower than this are enlarged */ };

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
    const int64_t factor =
        reference->width < SMALL ? (SMALL + reference->width - 1) / reference->width : 1;
    VMT_TRY(vmt_clip_new(ctx, picture, frames, reference->height * factor,
                         2 * reference->width * factor, result ? result->fps : reference->fps));
    const enum vmt_status status = compose(ctx, picture, reference, result, field, factor);
    if (status != VMT_OK)
        vmt_clip_free(picture);
    return status;
}
