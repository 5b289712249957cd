/* SPDX-License-Identifier: MIT
 *
 * Points of a regular grid followed through each piece of a clip.
 */
#include "score/lucas_kanade.h"
#include "score/side.h"

#include <math.h>

enum {
    LEAST_SPACING = 4,
    SMALL = 256 /* pixels: a small clip's longer side is no longer */
};

#define LEAST_TEXTURE 4.0f /* grey levels² per pixel², smaller eigenvalue */
#define ROUND_TRIP 1.0f    /* pixels: forward, then backward, ends no farther from the start */

/* Points along a side. */
static int64_t points(int64_t side, int64_t longer)
{
    const int64_t spacing =
        longer / SCORE_GRID > LEAST_SPACING ? longer / SCORE_GRID : LEAST_SPACING;

    return side / spacing;
}

static bool is_small(const score_plane *plane)
{
    return (plane->width > plane->height ? plane->width : plane->height) <= SMALL;
}

/* Windows of 15x15; where things are small, 11x11. */
static int window_radius(const score_plane *plane)
{
    return is_small(plane) ? 5 : 7;
}

/* The finest level on which the point has something that can be found again, down to the size of a
 * small clip: what a clip shows does not change when it is enlarged, but the gradients of its
 * pixels shrink until they are noise.  Negative: none. */
static int find_level(const score_pyramid *frame, score_place at)
{
    for (int l = 0; l < frame->levels; l++) {
        const score_plane *plane = &frame->level[l];
        if (score_texture(plane, at.x, at.y, window_radius(plane)) >= LEAST_TEXTURE)
            return l;
        if (is_small(plane))
            break;
        at = (score_place){score_coarser(at.x), score_coarser(at.y)};
    }
    return -1;
}

/* The levels from one on. */
static score_pyramid coarser_pyramid(const score_pyramid *p, int level)
{
    score_pyramid coarse = {.levels = p->levels - level};

    for (int l = 0; l < coarse.levels; l++)
        coarse.level[l] = p->level[level + l];
    return coarse;
}

/* From the track's first place on, all in coordinates of the level. */
static void follow_on_level(score_track *track, const score_pyramids *p, const score_piece *piece,
                            int level)
{
    const int radius = window_radius(&p->frame[piece->first].level[level]);
    score_shift speed = {0, 0};

    for (int64_t k = 0; k < piece->steps; k++) {
        const score_pyramid coarse_from = coarser_pyramid(&p->frame[piece->first + k], level);
        const score_pyramid coarse_to = coarser_pyramid(&p->frame[piece->first + k + 1], level);
        const score_pyramid *from = &coarse_from, *to = &coarse_to;
        const score_place at = track->at[k];
        const score_shift back_guess = {-speed.x, -speed.y};
        score_shift there, back;
        if (!score_follow(from, to, at.x, at.y, radius, speed, &there))
            return;
        const score_place next = {at.x + there.x, at.y + there.y};
        if (!score_follow(to, from, next.x, next.y, radius, back_guess, &back) ||
            hypotf(there.x + back.x, there.y + back.y) > ROUND_TRIP)
            return;
        track->at[k + 1] = next;
        track->steps = (int32_t)k + 1;
        speed = there;
    }
}

static void follow_point(score_track *track, const score_pyramids *p, const score_piece *piece)
{
    const int level = find_level(&p->frame[piece->first], track->at[0]);

    if (level < 0)
        return;
    for (int l = 0; l < level; l++)
        track->at[0] = (score_place){score_coarser(track->at[0].x), score_coarser(track->at[0].y)};
    follow_on_level(track, p, piece, level);
    for (int32_t k = 0; k <= track->steps; k++)
        for (int l = 0; l < level; l++)
            track->at[k] = (score_place){score_finer(track->at[k].x), score_finer(track->at[k].y)};
}

/* Keeps what was followed for at least half of the piece. */
static int64_t drop_lost(score_track *tracks, int64_t count, int64_t steps)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < count; i++)
        if (tracks[i].steps && 2 * tracks[i].steps >= steps)
            tracks[kept++] = tracks[i];
    return kept;
}

enum vmt_status score_track_pieces(vmt_ctx *ctx, score_side *side, const score_pyramids *p)
{
    const vmt_clip *clip = side->clip;
    const int64_t longer = clip->width > clip->height ? clip->width : clip->height;
    const int64_t across = points(clip->width, longer), down = points(clip->height, longer);
    const int64_t pieces = (clip->frames - 1 + SCORE_PIECE - 1) / SCORE_PIECE, grid = across * down;

    side->piece_count = pieces;
    VMT_TRY(vmt_alloc(ctx, (void **)&side->pieces, (size_t)pieces, sizeof *side->pieces));
    VMT_TRY(vmt_alloc(ctx, (void **)&side->tracks, (size_t)(pieces * grid), sizeof *side->tracks));
    for (int64_t i = 0; i < pieces; i++) {
        score_piece *piece = &side->pieces[i];
        piece->first = i * SCORE_PIECE;
        piece->steps = clip->frames - 1 - piece->first;
        if (piece->steps > SCORE_PIECE)
            piece->steps = SCORE_PIECE;
        piece->tracks = side->tracks + i * grid;
    }
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic, 16)
    for (int64_t i = 0; i < pieces * grid; i++) {
        const score_piece *piece = &side->pieces[i / grid];
        const int64_t point = i % grid;
        score_track *track = &side->tracks[i];
        track->grid = (int32_t)point;
        track->at[0] = (score_place){
            ((float)(point % across) + 0.5f) * (float)clip->width / (float)across - 0.5f,
            ((float)(point / across) + 0.5f) * (float)clip->height / (float)down - 0.5f};
        follow_point(track, p, piece);
    }
    for (int64_t i = 0; i < pieces; i++)
        side->pieces[i].count = drop_lost(side->pieces[i].tracks, grid, side->pieces[i].steps);
    return vmt_check_cancelled(ctx);
}
