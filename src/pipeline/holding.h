/* SPDX-License-Identifier: MIT
 *
 * The planner of the denoising loop: how a run lies in the memory there is.
 */
#ifndef VMT_PIPELINE_HOLDING_H
#define VMT_PIPELINE_HOLDING_H

#include "pipeline/pipeline.h"

typedef struct vmt_holding {
    int32_t recompute; /* 0..2 */
    int32_t resident;  /* blocks of the DiT that stay */
    int64_t ffn_rows;  /* tokens */
    bool spills;
} vmt_holding;

/* A choice, and what it takes. */
typedef struct vmt_held {
    vmt_holding how;
    bool fits;
    size_t bytes;    /* arenas and prompts */
    size_t weights;  /* of the DiT, most at a time */
    size_t host;     /* spilled tensors */
    size_t streamed; /* bytes of packed weights copied for one forward */
    size_t least;    /* bytes + weights of the choice that takes least */
    double slowdown; /* estimated time over that of a run with all the memory it wants */
} vmt_held;

struct vmt_sample;

/* Of all ways to lie within the budget's room, `always` bytes of it taken, the one estimated to be
 * fastest.  Levels of recomputation, blocks that come and go, and spilling do not change a bit of
 * the result; feed-forwards in parts may change the last, so they are taken under a named limit
 * alone, where nothing else fits or the estimate is better by 2 %.  Where nothing fits: the one
 * that takes least. */
enum vmt_status vmt_holding_choose(vmt_ctx *ctx, struct vmt_sample *s, const vmt_budget *budget,
                                   size_t always, vmt_held *held);

#endif
