/* SPDX-License-Identifier: MIT
 *
 * Pictures of what a run is coming to.  A step's velocity is noise - clean, so the clean latent it
 * predicts is latent - sigma * velocity; a linear map gives each of its cells a colour.
 */
#include "pipeline/sample.h"

#include <inttypes.h>

enum vmt_status vmt_preview_open(vmt_ctx *ctx, vmt_preview *preview, const vmt_model *model,
                                 const vmt_transfer_io *io, vmt_reporter *reporter)
{
    const vmt_vae_options options = {.progress = vmt_reporter_vae, .user = reporter};
    size_t bytes;

    *preview =
        (vmt_preview){.fn = io->preview, .user = io->preview_user, .steps = io->preview_steps};
    if (preview->steps < 1)
        return vmt_fail(ctx, VMT_E_ARG, "a preview every %" PRId64 " steps: must be 1 or more",
                        preview->steps);
    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_VAE));
    VMT_TRY(vmt_vae_colour_bytes(ctx, model->vae, &bytes));
    vmt_reporter_memory(reporter, bytes + vmt_vae_weight_bytes(ctx, model->vae, VMT_VAE_ENCODE));
    VMT_TRY(vmt_reporter_phase(ctx, reporter, VMT_PHASE_ENCODE, 1, 1));
    const enum vmt_status status = vmt_vae_colour_fit(ctx, &preview->map, model->vae, &options);
    vmt_vae_release(ctx, model->vae);
    return status;
}

/* The frames shown: as many and as large as the part of the latent that was asked for. */
static vmt_clip shown(const vmt_geometry *g)
{
    return (vmt_clip){.frames = (g->frames + 2 * g->time - 2) / g->time,
                      .height = (g->height + VMT_VAE_CELL - 1) / VMT_VAE_CELL,
                      .width = (g->width + VMT_VAE_CELL - 1) / VMT_VAE_CELL,
                      .fps = g->fps / (double)g->time};
}

size_t vmt_preview_bytes(const vmt_geometry *g)
{
    const vmt_clip clip = shown(g);

    return (size_t)vmt_geometry_latent(g) * sizeof(float) +
           (size_t)(clip.frames * clip.height * clip.width * 3);
}

static enum vmt_status show(vmt_ctx *ctx, const vmt_preview *preview, int64_t steps,
                            const vmt_geometry *g, const float *latent)
{
    const vmt_clip size = shown(g);
    vmt_clip clip;

    VMT_TRY(vmt_clip_new(ctx, &clip, size.frames, size.height, size.width, size.fps));
    vmt_vae_colour_apply(&preview->map, &clip, latent, g->latent_f, g->latent_h, g->latent_w);
    const int stop = preview->fn(preview->user, steps, &clip);
    vmt_clip_free(&clip);
    return stop ? vmt_fail(ctx, VMT_E_CANCELLED, "stopped") : VMT_OK;
}

enum vmt_status vmt_sample_preview(vmt_ctx *ctx, vmt_sample *s)
{
    const vmt_preview *preview = s->spec.preview;
    const vmt_geometry *g = &s->spec.geometry;
    const int64_t step = s->sampler.step;
    vmt_tensor *clean = &s->negative_velocity; /* free until the next prediction */
    float *latent;

    if (!preview || (step + 1) % preview->steps)
        return VMT_OK;
    VMT_TRY(vmt_lincomb(ctx, clean, &s->state.latent, &s->velocity, 1.0,
                        -(double)s->sampler.sigmas[step]));
    VMT_TRY(vmt_alloc(ctx, (void **)&latent, (size_t)vmt_geometry_latent(g), sizeof *latent));
    vmt_tensor host = vmt_tensor_over(
        latent, VMT_F32, VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
    enum vmt_status status = vmt_download(ctx, &host, clean);
    if (status == VMT_OK)
        status = show(ctx, preview, step + 1, g, latent);
    vmt_free(latent);
    return status;
}
