/* SPDX-License-Identifier: MIT
 *
 * Plan, flow, losses and masks on small random features; gradients by finite differences in double.
 * Proven killers: `tile_weights` -> NULL in track.c; `/ (double)plan->pairs` dropped; grad_scale
 * dropped in the distance; `first += count` -> `first += 1` in track.c.
 */
#include "motion_fixture.h"

#include <math.h>

enum { HEAD_DIM = 6, MAX_REFERENCES = 2 };

static void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g and %.17g differ by more than %g", a, b, tolerance);
}

typedef struct problem {
    vmt_ctx *ctx;
    vmt_arena arena;
    vmt_flow_plan plan;
    vmt_tensor Q, K, dQ, dK, flow, dflow, scratch, ref[MAX_REFERENCES], amf, track;
    vmt_window_set windows;
    vmt_track_means means;
    vmt_motion_mask mask;
    double amf_weight, track_weight;
    vmt_motion_reference references[MAX_REFERENCES];
    int64_t reference_count;
    const vmt_motion_mask *track_mask;
} problem;

static vmt_tensor take(problem *p, int rank, const int64_t *shape)
{
    vmt_tensor t;

    CHECK_OK(p->ctx, vmt_take(p->ctx, &p->arena, &t, p->ctx->real, rank, shape));
    return t;
}

static void open_problem(problem *p, vmt_ctx *ctx, enum vmt_variant variant, int64_t f, int64_t h,
                         int64_t w)
{
    const vmt_motion_settings settings = motion_settings(variant);
    test_rng rng = {.state = 1234567};
    float weights[512];

    *p = (problem){.ctx = ctx, .amf_weight = 5.0, .track_weight = 1.0, .reference_count = 1};
    p->arena = motion_arena(ctx, 1 << 21);
    CHECK_OK(ctx, vmt_flow_plan_make(ctx, &p->plan, &settings, (int64_t[]){f, h, w}, 1, HEAD_DIM));
    const int64_t tokens = p->plan.tokens, pairs = p->plan.pairs;
    p->Q = motion_random(ctx, &p->arena, &rng, 1.5, VMT_SHAPE(f, tokens, HEAD_DIM));
    p->K = motion_random(ctx, &p->arena, &rng, 1.5, VMT_SHAPE(f, tokens, HEAD_DIM));
    for (int i = 0; i < MAX_REFERENCES; i++) {
        p->ref[i] = motion_random(ctx, &p->arena, &rng, 2.0, VMT_SHAPE(pairs, tokens, 2));
        p->references[i] = (vmt_motion_reference){.features = &p->ref[i], .weight = 1.0};
    }
    p->dQ = take(p, VMT_SHAPE(f, tokens, HEAD_DIM));
    p->dK = take(p, VMT_SHAPE(f, tokens, HEAD_DIM));
    p->flow = take(p, VMT_SHAPE(pairs, tokens, 2));
    p->dflow = take(p, VMT_SHAPE(pairs, tokens, 2));
    p->scratch = take(p, VMT_SHAPE(tokens, 2));
    p->amf = take(p, VMT_SHAPE(1));
    p->track = take(p, VMT_SHAPE(1));
    CHECK_OK(ctx, vmt_windows_layout(ctx, &p->arena, &p->plan, &p->windows));
    CHECK_OK(ctx, vmt_track_layout(ctx, &p->arena, &p->plan, &p->means));
    CHECK_OK(ctx, vmt_motion_mask_layout(ctx, &p->arena, &p->plan, &p->mask));
    assert_true(f * tokens <= 512);
    for (int64_t i = 0; i < f * tokens; i++)
        weights[i] = (float)fabs(test_uniform(&rng));
    CHECK_OK(ctx, vmt_motion_mask_set(ctx, &p->plan, &p->mask, weights));
    CHECK_OK(ctx, vmt_windows_choose(ctx, &p->plan, &p->windows, &p->Q, &p->K));
}

static void close_problem(problem *p)
{
    vmt_arena_close(p->ctx, &p->arena);
}

/* Loss, dQ, dK, with the windows as they were chosen. */
static double evaluate(problem *p)
{
    vmt_ctx *ctx = p->ctx;

    CHECK_OK(ctx, vmt_flow_forward(ctx, &p->plan, &p->flow, &p->windows, &p->Q, &p->K));
    CHECK_OK(ctx, vmt_zero(ctx, &p->amf));
    CHECK_OK(ctx, vmt_zero(ctx, &p->track));
    CHECK_OK(ctx, vmt_zero(ctx, &p->dQ));
    CHECK_OK(ctx, vmt_zero(ctx, &p->dK));
    CHECK_OK(ctx, vmt_flow_distance(ctx, &p->plan, &p->amf, &p->dflow, &p->scratch, &p->flow,
                                    p->references, p->reference_count, p->amf_weight));
    CHECK_OK(ctx, vmt_track_loss_acc(ctx, &p->plan, &p->track, &p->dK, &p->means, &p->K,
                                     &p->windows, p->track_mask, p->track_weight));
    CHECK_OK(ctx, vmt_flow_backward_acc(ctx, &p->plan, &p->dQ, &p->dK, &p->dflow, &p->flow,
                                        &p->windows, &p->Q, &p->K));
    return p->amf_weight * motion_get(ctx, &p->amf, 0) +
           p->track_weight * motion_get(ctx, &p->track, 0);
}

/* Central differences of every eleventh element against the gradient, relative to its largest. */
static void check_gradient(problem *p, vmt_tensor *x, const vmt_tensor *dx)
{
    const double h = 1e-5;
    const int64_t count = vmt_numel(x);
    double *analytic = test_calloc((size_t)count, sizeof(double)), largest = 0.0, worst = 0.0;

    evaluate(p);
    for (int64_t i = 0; i < count; i++) {
        analytic[i] = motion_get(p->ctx, dx, i);
        largest = fmax(largest, fabs(analytic[i]));
    }
    assert_true(largest > 1e-3);
    for (int64_t i = 0; i < count; i += 11) {
        const double old = motion_get(p->ctx, x, i);
        motion_set(p->ctx, x, i, old + h);
        const double above = evaluate(p);
        motion_set(p->ctx, x, i, old - h);
        const double below = evaluate(p);
        motion_set(p->ctx, x, i, old);
        worst = fmax(worst, fabs((above - below) / (2.0 * h) - analytic[i]));
    }
    print_message("finite differences: off by %.2g of %.3g\n", worst, largest);
    assert_true(worst < 2e-8 * largest);
    test_free(analytic);
}

static void test_gradient(void **state)
{
    static const struct {
        enum vmt_variant variant;
        int64_t f, h, w;
    } shapes[] = {{VMT_VARIANT_PAPER, 4, 4, 7}, /* ragged tiles, window as high as the frame */
                  {VMT_VARIANT_PAPER, 3, 6, 8},
                  {VMT_VARIANT_RELEASED, 4, 6, 8}};
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        problem p;
        open_problem(&p, ctx, shapes[i].variant, shapes[i].f, shapes[i].h, shapes[i].w);
        check_gradient(&p, &p.Q, &p.dQ);
        check_gradient(&p, &p.K, &p.dK);
        p.amf_weight = 0.0; /* the window loss alone: the distance would drown it */
        check_gradient(&p, &p.K, &p.dK);
        p.amf_weight = 5.0;
        p.references[0].mask = p.track_mask = &p.mask;
        p.references[1].weight = 0.3;
        p.reference_count = 2;
        check_gradient(&p, &p.Q, &p.dQ);
        check_gradient(&p, &p.K, &p.dK);
        close_problem(&p);
    }
    test_ctx_close(ctx);
}

/* Two references: loss and gradient are the weighted sum of what each gives alone. */
static void test_two_references(void **state)
{
    const double weights[] = {0.7, 2.5};
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);
    vmt_motion_reference both[2];
    double loss[2];
    vmt_tensor grad[2];
    problem p;

    (void)state;
    open_problem(&p, ctx, VMT_VARIANT_PAPER, 3, 5, 6);
    p.track_weight = 0.0;
    both[0] = p.references[0];
    both[1] = p.references[1];
    for (int i = 0; i < 2; i++) {
        p.references[0] = both[i];
        loss[i] = evaluate(&p);
        grad[i] = take(&p, 3, p.dQ.shape);
        CHECK_OK(ctx, vmt_copy(ctx, &grad[i], &p.dQ));
        both[i].weight = weights[i];
    }
    p.references[0] = both[0];
    p.references[1] = both[1];
    p.reference_count = 2;
    assert_near(evaluate(&p), weights[0] * loss[0] + weights[1] * loss[1], 1e-9);
    for (int64_t i = 0; i < vmt_numel(&p.dQ); i++)
        assert_near(motion_get(ctx, &p.dQ, i),
                    weights[0] * motion_get(ctx, &grad[0], i) +
                        weights[1] * motion_get(ctx, &grad[1], i),
                    1e-10);
    close_problem(&p);
    test_ctx_close(ctx);
}

/* The masked loss, written out; the released arithmetic orders windowed flows tile by tile. */
static double masked_distance(const problem *p, const float *weights)
{
    const vmt_flow_geometry *g = &p->plan.geometry;
    double sum = 0.0;

    for (int64_t i = 0, index = 0; i < p->plan.frames; i++)
        for (int64_t j = i; j < p->plan.frames && j < i + p->plan.frame_span; j++, index++)
            for (int64_t token = 0; token < p->plan.tokens; token++) {
                const int64_t r = token / g->grid_w, c = token % g->grid_w;
                const int64_t tile = r / g->tile_h * (g->grid_w / g->tile_w) + c / g->tile_w;
                const int64_t inside = r % g->tile_h * g->tile_w + c % g->tile_w;
                const bool by_tile = i < j && g->positions == VMT_POSITIONS_RELEASED;
                const int64_t row = by_tile ? tile * g->tile_h * g->tile_w + inside : token;
                for (int axis = 0; axis < 2; axis++) {
                    const int64_t at = (index * p->plan.tokens + row) * 2 + axis;
                    const double off =
                        motion_get(p->ctx, &p->flow, at) - motion_get(p->ctx, &p->ref[0], at);
                    sum += (1.0 - 0.2 * (double)(j - i) / 2.0) * off * off *
                           (double)weights[i * p->plan.tokens + token];
                }
            }
    return sum / (double)p->plan.pairs;
}

static void test_masks(void **state)
{
    const enum vmt_variant both[] = {VMT_VARIANT_PAPER, VMT_VARIANT_RELEASED};
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);
    test_rng rng = {.state = 5};
    float weights[3 * 48];

    (void)state;
    for (int v = 0; v < 2; v++) {
        problem p;
        open_problem(&p, ctx, both[v], 3, 6, 8);
        const double unmasked = evaluate(&p);
        for (int i = 0; i < 3 * 48; i++)
            weights[i] = 1.0f;
        CHECK_OK(ctx, vmt_motion_mask_set(ctx, &p.plan, &p.mask, weights));
        p.references[0].mask = p.track_mask = &p.mask;
        assert_true(evaluate(&p) == unmasked);
        for (int i = 0; i < 3 * 48; i++)
            weights[i] = (float)fabs(test_uniform(&rng));
        CHECK_OK(ctx, vmt_motion_mask_set(ctx, &p.plan, &p.mask, weights));
        evaluate(&p);
        assert_near(motion_get(ctx, &p.amf, 0), masked_distance(&p, weights), 1e-5);
        close_problem(&p);
    }
    test_ctx_close(ctx);
}

/* The window loss is linear in the tiles' weights: what single tiles give adds up to the whole. */
static void test_tile_mask(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);
    double sum = 0.0;
    problem p;

    (void)state;
    open_problem(&p, ctx, VMT_VARIANT_PAPER, 3, 6, 8);
    evaluate(&p);
    const double whole = motion_get(ctx, &p.track, 0);
    p.track_mask = &p.mask;
    for (int64_t tile = 0; tile < p.plan.tiles; tile++) {
        float weights[3 * 48];
        for (int64_t i = 0; i < 3 * 48; i++)
            weights[i] = i % 48 / 8 / 3 * 2 + i % 8 / 4 == tile ? 2.0f : 0.0f;
        CHECK_OK(ctx, vmt_motion_mask_set(ctx, &p.plan, &p.mask, weights));
        evaluate(&p);
        sum += motion_get(ctx, &p.track, 0);
    }
    assert_true(whole > 0.0);
    assert_near(sum, 2.0 * whole, 1e-12);
    close_problem(&p);
    test_ctx_close(ctx);
}

static void test_bad_mask(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    float weights[3 * 48] = {0};
    problem p;

    (void)state;
    open_problem(&p, ctx, VMT_VARIANT_PAPER, 3, 6, 8);
    weights[7] = -1.0f;
    assert_int_equal(vmt_motion_mask_set(ctx, &p.plan, &p.mask, weights), VMT_E_ARG);
    weights[7] = NAN;
    assert_int_equal(vmt_motion_mask_set(ctx, &p.plan, &p.mask, weights), VMT_E_ARG);
    close_problem(&p);
    test_ctx_close(ctx);
}

static void test_pairs(void **state)
{
    vmt_motion_settings settings = motion_settings(VMT_VARIANT_PAPER);
    vmt_flow_plan plan;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    settings.max_frame_gap = 4;
    CHECK_OK(&ctx, vmt_flow_plan_make(&ctx, &plan, &settings, (int64_t[]){21, 30, 52}, 12, 128));
    assert_int_equal(plan.pairs, 78);
    assert_int_equal(plan.windowed_pairs, 57);
    assert_int_equal(plan.tiles, 130);
    int64_t i = 0, j = 0, index = 0, window = 0;
    for (vmt_frame_pair pair = vmt_frame_pair_first(&plan); vmt_frame_pair_valid(&plan, &pair);
         vmt_frame_pair_next(&plan, &pair)) {
        assert_int_equal(pair.i, i);
        assert_int_equal(pair.j, j);
        assert_int_equal(pair.index, index);
        assert_int_equal(pair.window, window);
        assert_near(pair.weight, 1.0 - 0.2 * (double)(j - i) / 3.0, 1e-7);
        index++;
        window += i < j;
        if (++j == (i + 4 < 21 ? i + 4 : 21))
            j = ++i;
    }
    assert_int_equal(index, 78);
}

/* One frame, or frames that are compared with themselves only: no windows, no window loss. */
static void test_no_windows(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    problem p;

    (void)state;
    open_problem(&p, ctx, VMT_VARIANT_PAPER, 1, 6, 8);
    assert_int_equal(p.plan.windowed_pairs, 0);
    evaluate(&p);
    assert_true(motion_get(ctx, &p.track, 0) == 0.0);
    assert_true(motion_get(ctx, &p.amf, 0) > 0.0);
    close_problem(&p);
    test_ctx_close(ctx);
}

static void test_refused(void **state)
{
    static const struct {
        enum vmt_variant variant;
        int32_t window, tile_h, tile_w, gap;
        int64_t heads;
        enum vmt_status status;
    } cases[] = {
        {VMT_VARIANT_PAPER, 5, 3, 4, 3, 12, VMT_OK},
        {VMT_VARIANT_PAPER, 4, 5, 7, 3, 7, VMT_OK},  /* the paper's takes any */
        {VMT_VARIANT_PAPER, 0, 3, 4, 3, 12, VMT_OK}, /* no windows */
        {VMT_VARIANT_PAPER, -1, 3, 4, 3, 12, VMT_E_ARG},
        {VMT_VARIANT_PAPER, 5, 0, 4, 3, 12, VMT_E_ARG},
        {VMT_VARIANT_PAPER, 5, 3, 4, 0, 12, VMT_E_ARG},
        {VMT_VARIANT_RELEASED, 5, 3, 4, 3, 12, VMT_OK},
        {VMT_VARIANT_RELEASED, 4, 3, 4, 3, 12, VMT_E_ARG},  /* even */
        {VMT_VARIANT_RELEASED, 13, 3, 4, 3, 12, VMT_E_ARG}, /* half of it is the frame */
        {VMT_VARIANT_RELEASED, 11, 3, 4, 3, 12, VMT_OK},
        {VMT_VARIANT_RELEASED, 5, 4, 4, 3, 12, VMT_E_ARG}, /* 6 rows */
        {VMT_VARIANT_RELEASED, 5, 3, 4, 3, 7, VMT_E_ARG},  /* 192 tokens */
    };
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vmt_motion_settings settings = motion_settings(cases[i].variant);
        vmt_flow_plan plan;

        settings.amf_window = cases[i].window;
        settings.amf_tile[0] = cases[i].tile_h;
        settings.amf_tile[1] = cases[i].tile_w;
        settings.max_frame_gap = cases[i].gap;
        assert_int_equal(
            vmt_flow_plan_make(&ctx, &plan, &settings, (int64_t[]){4, 6, 8}, cases[i].heads, 8),
            cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient),   cmocka_unit_test(test_two_references),
        cmocka_unit_test(test_masks),      cmocka_unit_test(test_bad_mask),
        cmocka_unit_test(test_tile_mask),  cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_no_windows), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("motion_loss", tests, NULL, NULL);
}
