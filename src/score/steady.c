/* SPDX-License-Identifier: MIT
 *
 * The dense flow of each step, where it can be trusted, and what is left when a frame is made from
 * its neighbours by it: warp error, flicker, smoothness.
 */
#include "score/side.h"

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static int64_t this_thread(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static score_place flow_at(const score_place *flow, int64_t width, int64_t height, float x, float y)
{
    const int64_t column = (int64_t)lrintf(x), row = (int64_t)lrintf(y);

    return flow[(row < 0        ? 0
                 : row < height ? row
                                : height - 1) *
                    width +
                (column < 0       ? 0
                 : column < width ? column
                                  : width - 1)];
}

/* How far a pixel's flow, followed by the backward flow from there, ends from where it began: 255
 * for 0, 0 for a pixel and more.  What is covered or leaves the frame does not come back. */
static void mark_seen(uint8_t *seen, const score_place *there, const score_place *back,
                      const score_plane *plane)
{
    for (int64_t y = 0; y < plane->height; y++)
        for (int64_t x = 0; x < plane->width; x++) {
            const score_place f = there[y * plane->width + x];
            const float to_x = (float)x + f.x, to_y = (float)y + f.y;
            const score_place b = flow_at(back, plane->width, plane->height, to_x, to_y);
            const float off = hypotf(f.x + b.x, f.y + b.y);
            seen[y * plane->width + x] =
                score_inside(plane, to_x, to_y) && off < 1 ? (uint8_t)lrintf(255 * (1 - off)) : 0;
        }
}

static void measure_warp(score_step *step, const score_place *flow, const uint8_t *seen,
                         const score_plane *from, const score_plane *to)
{
    double squares = 0, absolutes = 0, weights = 0;

    for (int64_t y = 0; y < from->height; y++)
        for (int64_t x = 0; x < from->width; x++) {
            const int64_t i = y * from->width + x;
            if (!seen[i])
                continue;
            const double e = (double)(score_sample(to, (float)x + flow[i].x, (float)y + flow[i].y) -
                                      from->pixels[i]);
            squares += seen[i] * e * e;
            absolutes += seen[i] * fabs(e);
            weights += seen[i];
        }
    step->seen = weights / (255.0 * (double)(from->width * from->height));
    step->warp_square = weights > 0 ? squares / weights : 0;
    step->warp_absolute = weights > 0 ? absolutes / weights : 0;
}

/* Mean absolute difference between a frame and the one made for its time from the frames before and
 * after.  The flow leads from the one before to the one after; the pixel it passes half way is
 * found by three rounds of a fixed point. */
static double measure_between(const score_place *flow, const score_plane *before,
                              const score_plane *between, const score_plane *after)
{
    double sum = 0;

    for (int64_t y = 0; y < before->height; y++)
        for (int64_t x = 0; x < before->width; x++) {
            score_place f = flow[y * before->width + x];
            for (int round = 0; round < 3; round++)
                f = flow_at(flow, before->width, before->height, (float)x - f.x / 2,
                            (float)y - f.y / 2);
            const float a = score_sample(before, (float)x - f.x / 2, (float)y - f.y / 2);
            const float b = score_sample(after, (float)x + f.x / 2, (float)y + f.y / 2);
            sum += fabs((double)((a + b) / 2 - between->pixels[y * before->width + x]));
        }
    return sum / (double)(before->width * before->height);
}

/* Step t, or in the second half of the numbers the frame between 2i and 2i + 2. */
static void measure(score_side *side, const score_pyramids *p, int64_t job, score_place *scratch)
{
    const int64_t steps = side->clip->frames - 1, pixels = side->flow_width * side->flow_height;
    const int level = side->level;
    score_place *back = scratch, *rest = scratch + pixels;

    if (job < steps) {
        const score_pyramid *from = &p->frame[job], *to = from + 1;
        score_place *flow = side->flow + job * pixels;
        uint8_t *seen = side->seen + job * pixels;
        score_dense_flow(flow, from, to, level, rest);
        score_dense_flow(back, to, from, level, rest);
        mark_seen(seen, flow, back, &from->level[level]);
        measure_warp(&side->steps[job], flow, seen, &from->level[level], &to->level[level]);
        return;
    }
    const score_pyramid *before = &p->frame[2 * (job - steps)];
    score_dense_flow(back, before, before + 2, level, rest);
    side->between[job - steps] = measure_between(back, &before->level[level],
                                                 &before[1].level[level], &before[2].level[level]);
}

enum vmt_status score_measure_steps(vmt_ctx *ctx, score_side *side, const score_pyramids *p)
{
    const int64_t steps = side->clip->frames - 1, jobs = steps + steps / 2;
    score_place *scratch;

    side->level = score_flow_level(&p->frame[0]);
    const score_plane *plane = &p->frame[0].level[side->level];
    const size_t pixels = (size_t)(plane->width * plane->height);
    const size_t each = pixels + score_flow_scratch(&p->frame[0], side->level);
    side->flow_width = plane->width;
    side->flow_height = plane->height;
    VMT_TRY(vmt_alloc(ctx, (void **)&side->flow, (size_t)steps, pixels * sizeof *side->flow));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->seen, (size_t)steps, pixels));
    VMT_TRY(vmt_alloc(ctx, (void **)&scratch, (size_t)ctx->threads, each * sizeof *scratch));
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic, 1)
    for (int64_t job = 0; job < jobs; job++)
        if (!atomic_load(&ctx->cancelled))
            measure(side, p, job, scratch + this_thread() * (int64_t)each);
    vmt_free(scratch);
    return vmt_check_cancelled(ctx);
}
