/* SPDX-License-Identifier: MIT
 *
 * The motion of the whole frame: an affine map found by RANSAC (Fischler and Bolles 1981) on the
 * dense flow and refined by least squares on the places that agree with it.
 */
#include "base/rng.h"
#include "score/side.h"

#include <math.h>

enum {
    LEAST_PAIRS = 12,
    ROUNDS = 300, /* three of four right: missed once in 10^70; half of them: once in 10^17 */
    REFINEMENTS = 5
};

#define AGREES 1.0 /* pixels */

/* Where points are, from the frame's centre, and where they go. */
typedef struct pairs {
    double (*from)[2], (*to)[2];
    int64_t *agreeing; /* as many */
    int64_t count;
} pairs;

/* x' = a x + b y + c, y' = d x + e y + f */
typedef struct affine {
    double m[6];
} affine;

/* Solves the 3x3 system s u = r in place; false when it is (nearly) singular. */
static bool solve3(double s[3][3], double r[3], double u[3])
{
    const double c0 = s[1][1] * s[2][2] - s[1][2] * s[2][1];
    const double c1 = s[1][2] * s[2][0] - s[1][0] * s[2][2];
    const double c2 = s[1][0] * s[2][1] - s[1][1] * s[2][0];
    const double det = s[0][0] * c0 + s[0][1] * c1 + s[0][2] * c2;

    if (!(fabs(det) > 1e-3))
        return false;
    u[0] = (r[0] * c0 + s[0][1] * (s[1][2] * r[2] - r[1] * s[2][2]) +
            s[0][2] * (r[1] * s[2][1] - s[1][1] * r[2])) /
           det;
    u[1] = (s[0][0] * (r[1] * s[2][2] - s[1][2] * r[2]) + r[0] * c1 +
            s[0][2] * (s[1][0] * r[2] - r[1] * s[2][0])) /
           det;
    u[2] = (s[0][0] * (s[1][1] * r[2] - r[1] * s[2][1]) +
            s[0][1] * (r[1] * s[2][0] - s[1][0] * r[2]) + r[0] * c2) /
           det;
    return true;
}

static bool agrees(const pairs *p, int64_t i, const affine *map)
{
    const double x = p->from[i][0], y = p->from[i][1];
    const double ex = map->m[0] * x + map->m[1] * y + map->m[2] - p->to[i][0];
    const double ey = map->m[3] * x + map->m[4] * y + map->m[5] - p->to[i][1];

    return ex * ex + ey * ey < AGREES * AGREES;
}

/* Least squares over the pairs named by `chosen`; three give the exact map. */
static bool fit(affine *fitted, const pairs *p, const int64_t *chosen, int64_t count)
{
    double s[3][3] = {{0}}, rx[3] = {0}, ry[3] = {0};

    for (int64_t k = 0; k < count; k++) {
        const int64_t i = chosen[k];
        const double v[3] = {p->from[i][0], p->from[i][1], 1};
        for (int a = 0; a < 3; a++) {
            for (int b = 0; b < 3; b++)
                s[a][b] += v[a] * v[b];
            rx[a] += v[a] * p->to[i][0];
            ry[a] += v[a] * p->to[i][1];
        }
    }
    return solve3(s, rx, fitted->m) && solve3(s, ry, fitted->m + 3);
}

/* Lists them; returns how many. */
static int64_t list_agreeing(const pairs *p, const affine *map)
{
    int64_t count = 0;

    for (int64_t i = 0; i < p->count; i++)
        if (agrees(p, i, map))
            p->agreeing[count++] = i;
    return count;
}

/* Number of pairs that agree with the map found. */
static int64_t find_map(affine *map, const pairs *p, vmt_rng *rng)
{
    int64_t most = 0;

    for (int round = 0; round < ROUNDS; round++) {
        int64_t chosen[3];
        affine tried;
        for (int k = 0; k < 3; k++)
            chosen[k] = (int64_t)(vmt_rng_bits(rng) % (uint64_t)p->count);
        if (!fit(&tried, p, chosen, 3))
            continue;
        const int64_t count = list_agreeing(p, &tried);
        if (count > most) {
            most = count;
            *map = tried;
        }
    }
    for (int round = 0; most && round < REFINEMENTS; round++) {
        affine refined;
        if (!fit(&refined, p, p->agreeing, list_agreeing(p, map)))
            break;
        *map = refined;
    }
    return most ? list_agreeing(p, map) : 0;
}

static score_camera camera_of(const affine *map)
{
    const double *m = map->m;

    return (score_camera){.known = true,
                          .pan_x = m[2],
                          .pan_y = m[5],
                          .zoom = sqrt(fabs(m[0] * m[4] - m[1] * m[3])),
                          .roll = atan2(m[3] - m[1], m[0] + m[4])};
}

/* Places `spacing` (odd) apart, as far from one edge as from the other: a mirrored clip has the
 * mirrored ones. */
typedef struct places {
    int64_t first, count, spacing;
} places;

static places places_of(int64_t side, int64_t spacing)
{
    int64_t count = (side - 1) / spacing + 1;

    if ((side - 1 - (count - 1) * spacing) % 2)
        count--;
    return (places){(side - 1 - (count - 1) * spacing) / 2, count, spacing};
}

/* The dense flow where it can be trusted, in pixels of the frame. */
static void take_pairs(pairs *p, const score_side *s, int64_t t, places across, places down)
{
    const double scale = (double)(1 << s->level);
    const double cx = (double)(s->flow_width - 1) / 2, cy = (double)(s->flow_height - 1) / 2;

    p->count = 0;
    for (int64_t i = 0; i < across.count * down.count; i++) {
        const int64_t x = across.first + i % across.count * across.spacing;
        const int64_t y = down.first + i / across.count * down.spacing;
        const int64_t at = (t * s->flow_height + y) * s->flow_width + x;
        if (!s->seen[at])
            continue;
        p->from[p->count][0] = scale * ((double)x - cx);
        p->from[p->count][1] = scale * ((double)y - cy);
        p->to[p->count][0] = p->from[p->count][0] + scale * (double)s->flow[at].x;
        p->to[p->count][1] = p->from[p->count][1] + scale * (double)s->flow[at].y;
        p->count++;
    }
}

enum vmt_status score_find_cameras(vmt_ctx *ctx, score_side *s)
{
    const int64_t longer = s->flow_width > s->flow_height ? s->flow_width : s->flow_height;
    const int64_t spacing = longer / SCORE_GRID | 1;
    const places across = places_of(s->flow_width, spacing);
    const places down = places_of(s->flow_height, spacing);
    const size_t most = (size_t)(across.count * down.count);
    double(*memory)[2];

    VMT_TRY(vmt_alloc(ctx, (void **)&memory, 2 * most, sizeof *memory));
    pairs p = {.from = memory, .to = memory + most};
    if (vmt_alloc(ctx, (void **)&p.agreeing, most, sizeof *p.agreeing) != VMT_OK) {
        vmt_free(memory);
        return VMT_E_MEMORY;
    }
    for (int64_t t = 0; t + 1 < s->clip->frames; t++) {
        vmt_rng rng;
        affine map = {{1, 0, 0, 0, 1, 0}};
        vmt_rng_seed(&rng, 1);
        take_pairs(&p, s, t, across, down);
        /* at least half must move together */
        if (p.count >= LEAST_PAIRS && 2 * find_map(&map, &p, &rng) >= p.count)
            s->steps[t].camera = camera_of(&map);
    }
    vmt_free(p.agreeing);
    vmt_free(memory);
    return vmt_check_cancelled(ctx);
}
