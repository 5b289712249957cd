/* SPDX-License-Identifier: MIT */
#include "table/subject.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels from the mover's place; sprites are 34 to 54 pixels large. */
#define REACH 30.0
#define SHARE 0.35  /* of a frame's largest difference: less is background */
#define STEPS 43.0  /* of a value in the table */
#define SPAN 1.8    /* root mean square radii from the middle to the edge of the shape's picture */
#define MASK 0.5    /* weight of the object's share beside its colours, in the shape */
#define VISIBLE 24. /* sum of a pixel's differences, grey levels: less is nothing */
#define COLOURS 0.5 /* weight of the colours' likeness beside the shape's */

bool table_subject_known(const char *name)
{
    for (const table_sprite *s = table_sprites; s->name; s++)
        if (!strcmp(s->name, name))
            return true;
    return false;
}

/* ---- the mover's colours */

/* A weight, shared out linearly among the eight nearest colours. */
static void add_colour(double *histogram, const uint8_t *rgb, double weight)
{
    int low[3];
    double part[3];

    for (int c = 0; c < 3; c++) {
        const double at = rgb[c] / 255.0 * (SUBJECT_BINS - 1);
        low[c] = at < SUBJECT_BINS - 1 ? (int)at : SUBJECT_BINS - 2;
        part[c] = at - low[c];
    }
    for (int corner = 0; corner < 8; corner++) {
        double share = weight;
        int at = 0;
        for (int c = 0; c < 3; c++) {
            const int bit = corner >> (2 - c) & 1;
            share *= bit ? part[c] : 1 - part[c];
            at = at * SUBJECT_BINS + low[c] + bit;
        }
        histogram[at] += share;
    }
}

typedef struct frame_view {
    const uint8_t *pixels;
    const double *still;
    double *weight; /* [height, width] */
    int64_t height, width;
} frame_view;

/* Weights of the pixels that belong to the mover; false when there are none. */
static bool weigh(const frame_view *v, const double place[2])
{
    double most = 0;

    for (int64_t i = 0; i < v->height * v->width; i++) {
        const double dx = (double)(i % v->width) + 0.5 - place[0];
        const double dy = (double)(i / v->width) + 0.5 - place[1];
        double difference = 0;
        for (int c = 0; c < 3; c++)
            difference += fabs(v->pixels[3 * i + c] - v->still[3 * i + c]);
        v->weight[i] = hypot(dx, dy) < REACH ? difference : 0;
        most = v->weight[i] > most ? v->weight[i] : most;
    }
    for (int64_t i = 0; i < v->height * v->width; i++)
        v->weight[i] = v->weight[i] > SHARE * most ? 1 : 0;
    return most > VISIBLE;
}

/* What is seen of the mover, in all frames. */
typedef struct mover {
    double colours[2][SUBJECT_COLOURS]; /* within the root mean square radius, and beyond it */
    double shape[SUBJECT_SHAPE];
} mover;

/* Centre and root mean square radius of the mover's pixels. */
typedef struct extent {
    double x, y, radius;
} extent;

static extent extent_of(const frame_view *v)
{
    extent e = {0};
    double total = 1e-9, square = 0;

    for (int64_t i = 0; i < v->height * v->width; i++) {
        total += v->weight[i];
        e.x += v->weight[i] * (double)(i % v->width);
        e.y += v->weight[i] * (double)(i / v->width);
    }
    e.x /= total;
    e.y /= total;
    for (int64_t i = 0; i < v->height * v->width; i++) {
        const double dx = (double)(i % v->width) - e.x, dy = (double)(i / v->width) - e.y;
        square += v->weight[i] * (dx * dx + dy * dy);
    }
    e.radius = sqrt(square / total);
    return e;
}

static void add_colours(const frame_view *v, const extent *e, mover *m)
{
    for (int64_t i = 0; i < v->height * v->width; i++) {
        const double dx = (double)(i % v->width) - e->x, dy = (double)(i / v->width) - e->y;
        if (v->weight[i] > 0)
            add_colour(m->colours[dx * dx + dy * dy < e->radius * e->radius ? 0 : 1],
                       v->pixels + 3 * i, v->weight[i]);
    }
}

/* Adds the mover's share and colours at a place between pixels. */
static void add_sample(const frame_view *v, double x, double y, double cell[4])
{
    if (!(x >= 0 && y >= 0 && x <= (double)(v->width - 1) && y <= (double)(v->height - 1)))
        return;
    const int64_t left = (int64_t)x, top = (int64_t)y;
    for (int corner = 0; corner < 4; corner++) {
        const int64_t column = left + (corner & 1), row = top + (corner >> 1);
        const double share = (1 - fabs(x - (double)column)) * (1 - fabs(y - (double)row));
        if (column >= v->width || row >= v->height)
            continue; /* its share is 0 */
        const int64_t at = row * v->width + column;
        cell[0] += share * v->weight[at];
        for (int c = 0; c < 3; c++)
            cell[1 + c] += share * v->weight[at] * v->pixels[3 * at + c] / 255;
    }
}

/* Adds the mover's picture, its middle and size brought to the same. */
static void add_shape(const frame_view *v, const extent *e, mover *m)
{
    enum { FINER = 3, ACROSS = FINER * SUBJECT_SIDE }; /* samples of a cell along each axis */

    for (int i = 0; i < ACROSS * ACROSS; i++) {
        const int column = i % ACROSS, row = i / ACROSS;
        const double dx = ((column + 0.5) / ACROSS * 2 - 1) * SPAN * e->radius;
        const double dy = ((row + 0.5) / ACROSS * 2 - 1) * SPAN * e->radius;
        add_sample(v, e->x + dx, e->y + dy,
                   m->shape + 4 * (row / FINER * SUBJECT_SIDE + column / FINER));
    }
}

/* ---- likeness */

/* Bhattacharyya's coefficient, mean of both histograms. */
static double colours_alike(const table_sprite *sprite, const mover *m)
{
    double sum = 0;

    for (int part = 0; part < 2; part++) {
        double roots = 0, total = 0, product = 0;
        for (int i = 0; i < SUBJECT_COLOURS; i++) {
            const double root = (sprite->roots[part * SUBJECT_COLOURS + i] - '0') / STEPS;
            roots += root * root;
            total += m->colours[part][i];
            product += root * sqrt(m->colours[part][i]);
        }
        sum += roots > 0 && total > 0 ? product / sqrt(roots * total) : 0;
    }
    return sum / 2;
}

/* Cosine of the pictures. */
static double shapes_alike(const table_sprite *sprite, const mover *m)
{
    double ab = 0, aa = 0, bb = 0;

    for (int i = 0; i < SUBJECT_SHAPE; i++) {
        const double weight = i % 4 ? 1 : MASK * MASK;
        const double a = m->shape[i], b = (sprite->shape[i] - '0') / STEPS;
        ab += weight * a * b;
        aa += weight * a * a;
        bb += weight * b * b;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static void judge(const mover *m, const char *name, table_subject_answer *answer)
{
    double best = -1, own = 0, others = 0;
    int count = 0;

    for (const table_sprite *s = table_sprites; s->name; s++) {
        const double like = (shapes_alike(s, m) + COLOURS * colours_alike(s, m)) / (1 + COLOURS);
        if (like > best) {
            best = like;
            answer->seen = s->name;
        }
        if (!strcmp(s->name, name)) {
            own = like;
        } else {
            others += like;
            count++;
        }
    }
    answer->likeness = own - others / count;
}

/* Whether the mover shows in any frame. */
static bool look(const vmt_clip *clip, const double *still, double (*path)[2], double *weight,
                 mover *m)
{
    const int64_t pixels = clip->height * clip->width;
    bool any = false;

    for (int64_t f = 0; f < clip->frames; f++) {
        const frame_view view = {clip->pixels + 3 * f * pixels, still, weight, clip->height,
                                 clip->width};
        if (!weigh(&view, path[f]))
            continue;
        const extent e = extent_of(&view);
        add_colours(&view, &e, m);
        add_shape(&view, &e, m);
        any = true;
    }
    return any;
}

enum vmt_status table_subject(vmt_ctx *ctx, const vmt_clip *clip, const char *name,
                              table_subject_answer *answer)
{
    const size_t pixels = (size_t)(clip->height * clip->width), frames = (size_t)clip->frames;
    double *memory;
    mover *m;

    *answer = (table_subject_answer){0};
    VMT_TRY(vmt_alloc(ctx, (void **)&m, 1, sizeof *m));
    enum vmt_status status =
        vmt_alloc(ctx, (void **)&memory, 4 * pixels + 2 * frames, sizeof *memory);
    if (status == VMT_OK) {
        double *still = memory, *weight = memory + 3 * pixels;
        double(*path)[2] = (double(*)[2])(void *)(weight + pixels);
        status = table_track(ctx, clip, path);
        if (status == VMT_OK) {
            table_still(still, clip);
            answer->defined = look(clip, still, path, weight, m);
        }
        vmt_free(memory);
    }
    if (answer->defined)
        judge(m, name, answer);
    vmt_free(m);
    return status;
}
