/* SPDX-License-Identifier: MIT */
#include "motion/guidance.h"

#include "motion/reuse.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- state and memory */

enum vmt_status vmt_guidance_state_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance_state *state,
                                          const vmt_motion_settings *settings, int rank,
                                          const int64_t *shape)
{
    VMT_TRY(vmt_reuse_check(ctx, settings));
    const int64_t slots = vmt_reuse_slots(settings);
    VMT_TRY(vmt_take(ctx, arena, &state->latent, ctx->real, rank, shape));
    VMT_TRY(vmt_take(ctx, arena, &state->m, ctx->real, rank, shape));
    VMT_TRY(vmt_take(ctx, arena, &state->v, ctx->real, rank, shape));
    for (state->slots = 0; state->slots < slots; state->slots++)
        VMT_TRY(vmt_take(ctx, arena, &state->grads[state->slots], ctx->real, rank, shape));
    state->computed = 0;
    vmt_guidance_forget(state);
    return VMT_OK;
}

void vmt_guidance_forget(vmt_guidance_state *state)
{
    const double unknown = (double)NAN;

    state->inner_step = state->adamw_steps = 0;
    for (int i = 0; i < VMT_GUIDANCE_SLOTS; i++)
        state->age[i] = state->due[i] = 0;
    state->losses = (vmt_motion_losses){unknown, unknown, unknown};
}

void vmt_guidance_rewind(vmt_guidance_state *state, const vmt_motion_settings *m)
{
    const vmt_guidance_state before = *state;

    vmt_guidance_forget(state);
    if (m->adamw_state == VMT_ADAMW_CARRY)
        state->adamw_steps = before.adamw_steps;
    if (m->reuse == VMT_REUSE_STEPS || m->reuse == VMT_REUSE_ADAPTIVE) {
        memcpy(state->age, before.age, sizeof state->age);
        memcpy(state->due, before.due, sizeof state->due);
        state->losses = before.losses;
    }
}

int64_t vmt_guidance_state_counts(vmt_guidance_state *state, vmt_named_count *counts)
{
    static const char *const names[][VMT_GUIDANCE_SLOTS] = {
        {"grad_age", "grad_age.1", "grad_age.2", "grad_age.3", "grad_age.4", "grad_age.5",
         "grad_age.6", "grad_age.7"},
        {"grad_due", "grad_due.1", "grad_due.2", "grad_due.3", "grad_due.4", "grad_due.5",
         "grad_due.6", "grad_due.7"}};
    int64_t count = 0;

    counts[count++] = (vmt_named_count){"inner_step", &state->inner_step};
    counts[count++] = (vmt_named_count){"adamw_steps", &state->adamw_steps};
    counts[count++] = (vmt_named_count){"gradients", &state->computed};
    for (int64_t i = 0; i < state->slots; i++) {
        counts[count++] = (vmt_named_count){names[0][i], &state->age[i]};
        counts[count++] = (vmt_named_count){names[1][i], &state->due[i]};
    }
    return count;
}

int64_t vmt_guidance_state_tensors(const vmt_guidance_state *state, vmt_named_tensor *tensors)
{
    static const char *const names[VMT_GUIDANCE_SLOTS] = {"grad",   "grad.1", "grad.2", "grad.3",
                                                          "grad.4", "grad.5", "grad.6", "grad.7"};
    int64_t count = 0;

    tensors[count++] = (vmt_named_tensor){"latent", state->latent};
    if (state->adamw_steps > 0) {
        tensors[count++] = (vmt_named_tensor){"adamw.m", state->m};
        tensors[count++] = (vmt_named_tensor){"adamw.v", state->v};
    }
    for (int64_t i = 0; i < state->slots; i++)
        if (state->age[i] > 0)
            tensors[count++] = (vmt_named_tensor){names[i], state->grads[i]};
    return count;
}

static enum vmt_status check_optimiser(vmt_ctx *ctx, const vmt_motion_settings *m)
{
    if (m->inner_steps < 0 || m->guided_steps < 0)
        return vmt_fail(ctx, VMT_E_ARG,
                        "inner-steps %" PRId32 ", guided-steps %" PRId32 ": must not be negative",
                        m->inner_steps, m->guided_steps);
    VMT_TRY(vmt_reuse_check(ctx, m));
    if (!(m->beta1 >= 0.0f && m->beta1 < 1.0f && m->beta2 >= 0.0f && m->beta2 < 1.0f))
        return vmt_fail(ctx, VMT_E_ARG, "beta1 %g, beta2 %g: must be at least 0 and below 1",
                        (double)m->beta1, (double)m->beta2);
    if (!(m->adam_eps > 0.0f))
        return vmt_fail(ctx, VMT_E_ARG, "adam-eps: %g, must be above 0", (double)m->adam_eps);
    return VMT_OK;
}

enum vmt_status vmt_guidance_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *guidance,
                                    const vmt_motion_settings *settings, const int64_t grid[3],
                                    int64_t heads, int64_t head_dim, int rank, const int64_t *shape)
{
    vmt_guidance *const g = guidance;

    *g = (vmt_guidance){.settings = *settings};
    VMT_TRY(check_optimiser(ctx, settings));
    VMT_TRY(vmt_method_get(ctx, &g->method, settings->method));
    if (g->method->tap == VMT_TAP_NONE || rank != 4)
        return vmt_fail(ctx, VMT_E_INTERNAL, "method %s with a latent of rank %d guides nothing",
                        g->method->row.name, rank);
    if (settings->variant == VMT_VARIANT_RELEASED && settings->method != VMT_METHOD_FASTVMT)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--variant released is arithmetic of method fastvmt: %s takes paper",
                        g->method->row.name);
    VMT_TRY(g->method->layout(ctx, arena, g, grid, heads, head_dim, shape));
    VMT_TRY(vmt_take(ctx, arena, &g->amf_loss, ctx->real, VMT_SHAPE(1)));
    VMT_TRY(vmt_take(ctx, arena, &g->track_loss, ctx->real, VMT_SHAPE(1)));
    return vmt_take(ctx, arena, &g->noised, ctx->real, rank, shape);
}

/* ---------------------------------------------------------------- which steps are guided */

float vmt_guidance_until(const vmt_motion_settings *settings, const float *sigmas, int64_t steps)
{
    const int64_t guided = settings->guided_steps < steps ? settings->guided_steps : steps;

    if (settings->guide_until > 0.0f)
        return settings->guide_until;
    return guided > 0 ? sigmas[guided - 1] : INFINITY;
}

/* ---------------------------------------------------------------- the reference */

enum vmt_status vmt_noise_latent(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *clean,
                                 const vmt_tensor *noise, float sigma)
{
    return vmt_lincomb(ctx, y, clean, sigma == 0.0f ? clean : noise, (double)(1.0f - sigma),
                       (double)sigma);
}

enum vmt_status vmt_motion_reference_features(vmt_ctx *ctx, vmt_guidance *guidance,
                                              const vmt_tap_model *tap, vmt_tensor *features,
                                              const vmt_tensor *clean, const vmt_tensor *noise,
                                              float sigma, float timestep)
{
    vmt_taps taps = {.latent = &guidance->noised};

    if (guidance->settings.ref_time == VMT_REF_CLEAN)
        sigma = timestep = 0.0f;
    taps.timestep = timestep;
    VMT_TRY(vmt_noise_latent(ctx, &guidance->noised, clean, noise, sigma));
    VMT_TRY(tap->forward(tap->self, &taps, &guidance->noised, timestep, VMT_TAP_EMPTY, false));
    return guidance->method->reference(ctx, guidance, features, &taps);
}

/* ---------------------------------------------------------------- the gradient */

static enum vmt_status download_scalar(vmt_ctx *ctx, double *value, const vmt_tensor *scalar)
{
    vmt_tensor host = vmt_tensor_over(value, VMT_F64, VMT_SHAPE(1));

    return vmt_download(ctx, &host, scalar);
}

static enum vmt_status read_losses(vmt_ctx *ctx, const vmt_guidance *g, vmt_motion_losses *losses,
                                   int64_t step, int64_t inner_step)
{
    VMT_TRY(download_scalar(ctx, &losses->amf, &g->amf_loss));
    VMT_TRY(download_scalar(ctx, &losses->track, &g->track_loss));
    losses->total = (double)g->settings.amf_weight * losses->amf +
                    (double)g->settings.track_weight * losses->track;
    if (!isfinite(losses->total))
        return vmt_fail(ctx, VMT_E_NUMERIC,
                        "motion loss at step %" PRId64 ", inner step %" PRId64
                        ": flow %g, track %g; the latent or the model's weights hold a value that "
                        "is not finite",
                        step, inner_step, losses->amf, losses->track);
    return VMT_OK;
}

/* The gradient of this inner step's slot, and state->losses, at state->latent. */
static enum vmt_status compute_gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_guidance_state *state,
                                        const vmt_tap_model *tap, const vmt_guided_step *step)
{
    vmt_taps taps = {.latent = &state->latent, .timestep = step->timestep}, gradient = {0};
    const bool keep = g->method->tap != VMT_TAP_VELOCITY;
    vmt_tensor *grad = &state->grads[vmt_reuse_slot(&g->settings, state->inner_step)];
    char where[96];

    VMT_TRY(tap->forward(tap->self, &taps, &state->latent, step->timestep, VMT_TAP_PROMPT, keep));
    VMT_TRY(vmt_zero(ctx, &g->amf_loss));
    VMT_TRY(vmt_zero(ctx, &g->track_loss));
    VMT_TRY(g->method->gradient(ctx, g, &gradient, &taps, step));
    VMT_TRY(read_losses(ctx, g, &state->losses, step->step, state->inner_step));
    if (keep)
        VMT_TRY(tap->backward(tap->self, grad, &gradient));
    else
        VMT_TRY(vmt_copy(ctx, grad, gradient.latent));
    snprintf(where, sizeof(where), "motion gradient at step %" PRId64 ", inner step %" PRId64,
             step->step, state->inner_step);
    return vmt_require_finite(ctx, grad, where);
}

/* The same if it is due, and when the next one is. */
static enum vmt_status take_gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_guidance_state *state,
                                     const vmt_tap_model *tap, const vmt_guided_step *step)
{
    const vmt_motion_settings *m = &g->settings;
    enum vmt_status status = VMT_OK;
    float *old = NULL;

    if (vmt_reuse_due(m, state)) {
        status = vmt_reuse_before(ctx, m, state, &old);
        if (status == VMT_OK)
            status = compute_gradient(ctx, g, state, tap, step);
        if (status == VMT_OK)
            status = vmt_reuse_after(ctx, m, state, old);
        vmt_free(old);
    }
    state->age[vmt_reuse_slot(m, state->inner_step)]++;
    return status;
}

/* ---------------------------------------------------------------- the optimiser */

static enum vmt_status optimise(vmt_ctx *ctx, const vmt_motion_settings *m,
                                vmt_guidance_state *state)
{
    const double done = (double)state->inner_step / (double)m->inner_steps;
    const vmt_adamw adamw = {
        .lr = (double)m->lr_first - ((double)m->lr_first - (double)m->lr_last) * done,
        .beta1 = (double)m->beta1,
        .beta2 = (double)m->beta2,
        .eps = (double)m->adam_eps,
        .weight_decay = (double)m->weight_decay,
        .step = state->adamw_steps + 1,
    };

    const vmt_tensor *grad = &state->grads[vmt_reuse_slot(m, state->inner_step)];

    if (state->adamw_steps == 0) {
        VMT_TRY(vmt_zero(ctx, &state->m));
        VMT_TRY(vmt_zero(ctx, &state->v));
    }
    return vmt_adamw_step(ctx, &state->latent, &state->m, &state->v, grad, &adamw);
}

enum vmt_status vmt_guidance_step(vmt_ctx *ctx, vmt_guidance *guidance, vmt_guidance_state *state,
                                  const vmt_tap_model *tap, const vmt_guided_step *step)
{
    const vmt_motion_settings *m = &guidance->settings;

    if (guidance->method->begin && state->inner_step < m->inner_steps)
        VMT_TRY(guidance->method->begin(ctx, guidance, step));
    while (state->inner_step < m->inner_steps) {
        VMT_TRY(vmt_check_cancelled(ctx));
        if (vmt_reuse_begins(m, state->inner_step))
            VMT_TRY(take_gradient(ctx, guidance, state, tap, step));
        VMT_TRY(optimise(ctx, m, state));
        state->inner_step++;
        state->adamw_steps++;
        if (step->progress && step->progress(step->progress_user, state))
            return vmt_fail(ctx, VMT_E_CANCELLED,
                            "stopped at step %" PRId64 " after inner step %" PRId64 " of %" PRId32,
                            step->step, state->inner_step, m->inner_steps);
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- the methods of the flow */

enum vmt_status vmt_guidance_flow_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *guidance,
                                         const int64_t grid[3], int64_t heads, int64_t head_dim)
{
    const vmt_flow_plan *plan = &guidance->plan;

    VMT_TRY(vmt_flow_plan_make(ctx, &guidance->plan, &guidance->settings, grid, heads, head_dim));
    guidance->features = (vmt_feature_shape){.rank = 3, .axes = {plan->pairs, plan->tokens, 2}};
    return vmt_flow_layout(ctx, arena, plan, &guidance->flow);
}

enum vmt_status vmt_guidance_flow_reference(vmt_ctx *ctx, vmt_guidance *guidance,
                                            vmt_tensor *features, const vmt_taps *taps)
{
    return vmt_flow_of(ctx, &guidance->plan, &guidance->flow, features, taps->q, taps->k);
}

enum vmt_status vmt_guidance_flow_distance(vmt_ctx *ctx, vmt_guidance *guidance,
                                           const vmt_taps *taps, const vmt_guided_step *step)
{
    vmt_flow_memory *m = &guidance->flow;

    VMT_TRY(vmt_flow_of(ctx, &guidance->plan, m, &m->flow, taps->q, taps->k));
    VMT_TRY(vmt_zero(ctx, &m->dQ));
    VMT_TRY(vmt_zero(ctx, &m->dK));
    return vmt_flow_distance(ctx, &guidance->plan, &guidance->amf_loss, &m->dflow, &m->scratch,
                             &m->flow, step->references, step->reference_count,
                             (double)guidance->settings.amf_weight);
}

enum vmt_status vmt_guidance_flow_back(vmt_ctx *ctx, vmt_guidance *guidance, vmt_taps *gradient)
{
    gradient->q = &guidance->flow.dq;
    gradient->k = &guidance->flow.dk;
    return vmt_flow_back(ctx, &guidance->plan, &guidance->flow);
}
