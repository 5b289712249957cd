/* SPDX-License-Identifier: MIT */
#include "motion/reuse.h"

#include <inttypes.h>
#include <math.h>

enum vmt_status vmt_reuse_check(vmt_ctx *ctx, const vmt_motion_settings *m)
{
    if (m->grad_reuse_interval < 1)
        return vmt_fail(ctx, VMT_E_ARG, "grad-reuse-interval: %" PRId32 ", must be at least 1",
                        m->grad_reuse_interval);
    if (m->reuse < VMT_REUSE_INNER || m->reuse > VMT_REUSE_ADAPTIVE)
        return vmt_fail(ctx, VMT_E_ARG, "reuse: no mode %" PRId32, m->reuse);
    if (m->reuse < VMT_REUSE_STEPS)
        return VMT_OK;
    if (m->reuse_steps < 1)
        return vmt_fail(ctx, VMT_E_ARG, "reuse-steps: %" PRId32 ", must be at least 1",
                        m->reuse_steps);
    if (!(m->reuse_cosine > 0.0f && m->reuse_cosine < 1.0f))
        return vmt_fail(ctx, VMT_E_ARG, "reuse-cosine: %g, must be above 0 and below 1",
                        (double)m->reuse_cosine);
    if (vmt_reuse_slots(m) > VMT_GUIDANCE_SLOTS)
        return vmt_fail(
            ctx, VMT_E_ARG,
            "--reuse over guided steps keeps at most %d gradients of a step: "
            "--grad-reuse-interval %" PRId32 " makes %" PRId64 " of %" PRId32 " inner steps",
            (int)VMT_GUIDANCE_SLOTS, m->grad_reuse_interval, vmt_reuse_slots(m), m->inner_steps);
    return VMT_OK;
}

/* ---- which inner steps */

static bool over_steps(const vmt_motion_settings *m)
{
    return m->reuse == VMT_REUSE_STEPS || m->reuse == VMT_REUSE_ADAPTIVE;
}

/* Inner steps of a guided step served by one gradient. */
static int64_t interval(const vmt_motion_settings *m)
{
    return m->reuse == VMT_REUSE_NONE ? 1 : m->grad_reuse_interval;
}

static int64_t of_a_step(const vmt_motion_settings *m)
{
    return (m->inner_steps + interval(m) - 1) / interval(m);
}

int64_t vmt_reuse_slots(const vmt_motion_settings *m)
{
    return over_steps(m) ? of_a_step(m) : 1;
}

int64_t vmt_reuse_gradients(const vmt_motion_settings *m, int64_t guided)
{
    if (m->reuse == VMT_REUSE_STEPS)
        guided = (guided + m->reuse_steps - 1) / m->reuse_steps;
    return guided * of_a_step(m);
}

int64_t vmt_reuse_slot(const vmt_motion_settings *m, int64_t inner_step)
{
    return over_steps(m) ? inner_step / interval(m) : 0;
}

bool vmt_reuse_begins(const vmt_motion_settings *m, int64_t inner_step)
{
    return inner_step % interval(m) == 0;
}

bool vmt_reuse_due(const vmt_motion_settings *m, const vmt_guidance_state *state)
{
    const int64_t slot = vmt_reuse_slot(m, state->inner_step);

    if (!over_steps(m) || state->age[slot] == 0)
        return true;
    return state->age[slot] >= (m->reuse == VMT_REUSE_STEPS ? m->reuse_steps : state->due[slot]);
}

/* ---- adaptive */

static enum vmt_status to_host(vmt_ctx *ctx, float **data, const vmt_tensor *t)
{
    VMT_TRY(vmt_alloc(ctx, (void **)data, (size_t)vmt_numel(t), sizeof **data));
    vmt_tensor host = vmt_tensor_over(*data, VMT_F32, t->rank, t->shape);
    return vmt_download(ctx, &host, t);
}

enum vmt_status vmt_reuse_before(vmt_ctx *ctx, const vmt_motion_settings *m,
                                 const vmt_guidance_state *state, float **old)
{
    const int64_t slot = vmt_reuse_slot(m, state->inner_step);

    *old = NULL;
    return m->reuse == VMT_REUSE_ADAPTIVE && state->age[slot] > 0
               ? to_host(ctx, old, &state->grads[slot])
               : VMT_OK;
}

double vmt_cosine(const float *a, const float *b, int64_t count)
{
    double ab = 0, aa = 0, bb = 0;

    for (int64_t i = 0; i < count; i++) {
        const double x = (double)a[i], y = (double)b[i];
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return aa > 0 && bb > 0 ? ab / (sqrt(aa) * sqrt(bb)) : 0;
}

int64_t vmt_reuse_expect(double cosine, int64_t distance, double least, int64_t most)
{
    const int64_t longest = 2 * distance < most ? 2 * distance : most;

    if (!(cosine > 0))
        return 1;
    if (cosine >= 1)
        return longest;
    const double steps = floor((double)distance * log(least) / log(cosine));
    return steps < 1 ? 1 : steps > (double)longest ? longest : (int64_t)steps;
}

enum vmt_status vmt_reuse_after(vmt_ctx *ctx, const vmt_motion_settings *m,
                                vmt_guidance_state *state, const float *old)
{
    const int64_t slot = vmt_reuse_slot(m, state->inner_step);
    const vmt_tensor *grad = &state->grads[slot];
    float *now = NULL;
    enum vmt_status status = VMT_OK;

    state->due[slot] = 1;
    if (old)
        status = to_host(ctx, &now, grad);
    if (now && status == VMT_OK)
        state->due[slot] = vmt_reuse_expect(vmt_cosine(old, now, vmt_numel(grad)), state->age[slot],
                                            (double)m->reuse_cosine, m->reuse_steps);
    vmt_free(now);
    state->age[slot] = 0;
    state->computed++;
    return status;
}
