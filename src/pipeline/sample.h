/* SPDX-License-Identifier: MIT
 *
 * The denoising loop with motion guidance, on latents: what lies between VAE encode and VAE decode.
 * A run can be stored after any inner step and goes on from there to the bit.
 */
#ifndef VMT_PIPELINE_SAMPLE_H
#define VMT_PIPELINE_SAMPLE_H

#include "pipeline/record.h"
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
    const vmt_preview *preview;          /* NULL: none */
    const float *noise, *ref_noise; /* host, in place of the seeds' noise; NULL: from the seeds */
} vmt_sample_spec;

typedef struct vmt_sample {
    vmt_sample_spec spec;
    vmt_sampler_state sampler;
    const vmt_motion_method *method; /* NULL: no transfer */
    int64_t guided;                  /* steps that are guided */
    int32_t recompute;               /* level chosen */
    vmt_dit_local local;             /* attention of its passes */
    vmt_dit_text *texts[VMT_TEXT_COUNT];
    vmt_dit_run *dit;
    vmt_arena arena;
    vmt_guidance guidance; /* laid out if guided > 0 */
    vmt_guidance_state state;
    vmt_tensor velocity, negative_velocity, clean, noise;
    vmt_tensor reference; /* its features, of the step at hand */
    vmt_reporter *reporter;
    float *timesteps; /* of the plan: the sampler's and 0 */
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
    size_t bytes; /* of arenas and prompts */
    int32_t recompute;
    vmt_dit_local local;
    int64_t guided;
    int32_t forward_blocks, backward_blocks; /* of the network, for one gradient */
} vmt_sample_needs;

/* The level of recomputation, if settings->recompute leaves the choice: the least that takes at
 * most half of the `free_bytes` of the host, or all of a device's. */
enum vmt_status vmt_sample_plan(vmt_ctx *ctx, const vmt_sample_spec *spec, size_t free_bytes,
                                vmt_sample_needs *needs);

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

/* Shows what this step predicts, its velocity given, if one is due (preview.c). */
enum vmt_status vmt_sample_preview(vmt_ctx *ctx, vmt_sample *sample);

uint64_t vmt_ref_seed(const vmt_settings *settings);

#endif
