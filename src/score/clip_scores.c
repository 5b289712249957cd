/* SPDX-License-Identifier: MIT
 *
 * Scores by a CLIP model: how well frames show a text, how alike neighbours are.
 */
#include "clip_model/clip_model.h"
#include "media/resize.h"
#include "score/side.h"

#include <math.h>

/* The shorter side brought to the model's, the middle of the longer one: as the model's own
 * preprocessing does. */
static enum vmt_status fit_frame(vmt_ctx *ctx, uint8_t *square, uint8_t *resized, int64_t side,
                                 const vmt_clip *clip, int64_t t, int64_t width, int64_t height)
{
    const media_view from = {clip->pixels + 3 * t * clip->width * clip->height, clip->width,
                             clip->height, 3 * clip->width};
    const int64_t left = (width - side) / 2, top = (height - side) / 2;

    VMT_TRY(media_resize(ctx, resized, width, height, 3 * width, &from));
    for (int64_t y = 0; y < side; y++)
        for (int64_t i = 0; i < 3 * side; i++)
            square[3 * y * side + i] = resized[3 * ((top + y) * width + left) + i];
    return VMT_OK;
}

static double cosine(const float *a, const float *b, int64_t count)
{
    double ab = 0, aa = 0, bb = 0;

    for (int64_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* vectors: [3, dim]: the text's, those of two frames in turn; pictures: the square, then the
 * resized frame. */
static enum vmt_status measure(vmt_ctx *ctx, score_report *report, vmt_clip_model *model,
                               const vmt_clip *clip, const char *prompt, float *vectors,
                               uint8_t *pictures, int64_t width, int64_t height)
{
    const int64_t dim = vmt_clip_model_dim(model), side = vmt_clip_model_side(model);
    double text = 0, frames = 0;

    if (prompt)
        VMT_TRY(vmt_clip_model_text(ctx, model, vectors, prompt));
    for (int64_t t = 0; t < report->frames; t++) {
        float *now = vectors + (1 + t % 2) * dim, *before = vectors + (2 - t % 2) * dim;
        VMT_TRY(fit_frame(ctx, pictures, pictures + 3 * side * side, side, clip, t, width, height));
        VMT_TRY(vmt_clip_model_picture(ctx, model, now, pictures));
        if (prompt)
            text += cosine(vectors, now, dim);
        if (t)
            frames += cosine(before, now, dim);
    }
    if (prompt)
        score_set(report, SCORE_CLIP_TEXT, text / (double)report->frames);
    else
        score_undefined(report, SCORE_CLIP_TEXT, "no prompt was given");
    score_set(report, SCORE_CLIP_FRAMES, frames / (double)(report->frames - 1));
    return VMT_OK;
}

enum vmt_status score_clip_model(vmt_ctx *ctx, score_report *report, vmt_clip_model *model,
                                 const vmt_clip *clip, const char *prompt)
{
    const int64_t dim = vmt_clip_model_dim(model), side = vmt_clip_model_side(model);
    const bool wide = clip->width > clip->height;
    const int64_t width = wide ? side * clip->width / clip->height : side;
    const int64_t height = wide ? side : side * clip->height / clip->width;
    uint8_t *pictures = NULL;
    float *vectors;

    VMT_TRY(vmt_alloc(ctx, (void **)&vectors, (size_t)dim, 3 * sizeof *vectors));
    enum vmt_status status =
        vmt_alloc(ctx, (void **)&pictures, (size_t)(side * side + width * height), 3);
    if (status == VMT_OK)
        status = measure(ctx, report, model, clip, prompt, vectors, pictures, width, height);
    vmt_free(pictures);
    vmt_free(vectors);
    return status;
}
