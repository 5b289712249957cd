/* SPDX-License-Identifier: MIT
 *
 * The denoising loop with motion guidance, on latents: what lies between VAE encode and VAE decode.
 * A run can be stored after any inner step and goes on from there to the bit.
 */
#ifndef VMT_PIPELINE_SAMPLE_H
#define VMT_PIPELINE_SAMPLE_H

#include "motion/reuse.h"
#include "pipeline/holding.h"
#include "pipeline/record.h"
#include "sampler/step_cache.h"
#include "vae/vae_colour.h"

/* Text rows of one prompt, host memory: [count, text_dim]. */
typedef struct vmt_text_rows {
    float *rows;
    int64_t count;
} vmt_text_rows;

enum vmt_run_text { VMT_TEXT_PROMPT, VMT_TEXT_NEGATIVE, VMT_TEXT_EMPTY, VMT_TEXT_COUNT };

/* Pictures of the clip a run is coming to, on the way. */
typedef struct vmt_preview {
    vmt_preview_fn *fn;
    void *user;
    int64_t steps;      /* between two of them */
    vmt_vae_colour map; /* latent to colours */
} vmt_preview;

/* Takes fn, user and steps from `io` and fits the map.  Errors: VMT_E_MODEL without autoencoder. */
enum vmt_status vmt_preview_open(vmt_ctx *ctx, vmt_preview *preview, const vmt_model *model,
                                 const vmt_transfer_io *io, vmt_reporter *reporter);

/* Bytes that it takes beside the latents. */
size_t vmt_preview_bytes(const vmt_geometry *g);

/* What a run is made from. */
typedef struct vmt_sample_spec {
    const vmt_model *model;
    const vmt_settings *settings;
    vmt_geometry geometry;
    vmt_text_rows texts[VMT_TEXT_COUNT]; /* EMPTY: only when features are extracted */
    bool transfer;                       /* Euler and guidance; else plain text-to-video */
    bool extracts;                       /* the reference's features will be computed */
    bool samples;                        /* the loop will run */
    int64_t first_step;                  /* the loop's: that of a stored run, or 0 */
    const vmt_preview *preview;          /* NULL: none */
    vmt_gradient_fn *gradient;           /* sees each computed gradient; NULL: nobody does */
    void *gradient_user;
    const float *noise, *ref_noise; /* host, in place of the seeds' noise; NULL: from the seeds */
} vmt_sample_spec;

typedef struct vmt_sample {
    vmt_sample_spec spec;
    vmt_sampler_state sampler;
    const vmt_motion_method *method; /* NULL: no transfer */
    int64_t guided;                  /* steps that are guided */
    vmt_holding holding;             /* how it lies in memory */
    vmt_dit_local local;             /* attention of its passes */
    vmt_dit *network; /* what texts and dit are of: of two transformers that of the step at hand */
    vmt_dit_text *texts[VMT_TEXT_COUNT];
    bool loops; /* the texts are the loop's, not the reference's */
    vmt_dit_run *dit;
    vmt_arena arena;
    vmt_guidance guidance; /* laid out if guided > 0 */
    vmt_guidance_state state;
    vmt_tensor velocity, negative_velocity, clean, noise;
    vmt_tensor reference; /* its features, of the step at hand */
    vmt_reporter *reporter;
    float *timesteps; /* of the plan: the sampler's and 0 */
    /* steps that are not computed (velocity.c) */
    vmt_step_cache cache;
    double *cache_changes;             /* host: of the time embedding, step by step */
    float *cache_host;                 /* host: room for both velocities */
    vmt_tensor cache_velocity[2];      /* of the last computed step and of the one before */
    vmt_tensor cache_latent;           /* with residuals: the last computed step's */
    bool cache_held;                   /* the DiT's residuals are that step's */
    int64_t forwards, reused_forwards; /* of the step at hand, not yet in reporter->now */
    const char *checkpoint_path;
    int64_t checkpoint_steps;
    const vmt_motion *motion; /* stored with the state */
    /* On a device that can fail or be taken away: the state after the last whole step, on the
     * host. */
    vmt_record held;
    float *held_latents;
    /* For conformance cases: called after each inner step and each denoising step; NULL: nothing.
     */
    enum vmt_status (*trace)(vmt_ctx *ctx, struct vmt_sample *s, void *user, const char *what);
    void *trace_user;
} vmt_sample;

/* Opens all of it; `sample` must be closed even after a failure. */
enum vmt_status vmt_sample_open(vmt_ctx *ctx, vmt_sample *sample, const vmt_sample_spec *spec,
                                vmt_reporter *reporter);
void vmt_sample_close(vmt_ctx *ctx, vmt_sample *sample);

/* What vmt_sample_open would take. */
typedef struct vmt_sample_needs {
    vmt_held held;
    vmt_dit_local local;
    int64_t guided;
    int64_t forwards;                        /* whole ones, were every step computed */
    int32_t forward_blocks, backward_blocks; /* of the network, for one gradient */
} vmt_sample_needs;

/* always: bytes of the budget's room that are taken while it runs, clips and the like. */
enum vmt_status vmt_sample_plan(vmt_ctx *ctx, const vmt_sample_spec *spec, const vmt_budget *budget,
                                size_t always, vmt_sample_needs *needs);

/* Bytes of arenas and prompts, and of the host for spilled tensors, of a spec with its schedule. */
enum vmt_status vmt_sample_bytes(vmt_ctx *ctx, vmt_sample *s, const vmt_holding *holding,
                                 size_t *bytes, size_t *host);

/* Whole blocks that a gradient's backward goes through. */
int32_t vmt_sample_backward_blocks(const vmt_sample *s);
/* Those that its forwards do: with a velocity all, of both prompts. */
int32_t vmt_sample_forward_blocks(const vmt_sample *s);
/* Passes of the reference that the guided steps ask for. */
int64_t vmt_sample_references(const vmt_sample *s);

/* VMT_E_MISMATCH unless a motion of a file fits the opened run. */
enum vmt_status vmt_sample_match(vmt_ctx *ctx, const vmt_sample *sample, const vmt_motion *motion);

/* motion->features from motion->clean and the reference's noise. */
enum vmt_status vmt_sample_extract(vmt_ctx *ctx, vmt_sample *sample, vmt_motion *motion);

/* The latent the loop begins with; motion NULL: noise. */
enum vmt_status vmt_sample_start(vmt_ctx *ctx, vmt_sample *sample, const vmt_motion *motion);

/* From a stored state instead. */
enum vmt_status vmt_sample_resume(vmt_ctx *ctx, vmt_sample *sample, const vmt_tensor_file *file);

/* The loop, from where the state stands to the end. */
enum vmt_status vmt_sample_loop(vmt_ctx *ctx, vmt_sample *sample, const vmt_motion *motion);

/* ---- networks.c */

/* VMT_E_ARG where features of one transformer would be compared with the other's. */
enum vmt_status vmt_sample_check_networks(vmt_ctx *ctx, const vmt_sample *sample);
/* The transformer of a timestep is there, with its texts and run; the other, if there is one, gone.
 * sample->holding says how. */
enum vmt_status vmt_sample_use(vmt_ctx *ctx, vmt_sample *sample, float timestep);
/* The reference's features are there: the loop's texts, and its first step's transformer. */
enum vmt_status vmt_sample_begin_loop(vmt_ctx *ctx, vmt_sample *sample);
/* Lets go of texts and run. */
void vmt_sample_close_network(vmt_ctx *ctx, vmt_sample *sample);
vmt_dit_plan vmt_sample_dit_plan(const vmt_sample *sample, const vmt_holding *holding);

/* ---- velocity.c */

/* Guidance by the prompt at step i. */
double vmt_sample_cfg(const vmt_sample *sample, int64_t i);

/* VMT_E_ARG unless the settings suit the model. */
enum vmt_status vmt_sample_cache_check(vmt_ctx *ctx, const vmt_sample *sample);
/* Which steps will be computed: after the DiT run is open. */
enum vmt_status vmt_sample_cache_open(vmt_ctx *ctx, vmt_sample *sample);

/* sample->velocity of a latent, at the step at hand, computed. */
enum vmt_status vmt_sample_prompt_velocity(vmt_ctx *ctx, vmt_sample *sample,
                                           const vmt_tensor *latent);
/* The same of the run's latent for the sampler's step, computed or from what another step held. */
enum vmt_status vmt_sample_step_velocity(vmt_ctx *ctx, vmt_sample *sample);

/* The forwards since the last call are part of the state now. */
void vmt_sample_count(vmt_sample *sample);

/* Whether reused steps take over the blocks' residuals, which the DiT run then holds. */
bool vmt_sample_holds_residuals(const vmt_sample *sample);

enum { VMT_CACHE_TENSORS = 3 };

/* The device tensors that, with what the record says, decide the next steps; as
 * vmt_sampler_latents.  The residuals are not among them: a step that reuses them computes them
 * again from the latent they came from, to the same bits. */
int64_t vmt_sample_cache_tensors(const vmt_sample *sample, vmt_named_tensor *tensors);
enum vmt_status vmt_sample_cache_record(vmt_ctx *ctx, const vmt_sample *sample, vmt_record *record);
/* sampler.step is set. */
enum vmt_status vmt_sample_cache_resume(vmt_ctx *ctx, vmt_sample *sample,
                                        const vmt_tensor_file *file);

/* Whole forwards from the step at hand to the end, as far as that can be told now. */
double vmt_sample_passes_left(const vmt_sample *sample);
/* Of step i, if it is computed: one of the prompt, and one of the negative prompt where it counts.
 */
int vmt_sample_passes(const vmt_sample *sample, int64_t i);

/* Shows what this step predicts, its velocity given, if one is due (preview.c). */
enum vmt_status vmt_sample_preview(vmt_ctx *ctx, vmt_sample *sample);

uint64_t vmt_ref_seed(const vmt_settings *settings);

#endif
