/* SPDX-License-Identifier: MIT
 *
 * The scorer on clips whose motion is known.
 */
#include "motion_clips.h"
#include "score/side.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FRAMES = 17, FEW = 9, WIDTH = 128, HEIGHT = 80 }; /* few: one piece of tracks */

static vmt_ctx ctx;

#define NEAR(actual, expected, tolerance)                                                          \
    do {                                                                                           \
        const double actual_ = (actual), expected_ = (expected);                                   \
        if (!(fabs(actual_ - expected_) <= (tolerance)))                                           \
            fail_msg("%s: %.9g, expected %.9g", #actual, actual_, expected_);                      \
    } while (0)

static const motion_clip motions[] = {
    {MOTION_SHIFT, 2.3, -1.4, 0, 1, 0},   {MOTION_SHIFT, -7.9, 0.9, 0, 2, 0},
    {MOTION_SHIFT, 3, 2, 0, 3, 2},        {MOTION_ROTATE, 0, 0, 0.05, 4, 0},
    {MOTION_ZOOM, 0, 0, 0.03, 5, 0},      {MOTION_ZOOM, 0, 0, -0.025, 6, 0},
    {MOTION_PARALLAX, 4.5, 0.6, 0, 7, 0}, {MOTION_CROSSING, 3.2, 0.4, 0, 8, 0},
    {MOTION_CROSSING, 2, 2.5, 0, 9, 0},
};

enum { SAME_FROM_BOTH_ENDS = 7 }; /* discs whose crossing reversed is such a crossing */

enum { MOTIONS = sizeof motions / sizeof *motions };

/* Each clip and its analysis, made by the first test that asks. */
static vmt_clip clips[MOTIONS];
static score_side *sides[MOTIONS];

static const score_side *side_of(size_t i)
{
    if (!sides[i]) {
        clips[i] = motion_clip_make(&ctx, &motions[i], FRAMES, WIDTH, HEIGHT);
        CHECK_OK(&ctx, score_analyse(&ctx, &sides[i], &clips[i]));
    }
    return sides[i];
}

static int forget_sides(void **state)
{
    (void)state;
    for (int i = 0; i < MOTIONS; i++) {
        score_side_free(sides[i]);
        vmt_clip_free(&clips[i]);
    }
    return 0;
}

/* ---- tracker and flow against the truth */

typedef struct error_sum {
    double mean, worst_share; /* end-point error; share above 1 pixel */
    int64_t count;
} error_sum;

static void add_error(error_sum *e, double dx, double dy)
{
    const double error = hypot(dx, dy);

    e->mean += error;
    e->worst_share += error > 1;
    e->count++;
}

static error_sum track_errors(const score_side *side, const motion_clip *m, int64_t width,
                              int64_t height)
{
    error_sum e = {0};

    for (int64_t i = 0; i < side->piece_count; i++)
        for (int64_t j = 0; j < side->pieces[i].count; j++) {
            const score_track *t = &side->pieces[i].tracks[j];
            for (int64_t k = 0; k < t->steps; k++) {
                double x, y;
                if (motion_clip_next(m, width, height, side->pieces[i].first + k,
                                     (double)t->at[k].x, (double)t->at[k].y, &x, &y))
                    add_error(&e, (double)t->at[k + 1].x - x, (double)t->at[k + 1].y - y);
            }
        }
    return e;
}

static error_sum flow_errors(const score_side *side, const motion_clip *m)
{
    error_sum e = {0};

    for (int64_t i = 0; i < (FRAMES - 1) * HEIGHT * WIDTH; i++) {
        const double x = (double)(i % WIDTH), y = (double)(i / WIDTH % HEIGHT);
        double to_x, to_y;
        if (side->seen[i] &&
            motion_clip_next(m, WIDTH, HEIGHT, i / (HEIGHT * WIDTH), x, y, &to_x, &to_y))
            add_error(&e, (double)side->flow[i].x + x - to_x, (double)side->flow[i].y + y - to_y);
    }
    return e;
}

static void errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOTIONS; i++) {
        const score_side *side = side_of(i);
        const error_sum t = track_errors(side, &motions[i], WIDTH, HEIGHT),
                        f = flow_errors(side, &motions[i]);
        print_message("motion %zu: tracks %.3f px, %.4f above 1 px, %lld steps; flow %.3f px, %.4f "
                      "above, %.2f seen\n",
                      i, t.mean / (double)t.count, t.worst_share / (double)t.count,
                      (long long)t.count, f.mean / (double)f.count, f.worst_share / (double)f.count,
                      (double)f.count / ((FRAMES - 1) * HEIGHT * WIDTH));
        assert_true(t.count > 1000);
        assert_true(t.mean / (double)t.count < 0.3);
        assert_true(f.mean / (double)f.count < 0.3);
    }
}

/* What is shown five times as large has the same tracks: the gradients of its pixels are a fifth,
 * so points are followed on a level where they are not. */
static void enlarged(void **state)
{
    enum { FACTOR = 5 };
    const motion_clip m = {MOTION_SHIFT, 2, -1, 0, 9, 0}, five = {MOTION_SHIFT, 10, -5, 0, 9, 0};
    vmt_clip small = motion_clip_make(&ctx, &m, 3, WIDTH, HEIGHT);
    score_side *sides_of[2];

    (void)state;
    for (int i = 0; i < 9 * WIDTH * HEIGHT; i++) /* a third of the contrast */
        small.pixels[i] = (uint8_t)(80 + small.pixels[i] / 3);
    vmt_clip large = motion_clip_enlarge(&ctx, &small, FACTOR);
    CHECK_OK(&ctx, score_analyse(&ctx, &sides_of[0], &small));
    CHECK_OK(&ctx, score_analyse(&ctx, &sides_of[1], &large));
    const error_sum a = track_errors(sides_of[0], &m, WIDTH, HEIGHT);
    const error_sum b = track_errors(sides_of[1], &five, FACTOR * WIDTH, FACTOR * HEIGHT);
    print_message("%lld steps, %.3f px; enlarged %lld steps, %.3f px\n", (long long)a.count,
                  a.mean / (double)a.count, (long long)b.count, b.mean / (double)b.count);
    assert_true(a.count > 500 && b.count > a.count / 3);
    assert_true(a.mean / (double)a.count < 0.3 && b.mean / (double)b.count < 0.3);
    for (int i = 0; i < 2; i++)
        score_side_free(sides_of[i]);
    vmt_clip_free(&small);
    vmt_clip_free(&large);
}

/* ---- camera */

static void cameras(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOTIONS; i++) {
        const motion_clip *m = &motions[i];
        if (m->kind == MOTION_PARALLAX || m->kind == MOTION_CROSSING)
            continue;
        vmt_clip clip = motion_clip_make(&ctx, m, 4, WIDTH, HEIGHT);
        score_side *side;
        CHECK_OK(&ctx, score_analyse(&ctx, &side, &clip));
        for (int t = 0; t < 3; t++) {
            const score_camera *c = &side->steps[t].camera;
            assert_true(c->known);
            NEAR(c->pan_x, m->vx, 0.05);
            NEAR(c->pan_y, m->vy, 0.05);
            NEAR(c->zoom, m->kind == MOTION_ZOOM ? 1 + m->turn : 1, 1e-3);
            NEAR(c->roll, m->kind == MOTION_ROTATE ? m->turn : 0, 1e-3);
        }
        score_side_free(side);
        vmt_clip_free(&clip);
    }
}

/* ---- scores */

static double value(const score_report *r, enum score_id id)
{
    if (!r->values[id].defined)
        fail_msg("%s is undefined: %s", score_kind_of(id)->name, r->values[id].why);
    return r->values[id].value;
}

/* Whatever happens, no NaN, and a reason for what is undefined. */
static void check_sane(const score_report *r)
{
    for (int i = 0; i < SCORE_COUNT; i++) {
        const score_value *v = &r->values[i];
        assert_true(isfinite(v->value) && isfinite(v->reference));
        assert_true(v->defined == (v->why == NULL));
        assert_non_null(score_kind_of((enum score_id)i)->name);
    }
}

static score_report compare(const vmt_clip *a, const vmt_clip *b)
{
    score_report r;

    CHECK_OK(&ctx, score_clips(&ctx, &r, a, b));
    check_sane(&r);
    return r;
}

static void same_and_reversed(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOTIONS; i++) {
        const enum motion_kind kind = motions[i].kind;
        const score_side *side = side_of(i);
        vmt_clip back = motion_clip_reverse(&ctx, &clips[i]);
        score_side *back_side;
        score_report r;
        CHECK_OK(&ctx, score_analyse(&ctx, &back_side, &back));
        CHECK_OK(&ctx, score_compare(&ctx, &r, side, side));
        assert_true(value(&r, SCORE_FIDELITY) > 0.98);
        assert_true(value(&r, SCORE_PLACED) > 0.98);
        assert_true(value(&r, SCORE_ALIGNED) > 0.98);
        assert_true(value(&r, SCORE_FLOW_COSINE) > 0.98);
        NEAR(value(&r, SCORE_SPEED_RATIO), 1, 0.02);
        NEAR(value(&r, SCORE_FLOW_ERROR), 0, 1e-6);
        NEAR(value(&r, SCORE_PAN_ERROR), 0, 1e-6);
        CHECK_OK(&ctx, score_compare(&ctx, &r, side, back_side));
        print_message("motion %zu reversed: fidelity %.3f, placed %.3f, aligned %.3f, flow %.3f\n",
                      i, value(&r, SCORE_FIDELITY), value(&r, SCORE_PLACED),
                      value(&r, SCORE_ALIGNED), value(&r, SCORE_FLOW_COSINE));
        if (kind == MOTION_SHIFT || kind == MOTION_PARALLAX) {
            assert_true(value(&r, SCORE_FIDELITY) < 0);
            assert_true(value(&r, SCORE_FIDELITY_PUBLISHED) < 0);
        }
        /* what turns or grows holds every direction, reversed or not: place must tell */
        if (i == SAME_FROM_BOTH_ENDS) {
            assert_true(value(&r, SCORE_ALIGNED) < 0.2);
        } else {
            assert_true(value(&r, SCORE_ALIGNED) < -0.1);
            assert_true(value(&r, SCORE_FLOW_COSINE) < -0.8);
        }
        if (kind != MOTION_CROSSING)
            assert_true(value(&r, SCORE_PLACED) < 0);
        score_side_free(back_side);
        vmt_clip_free(&back);
    }
}

/* The same motion in other clothes scores high, half of the speed half. */
static void other_looks(void **state)
{
    const motion_clip m = {MOTION_SHIFT, 3, 1, 0, 11, 0}, dressed = {MOTION_SHIFT, 3, 1, 0, 12, 0};
    const motion_clip slow = {MOTION_SHIFT, 1.5, 0.5, 0, 12, 0};
    vmt_clip a = motion_clip_make(&ctx, &m, FEW, WIDTH, HEIGHT);
    vmt_clip b = motion_clip_make(&ctx, &dressed, FEW, WIDTH, HEIGHT);
    vmt_clip c = motion_clip_make(&ctx, &slow, FEW, WIDTH, HEIGHT);

    (void)state;
    score_report r = compare(&a, &b);
    assert_true(value(&r, SCORE_FIDELITY) > 0.98);
    assert_true(value(&r, SCORE_PLACED) > 0.9);
    assert_true(value(&r, SCORE_FLOW_COSINE) > 0.99);
    assert_true(value(&r, SCORE_FLOW_ERROR_RELATIVE) < 0.05);
    assert_true(value(&r, SCORE_LEAK_SSIM) < 0.3);
    assert_true(value(&r, SCORE_COLOUR_DISTANCE) > 0.1);
    r = compare(&a, &c);
    assert_true(value(&r, SCORE_FIDELITY) > 0.98); /* blind to speed */
    NEAR(value(&r, SCORE_PLACED), 0.5, 0.05);
    NEAR(value(&r, SCORE_SPEED_RATIO), 0.5, 0.02);
    NEAR(value(&r, SCORE_FLOW_ERROR_RELATIVE), 0.5, 0.02);
    NEAR(value(&r, SCORE_PAN_ERROR), hypot(1.5, 0.5), 0.02);
    vmt_clip_free(&a);
    vmt_clip_free(&b);
    vmt_clip_free(&c);
}

/* The published score may not take the same point's tracklet: of one moving thing that is far from
 * the rest, so a still background is what it finds. */
static void published(void **state)
{
    const score_side *side = side_of(SAME_FROM_BOTH_ENDS);
    score_report r;

    (void)state;
    CHECK_OK(&ctx, score_compare(&ctx, &r, side, side));
    assert_true(value(&r, SCORE_FIDELITY) > 0.98);
    assert_true(value(&r, SCORE_FIDELITY_PUBLISHED) < 0.9);
}

static void still_clips(void **state)
{
    static const enum score_id by_reference[] = {
        SCORE_FIDELITY,    SCORE_FIDELITY_PUBLISHED, SCORE_PLACED, SCORE_ALIGNED, SCORE_FLOW_COSINE,
        SCORE_SPEED_RATIO, SCORE_FLOW_ERROR_RELATIVE};
    const motion_clip still = {MOTION_STILL, 0, 0, 0, 21, 0},
                      moving = {MOTION_SHIFT, 2, 1, 0, 22, 0};
    vmt_clip a = motion_clip_make(&ctx, &still, FEW, WIDTH, HEIGHT);
    vmt_clip b = motion_clip_make(&ctx, &moving, FEW, WIDTH, HEIGHT), grey;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const score_report r = compare(&a, i ? &b : &a);
        for (size_t k = 0; k < sizeof by_reference / sizeof *by_reference; k++)
            assert_false(r.values[by_reference[k]].defined);
    }
    /* a result that stands still has no direction; its speed and its error tell */
    score_report r = compare(&b, &a);
    for (size_t k = 0; k < 5; k++)
        assert_string_equal(r.values[by_reference[k]].why, "nothing moves in the result");
    NEAR(value(&r, SCORE_SPEED_RATIO), 0, 1e-6);
    NEAR(value(&r, SCORE_FLOW_ERROR_RELATIVE), 1, 1e-3);
    /* nothing to follow at all, on either side */
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &grey, FEW, HEIGHT, WIDTH, 16));
    memset(grey.pixels, 90, (size_t)(3 * FEW * HEIGHT * WIDTH));
    r = compare(&grey, &b);
    assert_false(r.values[SCORE_FIDELITY].defined);
    r = compare(&b, &grey);
    assert_false(r.values[SCORE_FIDELITY].defined);
    assert_false(r.values[SCORE_FIDELITY_PUBLISHED].defined);
    NEAR(value(&r, SCORE_FLAT), 1, 0);
    NEAR(r.values[SCORE_FLAT].reference, 0, 0);
    vmt_clip_free(&a);
    vmt_clip_free(&b);
    vmt_clip_free(&grey);
}

static void mirrored(void **state)
{
    static const motion_clip pairs[][2] = {
        {{MOTION_ZOOM, 0, 0, 0.03, 31, 0}, {MOTION_SHIFT, 2, 1, 0, 32, 0}},
        {{MOTION_ROTATE, 0, 0, 0.04, 33, 0}, {MOTION_ROTATE, 0, 0, 0.03, 34, 0}},
        {{MOTION_PARALLAX, 3, 1, 0, 35, 0}, {MOTION_PARALLAX, 2, 1, 0, 36, 0}},
        {{MOTION_CROSSING, 3, 0.5, 0, 37, 0}, {MOTION_CROSSING, 2, 1, 0, 38, 0}},
    };
    double worst = 0;

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        vmt_clip a = motion_clip_make(&ctx, &pairs[i][0], FRAMES, WIDTH, HEIGHT);
        vmt_clip b = motion_clip_make(&ctx, &pairs[i][1], FRAMES, WIDTH, HEIGHT);
        vmt_clip c = motion_clip_mirror(&ctx, &a), d = motion_clip_mirror(&ctx, &b);
        const score_report r = compare(&a, &b), s = compare(&c, &d);
        for (int id = 0; id < SCORE_COUNT; id++) {
            const score_value *u = &r.values[id], *v = &s.values[id];
            assert_int_equal(u->defined, v->defined);
            const double change = fabs(u->value - v->value) / fmax(1, fabs(u->value));
            if (change >= 1e-3)
                print_message("pair %zu, %s: %.5f, mirrored %.5f\n", i,
                              score_kind_of((enum score_id)id)->name, u->value, v->value);
            worst = fmax(worst, change);
        }
        vmt_clip_free(&a);
        vmt_clip_free(&b);
        vmt_clip_free(&c);
        vmt_clip_free(&d);
    }
    print_message("mirrored: at most %.2g apart\n", worst);
    assert_true(worst < 1e-3);
}

/* ---- one clip by itself */

static void steadiness(void **state)
{
    const motion_clip m = {MOTION_SHIFT, 2, 1, 0, 41, 0};
    vmt_clip a = motion_clip_make(&ctx, &m, 12, WIDTH, HEIGHT);
    vmt_clip b = motion_clip_make(&ctx, &m, 12, WIDTH, HEIGHT);
    const int64_t bytes = 3 * WIDTH * HEIGHT;

    (void)state;
    for (int64_t i = 0; i < 12 * bytes; i++) { /* brighter and darker by 4 in turn */
        const int v = b.pixels[i] + (i / bytes % 2 ? 4 : -4);
        b.pixels[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    score_report r = compare(&a, &b);
    assert_true(r.values[SCORE_FLICKER].reference < 2);
    NEAR(value(&r, SCORE_FLICKER), 8, 1);
    NEAR(value(&r, SCORE_WARP_ERROR), 8.0 * 8 / (255 * 255), 3e-4);
    NEAR(value(&r, SCORE_LUMA_JITTER), 16, 1);
    assert_true(value(&r, SCORE_SMOOTHNESS) < r.values[SCORE_SMOOTHNESS].reference - 0.02);
    /* a first frame that does not belong */
    for (int64_t i = 0; i < bytes; i++)
        a.pixels[i] = (uint8_t)(a.pixels[i] / 2);
    r = compare(&b, &a);
    assert_true(value(&r, SCORE_FIRST_JUMP) > 5);
    assert_true(r.values[SCORE_FIRST_JUMP].reference < 1.5);
    vmt_clip_free(&a);
    vmt_clip_free(&b);
}

static void faults(void **state)
{
    const motion_clip m = {MOTION_SHIFT, 2, 1, 0, 51, 0};
    vmt_clip a = motion_clip_make(&ctx, &m, 8, WIDTH, HEIGHT), b;
    const int64_t bytes = 3 * WIDTH * HEIGHT;

    (void)state;
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &b, 8, HEIGHT, WIDTH, 16));
    memcpy(b.pixels, a.pixels, (size_t)(8 * bytes));
    memset(b.pixels, 0, (size_t)(2 * bytes)); /* two of eight are black, so flat and saturated */
    for (int64_t i = 4 * bytes; i < 6 * bytes; i++)
        b.pixels[i] = i % 2 ? 255 : 100;
    const score_report r = compare(&a, &b);
    NEAR(value(&r, SCORE_BLACK), 0.25, 1e-9);
    NEAR(value(&r, SCORE_SATURATED), 0.25 + 0.125, 0.02);
    assert_true(value(&r, SCORE_FLAT) >= 0.25);
    NEAR(r.values[SCORE_BLACK].reference, 0, 0);
    vmt_clip_free(&a);
    vmt_clip_free(&b);
}

/* ---- lengths, sizes, rates */

static void alignment(void **state)
{
    const motion_clip m = {MOTION_ROTATE, 0, 0, 0.05, 61, 0};
    vmt_clip a = motion_clip_make(&ctx, &m, FRAMES, WIDTH, HEIGHT), b = a, small = a;
    score_report r;

    (void)state;
    b.frames = 11; /* the shorter one decides */
    r = compare(&a, &b);
    assert_int_equal(r.frames, 11);
    assert_true(value(&r, SCORE_PLACED) > 0.98);
    NEAR(value(&r, SCORE_FLOW_ERROR), 0, 0);
    NEAR(value(&r, SCORE_FLICKER), r.values[SCORE_FLICKER].reference, 0);
    b.fps = 17;
    assert_int_equal(score_clips(&ctx, &r, &a, &b), VMT_E_ARG);
    assert_string_equal(ctx.message, "the reference has 16 frames per second, the result 17");
    b = a;
    b.width /= 2;
    assert_int_equal(score_clips(&ctx, &r, &a, &b), VMT_E_ARG);
    assert_string_equal(ctx.message, "the reference has 128x80 pixels, the result 64x80");
    b = a;
    b.frames = 1;
    assert_int_equal(score_clips(&ctx, &r, &b, &b), VMT_E_ARG);
    assert_string_equal(ctx.message, "a clip of 1 frame has no motion to score");
    small.width = 31;
    assert_int_equal(score_clips(&ctx, &r, &small, &small), VMT_E_ARG);
    vmt_clip_free(&a);
}

/* Odd sizes, the least size, two frames; three threads give the bits of one. */
static void shapes(void **state)
{
    static const int64_t sizes[][3] = {{2, 32, 32}, {3, 33, 47}, {10, 161, 95}, {5, 530, 36}};
    const motion_clip m = {MOTION_ZOOM, 0, 0, 0.03, 71, 1}, n = {MOTION_SHIFT, 1, 2, 0, 72, 1};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vmt_clip a = motion_clip_make(&ctx, &m, sizes[i][0], sizes[i][1], sizes[i][2]);
        vmt_clip b = motion_clip_make(&ctx, &n, sizes[i][0], sizes[i][1], sizes[i][2]);
        const score_report one = compare(&a, &b);
        ctx.threads = 3;
        const score_report three = compare(&a, &b);
        ctx.threads = 1;
        for (int id = 0; id < SCORE_COUNT; id++) {
            assert_int_equal(one.values[id].defined, three.values[id].defined);
            assert_memory_equal(&one.values[id].value, &three.values[id].value, sizeof(double));
        }
        vmt_clip_free(&a);
        vmt_clip_free(&b);
    }
}

/* ---- the engine's own motion field */

static void attention(void **state)
{
    float a[2 * 2 * 3 * 2], b[2 * 2 * 3 * 2], sure[2 * 2 * 3];
    vmt_motion_field reference = {.flow = a, .frames = 2, .grid_h = 2, .grid_w = 3};
    vmt_motion_field result = {.flow = b, .frames = 2, .grid_h = 2, .grid_w = 3};
    score_report r = {0};

    (void)state;
    for (int i = 0; i < 12; i++) {
        a[2 * i] = 0;
        a[2 * i + 1] = 4; /* to the right */
        b[2 * i] = i < 6 ? 0.0f : 3.0f;
        b[2 * i + 1] = i < 6 ? 4.0f : 0.0f; /* the second half down */
        sure[i] = i < 6 ? 1.0f : 0.0f;
    }
    CHECK_OK(&ctx, score_attention(&ctx, &r, &reference, &result));
    NEAR(value(&r, SCORE_ATTENTION_COSINE), 6 * 16.0 / (6 * 16 + 6 * 12), 1e-9);
    NEAR(value(&r, SCORE_ATTENTION_ERROR), 2.5, 1e-9);
    result.confidence = sure;
    CHECK_OK(&ctx, score_attention(&ctx, &r, &reference, &result));
    NEAR(value(&r, SCORE_ATTENTION_COSINE), 1, 1e-9);
    result.grid_w = 2;
    assert_int_equal(score_attention(&ctx, &r, &reference, &result), VMT_E_ARG);
    memset(a, 0, sizeof a);
    CHECK_OK(&ctx, score_attention(&ctx, &r, &reference, &reference));
    assert_false(r.values[SCORE_ATTENTION_COSINE].defined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors),      cmocka_unit_test(enlarged),
        cmocka_unit_test(cameras),     cmocka_unit_test(same_and_reversed),
        cmocka_unit_test(other_looks), cmocka_unit_test(published),
        cmocka_unit_test(still_clips), cmocka_unit_test(mirrored),
        cmocka_unit_test(steadiness),  cmocka_unit_test(faults),
        cmocka_unit_test(alignment),   cmocka_unit_test(shapes),
        cmocka_unit_test(attention),
    };

    vmt_ctx_init(&ctx);
    return cmocka_run_group_tests(tests, NULL, forget_sides);
}
