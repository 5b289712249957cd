/* SPDX-License-Identifier: MIT
 *
 * Luma of a clip's frames at several sizes, each half the one before.  Places are pixels; the
 * centre of the first one is (0, 0).
 */
#ifndef VMT_SCORE_PYRAMID_H
#define VMT_SCORE_PYRAMID_H

#include "base/ctx.h"

enum {
    SCORE_LEVELS = 6,        /* at most */
    SCORE_COARSEST_SIDE = 12 /* no level is smaller */
};

typedef struct score_plane {
    const float *pixels; /* [height, width], 0..255 */
    int64_t width, height;
} score_plane;

typedef struct score_pyramid {
    score_plane level[SCORE_LEVELS];
    int levels;
} score_pyramid;

typedef struct score_pyramids {
    float *memory;
    score_pyramid *frame; /* [frames] */
    int64_t frames;
} score_pyramids;

enum vmt_status score_pyramids_make(vmt_ctx *ctx, score_pyramids *p, const vmt_clip *clip);
void score_pyramids_free(score_pyramids *p);

/* A coordinate of a level in the level below or above it. */
static inline float score_finer(float at)
{
    return 2 * at + 0.5f;
}
static inline float score_coarser(float at)
{
    return (at - 0.5f) / 2;
}

/* A coordinate between two pixels of a row or column; beyond the frame its edge. */
typedef struct score_between {
    int64_t first, step; /* to the second: 0 or 1 */
    float share;         /* of the second */
} score_between;

static inline score_between score_between_of(float at, int64_t size)
{
    const float most = (float)(size - 1);

    at = !(at > 0) ? 0 : at > most ? most : at;
    const int64_t first = (int64_t)at;
    return (score_between){first, first + 1 < size, at - (float)first};
}

/* Linear between pixels. */
static inline float score_sample_at(const score_plane *p, score_between x, score_between y)
{
    const float *at = p->pixels + y.first * p->width + x.first, *below = at + y.step * p->width;
    const float upper = at[0] + x.share * (at[x.step] - at[0]);
    const float lower = below[0] + x.share * (below[x.step] - below[0]);

    return upper + y.share * (lower - upper);
}

static inline float score_sample(const score_plane *p, float x, float y)
{
    return score_sample_at(p, score_between_of(x, p->width), score_between_of(y, p->height));
}

static inline bool score_inside(const score_plane *plane, float x, float y)
{
    return x >= 0 && y >= 0 && x <= (float)(plane->width - 1) && y <= (float)(plane->height - 1);
}

#endif
