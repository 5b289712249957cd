/* SPDX-License-Identifier: MIT */
#include "pipeline/pipeline.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static int64_t round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* First of a, b, c that is not 0. */
static int64_t first_of(int64_t a, int64_t b, int64_t c)
{
    return a ? a : b ? b : c;
}

static enum vmt_status check_asked(vmt_ctx *ctx, const vmt_geometry *g)
{
    if (g->width < 1 || g->width > VMT_MAX_SIDE || g->height < 1 || g->height > VMT_MAX_SIDE)
        return vmt_fail(ctx, VMT_E_ARG, "size %" PRId64 "x%" PRId64 ": each side must be 1 to %d",
                        g->width, g->height, VMT_MAX_SIDE);
    if (g->frames < 1 || g->frames > VMT_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_ARG, "%" PRId64 " frames: must be 1 to %d", g->frames,
                        VMT_MAX_FRAMES);
    if (!(g->fps > 0 && g->fps <= 1000))
        return vmt_fail(ctx, VMT_E_ARG, "%g frames per second: must be above 0, at most 1000",
                        g->fps);
    return VMT_OK;
}

void vmt_model_native(const vmt_model *model, vmt_clip *shape)
{
    const vmt_settings *own = &model->defaults.values;

    *shape = (vmt_clip){.width = first_of(own->width, 832, 0),
                        .height = first_of(own->height, 480, 0),
                        .frames = first_of(own->frames, 81, 0),
                        .fps = own->fps > 0 ? own->fps : 16};
}

enum vmt_status vmt_geometry_make(vmt_ctx *ctx, vmt_geometry *g, const vmt_model *model,
                                  const vmt_settings *settings, const vmt_clip *reference)
{
    const vmt_clip none = {0};
    vmt_clip own;
    const int64_t *patch = model->dit_config.patch;
    const bool has_dit = model->dit != NULL;
    const int64_t unit_h = VMT_VAE_CELL * (has_dit ? patch[1] : 1);
    const int64_t unit_w = VMT_VAE_CELL * (has_dit ? patch[2] : 1);
    const int64_t time = model->vae ? vmt_vae_time_factor(model->vae) : 4;

    vmt_model_native(model, &own);
    if (!reference)
        reference = &none;
    *g = (vmt_geometry){
        .width = first_of(settings->width, reference->width, own.width),
        .height = first_of(settings->height, reference->height, own.height),
        .frames = first_of(settings->frames, reference->frames, own.frames),
        .fps = settings->fps > 0    ? settings->fps
               : reference->fps > 0 ? reference->fps
                                    : own.fps,
    };
    VMT_TRY(check_asked(ctx, g));
    if (reference->frames && (g->width != reference->width || g->height != reference->height ||
                              g->frames > reference->frames))
        return vmt_fail(ctx, VMT_E_ARG,
                        "the reference is %" PRId64 "x%" PRId64 " with %" PRId64
                        " frames, asked for are %" PRId64 "x%" PRId64 " with %" PRId64,
                        reference->width, reference->height, reference->frames, g->width, g->height,
                        g->frames);
    g->model_width = round_up(g->width, unit_w);
    g->model_height = round_up(g->height, unit_h);
    g->latent_f = round_up(g->frames - 1, time) / time + 1;
    if (has_dit)
        g->latent_f = round_up(g->latent_f, patch[0]);
    g->model_frames = (g->latent_f - 1) * time + 1;
    g->time = time;
    g->channels = has_dit ? model->dit_config.out_dim : model->vae_config.z_dim;
    g->latent_h = g->model_height / VMT_VAE_CELL;
    g->latent_w = g->model_width / VMT_VAE_CELL;
    if (has_dit) {
        g->grid_f = g->latent_f / patch[0];
        g->grid_h = g->latent_h / patch[1];
        g->grid_w = g->latent_w / patch[2];
    }
    return VMT_OK;
}

int64_t vmt_geometry_latent(const vmt_geometry *g)
{
    return g->channels * g->latent_f * g->latent_h * g->latent_w;
}

static const uint8_t *row_of(const vmt_clip *clip, int64_t frame, int64_t row)
{
    return clip->pixels + (frame * clip->height + row) * clip->width * 3;
}

/* One row, its last pixel repeated up to `width`. */
static void copy_row(uint8_t *to, int64_t width, const uint8_t *from, int64_t have)
{
    const int64_t copied = have < width ? have : width;

    memcpy(to, from, (size_t)(3 * copied));
    for (int64_t x = copied; x < width; x++)
        memcpy(to + 3 * x, from + 3 * (have - 1), 3);
}

/* Rows and frames beyond the source repeat its last ones. */
static void fit(vmt_clip *to, const vmt_clip *from)
{
    for (int64_t t = 0; t < to->frames; t++) {
        const int64_t frame = t < from->frames ? t : from->frames - 1;
        for (int64_t y = 0; y < to->height; y++) {
            const int64_t row = y < from->height ? y : from->height - 1;
            copy_row(to->pixels + (t * to->height + y) * to->width * 3, to->width,
                     row_of(from, frame, row), from->width);
        }
    }
}

enum vmt_status vmt_geometry_pad(vmt_ctx *ctx, const vmt_geometry *g, const vmt_clip *clip,
                                 vmt_clip *padded)
{
    vmt_clip used = *clip;

    used.frames = g->frames; /* frames beyond those asked for play no part */
    VMT_TRY(vmt_clip_new(ctx, padded, g->model_frames, g->model_height, g->model_width, g->fps));
    fit(padded, &used);
    return VMT_OK;
}

enum vmt_status vmt_geometry_crop(vmt_ctx *ctx, const vmt_geometry *g, const vmt_clip *padded,
                                  vmt_clip *clip)
{
    VMT_TRY(vmt_clip_new(ctx, clip, g->frames, g->height, g->width, g->fps));
    fit(clip, padded);
    return VMT_OK;
}
