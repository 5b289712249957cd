/* SPDX-License-Identifier: MIT
 *
 * A run, phase by phase: text, encode, extract, sample, decode.  Transfer, generate, extract,
 * encode and decode of the public header are each a few of these.
 */
#include "pipeline/sample.h"

#include "pipeline/local_settings.h"
#include "pipeline/texts.h"

#include <inttypes.h>
#include <string.h>

typedef struct run {
    const vmt_model *model;
    const vmt_settings *settings;
    const vmt_transfer_io *io;
    vmt_geometry geometry;
    vmt_reporter reporter;
    vmt_text_rows texts[VMT_TEXT_COUNT];
    vmt_motion motion;
    vmt_preview preview;
    float *latent; /* host, the result's */
} run;

static void close_run(run *r)
{
    for (int i = 0; i < VMT_TEXT_COUNT; i++)
        vmt_free(r->texts[i].rows);
    vmt_motion_free(&r->motion);
    vmt_free(r->latent);
}

static run new_run(const vmt_model *model, const vmt_settings *settings, const vmt_transfer_io *io)
{
    run r = {.model = model, .settings = settings, .io = io};

    vmt_reporter_start(&r.reporter, io);
    return r;
}

/* ---- text */

/* The weights of an earlier run go where the encoder needs their place; prompts that are kept need
 * none. */
static enum vmt_status make_room_for_text(vmt_ctx *ctx, run *r, const bool needed[VMT_TEXT_COUNT])
{
    size_t bytes = 0;

    if (vmt_texts_kept(ctx, r->model, r->settings, needed))
        return VMT_OK;
    if (r->model->text) {
        const vmt_budget budget =
            vmt_budget_now(ctx, r->model->dit ? vmt_dit_held_now(r->model->dit) : 0);
        VMT_TRY(vmt_text_bytes(ctx, r->model, &bytes));
        VMT_TRY(vmt_require_room(ctx, &budget, bytes));
        vmt_reporter_plan(&r->reporter, &budget, bytes);
    }
    vmt_make_room(ctx, r->model, bytes);
    return VMT_OK;
}

static enum vmt_status text_phase(vmt_ctx *ctx, run *r, bool samples, bool extracts)
{
    const bool needed[VMT_TEXT_COUNT] = {
        samples, samples && vmt_model_needs_negative(r->model, r->settings), extracts};

    VMT_TRY(vmt_reporter_phase(ctx, &r->reporter, VMT_PHASE_TEXT, r->model->text_config.layers, 1));
    if (r->io->embeddings)
        return vmt_texts_read(ctx, r->texts, r->model, needed, r->io->embeddings);
    VMT_TRY(make_room_for_text(ctx, r, needed));
    return vmt_texts_encode(ctx, r->texts, r->model, r->settings, needed, &r->reporter);
}

/* ---- encode */

/* Options of a direction, and its memory; clips of `beside` bytes lie in it, too. */
static enum vmt_status fit_vae(vmt_ctx *ctx, run *r, enum vmt_vae_direction direction,
                               size_t beside, vmt_vae_options *options)
{
    const vmt_model *m = r->model;
    const vmt_budget budget = vmt_budget_now(ctx, vmt_model_held_now(m));
    size_t bytes;

    beside += vmt_always_bytes(ctx, m, &r->geometry, r->io->reference != NULL);
    const size_t room = vmt_left_of(budget.room, beside);
    *options = vmt_vae_options_from(r->settings, &r->reporter);
    VMT_TRY(vmt_vae_fit(ctx, m, &r->geometry, direction, room, options, &bytes));
    VMT_TRY(vmt_require_room(ctx, &budget, bytes + beside));
    vmt_make_room(ctx, m, bytes + beside);
    vmt_reporter_plan(&r->reporter, &budget, bytes + beside);
    vmt_reporter_memory(&r->reporter, bytes);
    return VMT_OK;
}

/* Of a clip at the model's size, where the context computes. */
static size_t clip_bytes(const vmt_ctx *ctx, const vmt_geometry *g)
{
    return ctx->ops->free_bytes ? 0
                                : (size_t)(3 * g->model_frames * g->model_height * g->model_width);
}

static enum vmt_status encode_phase(vmt_ctx *ctx, run *r, const vmt_clip *reference, float **latent)
{
    const vmt_geometry *g = &r->geometry;
    vmt_vae_options options;
    vmt_clip padded = {0};

    VMT_TRY(vmt_model_require(ctx, r->model, VMT_PART_VAE));
    VMT_TRY(fit_vae(ctx, r, VMT_VAE_ENCODE, clip_bytes(ctx, g), &options));
    VMT_TRY(vmt_reporter_phase(ctx, &r->reporter, VMT_PHASE_ENCODE, g->latent_f, 1));
    VMT_TRY(vmt_alloc(ctx, (void **)latent, (size_t)vmt_geometry_latent(g), sizeof **latent));
    VMT_TRY(vmt_geometry_pad(ctx, g, reference, &padded));
    const vmt_vae_clip clip = {.bytes = padded.pixels,
                               .frames = g->model_frames,
                               .height = g->model_height,
                               .width = g->model_width};
    const enum vmt_status status = vmt_vae_encode(ctx, r->model->vae, *latent, &clip, &options);
    vmt_vae_release(ctx, r->model->vae);
    vmt_clip_free(&padded);
    return status;
}

/* ---- sample */

/* The step that a stored run goes on with; 0 where there is none. */
static int64_t stored_step(vmt_ctx *ctx, const vmt_tensor_file *state, int32_t steps)
{
    const int64_t none = 0;
    int64_t step = 0;

    if (!state || vmt_tensor_file_meta_int(ctx, state, "step", &none, &step) != VMT_OK)
        return 0; /* vmt_sample_resume says what is wrong */
    return step < 0 ? 0 : step < steps ? step : steps - 1;
}

static vmt_sample_spec sample_spec(const run *r, bool transfer, bool extracts, bool samples)
{
    vmt_sample_spec spec = {.model = r->model,
                            .settings = r->settings,
                            .geometry = r->geometry,
                            .transfer = transfer,
                            .extracts = extracts,
                            .samples = samples,
                            .gradient = r->io->gradient,
                            .gradient_user = r->io->gradient_user,
                            .preview = samples && r->preview.fn ? &r->preview : NULL};

    memcpy(spec.texts, r->texts, sizeof spec.texts);
    return spec;
}

static enum vmt_status take_latent(vmt_ctx *ctx, run *r, const vmt_sample *s)
{
    const vmt_geometry *g = &r->geometry;

    VMT_TRY(vmt_alloc(ctx, (void **)&r->latent, (size_t)vmt_geometry_latent(g), sizeof *r->latent));
    vmt_tensor host = vmt_tensor_over(
        r->latent, VMT_F32, VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
    return vmt_download(ctx, &host, &s->state.latent);
}

/* state: a run state to go on from, or NULL. */
static enum vmt_status sample_phases(vmt_ctx *ctx, run *r, bool transfer, bool extracts,
                                     const vmt_tensor_file *state)
{
    if (r->io->preview)
        VMT_TRY(vmt_preview_open(ctx, &r->preview, r->model, r->io, &r->reporter));
    if (ctx->ops->trim)
        ctx->ops->trim(ctx);
    vmt_sample_spec spec = sample_spec(r, transfer, extracts, true);
    spec.first_step = stored_step(ctx, state, r->settings->steps);
    const vmt_motion *motion = transfer ? &r->motion : NULL;
    vmt_sample s;
    enum vmt_status status = vmt_sample_open(ctx, &s, &spec, &r->reporter);

    s.checkpoint_path = r->io->checkpoint_path;
    s.checkpoint_steps = r->io->checkpoint_path ? r->io->checkpoint_steps : 0;
    if (status == VMT_OK && motion && !extracts)
        status = vmt_sample_match(ctx, &s, motion);
    if (status == VMT_OK && extracts)
        status = vmt_sample_extract(ctx, &s, &r->motion);
    if (status == VMT_OK)
        status = state ? vmt_sample_resume(ctx, &s, state) : vmt_sample_start(ctx, &s, motion);
    if (status == VMT_OK)
        status = vmt_sample_loop(ctx, &s, motion);
    if (status == VMT_OK)
        status = take_latent(ctx, r, &s);
    vmt_sample_close(ctx, &s);
    return status;
}

static enum vmt_status write_latent(vmt_ctx *ctx, const run *r, const char *path)
{
    const vmt_geometry *g = &r->geometry;
    const vmt_tensor host = vmt_tensor_over(
        r->latent, VMT_F32, VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
    vmt_record record;
    enum vmt_status status =
        vmt_record_begin(ctx, &record, VMT_RECORD_LATENT, r->model, r->settings, g);

    if (status == VMT_OK)
        status = vmt_record_tensor(ctx, &record, "latent", &host);
    if (status == VMT_OK)
        status = vmt_record_write(ctx, &record, path);
    vmt_record_free(&record);
    return status;
}

/* ---- decode */

static enum vmt_status decode_phase(vmt_ctx *ctx, run *r, vmt_clip *result)
{
    const vmt_geometry *g = &r->geometry;
    vmt_vae_options options;
    vmt_clip padded = {0};

    VMT_TRY(vmt_model_require(ctx, r->model, VMT_PART_VAE));
    VMT_TRY(fit_vae(ctx, r, VMT_VAE_DECODE, 2 * clip_bytes(ctx, g), &options));
    VMT_TRY(vmt_reporter_phase(ctx, &r->reporter, VMT_PHASE_DECODE, g->latent_f, 1));
    VMT_TRY(vmt_clip_new(ctx, &padded, g->model_frames, g->model_height, g->model_width, g->fps));
    const vmt_vae_sink sink = {.bytes = padded.pixels};
    enum vmt_status status = vmt_vae_decode(ctx, r->model->vae, &sink, r->latent, g->latent_f,
                                            g->latent_h, g->latent_w, &options);
    vmt_vae_release(ctx, r->model->vae);
    if (status == VMT_OK)
        status = vmt_geometry_crop(ctx, g, &padded, result);
    vmt_clip_free(&padded);
    return status;
}

/* ---- what the motion of a run comes from */

/* Settings that decide the reference's features. */
static const char *const motion_options[] = {"method",
                                             "top-k",
                                             "smm-pool",
                                             "moft-channels",
                                             "variant",
                                             "ref-time",
                                             "ref-interval",
                                             "block",
                                             "amf-window",
                                             "amf-tile",
                                             "max-frame-gap",
                                             "logit-scale",
                                             "steps",
                                             "shift",
                                             "strength",
                                             "guided-steps",
                                             "guide-until",
                                             "boundary",
                                             NULL};

/* Those of local attention, where the features were measured with it or this run would. */
static enum vmt_status match_attention(vmt_ctx *ctx, const vmt_tensor_file *file,
                                       const vmt_settings *settings)
{
    static const char *const options[] = {"attention",    "attention-window", "attention-tile",
                                          "local-phases", "local-blocks",     NULL};
    const char *kind = vmt_tensor_file_meta(file, "option.attention");
    const char *phases = vmt_tensor_file_meta(file, "option.local-phases");
    const bool then = kind && !strcmp(kind, "local") && phases && strstr(phases, "reference");

    if (!then && !vmt_local_in_reference(&settings->attention))
        return VMT_OK;
    return vmt_record_match_settings(ctx, file, settings, options);
}

static enum vmt_status match_models(vmt_ctx *ctx, const vmt_tensor_file *file, const run *r)
{
    for (int part = 0; part < VMT_PART_TOKENIZER; part++)
        if (part != VMT_PART_DIT_LOW || r->model->files[part] ||
            vmt_tensor_file_meta(file, "hash.dit-low"))
            VMT_TRY(vmt_record_match_model(ctx, file, r->model, (enum vmt_part)part));
    return VMT_OK;
}

/* The geometry asked for must be the file's. */
static enum vmt_status match_geometry(vmt_ctx *ctx, const vmt_tensor_file *file, run *r)
{
    const vmt_geometry *g = &r->motion.geometry;
    const vmt_settings *s = r->settings;

    if ((s->width && (s->width != g->width || s->height != g->height)) ||
        (s->frames && s->frames != g->frames))
        return vmt_fail(ctx, VMT_E_MISMATCH,
                        "%s: was made for %" PRId64 "x%" PRId64 " with %" PRId64
                        " frames, this run asks for another size",
                        vmt_tensor_file_path(file), g->width, g->height, g->frames);
    r->geometry = *g;
    if (s->fps > 0)
        r->geometry.fps = s->fps;
    return VMT_OK;
}

static enum vmt_status motion_from_file(vmt_ctx *ctx, run *r, const vmt_tensor_file *file)
{
    VMT_TRY(match_models(ctx, file, r));
    VMT_TRY(vmt_record_match_settings(ctx, file, r->settings, motion_options));
    VMT_TRY(match_attention(ctx, file, r->settings));
    VMT_TRY(vmt_motion_read(ctx, file, r->model, &r->motion));
    if (r->settings->ref_seed_set && r->settings->ref_seed != r->motion.ref_seed)
        return vmt_fail(ctx, VMT_E_MISMATCH, "%s: was made with --ref-seed %" PRIu64,
                        vmt_tensor_file_path(file), r->motion.ref_seed);
    return match_geometry(ctx, file, r);
}

static enum vmt_status require_reference(vmt_ctx *ctx, const vmt_transfer_io *io)
{
    const vmt_clip *clip = io->reference;

    if (!clip || !clip->pixels || clip->frames < 1)
        return vmt_fail(ctx, VMT_E_ARG, "no reference: give a video, or a motion file");
    return VMT_OK;
}

/* Frames that are not there repeat the last one: of a single frame nothing would move. */
static enum vmt_status require_motion(vmt_ctx *ctx, const run *r)
{
    VMT_TRY(require_reference(ctx, r->io));
    if (r->io->reference->frames < 2)
        return vmt_fail(ctx, VMT_E_ARG,
                        "the reference has one frame, in which nothing moves: give a video of two "
                        "or more, or leave the motion out (generate)");
    return VMT_OK;
}

static enum vmt_status motion_from_reference(vmt_ctx *ctx, run *r)
{
    VMT_TRY(encode_phase(ctx, r, r->io->reference, &r->motion.clean));
    r->motion.geometry = r->geometry;
    r->motion.ref_seed = vmt_ref_seed(r->settings);
    return VMT_OK;
}

static enum vmt_status finish(vmt_ctx *ctx, run *r)
{
    if (r->io->field)
        VMT_TRY(vmt_field_from_motion(ctx, r->io->field, &r->motion, &r->settings->motion));
    if (r->io->latent_path)
        VMT_TRY(write_latent(ctx, r, r->io->latent_path));
    return decode_phase(ctx, r, r->io->result);
}

/* ---- the calls of the public header */

static enum vmt_status transfer_anew(vmt_ctx *ctx, run *r)
{
    VMT_TRY(require_motion(ctx, r));
    VMT_TRY(vmt_geometry_make(ctx, &r->geometry, r->model, r->settings, r->io->reference));
    VMT_TRY(text_phase(ctx, r, true, true));
    VMT_TRY(motion_from_reference(ctx, r));
    return sample_phases(ctx, r, true, true, NULL);
}

static enum vmt_status transfer_motion(vmt_ctx *ctx, run *r)
{
    vmt_tensor_file *file;

    VMT_TRY(vmt_record_open(ctx, &file, VMT_RECORD_MOTION, r->io->motion));
    const enum vmt_status status = motion_from_file(ctx, r, file);
    vmt_tensor_file_close(file);
    VMT_TRY(status);
    VMT_TRY(text_phase(ctx, r, true, false));
    return sample_phases(ctx, r, true, false, NULL);
}

static enum vmt_status match_state(vmt_ctx *ctx, run *r, const vmt_tensor_file *file, bool transfer)
{
    const char *job = vmt_tensor_file_meta(file, "job");
    const char *want = transfer ? "transfer" : "generate";

    if (!job || strcmp(job, want))
        return vmt_fail(ctx, VMT_E_MISMATCH, "%s: is the state of a %s run, not of %s",
                        vmt_tensor_file_path(file), job ? job : "nameless", want);
    VMT_TRY(match_models(ctx, file, r));
    VMT_TRY(vmt_record_match_settings(ctx, file, r->settings, NULL));
    if (transfer) {
        VMT_TRY(vmt_motion_read(ctx, file, r->model, &r->motion));
        return match_geometry(ctx, file, r);
    }
    return vmt_record_geometry(ctx, file, r->model, &r->geometry);
}

static enum vmt_status resume(vmt_ctx *ctx, run *r, bool transfer)
{
    vmt_tensor_file *file;
    enum vmt_status status;

    VMT_TRY(vmt_record_open(ctx, &file, VMT_RECORD_STATE, r->io->resume));
    status = match_state(ctx, r, file, transfer);
    if (status == VMT_OK)
        status = text_phase(ctx, r, true, false);
    if (status == VMT_OK)
        status = sample_phases(ctx, r, transfer, false, file);
    vmt_tensor_file_close(file);
    return status;
}

enum vmt_status vmt_transfer(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                             const vmt_transfer_io *io)
{
    run r = new_run(model, settings, io);
    enum vmt_status status = vmt_plan_require(ctx, model, settings, io, true);

    if (status == VMT_OK && io->resume)
        status = resume(ctx, &r, true);
    else if (status == VMT_OK && io->motion)
        status = transfer_motion(ctx, &r);
    else if (status == VMT_OK)
        status = transfer_anew(ctx, &r);
    if (status == VMT_OK)
        status = finish(ctx, &r);
    close_run(&r);
    return status;
}

static enum vmt_status generate_anew(vmt_ctx *ctx, run *r)
{
    VMT_TRY(vmt_geometry_make(ctx, &r->geometry, r->model, r->settings, NULL));
    VMT_TRY(text_phase(ctx, r, true, false));
    return sample_phases(ctx, r, false, false, NULL);
}

enum vmt_status vmt_generate(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                             const vmt_transfer_io *io)
{
    vmt_transfer_io own = *io;
    own.reference = NULL; /* shown beside the result at most */
    run r = new_run(model, settings, io);
    enum vmt_status status = vmt_plan_require(ctx, model, settings, &own, true);

    if (status == VMT_OK)
        status = io->resume ? resume(ctx, &r, false) : generate_anew(ctx, &r);
    if (status == VMT_OK)
        status = finish(ctx, &r);
    close_run(&r);
    return status;
}

static enum vmt_status extract_all(vmt_ctx *ctx, run *r)
{
    vmt_sample s;

    VMT_TRY(require_motion(ctx, r));
    VMT_TRY(vmt_geometry_make(ctx, &r->geometry, r->model, r->settings, r->io->reference));
    VMT_TRY(text_phase(ctx, r, false, true));
    VMT_TRY(motion_from_reference(ctx, r));
    const vmt_sample_spec spec = sample_spec(r, true, true, false);
    enum vmt_status status = vmt_sample_open(ctx, &s, &spec, &r->reporter);
    if (status == VMT_OK)
        status = vmt_sample_extract(ctx, &s, &r->motion);
    vmt_sample_close(ctx, &s);
    return status;
}

static enum vmt_status write_motion(vmt_ctx *ctx, const run *r, const char *path)
{
    vmt_record record;
    enum vmt_status status =
        vmt_record_begin(ctx, &record, VMT_RECORD_MOTION, r->model, r->settings, &r->geometry);

    if (status == VMT_OK)
        status = vmt_motion_record(ctx, &record, &r->motion);
    if (status == VMT_OK)
        status = vmt_record_write(ctx, &record, path);
    vmt_record_free(&record);
    return status;
}

enum vmt_status vmt_extract(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                            const vmt_transfer_io *io, const char *path)
{
    run r = new_run(model, settings, io);
    enum vmt_status status = vmt_plan_require(ctx, model, settings, io, false);

    if (status == VMT_OK)
        status = extract_all(ctx, &r);
    if (status == VMT_OK && path)
        status = write_motion(ctx, &r, path);
    if (status == VMT_OK && io->field)
        status = vmt_field_from_motion(ctx, io->field, &r.motion, &settings->motion);
    close_run(&r);
    return status;
}

static enum vmt_status write_texts(vmt_ctx *ctx, const run *r, const char *path)
{
    const vmt_geometry none = {0};
    vmt_record record;
    enum vmt_status status =
        vmt_record_begin(ctx, &record, VMT_RECORD_EMBEDDINGS, r->model, r->settings, &none);

    for (int i = 0; i < VMT_TEXT_COUNT && status == VMT_OK; i++) {
        const vmt_tensor host = vmt_tensor_over(
            r->texts[i].rows, VMT_F32, VMT_SHAPE(r->texts[i].count, r->model->text_config.dim));
        status = vmt_record_tensor(ctx, &record, vmt_text_names[i], &host);
    }
    if (status == VMT_OK)
        status = vmt_record_write(ctx, &record, path);
    vmt_record_free(&record);
    return status;
}

enum vmt_status vmt_embed_prompts(vmt_ctx *ctx, const vmt_model *model,
                                  const vmt_settings *settings, const vmt_transfer_io *io,
                                  const char *path)
{
    static const bool all[VMT_TEXT_COUNT] = {true, true, true};
    run r = new_run(model, settings, io);
    enum vmt_status status =
        vmt_reporter_phase(ctx, &r.reporter, VMT_PHASE_TEXT, model->text_config.layers, 1);

    if (status == VMT_OK)
        status = make_room_for_text(ctx, &r, all);
    if (status == VMT_OK)
        status = vmt_texts_encode(ctx, r.texts, model, settings, all, &r.reporter);
    if (status == VMT_OK)
        status = write_texts(ctx, &r, path);
    close_run(&r);
    return status;
}

enum vmt_status vmt_encode(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                           const vmt_transfer_io *io, const char *path)
{
    run r = new_run(model, settings, io);
    enum vmt_status status = require_reference(ctx, io);

    if (status == VMT_OK)
        status = vmt_model_require(ctx, model, VMT_PART_VAE);
    if (status == VMT_OK)
        status = vmt_geometry_make(ctx, &r.geometry, model, settings, io->reference);
    if (status == VMT_OK)
        status = encode_phase(ctx, &r, io->reference, &r.latent);
    if (status == VMT_OK)
        status = write_latent(ctx, &r, path);
    close_run(&r);
    return status;
}

/* A latent may have been padded for a DiT that is not here: its own shape decides. */
static enum vmt_status read_latent(vmt_ctx *ctx, run *r, const vmt_tensor_file *file)
{
    const vmt_tensor *t = vmt_tensor_file_find(file, "latent");
    vmt_geometry *g = &r->geometry;
    char shape[128];

    VMT_TRY(vmt_record_match_model(ctx, file, r->model, VMT_PART_VAE));
    VMT_TRY(vmt_record_geometry(ctx, file, r->model, g));
    if (!t || t->rank != 4)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no tensor \"latent\" of four axes",
                        vmt_tensor_file_path(file));
    const int64_t time = vmt_vae_time_factor(r->model->vae);
    if (t->shape[0] != r->model->vae_config.z_dim || t->shape[1] < 1 || t->shape[1] > 100000 ||
        t->shape[2] < 1 || t->shape[2] > 4096 || t->shape[3] < 1 || t->shape[3] > 4096 ||
        (t->shape[1] - 1) * time + 1 < g->frames || t->shape[2] * VMT_VAE_CELL < g->height ||
        t->shape[3] * VMT_VAE_CELL < g->width)
        return vmt_fail(
            ctx, VMT_E_FORMAT,
            "%s: a latent of %s does not hold %" PRId64 " frames of %" PRId64 "x%" PRId64,
            vmt_tensor_file_path(file), vmt_shape_text(t, shape), g->frames, g->width, g->height);
    g->channels = t->shape[0];
    g->latent_f = t->shape[1];
    g->latent_h = t->shape[2];
    g->latent_w = t->shape[3];
    g->model_frames = (g->latent_f - 1) * time + 1;
    g->model_height = g->latent_h * VMT_VAE_CELL;
    g->model_width = g->latent_w * VMT_VAE_CELL;
    return vmt_record_read(ctx, file, "latent", 4, t->shape, &r->latent);
}

enum vmt_status vmt_decode(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                           const char *path, const vmt_transfer_io *io)
{
    run r = new_run(model, settings, io);
    vmt_tensor_file *file;
    enum vmt_status status = vmt_model_require(ctx, model, VMT_PART_VAE);

    VMT_TRY(status);
    VMT_TRY(vmt_record_open(ctx, &file, VMT_RECORD_LATENT, path));
    status = read_latent(ctx, &r, file);
    vmt_tensor_file_close(file);
    if (status == VMT_OK)
        status = decode_phase(ctx, &r, io->result);
    close_run(&r);
    return status;
}
