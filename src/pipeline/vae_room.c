/* SPDX-License-Identifier: MIT
 *
 * The autoencoder in the memory there is: tiles where whole frames do not fit, and the DiT's
 * weights out of the way.
 */
#include "dit/dit_lora.h"
#include "pipeline/pipeline.h"

enum { LEAST_TILE = 4 }; /* cells */

vmt_vae_options vmt_vae_options_from(const vmt_settings *s, vmt_reporter *reporter)
{
    vmt_vae_options options = {.tile = {s->vae_tile[0], s->vae_tile[1]},
                               .blend = s->vae_tiling == VMT_VAE_TILING_BLEND,
                               .stride = {s->vae_tile_stride[0], s->vae_tile_stride[1]},
                               .progress = vmt_reporter_vae,
                               .user = reporter};

    for (int i = 0; i < 2; i++)
        if (options.blend && !options.stride[i])
            options.stride[i] = (options.tile[i] + 1) / 2;
    return options;
}

/* With weights and the backend's scratch. */
static enum vmt_status bytes_of(vmt_ctx *ctx, const vmt_model *m, const vmt_geometry *g,
                                enum vmt_vae_direction direction, const vmt_vae_options *options,
                                size_t *bytes)
{
    if (direction == VMT_VAE_ENCODE)
        VMT_TRY(vmt_vae_encode_bytes(ctx, m->vae, g->model_frames, g->model_height, g->model_width,
                                     options, bytes));
    else
        VMT_TRY(vmt_vae_decode_bytes(ctx, m->vae, g->latent_f, g->latent_h, g->latent_w, options,
                                     bytes));
    *bytes += vmt_vae_weight_bytes(ctx, m->vae, direction);
    if (ctx->ops->conv_bytes)
        *bytes += ctx->ops->conv_bytes(ctx);
    return VMT_OK;
}

enum vmt_status vmt_vae_fit(vmt_ctx *ctx, const vmt_model *m, const vmt_geometry *g,
                            enum vmt_vae_direction direction, size_t room, vmt_vae_options *options,
                            size_t *bytes)
{
    const int64_t whole[2] = {g->latent_h, g->latent_w};
    vmt_vae_options tiled = *options;

    VMT_TRY(bytes_of(ctx, m, g, direction, options, bytes));
    if (options->tile[0])
        return VMT_OK;
    for (int k = 1; *bytes > room; k++) {
        size_t taken;
        for (int axis = 0; axis < 2; axis++) {
            const int64_t part = (whole[axis] + ((int64_t)1 << k) - 1) >> k;
            tiled.tile[axis] = part > LEAST_TILE ? part : LEAST_TILE;
        }
        VMT_TRY(bytes_of(ctx, m, g, direction, &tiled, &taken));
        if (taken < *bytes) {
            *options = tiled;
            *bytes = taken;
        }
        if (tiled.tile[0] == LEAST_TILE && tiled.tile[1] == LEAST_TILE)
            break;
    }
    return VMT_OK;
}

size_t vmt_caller_bytes(const vmt_model *model, const vmt_geometry *g, bool from_clip)
{
    size_t bytes = from_clip ? (size_t)(3 * g->model_frames * g->model_height * g->model_width) : 0;

    for (int part = 0; part < VMT_PART_COUNT; part++)
        if (model->files[part])
            bytes += vmt_tensor_file_copied_bytes(model->files[part]);
    return bytes + vmt_dit_lora_host_bytes(model->dit) + vmt_dit_lora_host_bytes(model->dit_low);
}

size_t vmt_always_bytes(const vmt_ctx *ctx, const vmt_model *model, const vmt_geometry *g,
                        bool from_clip)
{
    return ctx->ops->free_bytes ? 0 : vmt_caller_bytes(model, g, from_clip);
}

void vmt_make_room(vmt_ctx *ctx, const vmt_model *model, size_t bytes)
{
    const size_t held = vmt_model_held_now(model);

    if (ctx->ops->trim)
        ctx->ops->trim(ctx);
    if (!held)
        return;
    const vmt_budget budget = vmt_budget_now(ctx, held);
    if (bytes > budget.room || held > budget.room - bytes)
        vmt_model_release(ctx, model);
}
