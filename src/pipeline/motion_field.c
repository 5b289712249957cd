/* SPDX-License-Identifier: MIT
 *
 * The motion field: what a motion says of where things go, for people to look at.
 */
#include "pipeline/record.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAN_TIME = 4 /* frames per latent frame of files that do not say */ };

/* Why a motion has no field; NULL when it has. */
static const char *no_field(const vmt_motion *m, const char *variant, int64_t span)
{
    if (!m->method->row.flow)
        return "its method measures no flow";
    if (strcmp(variant, "paper") != 0)
        return "variant released measures no places in the frame";
    if (!m->feature_count)
        return "no step was guided";
    if (span < 2 && !m->method->all_pairs)
        return "with max-frame-gap 1 no frame was compared with the next";
    return m->geometry.grid_f < 2 ? "one latent frame has no next" : NULL;
}

/* Pairs that begin with a frame before i. */
static int64_t pairs_before(int64_t i, const vmt_motion *m, int64_t span)
{
    const int64_t grid_f = m->geometry.grid_f;
    int64_t pair = 0;

    if (m->method->all_pairs)
        return i * grid_f;
    for (int64_t k = 0; k < i; k++)
        pair += grid_f - k < span ? grid_f - k : span;
    return pair;
}

/* Displacements to the next frame, of the last guided step: its noise hides least.  What a token
 * shows within its own frame is taken off: where all places look alike, attention spreads, and the
 * expected position tells nothing.  How far off it is there is what the confidence falls with. */
static enum vmt_status fill(vmt_ctx *ctx, vmt_motion_field *field, const vmt_motion *m,
                            int64_t span)
{
    const vmt_geometry *g = &m->geometry;
    const int64_t tokens = m->shape.axes[1];
    const float *flow = m->features + (m->feature_count - 1) * m->shape.axes[0] * tokens * 2;
    const double cell[2] = {(double)g->model_height / (double)g->grid_h,
                            (double)g->model_width / (double)g->grid_w};
    const double side = (double)(g->grid_h > g->grid_w ? g->grid_h : g->grid_w);
    const int64_t count = (g->grid_f - 1) * tokens;

    *field = (vmt_motion_field){.frames = g->grid_f - 1,
                                .grid_h = g->grid_h,
                                .grid_w = g->grid_w,
                                .cell_h = cell[0],
                                .cell_w = cell[1],
                                .frames_per_latent = g->time * g->latent_f / g->grid_f};
    VMT_TRY(vmt_alloc(ctx, (void **)&field->flow, (size_t)(3 * count), sizeof *field->flow));
    field->confidence = field->flow + 2 * count;
    for (int64_t i = 0; i < field->frames; i++) {
        /* (i, i), which (i, i + 1) follows */
        const int64_t pair = pairs_before(i, m, span) + (m->method->all_pairs ? i : 0);
        const float *same = flow + pair * tokens * 2;
        const float *next = same + tokens * 2;
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t to = i * tokens + t;
            for (int k = 0; k < 2; k++) {
                const double places = (double)next[2 * t + k] - (double)same[2 * t + k];
                /* no way leads further than across two frames, whatever a file says */
                field->flow[2 * to + k] =
                    (float)(cell[k] * fmin(fmax(places, -2 * side), 2 * side));
            }
            field->confidence[to] =
                1 / (1 + same[2 * t] * same[2 * t] + same[2 * t + 1] * same[2 * t + 1]);
        }
    }
    return VMT_OK;
}

enum vmt_status vmt_field_from_motion(vmt_ctx *ctx, vmt_motion_field *field, const vmt_motion *m,
                                      const vmt_motion_settings *settings)
{
    const char *variant = settings->variant == VMT_VARIANT_PAPER ? "paper" : "released";

    *field = (vmt_motion_field){0};
    if (no_field(m, variant, settings->max_frame_gap))
        return VMT_OK;
    return fill(ctx, field, m, settings->max_frame_gap);
}

void vmt_motion_field_free(vmt_motion_field *field)
{
    vmt_free(field->flow);
    *field = (vmt_motion_field){0};
}

/* ---- from a file alone */

/* Sizes as far as the file tells them without a model: those asked for, latent and tokens. */
static enum vmt_status read_geometry(vmt_ctx *ctx, const vmt_tensor_file *file, vmt_geometry *g)
{
    const char *path = vmt_tensor_file_path(file), *grid = vmt_tensor_file_meta(file, "grid");
    const vmt_tensor *clean = vmt_tensor_file_find(file, "clean");
    const int64_t wan = WAN_TIME;

    *g = (vmt_geometry){0};
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "width", NULL, &g->width));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "height", NULL, &g->height));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "frames", NULL, &g->frames));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, file, "option.fps", NULL, &g->fps));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "frames_per_latent", &wan, &g->time));
    if (!grid ||
        sscanf(grid, "%" SCNd64 "x%" SCNd64 "x%" SCNd64, &g->grid_f, &g->grid_h, &g->grid_w) != 3)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no grid of three numbers", path);
    if (!clean || clean->rank != 4)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no tensor \"clean\" of four axes", path);
    g->latent_f = clean->shape[1];
    g->latent_h = clean->shape[2];
    g->latent_w = clean->shape[3];
    if (g->latent_f < 1 || g->latent_f > VMT_MAX_FRAMES || g->latent_h < 1 ||
        g->latent_h > VMT_MAX_SIDE || g->latent_w < 1 || g->latent_w > VMT_MAX_SIDE ||
        g->time < 1 || g->time > VMT_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: an impossible latent or number of frames in one",
                        path);
    g->model_frames = (g->latent_f - 1) * g->time + 1;
    g->model_height = g->latent_h * VMT_VAE_CELL;
    g->model_width = g->latent_w * VMT_VAE_CELL;
    if (g->width < 1 || g->width > g->model_width || g->height < 1 || g->height > g->model_height ||
        g->frames < 1 || g->frames > g->model_frames)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: its latent does not hold %" PRId64 " frames of %" PRId64 "x%" PRId64,
                        path, g->frames, g->width, g->height);
    if (g->grid_f < 1 || g->grid_h < 1 || g->grid_w < 1 || g->latent_f % g->grid_f ||
        g->latent_h % g->grid_h || g->latent_w % g->grid_w)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: grid %s does not divide the latent", path, grid);
    return VMT_OK;
}

static enum vmt_status read_field(vmt_ctx *ctx, vmt_motion_field *field, vmt_clip *reference,
                                  const vmt_tensor_file *file)
{
    const char *variant = vmt_tensor_file_meta(file, "option.variant");
    vmt_motion m = {0};
    int64_t span;

    VMT_TRY(read_geometry(ctx, file, &m.geometry));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "option.max-frame-gap", NULL, &span));
    VMT_TRY(vmt_motion_read_features(ctx, file, &m));
    const vmt_geometry *g = &m.geometry;
    const char *reason = no_field(&m, variant ? variant : "", span);
    enum vmt_status status = VMT_OK;
    if (reason)
        status = vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: no flow from frame to frame to show: %s",
                          vmt_tensor_file_path(file), reason);
    else if (m.shape.axes[0] != pairs_before(g->grid_f, &m, span))
        status = vmt_fail(ctx, VMT_E_FORMAT,
                          "%s: %" PRId64 " pairs of %" PRId64 " frames, expected %" PRId64,
                          vmt_tensor_file_path(file), m.shape.axes[0], g->grid_f,
                          pairs_before(g->grid_f, &m, span));
    else
        status = fill(ctx, field, &m, span);
    if (reference)
        *reference =
            (vmt_clip){.frames = g->frames, .height = g->height, .width = g->width, .fps = g->fps};
    vmt_motion_free(&m);
    return status;
}

enum vmt_status vmt_motion_field_read(vmt_ctx *ctx, vmt_motion_field *field, vmt_clip *reference,
                                      const char *path)
{
    vmt_tensor_file *file;

    *field = (vmt_motion_field){0};
    VMT_TRY(vmt_record_open(ctx, &file, VMT_RECORD_MOTION, path));
    const enum vmt_status status = read_field(ctx, field, reference, file);
    vmt_tensor_file_close(file);
    return status;
}
