/* SPDX-License-Identifier: MIT */
#include "table/subject.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels from the mover's place; sprites are 34 to 54 pixels large. */
#define REACH 30.0
#define SHARE 0.35  /* of a frame's largest difference: less is background */
#define STEPS 43.0  /* of a root in the table */
#define VISIBLE 24. /* sum of a pixel's differences, grey levels: less is nothing */

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

/* Adds the mover's colours: within the root mean square radius, then beyond it. */
static void add_frame(const frame_view *v, double histograms[2][SUBJECT_COLOURS])
{
    double total = 1e-9, x = 0, y = 0, square = 0;

    for (int64_t i = 0; i < v->height * v->width; i++) {
        total += v->weight[i];
        x += v->weight[i] * (double)(i % v->width);
        y += v->weight[i] * (double)(i / v->width);
    }
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < v->height * v->width; i++) {
            const double dx = (double)(i % v->width) - x / total;
            const double dy = (double)(i / v->width) - y / total, r2 = dx * dx + dy * dy;
            if (!(v->weight[i] > 0))
                continue;
            if (pass)
                add_colour(histograms[r2 < square / total ? 0 : 1], v->pixels + 3 * i,
                           v->weight[i]);
            else
                square += v->weight[i] * r2;
        }
}

/* ---- likeness */

/* Bhattacharyya's coefficient, mean of both histograms. */
static double likeness_to(const table_sprite *sprite, double histograms[2][SUBJECT_COLOURS])
{
    double sum = 0;

    for (int part = 0; part < 2; part++) {
        double roots = 0, total = 0, product = 0;
        for (int i = 0; i < SUBJECT_COLOURS; i++) {
            const double root = (sprite->roots[part * SUBJECT_COLOURS + i] - '0') / STEPS;
            roots += root * root;
            total += histograms[part][i];
            product += root * sqrt(histograms[part][i]);
        }
        sum += roots > 0 && total > 0 ? product / sqrt(roots * total) : 0;
    }
    return sum / 2;
}

static void judge(double histograms[2][SUBJECT_COLOURS], const char *name, bool *found,
                  double *likeness)
{
    double best = -1, own = 0, others = 0;
    const char *nearest = "";
    int count = 0;

    for (const table_sprite *s = table_sprites; s->name; s++) {
        const double like = likeness_to(s, histograms);
        if (like > best) {
            best = like;
            nearest = s->name;
        }
        if (!strcmp(s->name, name)) {
            own = like;
        } else {
            others += like;
            count++;
        }
    }
    *found = !strcmp(nearest, name);
    *likeness = own - others / count;
}

enum vmt_status table_subject(vmt_ctx *ctx, const vmt_clip *clip, const char *name, bool *defined,
                              bool *found, double *likeness)
{
    const size_t pixels = (size_t)(clip->height * clip->width), frames = (size_t)clip->frames;
    double histograms[2][SUBJECT_COLOURS] = {{0}}, *memory;

    VMT_TRY(vmt_alloc(ctx, (void **)&memory, 4 * pixels + 2 * frames, sizeof *memory));
    double *still = memory, *weight = memory + 3 * pixels;
    double(*path)[2] = (double(*)[2])(void *)(weight + pixels);
    const enum vmt_status status = table_track(ctx, clip, path);
    *defined = false;
    if (status == VMT_OK)
        table_still(still, clip);
    for (size_t f = 0; status == VMT_OK && f < frames; f++) {
        const frame_view view = {clip->pixels + 3 * f * pixels, still, weight, clip->height,
                                 clip->width};
        if (!weigh(&view, path[f]))
            continue;
        add_frame(&view, histograms);
        *defined = true;
    }
    if (*defined)
        judge(histograms, name, found, likeness);
    vmt_free(memory);
    return status;
}
