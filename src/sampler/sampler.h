/* SPDX-License-Identifier: MIT
 *
 * From noise to a clean latent in `steps` steps.  Flow matching: x_sigma = (1 - sigma) clean +
 * sigma noise; the network gives the velocity noise - clean; timestep = 1000 sigma.
 *
 *     VMT_SAMPLER_EULER  FastVMT's schedule and step
 *     VMT_SAMPLER_UNIPC  UniPC, order 2 ("bh2"): Wan2.1's default
 *     VMT_SAMPLER_DPMPP  DPM-Solver++(2M), midpoint: Wan2.1's other choice
 *
 * The state is `step` and the latents of vmt_sampler_latents; all else follows from them.
 */
#ifndef VMT_SAMPLER_SAMPLER_H
#define VMT_SAMPLER_SAMPLER_H

#include "model/tensor_file.h"

enum { VMT_SAMPLER_HISTORY = 3, VMT_SAMPLER_MAX_LATENTS = VMT_SAMPLER_HISTORY };

typedef struct vmt_sampler_state {
    enum vmt_sampler kind;
    int64_t steps;
    int64_t step;                            /* the next one, 0..steps */
    float *sigmas;                           /* [steps + 1] host, falling, the last is 0 */
    float *timesteps;                        /* [steps] host; whole numbers but for Euler */
    vmt_tensor last;                         /* UniPC: the sample before the last prediction */
    vmt_tensor history[VMT_SAMPLER_HISTORY]; /* estimates of the clean latent, newest first */
} vmt_sampler_state;

/**
 * Makes the schedule.  shift > 0; 0 < strength <= 1 is where the line of sigmas begins before the
 * shift (UniPC never begins above 0.999).
 * Errors: VMT_E_ARG (range, or steps so many that two sigmas round to the same), VMT_E_MEMORY.
 */
enum vmt_status vmt_sampler_open(vmt_ctx *ctx, vmt_sampler_state *s, enum vmt_sampler kind,
                                 int64_t steps, double shift, double strength);

/* Frees the schedule and zeroes the struct; the latents belong to the arena. */
void vmt_sampler_close(vmt_sampler_state *s);

/* Takes the memory the kind needs for latents of this shape. */
enum vmt_status vmt_sampler_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_sampler_state *s, int rank,
                                   const int64_t *shape);

/**
 * One step, in place: x at sigmas[step] becomes x at sigmas[step + 1]; step counts up.
 *   x         in/out  latent, R
 *   velocity  in      the network's output for x at timesteps[step], same shape, R
 */
enum vmt_status vmt_sampler_step(vmt_ctx *ctx, vmt_sampler_state *s, vmt_tensor *x,
                                 const vmt_tensor *velocity);

/* The latents that, with `step`, make up the state before that step: those to be stored, and, after
 * s->step was set to a stored one, those to be filled.  Their names are static.  Returns how many,
 * at most VMT_SAMPLER_MAX_LATENTS. */
int64_t vmt_sampler_latents(const vmt_sampler_state *s, vmt_named_tensor *latents);

#endif
