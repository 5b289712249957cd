/* SPDX-License-Identifier: MIT
 *
 * Each method around the stand-in network: its gradient against differences of its loss, a stop and
 * a resume to the bit, its schedule.
 * Proven killers: a wrong sign of `moved`, `dpooled` not zeroed, a weight of flowmotion's second
 * term halved, tokens that do not move counted by ditflow.
 */
#include "motion_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FRAMES = 3, ROWS = 4, COLS = 6, HEADS = 2, HEAD_DIM = 4 };
enum { TOKENS = FRAMES * ROWS * COLS };

static const int64_t GRID[3] = {FRAMES, ROWS, COLS};
static const int64_t LATENT[4] = {2, FRAMES, 2 * ROWS, 2 * COLS};

typedef struct guided {
    vmt_ctx *ctx;
    vmt_arena arena;
    vmt_guidance guidance;
    vmt_guidance_state state;
    fake_network network;
    vmt_tap_model tap;
    vmt_tensor clean, noise, ref;
    vmt_motion_reference reference;
    vmt_guided_step step;
    int stop_after;
} guided;

static int stop(void *user, const vmt_guidance_state *state)
{
    const guided *g = user;

    return state->inner_step == g->stop_after;
}

static vmt_motion_settings settings_of(int32_t method)
{
    vmt_motion_settings s = motion_settings(VMT_VARIANT_PAPER);

    s.method = method;
    s.amf_tile[0] = 2;
    s.amf_tile[1] = 3;
    s.amf_window = 3;
    s.top_k = 5;
    s.smm_pool = 2;
    s.moft_channels = 0.5f;
    return s;
}

static void open_guided(guided *g, vmt_ctx *ctx, const vmt_motion_settings *s)
{
    test_rng rng = {.state = 99};
    vmt_arena measure = vmt_arena_measure();

    *g = (guided){.ctx = ctx};
    CHECK_OK(ctx,
             vmt_guidance_layout(ctx, &measure, &g->guidance, s, GRID, HEADS, HEAD_DIM, 4, LATENT));
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &measure, &g->state, s, 4, LATENT));
    g->arena = motion_arena(ctx, measure.peak + (1 << 18));
    CHECK_OK(ctx, vmt_guidance_layout(ctx, &g->arena, &g->guidance, s, GRID, HEADS, HEAD_DIM, 4,
                                      LATENT));
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &g->arena, &g->state, s, 4, LATENT));
    g->clean = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    g->noise = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    const vmt_tensor start = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    CHECK_OK(ctx, vmt_copy(ctx, &g->state.latent, &start));
    CHECK_OK(ctx, vmt_take(ctx, &g->arena, &g->ref, ctx->real, g->guidance.features.rank,
                           g->guidance.features.axes));
    fake_network_init(ctx, &g->arena, &g->network, TOKENS, HEADS, HEAD_DIM);
    g->tap = fake_network_tap(&g->network);
    CHECK_OK(ctx, vmt_motion_reference_features(ctx, &g->guidance, &g->tap, &g->ref, &g->clean,
                                                &g->noise, 0.5f, 500.0f));
    g->reference = (vmt_motion_reference){.features = &g->ref, .weight = 1.0};
    g->step = (vmt_guided_step){.step = 4,
                                .timestep = 900.0f,
                                .references = &g->reference,
                                .reference_count = 1,
                                .progress = stop,
                                .progress_user = g};
}

static enum vmt_status run(guided *g)
{
    return vmt_guidance_step(g->ctx, &g->guidance, &g->state, &g->tap, &g->step);
}

/* Loss at the latent as it is; the only inner step has a rate of 0. */
static double loss_at(guided *g)
{
    vmt_guidance_forget(&g->state);
    CHECK_OK(g->ctx, run(g));
    return g->state.losses.total;
}

static void test_gradient(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);

    (void)state;
    for (int32_t method = 0; method < VMT_METHOD_NONE; method++) {
        vmt_motion_settings s = settings_of(method);
        const double h = 1e-5;
        /* the velocity 0.7 x + … counts as constant: its share is not in the gradient */
        const double factor = method == VMT_METHOD_FLOWMOTION ? 1 - 0.7 * 0.9 : 1;
        double most = 0, worst = 0;
        guided g;

        s.inner_steps = 1;
        s.lr_first = s.lr_last = 0.0f;
        open_guided(&g, ctx, &s);
        loss_at(&g);
        vmt_tensor grad;
        CHECK_OK(ctx, vmt_take(ctx, &g.arena, &grad, ctx->real, 4, LATENT));
        CHECK_OK(ctx, vmt_copy(ctx, &grad, &g.state.grads[0]));
        for (int64_t i = 0; i < vmt_numel(&grad); i++)
            most = fmax(most, fabs(motion_get(ctx, &grad, i)));
        assert_true(most > 1e-6);
        for (int64_t i = 3; i < vmt_numel(&grad); i += 37) {
            const double x = motion_get(ctx, &g.state.latent, i);
            motion_set(ctx, &g.state.latent, i, x + h);
            const double above = loss_at(&g);
            motion_set(ctx, &g.state.latent, i, x - h);
            const double below = loss_at(&g);
            motion_set(ctx, &g.state.latent, i, x);
            const double want = (above - below) / (2 * h),
                         have = factor * motion_get(ctx, &grad, i);
            worst = fmax(worst, fabs(want - have) / most);
        }
        print_message("%-12s off by %.1e of the largest\n", vmt_method_at((size_t)method)->name,
                      worst);
        assert_true(worst < 1e-6);
        vmt_arena_close(ctx, &g.arena);
    }
    test_ctx_close(ctx);
}

/* Stopped inside a guided step and taken up by another run: the same bits. */
static void test_resume(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (int32_t method = 0; method < VMT_METHOD_NONE; method++) {
        const vmt_motion_settings s = settings_of(method);
        vmt_named_tensor stored[VMT_GUIDANCE_TENSORS], filled[VMT_GUIDANCE_TENSORS];
        vmt_named_count from[VMT_GUIDANCE_COUNTS], to[VMT_GUIDANCE_COUNTS];
        guided whole, first, second;

        open_guided(&whole, ctx, &s);
        CHECK_OK(ctx, run(&whole));
        open_guided(&first, ctx, &s);
        first.stop_after = 4;
        assert_int_equal(run(&first), VMT_E_CANCELLED);
        open_guided(&second, ctx, &s);
        const int64_t counts = vmt_guidance_state_counts(&first.state, from);
        vmt_guidance_state_counts(&second.state, to);
        for (int64_t i = 0; i < counts; i++)
            *to[i].value = *from[i].value;
        const int64_t count = vmt_guidance_state_tensors(&first.state, stored);
        assert_int_equal(vmt_guidance_state_tensors(&second.state, filled), count);
        for (int64_t i = 0; i < count; i++)
            CHECK_OK(ctx, vmt_copy(ctx, &filled[i].tensor, &stored[i].tensor));
        CHECK_OK(ctx, run(&second));
        assert_true(motion_equal(ctx, &whole.state.latent, &second.state.latent));
        vmt_arena_close(ctx, &whole.arena);
        vmt_arena_close(ctx, &first.arena);
        vmt_arena_close(ctx, &second.arena);
    }
    test_ctx_close(ctx);
}

/* The distance falls as the latent follows it. */
static void test_guides(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (int32_t method = 0; method < VMT_METHOD_NONE; method++) {
        vmt_motion_settings s = settings_of(method);
        guided g;

        s.lr_first = s.lr_last = 0.02f;
        s.inner_steps = 30;
        s.grad_reuse_interval = 1;
        open_guided(&g, ctx, &s);
        g.stop_after = 1;
        assert_int_equal(run(&g), VMT_E_CANCELLED);
        const double before = g.state.losses.amf;
        g.stop_after = 0;
        CHECK_OK(ctx, run(&g));
        print_message("%-12s %g -> %g\n", vmt_method_at((size_t)method)->name, before,
                      g.state.losses.amf);
        assert_true(g.state.losses.amf < 0.9 * before);
        vmt_arena_close(ctx, &g.arena);
    }
    test_ctx_close(ctx);
}

static void get(vmt_ctx *ctx, const vmt_settings *s, const char *name, const char *want)
{
    char text[64];

    CHECK_OK(ctx, vmt_settings_get(ctx, s, name, text, sizeof text));
    assert_string_equal(text, want);
}

/* The words are the methods'; a method's schedule comes with it and goes with the next. */
static void test_schedule(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_option *option = NULL;
    const vmt_method_row *row;
    vmt_settings s;
    char words[256] = "";

    (void)state;
    for (size_t i = 0; (row = vmt_method_at(i)); i++) {
        const size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "%s%s", i ? "|" : "", row->name);
    }
    for (size_t i = 0; (option = vmt_option_at(i)) && strcmp(option->name, "method") != 0; i++)
        continue;
    assert_string_equal(option->value, words);
    CHECK_OK(ctx, vmt_settings_init(ctx, &s, NULL, "paper"));
    const vmt_settings before = s;
    CHECK_OK(ctx, vmt_settings_set(ctx, &s, "method", "ditflow"));
    get(ctx, &s, "guided-steps", "11");
    get(ctx, &s, "inner-steps", "5");
    get(ctx, &s, "grad-reuse-interval", "1");
    get(ctx, &s, "lr-first", "0.002");
    get(ctx, &s, "lr-last", "0.001");
    get(ctx, &s, "logit-scale", "2");
    CHECK_OK(ctx, vmt_settings_set(ctx, &s, "method", "flowmotion"));
    get(ctx, &s, "guided-steps", "10");
    get(ctx, &s, "inner-steps", "3");
    get(ctx, &s, "lr-last", "0.003");
    get(ctx, &s, "logit-scale", "1");
    CHECK_OK(ctx, vmt_settings_set(ctx, &s, "method", "noise"));
    get(ctx, &s, "guided-steps", "0");
    get(ctx, &s, "strength", "1");
    get(ctx, &s, "init", "noise");
    CHECK_OK(ctx, vmt_settings_set(ctx, &s, "method", "fastvmt"));
    for (size_t i = 0; (option = vmt_option_at(i)); i++) {
        char text[64];
        if (!strcmp(option->value, "TEXT"))
            continue;
        CHECK_OK(ctx, vmt_settings_get(ctx, &before, option->name, text, sizeof text));
        get(ctx, &s, option->name, text);
    }
    test_ctx_close(ctx);
}

static void test_refused(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_arena measure = vmt_arena_measure();
    const int64_t one_frame[3] = {1, ROWS, COLS};
    vmt_guidance g;

    (void)state;
    for (int32_t method = -1; method <= VMT_METHOD_COUNT; method++) {
        vmt_motion_settings s = settings_of(method);
        const bool hidden = method == VMT_METHOD_MOFT || method == VMT_METHOD_SMM;
        if (method < 0 || method == VMT_METHOD_COUNT)
            assert_int_equal(
                vmt_guidance_layout(ctx, &measure, &g, &s, GRID, HEADS, HEAD_DIM, 4, LATENT),
                VMT_E_ARG);
        if (hidden)
            assert_int_equal(
                vmt_guidance_layout(ctx, &measure, &g, &s, one_frame, HEADS, HEAD_DIM, 4, LATENT),
                VMT_E_ARG);
        s.variant = VMT_VARIANT_RELEASED;
        if (method > 0 && method < VMT_METHOD_NONE)
            assert_int_equal(
                vmt_guidance_layout(ctx, &measure, &g, &s, GRID, HEADS, HEAD_DIM, 4, LATENT),
                VMT_E_ARG);
    }
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_guides),   cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("methods", tests, NULL, NULL);
}
