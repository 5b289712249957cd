/* SPDX-License-Identifier: MIT
 *
 * Which frames are compared with which, over which keys, and how a frame is cut into tiles and
 * windows: what flow, windows and losses share.  Made once per run from the settings and the token
 * grid; the methods of one family differ in nothing but this (docs/methods.md).
 */
#ifndef VMT_MOTION_FLOW_PLAN_H
#define VMT_MOTION_FLOW_PLAN_H

#include "tensor/tensor.h"

typedef struct vmt_flow_plan {
    vmt_flow_geometry geometry;      /* of one frame; its enum tells the variants apart */
    enum vmt_qk_reduction reduction; /* q, k of all heads -> Q, K */
    int64_t frames, tokens;          /* tokens: of one frame */
    int64_t heads, head_dim;
    bool keeps_heads;              /* Q, K: all heads side by side, in place of `reduction` */
    int64_t feature_dim;           /* of Q, K: head_dim, or heads · head_dim */
    int64_t tiles;                 /* of one frame */
    int64_t frame_span;            /* frame i is compared with i..i+frame_span-1 */
    bool all_pairs;                /* with every frame instead */
    bool windowed;                 /* for i < j a token looks at its tile's window alone */
    int64_t top;                   /* unless windowed: best keys a token looks at; 0: all */
    int64_t pairs, windowed_pairs; /* all; those that have windows */
    double logit_scale;
    double last_pair_weight; /* of j = i + frame_span - 1 */
} vmt_flow_plan;

/**
 * Errors: VMT_E_ARG when a setting is out of range, or when the released arithmetic cannot take
 * this grid (it needs whole tiles, an odd window less than twice as wide as the frame, and a number
 * of tokens that divides by the heads).
 *   grid  frames, rows, columns of tokens
 */
enum vmt_status vmt_flow_plan_make(vmt_ctx *ctx, vmt_flow_plan *plan,
                                   const vmt_motion_settings *settings, const int64_t grid[3],
                                   int64_t heads, int64_t head_dim);

/* A pair of frames, in the order of the flow's first axis:
 * for (p = vmt_frame_pair_first(plan); vmt_frame_pair_valid(plan, &p); vmt_frame_pair_next(plan,
 * &p)) */
typedef struct vmt_frame_pair {
    int64_t i, j;   /* i <= j unless all_pairs */
    int64_t index;  /* 0..pairs-1 */
    bool windowed;  /* the plan is, and i < j */
    int64_t window; /* number of the windowed pairs before this one: its place among windows */
    double weight;  /* 1 for i = j, falling linearly to last_pair_weight; 1 with all_pairs */
} vmt_frame_pair;

vmt_frame_pair vmt_frame_pair_first(const vmt_flow_plan *plan);
bool vmt_frame_pair_valid(const vmt_flow_plan *plan, const vmt_frame_pair *pair);
void vmt_frame_pair_next(const vmt_flow_plan *plan, vmt_frame_pair *pair);

#endif
