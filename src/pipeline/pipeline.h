/* SPDX-License-Identifier: MIT
 *
 * What the files of src/pipeline share: the opened model, the geometry of a run, what a reference
 * contributes, and progress.  The phases of a run, in order, are in transfer.c.
 */
#ifndef VMT_PIPELINE_H
#define VMT_PIPELINE_H

#include "dit/dit.h"
#include "model/model_config.h"
#include "model/model_paths.h"
#include "motion/guidance.h"
#include "pipeline/budget.h"
#include "sampler/sampler.h"
#include "text/umt5.h"
#include "vae/vae.h"

/* ---- model */

struct vmt_model {
    vmt_tensor_file *files[VMT_PART_COUNT]; /* NULL: absent; the tokenizer is no tensor file */
    char hashes[VMT_PART_COUNT][65];        /* vmt_tensor_file_hash of each, the DiT's with its
                                               LoRAs' */
    char loras[1024];                       /* names, weights and hashes of LoRAs, for people; "" */
    char *tokenizer;                        /* path of spiece.model, or NULL */
    vmt_dit_config dit_config;              /* of both transformers, where there are two */
    vmt_vae_config vae_config;
    vmt_text_config text_config;
    vmt_dit *dit;
    vmt_dit *dit_low; /* of the steps below settings.boundary; NULL: dit computes all */
    float boundary;   /* what settings.boundary is unless it is named */
    vmt_vae *vae;
    vmt_umt5 *text;
    vmt_model_defaults defaults;
};

/* VMT_E_MODEL with advice unless the model has the part. */
enum vmt_status vmt_model_require(vmt_ctx *ctx, const vmt_model *model, enum vmt_part part);

/* The transformer of a timestep.  Source: Wan-Video/Wan2.2 wan/text2video.py. */
vmt_dit *vmt_model_dit_at(const vmt_model *model, const vmt_settings *settings, float timestep);

/* Bytes of the transformers' packed weights that are there now; lets go of all of them. */
size_t vmt_model_held_now(const vmt_model *model);
void vmt_model_release(vmt_ctx *ctx, const vmt_model *model);

/* Whether any step needs the negative prompt. */
bool vmt_model_needs_negative(const vmt_model *model, const vmt_settings *settings);

typedef struct vmt_reporter vmt_reporter;

/* Sets every approximation as settings->mode has it (mode.c). */
enum vmt_status vmt_settings_set_mode(vmt_ctx *ctx, vmt_settings *settings);

/* ---- geometry */

/* Sizes of a run.  Pixels: as asked, and padded to what the model needs. */
typedef struct vmt_geometry {
    int64_t width, height, frames;
    double fps;
    int64_t model_width, model_height, model_frames; /* multiples of 8·patch; 4k + 1 */
    int64_t channels, latent_f, latent_h, latent_w;  /* of the latent */
    int64_t grid_f, grid_h, grid_w;                  /* tokens */
    int64_t time;                                    /* frames from one latent frame to the next */
} vmt_geometry;

/* Limits of what is asked for. */
enum { VMT_MAX_SIDE = 16384, VMT_MAX_FRAMES = 100000 };

/* From settings, else from the reference (frames 0: none), else from the model. */
enum vmt_status vmt_geometry_make(vmt_ctx *ctx, vmt_geometry *g, const vmt_model *model,
                                  const vmt_settings *settings, const vmt_clip *reference);

/* Elements of the latent. */
int64_t vmt_geometry_latent(const vmt_geometry *g);

/* Bytes that are there all the time where the context computes: the caller's clip, tensors that
 * were copied when the files opened, LoRAs' matrices.  On a device 0: they are the host's. */
size_t vmt_always_bytes(const vmt_ctx *ctx, const vmt_model *model, const vmt_geometry *g,
                        bool from_clip);
/* The same wherever it is. */
size_t vmt_caller_bytes(const vmt_model *model, const vmt_geometry *g, bool from_clip);

/* The clip at model size: last frame repeated, right and bottom edges replicated. */
enum vmt_status vmt_geometry_pad(vmt_ctx *ctx, const vmt_geometry *g, const vmt_clip *clip,
                                 vmt_clip *padded);
/* The inverse: the first frames, rows and columns, as asked. */
enum vmt_status vmt_geometry_crop(vmt_ctx *ctx, const vmt_geometry *g, const vmt_clip *padded,
                                  vmt_clip *clip);

/* ---- vae_room.c */

/* The autoencoder's options out of the settings; a stride of 0 is half a tile. */
vmt_vae_options vmt_vae_options_from(const vmt_settings *settings, vmt_reporter *reporter);

/* Bytes of one direction, weights and scratch included; where that is more than `room` and tiles
 * were not asked for, with the largest exact tiles that fit, or those that take least. */
enum vmt_status vmt_vae_fit(vmt_ctx *ctx, const vmt_model *model, const vmt_geometry *g,
                            enum vmt_vae_direction direction, size_t room, vmt_vae_options *options,
                            size_t *bytes);

/* Before a phase that takes `bytes`: what the last one kept for speed goes, and the DiT's weights
 * if both do not fit. */
void vmt_make_room(vmt_ctx *ctx, const vmt_model *model, size_t bytes);

/* ---- plan.c */

/* VMT_E_MEMORY, before anything is loaded, where there is a limit that a run cannot keep;
 * VMT_E_MODEL without a DiT.  samples: it does not end with the reference's features. */
enum vmt_status vmt_plan_require(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                 const vmt_transfer_io *io, bool samples);

/* Bytes that the longest prompts take to encode where the context computes, scratch included. */
enum vmt_status vmt_text_bytes(vmt_ctx *ctx, const vmt_model *model, size_t *bytes);

/* ---- progress */

/* Where a run stands; calls the user's function and turns its answer into a status. */
struct vmt_reporter {
    vmt_progress_fn *fn;
    void *user;
    double started;     /* seconds, monotonic */
    double phase_start; /* when the phase began */
    vmt_progress now;
    double done, total; /* work units of the phase, for the estimate */
};

void vmt_reporter_start(vmt_reporter *r, const vmt_transfer_io *io);
/* Begins a phase of `total` work units and `steps` steps. */
enum vmt_status vmt_reporter_phase(vmt_ctx *ctx, vmt_reporter *r, enum vmt_phase phase,
                                   int64_t steps, double total);
/* Adds work and tells the user; VMT_E_CANCELLED when the user says stop. */
enum vmt_status vmt_reporter_tell(vmt_ctx *ctx, vmt_reporter *r, double work);
/* Tells which memory is in use now. */
void vmt_reporter_memory(vmt_reporter *r, size_t bytes);
/* Tells what the process may take in this phase, all included. */
void vmt_reporter_plan(vmt_reporter *r, const vmt_budget *budget, size_t bytes);
/* As vmt_vae_options.progress; user is the reporter. */
enum vmt_status vmt_reporter_vae(vmt_ctx *ctx, void *user, int64_t done, int64_t total);

#endif
