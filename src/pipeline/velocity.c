/* SPDX-License-Identifier: MIT
 *
 * What the sampler steps along: the velocity of the prompt, away from the negative one where
 * guidance by the prompt is on, computed or, between computed steps, from what they held.
 */
#include "pipeline/sample.h"

#include <inttypes.h>
#include <math.h>

/* Whether step i is of the second transformer. */
static bool is_low(const vmt_sample *s, int64_t i)
{
    const vmt_model *m = s->spec.model;
    return vmt_model_dit_at(m, s->spec.settings, s->sampler.timesteps[i]) != m->dit;
}

double vmt_sample_cfg(const vmt_sample *s, int64_t i)
{
    const vmt_settings *settings = s->spec.settings;
    return (double)(settings->cfg_low > 0 && is_low(s, i) ? settings->cfg_low
                                                          : settings->cfg_scale);
}

int vmt_sample_passes(const vmt_sample *s, int64_t i)
{
    return vmt_sample_cfg(s, i) != 1.0 && s->sampler.sigmas[i] >= s->spec.settings->cfg_until ? 2
                                                                                              : 1;
}

enum pass_kind { PLAIN, HOLD, HELD };

static enum vmt_status one_pass(vmt_ctx *ctx, vmt_sample *s, enum pass_kind kind, int slot,
                                const vmt_tensor *latent, float timestep)
{
    vmt_tensor *velocity = slot ? &s->negative_velocity : &s->velocity;
    const vmt_dit_text *text = s->texts[slot ? VMT_TEXT_NEGATIVE : VMT_TEXT_PROMPT];

    if (kind == HELD) {
        s->reused_forwards++;
        VMT_TRY(vmt_dit_forward_held(ctx, s->dit, velocity, latent, timestep, slot));
        return vmt_reporter_tell(ctx, s->reporter, 0);
    }
    s->forwards++;
    if (kind == HOLD)
        VMT_TRY(vmt_dit_forward_hold(ctx, s->dit, velocity, latent, timestep, text, slot));
    else
        VMT_TRY(vmt_dit_forward(ctx, s->dit, velocity, latent, timestep, text, false));
    return vmt_reporter_tell(ctx, s->reporter, 1);
}

/* s->velocity of step i: negative + cfg (prompt - negative). */
static enum vmt_status guided_velocity(vmt_ctx *ctx, vmt_sample *s, enum pass_kind kind,
                                       const vmt_tensor *latent, int64_t i)
{
    const float timestep = s->sampler.timesteps[i];
    const double cfg = vmt_sample_cfg(s, i);

    VMT_TRY(one_pass(ctx, s, kind, 0, latent, timestep));
    if (vmt_sample_passes(s, i) == 1)
        return VMT_OK;
    VMT_TRY(one_pass(ctx, s, kind, 1, latent, timestep));
    VMT_TRY(vmt_lincomb(ctx, &s->velocity, &s->velocity, &s->negative_velocity, 1.0, -1.0));
    return vmt_lincomb(ctx, &s->velocity, &s->negative_velocity, &s->velocity, 1.0, cfg);
}

enum vmt_status vmt_sample_prompt_velocity(vmt_ctx *ctx, vmt_sample *s, const vmt_tensor *latent)
{
    VMT_TRY(guided_velocity(ctx, s, PLAIN, latent, s->sampler.step));
    vmt_sample_count(s);
    return VMT_OK;
}

void vmt_sample_count(vmt_sample *s)
{
    s->reporter->now.forwards += s->forwards;
    s->reporter->now.reused_forwards += s->reused_forwards;
    s->forwards = s->reused_forwards = 0;
}

/* ---- steps that take over what others computed */

/* The first step of fewer passes than step 0; `steps`: none. */
static int64_t first_of_fewer(const vmt_sample *s)
{
    int64_t i = 0;

    while (i < s->sampler.steps && vmt_sample_passes(s, i) == vmt_sample_passes(s, 0))
        i++;
    return i;
}

/* The first step of the second transformer; `steps`: none. */
static int64_t first_of_low(const vmt_sample *s)
{
    int64_t i = 0;

    while (i < s->sampler.steps && !is_low(s, i))
        i++;
    return i;
}

bool vmt_sample_holds_residuals(const vmt_sample *s)
{
    return s->spec.samples && s->spec.settings->cache > 0 &&
           s->spec.settings->cache_from == VMT_CACHE_RESIDUAL;
}

static const double *published_polynomial(const vmt_sample *s)
{
    const vmt_dit_config *dit = &s->spec.model->dit_config;

    return vmt_step_cache_published(dit->dim, dit->layers, dit->in_dim);
}

enum vmt_status vmt_sample_cache_check(vmt_ctx *ctx, const vmt_sample *s)
{
    if (s->spec.settings->cache_scale == VMT_CACHE_PUBLISHED && !published_polynomial(s))
        return vmt_fail(ctx, VMT_E_ARG,
                        "--cache-scale published: known of Wan2.1 text-to-video 1.3B and 14B only");
    return VMT_OK;
}

enum vmt_status vmt_sample_cache_open(vmt_ctx *ctx, vmt_sample *s)
{
    const vmt_settings *settings = s->spec.settings;
    vmt_step_cache *c = &s->cache;
    const size_t count = (size_t)vmt_geometry_latent(&s->spec.geometry);

    vmt_step_cache_begin(c, s->guided, settings->steps, first_of_fewer(s), first_of_low(s));
    c->threshold = s->spec.samples ? (double)settings->cache : 0;
    if (!(c->threshold > 0))
        return VMT_OK;
    if (settings->cache_scale != VMT_CACHE_MEASURED)
        c->polynomial = published_polynomial(s);
    VMT_TRY(vmt_alloc(ctx, (void **)&s->cache_changes, (size_t)settings->steps + 1,
                      sizeof *s->cache_changes));
    VMT_TRY(vmt_dit_time_changes(ctx, s->dit, s->cache_changes));
    c->changes = s->cache_changes;
    return vmt_alloc(ctx, (void **)&s->cache_host, 2 * count, sizeof *s->cache_host);
}

/* |newest - the one before| / |the one before| of the computed velocities, sums over elements. */
static enum vmt_status measure(vmt_ctx *ctx, vmt_sample *s, double *change)
{
    const vmt_geometry *g = &s->spec.geometry;
    const int64_t count = vmt_geometry_latent(g);
    double moved = 0, size = 0;

    for (int k = 0; k < 2; k++) {
        vmt_tensor host =
            vmt_tensor_over(s->cache_host + k * count, VMT_F32,
                            VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
        VMT_TRY(vmt_download(ctx, &host, &s->cache_velocity[k]));
    }
    for (int64_t k = 0; k < count; k++) {
        const double before = (double)s->cache_host[count + k];
        moved += fabs((double)s->cache_host[k] - before);
        size += fabs(before);
    }
    *change = size > 0 ? moved / size : (double)NAN;
    return VMT_OK;
}

static enum vmt_status compute_step(vmt_ctx *ctx, vmt_sample *s, int64_t i)
{
    vmt_step_cache *c = &s->cache;
    const bool first = c->computed < 0;
    double change = (double)NAN;

    s->cache_held = vmt_sample_holds_residuals(s) && vmt_step_cache_may_serve(c, i);
    VMT_TRY(guided_velocity(ctx, s, s->cache_held ? HOLD : PLAIN, &s->state.latent, i));
    if (vmt_sample_holds_residuals(s))
        VMT_TRY(vmt_copy(ctx, &s->cache_latent, &s->state.latent));
    if (!first)
        VMT_TRY(vmt_copy(ctx, &s->cache_velocity[1], &s->cache_velocity[0]));
    VMT_TRY(vmt_copy(ctx, &s->cache_velocity[0], &s->velocity));
    if (!first)
        VMT_TRY(measure(ctx, s, &change));
    vmt_step_cache_computed(c, i, change);
    vmt_log(ctx, VMT_LOG_DEBUG,
            "step %" PRId64 ": computed, velocity changed by %.4g, time embedding by %.4g", i,
            change, c->changes[i]);
    return VMT_OK;
}

/* The line through the last two computed velocities, over sigma, to the step after the latter: that
 * value serves all steps until the next is computed.  Farther on, the line errs more than it gains.
 * Level where there is but one. */
static enum vmt_status line_velocity(vmt_ctx *ctx, vmt_sample *s, int64_t i)
{
    const vmt_step_cache *c = &s->cache;
    const float *sigmas = s->sampler.sigmas;
    double w = 0;

    if (vmt_step_cache_in_line(c, c->before, c->computed))
        w = ((double)sigmas[c->computed + 1] - (double)sigmas[c->computed]) /
            ((double)sigmas[c->computed] - (double)sigmas[c->before]);
    VMT_TRY(vmt_lincomb(ctx, &s->velocity, &s->cache_velocity[0],
                        &s->cache_velocity[w != 0 ? 1 : 0], 1.0 + w, -w));
    s->reused_forwards += vmt_sample_passes(s, i);
    return vmt_reporter_tell(ctx, s->reporter, 0);
}

static enum vmt_status reuse_step(vmt_ctx *ctx, vmt_sample *s, int64_t i)
{
    vmt_step_cache *c = &s->cache;

    if (!vmt_sample_holds_residuals(s)) {
        VMT_TRY(line_velocity(ctx, s, i));
    } else {
        if (!s->cache_held) /* after a resume: the same bits again */
            VMT_TRY(guided_velocity(ctx, s, HOLD, &s->cache_latent, c->computed));
        s->cache_held = true;
        VMT_TRY(guided_velocity(ctx, s, HELD, &s->state.latent, i));
    }
    vmt_step_cache_reused(c, i);
    vmt_log(ctx, VMT_LOG_DEBUG, "step %" PRId64 ": reuses step %" PRId64 ", drift %.4g", i,
            c->computed, c->drift);
    return VMT_OK;
}

enum vmt_status vmt_sample_step_velocity(vmt_ctx *ctx, vmt_sample *s)
{
    const int64_t i = s->sampler.step;

    if (!(s->cache.threshold > 0))
        return guided_velocity(ctx, s, PLAIN, &s->state.latent, i);
    return vmt_step_cache_reuses(&s->cache, i) ? reuse_step(ctx, s, i) : compute_step(ctx, s, i);
}

int64_t vmt_sample_cache_tensors(const vmt_sample *s, vmt_named_tensor *tensors)
{
    int64_t count = 0;

    if (s->cache.computed >= 0)
        tensors[count++] =
            (vmt_named_tensor){.name = "cache_velocity", .tensor = s->cache_velocity[0]};
    if (s->cache.before >= 0)
        tensors[count++] =
            (vmt_named_tensor){.name = "cache_velocity_before", .tensor = s->cache_velocity[1]};
    if (s->cache.computed >= 0 && vmt_sample_holds_residuals(s))
        tensors[count++] = (vmt_named_tensor){.name = "cache_latent", .tensor = s->cache_latent};
    return count;
}

enum vmt_status vmt_sample_cache_record(vmt_ctx *ctx, const vmt_sample *s, vmt_record *record)
{
    const vmt_step_cache *c = &s->cache;
    const vmt_progress *now = &s->reporter->now;

    VMT_TRY(vmt_record_meta(ctx, record, "forwards", "%" PRId64, now->forwards));
    VMT_TRY(vmt_record_meta(ctx, record, "reused_forwards", "%" PRId64, now->reused_forwards));
    if (c->computed < 0)
        return VMT_OK;
    VMT_TRY(vmt_record_meta(ctx, record, "cache_step", "%" PRId64, c->computed));
    VMT_TRY(vmt_record_meta(ctx, record, "cache_step_before", "%" PRId64, c->before));
    VMT_TRY(vmt_record_meta(ctx, record, "cache_drift", "%.17g", c->drift));
    return vmt_record_meta(ctx, record, "cache_rate", "%.17g", c->rate);
}

enum vmt_status vmt_sample_cache_resume(vmt_ctx *ctx, vmt_sample *s, const vmt_tensor_file *file)
{
    const int64_t none[2] = {-1, 0};
    vmt_step_cache *c = &s->cache;
    vmt_progress *now = &s->reporter->now;

    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "forwards", &none[1], &now->forwards));
    VMT_TRY(
        vmt_tensor_file_meta_int(ctx, file, "reused_forwards", &none[1], &now->reused_forwards));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "cache_step", &none[0], &c->computed));
    if (c->computed == -1)
        return VMT_OK;
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "cache_step_before", NULL, &c->before));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, file, "cache_drift", NULL, &c->drift));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, file, "cache_rate", NULL, &c->rate));
    if (!(c->threshold > 0) || c->before < -1 || c->before >= c->computed ||
        c->computed >= s->sampler.step || !(c->drift >= 0) || !(c->rate >= 0))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: impossible state of the step cache",
                        vmt_tensor_file_path(file));
    return VMT_OK;
}

double vmt_sample_passes_left(const vmt_sample *s)
{
    vmt_step_cache c = s->cache;
    double left = 0;

    for (int64_t i = s->sampler.step; i < s->sampler.steps; i++) {
        if (vmt_step_cache_reuses(&c, i)) {
            vmt_step_cache_reused(&c, i);
            continue;
        }
        left += vmt_sample_passes(s, i);
        vmt_step_cache_computed(&c, i, (double)NAN);
    }
    return left;
}
