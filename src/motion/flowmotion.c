/* SPDX-License-Identifier: MIT
 *
 * FlowMotion: the clean clip that one step from here would give, z = x - sigma v, is drawn to that
 * of the reference, itself and the differences of its frames:
 *
 *     distance = 4 · mean |z - z_ref|² + mean over pairs of frames |(z_i - z_j) - (r_i - r_j)|²
 *
 * The velocity v counts as constant, so the gradient at z is that at the latent x, and none goes
 * through the network.  The second term over all pairs i ≠ j is 2 / (F - 1) · Σ_i |c_i|² by cell, c
 * the difference z - z_ref minus its mean over the frames. Source: arXiv 2603.06289;
 * docs/methods.md says what differs.
 */
#include "motion/guidance.h"

/* Published: 20 and 5; amf_weight is 5. */
static const double ESTIMATE_WEIGHT = 4.0;

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    vmt_estimate_memory *m = &g->estimate;
    vmt_tensor *const latents[] = {&m->clean, &m->dclean, &m->centred, &m->wanted, &m->dcentred};

    (void)grid, (void)heads, (void)head_dim;
    for (int i = 0; i < 5; i++)
        VMT_TRY(vmt_take(ctx, arena, latents[i], ctx->real, 4, shape));
    g->features = (vmt_feature_shape){.rank = 4, .axes = {shape[0], shape[1], shape[2], shape[3]}};
    return VMT_OK;
}

/* z = x - sigma v. */
static enum vmt_status estimate(vmt_ctx *ctx, vmt_tensor *clean, const vmt_taps *taps)
{
    return vmt_lincomb(ctx, clean, taps->latent, taps->velocity, 1.0,
                       -(double)taps->timestep / 1000.0);
}

static enum vmt_status reference(vmt_ctx *ctx, vmt_guidance *g, vmt_tensor *features,
                                 const vmt_taps *taps)
{
    (void)g;
    return estimate(ctx, features, taps);
}

/* The second term; adds to dclean. */
static enum vmt_status differences(vmt_ctx *ctx, vmt_guidance *g, const vmt_tensor *reference,
                                   double cells)
{
    vmt_estimate_memory *m = &g->estimate;
    const int64_t *s = m->clean.shape, frames = s[1];
    const vmt_tensor from[] = {vmt_reshape(&m->clean, VMT_SHAPE(s[0], s[1], s[2] * s[3])),
                               vmt_reshape(reference, VMT_SHAPE(s[0], s[1], s[2] * s[3]))};
    vmt_tensor to[] = {vmt_reshape(&m->centred, 3, from[0].shape),
                       vmt_reshape(&m->wanted, 3, from[0].shape)};
    const vmt_tensor mine = vmt_reshape(&m->centred, VMT_SHAPE(s[0] * s[1], s[2] * s[3]));
    const vmt_tensor theirs = vmt_reshape(&m->wanted, 2, mine.shape);
    vmt_tensor dmine = vmt_reshape(&m->dcentred, 2, mine.shape);

    for (int i = 0; i < 2; i++)
        VMT_TRY(vmt_centre(ctx, &to[i], &from[i]));
    VMT_TRY(vmt_flow_loss(ctx, &g->amf_loss, &dmine, &mine, &theirs, NULL,
                          2.0 / ((double)(frames - 1) * cells), (double)g->settings.amf_weight));
    /* what is centred already stays itself: no centring on the way back */
    return vmt_lincomb(ctx, &m->dclean, &m->dclean, &m->dcentred, 1.0, 1.0);
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    vmt_estimate_memory *m = &g->estimate;
    const vmt_tensor *reference = step->references[0].features;
    const int64_t *s = m->clean.shape;
    const double cells = (double)(s[0] * s[2] * s[3]); /* of one frame */
    const vmt_tensor mine = vmt_reshape(&m->clean, VMT_SHAPE(s[0] * s[1], s[2] * s[3]));
    const vmt_tensor theirs = vmt_reshape(reference, 2, mine.shape);
    vmt_tensor dmine = vmt_reshape(&m->dclean, 2, mine.shape);

    VMT_TRY(estimate(ctx, &m->clean, taps));
    VMT_TRY(vmt_flow_loss(ctx, &g->amf_loss, &dmine, &mine, &theirs, NULL,
                          ESTIMATE_WEIGHT / ((double)s[1] * cells),
                          (double)g->settings.amf_weight));
    gradient->latent = &m->dclean;
    return s[1] > 1 ? differences(ctx, g, reference, cells) : VMT_OK;
}

/* Published: 3 inner steps in the first 10 of 50, rate 0.003 throughout. */
const vmt_motion_method vmt_method_flowmotion = {
    .row = {.name = "flowmotion",
            .about = "clean estimates and differences of their frames; no gradient through the "
                     "network",
            .paper = "arXiv 2603.06289",
            .taps = "velocity"},
    .feature = "estimate",
    .tap = VMT_TAP_VELOCITY,
    .schedule =
        {.guided_steps = 1, .inner_steps = 0.3, .lr_first = 1, .lr_last = 1.5, .interval = 1},
    .layout = layout,
    .reference = reference,
    .gradient = gradient,
};
