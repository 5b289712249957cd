/* SPDX-License-Identifier: MIT
 *
 * What a method of motion transfer is: what it reads of the network, the features it makes of that,
 * how far the latent's features are from the reference's, and the gradient of that distance where
 * it reads.  The loop around it (inner steps, gradient reuse, optimiser) is the same for all:
 * motion/guidance.c.  Each method is one file of this folder; the table is in methods.c.
 *
 * Papers, formulas, choices: docs/methods.md.
 */
#ifndef VMT_MOTION_METHOD_H
#define VMT_MOTION_METHOD_H

#include "tensor/tensor.h"

/* Where a method reads of the network. */
enum vmt_tap {
    VMT_TAP_NONE = 0, /* nowhere: it guides nothing */
    VMT_TAP_QK,       /* queries and keys of the tapped block */
    VMT_TAP_HIDDEN,   /* hidden state after the tapped block */
    VMT_TAP_VELOCITY  /* the network's velocity, taken as constant: no gradient goes through it */
};

/* What the network gave; or the gradient there. */
typedef struct vmt_taps {
    const vmt_tensor *q, *k;    /* QK: [N, heads, head_dim] A, after norm and rotary embedding */
    const vmt_tensor *hidden;   /* HIDDEN: [N, dim] R */
    const vmt_tensor *velocity; /* VELOCITY: [C, F, H, W] R */
    const vmt_tensor *latent;   /* [C, F, H, W] R: what the network was given; as a gradient that of
                                   the latent itself (VELOCITY) */
    float timestep;
} vmt_taps;

/* Axes of one reference's features. */
typedef struct vmt_feature_shape {
    int rank;
    int64_t axes[VMT_MAX_RANK];
} vmt_feature_shape;

/* A method's published schedule, as factors on FastVMT's published one (10 guided steps of 50, 10
 * inner steps, rates 0.003 to 0.002), so that a model's own settings carry over. */
typedef struct vmt_method_schedule {
    double guided_steps, inner_steps, lr_first, lr_last;
    int32_t interval;   /* inner steps served by one gradient; 0: the model's own */
    double logit_scale; /* 0: the model's own */
} vmt_method_schedule;

typedef struct vmt_guidance vmt_guidance;       /* motion/guidance.h */
typedef struct vmt_guided_step vmt_guided_step; /* motion/guidance.h */

typedef struct vmt_motion_method {
    vmt_method_row row;  /* name and what people read; a flow is [pairs, tokens, 2] of the plan */
    const char *feature; /* what its files call the features */
    bool all_pairs;      /* of a flow: its pairs are every frame with every frame */
    enum vmt_tap tap;
    vmt_method_schedule schedule;

    /* Below: NULL of a method that taps nothing. */

    /* Takes memory and gives guidance->features its shape; grid: frames, rows, columns of tokens;
     * shape: of the latent. */
    enum vmt_status (*layout)(vmt_ctx *, vmt_arena *, vmt_guidance *, const int64_t grid[3],
                              int64_t heads, int64_t head_dim, const int64_t shape[4]);
    /* Features of the reference. */
    enum vmt_status (*reference)(vmt_ctx *, vmt_guidance *, vmt_tensor *features,
                                 const vmt_taps *taps);
    /* Once per guided step before its gradients; may be NULL. */
    enum vmt_status (*begin)(vmt_ctx *, vmt_guidance *, const vmt_guided_step *step);
    /* guidance->amf_loss, track_loss += ; *gradient: where the method taps, in its memory. */
    enum vmt_status (*gradient)(vmt_ctx *, vmt_guidance *, vmt_taps *gradient, const vmt_taps *taps,
                                const vmt_guided_step *step);
} vmt_motion_method;

extern const vmt_motion_method vmt_method_fastvmt, vmt_method_ditflow, vmt_method_ditflow_10,
    vmt_method_moft, vmt_method_smm, vmt_method_motionclone, vmt_method_flowmotion, vmt_method_none,
    vmt_method_noise;

/* By its number (enum vmt_method); VMT_E_ARG for none there is. */
enum vmt_status vmt_method_get(vmt_ctx *ctx, const vmt_motion_method **method, int32_t number);

/* By its name; NULL for none there is. */
const vmt_motion_method *vmt_method_find(const char *name);

#endif
