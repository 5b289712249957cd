/* SPDX-License-Identifier: MIT
 *
 * The scores of tracks.  All compare steps of tracklets of one piece, frame by frame.
 */
#include "score/side.h"

#include <math.h>

/* Pixels: shorter steps are the tracker's rounding, and 0. */
#define RESOLUTION 0.003

/* A tracklet's steps. */
typedef struct steps {
    int32_t grid;
    int64_t count;
    bool moves; /* at least half of its steps are not still */
    score_place start;
    double x[SCORE_PIECE], y[SCORE_PIECE], length[SCORE_PIECE];
} steps;

static steps steps_of(const score_track *t, int64_t most)
{
    steps s = {.grid = t->grid, .count = t->steps < most ? t->steps : most, .start = t->at[0]};
    int64_t moving = 0;

    for (int64_t k = 0; k < s.count; k++) {
        s.x[k] = (double)t->at[k + 1].x - (double)t->at[k].x;
        s.y[k] = (double)t->at[k + 1].y - (double)t->at[k].y;
        s.length[k] = hypot(s.x[k], s.y[k]);
        moving += s.length[k] >= SCORE_STILL;
    }
    s.moves = moving && 2 * moving >= s.count;
    return s;
}

/* How alike two tracklets are, -1..1: the mean over their common steps of the cosine; times the
 * ratio of the speeds, if asked.  Two still steps are alike, a still and a moving one have nothing
 * in common. */
static double likeness(const steps *a, const steps *b, bool with_speed)
{
    const int64_t count = a->count < b->count ? a->count : b->count;
    double sum = 0;

    for (int64_t k = 0; k < count; k++) {
        const double la = a->length[k], lb = b->length[k];
        const bool moves_a = la >= SCORE_STILL, moves_b = lb >= SCORE_STILL;
        if (moves_a && moves_b) {
            const double cosine = (a->x[k] * b->x[k] + a->y[k] * b->y[k]) / (la * lb);
            sum += with_speed ? cosine * fmin(la, lb) / fmax(la, lb) : cosine;
        } else if (!moves_a && !moves_b) {
            sum += 1;
        }
    }
    return sum / (double)count;
}

/* As the published code has it: whatever the speed; where it divides 0 by 0 we count 0. */
static double published_likeness(const steps *a, const steps *b)
{
    const int64_t count = a->count < b->count ? a->count : b->count;
    double sum = 0;

    for (int64_t k = 0; k < count; k++) {
        if (a->length[k] > RESOLUTION && b->length[k] > RESOLUTION)
            sum += (a->x[k] * b->x[k] + a->y[k] * b->y[k]) / (a->length[k] * b->length[k]);
    }
    /* its identity matrix, subtracted from all pairs */
    return sum / (double)count - (a->grid == b->grid ? 1 : 0);
}

static bool is_near(const steps *a, const steps *b, double radius)
{
    return hypot((double)a->start.x - (double)b->start.x,
                 (double)a->start.y - (double)b->start.y) <= radius;
}

/* The most alike of `others` for each of `own`. */
typedef struct best {
    double alike, placed, published;
    double aligned;      /* of the one from the same point; 0: there is none */
    double placed_speed; /* mean step of the best placed one; negative: none is near */
} best;

static double mean_step(const steps *s)
{
    double sum = 0;

    for (int64_t k = 0; k < s->count; k++)
        sum += s->length[k];
    return sum / (double)s->count;
}

static best find_best(const steps *own, const steps *others, int64_t count, double radius)
{
    best b = {.placed_speed = -1};
    bool any = false, near = false;

    for (int64_t i = 0; i < count; i++) {
        const double published = published_likeness(own, &others[i]);
        const double alike = likeness(own, &others[i], false);
        if (!any || published > b.published)
            b.published = published;
        if (!any || alike > b.alike)
            b.alike = alike;
        any = true;
        if (own->grid == others[i].grid)
            b.aligned = alike;
        if (!is_near(own, &others[i], radius))
            continue;
        const double placed = likeness(own, &others[i], true);
        if (!near || placed > b.placed) {
            b.placed = placed;
            b.placed_speed = mean_step(&others[i]);
        }
        near = true;
    }
    return b;
}

/* Sums over tracklets. */
typedef struct way {
    double alike, placed, aligned;  /* of those that move */
    double moving;                  /* how many do */
    double published, all;          /* of all */
    double own_speed, placed_speed; /* of those that move and have one near */
    bool any_step;                  /* any motion at all */
} way;

static void add_way(vmt_ctx *ctx, way *w, const steps *own, int64_t own_count, const steps *others,
                    int64_t others_count, double radius, best *memory)
{
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t i = 0; i < own_count; i++)
        memory[i] = find_best(&own[i], others, others_count, radius);
    for (int64_t i = 0; i < own_count; i++) {
        const best *b = &memory[i];
        const double speed = mean_step(&own[i]);
        w->any_step |= speed > RESOLUTION;
        w->published += b->published;
        w->all += 1;
        if (!own[i].moves)
            continue;
        w->alike += b->alike;
        w->placed += b->placed;
        w->aligned += b->aligned;
        w->moving += 1;
        if (b->placed_speed >= 0) {
            w->own_speed += speed;
            w->placed_speed += b->placed_speed;
        }
    }
}

static int64_t take_steps(steps *to, const score_piece *piece, int64_t most)
{
    int64_t count = 0;

    for (int64_t i = 0; i < piece->count; i++)
        to[count++] = steps_of(&piece->tracks[i], most);
    return count;
}

static void set_scores(score_report *report, const way *reference, const way *result)
{
    static const char still[] = "nothing moves in the reference";
    static const char frozen[] = "nothing moves in the result";
    static const enum score_id all[] = {SCORE_FIDELITY, SCORE_PLACED, SCORE_ALIGNED,
                                        SCORE_SPEED_RATIO};

    report->reference_tracks = (int64_t)reference->all;
    report->result_tracks = (int64_t)result->all;
    report->reference_moving = (int64_t)reference->moving;
    report->result_moving = (int64_t)result->moving;
    if (reference->any_step && result->any_step)
        score_set(report, SCORE_FIDELITY_PUBLISHED, result->published / result->all);
    else
        score_undefined(report, SCORE_FIDELITY_PUBLISHED, reference->any_step ? frozen : still);
    if (!(reference->moving > 0)) {
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            score_undefined(report, all[i], still);
        return;
    }
    /* what does not move has no direction that could be right or wrong */
    const double there = 0.5 / reference->moving, back = 0.5 / result->moving;
    if (result->moving > 0) {
        score_set(report, SCORE_FIDELITY, there * reference->alike + back * result->alike);
        score_set(report, SCORE_PLACED, there * reference->placed + back * result->placed);
        score_set(report, SCORE_ALIGNED, there * reference->aligned + back * result->aligned);
    } else {
        for (size_t i = 0; all[i] != SCORE_SPEED_RATIO; i++)
            score_undefined(report, all[i], frozen);
    }
    if (reference->own_speed > 0)
        score_set(report, SCORE_SPEED_RATIO, reference->placed_speed / reference->own_speed);
    else
        score_undefined(report, SCORE_SPEED_RATIO,
                        "nothing can be followed in the result where the reference moves");
}

static int64_t most_tracks(const score_side *side)
{
    int64_t most = 1;

    for (int64_t i = 0; i < side->piece_count; i++)
        if (side->pieces[i].count > most)
            most = side->pieces[i].count;
    return most;
}

enum vmt_status score_compare_tracks(vmt_ctx *ctx, score_report *report, const score_side *a,
                                     const score_side *b)
{
    const int64_t pieces = a->piece_count < b->piece_count ? a->piece_count : b->piece_count;
    const int64_t most_a = most_tracks(a), most_b = most_tracks(b);
    const int64_t longer = a->clip->width > a->clip->height ? a->clip->width : a->clip->height;
    const double radius = (double)longer / 10;
    way to_result = {0}, to_reference = {0};
    steps *memory;
    best *bests;

    VMT_TRY(vmt_alloc(ctx, (void **)&memory, (size_t)(most_a + most_b), sizeof *memory));
    if (vmt_alloc(ctx, (void **)&bests, (size_t)(most_a + most_b), sizeof *bests) != VMT_OK) {
        vmt_free(memory);
        return VMT_E_MEMORY;
    }
    for (int64_t i = 0; i < pieces; i++) {
        const score_piece *pa = &a->pieces[i], *pb = &b->pieces[i];
        const int64_t common = pa->steps < pb->steps ? pa->steps : pb->steps;
        const int64_t count_a = take_steps(memory, pa, common);
        const int64_t count_b = take_steps(memory + most_a, pb, common);
        add_way(ctx, &to_result, memory, count_a, memory + most_a, count_b, radius, bests);
        add_way(ctx, &to_reference, memory + most_a, count_b, memory, count_a, radius, bests);
    }
    vmt_free(bests);
    vmt_free(memory);
    set_scores(report, &to_result, &to_reference);
    return VMT_OK;
}
