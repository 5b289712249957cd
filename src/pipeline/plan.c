/* SPDX-License-Identifier: MIT
 *
 * What a run would need, by the layout code that the run itself uses.
 */
#include "pipeline/sample.h"

static enum vmt_status plan_phases(vmt_ctx *ctx, const vmt_model *m, const vmt_settings *s,
                                   const vmt_geometry *g, bool transfer, vmt_plan *plan)
{
    const vmt_vae_options options = vmt_vae_options_from(s, NULL);
    const vmt_sample_spec spec = {.model = m,
                                  .settings = s,
                                  .geometry = *g,
                                  .transfer = transfer,
                                  .extracts = transfer,
                                  .samples = true};
    const size_t clip = (size_t)(3 * g->model_frames * g->model_height * g->model_width);
    size_t packed = 0, mapped = 0, bytes;
    int64_t guided;

    vmt_dit_weight_bytes(ctx, m->dit, &packed, &mapped);
    plan->mapped_bytes = mapped;
    const size_t budget = plan->free_bytes > packed ? plan->free_bytes - packed : 0;
    VMT_TRY(vmt_sample_bytes(ctx, &spec, budget, &bytes, &plan->recompute, &guided));
    plan->phase_bytes[VMT_PHASE_SAMPLE] = bytes + packed;
    plan->phase_bytes[VMT_PHASE_EXTRACT] = transfer ? bytes + packed : 0;
    plan->guided_steps = (int32_t)guided;
    plan->gradients =
        (int32_t)(guided * ((s->motion.inner_steps + s->motion.grad_reuse_interval - 1) /
                            s->motion.grad_reuse_interval));
    if (m->text) {
        const vmt_umt5_sequence longest = {.count = m->text_config.text_len};
        const vmt_umt5_sequence texts[VMT_TEXT_COUNT] = {longest, longest, longest};
        VMT_TRY(vmt_umt5_encode_bytes(ctx, m->text, texts, VMT_TEXT_COUNT, &bytes, &mapped));
        plan->phase_bytes[VMT_PHASE_TEXT] = bytes;
        plan->mapped_bytes += mapped;
    }
    if (!m->vae)
        return VMT_OK;
    if (transfer) {
        VMT_TRY(vmt_vae_encode_bytes(ctx, m->vae, g->model_frames, g->model_height, g->model_width,
                                     &options, &bytes));
        plan->phase_bytes[VMT_PHASE_ENCODE] =
            bytes + vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_ENCODE) + 2 * clip;
    }
    VMT_TRY(
        vmt_vae_decode_bytes(ctx, m->vae, g->latent_f, g->latent_h, g->latent_w, &options, &bytes));
    plan->phase_bytes[VMT_PHASE_DECODE] =
        bytes + vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_DECODE) + 2 * clip;
    return VMT_OK;
}

enum vmt_status vmt_plan_make(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                              const vmt_clip *reference, vmt_plan *plan)
{
    vmt_geometry geometry;
    const vmt_geometry *g = &geometry;
    const bool transfer = reference && reference->frames > 0;

    *plan = (vmt_plan){.free_bytes = vmt_free_memory(), .steps = settings->steps};
    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_DIT));
    VMT_TRY(vmt_geometry_make(ctx, &geometry, model, settings, reference));
    plan->width = g->width;
    plan->height = g->height;
    plan->frames = g->frames;
    plan->model_width = g->model_width;
    plan->model_height = g->model_height;
    plan->model_frames = g->model_frames;
    plan->grid_f = g->grid_f;
    plan->grid_h = g->grid_h;
    plan->grid_w = g->grid_w;
    VMT_TRY(plan_phases(ctx, model, settings, g, transfer, plan));
    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        if (plan->phase_bytes[i] > plan->peak_bytes)
            plan->peak_bytes = plan->phase_bytes[i];
    return VMT_OK;
}
