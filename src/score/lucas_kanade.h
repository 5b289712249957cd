/* SPDX-License-Identifier: MIT
 *
 * Where a small window of one frame goes in the next: Lucas and Kanade 1981 with the iteration and
 * pyramid of Bouguet 2000.  One solver for tracks and for the dense flow.
 */
#ifndef VMT_SCORE_LUCAS_KANADE_H
#define VMT_SCORE_LUCAS_KANADE_H

#include "score/pyramid.h"

enum { SCORE_MOST_RADIUS = 7 };

/* Grey levels: a window that differs less is found, other starts are not tried. */
#define SCORE_FOUND 1.0f

typedef struct score_shift {
    float x, y;
} score_shift;

/* Smaller eigenvalue of the covariance of the window's gradients (grey levels² per pixel²): below
 * about 4 nothing in it can be found again. */
float score_texture(const score_plane *plane, float x, float y, int radius);

/**
 * Improves *shift, which leads from (x, y) in `from` to a place in `to`, on one level.
 *   damping  grey levels² per pixel² added to the gradient product: a window without texture keeps
 *            the shift it came with
 * A change of brightness does not count.  Returns the standard deviation of the difference that is
 * left, in grey levels; negative when the window left the frame.
 */
float score_match(const score_plane *from, const score_plane *to, float x, float y, int radius,
                  float damping, score_shift *shift);

/* The same from the coarsest level on, and from `guess` and no motion on the finest alone; the best
 * of the three.  False: no place was found. */
bool score_follow(const score_pyramid *from, const score_pyramid *to, float x, float y, int radius,
                  score_shift guess, score_shift *shift);

#endif
