/* SPDX-License-Identifier: MIT
 *
 * Motion guidance: in the first, noisiest denoising steps the latent itself is optimised so that
 * its motion features become the reference's.  One guided step, at timestep t and sigma:
 *
 *     reference        features of the reference's latent noised to sigma, empty prompt, no
 * gradient for j = 0 .. inner_steps - 1 if it is due (gradient reuse: motion/reuse.h)
 *             features, track of the latent, prompt
 *             grad = d (amf_weight · distance(features, reference) + track_weight · track) / d
 * latent AdamW(latent, grad, rate j)
 *
 * then the sampler's own step.  What features and distance are is the method's (motion/method.h);
 * FastVMT's: attention motion flow and, with weight track_weight, the corresponding-window loss.
 * Source: FastVMT, "gradient optimisation"; docs/method.md.
 */
#ifndef VMT_MOTION_GUIDANCE_H
#define VMT_MOTION_GUIDANCE_H

#include "model/tensor_file.h"
#include "motion/flow.h"
#include "motion/hidden.h"
#include "motion/method.h"
#include "motion/track.h"

enum vmt_tap_text { VMT_TAP_PROMPT = 0, VMT_TAP_EMPTY };

/* The denoising network as the guidance sees it: what the method taps, and the way back. */
typedef struct vmt_tap_model {
    void *self;
    /* taps: the method's, owned by the network and valid until its next call.
     * latent: [C, F, H, W] R.   keep: what `backward` needs is saved. */
    enum vmt_status (*forward)(void *self, vmt_taps *taps, const vmt_tensor *latent, float timestep,
                               enum vmt_tap_text text, bool keep);
    /* dlatent: [C, F, H, W] R, overwritten; of the last forward with `keep`.  Not called for a
     * velocity. */
    enum vmt_status (*backward)(void *self, vmt_tensor *dlatent, const vmt_taps *gradient);
} vmt_tap_model;

/* Values of the last computed gradient; NaN before the first. */
typedef struct vmt_motion_losses {
    double amf, track, total; /* total = amf_weight · amf (the distance) + track_weight · track */
} vmt_motion_losses;

enum {
    VMT_GUIDANCE_SLOTS = 8, /* gradients kept at most */
    VMT_GUIDANCE_TENSORS = 3 + VMT_GUIDANCE_SLOTS,
    VMT_GUIDANCE_COUNTS = 3 + 2 * VMT_GUIDANCE_SLOTS
};

/* Everything that changes while guiding.  Stored whole, a run goes on from it to the bit. */
typedef struct vmt_guidance_state {
    vmt_tensor latent;                    /* [C, F, H, W] R, the run's latent */
    vmt_tensor m, v;                      /* AdamW's moments */
    vmt_tensor grads[VMT_GUIDANCE_SLOTS]; /* gradients to be taken again: motion/reuse.h */
    int64_t slots;                        /* of grads, laid out */
    int64_t inner_step;  /* inner steps done of this denoising step.  Its last value, inner_steps,
                            stays until vmt_guidance_rewind */
    int64_t adamw_steps; /* that AdamW has taken since its moments were zero */
    int64_t age[VMT_GUIDANCE_SLOTS]; /* guided steps that each has served; 0: it holds nothing */
    int64_t due[VMT_GUIDANCE_SLOTS]; /* adaptive: age at which a new one is due */
    int64_t computed;                /* gradients, in the whole run */
    vmt_motion_losses losses;
} vmt_guidance_state;

enum vmt_status vmt_guidance_state_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance_state *state,
                                          const vmt_motion_settings *settings, int rank,
                                          const int64_t *shape);

/* Ready for the next guided step: what the settings do not carry over is forgotten. */
void vmt_guidance_rewind(vmt_guidance_state *state, const vmt_motion_settings *settings);

/* Ready for a run, or for the steps after the last guided one; `computed` stays. */
void vmt_guidance_forget(vmt_guidance_state *state);

typedef struct vmt_named_count {
    const char *name;
    int64_t *value;
} vmt_named_count;

/* The counts of the state, and the tensors that they say are in use, with static names; both
 * return how many.  The latent alone between guided steps that carry nothing over.  Store both; to
 * go on set the counts, then ask for the tensors and fill them. */
int64_t vmt_guidance_state_counts(vmt_guidance_state *state, vmt_named_count *counts);
int64_t vmt_guidance_state_tensors(const vmt_guidance_state *state, vmt_named_tensor *tensors);

/* Of flowmotion, each [C, F, H, W] R. */
typedef struct vmt_estimate_memory {
    vmt_tensor clean, dclean; /* the estimate and its gradient */
    vmt_tensor centred, wanted,
        dcentred; /* minus the mean of its frames; the reference's; gradient */
} vmt_estimate_memory;

/* Settings, plan and working memory: constant through a run, but for the contents. */
struct vmt_guidance {
    vmt_motion_settings settings;
    const vmt_motion_method *method;
    vmt_feature_shape features; /* of one reference */

    /* of the methods that have them */
    vmt_flow_plan plan;
    vmt_flow_memory flow;
    vmt_track_means means;        /* fastvmt */
    vmt_tensor moving;            /* ditflow: [pairs, tokens] R, which tokens count */
    int64_t moving_count;         /* how many do */
    vmt_hidden_memory hidden;     /* moft, smm */
    vmt_estimate_memory estimate; /* flowmotion */

    vmt_tensor amf_loss, track_loss; /* [1] R */
    vmt_tensor noised;               /* [C, F, H, W] R */
};

/**
 * Chooses the method, makes its plan and takes the memory; on a measuring arena it only counts.
 *   grid    token grid: frames, rows, columns;   shape: latent, [C, F, H, W]
 * Errors: VMT_E_ARG (settings that do not fit the grid or are out of range), VMT_E_MEMORY.
 */
enum vmt_status vmt_guidance_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *guidance,
                                    const vmt_motion_settings *settings, const int64_t grid[3],
                                    int64_t heads, int64_t head_dim, int rank,
                                    const int64_t *shape);

/**
 * The sigma down to which a run guides: guide_until if that is above 0, else the sigma of the last
 * of guided_steps; infinity when nothing is guided.  A step is guided if its sigma >= this.
 *   sigmas  [steps], falling
 */
float vmt_guidance_until(const vmt_motion_settings *settings, const float *sigmas, int64_t steps);

/* y = (1 - sigma) clean + sigma noise, the flow-matching way to noise a latent.  y may be either;
 * with sigma 0 the noise is not read. */
enum vmt_status vmt_noise_latent(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *clean,
                                 const vmt_tensor *noise, float sigma);

/**
 * Features of the reference for the step at `sigma`, or, with ref_time VMT_REF_CLEAN, of its clean
 * latent at timestep 0, the same for each step.
 *   features      out  of guidance->features' shape, R
 *   clean, noise  in   latent of the reference and its noise, R
 */
enum vmt_status vmt_motion_reference_features(vmt_ctx *ctx, vmt_guidance *guidance,
                                              const vmt_tap_model *tap, vmt_tensor *features,
                                              const vmt_tensor *clean, const vmt_tensor *noise,
                                              float sigma, float timestep);

/* Called after each inner step, when the state may be stored; returns 0 to go on, anything else to
 * stop with VMT_E_CANCELLED. */
typedef int vmt_guidance_progress_fn(void *user, const vmt_guidance_state *state);

/* One denoising step to be guided. */
struct vmt_guided_step {
    int64_t step; /* for messages */
    float timestep;
    const vmt_motion_reference *references; /* at least one */
    int64_t reference_count;
    const vmt_motion_mask *track_mask;  /* may be NULL */
    vmt_guidance_progress_fn *progress; /* may be NULL */
    void *progress_user;
};

/**
 * Does the inner steps that are left of this denoising step, state->inner_step onwards.
 * Errors: VMT_E_NUMERIC (loss or gradient not finite; names step and inner step), VMT_E_CANCELLED
 * (the state is whole: the same call goes on from there), others of the network.
 */
enum vmt_status vmt_guidance_step(vmt_ctx *ctx, vmt_guidance *guidance, vmt_guidance_state *state,
                                  const vmt_tap_model *tap, const vmt_guided_step *step);

/* ---- what the methods of the flow share */

enum vmt_status vmt_guidance_flow_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *guidance,
                                         const int64_t grid[3], int64_t heads, int64_t head_dim);
/* features = flow of taps->q, k. */
enum vmt_status vmt_guidance_flow_reference(vmt_ctx *ctx, vmt_guidance *guidance,
                                            vmt_tensor *features, const vmt_taps *taps);
/* Flow of taps->q, k; amf_loss += its distance; dflow; zero dQ, dK. */
enum vmt_status vmt_guidance_flow_distance(vmt_ctx *ctx, vmt_guidance *guidance,
                                           const vmt_taps *taps, const vmt_guided_step *step);
/* gradient->q, k from dflow, dQ, dK. */
enum vmt_status vmt_guidance_flow_back(vmt_ctx *ctx, vmt_guidance *guidance, vmt_taps *gradient);

#endif
