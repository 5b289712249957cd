/* SPDX-License-Identifier: MIT
 *
 * What a run would need, by the layout code that the run itself uses.
 */
#include "pipeline/record.h"
#include "pipeline/sample.h"
#include "pipeline/texts.h"

#include <inttypes.h>
#include <string.h>

/* Which phases a run has. */
typedef struct plan_kind {
    bool transfer;  /* guided by a reference, else plain text-to-video */
    bool from_clip; /* the reference is encoded and its features are extracted */
    bool from_text; /* prompts are encoded */
    bool previews;  /* pictures on the way */
    bool samples;   /* and decodes */
    size_t loaded;  /* bytes of the caller's clip that are there already */
} plan_kind;

enum vmt_status vmt_text_bytes(vmt_ctx *ctx, const vmt_model *m, size_t *bytes)
{
    const vmt_text_config *c = &m->text_config;
    const vmt_umt5_sequence longest = {.count = c->text_len};
    const vmt_umt5_sequence texts[VMT_TEXT_COUNT] = {longest, longest, longest};
    size_t mapped;

    VMT_TRY(vmt_umt5_encode_bytes(ctx, m->text, texts, VMT_TEXT_COUNT, bytes, &mapped));
    if (ctx->ops->attention_bytes)
        *bytes += ctx->ops->attention_bytes(ctx, c->text_len, c->text_len, c->heads,
                                            c->dim_attn / c->heads, false);
    return VMT_OK;
}

/* What a plan is made of. */
typedef struct planning {
    vmt_ctx *ctx;
    const vmt_model *m;
    const vmt_settings *s;
    const vmt_geometry *g;
    plan_kind kind;
    vmt_budget budget;
    size_t always, clip; /* where the context computes */
    size_t weights;      /* of the DiT, which stay with the model after sampling */
    size_t least;        /* of the phases, largest */
    enum vmt_phase least_phase;
} planning;

static void need(planning *p, enum vmt_phase phase, size_t bytes)
{
    if (bytes <= p->least)
        return;
    p->least = bytes;
    p->least_phase = phase;
}

static enum vmt_status plan_sample(planning *p, vmt_plan *plan)
{
    const vmt_preview preview = {0};
    const vmt_sample_spec spec = {.model = p->m,
                                  .settings = p->s,
                                  .geometry = *p->g,
                                  .transfer = p->kind.transfer,
                                  .extracts = p->kind.from_clip,
                                  .samples = p->kind.samples,
                                  .preview = p->kind.previews ? &preview : NULL};
    vmt_sample_needs needs;
    size_t packed, mapped;

    for (int i = 0; i < 2; i++) { /* one of two transformers is there at a time */
        const vmt_dit *dit = i ? p->m->dit_low : p->m->dit;
        mapped = 0;
        if (dit)
            vmt_dit_weight_bytes(p->ctx, dit, &packed, &mapped);
        plan->mapped_bytes = mapped > plan->mapped_bytes ? mapped : plan->mapped_bytes;
    }
    VMT_TRY(vmt_sample_plan(p->ctx, &spec, &p->budget, p->always, &needs));
    const vmt_held *held = &needs.held;
    plan->recompute = held->how.recompute;
    plan->blocks = (int32_t)p->m->dit_config.layers;
    plan->resident_blocks = held->how.resident;
    plan->spills = held->host > 0;
    plan->ffn_tokens =
        held->how.ffn_rows ? held->how.ffn_rows : p->g->grid_f * p->g->grid_h * p->g->grid_w;
    plan->streamed_bytes = held->streamed;
    plan->slowdown = held->slowdown;
    plan->forward_blocks = needs.forward_blocks;
    plan->backward_blocks = needs.backward_blocks;
    for (int a = 0; a < 3; a++) {
        plan->local_tile[a] = needs.local.geometry.tile[a];
        plan->local_box[a] = needs.local.geometry.box[a];
    }
    p->weights = held->weights;
    plan->phase_bytes[VMT_PHASE_SAMPLE] = held->bytes + held->weights + p->always;
    plan->phase_bytes[VMT_PHASE_EXTRACT] =
        p->kind.from_clip ? plan->phase_bytes[VMT_PHASE_SAMPLE] : 0;
    plan->host_bytes = held->host;
    plan->guided_steps = (int32_t)needs.guided;
    plan->forwards = (int32_t)needs.forwards;
    plan->gradients = (int32_t)vmt_reuse_gradients(&p->s->motion, needs.guided);
    need(p, VMT_PHASE_SAMPLE, held->least + p->always);
    return VMT_OK;
}

/* clips: of the host's, that lie beside a direction of the autoencoder. */
static enum vmt_status plan_vae(planning *p, vmt_plan *plan, enum vmt_vae_direction direction,
                                size_t clips)
{
    const bool decodes = direction == VMT_VAE_DECODE;
    const size_t beside = p->always + clips;
    const size_t room = vmt_left_of(p->budget.room, beside);
    vmt_vae_options options = vmt_vae_options_from(p->s, NULL), smallest = options;
    size_t bytes, least;

    VMT_TRY(vmt_vae_fit(p->ctx, p->m, p->g, direction, room, &options, &bytes));
    for (int axis = 0; axis < 2; axis++)
        plan->vae_tile[decodes][axis] = (int32_t)options.tile[axis];
    bytes += beside;
    if (decodes && bytes <= p->budget.room && p->weights <= p->budget.room - bytes)
        bytes += p->weights;
    plan->phase_bytes[decodes ? VMT_PHASE_DECODE : VMT_PHASE_ENCODE] = bytes;
    VMT_TRY(vmt_vae_fit(p->ctx, p->m, p->g, direction, 0, &smallest, &least));
    need(p, decodes ? VMT_PHASE_DECODE : VMT_PHASE_ENCODE, least + beside);
    return VMT_OK;
}

static enum vmt_status plan_phases(planning *p, vmt_plan *plan)
{
    vmt_ctx *ctx = p->ctx;
    const vmt_model *m = p->m;
    size_t bytes;

    VMT_TRY(plan_sample(p, plan));
    const bool samples = p->kind.samples;
    const bool texts_needed[VMT_TEXT_COUNT] = {
        samples, samples && vmt_model_needs_negative(p->m, p->s), p->kind.from_clip};
    if (m->text && p->kind.from_text && !vmt_texts_kept(ctx, m, p->s, texts_needed)) {
        const vmt_umt5_sequence longest = {.count = m->text_config.text_len};
        size_t mapped;
        VMT_TRY(vmt_umt5_encode_bytes(ctx, m->text, &longest, 1, &bytes, &mapped));
        plan->mapped_bytes += mapped;
        VMT_TRY(vmt_text_bytes(ctx, m, &bytes));
        plan->phase_bytes[VMT_PHASE_TEXT] = bytes + p->always;
        need(p, VMT_PHASE_TEXT, bytes + p->always);
    }
    if (!m->vae)
        return VMT_OK;
    if (p->kind.from_clip)
        VMT_TRY(plan_vae(p, plan, VMT_VAE_ENCODE, p->clip));
    if (p->kind.previews) {
        uint64_t *encode = &plan->phase_bytes[VMT_PHASE_ENCODE];
        VMT_TRY(vmt_vae_colour_bytes(ctx, m->vae, &bytes));
        bytes += vmt_vae_weight_bytes(ctx, m->vae, VMT_VAE_ENCODE) + p->always;
        *encode = bytes > *encode ? bytes : *encode;
    }
    if (!samples)
        return VMT_OK;
    /* padded and cropped result */
    return plan_vae(p, plan, VMT_VAE_DECODE, 2 * p->clip);
}

/* What follows from the phases. */
static void judge(const planning *p, vmt_plan *plan)
{
    const vmt_ctx *ctx = p->ctx;
    const bool device = ctx->ops->free_bytes != NULL;
    const size_t clip = (size_t)(3 * p->g->model_frames * p->g->model_height * p->g->model_width);

    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        if (plan->phase_bytes[i] > plan->peak_bytes)
            plan->peak_bytes = plan->phase_bytes[i];
    plan->fixed_bytes = p->budget.fixed;
    plan->limit_bytes = device ? ctx->max_vram : ctx->max_ram;
    plan->host_limit_bytes = device ? ctx->max_ram : 0;
    plan->least_bytes = p->least + p->budget.fixed;
    plan->least_phase = p->least_phase;
    if (device) {
        const uint64_t decode = 2 * clip;
        plan->host_bytes = (plan->host_bytes > decode ? plan->host_bytes : decode) +
                           vmt_caller_bytes(p->m, p->g, p->kind.from_clip) + p->budget.host_fixed;
    }
    plan->usable_bytes = p->budget.room;
    plan->fits = plan->peak_bytes <= plan->free_bytes && plan->peak_bytes <= p->budget.room &&
                 (!plan->host_limit_bytes || plan->host_bytes <= plan->host_limit_bytes);
}

static enum vmt_status plan_for(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                const vmt_geometry *g, plan_kind kind, vmt_plan *plan)
{
    const bool device = ctx->ops->free_bytes != NULL;
    planning p = {
        .ctx = ctx,
        .m = model,
        .s = settings,
        .g = g,
        .kind = kind,
        .budget = vmt_budget_now(ctx, vmt_model_held_now(model)),
        .always = vmt_always_bytes(ctx, model, g, kind.from_clip),
        .clip = device ? 0 : (size_t)(3 * g->model_frames * g->model_height * g->model_width)};

    /* in the phases below, and no longer free */
    const size_t there = device ? 0 : kind.loaded + vmt_caller_bytes(model, g, false);
    *plan = (vmt_plan){.free_bytes = p.budget.free + there, .steps = settings->steps};
    if (!p.budget.named || (device && !ctx->max_vram))
        p.budget.room += there;
    plan->width = g->width;
    plan->height = g->height;
    plan->frames = g->frames;
    plan->model_width = g->model_width;
    plan->model_height = g->model_height;
    plan->model_frames = g->model_frames;
    plan->grid_f = g->grid_f;
    plan->grid_h = g->grid_h;
    plan->grid_w = g->grid_w;
    VMT_TRY(plan_phases(&p, plan));
    judge(&p, plan);
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

/* Whether a run of other frames or another size, asked for as they stand in `settings`, fits. */
static bool would_fit(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                      plan_kind kind)
{
    vmt_geometry own;
    vmt_plan plan;

    return vmt_geometry_make(ctx, &own, model, settings, NULL) == VMT_OK &&
           plan_for(ctx, model, settings, &own, kind, &plan) == VMT_OK && plan.fits;
}

/* The most frames up to those of `g` that fit; 0: none.  Of lengths that need no padding. */
static int64_t most_frames(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                           const vmt_geometry *g, plan_kind kind)
{
    int64_t low = 0, high = (g->model_frames - 1) / g->time; /* latent frames behind the first */
    vmt_settings shorter = *settings;

    shorter.width = g->width;
    shorter.height = g->height;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        shorter.frames = middle * g->time + 1;
        if (would_fit(ctx, model, &shorter, kind))
            low = middle;
        else
            high = middle - 1;
    }
    return low > 0 ? low * g->time + 1 : 0;
}

/* The largest size below that of `g`, of about its aspect and of sides that need no padding, that
 * fits with its frames; 0x0: none. */
static void most_size(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                      const vmt_geometry *g, plan_kind kind, vmt_plan *plan)
{
    const int64_t cell = 2 * VMT_VAE_CELL;
    int64_t low = 0, high = g->width / cell; /* of the width */
    vmt_settings smaller = *settings;

    smaller.frames = g->frames;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        const int64_t rows = middle * g->height / g->width;
        smaller.width = middle * cell;
        smaller.height = (rows > 1 ? rows : 1) * cell;
        if (would_fit(ctx, model, &smaller, kind)) {
            plan->fitting_width = smaller.width;
            plan->fitting_height = smaller.height;
            low = middle;
        } else {
            high = middle - 1;
        }
    }
}

static enum vmt_status make_plan(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                 const vmt_transfer_io *io, bool samples, vmt_plan *plan)
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
                      .previews = io->preview != NULL,
                      .samples = samples};
    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_DIT));
    if (stored)
        VMT_TRY(stored_geometry(ctx, &geometry, model, io, &kind));
    else
        VMT_TRY(
            vmt_geometry_make(ctx, &geometry, model, settings, from_clip ? io->reference : NULL));
    if (from_clip && io->reference->pixels)
        kind.loaded = (size_t)(3 * g->frames * g->height * g->width);
    VMT_TRY(plan_for(ctx, model, settings, g, kind, plan));
    if (plan->fits || stored)
        return VMT_OK;
    plan->fitting_frames = most_frames(ctx, model, settings, g, kind);
    most_size(ctx, model, settings, g, kind, plan);
    return VMT_OK;
}

enum vmt_status vmt_plan_make(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                              const vmt_transfer_io *io, vmt_plan *plan)
{
    return make_plan(ctx, model, settings, io, true, plan);
}

enum vmt_status vmt_plan_require(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                 const vmt_transfer_io *io, bool samples)
{
    vmt_plan p;

    if (!ctx->max_vram && !ctx->max_ram)
        return vmt_model_require(ctx, model, VMT_PART_DIT);
    VMT_TRY(make_plan(ctx, model, settings, io, samples, &p));
    if (p.fits)
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_MEMORY,
                    "%" PRId64 " frames of %" PRId64 "x%" PRId64
                    " need %.0f MiB at least, the limit is %.0f",
                    p.frames, p.width, p.height, (double)p.least_bytes / (1 << 20),
                    (double)p.limit_bytes / (1 << 20));
}
