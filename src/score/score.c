/* SPDX-License-Identifier: MIT */
#include "score/score.h"

#include "score/side.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const score_kind kinds[SCORE_COUNT] = {
    [SCORE_FIDELITY] = {"fidelity", "", SCORE_HIGHER,
                        "directions of tracklets, anywhere in the frame, both ways", 3},
    [SCORE_FIDELITY_PUBLISHED] = {"fidelity_published", "", SCORE_HIGHER,
                                  "the same as the field's code has it, its flaws included", 3},
    [SCORE_PLACED] = {"placed", "", SCORE_HIGHER,
                      "direction and speed of tracklets near the same place", 3},
    [SCORE_ALIGNED] = {"aligned", "", SCORE_HIGHER,
                       "directions of the tracklets that begin at the same point", 3},
    [SCORE_SPEED_RATIO] = {"speed_ratio", "", SCORE_NEAR_ONE,
                           "speed at the same place over the reference's", 3},
    [SCORE_FLOW_COSINE] = {"flow_cosine", "", SCORE_HIGHER, "direction of the dense flow", 3},
    [SCORE_FLOW_ERROR] = {"flow_error", "px", SCORE_LOWER, "end-point error of the dense flow", 2},
    [SCORE_FLOW_ERROR_RELATIVE] = {"flow_error_relative", "", SCORE_LOWER,
                                   "the same over the reference's motion; standing still has 1", 3},
    [SCORE_PAN_ERROR] = {"pan_error", "px/frame", SCORE_LOWER, "camera: motion of the centre", 2},
    [SCORE_ZOOM_ERROR] = {"zoom_error", "%/frame", SCORE_LOWER, "camera: change of size", 2},
    [SCORE_ROLL_ERROR] = {"roll_error", "deg/frame", SCORE_LOWER, "camera: turn", 2},
    [SCORE_WARP_ERROR] = {"warp_error", "", SCORE_LOWER,
                          "mean square that warping by the clip's own flow leaves, white = 1", 6},
    [SCORE_FLICKER] = {"flicker", "grey levels", SCORE_LOWER, "mean absolute of the same", 3},
    [SCORE_LUMA_JITTER] = {"luma_jitter", "grey levels", SCORE_LOWER,
                           "changes of the frames' mean brightness", 3},
    [SCORE_FIRST_JUMP] = {"first_jump", "", SCORE_LOWER,
                          "flicker of the first step over the median of the others", 2},
    [SCORE_SMOOTHNESS] = {"smoothness", "", SCORE_HIGHER,
                          "how well odd frames are made from their neighbours", 4},
    [SCORE_LEAK_SSIM] = {"leak_ssim", "", SCORE_LOWER, "SSIM to the reference", 3},
    [SCORE_LEAK_PSNR] = {"leak_psnr", "dB", SCORE_LOWER, "PSNR to the reference", 2},
    [SCORE_COLOUR_DISTANCE] = {"colour_distance", "", SCORE_HIGHER,
                               "Hellinger distance of colour histograms to the reference", 3},
    [SCORE_SHARPNESS] = {"sharpness", "", SCORE_NEAR_REFERENCE, "variance of the Laplacian", 1},
    [SCORE_SATURATED] = {"saturated", "", SCORE_LOWER, "share of values at 0 or 255", 4},
    [SCORE_BLACK] = {"black", "", SCORE_LOWER, "share of black frames", 3},
    [SCORE_FLAT] = {"flat", "", SCORE_LOWER, "share of frames of one brightness", 3},
    [SCORE_ATTENTION_COSINE] = {"attention_cosine", "", SCORE_HIGHER,
                                "direction of the engine's own motion field (biased)", 3},
    [SCORE_ATTENTION_ERROR] = {"attention_error", "px", SCORE_LOWER,
                               "end-point error of the same (biased)", 2},
    [SCORE_CLIP_TEXT] = {"clip_text", "", SCORE_HIGHER, "CLIP: cosine of frames and prompt", 3},
    [SCORE_CLIP_FRAMES] = {"clip_frames", "", SCORE_HIGHER, "CLIP: cosine of neighbouring frames",
                           4},
};

const score_kind *score_kind_of(enum score_id id)
{
    return &kinds[id];
}

static enum vmt_status allocate(vmt_ctx *ctx, score_side *side)
{
    const size_t frames = (size_t)side->clip->frames;

    VMT_TRY(vmt_alloc(ctx, (void **)&side->steps, frames, sizeof *side->steps));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->between, frames, sizeof *side->between));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->mean_luma, frames, sizeof *side->mean_luma));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->sharpness, frames, sizeof *side->sharpness));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->saturated, frames, sizeof *side->saturated));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->black, frames, 1));
    return vmt_alloc(ctx, (void **)&side->flat, frames, 1);
}

static enum vmt_status analyse(vmt_ctx *ctx, score_side *side)
{
    score_pyramids pyramids = {0};
    enum vmt_status status = allocate(ctx, side);

    if (status == VMT_OK)
        status = score_pyramids_make(ctx, &pyramids, side->clip);
    if (status == VMT_OK) {
        score_measure_frames(ctx, side, &pyramids);
        status = score_track_pieces(ctx, side, &pyramids);
    }
    if (status == VMT_OK)
        status = score_measure_steps(ctx, side, &pyramids);
    if (status == VMT_OK)
        status = score_find_cameras(ctx, side);
    score_pyramids_free(&pyramids);
    return status;
}

enum vmt_status score_analyse(vmt_ctx *ctx, score_side **side, const vmt_clip *clip)
{
    *side = NULL;
    if (clip->frames < 2)
        return vmt_fail(ctx, VMT_E_ARG, "a clip of %" PRId64 " frame%s has no motion to score",
                        clip->frames, clip->frames == 1 ? "" : "s");
    if (clip->width < SCORE_LEAST_SIDE || clip->height < SCORE_LEAST_SIDE)
        return vmt_fail(ctx, VMT_E_ARG,
                        "a clip of %" PRId64 "x%" PRId64 " pixels is too small to score: %d in "
                        "each direction at least",
                        clip->width, clip->height, SCORE_LEAST_SIDE);
    VMT_TRY(vmt_alloc(ctx, (void **)side, 1, sizeof **side));
    (*side)->clip = clip;
    const enum vmt_status status = analyse(ctx, *side);
    if (status != VMT_OK) {
        score_side_free(*side);
        *side = NULL;
    }
    return status;
}

void score_side_free(score_side *side)
{
    if (!side)
        return;
    vmt_free(side->pieces);
    vmt_free(side->tracks);
    vmt_free(side->flow);
    vmt_free(side->seen);
    vmt_free(side->steps);
    vmt_free(side->between);
    vmt_free(side->mean_luma);
    vmt_free(side->sharpness);
    vmt_free(side->saturated);
    vmt_free(side->black);
    vmt_free(side->flat);
    vmt_free(side);
}

/* ---- scores of one clip, over its first frames */

/* A value that may be missing. */
typedef struct maybe {
    bool defined;
    double value;
    const char *why;
} maybe;

static maybe mean_step(const score_side *s, int64_t frames, bool squares)
{
    double sum = 0, weight = 0;

    for (int64_t t = 0; t + 1 < frames; t++) {
        sum += s->steps[t].seen * (squares ? s->steps[t].warp_square : s->steps[t].warp_absolute);
        weight += s->steps[t].seen;
    }
    if (!(weight > 0))
        return (maybe){.why = "no place can be followed"};
    return (maybe){true, sum / weight, NULL};
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* At most so many steps are looked at for the median. */
enum { JUMP_STEPS = 64 };

static maybe first_jump(const score_side *s, int64_t frames)
{
    double others[JUMP_STEPS];
    int64_t count = frames - 2 < JUMP_STEPS ? frames - 2 : JUMP_STEPS;

    if (count < 3)
        return (maybe){.why = "fewer than 5 frames"};
    for (int64_t i = 0; i < count; i++)
        others[i] = s->steps[i + 1].warp_absolute;
    qsort(others, (size_t)count, sizeof *others, ascending);
    const double median = (others[(count - 1) / 2] + others[count / 2]) / 2;
    if (!(median > 0.01))
        return (maybe){.why = "the clip does not change"};
    return (maybe){true, s->steps[0].warp_absolute / median, NULL};
}

static maybe luma_jitter(const score_side *s, int64_t frames)
{
    double sum = 0;

    if (frames < 3)
        return (maybe){.why = "fewer than 3 frames"};
    for (int64_t t = 1; t + 1 < frames; t++) {
        const double d = s->mean_luma[t - 1] - 2 * s->mean_luma[t] + s->mean_luma[t + 1];
        sum += d * d;
    }
    return (maybe){true, sqrt(sum / (double)(frames - 2)), NULL};
}

static maybe mean_of(const double *values, int64_t count)
{
    double sum = 0;

    for (int64_t t = 0; t < count; t++)
        sum += values[t];
    return (maybe){true, sum / (double)count, NULL};
}

static maybe share_of(const uint8_t *flags, int64_t count)
{
    double sum = 0;

    for (int64_t t = 0; t < count; t++)
        sum += flags[t];
    return (maybe){true, sum / (double)count, NULL};
}

static maybe of_one_clip(const score_side *s, enum score_id id, int64_t frames)
{
    maybe m = {.why = "no score of one clip"};

    if (id == SCORE_WARP_ERROR || id == SCORE_FLICKER)
        m = mean_step(s, frames, id == SCORE_WARP_ERROR);
    if (id == SCORE_WARP_ERROR)
        m.value /= 255.0 * 255.0;
    if (id == SCORE_LUMA_JITTER)
        m = luma_jitter(s, frames);
    if (id == SCORE_FIRST_JUMP)
        m = first_jump(s, frames);
    if (id == SCORE_SMOOTHNESS && frames < 3)
        m.why = "fewer than 3 frames";
    else if (id == SCORE_SMOOTHNESS) {
        m = mean_of(s->between, (frames - 1) / 2);
        m.value = 1 - m.value / 255;
    }
    if (id == SCORE_SHARPNESS)
        m = mean_of(s->sharpness, frames);
    if (id == SCORE_SATURATED)
        m = mean_of(s->saturated, frames);
    if (id == SCORE_BLACK)
        m = share_of(s->black, frames);
    if (id == SCORE_FLAT)
        m = share_of(s->flat, frames);
    return m;
}

static void set_single(score_report *report, const score_side *reference, const score_side *result)
{
    static const enum score_id ids[] = {SCORE_WARP_ERROR, SCORE_FLICKER,    SCORE_LUMA_JITTER,
                                        SCORE_FIRST_JUMP, SCORE_SMOOTHNESS, SCORE_SHARPNESS,
                                        SCORE_SATURATED,  SCORE_BLACK,      SCORE_FLAT};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const maybe own = of_one_clip(result, ids[i], report->frames);
        const maybe other = of_one_clip(reference, ids[i], report->frames);
        if (own.defined)
            score_set(report, ids[i], own.value);
        else
            score_undefined(report, ids[i], own.why);
        report->values[ids[i]].has_reference = other.defined;
        report->values[ids[i]].reference = other.defined ? other.value : 0;
    }
}

/* ---- */

static enum vmt_status check_pair(vmt_ctx *ctx, const vmt_clip *a, const vmt_clip *b)
{
    if (a->width != b->width || a->height != b->height)
        return vmt_fail(ctx, VMT_E_ARG,
                        "the reference has %" PRId64 "x%" PRId64 " pixels, the result %" PRId64
                        "x%" PRId64,
                        a->width, a->height, b->width, b->height);
    if (!(fabs(a->fps - b->fps) <= 1e-3 * b->fps))
        return vmt_fail(ctx, VMT_E_ARG, "the reference has %.6g frames per second, the result %.6g",
                        a->fps, b->fps);
    return VMT_OK;
}

enum vmt_status score_compare(vmt_ctx *ctx, score_report *report, const score_side *reference,
                              const score_side *result)
{
    const vmt_clip *a = reference->clip, *b = result->clip;
    double distance, ssim;

    *report = (score_report){.frames = a->frames < b->frames ? a->frames : b->frames};
    for (int i = 0; i < SCORE_COUNT; i++)
        report->values[i].why = "not asked for";
    VMT_TRY(check_pair(ctx, a, b));
    VMT_TRY(score_compare_tracks(ctx, report, reference, result));
    score_compare_flow(report, reference, result);
    score_compare_cameras(report, reference, result);
    set_single(report, reference, result);
    VMT_TRY(score_ssim(ctx, &ssim, a, b, report->frames));
    score_set(report, SCORE_LEAK_SSIM, ssim);
    score_set(report, SCORE_LEAK_PSNR, score_psnr(ctx, a, b, report->frames));
    VMT_TRY(score_colour_distance(ctx, &distance, a, b, report->frames));
    score_set(report, SCORE_COLOUR_DISTANCE, distance);
    return VMT_OK;
}

enum vmt_status score_clips(vmt_ctx *ctx, score_report *report, const vmt_clip *reference,
                            const vmt_clip *result)
{
    score_side *a = NULL, *b = NULL;
    enum vmt_status status = check_pair(ctx, reference, result);

    if (status == VMT_OK)
        status = score_analyse(ctx, &a, reference);
    if (status == VMT_OK)
        status = score_analyse(ctx, &b, result);
    if (status == VMT_OK)
        status = score_compare(ctx, report, a, b);
    score_side_free(a);
    score_side_free(b);
    return status;
}
