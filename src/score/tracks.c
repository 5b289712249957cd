/* SPDX-License-Identifier: MIT
 *
 * Points of a regular grid followed through each piece of a clip.
 */
#include "score/lucas_kanade.h"
#include "score/side.h"

#include <math.h>

enum { LEAST_SPACING = 4 };

#define LEAST_TEXTURE 4.0f /* grey levels² per pixel², smaller eigenvalue */
#define ROUND_TRIP 1.0f    /* pixels: forward, then backward, ends no farther from the start */

/* Points along a side. */
static int64_t points(int64_t side, int64_t longer)
{
    const int64_t spacing =
        longer / SCORE_GRID > LEAST_SPACING ? longer / SCORE_GRID : LEAST_SPACING;

    return side / spacing;
}

/* Windows of 15x15; of a small clip, whose things are small, 11x11. */
static int window_radius(const vmt_clip *clip)
{
    const int64_t longer = clip->width > clip->height ? clip->width : clip->height;

    return longer > 256 ? 7 : 5;
}

static void follow_point(score_track *track, const score_pyramids *p, const score_piece *piece,
                         int radius)
{
    score_shift speed = {0, 0};

    for (int64_t k = 0; k < piece->steps; k++) {
        const score_pyramid *from = &p->frame[piece->first + k], *to = from + 1;
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
    const int radius = window_radius(clip);

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
        if (score_texture(&p->frame[piece->first].level[0], track->at[0].x, track->at[0].y,
                          radius) >= LEAST_TEXTURE)
            follow_point(track, p, piece, radius);
    }
    for (int64_t i = 0; i < pieces; i++)
        side->pieces[i].count = drop_lost(side->pieces[i].tracks, grid, side->pieces[i].steps);
    return vmt_check_cancelled(ctx);
}
