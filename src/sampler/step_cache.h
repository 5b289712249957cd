/* SPDX-License-Identifier: MIT
 *
 * Which denoising steps need not be computed: between two of them the network's answer changes
 * little where its timestep's embedding changes little.  The changes of the embedding are turned
 * into an estimate of the answer's change and added up from the last computed step on; a step whose
 * sum stays below the threshold takes over what that step computed.
 *
 * Source: TeaCache (arXiv 2411.19108) and its polynomials for Wan2.1; docs/method.md.
 */
#ifndef VMT_SAMPLER_STEP_CACHE_H
#define VMT_SAMPLER_STEP_CACHE_H

#include "tensor/tensor.h"

enum { VMT_STEP_CACHE_TERMS = 5, VMT_STEP_CACHE_IN_A_ROW = 4 };

typedef struct vmt_step_cache {
    double threshold;         /* of the estimated relative change; 0: every step is computed */
    const double *polynomial; /* [TERMS], highest power first: of the embedding's change; NULL: the
                                 estimate is measured */
    const double *changes;    /* [steps] of the embedding since the step before */
    int64_t guided, steps;    /* the guided steps, the first ones, are computed; so is the last */
    int64_t turns[2];         /* are computed: from here on the answer is another, of fewer passes,
                                 of another network; steps: there is none */

    /* state */
    int64_t computed, before; /* the last computed step and the one before that; -1: none */
    double drift;             /* estimated change since */
    double rate; /* measured: the answer's change per change of the embedding; 0: unknown */
} vmt_step_cache;

/* The published polynomial for a model of this width, depth and number of input channels, NULL:
 * none. */
const double *vmt_step_cache_published(int64_t dim, int64_t layers, int64_t in_dim);

/* Ready for step 0. */
void vmt_step_cache_begin(vmt_step_cache *c, int64_t guided, int64_t steps, int64_t fewer,
                          int64_t other);

/* Whether step i, the next one, takes over what step c->computed computed. */
bool vmt_step_cache_reuses(const vmt_step_cache *c, int64_t i);

/* Whether a step after i could take over what step i computes. */
bool vmt_step_cache_may_serve(const vmt_step_cache *c, int64_t i);

/* Whether the answers of steps j < i lie on one line: nothing but the sampler moved the latent
 * between them, and both are of one network and of as many passes. */
bool vmt_step_cache_in_line(const vmt_step_cache *c, int64_t j, int64_t i);

/* Step i has been done, and how.  change: |answer - answer of c->computed| / |the latter|, or NaN
 * where there was none or it is not measured. */
void vmt_step_cache_reused(vmt_step_cache *c, int64_t i);
void vmt_step_cache_computed(vmt_step_cache *c, int64_t i, double change);

#endif
