/* SPDX-License-Identifier: MIT
 *
 * Case kinds "guided" (the guided loop on latents, every inner step shown) and "pipeline" (frames
 * in, frames out, both variants).
 */
#include "probe/probe.h"

#include "pipeline/sample.h"

#include <string.h>

/* ---- settings out of the metadata */

static enum vmt_status meta_i32(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                const int64_t *fallback, int32_t *value)
{
    int64_t wide;

    VMT_TRY(vmt_tensor_file_meta_int(ctx, c->file, key, fallback, &wide));
    if (wide < INT32_MIN || wide > INT32_MAX)
        return vmt_fail(ctx, VMT_E_FORMAT, "metadata \"%s\" is out of range", key);
    *value = (int32_t)wide;
    return VMT_OK;
}

static enum vmt_status meta_f32(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                float fallback, float *value)
{
    const double wide_fallback = (double)fallback;
    double wide;

    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, key, &wide_fallback, &wide));
    *value = (float)wide;
    return VMT_OK;
}

static enum vmt_status read_settings(vmt_ctx *ctx, const vmt_probe_case *c, vmt_settings *s)
{
    vmt_motion_settings *m = &s->motion;
    int64_t tile[2];

    VMT_TRY(vmt_settings_init(ctx, s, NULL, "paper"));
    s->recompute = 0;
    const int64_t top_k = m->top_k, smm_pool = m->smm_pool;
    VMT_TRY(meta_i32(ctx, c, "steps", NULL, &s->steps));
    VMT_TRY(meta_f32(ctx, c, "shift", s->shift, &s->shift));
    VMT_TRY(meta_f32(ctx, c, "strength", s->strength, &s->strength));
    VMT_TRY(meta_f32(ctx, c, "cfg_scale", s->cfg_scale, &s->cfg_scale));
    VMT_TRY(meta_i32(ctx, c, "block", NULL, &m->block));
    VMT_TRY(meta_i32(ctx, c, "window", NULL, &m->amf_window));
    VMT_TRY(meta_i32(ctx, c, "span", NULL, &m->max_frame_gap));
    VMT_TRY(meta_i32(ctx, c, "guided_steps", NULL, &m->guided_steps));
    VMT_TRY(meta_i32(ctx, c, "inner_steps", NULL, &m->inner_steps));
    VMT_TRY(meta_i32(ctx, c, "interval", NULL, &m->grad_reuse_interval));
    VMT_TRY(meta_f32(ctx, c, "tau", m->logit_scale, &m->logit_scale));
    VMT_TRY(meta_f32(ctx, c, "lr_first", m->lr_first, &m->lr_first));
    VMT_TRY(meta_f32(ctx, c, "lr_last", m->lr_last, &m->lr_last));
    VMT_TRY(meta_i32(ctx, c, "topk", &top_k, &m->top_k));
    VMT_TRY(meta_i32(ctx, c, "pool", &smm_pool, &m->smm_pool));
    VMT_TRY(meta_f32(ctx, c, "ratio", m->moft_channels, &m->moft_channels));
    VMT_TRY(vmt_probe_meta_sizes(ctx, c, "tile", tile, 2));
    if (s->steps < 1 || s->steps > 10000 || m->inner_steps < 1 || m->grad_reuse_interval < 1 ||
        tile[0] < 1 || tile[1] < 1 || tile[0] > 1024 || tile[1] > 1024)
        return vmt_fail(ctx, VMT_E_FORMAT, "steps, inner_steps, interval or tile is out of range");
    m->amf_tile[0] = (int32_t)tile[0];
    m->amf_tile[1] = (int32_t)tile[1];
    return VMT_OK;
}

static enum vmt_status set_variant(vmt_ctx *ctx, vmt_settings *s, const char *name)
{
    return vmt_settings_set(ctx, s, "variant", name ? name : "paper");
}

/* The method alone: the case tells the schedule. */
static enum vmt_status set_method(vmt_ctx *ctx, vmt_settings *s, const char *name)
{
    vmt_settings other = *s;

    VMT_TRY(vmt_settings_set(ctx, &other, "method", name ? name : "fastvmt"));
    s->motion.method = other.motion.method;
    return VMT_OK;
}

/* A latent of the case must have this geometry: [1, channels, F, H, W]. */
static enum vmt_status latent_geometry(vmt_ctx *ctx, const vmt_dit_config *config,
                                       const vmt_tensor *t, vmt_geometry *g)
{
    *g = (vmt_geometry){.channels = t->shape[1],
                        .latent_f = t->shape[2],
                        .latent_h = t->shape[3],
                        .latent_w = t->shape[4],
                        .grid_f = t->shape[2] / config->patch[0],
                        .grid_h = t->shape[3] / config->patch[1],
                        .grid_w = t->shape[4] / config->patch[2]};
    if (t->shape[0] != 1 || g->channels != config->in_dim || config->in_dim != config->out_dim ||
        g->grid_f * config->patch[0] != g->latent_f ||
        g->grid_h * config->patch[1] != g->latent_h ||
        g->grid_w * config->patch[2] != g->latent_w || g->grid_f * g->grid_h * g->grid_w == 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "a latent does not fit the weights");
    return VMT_OK;
}

static enum vmt_status latent_input(vmt_ctx *ctx, const vmt_probe_case *c, const char *name,
                                    const vmt_geometry *g, float **data)
{
    const vmt_tensor *t;

    VMT_TRY(vmt_probe_input(ctx, c, name, VMT_F32, 5, &t));
    if (vmt_numel(t) != vmt_geometry_latent(g))
        return vmt_fail(ctx, VMT_E_FORMAT, "in.%s has another size than the latent", name);
    *data = t->data;
    return VMT_OK;
}

/* ---- guided */

typedef struct guided_case {
    vmt_probe_case *c;
    vmt_settings settings;
    vmt_model model;
    vmt_motion motion;
    vmt_reporter reporter;
    vmt_sample sample;
} guided_case;

/* "out.stepN.WHAT", or "out.stepN.innerM.WHAT" unless inner is -1. */
static enum vmt_status emit_latent(vmt_ctx *ctx, vmt_probe_case *c, const vmt_tensor *t,
                                   const char *what, int64_t step, int64_t inner)
{
    const int64_t shape[5] = {1, t->shape[0], t->shape[1], t->shape[2], t->shape[3]};

    if (inner < 0)
        return vmt_probe_emit(ctx, c, t, 5, shape, "out.step%d.%s", (int)step, what);
    return vmt_probe_emit(ctx, c, t, 5, shape, "out.step%d.inner%d.%s", (int)step, (int)inner,
                          what);
}

static enum vmt_status trace(vmt_ctx *ctx, vmt_sample *s, void *user, const char *what)
{
    guided_case *g = user;
    const vmt_guidance_state *state = &s->state;
    const int64_t j = state->inner_step - 1, step = s->sampler.step;
    float loss[3] = {(float)state->losses.amf, (float)state->losses.track,
                     (float)state->losses.total};

    if (!strcmp(what, "step")) {
        VMT_TRY(emit_latent(ctx, g->c, &s->velocity, "velocity", step - 1, -1));
        return emit_latent(ctx, g->c, &state->latent, "x", step - 1, -1);
    }
    if (j % g->settings.motion.grad_reuse_interval == 0) {
        const vmt_tensor host = vmt_tensor_over(loss, VMT_F32, VMT_SHAPE(3));
        VMT_TRY(
            vmt_probe_emit_host(ctx, g->c, &host, "out.step%d.inner%d.loss", (int)step, (int)j));
        VMT_TRY(emit_latent(ctx, g->c, &state->grads[0], "grad", step, j));
    }
    return emit_latent(ctx, g->c, &state->latent, "x", step, j);
}

static enum vmt_status emit_schedule(vmt_ctx *ctx, guided_case *g)
{
    const vmt_sampler_state *sampler = &g->sample.sampler;
    const vmt_motion *m = &g->motion;
    const vmt_tensor sigmas = vmt_tensor_over(sampler->sigmas, VMT_F32, VMT_SHAPE(sampler->steps));
    const vmt_tensor times =
        vmt_tensor_over(sampler->timesteps, VMT_F32, VMT_SHAPE(sampler->steps));

    VMT_TRY(vmt_probe_emit_host(ctx, g->c, &sigmas, "out.sigmas"));
    VMT_TRY(vmt_probe_emit_host(ctx, g->c, &times, "out.timesteps"));
    for (int64_t i = 0; i < m->feature_count; i++) {
        vmt_tensor features = vmt_tensor_over(m->features, VMT_F32, m->shape.rank, m->shape.axes);
        features.data = m->features + i * vmt_numel(&features);
        VMT_TRY(vmt_probe_emit_host(ctx, g->c, &features, "out.step%d.%s", (int)i,
                                    m->method->row.flow ? "flow_ref" : "features_ref"));
    }
    return VMT_OK;
}

static enum vmt_status open_guided(vmt_ctx *ctx, guided_case *g, vmt_sample_spec *spec)
{
    static const char *const names[VMT_TEXT_COUNT] = {"text_pos", "text_neg", "text_null"};
    vmt_model *m = &g->model;
    const vmt_tensor *t;

    VMT_TRY(read_settings(ctx, g->c, &g->settings));
    VMT_TRY(set_variant(ctx, &g->settings, vmt_tensor_file_meta(g->c->file, "variant")));
    VMT_TRY(set_method(ctx, &g->settings, vmt_tensor_file_meta(g->c->file, "method")));
    VMT_TRY(vmt_probe_weights(ctx, g->c, "weights", &m->files[VMT_PART_DIT]));
    VMT_TRY(vmt_dit_config_read(ctx, &m->dit_config, NULL, m->files[VMT_PART_DIT]));
    VMT_TRY(vmt_dit_open(ctx, &m->dit, m->files[VMT_PART_DIT], &m->dit_config));
    VMT_TRY(vmt_probe_input(ctx, g->c, "clean", VMT_F32, 5, &t));
    *spec = (vmt_sample_spec){
        .model = m, .settings = &g->settings, .transfer = true, .extracts = true, .samples = true};
    VMT_TRY(latent_geometry(ctx, &m->dit_config, t, &spec->geometry));
    g->motion.geometry = spec->geometry;
    g->motion.clean = t->data;
    float *noise = NULL;
    VMT_TRY(latent_input(ctx, g->c, "noise", &spec->geometry, &noise));
    spec->noise = spec->ref_noise = noise;
    for (int i = 0; i < VMT_TEXT_COUNT; i++) {
        VMT_TRY(vmt_probe_input(ctx, g->c, names[i], VMT_F32, 3, &t));
        if (t->shape[2] != m->dit_config.text_dim)
            return vmt_fail(ctx, VMT_E_FORMAT, "in.%s does not fit the weights", names[i]);
        spec->texts[i] = (vmt_text_rows){.rows = t->data, .count = t->shape[1]};
    }
    return VMT_OK;
}

static enum vmt_status run_guided(vmt_ctx *ctx, guided_case *g)
{
    const vmt_transfer_io io = {0};
    vmt_sample_spec spec;

    VMT_TRY(open_guided(ctx, g, &spec));
    vmt_reporter_start(&g->reporter, &io);
    VMT_TRY(vmt_sample_open(ctx, &g->sample, &spec, &g->reporter));
    g->sample.trace = trace;
    g->sample.trace_user = g;
    VMT_TRY(vmt_sample_extract(ctx, &g->sample, &g->motion));
    VMT_TRY(emit_schedule(ctx, g));
    VMT_TRY(vmt_sample_start(ctx, &g->sample, &g->motion));
    const vmt_tensor *x = &g->sample.state.latent;
    const int64_t shape[5] = {1, x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    VMT_TRY(vmt_probe_emit(ctx, g->c, x, 5, shape, "out.start"));
    VMT_TRY(vmt_sample_loop(ctx, &g->sample, &g->motion));
    return vmt_probe_emit(ctx, g->c, x, 5, shape, "out.final");
}

enum vmt_status vmt_probe_guided(vmt_ctx *ctx, vmt_probe_case *c)
{
    guided_case g = {.c = c};
    const enum vmt_status status = run_guided(ctx, &g);

    vmt_sample_close(ctx, &g.sample);
    vmt_free(g.motion.features); /* the clean latent is the case's */
    vmt_dit_close(ctx, g.model.dit);
    vmt_tensor_file_close(g.model.files[VMT_PART_DIT]);
    return status;
}

/* ---- pipeline */

typedef struct pipeline_case {
    vmt_probe_case *c;
    vmt_settings settings;
    vmt_model model;
    vmt_geometry geometry;
    vmt_text_rows texts[VMT_TEXT_COUNT];
    float *clean;
} pipeline_case;

static enum vmt_status open_parts(vmt_ctx *ctx, pipeline_case *p)
{
    vmt_model *m = &p->model;

    VMT_TRY(vmt_probe_weights(ctx, p->c, "dit", &m->files[VMT_PART_DIT]));
    VMT_TRY(vmt_dit_config_read(ctx, &m->dit_config, NULL, m->files[VMT_PART_DIT]));
    VMT_TRY(vmt_dit_open(ctx, &m->dit, m->files[VMT_PART_DIT], &m->dit_config));
    VMT_TRY(vmt_probe_weights(ctx, p->c, "vae", &m->files[VMT_PART_VAE]));
    VMT_TRY(vmt_vae_config_read(ctx, &m->vae_config, NULL, m->files[VMT_PART_VAE]));
    VMT_TRY(vmt_vae_open(ctx, &m->vae, m->files[VMT_PART_VAE], &m->vae_config));
    VMT_TRY(vmt_probe_weights(ctx, p->c, "text", &m->files[VMT_PART_TEXT]));
    VMT_TRY(vmt_text_config_read(ctx, &m->text_config, NULL, m->files[VMT_PART_TEXT]));
    return vmt_umt5_open(ctx, &m->text, m->files[VMT_PART_TEXT], &m->text_config);
}

/* Ids [1, L], padded with 0 after </s>: rows of the real ones, emitted with zero rows after them.
 */
static enum vmt_status encode_ids(vmt_ctx *ctx, pipeline_case *p, enum vmt_run_text which,
                                  const char *input, const char *output)
{
    const int64_t dim = p->model.text_config.dim;
    const vmt_tensor *t;
    int32_t ids[4096];
    int64_t count;

    VMT_TRY(vmt_probe_input(ctx, p->c, input, VMT_I64, 2, &t));
    const int64_t *wide = t->data, length = t->shape[1];
    if (t->shape[0] != 1 || length > (int64_t)(sizeof ids / sizeof *ids))
        return vmt_fail(ctx, VMT_E_FORMAT, "in.%s: one row of at most 4096 ids", input);
    for (count = length; count > 0 && wide[count - 1] == 0;)
        count--;
    for (int64_t i = 0; i < count; i++) {
        if (wide[i] < 0 || wide[i] >= p->model.text_config.vocab)
            return vmt_fail(ctx, VMT_E_FORMAT, "in.%s: an id outside the vocabulary", input);
        ids[i] = (int32_t)wide[i];
    }
    VMT_TRY(vmt_alloc(ctx, (void **)&p->texts[which].rows, (size_t)(length * dim), sizeof(float)));
    p->texts[which].count = count;
    const vmt_umt5_sequence sequence = {ids, count, p->texts[which].rows};
    VMT_TRY(vmt_umt5_encode(ctx, p->model.text, &sequence, 1, NULL, NULL));
    const vmt_tensor rows =
        vmt_tensor_over(p->texts[which].rows, VMT_F32, VMT_SHAPE(1, length, dim));
    return vmt_probe_emit_host(ctx, p->c, &rows, "%s", output);
}

static enum vmt_status encode_frames(vmt_ctx *ctx, pipeline_case *p)
{
    vmt_geometry *g = &p->geometry;
    const vmt_tensor *t;

    VMT_TRY(vmt_probe_input(ctx, p->c, "frames", VMT_U8, 4, &t));
    if (t->shape[3] != 3)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.frames: [frames, height, width, 3]");
    p->settings.frames = t->shape[0];
    p->settings.height = t->shape[1];
    p->settings.width = t->shape[2];
    VMT_TRY(vmt_geometry_make(ctx, g, &p->model, &p->settings, NULL));
    if (g->frames != g->model_frames || g->width != g->model_width || g->height != g->model_height)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.frames: 4k + 1 frames, sides multiples of 16");
    VMT_TRY(vmt_alloc(ctx, (void **)&p->clean, (size_t)vmt_geometry_latent(g), sizeof *p->clean));
    const vmt_vae_clip clip = {
        .bytes = t->data, .frames = g->frames, .height = g->height, .width = g->width};
    VMT_TRY(vmt_vae_encode(ctx, p->model.vae, p->clean, &clip, NULL));
    const vmt_tensor clean = vmt_tensor_over(
        p->clean, VMT_F32, VMT_SHAPE(1, g->channels, g->latent_f, g->latent_h, g->latent_w));
    return vmt_probe_emit_host(ctx, p->c, &clean, "out.clean");
}

static enum vmt_status decode_frames(vmt_ctx *ctx, pipeline_case *p, const float *latent,
                                     const char *variant)
{
    const vmt_geometry *g = &p->geometry;
    vmt_clip clip;

    VMT_TRY(vmt_clip_new(ctx, &clip, g->frames, g->height, g->width, 16));
    const vmt_vae_sink sink = {.bytes = clip.pixels};
    enum vmt_status status = vmt_vae_decode(ctx, p->model.vae, &sink, latent, g->latent_f,
                                            g->latent_h, g->latent_w, NULL);
    const vmt_tensor frames =
        vmt_tensor_over(clip.pixels, VMT_U8, VMT_SHAPE(g->frames, g->height, g->width, 3));
    if (status == VMT_OK)
        status = vmt_probe_emit_host(ctx, p->c, &frames, "out.%s.frames", variant);
    vmt_clip_free(&clip);
    return status;
}

static enum vmt_status sample_variant(vmt_ctx *ctx, pipeline_case *p, vmt_sample *s,
                                      vmt_motion *motion, const char *variant)
{
    const vmt_geometry *g = &p->geometry;
    const vmt_transfer_io io = {0};
    vmt_reporter reporter;
    vmt_sample_spec spec = {.model = &p->model,
                            .settings = &p->settings,
                            .geometry = *g,
                            .transfer = true,
                            .extracts = true,
                            .samples = true};
    float *noise = NULL;

    memcpy(spec.texts, p->texts, sizeof spec.texts);
    VMT_TRY(set_variant(ctx, &p->settings, variant));
    VMT_TRY(latent_input(ctx, p->c, "noise", g, &noise));
    spec.noise = spec.ref_noise = noise;
    vmt_reporter_start(&reporter, &io);
    VMT_TRY(vmt_sample_open(ctx, s, &spec, &reporter));
    VMT_TRY(vmt_sample_extract(ctx, s, motion));
    VMT_TRY(vmt_sample_start(ctx, s, motion));
    VMT_TRY(vmt_sample_loop(ctx, s, motion));
    const vmt_tensor *x = &s->state.latent;
    const int64_t shape[5] = {1, x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    VMT_TRY(vmt_probe_emit(ctx, p->c, x, 5, shape, "out.%s.latent", variant));
    return decode_frames(ctx, p, p->c->outputs[p->c->count - 1].tensor.data, variant);
}

static enum vmt_status run_pipeline(vmt_ctx *ctx, pipeline_case *p)
{
    static const char *const variants[] = {"released", "paper"};

    VMT_TRY(open_parts(ctx, p));
    VMT_TRY(read_settings(ctx, p->c, &p->settings));
    VMT_TRY(encode_ids(ctx, p, VMT_TEXT_PROMPT, "ids_pos", "out.text_pos"));
    VMT_TRY(encode_ids(ctx, p, VMT_TEXT_NEGATIVE, "ids_neg", "out.text_neg"));
    VMT_TRY(encode_ids(ctx, p, VMT_TEXT_EMPTY, "ids_null", "out.text_null"));
    VMT_TRY(encode_frames(ctx, p));
    for (int i = 0; i < 2; i++) {
        vmt_motion motion = {.geometry = p->geometry, .clean = p->clean};
        vmt_sample s = {0};
        const enum vmt_status status = sample_variant(ctx, p, &s, &motion, variants[i]);
        vmt_sample_close(ctx, &s);
        vmt_free(motion.features); /* the clean latent serves both variants */
        VMT_TRY(vmt_prefix(ctx, status, "%s", variants[i]));
    }
    return VMT_OK;
}

enum vmt_status vmt_probe_pipeline(vmt_ctx *ctx, vmt_probe_case *c)
{
    pipeline_case p = {.c = c};
    const char *tiles = vmt_tensor_file_meta(c->file, "vae_tiles");

    if (tiles && strcmp(tiles, "none"))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "vae_tiles \"%s\": only \"none\"", tiles);
    const enum vmt_status status = run_pipeline(ctx, &p);
    for (int i = 0; i < VMT_TEXT_COUNT; i++)
        vmt_free(p.texts[i].rows);
    vmt_free(p.clean);
    vmt_dit_close(ctx, p.model.dit);
    vmt_vae_close(ctx, p.model.vae);
    vmt_umt5_close(ctx, p.model.text);
    for (int part = 0; part < VMT_PART_COUNT; part++)
        vmt_tensor_file_close(p.model.files[part]);
    return status;
}
