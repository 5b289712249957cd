/* SPDX-License-Identifier: MIT */
#include "score/lucas_kanade.h"

#include <math.h>

enum {
    MOST_SIDE = 2 * (SCORE_MOST_RADIUS + 1) + 1,
    MOST_STEPS = 20,
    TRACK_LEVELS = 4 /* coarser ones mix what moves apart */
};

#define CLOSE 0.003f /* pixels: an iteration that moves less is the last */

/* Values of a square window around (x, y), and which of them lie within the frame. */
typedef struct window {
    float value[MOST_SIDE * MOST_SIDE];
    bool whole; /* all of them lie inside; else `inside` tells of each */
    bool inside[MOST_SIDE * MOST_SIDE];
} window;

static void take_window(window *w, const score_plane *p, float x, float y, int radius)
{
    const int side = 2 * radius + 1;
    const float left = x - (float)radius, top = y - (float)radius;

    w->whole = left >= 0 && top >= 0 && x + (float)radius < (float)(p->width - 1) &&
               y + (float)radius < (float)(p->height - 1);
    if (w->whole) { /* one fraction for all, rows without a gap */
        const int64_t x0 = (int64_t)left, y0 = (int64_t)top;
        const float fx = left - (float)x0, fy = top - (float)y0;
        for (int r = 0; r < side; r++) {
            const float *a = p->pixels + (y0 + r) * p->width + x0, *b = a + p->width;
            float *to = w->value + r * side;
#pragma omp simd
            for (int c = 0; c < side; c++) {
                const float upper = a[c] + fx * (a[c + 1] - a[c]);
                const float lower = b[c] + fx * (b[c + 1] - b[c]);
                to[c] = upper + fy * (lower - upper);
            }
        }
        return;
    }
    score_between columns[MOST_SIDE];
    for (int c = 0; c < side; c++)
        columns[c] = score_between_of(left + (float)c, p->width);
    for (int r = 0; r < side; r++) {
        const float at_y = top + (float)r;
        const score_between row = score_between_of(at_y, p->height);
        for (int c = 0; c < side; c++) {
            w->value[r * side + c] = score_sample_at(p, columns[c], row);
            w->inside[r * side + c] = score_inside(p, left + (float)c, at_y);
        }
    }
}

/* A window of the first frame with its gradients; what lies outside the frame has none. */
typedef struct patch {
    float value[MOST_SIDE * MOST_SIDE], gx[MOST_SIDE * MOST_SIDE], gy[MOST_SIDE * MOST_SIDE];
} patch;

static void take_patch(patch *p, const score_plane *plane, float x, float y, int radius)
{
    const int side = 2 * radius + 1, wide = side + 2;
    window w;

    take_window(&w, plane, x, y, radius + 1);
    for (int r = 0; r < side; r++)
        for (int c = 0; c < side; c++) {
            const int at = (r + 1) * wide + c + 1, to = r * side + c;
            p->value[to] = w.value[at];
            p->gx[to] = (w.value[at + 1] - w.value[at - 1]) / 2;
            p->gy[to] = (w.value[at + wide] - w.value[at - wide]) / 2;
            if (!w.whole && !(w.inside[at] && w.inside[at + 1] && w.inside[at - 1] &&
                              w.inside[at + wide] && w.inside[at - wide]))
                p->gx[to] = p->gy[to] = 0;
        }
}

/* Normal equations of one iteration for a shift and a change of brightness, the latter already
 * eliminated: all sums are of what differs from the window's mean. */
typedef struct sums {
    float xx, xy, yy, bx, by;
    float left; /* standard deviation of the difference; negative: too little is in both frames */
} sums;

typedef struct raw_sums {
    float count, x, y, e, xx, xy, yy, xe, ye, ee;
} raw_sums;

static sums centred(const raw_sums *r, int count)
{
    const float n = 1 / (r->count > 0 ? r->count : 1);
    const float variance = (r->ee - r->e * r->e * n) * n;

    return (sums){.xx = r->xx - r->x * r->x * n,
                  .xy = r->xy - r->x * r->y * n,
                  .yy = r->yy - r->y * r->y * n,
                  .bx = r->xe - r->x * r->e * n,
                  .by = r->ye - r->y * r->e * n,
                  .left = 4 * r->count < (float)count ? -1 /* a quarter at least */
                          : variance > 0              ? sqrtf(variance)
                                                      : 0};
}

/* Of the window w of the second frame, NULL: of the patch alone. */
static sums add_up(const patch *p, const window *w, int count)
{
    float x = 0, y = 0, e = 0, xx = 0, xy = 0, yy = 0, xe = 0, ye = 0, ee = 0, seen = 0;

    if (!w || w->whole) {
        const float *second = w ? w->value : p->value;
#pragma omp simd reduction(+ : x, y, e, xx, xy, yy, xe, ye, ee)
        for (int i = 0; i < count; i++) {
            const float d = second[i] - p->value[i], gx = p->gx[i], gy = p->gy[i];
            x += gx;
            y += gy;
            e += d;
            xx += gx * gx;
            xy += gx * gy;
            yy += gy * gy;
            xe += gx * d;
            ye += gy * d;
            ee += d * d;
        }
        return centred(&(raw_sums){(float)count, x, y, e, xx, xy, yy, xe, ye, ee}, count);
    }
    for (int i = 0; i < count; i++) {
        if (!w->inside[i])
            continue;
        const float d = w->value[i] - p->value[i], gx = p->gx[i], gy = p->gy[i];
        seen += 1;
        x += gx;
        y += gy;
        e += d;
        xx += gx * gx;
        xy += gx * gy;
        yy += gy * gy;
        xe += gx * d;
        ye += gy * d;
        ee += d * d;
    }
    return centred(&(raw_sums){seen, x, y, e, xx, xy, yy, xe, ye, ee}, count);
}

float score_texture(const score_plane *plane, float x, float y, int radius)
{
    const int count = (2 * radius + 1) * (2 * radius + 1);
    patch p;

    take_patch(&p, plane, x, y, radius);
    const sums s = add_up(&p, NULL, count);
    const float mean = (s.xx + s.yy) / 2, half = (s.xx - s.yy) / 2;
    return (mean - sqrtf(half * half + s.xy * s.xy)) / (float)count;
}

float score_match(const score_plane *from, const score_plane *to, float x, float y, int radius,
                  float damping, score_shift *shift)
{
    const int count = (2 * radius + 1) * (2 * radius + 1);
    const float added = damping * (float)count;
    patch p;
    window w;

    take_patch(&p, from, x, y, radius);
    for (int step = 0; step < MOST_STEPS; step++) {
        take_window(&w, to, x + shift->x, y + shift->y, radius);
        const sums s = add_up(&p, &w, count);
        if (s.left < 0)
            return -1;
        const float xx = s.xx + added, yy = s.yy + added, det = xx * yy - s.xy * s.xy;
        if (!(det > 0))
            break;
        const float dx = -(yy * s.bx - s.xy * s.by) / det, dy = -(xx * s.by - s.xy * s.bx) / det;
        shift->x += dx;
        shift->y += dy;
        if (dx * dx + dy * dy < CLOSE * CLOSE)
            break;
    }
    take_window(&w, to, x + shift->x, y + shift->y, radius);
    return add_up(&p, &w, count).left;
}

/* From coarse to fine. */
static float descend(const score_pyramid *from, const score_pyramid *to, float x, float y,
                     int radius, score_shift *shift)
{
    int level = (from->levels < TRACK_LEVELS ? from->levels : TRACK_LEVELS) - 1;
    float places[SCORE_LEVELS][2] = {{x, y}}, left = -1;

    for (int l = 1; l <= level; l++) {
        places[l][0] = score_coarser(places[l - 1][0]);
        places[l][1] = score_coarser(places[l - 1][1]);
    }
    *shift = (score_shift){0, 0};
    for (; level >= 0; level--) {
        *shift = (score_shift){2 * shift->x, 2 * shift->y};
        const score_shift before = *shift;
        left = score_match(&from->level[level], &to->level[level], places[level][0],
                           places[level][1], radius, 0.01f, shift);
        /* one level may only correct by about a window's half */
        if (left < 0 || hypotf(shift->x - before.x, shift->y - before.y) > (float)radius)
            *shift = before;
    }
    return left;
}

bool score_follow(const score_pyramid *from, const score_pyramid *to, float x, float y, int radius,
                  score_shift guess, score_shift *shift)
{
    score_shift tries[3] = {{0, 0}, guess, {0, 0}};
    float best = descend(from, to, x, y, radius, &tries[0]);

    *shift = tries[0];
    for (int i = 1; i < 3 && !(best >= 0 && best < SCORE_FOUND); i++) {
        const float left =
            score_match(&from->level[0], &to->level[0], x, y, radius, 0.01f, &tries[i]);
        if (left >= 0 && (best < 0 || left < best * 0.98f)) {
            best = left;
            *shift = tries[i];
        }
    }
    return best >= 0 && score_inside(&to->level[0], x + shift->x, y + shift->y);
}
