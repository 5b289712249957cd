/* SPDX-License-Identifier: MIT
 *
 * The guided step around a stand-in network: what is computed when, what a stop and a resume leave,
 * what is refused.
 * Proven killers: `inner_step % interval` -> `inner_step` in guidance.c; moments not zeroed at
 * inner step 0; `.step = inner_step` without + 1; `text` of the reference.
 */
#include "motion_fixture.h"

#include <math.h>
#include <string.h>

enum { FRAMES = 3, ROWS = 4, COLS = 6, HEADS = 2, HEAD_DIM = 4, REFERENCES = 1 };
enum { TOKENS = FRAMES * ROWS * COLS };

static const int64_t GRID[3] = {FRAMES, ROWS, COLS};
/* 16 channels of 1x2x2 patches would be 64 values a token; here HEADS * HEAD_DIM */
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
    int calls, stop_after; /* of the progress callback */
    double first_total, last_total;
} guided;

static vmt_motion_settings settings(void)
{
    vmt_motion_settings s = motion_settings(VMT_VARIANT_PAPER);

    s.amf_tile[0] = 2;
    s.amf_tile[1] = 3;
    s.amf_window = 3;
    return s;
}

static int progress(void *user, const vmt_guidance_state *state)
{
    guided *g = user;

    g->calls++;
    assert_false(isnan(state->losses.total));
    if (state->inner_step == 1)
        g->first_total = state->losses.total;
    g->last_total = state->losses.total;
    return g->calls == g->stop_after;
}

static void open_guided(guided *g, vmt_ctx *ctx, const vmt_motion_settings *s)
{
    test_rng rng = {.state = 99};
    vmt_arena measure = vmt_arena_measure();

    *g = (guided){.ctx = ctx};
    CHECK_OK(ctx,
             vmt_guidance_layout(ctx, &measure, &g->guidance, s, GRID, HEADS, HEAD_DIM, 4, LATENT));
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &measure, &g->state, 4, LATENT));
    g->arena = motion_arena(ctx, measure.peak + (1 << 16));
    CHECK_OK(ctx, vmt_guidance_layout(ctx, &g->arena, &g->guidance, s, GRID, HEADS, HEAD_DIM, 4,
                                      LATENT));
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &g->arena, &g->state, 4, LATENT));
    assert_int_equal(g->arena.used, measure.used); /* what was measured is what is used */
    g->clean = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    g->noise = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    const vmt_tensor start = motion_random(ctx, &g->arena, &rng, 1.0, 4, LATENT);
    CHECK_OK(ctx, vmt_copy(ctx, &g->state.latent, &start));
    CHECK_OK(ctx, vmt_take(ctx, &g->arena, &g->ref, ctx->real, 3, g->guidance.features.axes));
    fake_network_init(ctx, &g->arena, &g->network, TOKENS, HEADS, HEAD_DIM);
    g->tap = fake_network_tap(&g->network);
    CHECK_OK(ctx, vmt_motion_reference_features(ctx, &g->guidance, &g->tap, &g->ref, &g->clean,
                                                &g->noise, 0.5f, 500.0f));
    g->reference = (vmt_motion_reference){.features = &g->ref, .weight = 1.0};
    g->step = (vmt_guided_step){.step = 4,
                                .timestep = 900.0f,
                                .references = &g->reference,
                                .reference_count = REFERENCES,
                                .progress = progress,
                                .progress_user = g};
}

static void close_guided(guided *g)
{
    vmt_arena_close(g->ctx, &g->arena);
}

static enum vmt_status run(guided *g)
{
    return vmt_guidance_step(g->ctx, &g->guidance, &g->state, &g->tap, &g->step);
}

static void test_guides(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_motion_settings s = settings();
    guided g;

    (void)state;
    s.lr_first = s.lr_last = 0.02f;
    s.inner_steps = 30;
    open_guided(&g, ctx, &s);
    CHECK_OK(ctx, run(&g));
    assert_int_equal(g.calls, 30);
    assert_int_equal(g.state.inner_step, 30);
    print_message("loss %g -> %g\n", g.first_total, g.last_total);
    assert_true(g.last_total < 0.8 * g.first_total);
    CHECK_OK(ctx, run(&g)); /* done already: nothing happens */
    assert_int_equal(g.calls, 30);
    close_guided(&g);
    test_ctx_close(ctx);
}

/* Gradients at j = 0, 3, 6, 9 with interval 3; each forward sees the prompt, the reference none. */
static void test_gradient_reuse(void **state)
{
    const struct {
        int32_t interval;
        int gradients;
    } cases[] = {{1, 10}, {3, 4}, {5, 2}, {10, 1}, {99, 1}};
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vmt_motion_settings s = settings();
        guided g;

        s.grad_reuse_interval = cases[i].interval;
        open_guided(&g, ctx, &s);
        assert_int_equal(g.network.last_text, VMT_TAP_EMPTY);
        assert_int_equal(g.network.kept, 0);
        CHECK_OK(ctx, run(&g));
        assert_int_equal(g.network.last_text, VMT_TAP_PROMPT);
        assert_true(g.network.last_timestep == 900.0f);
        assert_int_equal(g.network.kept, cases[i].gradients);
        assert_int_equal(g.network.backwards, cases[i].gradients);
        assert_int_equal(g.network.forwards, 1 + cases[i].gradients);
        close_guided(&g);
    }
    test_ctx_close(ctx);
}

/* AdamW starts anew in each denoising step.  While one gradient is reused, its moments stay those
 * of that gradient, so each move is decay, then the rate times the gradient's sign. */
static void test_moves(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);
    vmt_motion_settings s = settings();
    guided g;
    vmt_tensor before;

    (void)state;
    s.inner_steps = s.grad_reuse_interval = 3;
    open_guided(&g, ctx, &s);
    CHECK_OK(ctx, vmt_take(ctx, &g.arena, &before, ctx->real, 4, LATENT));
    for (int step = 0; step < 3; step++) {
        int moved = 0;
        vmt_guidance_rewind(&g.state);
        CHECK_OK(ctx, vmt_copy(ctx, &before, &g.state.latent));
        CHECK_OK(ctx, run(&g));
        for (int64_t i = 0; i < vmt_numel(&before); i++) {
            const double grad = motion_get(ctx, &g.state.grad, i);
            double want = motion_get(ctx, &before, i);
            if (fabs(grad) < 1e-3)
                continue;
            for (int j = 0; j < 3; j++) {
                const double lr = 0.003 - 0.001 * j / 3.0;
                want = want * (1.0 - lr * 0.01) - (grad > 0.0 ? lr : -lr);
            }
            moved++;
            assert_true(fabs(motion_get(ctx, &g.state.latent, i) - want) < 1e-6);
        }
        assert_true(moved > 100);
    }
    close_guided(&g);
    test_ctx_close(ctx);
}

/* Stopped after any inner step, stored, and taken up by another run: the same bits. */
static void test_resume(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_motion_settings s = settings();
    guided whole;

    (void)state;
    open_guided(&whole, ctx, &s);
    CHECK_OK(ctx, run(&whole));
    for (int stop = 1; stop <= s.inner_steps; stop++) {
        vmt_named_tensor stored[VMT_GUIDANCE_TENSORS], filled[VMT_GUIDANCE_TENSORS];
        guided first, second;

        open_guided(&first, ctx, &s);
        first.stop_after = stop;
        assert_int_equal(run(&first), VMT_E_CANCELLED);
        assert_int_equal(first.state.inner_step, stop);
        open_guided(&second, ctx, &s);
        CHECK_OK(ctx, vmt_zero(ctx, &second.state.latent));
        second.state.inner_step = first.state.inner_step;
        const int64_t count = vmt_guidance_state_tensors(&first.state, stored);
        assert_int_equal(vmt_guidance_state_tensors(&second.state, filled), count);
        for (int64_t i = 0; i < count; i++) {
            assert_string_equal(stored[i].name, filled[i].name);
            CHECK_OK(ctx, vmt_copy(ctx, &filled[i].tensor, &stored[i].tensor));
        }
        second.step.progress = NULL; /* losses are unknown until the next gradient */
        CHECK_OK(ctx, run(&second));
        assert_true(motion_equal(ctx, &whole.state.latent, &second.state.latent));
        close_guided(&first);
        close_guided(&second);
    }
    close_guided(&whole);
    test_ctx_close(ctx);
}

static void test_cancelled(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_motion_settings s = settings();
    guided g;

    (void)state;
    open_guided(&g, ctx, &s);
    vmt_cancel(ctx);
    assert_int_equal(run(&g), VMT_E_CANCELLED);
    assert_int_equal(g.state.inner_step, 0);
    close_guided(&g);
    test_ctx_close(ctx);
}

static void test_not_finite(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_motion_settings s = settings();
    guided g;

    (void)state;
    open_guided(&g, ctx, &s);
    g.stop_after = 3;
    assert_int_equal(run(&g), VMT_E_CANCELLED);
    g.stop_after = 0;
    motion_set(ctx, &g.state.latent, 17, NAN);
    assert_int_equal(run(&g), VMT_E_NUMERIC);
    assert_non_null(strstr(ctx->message, "step 4, inner step 3"));
    close_guided(&g);
    test_ctx_close(ctx);
}

/* ref_time: at the step's sigma, or clean at timestep 0 whatever the step. */
static void test_reference_time(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_motion_settings s = settings();
    vmt_tensor at[2];
    guided g;

    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        const float sigmas[] = {0.9f, 0.4f};

        s.ref_time = clean ? VMT_REF_CLEAN : VMT_REF_STEP;
        open_guided(&g, ctx, &s);
        for (int i = 0; i < 2; i++) {
            CHECK_OK(ctx, vmt_take(ctx, &g.arena, &at[i], ctx->real, 3, g.ref.shape));
            CHECK_OK(ctx, vmt_motion_reference_features(ctx, &g.guidance, &g.tap, &at[i], &g.clean,
                                                        &g.noise, sigmas[i], 1000.0f * sigmas[i]));
            assert_true(g.network.last_timestep == (clean ? 0.0f : 1000.0f * sigmas[i]));
        }
        assert_int_equal(motion_equal(ctx, &at[0], &at[1]), clean);
        close_guided(&g);
    }
    test_ctx_close(ctx);
}

static void test_until(void **state)
{
    const float sigmas[] = {0.9f, 0.8f, 0.6f, 0.3f};
    vmt_motion_settings s = settings();

    (void)state;
    s.guided_steps = 2;
    assert_true(vmt_guidance_until(&s, sigmas, 4) == 0.8f);
    s.guided_steps = 9;
    assert_true(vmt_guidance_until(&s, sigmas, 4) == 0.3f);
    s.guided_steps = 0;
    assert_true(isinf(vmt_guidance_until(&s, sigmas, 4)));
    s.guide_until = 0.5f; /* wins */
    assert_true(vmt_guidance_until(&s, sigmas, 4) == 0.5f);
}

static void test_refused(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_arena measure = vmt_arena_measure();
    vmt_motion_settings bad[5];
    vmt_guidance g;

    (void)state;
    for (int i = 0; i < 5; i++)
        bad[i] = settings();
    bad[0].inner_steps = -1;
    bad[1].grad_reuse_interval = 0;
    bad[2].beta2 = 1.0f;
    bad[3].adam_eps = 0.0f;
    bad[4].amf_tile[1] = 0;
    for (int i = 0; i < 5; i++)
        assert_int_equal(
            vmt_guidance_layout(ctx, &measure, &g, &bad[i], GRID, HEADS, HEAD_DIM, 4, LATENT),
            VMT_E_ARG);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guides),         cmocka_unit_test(test_gradient_reuse),
        cmocka_unit_test(test_moves),          cmocka_unit_test(test_resume),
        cmocka_unit_test(test_cancelled),      cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_reference_time), cmocka_unit_test(test_until),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("guidance", tests, NULL, NULL);
}
