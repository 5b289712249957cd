/* SPDX-License-Identifier: MIT */
#include "pipeline/sample.h"

#include "base/rng.h"
#include "pipeline/local_settings.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

uint64_t vmt_ref_seed(const vmt_settings *settings)
{
    return settings->ref_seed_set ? settings->ref_seed : settings->seed;
}

/* ---- memory and opening */

static vmt_tensor host_latent(const vmt_geometry *g, float *data)
{
    return vmt_tensor_over(data, VMT_F32,
                           VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
}

/* Given noise, or that of a seed, to the backend. */
static enum vmt_status upload_noise(vmt_ctx *ctx, const vmt_sample *s, vmt_tensor *y,
                                    const float *given, uint64_t seed)
{
    const vmt_geometry *g = &s->spec.geometry;
    const int64_t count = vmt_geometry_latent(g);
    float *noise;
    vmt_rng rng;

    VMT_TRY(vmt_alloc(ctx, (void **)&noise, (size_t)count, sizeof *noise));
    if (given) {
        memcpy(noise, given, (size_t)count * sizeof *noise);
    } else {
        vmt_rng_seed(&rng, seed);
        vmt_rng_normal(&rng, noise, count);
    }
    const vmt_tensor host = host_latent(g, noise);
    const enum vmt_status status = vmt_upload(ctx, y, &host);
    vmt_free(noise);
    return status;
}

static enum vmt_status layout(vmt_ctx *ctx, vmt_sample *s, vmt_arena *a)
{
    const vmt_geometry *g = &s->spec.geometry;
    const vmt_dit_config *c = &s->spec.model->dit_config;
    const int64_t shape[4] = {g->channels, g->latent_f, g->latent_h, g->latent_w};
    const int64_t grid[3] = {g->grid_f, g->grid_h, g->grid_w};

    VMT_TRY(vmt_guidance_state_layout(ctx, a, &s->state, &s->spec.settings->motion, 4, shape));
    VMT_TRY(vmt_sampler_layout(ctx, a, &s->sampler, 4, shape));
    VMT_TRY(vmt_take(ctx, a, &s->velocity, ctx->real, 4, shape));
    VMT_TRY(vmt_take(ctx, a, &s->negative_velocity, ctx->real, 4, shape));
    VMT_TRY(vmt_take(ctx, a, &s->clean, ctx->real, 4, shape));
    VMT_TRY(vmt_take(ctx, a, &s->noise, ctx->real, 4, shape));
    for (int i = 0; i < 2 && s->spec.samples && s->spec.settings->cache > 0; i++)
        VMT_TRY(vmt_take(ctx, a, &s->cache_velocity[i], ctx->real, 4, shape));
    if (vmt_sample_holds_residuals(s))
        VMT_TRY(vmt_take(ctx, a, &s->cache_latent, ctx->real, 4, shape));
    if (!s->guided)
        return VMT_OK;
    VMT_TRY(vmt_guidance_layout(ctx, a, &s->guidance, &s->spec.settings->motion, grid, c->heads,
                                c->dim / c->heads, 4, shape));
    return vmt_take(ctx, a, &s->reference, ctx->real, s->guidance.features.rank,
                    s->guidance.features.axes);
}

static enum vmt_status make_local(vmt_ctx *ctx, vmt_sample *s)
{
    const vmt_geometry *g = &s->spec.geometry;
    const int64_t grid[3] = {g->grid_f, g->grid_h, g->grid_w};

    return vmt_local_make(ctx, &s->local, &s->spec.settings->attention, grid,
                          s->spec.model->dit_config.layers);
}

/* Schedule, number of guided steps, timesteps of the DiT's plan. */
static enum vmt_status make_schedule(vmt_ctx *ctx, vmt_sample *s)
{
    const vmt_settings *settings = s->spec.settings;
    const enum vmt_sampler kind =
        s->spec.transfer ? VMT_SAMPLER_EULER : (enum vmt_sampler)settings->sampler;
    const double strength = s->spec.transfer ? (double)settings->strength : 1.0;

    VMT_TRY(vmt_sample_cache_check(ctx, s));
    VMT_TRY(vmt_sampler_open(ctx, &s->sampler, kind, settings->steps, (double)settings->shift,
                             strength));
    VMT_TRY(
        vmt_alloc(ctx, (void **)&s->timesteps, (size_t)settings->steps + 1, sizeof *s->timesteps));
    memcpy(s->timesteps, s->sampler.timesteps, (size_t)settings->steps * sizeof *s->timesteps);
    if (!s->spec.transfer)
        return VMT_OK;
    VMT_TRY(vmt_method_get(ctx, &s->method, settings->motion.method));
    const float until = vmt_guidance_until(&settings->motion, s->sampler.sigmas, settings->steps);
    if (s->method->tap == VMT_TAP_NONE && !isinf(until))
        return vmt_fail(ctx, VMT_E_ARG,
                        "--method %s guides no step: leave --guided-steps and --guide-until out",
                        s->method->row.name);
    while (s->guided < settings->steps && s->sampler.sigmas[s->guided] >= until)
        s->guided++;
    if (settings->motion.ref_interval < 1)
        return vmt_fail(ctx, VMT_E_ARG, "ref-interval: %d, must be at least 1",
                        settings->motion.ref_interval);
    if (s->guided && settings->motion.block >= s->spec.model->dit_config.layers)
        return vmt_fail(ctx, VMT_E_ARG, "--block %d: the model has blocks 0 to %" PRId64,
                        settings->motion.block, s->spec.model->dit_config.layers - 1);
    return VMT_OK;
}

int32_t vmt_sample_backward_blocks(const vmt_sample *s)
{
    const int32_t block = s->spec.settings->motion.block;

    if (!s->guided)
        return 0;
    switch (s->method->tap) {
    case VMT_TAP_QK:
        return block;
    case VMT_TAP_HIDDEN:
        return block + 1;
    case VMT_TAP_VELOCITY:
    case VMT_TAP_NONE:
        break;
    }
    return 0;
}

int32_t vmt_sample_forward_blocks(const vmt_sample *s)
{
    const int32_t passes = vmt_model_needs_negative(s->spec.model, s->spec.settings) ? 2 : 1;

    if (s->method->tap == VMT_TAP_VELOCITY)
        return passes * (int32_t)s->spec.model->dit_config.layers;
    return vmt_sample_backward_blocks(s);
}

vmt_dit_plan vmt_sample_dit_plan(const vmt_sample *s, const vmt_holding *holding)
{
    const vmt_geometry *g = &s->spec.geometry;
    const bool backward = s->guided && s->spec.samples && s->method->tap != VMT_TAP_VELOCITY;

    return (vmt_dit_plan){
        .grid_f = g->grid_f,
        .grid_h = g->grid_h,
        .grid_w = g->grid_w,
        .timesteps = s->timesteps,
        .timestep_count = s->spec.settings->steps + 1, /* the last is 0, of the clean reference */
        .keep_blocks = backward ? vmt_sample_backward_blocks(s) : -1,
        .recompute = holding->recompute,
        .ffn_rows = holding->ffn_rows,
        .spills = holding->spills,
        .local = s->local,
        .fp8 = s->spec.settings->fp8 != 0,
        .residuals = !vmt_sample_holds_residuals(s)                              ? 0
                     : vmt_model_needs_negative(s->spec.model, s->spec.settings) ? 2
                                                                                 : 1,
    };
}

/* Prompts that are there at a time: the empty one, of the reference; then those of the loop. */
static size_t text_count(const vmt_sample *s)
{
    const size_t loop = !s->spec.samples                                            ? 0
                        : vmt_model_needs_negative(s->spec.model, s->spec.settings) ? 2
                                                                                    : 1;
    return loop ? loop : 1;
}

enum vmt_status vmt_sample_bytes(vmt_ctx *ctx, vmt_sample *s, const vmt_holding *holding,
                                 size_t *bytes, size_t *host)
{
    const vmt_dit_plan plan = vmt_sample_dit_plan(s, holding);
    vmt_arena measure = vmt_arena_measure();
    size_t dit, text;

    VMT_TRY(layout(ctx, s, &measure));
    VMT_TRY(vmt_dit_run_bytes(ctx, s->spec.model->dit, &plan, &dit));
    VMT_TRY(vmt_dit_run_spill_bytes(ctx, s->spec.model->dit, &plan, host));
    VMT_TRY(vmt_dit_text_bytes(ctx, s->spec.model->dit, &text));
    *bytes = measure.peak + dit + text_count(s) * text;
    if (s->spec.preview && !ctx->ops->free_bytes)
        *bytes += vmt_preview_bytes(&s->spec.geometry);
    if (s->spec.samples && s->spec.settings->cache > 0 && !ctx->ops->free_bytes)
        *bytes += 2 * sizeof(float) * (size_t)vmt_geometry_latent(&s->spec.geometry);
    return VMT_OK;
}

enum vmt_status vmt_sample_plan(vmt_ctx *ctx, const vmt_sample_spec *spec, const vmt_budget *budget,
                                size_t always, vmt_sample_needs *needs)
{
    vmt_sample s = {.spec = *spec};
    enum vmt_status status = make_schedule(ctx, &s);

    if (status == VMT_OK)
        status = make_local(ctx, &s);
    *needs = (vmt_sample_needs){0};
    if (status == VMT_OK)
        status = vmt_holding_choose(ctx, &s, budget, always, &needs->held);
    needs->local = s.local;
    needs->guided = s.guided;
    for (int64_t i = 0; status == VMT_OK && i < s.sampler.steps; i++)
        needs->forwards += vmt_sample_passes(&s, i);
    if (status == VMT_OK && s.guided) {
        needs->forward_blocks = vmt_sample_forward_blocks(&s);
        needs->backward_blocks = vmt_sample_backward_blocks(&s);
    }
    vmt_free(s.timesteps);
    vmt_sampler_close(&s.sampler);
    return status;
}

enum vmt_status vmt_sample_open(vmt_ctx *ctx, vmt_sample *s, const vmt_sample_spec *spec,
                                vmt_reporter *reporter)
{
    const vmt_budget budget = vmt_budget_now(ctx, vmt_model_held_now(spec->model));
    const size_t always = vmt_always_bytes(ctx, spec->model, &spec->geometry, spec->extracts);
    vmt_arena measure = vmt_arena_measure();
    vmt_held held;

    *s = (vmt_sample){.spec = *spec, .reporter = reporter};
    VMT_TRY(make_schedule(ctx, s));
    VMT_TRY(vmt_sample_check_networks(ctx, s));
    VMT_TRY(make_local(ctx, s));
    VMT_TRY(vmt_holding_choose(ctx, s, &budget, always, &held));
    if (!held.fits)
        VMT_TRY(vmt_require_room(ctx, &budget, held.least + always));
    if (ctx->ops->free_bytes && ctx->max_ram && held.host > budget.host_room)
        return vmt_fail(ctx, VMT_E_MEMORY, "needs %zu MiB of the host, --max-ram leaves %zu",
                        held.host >> 20, budget.host_room >> 20);
    s->holding = held.how;
    VMT_TRY(vmt_reporter_phase(ctx, reporter, spec->extracts ? VMT_PHASE_EXTRACT : VMT_PHASE_SAMPLE,
                               0, 0)); /* converting the weights is part of it */
    const int64_t first = spec->extracts ? 0 : spec->first_step;
    s->loops = !spec->extracts;
    vmt_log(ctx, VMT_LOG_DEBUG,
            "tokens %" PRId64 "x%" PRId64 "x%" PRId64 ", guided steps %" PRId64 " of %" PRId32
            ", recompute level %" PRId32 "%s, feed-forward by %" PRId64 " tokens, %" PRId32
            " of %" PRId64 " blocks stay, %zu MiB, weights %zu MiB converted, %zu MiB spilled",
            spec->geometry.grid_f, spec->geometry.grid_h, spec->geometry.grid_w, s->guided,
            spec->settings->steps, s->holding.recompute, s->holding.spills ? ", spilled" : "",
            s->holding.ffn_rows, s->holding.resident, spec->model->dit_config.layers,
            held.bytes >> 20, held.weights >> 20, held.host >> 20);
    VMT_TRY(vmt_sample_use(ctx, s, s->timesteps[first]));
    VMT_TRY(layout(ctx, s, &measure));
    VMT_TRY(vmt_arena_open(ctx, &s->arena, measure.peak));
    vmt_reporter_memory(reporter, held.bytes + held.weights);
    vmt_reporter_plan(reporter, &budget, held.bytes + held.weights + always);
    VMT_TRY(layout(ctx, s, &s->arena));
    return vmt_sample_cache_open(ctx, s);
}

static void drop_held_state(vmt_sample *s)
{
    vmt_record_free(&s->held);
    vmt_free(s->held_latents);
    s->held = (vmt_record){0};
    s->held_latents = NULL;
}

void vmt_sample_close(vmt_ctx *ctx, vmt_sample *s)
{
    vmt_arena_close(ctx, &s->arena);
    vmt_sample_close_network(ctx, s);
    drop_held_state(s);
    vmt_free(s->cache_changes);
    vmt_free(s->cache_host);
    vmt_free(s->timesteps);
    vmt_sampler_close(&s->sampler);
    *s = (vmt_sample){0};
}

/* ---- the DiT as the guidance sees it */

typedef struct tap_self {
    vmt_ctx *ctx;
    vmt_sample *sample;
} tap_self;

static enum vmt_status tap_forward(void *self, vmt_taps *taps, const vmt_tensor *latent,
                                   float timestep, enum vmt_tap_text text, bool keep)
{
    const tap_self *t = self;
    vmt_sample *s = t->sample;
    const int block = s->spec.settings->motion.block;
    const vmt_dit_text *rows = s->texts[text == VMT_TAP_EMPTY ? VMT_TEXT_EMPTY : VMT_TEXT_PROMPT];

    vmt_dit_run_pass(s->dit, text == VMT_TAP_EMPTY ? VMT_DIT_REFERENCE : VMT_DIT_GUIDANCE);
    switch (s->method->tap) {
    case VMT_TAP_QK:
        return vmt_dit_tap_qk(t->ctx, s->dit, &taps->q, &taps->k, latent, timestep, rows, block,
                              keep);
    case VMT_TAP_HIDDEN:
        return vmt_dit_tap_hidden(t->ctx, s->dit, &taps->hidden, latent, timestep, rows, block,
                                  keep);
    case VMT_TAP_VELOCITY:
    case VMT_TAP_NONE:
        break;
    }
    taps->velocity = &s->velocity;
    if (text == VMT_TAP_PROMPT)
        return vmt_sample_prompt_velocity(t->ctx, s, latent);
    return vmt_dit_forward(t->ctx, s->dit, &s->velocity, latent, timestep, rows, keep);
}

static enum vmt_status tap_backward(void *self, vmt_tensor *dlatent, const vmt_taps *gradient)
{
    const tap_self *t = self;
    vmt_dit_run *dit = t->sample->dit;

    if (t->sample->method->tap == VMT_TAP_HIDDEN)
        return vmt_dit_tap_hidden_bwd(t->ctx, dit, dlatent, gradient->hidden);
    return vmt_dit_tap_qk_bwd(t->ctx, dit, dlatent, gradient->q, gradient->k);
}

/* Work units of one gradient: a whole forward is 1; a backward twice the forward it goes back.  A
 * velocity's forwards count themselves. */
static double gradient_work(const vmt_sample *s)
{
    if (s->method->tap == VMT_TAP_VELOCITY)
        return 0;
    return 3 * (double)vmt_sample_backward_blocks(s) / (double)s->spec.model->dit_config.layers;
}

/* ---- reference */

int64_t vmt_sample_references(const vmt_sample *s)
{
    const vmt_motion_settings *m = &s->spec.settings->motion;

    if (m->ref_time == VMT_REF_CLEAN)
        return s->guided ? 1 : 0;
    return (s->guided + m->ref_interval - 1) / m->ref_interval;
}

static enum vmt_status upload_motion(vmt_ctx *ctx, vmt_sample *s, const vmt_motion *motion)
{
    const vmt_tensor clean = host_latent(&s->spec.geometry, motion->clean);

    VMT_TRY(vmt_upload(ctx, &s->clean, &clean));
    return upload_noise(ctx, s, &s->noise, s->spec.ref_noise, motion->ref_seed);
}

/* One of a motion's features, on the host. */
static vmt_tensor host_features(const vmt_motion *motion, int64_t index)
{
    const vmt_tensor all = vmt_tensor_over(NULL, VMT_F32, motion->shape.rank, motion->shape.axes);

    return vmt_tensor_over(motion->features + index * vmt_numel(&all), VMT_F32, all.rank,
                           all.shape);
}

static enum vmt_status extract(vmt_ctx *ctx, vmt_sample *s, vmt_motion *motion)
{
    const int64_t interval = s->spec.settings->motion.ref_interval;
    tap_self self = {.ctx = ctx, .sample = s};
    const vmt_tap_model tap = {.self = &self, .forward = tap_forward, .backward = tap_backward};

    motion->method = s->method;
    motion->guided = s->guided;
    motion->feature_count = vmt_sample_references(s);
    if (s->guided)
        motion->shape = s->guidance.features;
    VMT_TRY(vmt_reporter_phase(ctx, s->reporter, VMT_PHASE_EXTRACT, motion->feature_count,
                               (double)motion->feature_count));
    if (!s->guided)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, (void **)&motion->features,
                      (size_t)(motion->feature_count * vmt_numel(&s->reference)),
                      sizeof *motion->features));
    VMT_TRY(upload_motion(ctx, s, motion));
    for (int64_t i = 0; i < motion->feature_count; i++) {
        vmt_tensor host = host_features(motion, i);
        VMT_TRY(vmt_sample_use(ctx, s, s->sampler.timesteps[i * interval]));
        VMT_TRY(vmt_prefix(ctx,
                           vmt_motion_reference_features(
                               ctx, &s->guidance, &tap, &s->reference, &s->clean, &s->noise,
                               s->sampler.sigmas[i * interval], s->sampler.timesteps[i * interval]),
                           "reference, step %" PRId64, i * interval));
        VMT_TRY(vmt_download(ctx, &host, &s->reference));
        s->reporter->now.step = i + 1;
        VMT_TRY(vmt_reporter_tell(ctx, s->reporter, 1));
    }
    return VMT_OK;
}

enum vmt_status vmt_sample_extract(vmt_ctx *ctx, vmt_sample *s, vmt_motion *motion)
{
    VMT_TRY(extract(ctx, s, motion));
    return vmt_sample_begin_loop(ctx, s);
}

/* The features were made for this run's method, grid and settings. */
enum vmt_status vmt_sample_match(vmt_ctx *ctx, const vmt_sample *s, const vmt_motion *motion)
{
    const vmt_feature_shape *want = &s->guidance.features, *have = &motion->shape;

    if (motion->guided != s->guided)
        return vmt_fail(ctx, VMT_E_MISMATCH,
                        "the motion has %" PRId64 " guided steps, this run has %" PRId64,
                        motion->guided, s->guided);
    if (motion->feature_count != vmt_sample_references(s))
        return vmt_fail(ctx, VMT_E_MISMATCH,
                        "the motion has features of %" PRId64 " passes, this run's %" PRId64
                        " guided steps need %" PRId64,
                        motion->feature_count, s->guided, vmt_sample_references(s));
    if (s->guided && (motion->method != s->method || have->rank != want->rank ||
                      memcmp(have->axes, want->axes, (size_t)want->rank * sizeof *want->axes)))
        return vmt_fail(ctx, VMT_E_MISMATCH,
                        "the motion's features are not of the shape that this run measures");
    return VMT_OK;
}

/* ---- start and resume */

enum vmt_status vmt_sample_start(vmt_ctx *ctx, vmt_sample *s, const vmt_motion *motion)
{
    const bool from_reference = motion && s->spec.settings->init == VMT_INIT_REFERENCE;

    VMT_TRY(upload_noise(ctx, s, &s->state.latent, s->spec.noise, s->spec.settings->seed));
    vmt_guidance_forget(&s->state);
    s->state.computed = 0;
    if (!from_reference)
        return VMT_OK;
    const vmt_tensor clean = host_latent(&s->spec.geometry, motion->clean);
    VMT_TRY(vmt_upload(ctx, &s->clean, &clean));
    return vmt_noise_latent(ctx, &s->state.latent, &s->clean, &s->state.latent,
                            s->sampler.sigmas[0]);
}

enum { STATE_TENSORS = VMT_GUIDANCE_TENSORS + VMT_SAMPLER_MAX_LATENTS + VMT_CACHE_TENSORS };

/* The device tensors that make up the state now. */
static int64_t state_tensors(const vmt_sample *s, vmt_named_tensor *tensors)
{
    int64_t count = vmt_guidance_state_tensors(&s->state, tensors);

    count += vmt_sampler_latents(&s->sampler, tensors + count);
    return count + vmt_sample_cache_tensors(s, tensors + count);
}

/* Counts of a state from before they were stored, when gradients were reused within their guided
 * step alone. */
static void fill_old_counts(vmt_sample *s)
{
    const vmt_motion_settings *m = &s->spec.settings->motion;
    const int64_t step = s->sampler.step, inner = s->state.inner_step;
    const int64_t earlier = step < s->guided ? step : s->guided;

    s->state.adamw_steps = inner;
    s->state.age[0] = inner > 0;
    s->state.computed = vmt_reuse_gradients(m, earlier) +
                        (inner + m->grad_reuse_interval - 1) / m->grad_reuse_interval;
}

static bool possible_counts(const vmt_sample *s)
{
    const vmt_motion_settings *m = &s->spec.settings->motion;
    const vmt_guidance_state *state = &s->state;
    const int64_t most = (s->sampler.step + 1) * m->inner_steps, inner = state->inner_step;
    bool good = state->adamw_steps >= inner && state->adamw_steps <= most && state->computed >= 0 &&
                state->computed <= most;

    for (int64_t i = 0; i < state->slots; i++)
        good = good && state->age[i] >= 0 && state->age[i] <= most && state->due[i] >= 0 &&
               state->due[i] <= most;
    return good && (!inner || state->age[vmt_reuse_slot(m, inner - 1)] > 0);
}

static enum vmt_status read_counts(vmt_ctx *ctx, vmt_sample *s, const vmt_tensor_file *file)
{
    const vmt_motion_settings *m = &s->spec.settings->motion;
    vmt_named_count counts[VMT_GUIDANCE_COUNTS];
    const bool old = !vmt_tensor_file_meta(file, "grad_age");
    const int64_t step = s->sampler.step, count = vmt_guidance_state_counts(&s->state, counts);

    for (int64_t i = 0; i < (old ? 1 : count); i++)
        VMT_TRY(vmt_tensor_file_meta_int(ctx, file, counts[i].name, NULL, counts[i].value));
    const int64_t inner = s->state.inner_step;
    if (step < 0 || step > s->sampler.steps || inner < 0 ||
        inner > (step < s->guided ? m->inner_steps : 0))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: impossible step %" PRId64 ", inner step %" PRId64,
                        vmt_tensor_file_path(file), step, inner);
    if (old)
        fill_old_counts(s);
    return possible_counts(s) ? VMT_OK
                              : vmt_fail(ctx, VMT_E_FORMAT, "%s: impossible counts of gradients",
                                         vmt_tensor_file_path(file));
}

enum vmt_status vmt_sample_resume(vmt_ctx *ctx, vmt_sample *s, const vmt_tensor_file *file)
{
    const vmt_geometry *g = &s->spec.geometry;
    vmt_named_tensor tensors[STATE_TENSORS];

    vmt_guidance_forget(&s->state);
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "step", NULL, &s->sampler.step));
    VMT_TRY(read_counts(ctx, s, file));
    VMT_TRY(vmt_sample_cache_resume(ctx, s, file));
    const int64_t count = state_tensors(s, tensors);
    for (int64_t i = 0; i < count; i++) {
        float *data;
        VMT_TRY(vmt_record_read(ctx, file, tensors[i].name,
                                VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w),
                                &data));
        const vmt_tensor host = host_latent(g, data);
        const enum vmt_status status = vmt_upload(ctx, &tensors[i].tensor, &host);
        vmt_free(data);
        VMT_TRY(status);
    }
    return VMT_OK;
}

static enum vmt_status fill_state_record(vmt_ctx *ctx, const vmt_sample *s, vmt_record *record,
                                         float *buffer)
{
    const vmt_geometry *g = &s->spec.geometry;
    vmt_named_tensor tensors[STATE_TENSORS];
    const int64_t count = state_tensors(s, tensors);
    vmt_named_count counts[VMT_GUIDANCE_COUNTS];
    vmt_guidance_state state = s->state;

    VMT_TRY(vmt_record_begin(ctx, record, VMT_RECORD_STATE, s->spec.model, s->spec.settings, g));
    VMT_TRY(vmt_record_meta(ctx, record, "job", "%s", s->spec.transfer ? "transfer" : "generate"));
    VMT_TRY(vmt_record_meta(ctx, record, "step", "%" PRId64, s->sampler.step));
    const int64_t known = vmt_guidance_state_counts(&state, counts);
    for (int64_t i = 0; i < known; i++)
        VMT_TRY(vmt_record_meta(ctx, record, counts[i].name, "%" PRId64, *counts[i].value));
    for (int64_t i = 0; i < count; i++) {
        vmt_tensor host = host_latent(g, buffer + i * vmt_geometry_latent(g));
        VMT_TRY(vmt_download(ctx, &host, &tensors[i].tensor));
        VMT_TRY(vmt_record_tensor(ctx, record, tensors[i].name, &host));
    }
    VMT_TRY(vmt_sample_cache_record(ctx, s, record));
    return s->motion ? vmt_motion_record(ctx, record, s->motion) : VMT_OK;
}

static enum vmt_status new_state_buffer(vmt_ctx *ctx, const vmt_sample *s, float **buffer)
{
    vmt_named_tensor tensors[STATE_TENSORS];
    const size_t count = (size_t)state_tensors(s, tensors);

    return vmt_alloc(ctx, (void **)buffer, count * (size_t)vmt_geometry_latent(&s->spec.geometry),
                     sizeof **buffer);
}

static enum vmt_status save_state(vmt_ctx *ctx, const vmt_sample *s)
{
    vmt_record record = {0};
    float *buffer;

    VMT_TRY(new_state_buffer(ctx, s, &buffer));
    enum vmt_status status = fill_state_record(ctx, s, &record, buffer);
    if (status == VMT_OK)
        status = vmt_record_write(ctx, &record, s->checkpoint_path);
    vmt_record_free(&record);
    vmt_free(buffer);
    return vmt_prefix(ctx, status, "checkpoint");
}

/* After a whole step: what a device holds, in case it is lost. */
static enum vmt_status hold_state(vmt_ctx *ctx, vmt_sample *s)
{
    if (!ctx->ops->wait || !s->checkpoint_path)
        return VMT_OK;
    drop_held_state(s);
    VMT_TRY(new_state_buffer(ctx, s, &s->held_latents));
    return fill_state_record(ctx, s, &s->held, s->held_latents);
}

/* A device that ran out of memory or is gone: the held state becomes the checkpoint. */
static enum vmt_status write_held_state(vmt_ctx *ctx, vmt_sample *s, enum vmt_status failed)
{
    char message[VMT_MESSAGE_BYTES];

    if ((failed != VMT_E_MEMORY && failed != VMT_E_INTERNAL) || !s->held_latents)
        return failed;
    memcpy(message, ctx->message, sizeof message);
    if (vmt_record_write(ctx, &s->held, s->checkpoint_path) == VMT_OK)
        vmt_set_message(ctx, "%s; the run up to step %" PRId64 " is kept: --resume %s", message,
                        s->sampler.step, s->checkpoint_path);
    else
        memcpy(ctx->message, message, sizeof message);
    return failed;
}

/* ---- the loop */

typedef struct loop_progress {
    vmt_ctx *ctx;
    vmt_sample *sample;
    enum vmt_status status; /* of the report or the trace that said stop */
} loop_progress;

static void tell_gradients(vmt_sample *s)
{
    const int64_t earlier = s->sampler.step < s->guided ? s->sampler.step : s->guided;

    s->reporter->now.gradients = s->state.computed;
    s->reporter->now.guided = earlier * s->spec.settings->motion.inner_steps + s->state.inner_step;
}

/* The gradient of the inner step that was done last. */
static enum vmt_status show_gradient(vmt_ctx *ctx, const vmt_sample *s)
{
    const int64_t inner = s->state.inner_step - 1;
    const vmt_tensor *grad = &s->state.grads[vmt_reuse_slot(&s->spec.settings->motion, inner)];
    float *data;

    VMT_TRY(vmt_alloc(ctx, (void **)&data, (size_t)vmt_numel(grad), sizeof *data));
    vmt_tensor host = vmt_tensor_over(data, VMT_F32, grad->rank, grad->shape);
    enum vmt_status status = vmt_download(ctx, &host, grad);
    if (status == VMT_OK &&
        s->spec.gradient(s->spec.gradient_user, s->sampler.step, inner, data, vmt_numel(grad)))
        status = vmt_fail(ctx, VMT_E_CANCELLED, "stopped");
    vmt_free(data);
    return status;
}

static int inner_progress(void *user, const vmt_guidance_state *state)
{
    loop_progress *p = user;
    vmt_sample *s = p->sample;
    const vmt_motion_settings *m = &s->spec.settings->motion;
    /* how many adaptive will compute nobody knows: there each that could be is counted */
    const bool computed = state->computed > s->reporter->now.gradients;
    const bool counts =
        m->reuse == VMT_REUSE_ADAPTIVE ? vmt_reuse_begins(m, state->inner_step - 1) : computed;

    tell_gradients(s);
    s->reporter->now.inner_step = state->inner_step;
    s->reporter->now.amf_loss = state->losses.amf;
    s->reporter->now.track_loss = state->losses.track;
    s->reporter->now.loss = state->losses.total;
    p->status = vmt_reporter_tell(p->ctx, s->reporter, counts ? gradient_work(s) : 0);
    if (p->status == VMT_OK && computed && s->spec.gradient)
        p->status = show_gradient(p->ctx, s);
    if (p->status == VMT_OK && s->trace)
        p->status = s->trace(p->ctx, s, s->trace_user, "inner");
    return p->status != VMT_OK;
}

static enum vmt_status guide(vmt_ctx *ctx, vmt_sample *s, const vmt_motion *motion)
{
    const int64_t i = s->sampler.step;
    const vmt_tensor host = host_features(
        motion, motion->feature_count == 1 ? 0 : i / s->spec.settings->motion.ref_interval);
    const vmt_motion_reference reference = {.features = &s->reference, .weight = 1.0};
    tap_self self = {.ctx = ctx, .sample = s};
    const vmt_tap_model tap = {.self = &self, .forward = tap_forward, .backward = tap_backward};
    loop_progress progress = {.ctx = ctx, .sample = s};
    const vmt_guided_step step = {.step = i,
                                  .timestep = s->sampler.timesteps[i],
                                  .references = &reference,
                                  .reference_count = 1,
                                  .progress = inner_progress,
                                  .progress_user = &progress};

    VMT_TRY(vmt_upload(ctx, &s->reference, &host));
    s->reporter->now.inner_steps = s->spec.settings->motion.inner_steps;
    const enum vmt_status status = vmt_guidance_step(ctx, &s->guidance, &s->state, &tap, &step);
    s->reporter->now.inner_step = s->reporter->now.inner_steps = 0;
    return progress.status != VMT_OK ? progress.status : status;
}

static double loop_work(const vmt_sample *s)
{
    const bool velocity = s->guided && s->method->tap == VMT_TAP_VELOCITY;
    const int64_t left = s->guided - s->sampler.step;
    double work = 0;

    for (int64_t i = s->sampler.step; i < s->guided; i++)
        work += velocity ? vmt_sample_passes(s, i) : gradient_work(s);
    if (left > 0) /* gradients are as likely in each guided step */
        work *= (double)vmt_reuse_gradients(&s->spec.settings->motion, left) / (double)left;
    return work + vmt_sample_passes_left(s);
}

static enum vmt_status one_step(vmt_ctx *ctx, vmt_sample *s, const vmt_motion *motion)
{
    VMT_TRY(vmt_sample_use(ctx, s, s->sampler.timesteps[s->sampler.step]));
    if (s->sampler.step < s->guided)
        VMT_TRY(guide(ctx, s, motion));
    vmt_dit_run_pass(s->dit, VMT_DIT_SAMPLING);
    VMT_TRY(vmt_sample_step_velocity(ctx, s));
    VMT_TRY(vmt_sample_preview(ctx, s));
    VMT_TRY(vmt_sampler_step(ctx, &s->sampler, &s->state.latent, &s->velocity));
    if (s->sampler.step < s->guided)
        vmt_guidance_rewind(&s->state, &s->spec.settings->motion);
    else
        vmt_guidance_forget(&s->state);
    VMT_TRY(vmt_require_finite(ctx, &s->state.latent, "latent"));
    vmt_sample_count(s);
    if (s->trace)
        VMT_TRY(s->trace(ctx, s, s->trace_user, "step"));
    s->reporter->now.step = s->sampler.step;
    s->reporter->total = s->reporter->done + loop_work(s);
    if (s->checkpoint_steps > 0 && s->sampler.step % s->checkpoint_steps == 0)
        VMT_TRY(save_state(ctx, s));
    return hold_state(ctx, s);
}

/* A run that was asked to stop leaves its state, with the message it already has. */
static enum vmt_status keep_cancelled(vmt_ctx *ctx, vmt_sample *s, enum vmt_status status)
{
    char message[VMT_MESSAGE_BYTES];

    if (status != VMT_E_CANCELLED || !s->checkpoint_path)
        return status;
    memcpy(message, ctx->message, sizeof message);
    VMT_TRY(save_state(ctx, s));
    memcpy(ctx->message, message, sizeof message);
    return status;
}

enum vmt_status vmt_sample_loop(vmt_ctx *ctx, vmt_sample *s, const vmt_motion *motion)
{
    enum vmt_status status =
        vmt_reporter_phase(ctx, s->reporter, VMT_PHASE_SAMPLE, s->sampler.steps, loop_work(s));

    s->motion = motion;
    tell_gradients(s);
    s->reporter->now.step = s->sampler.step;
    while (status == VMT_OK && s->sampler.step < s->sampler.steps) {
        const int64_t step = s->sampler.step;
        status = one_step(ctx, s, motion);
        if (status != VMT_E_CANCELLED)
            status = vmt_prefix(ctx, status, "step %" PRId64, step);
        if (status == VMT_OK)
            status = vmt_reporter_tell(ctx, s->reporter, 0); /* the step is done */
    }
    return write_held_state(ctx, s, keep_cancelled(ctx, s, status));
}
