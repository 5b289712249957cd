/* SPDX-License-Identifier: MIT
 *
 * What a run would need, by the layout code that the run itself uses.
 */
#include "pipeline/record.h"
#include "pipeline/sample.h"
#include "pipeline/texts.h"

#include <string.h>

/* Which phases a run has. */
typedef struct plan_kind {
    bool transfer;  /* guided by a reference, else plain text-to-video */
    bool from_clip; /* the reference is encoded and its features are extracted */
    bool from_text; /* prompts are encoded */
    bool previews;  /* pictures on the way */
} plan_kind;

/* Copies of unaligned tensors, made when the model's files were opened. */
static size_t copied_bytes(const vmt_model *model)
{
    size_t bytes = 0;

    for (int part = 0; part < VMT_PART_COUNT; part++)
        if (model->files[part])
            bytes += vmt_tensor_file_copied_bytes(model->files[part]);
    return bytes;
}

static enum vmt_status plan_phases(vmt_ctx *ctx, const vmt_model *m, const vmt_settings *s,
                                   const vmt_geometry *g, plan_kind kind, vmt_plan *plan)
{
    const vmt_vae_options options = vmt_vae_options_from(s, NULL);
    const vmt_preview preview = {0};
    const vmt_sample_spec spec = {.model = m,
                                  .settings = s,
                                  .geometry = *g,
                                  .transfer = kind.transfer,
                                  .extracts = kind.from_clip,
                                  .samples = true,
                                  .preview = kind.previews ? &preview : NULL};
    const size_t clip = (size_t)(3 * g->model_frames * g->model_height * g->model_width);
    /* there all the time: the caller's clip, and tensors that were copied when the files opened */
    const size_t always = (kind.from_clip ? clip : 0) + copied_bytes(m);
    size_t packed = 0, mapped = 0, bytes;
    vmt_sample_needs needs;

    vmt_dit_weight_bytes(ctx, m->dit, &packed, &mapped);
    if (s->fp8)
        packed += vmt_dit_fp8_bytes(ctx, m->dit);
    plan->mapped_bytes = mapped;
    const size_t held = packed + always;
    const size_t left = plan->free_bytes > held ? plan->free_bytes - held : 0;
    VMT_TRY(vmt_sample_plan(ctx, &spec, left, &needs));
    plan->recompute = needs.recompute;
    plan->forward_blocks = needs.forward_blocks;
    plan->backward_blocks = needs.backward_blocks;
    for (int a = 0; a < 3; a++) {
        plan->local_tile[a] = needs.local.geometry.tile[a];
        plan->local_box[a] = needs.local.geometry.box[a];
    }
    plan->phase_bytes[VMT_PHASE_SAMPLE] = needs.bytes + held;
    plan->phase_bytes[VMT_PHASE_EXTRACT] = kind.from_clip ? needs.bytes + held : 0;
    plan->guided_steps = (int32_t)needs.guided;
    plan->forwards = (int32_t)needs.forwards;
    plan->gradients = (int32_t)vmt_reuse_gradients(&s->motion, needs.guided);
    const bool texts_needed[VMT_TEXT_COUNT] = {true, s->cfg_scale != 1.0F, kind.from_clip};
    if (m->text && kind.from_text && !vmt_texts_kept(ctx, m, s, texts_needed)) {
        const vmt_umt5_sequence longest = {.count = m->text_config.text_len};
        const vmt_umt5_sequence texts[VMT_TEXT_COUNT] = {longest, longest, longest};
        VMT_TRY(vmt_umt5_encode_bytes(ctx, m->text, texts, VMT_TEXT_COUNT, &bytes, &mapped));
        plan->phase_bytes[VMT_PHASE_TEXT] = bytes + always;
        plan->mapped_bytes += mapped;
    }
    if (!m->vae)
        return VMT_OK;
    if (kind.from_clip) {
        VMT_TRY(vmt_vae_encode_bytes(ctx, m->vae, g->model_frames, g->model_height, g->model_width,
                                     &options, &bytes));
        plan->phase_bytes[VMT_PHASE_ENCODE] =
            bytes + vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_ENCODE) + always + clip;
    }
    if (kind.previews) {
        uint64_t *encode = &plan->phase_bytes[VMT_PHASE_ENCODE];
        VMT_TRY(vmt_vae_colour_bytes(ctx, m->vae, &bytes));
        bytes += vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_ENCODE) + always;
        *encode = bytes > *encode ? bytes : *encode;
    }
    VMT_TRY(
        vmt_vae_decode_bytes(ctx, m->vae, g->latent_f, g->latent_h, g->latent_w, &options, &bytes));
    /* The DiT's converted weights stay with the model; padded and cropped result. */
    plan->phase_bytes[VMT_PHASE_DECODE] =
        bytes + vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_DECODE) + held + 2 * clip;
    return VMT_OK;
}

/* Sizes that a motion file or a stored run holds. */
static enum vmt_status stored_geometry(vmt_ctx *ctx, vmt_geometry *g, const vmt_model *model,
                                       const vmt_transfer_io *io, plan_kind *kind)
{
    const enum vmt_record_kind record = io->resume ? VMT_RECORD_STATE : VMT_RECORD_MOTION;
    vmt_tensor_file *file;

    VMT_TRY(vmt_record_open(ctx, &file, record, io->resume ? io->resume : io->motion));
    const char *job = vmt_tensor_file_meta(file, "job");
    kind->transfer = !io->resume || (job && !strcmp(job, "transfer"));
    const enum vmt_status status = vmt_record_geometry(ctx, file, model, g);
    vmt_tensor_file_close(file);
    return status;
}

enum vmt_status vmt_plan_make(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                              const vmt_transfer_io *io, vmt_plan *plan)
{
    const vmt_transfer_io none = {0};
    vmt_geometry geometry;
    const vmt_geometry *g = &geometry;

    if (!io)
        io = &none;
    const bool stored = io->resume || io->motion;
    const bool from_clip = !stored && io->reference && io->reference->frames > 0;
    plan_kind kind = {.transfer = from_clip,
                      .from_clip = from_clip,
                      .from_text = !io->embeddings,
                      .previews = io->preview != NULL};
    *plan = (vmt_plan){.free_bytes = vmt_free_memory(ctx), .steps = settings->steps};
    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_DIT));
    if (stored)
        VMT_TRY(stored_geometry(ctx, &geometry, model, io, &kind));
    else
        VMT_TRY(
            vmt_geometry_make(ctx, &geometry, model, settings, from_clip ? io->reference : NULL));
    plan->width = g->width;
    plan->height = g->height;
    plan->frames = g->frames;
    plan->model_width = g->model_width;
    plan->model_height = g->model_height;
    plan->model_frames = g->model_frames;
    plan->grid_f = g->grid_f;
    plan->grid_h = g->grid_h;
    plan->grid_w = g->grid_w;
    if (from_clip && io->reference->pixels) /* in the phases below, and no longer free */
        plan->free_bytes += (uint64_t)(3 * g->frames * g->height * g->width);
    plan->free_bytes += copied_bytes(model); /* likewise */
    VMT_TRY(plan_phases(ctx, model, settings, g, kind, plan));
    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        if (plan->phase_bytes[i] > plan->peak_bytes)
            plan->peak_bytes = plan->phase_bytes[i];
    return VMT_OK;
}
