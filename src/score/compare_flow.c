/* SPDX-License-Identifier: MIT
 *
 * Scores of the dense flow, the camera and the engine's own motion field.
 */
#include "score/side.h"

#include <inttypes.h>
#include <math.h>

/* Sums over places whose motion is known in both clips; weights 0..1. */
typedef struct flow_sums {
    double weight, error, reference; /* lengths: of the difference, of the reference's motion */
    double products, lengths;        /* where both move */
    bool moves, result_moves;        /* anywhere */
} flow_sums;

static void add_flow(flow_sums *s, double ax, double ay, double bx, double by, double weight)
{
    const double a = hypot(ax, ay), b = hypot(bx, by);

    s->weight += weight;
    s->error += weight * hypot(ax - bx, ay - by);
    s->reference += weight * a;
    s->moves |= weight > 0 && a >= SCORE_STILL;
    s->result_moves |= weight > 0 && b >= SCORE_STILL;
    if (a >= SCORE_STILL && b >= SCORE_STILL) {
        s->products += weight * (ax * bx + ay * by);
        s->lengths += weight * a * b;
    }
}

static const char nowhere[] = "no place can be followed in both clips";
static const char still[] = "nothing moves in the reference";

static void set_cosine(score_report *report, enum score_id id, const flow_sums *s)
{
    if (!(s->weight > 0))
        score_undefined(report, id, nowhere);
    else if (!s->moves)
        score_undefined(report, id, still);
    else if (!s->result_moves)
        score_undefined(report, id, "nothing moves in the result");
    else
        score_set(report, id, s->lengths > 0 ? s->products / s->lengths : 0);
}

void score_compare_flow(score_report *report, const score_side *a, const score_side *b)
{
    const int64_t pixels = a->flow_width * a->flow_height;
    const double scale = (double)(1 << a->level);
    flow_sums all = {0};

    for (int64_t t = 0; t + 1 < report->frames; t++) {
        flow_sums step = {0}; /* by steps, so that long sums stay exact enough */
        for (int64_t i = t * pixels; i < (t + 1) * pixels; i++)
            if (a->seen[i] && b->seen[i])
                add_flow(&step, scale * (double)a->flow[i].x, scale * (double)a->flow[i].y,
                         scale * (double)b->flow[i].x, scale * (double)b->flow[i].y,
                         a->seen[i] * b->seen[i] / (255.0 * 255.0));
        all.weight += step.weight;
        all.error += step.error;
        all.reference += step.reference;
        all.products += step.products;
        all.lengths += step.lengths;
        all.moves |= step.moves;
        all.result_moves |= step.result_moves;
    }
    set_cosine(report, SCORE_FLOW_COSINE, &all);
    if (all.weight > 0)
        score_set(report, SCORE_FLOW_ERROR, all.error / all.weight);
    else
        score_undefined(report, SCORE_FLOW_ERROR, nowhere);
    if (all.weight > 0 && all.moves)
        score_set(report, SCORE_FLOW_ERROR_RELATIVE, all.error / all.reference);
    else
        score_undefined(report, SCORE_FLOW_ERROR_RELATIVE, all.weight > 0 ? still : nowhere);
}

void score_compare_cameras(score_report *report, const score_side *a, const score_side *b)
{
    const double degrees = 180 / acos(-1.0);
    double pan = 0, zoom = 0, roll = 0, count = 0;

    for (int64_t t = 0; t + 1 < report->frames; t++) {
        const score_camera *p = &a->steps[t].camera, *q = &b->steps[t].camera;
        if (!p->known || !q->known || !(p->zoom > 0) || !(q->zoom > 0))
            continue;
        pan += hypot(p->pan_x - q->pan_x, p->pan_y - q->pan_y);
        zoom += fabs(log(p->zoom / q->zoom)) * 100;
        roll += fabs(remainder(p->roll - q->roll, 2 * acos(-1.0))) * degrees;
        count += 1;
    }
    if (2 * count < (double)(report->frames - 1)) {
        for (int id = SCORE_PAN_ERROR; id <= SCORE_ROLL_ERROR; id++)
            score_undefined(report, (enum score_id)id,
                            "no motion of the whole frame was found in half of the steps");
        return;
    }
    score_set(report, SCORE_PAN_ERROR, pan / count);
    score_set(report, SCORE_ZOOM_ERROR, zoom / count);
    score_set(report, SCORE_ROLL_ERROR, roll / count);
}

enum vmt_status score_attention(vmt_ctx *ctx, score_report *report, const vmt_motion_field *a,
                                const vmt_motion_field *b)
{
    const int64_t tokens = a->grid_h * a->grid_w;
    const int64_t frames = a->frames < b->frames ? a->frames : b->frames;
    flow_sums s = {0};

    if (a->grid_h != b->grid_h || a->grid_w != b->grid_w)
        return vmt_fail(ctx, VMT_E_ARG,
                        "attention flow: the reference has %" PRId64 "x%" PRId64
                        " tokens, the result %" PRId64 "x%" PRId64,
                        a->grid_w, a->grid_h, b->grid_w, b->grid_h);
    for (int64_t i = 0; a->flow && b->flow && i < frames * tokens; i++) {
        const double weight = (a->confidence ? (double)a->confidence[i] : 1) *
                              (b->confidence ? (double)b->confidence[i] : 1);
        add_flow(&s, (double)a->flow[2 * i + 1], (double)a->flow[2 * i], (double)b->flow[2 * i + 1],
                 (double)b->flow[2 * i], weight);
    }
    set_cosine(report, SCORE_ATTENTION_COSINE, &s);
    if (s.weight > 0)
        score_set(report, SCORE_ATTENTION_ERROR, s.error / s.weight);
    else
        score_undefined(report, SCORE_ATTENTION_ERROR,
                        "attention tells no token's place in both clips");
    return VMT_OK;
}
