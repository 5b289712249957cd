/* SPDX-License-Identifier: MIT
 *
 * How well a result moves like its reference, without any network: tracks, dense flow, camera,
 * steadiness, appearance.  Formulas and limits: docs/scores.md.
 *
 *     score_side *reference = NULL, *result = NULL;
 *     score_report report;
 *     VMT_TRY(score_analyse(ctx, &reference, &clip_a));       // once per clip
 *     VMT_TRY(score_analyse(ctx, &result, &clip_b));
 *     VMT_TRY(score_compare(ctx, &report, reference, result)); // quick
 *
 * The same clips give the same bits, with any number of threads.
 */
#ifndef VMT_SCORE_H
#define VMT_SCORE_H

#include "fastvmt/fastvmt.h"

#include <stdbool.h>

enum score_id {
    /* tracks */
    SCORE_FIDELITY,
    SCORE_FIDELITY_PUBLISHED,
    SCORE_PLACED,
    SCORE_ALIGNED,
    SCORE_SPEED_RATIO,
    /* dense flow */
    SCORE_FLOW_COSINE,
    SCORE_FLOW_ERROR,
    SCORE_FLOW_ERROR_RELATIVE,
    /* camera */
    SCORE_PAN_ERROR,
    SCORE_ZOOM_ERROR,
    SCORE_ROLL_ERROR,
    /* steadiness: of the result alone, the reference's beside it */
    SCORE_WARP_ERROR,
    SCORE_FLICKER,
    SCORE_LUMA_JITTER,
    SCORE_FIRST_JUMP,
    SCORE_SMOOTHNESS,
    /* how much of the reference's looks is in the result */
    SCORE_LEAK_SSIM,
    SCORE_LEAK_PSNR,
    SCORE_COLOUR_DISTANCE,
    /* faults of the result alone */
    SCORE_SHARPNESS,
    SCORE_SATURATED,
    SCORE_BLACK,
    SCORE_FLAT,
    /* the engine's own motion field: biased, it is what the guidance optimises */
    SCORE_ATTENTION_COSINE,
    SCORE_ATTENTION_ERROR,
    /* by a CLIP model of the user's */
    SCORE_CLIP_TEXT,
    SCORE_CLIP_FRAMES,
    SCORE_COUNT
};

enum score_better {
    SCORE_HIGHER = 0, /* more is better */
    SCORE_LOWER,
    SCORE_NEAR_ONE,
    SCORE_NEAR_REFERENCE /* no better or worse by itself */
};

typedef struct score_value {
    bool defined;       /* never NaN: what has no value says why */
    bool has_reference; /* a property of one clip: the reference's own stands beside it */
    double value, reference;
    const char *why; /* not defined: the reason, static text; else NULL */
} score_value;

/* What is the same in all reports. */
typedef struct score_kind {
    const char *name; /* "fidelity", as in JSON */
    const char *unit; /* "" where there is none */
    enum score_better better;
    const char *about; /* a few words */
    int digits;        /* behind the point, in a table of means */
} score_kind;

typedef struct score_report {
    score_value values[SCORE_COUNT];
    int64_t frames; /* compared */
    int64_t reference_tracks, result_tracks, reference_moving, result_moving;
} score_report;

/* A clip with its tracks, flow and camera. */
typedef struct score_side score_side;

/** Row of a score; static memory. */
const score_kind *score_kind_of(enum score_id id);

/**
 * Analyses a clip; it may be freed only after the side.  Errors: VMT_E_ARG (fewer than 2 frames, or
 * a side below SCORE_LEAST_SIDE pixels), VMT_E_MEMORY, VMT_E_CANCELLED.
 */
VMT_MUST_CHECK enum vmt_status score_analyse(vmt_ctx *ctx, score_side **side, const vmt_clip *clip);

/** NULL is allowed. */
void score_side_free(score_side *side);

enum { SCORE_LEAST_SIDE = 32 };

/**
 * Compares a result with its reference, over the shorter one's frames.
 * Errors: VMT_E_ARG (different sizes; rates that differ by more than a thousandth), VMT_E_MEMORY.
 */
VMT_MUST_CHECK enum vmt_status score_compare(vmt_ctx *ctx, score_report *report,
                                             const score_side *reference, const score_side *result);

/** Both steps for two clips of one size and rate. */
VMT_MUST_CHECK enum vmt_status score_clips(vmt_ctx *ctx, score_report *report,
                                           const vmt_clip *reference, const vmt_clip *result);

/** Adds the attention scores from both clips' motion fields (vmt_extract with the same model and
 * settings).  Errors: VMT_E_ARG (different grids). */
VMT_MUST_CHECK enum vmt_status score_attention(vmt_ctx *ctx, score_report *report,
                                               const vmt_motion_field *reference,
                                               const vmt_motion_field *result);

struct vmt_clip_model;

/** Adds the CLIP scores of a result: its first report->frames frames.  prompt: NULL leaves the
 * text's undefined.  Errors: VMT_E_ARG (prompt), VMT_E_NUMERIC, VMT_E_MEMORY. */
VMT_MUST_CHECK enum vmt_status score_clip_model(vmt_ctx *ctx, score_report *report,
                                                struct vmt_clip_model *model,
                                                const vmt_clip *result, const char *prompt);

/**
 * Frames first .. first + frames - 1 of both clips side by side, enlarged by a whole factor when
 * small: above with their tracks since the tracklets began, below their dense flow in colours of
 * one scale (the reference's).  Errors: VMT_E_ARG (sizes; frames that one of them has not).
 */
VMT_MUST_CHECK enum vmt_status score_picture(vmt_ctx *ctx, vmt_clip *picture,
                                             const score_side *reference, const score_side *result,
                                             int64_t first, int64_t frames);

/** The frame near the middle of both that shows the longest tracks. */
int64_t score_picture_frame(const score_side *reference, const score_side *result);

#endif
