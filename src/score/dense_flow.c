/* SPDX-License-Identifier: MIT
 *
 * Dense flow in the way of Kroeger et al. 2016 (DIS): on each level overlapping patches are matched
 * on their own, starting from the coarser level, and each pixel averages its patches, those that
 * explain it best counting most.
 */
#include "score/lucas_kanade.h"
#include "score/side.h"

#include <math.h>

enum {
    RADIUS = 4,  /* patches of 9x9 */
    SPACING = 4, /* between them */
};

#define DAMPING 1.0f

int score_flow_level(const score_pyramid *p)
{
    int level = 0;

    while (level + 1 < p->levels &&
           (p->level[level].width > SCORE_FLOW_SIDE || p->level[level].height > SCORE_FLOW_SIDE))
        level++;
    return level;
}

/* The patches of one level. */
typedef struct lattice {
    int64_t across, down;
    float step_x, step_y;
    score_place *shift; /* [down, across] */
} lattice;

static lattice lattice_of(const score_plane *plane, score_place *memory)
{
    const int64_t across = plane->width / SPACING, down = plane->height / SPACING;

    return (lattice){across, down, (float)plane->width / (float)across,
                     (float)plane->height / (float)down, memory};
}

static score_place centre(const lattice *l, int64_t column, int64_t row)
{
    return (score_place){((float)column + 0.5f) * l->step_x - 0.5f,
                         ((float)row + 0.5f) * l->step_y - 0.5f};
}

/* The coarser level's flow at a place of this one, linear between its pixels. */
static score_shift from_coarser(const score_place *flow, const score_plane *coarser, score_place at)
{
    const score_between x = score_between_of(score_coarser(at.x), coarser->width);
    const score_between y = score_between_of(score_coarser(at.y), coarser->height);
    const score_place *a = flow + y.first * coarser->width + x.first;
    const score_place *b = a + y.step * coarser->width;
    const float shares[4] = {(1 - x.share) * (1 - y.share), x.share * (1 - y.share),
                             (1 - x.share) * y.share, x.share * y.share};

    return (score_shift){2 * (shares[0] * a[0].x + shares[1] * a[x.step].x + shares[2] * b[0].x +
                              shares[3] * b[x.step].x),
                         2 * (shares[0] * a[0].y + shares[1] * a[x.step].y + shares[2] * b[0].y +
                              shares[3] * b[x.step].y)};
}

static score_place match_patch(const score_plane *from, const score_plane *to, score_place at,
                               score_shift guess)
{
    score_shift tries[2] = {guess, {0, 0}}, best = guess;
    float least = -1;

    for (int i = 0; i < 2 && !(least >= 0 && least < SCORE_FOUND); i++) {
        const score_shift start = tries[i];
        float left = score_match(from, to, at.x, at.y, RADIUS, DAMPING, &tries[i]);
        if (left < 0 || hypotf(tries[i].x - start.x, tries[i].y - start.y) > 2.0f * RADIUS)
            continue;
        if (least < 0 || left < 0.98f * least) {
            least = left;
            best = tries[i];
        }
    }
    return (score_place){best.x, best.y};
}

static void swap_up(float *a, float *b)
{
    if (*a > *b) {
        const float kept = *a;
        *a = *b;
        *b = kept;
    }
}

static float median9(float v[9])
{
    for (int i = 0; i < 5; i++)
        for (int j = i + 1; j < 9; j++)
            swap_up(&v[i], &v[j]);
    return v[4];
}

/* Each component's median over 3x3 patches: single wrong ones vanish, edges stay. */
static void smooth(score_place *to, const lattice *l)
{
    for (int64_t r = 0; r < l->down; r++)
        for (int64_t c = 0; c < l->across; c++) {
            float x[9], y[9];
            for (int i = 0; i < 9; i++) {
                int64_t row = r + i / 3 - 1, column = c + i % 3 - 1;
                row = row < 0 ? 0 : row < l->down ? row : l->down - 1;
                column = column < 0 ? 0 : column < l->across ? column : l->across - 1;
                x[i] = l->shift[row * l->across + column].x;
                y[i] = l->shift[row * l->across + column].y;
            }
            to[r * l->across + c] = (score_place){median9(x), median9(y)};
        }
}

/* Range of patches whose window holds a coordinate. */
static void covering(float at, float step, int64_t count, int64_t *first, int64_t *last)
{
    const float low = (at + 0.5f - (float)RADIUS) / step - 0.5f;
    const float high = (at + 0.5f + (float)RADIUS) / step - 0.5f;

    *first = low <= 0 ? 0 : (int64_t)ceilf(low);
    *last = high >= (float)(count - 1) ? count - 1 : (int64_t)floorf(high);
    if (*last < *first) /* patches farther apart than they are wide: never with SPACING < RADIUS */
        *last = *first;
}

static void densify(score_place *flow, const lattice *l, const score_plane *from,
                    const score_plane *to)
{
    for (int64_t y = 0; y < from->height; y++) {
        int64_t r0, r1;
        covering((float)y, l->step_y, l->down, &r0, &r1);
        for (int64_t x = 0; x < from->width; x++) {
            const float value = from->pixels[y * from->width + x];
            float sum = 0, sum_x = 0, sum_y = 0;
            int64_t c0, c1;
            covering((float)x, l->step_x, l->across, &c0, &c1);
            for (int64_t r = r0; r <= r1; r++)
                for (int64_t c = c0; c <= c1; c++) {
                    const score_place s = l->shift[r * l->across + c];
                    const float there = score_sample(to, (float)x + s.x, (float)y + s.y);
                    const float off = fabsf(there - value);
                    const float weight = 1 / (off > 1 ? off : 1);
                    sum += weight;
                    sum_x += weight * s.x;
                    sum_y += weight * s.y;
                }
            flow[y * from->width + x] = (score_place){sum_x / sum, sum_y / sum};
        }
    }
}

static void flow_on_level(score_place *flow, const score_place *coarser_flow,
                          const score_pyramid *from, const score_pyramid *to, int level,
                          score_place *memory)
{
    const score_plane *a = &from->level[level], *b = &to->level[level];
    lattice l = lattice_of(a, memory);
    score_place *smoothed = memory + l.across * l.down;

    for (int64_t r = 0; r < l.down; r++)
        for (int64_t c = 0; c < l.across; c++) {
            const score_place at = centre(&l, c, r);
            const score_shift guess =
                coarser_flow ? from_coarser(coarser_flow, a + 1, at) : (score_shift){0, 0};
            l.shift[r * l.across + c] = match_patch(a, b, at, guess);
        }
    smooth(smoothed, &l);
    l.shift = smoothed;
    densify(flow, &l, a, b);
}

size_t score_flow_scratch(const score_pyramid *pyramid, int level)
{
    return 2 * (size_t)(pyramid->level[level].width * pyramid->level[level].height);
}

void score_dense_flow(score_place *flow, const score_pyramid *from, const score_pyramid *to,
                      int level, score_place *scratch)
{
    const int64_t pixels = from->level[level].width * from->level[level].height;
    /* the patches, before and after the median; two coarser levels */
    score_place *coarser[2] = {scratch + pixels / 2, scratch + pixels / 2 + 3 * pixels / 4};
    const score_place *before = NULL;

    for (int l = from->levels - 1; l >= level; l--) {
        score_place *here = l == level ? flow : coarser[l % 2];
        flow_on_level(here, before, from, to, l, scratch);
        before = here;
    }
}
