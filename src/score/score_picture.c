/* SPDX-License-Identifier: MIT
 *
 * Two clips side by side: tracks above, dense flow below.
 */
#include "media/flow_picture.h"
#include "media/resize.h"
#include "score/side.h"

#include <inttypes.h>

enum {
    SMALL = 448,
    /* halves narrower than this are enlarged */ CELL = 4 /* pixels of the flow */
};

/* The dense flow of a step as a motion field; places that cannot be followed are faint. */
static enum vmt_status field_of(vmt_ctx *ctx, vmt_motion_field *field, const score_side *s,
                                int64_t frames)
{
    const int64_t rows = s->flow_height / CELL, columns = s->flow_width / CELL;
    const float scale = (float)(1 << s->level);
    const size_t tokens = (size_t)(rows * columns);

    *field = (vmt_motion_field){
        .frames = frames - 1,
        .grid_h = rows,
        .grid_w = columns,
        .cell_h = (double)s->clip->height / (double)rows,
        .cell_w = (double)s->clip->width / (double)columns,
        .frames_per_latent = 1,
    };
    VMT_TRY(vmt_alloc(ctx, (void **)&field->flow, (size_t)field->frames * tokens,
                      3 * sizeof *field->flow));
    field->confidence = field->flow + 2 * field->frames * rows * columns;
    for (int64_t i = 0; i < field->frames * rows * columns; i++) {
        const int64_t y = i / columns % rows * CELL + CELL / 2, x = i % columns * CELL + CELL / 2;
        const int64_t at = (i / (rows * columns) * s->flow_height + y) * s->flow_width + x;
        field->flow[2 * i] = scale * s->flow[at].y;
        field->flow[2 * i + 1] = scale * s->flow[at].x;
        field->confidence[i] = 0.25f + 0.75f * (float)s->seen[at] / 255;
    }
    return VMT_OK;
}

static media_point on_canvas(score_place at, double factor)
{
    return (media_point){factor * ((double)at.x + 0.5), factor * ((double)at.y + 0.5)};
}

/* The tracklets of the piece at hand up to this frame, older steps fainter; still ones as dots. */
static void draw_tracks(media_canvas *canvas, const score_side *s, int64_t frame, double factor)
{
    static const uint8_t yellow[3] = {255, 220, 40}, cyan[3] = {60, 220, 255};
    const int64_t last = s->piece_count - 1;
    const int64_t index = frame / SCORE_PIECE < last ? frame / SCORE_PIECE : last;
    const score_piece *piece = &s->pieces[index];
    const int64_t now = frame - piece->first;

    for (int64_t i = 0; i < piece->count; i++) {
        const score_track *t = &piece->tracks[i];
        if (t->steps < now)
            continue;
        for (int64_t k = 0; k < now; k++)
            media_draw_line(canvas, on_canvas(t->at[k], factor), on_canvas(t->at[k + 1], factor),
                            1.5, yellow, 0.3 + 0.7 * (double)(k + 1) / (double)now);
        media_draw_line(canvas, on_canvas(t->at[now], factor), on_canvas(t->at[now], factor), 3,
                        cyan, 1);
    }
}

static enum vmt_status draw_side(vmt_ctx *ctx, vmt_clip *picture, int64_t left, const score_side *s,
                                 const vmt_motion_field *field, double scale, int64_t factor,
                                 int64_t first)
{
    const int64_t width = s->clip->width * factor, height = s->clip->height * factor;
    const int64_t row_bytes = 3 * picture->width;

    for (int64_t t = 0; t < picture->frames; t++) {
        uint8_t *to = picture->pixels + t * picture->height * row_bytes + 3 * left;
        media_canvas above = {to, width, height, row_bytes};
        media_canvas below = {to + height * row_bytes, width, height, row_bytes};
        const int64_t frame = first + t;
        const media_view from = {s->clip->pixels + frame * s->clip->width * s->clip->height * 3,
                                 s->clip->width, s->clip->height, 3 * s->clip->width};
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(media_resize(ctx, to, width, height, row_bytes, &from));
        draw_tracks(&above, s, frame, (double)factor);
        media_field_colours(&below, field, frame, (double)factor, scale);
    }
    return VMT_OK;
}

static int64_t common_frames(const score_side *a, const score_side *b)
{
    return a->clip->frames < b->clip->frames ? a->clip->frames : b->clip->frames;
}

int64_t score_picture_frame(const score_side *a, const score_side *b)
{
    const int64_t frames = common_frames(a, b);
    const int64_t last = (frames / 2 / SCORE_PIECE + 1) * SCORE_PIECE - 1;

    return last < frames ? last : frames - 1;
}

enum vmt_status score_picture(vmt_ctx *ctx, vmt_clip *picture, const score_side *a,
                              const score_side *b, int64_t first, int64_t frames)
{
    const int64_t width = a->clip->width, height = a->clip->height;
    const int64_t factor = width < SMALL ? (SMALL + width - 1) / width : 1;
    const int64_t common = common_frames(a, b);
    vmt_motion_field fields[2] = {{0}};

    *picture = (vmt_clip){0};
    if (width != b->clip->width || height != b->clip->height)
        return vmt_fail(ctx, VMT_E_ARG, "the clips have different sizes");
    if (first < 0 || frames < 1 || first > common - frames)
        return vmt_fail(ctx, VMT_E_ARG,
                        "frames %" PRId64 " to %" PRId64 " of clips of %" PRId64 " frames", first,
                        first + frames - 1, common);
    enum vmt_status status = field_of(ctx, &fields[0], a, common);
    if (status == VMT_OK)
        status = field_of(ctx, &fields[1], b, common);
    if (status == VMT_OK)
        status = vmt_clip_new(ctx, picture, frames, 2 * height * factor, 2 * width * factor,
                              a->clip->fps);
    if (status == VMT_OK) {
        const double scale = media_field_scale(ctx, &fields[0]);
        status = draw_side(ctx, picture, 0, a, &fields[0], scale, factor, first);
        if (status == VMT_OK)
            status = draw_side(ctx, picture, width * factor, b, &fields[1], scale, factor, first);
    }
    vmt_motion_field_free(&fields[0]);
    vmt_motion_field_free(&fields[1]);
    if (status != VMT_OK)
        vmt_clip_free(picture);
    return status;
}
