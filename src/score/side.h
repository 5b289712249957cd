/* SPDX-License-Identifier: MIT
 *
 * What the analysis keeps of one clip.
 */
#ifndef VMT_SCORE_SIDE_H
#define VMT_SCORE_SIDE_H

#include "score/pyramid.h"
#include "score/score.h"

enum {
    SCORE_PIECE = 8,      /* steps of a tracklet at most: a clip is cut into pieces of so many */
    SCORE_GRID = 32,      /* tracklets along the longer side */
    SCORE_FLOW_SIDE = 512 /* the dense flow's longer side is no longer */
};

/* Slower is still, in pixels a frame. */
#define SCORE_STILL 0.2

typedef struct score_place {
    float x, y; /* pixels */
} score_place;

/* One point followed from the first frame of its piece. */
typedef struct score_track {
    int32_t grid;  /* which point of the grid */
    int32_t steps; /* followed, 0..SCORE_PIECE */
    score_place at[SCORE_PIECE + 1];
} score_track;

/* Frames first .. first + steps and the points followed through them. */
typedef struct score_piece {
    int64_t first, steps;
    score_track *tracks; /* those with at least half of the steps */
    int64_t count;
} score_piece;

/* Motion of the whole frame from one frame to the next. */
typedef struct score_camera {
    bool known;
    double pan_x, pan_y; /* pixels, at the centre */
    double zoom;         /* factor */
    double roll;         /* radians, clockwise as seen */
} score_camera;

/* Of one step of the clip, frame t to t + 1. */
typedef struct score_step {
    double warp_square; /* mean of squares of what warping leaves, grey levels; over what is seen in
                           both */
    double warp_absolute;
    double seen; /* share of the pixels */
    score_camera camera;
} score_step;

struct score_side {
    const vmt_clip *clip;
    score_piece *pieces;
    score_track *tracks; /* of all pieces */
    int64_t piece_count;

    int level; /* of the pyramid, on which the dense flow lies */
    int64_t flow_width, flow_height;
    score_place *flow; /* [frames - 1, flow_height, flow_width], pixels of that level */
    uint8_t *seen;     /* same shape: how well forward and backward flow agree, 0..255 */

    score_step *steps;     /* [frames - 1] */
    double *between;       /* [(frames - 1) / 2]: mean absolute error of odd frames made
                              from their neighbours */
    double *mean_luma;     /* [frames] */
    double *sharpness;     /* [frames]: variance of the Laplacian */
    double *saturated;     /* [frames]: share of channel values at 0 or 255 */
    uint8_t *black, *flat; /* [frames] */
};

/* tracks.c */
enum vmt_status score_track_pieces(vmt_ctx *ctx, score_side *side, const score_pyramids *pyramids);
/* dense_flow.c: from one frame to another on a level; flow: [height, width]; scratch: so many
 * places. */
void score_dense_flow(score_place *flow, const score_pyramid *from, const score_pyramid *to,
                      int level, score_place *scratch);
size_t score_flow_scratch(const score_pyramid *pyramid, int level);
/* Level whose longer side is at most SCORE_FLOW_SIDE. */
int score_flow_level(const score_pyramid *pyramid);

/* steady.c: the flow, and what warping by it leaves. */
enum vmt_status score_measure_steps(vmt_ctx *ctx, score_side *side, const score_pyramids *pyramids);

/* camera.c: fills steps[].camera from the dense flow. */
enum vmt_status score_find_cameras(vmt_ctx *ctx, score_side *side);

/* appearance.c */
void score_measure_frames(vmt_ctx *ctx, score_side *side, const score_pyramids *pyramids);
/* Both over the first `frames` frames. */
double score_psnr(vmt_ctx *ctx, const vmt_clip *a, const vmt_clip *b, int64_t frames);
enum vmt_status score_ssim(vmt_ctx *ctx, double *ssim, const vmt_clip *a, const vmt_clip *b,
                           int64_t frames);
enum vmt_status score_colour_distance(vmt_ctx *ctx, double *distance, const vmt_clip *a,
                                      const vmt_clip *b, int64_t frames);

/* fidelity.c: the scores of tracks. */
enum vmt_status score_compare_tracks(vmt_ctx *ctx, score_report *report,
                                     const score_side *reference, const score_side *result);
/* compare_flow.c: those of dense flow and camera. */
void score_compare_flow(score_report *report, const score_side *reference,
                        const score_side *result);
void score_compare_cameras(score_report *report, const score_side *reference,
                           const score_side *result);

/* One score of a report. */
static inline void score_set(score_report *report, enum score_id id, double value)
{
    report->values[id].defined = true;
    report->values[id].value = value;
    report->values[id].why = NULL;
}

static inline void score_undefined(score_report *report, enum score_id id, const char *why)
{
    report->values[id].defined = false;
    report->values[id].why = why;
}

#endif
