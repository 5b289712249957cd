/* SPDX-License-Identifier: MIT
 *
 * Which inner steps compute a gradient (--reuse).  One computed gradient always serves
 * grad_reuse_interval inner steps of its guided step; that makes vmt_reuse_slots of them a step.
 *
 *     none      interval 1: every inner step computes
 *     inner     every guided step computes all of its own (as released)
 *     steps     every reuse_steps-th guided step does; the others take the last ones again, each at
 *               the inner step that it was computed for
 *     adaptive  each is computed anew when it is expected to have turned, after reuse_steps guided
 *               steps at the latest
 *
 * Why at the same inner step: the optimiser answers a gradient within a few inner steps, and the
 * sampler's step undoes part of the answer, so that the next guided step begins with much the same
 * gradient again (docs/method.md).
 *
 * adaptive: a gradient and the one before it at this inner step, d guided steps older, have the
 * cosine c.  Were the turning steady, it would be c^(n/d) after n guided steps; the next one is due
 * when that falls below reuse_cosine, but after 2 d at most, so that the estimate is made anew.
 */
#ifndef VMT_MOTION_REUSE_H
#define VMT_MOTION_REUSE_H

#include "motion/guidance.h"

/* VMT_E_ARG for settings out of range. */
enum vmt_status vmt_reuse_check(vmt_ctx *ctx, const vmt_motion_settings *settings);

/* Gradients that are kept beside each other. */
int64_t vmt_reuse_slots(const vmt_motion_settings *settings);

/* Gradients that `guided` steps compute, from their first on; adaptive: at most. */
int64_t vmt_reuse_gradients(const vmt_motion_settings *settings, int64_t guided);

/* Where an inner step's gradient is kept, and whether it begins the service of one. */
int64_t vmt_reuse_slot(const vmt_motion_settings *settings, int64_t inner_step);
bool vmt_reuse_begins(const vmt_motion_settings *settings, int64_t inner_step);

/* Whether the inner step at hand, which begins one, computes it. */
bool vmt_reuse_due(const vmt_motion_settings *settings, const vmt_guidance_state *state);

/* Before a gradient is computed: *old (vmt_free) = the one in its slot, on the host, or NULL when
 * nothing depends on it. */
enum vmt_status vmt_reuse_before(vmt_ctx *ctx, const vmt_motion_settings *settings,
                                 const vmt_guidance_state *state, float **old);

/* After it: counts it and says when the next one is due.  old: may be NULL. */
enum vmt_status vmt_reuse_after(vmt_ctx *ctx, const vmt_motion_settings *settings,
                                vmt_guidance_state *state, const float *old);

/* Guided steps until the next gradient, of a cosine between two that lie `distance` apart. */
int64_t vmt_reuse_expect(double cosine, int64_t distance, double least, int64_t most);

/* a·b / (|a| |b|), in double; 0 where one of them is 0. */
double vmt_cosine(const float *a, const float *b, int64_t count);

#endif
