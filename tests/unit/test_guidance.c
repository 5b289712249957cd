/* SPDX-License-Identifier: MIT
 *
 * The guided step around a stand-in network: what is computed when, what a stop and a resume leave,
 * what is refused.
 * Proven killers: `inner_step % interval` -> `inner_step` in reuse.c; moments not zeroed at
 * adamw_steps 0; `.step = adamw_steps` without + 1; `text` of the reference.
 */
#include "motion_fixture.h"

#include "motion/reuse.h"

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
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &measure, &g->state, s, 4, LATENT));
    g->arena = motion_arena(ctx, measure.peak + (1 << 16));
    CHECK_OK(ctx, vmt_guidance_layout(ctx, &g->arena, &g->guidance, s, GRID, HEADS, HEAD_DIM, 4,
                                      LATENT));
    CHECK_OK(ctx, vmt_guidance_state_layout(ctx, &g->arena, &g->state, s, 4, LATENT));
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
        vmt_guidance_rewind(&g.state, &s);
        CHECK_OK(ctx, vmt_copy(ctx, &before, &g.state.latent));
        CHECK_OK(ctx, run(&g));
        for (int64_t i = 0; i < vmt_numel(&before); i++) {
            const double grad = motion_get(ctx, &g.state.grads[0], i);
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

/* ---- reuse over guided steps */

enum { GUIDED = 3, INNER = 4 };

/* Goes on to the end of the last of three guided steps, whose timesteps differ, or to the stop. */
static enum vmt_status run_all(guided *g, int *at)
{
    for (; *at < GUIDED; ++*at) {
        g->step.timestep = 900.0f - 200.0f * (float)*at;
        const enum vmt_status status = run(g);
        if (status != VMT_OK)
            return status;
        if (*at + 1 < GUIDED)
            vmt_guidance_rewind(&g->state, &g->guidance.settings);
    }
    return VMT_OK;
}

static vmt_motion_settings reusing(enum vmt_reuse reuse, int32_t interval, int32_t steps)
{
    vmt_motion_settings s = settings();

    s.inner_steps = INNER;
    s.lr_first = s.lr_last = 0.05f;
    s.reuse = (int32_t)reuse;
    s.grad_reuse_interval = interval;
    s.reuse_steps = steps;
    s.reuse_cosine = 0.5f;
    return s;
}

static void test_modes_count(void **state)
{
    const struct {
        enum vmt_reuse reuse;
        int32_t interval, steps;
        int gradients; /* of 3 guided steps with 4 inner steps */
    } cases[] = {
        {VMT_REUSE_NONE, 3, 9, 12}, {VMT_REUSE_INNER, 3, 9, 6},    {VMT_REUSE_INNER, 1, 9, 12},
        {VMT_REUSE_INNER, 9, 9, 3}, {VMT_REUSE_STEPS, 3, 1, 6},    {VMT_REUSE_STEPS, 1, 2, 8},
        {VMT_REUSE_STEPS, 3, 2, 4}, {VMT_REUSE_STEPS, 9, 2, 2},    {VMT_REUSE_STEPS, 2, 3, 2},
        {VMT_REUSE_STEPS, 4, 9, 1}, {VMT_REUSE_ADAPTIVE, 2, 1, 6},
    };
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vmt_motion_settings s = reusing(cases[i].reuse, cases[i].interval, cases[i].steps);
        guided g;
        int at = 0;

        open_guided(&g, ctx, &s);
        CHECK_OK(ctx, run_all(&g, &at));
        assert_int_equal(g.network.backwards, cases[i].gradients);
        assert_int_equal(g.state.computed, cases[i].gradients);
        assert_int_equal(vmt_reuse_gradients(&s, GUIDED), cases[i].gradients);
        assert_int_equal(g.calls, GUIDED * INNER);
        close_guided(&g);
    }
    test_ctx_close(ctx);
}

static bool same_end(vmt_ctx *ctx, const vmt_motion_settings *a, const vmt_motion_settings *b)
{
    guided g[2];
    int at[2] = {0};

    open_guided(&g[0], ctx, a);
    open_guided(&g[1], ctx, b);
    CHECK_OK(ctx, run_all(&g[0], &at[0]));
    CHECK_OK(ctx, run_all(&g[1], &at[1]));
    const bool same = motion_equal(ctx, &g[0].state.latent, &g[1].state.latent);
    close_guided(&g[0]);
    close_guided(&g[1]);
    return same;
}

/* Where two modes compute at the same inner steps they are the same run. */
static void test_modes_meet(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_motion_settings none = reusing(VMT_REUSE_NONE, 3, 3);
    const vmt_motion_settings inner1 = reusing(VMT_REUSE_INNER, 1, 3);
    const vmt_motion_settings inner3 = reusing(VMT_REUSE_INNER, 3, 3);
    const vmt_motion_settings steps31 = reusing(VMT_REUSE_STEPS, 3, 1);
    const vmt_motion_settings steps32 = reusing(VMT_REUSE_STEPS, 3, 2);
    const vmt_motion_settings adaptive31 = reusing(VMT_REUSE_ADAPTIVE, 3, 1);

    (void)state;
    assert_true(same_end(ctx, &none, &inner1));
    assert_true(same_end(ctx, &inner3, &steps31));
    assert_true(same_end(ctx, &inner3, &adaptive31));
    assert_false(same_end(ctx, &inner3, &steps32));
    assert_false(same_end(ctx, &none, &inner3));
    test_ctx_close(ctx);
}

/* What a guided step takes again is what was computed at the same inner step. */
static int keep_gradients(void *user, const vmt_guidance_state *state)
{
    guided *g = user;
    const int64_t slot = vmt_reuse_slot(&g->guidance.settings, state->inner_step - 1);

    assert_int_equal(slot, (state->inner_step - 1) / 2);
    assert_int_equal(state->age[slot], 1 + g->calls++ / INNER);
    return 0;
}

static void test_slots(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const vmt_motion_settings s = reusing(VMT_REUSE_STEPS, 2, 3);
    vmt_tensor first[2];
    guided g;

    (void)state;
    open_guided(&g, ctx, &s);
    assert_int_equal(g.state.slots, 2);
    g.step.progress = keep_gradients;
    for (int at = 0; at < GUIDED; at++) {
        CHECK_OK(ctx, run(&g));
        for (int i = 0; i < 2 && !at; i++) {
            CHECK_OK(ctx, vmt_take(ctx, &g.arena, &first[i], ctx->real, 4, LATENT));
            CHECK_OK(ctx, vmt_copy(ctx, &first[i], &g.state.grads[i]));
        }
        for (int i = 0; i < 2; i++)
            assert_true(motion_equal(ctx, &g.state.grads[i], &first[i]));
        vmt_guidance_rewind(&g.state, &s);
    }
    assert_false(motion_equal(ctx, &first[0], &first[1]));
    close_guided(&g);
    test_ctx_close(ctx);
}

static void test_expected_turn(void **state)
{
    (void)state;
    assert_int_equal(vmt_reuse_expect(0.9, 2, 0.9, 99), 2);
    assert_int_equal(vmt_reuse_expect(0.9, 2, 0.8, 99), 4);
    assert_int_equal(vmt_reuse_expect(0.8, 4, 0.89, 99), 2);
    assert_int_equal(vmt_reuse_expect(0.99, 2, 0.5, 99), 4); /* twice at most */
    assert_int_equal(vmt_reuse_expect(0.99, 8, 0.5, 5), 5);  /* the bound */
    assert_int_equal(vmt_reuse_expect(1.0, 3, 0.5, 99), 6);
    assert_int_equal(vmt_reuse_expect(0.1, 1, 0.9, 99), 1);
    assert_int_equal(vmt_reuse_expect(0.0, 9, 0.9, 99), 1);
    assert_int_equal(vmt_reuse_expect(-0.4, 9, 0.9, 99), 1);
    assert_int_equal(vmt_reuse_expect((double)NAN, 9, 0.9, 99), 1);
    const float a[] = {3, 4, 0}, b[] = {0, 8, 6}, zero[3] = {0};
    assert_true(fabs(vmt_cosine(a, b, 3) - 0.64) < 1e-15);
    assert_true(vmt_cosine(a, zero, 3) == 0.0);
}

/* No gradient serves more guided steps than reuse_steps, whatever the threshold; a strict one
 * computes more. */
static int watch_staleness(void *user, const vmt_guidance_state *state)
{
    guided *g = user;

    for (int64_t i = 0; i < state->slots; i++)
        assert_true(state->age[i] <= g->guidance.settings.reuse_steps);
    return 0;
}

static void test_staleness(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    const float cosines[] = {0.001f, 0.5f, 0.999f};
    int64_t computed[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        vmt_motion_settings s = reusing(VMT_REUSE_ADAPTIVE, 2, 2);
        guided g;

        s.reuse_cosine = cosines[i];
        open_guided(&g, ctx, &s);
        g.step.progress = watch_staleness;
        for (int at = 0; at < 8; at++) {
            g.step.timestep = 900.0f - 50.0f * (float)at;
            CHECK_OK(ctx, run(&g));
            vmt_guidance_rewind(&g.state, &s);
        }
        CHECK_OK(ctx, vmt_require_finite(ctx, &g.state.latent, "latent"));
        computed[i] = g.state.computed;
        print_message("least cosine %g: %d gradients\n", (double)cosines[i], (int)computed[i]);
        assert_int_equal(computed[i], g.network.backwards);
        assert_true(computed[i] <= vmt_reuse_gradients(&s, 8));
        close_guided(&g);
    }
    assert_true(computed[0] >= 2 * (1 + 8 / 2)); /* guided steps 0, 1, 3, 5, 7 at the least */
    assert_true(computed[0] <= computed[1] && computed[1] <= computed[2]);
    assert_true(computed[2] > computed[0]);
    test_ctx_close(ctx);
}

/* Its first move is the rate times the sign of the gradient: the gradient's size does not count
 * when AdamW begins anew.  (A power of two changes no rounding but that of eps.) */
static void test_scale(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);
    double worst[2] = {0};

    (void)state;
    for (int carry = 0; carry < 2; carry++) {
        guided g[2];
        for (int i = 0; i < 2; i++) {
            vmt_motion_settings s = reusing(VMT_REUSE_INNER, 2, 1);
            int at = 0;
            s.adamw_state = carry;
            s.adam_eps = 1e-30f;
            open_guided(&g[i], ctx, &s);
            for (; at < GUIDED; at++) { /* the scale changes after the first guided step */
                g[i].guidance.settings.amf_weight = at && i ? 5.0f * 64 : 5.0f;
                g[i].guidance.settings.track_weight = at && i ? 64.0f : 1.0f;
                CHECK_OK(ctx, run(&g[i]));
                vmt_guidance_rewind(&g[i].state, &s);
            }
        }
        for (int64_t k = 0; k < vmt_numel(&g[0].state.latent); k++) {
            const double d = fabs(motion_get(ctx, &g[0].state.latent, k) -
                                  motion_get(ctx, &g[1].state.latent, k));
            worst[carry] = d > worst[carry] ? d : worst[carry];
        }
        close_guided(&g[0]);
        close_guided(&g[1]);
    }
    print_message("largest change by a scale of 64: reset %g, carried %g\n", worst[0], worst[1]);
    assert_true(worst[0] < 1e-9);
    assert_true(worst[1] > 1e-3);
    test_ctx_close(ctx);
}

static void test_carried_moments(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_motion_settings s = reusing(VMT_REUSE_INNER, 2, 1);
    vmt_named_tensor tensors[VMT_GUIDANCE_TENSORS];
    guided g;
    int at = 0;

    (void)state;
    for (int carry = 0; carry < 2; carry++) {
        s.adamw_state = carry;
        at = 0;
        open_guided(&g, ctx, &s);
        CHECK_OK(ctx, run_all(&g, &at));
        assert_int_equal(g.state.adamw_steps, carry ? GUIDED * INNER : INNER);
        vmt_guidance_rewind(&g.state, &s);
        assert_int_equal(vmt_guidance_state_tensors(&g.state, tensors), carry ? 3 : 1);
        vmt_guidance_forget(&g.state);
        assert_int_equal(vmt_guidance_state_tensors(&g.state, tensors), 1);
        assert_int_equal(g.state.computed, 6);
        close_guided(&g);
    }
    test_ctx_close(ctx);
}

/* Stopped after any inner step of any guided step, stored, and taken up by another run: the same
 * bits, in each mode. */
static void check_resume(vmt_ctx *ctx, const vmt_motion_settings *s)
{
    guided whole;
    int at = 0;

    open_guided(&whole, ctx, s);
    CHECK_OK(ctx, run_all(&whole, &at));
    for (int stop = 1; stop <= GUIDED * INNER; stop++) {
        vmt_named_tensor stored[VMT_GUIDANCE_TENSORS], filled[VMT_GUIDANCE_TENSORS];
        vmt_named_count from[VMT_GUIDANCE_COUNTS], to[VMT_GUIDANCE_COUNTS];
        guided first, second;

        open_guided(&first, ctx, s);
        first.stop_after = stop;
        at = 0;
        assert_int_equal(run_all(&first, &at), VMT_E_CANCELLED);
        assert_int_equal(at * INNER + first.state.inner_step, stop);
        open_guided(&second, ctx, s);
        CHECK_OK(ctx, vmt_zero(ctx, &second.state.latent));
        const int64_t counts = vmt_guidance_state_counts(&first.state, from);
        assert_int_equal(vmt_guidance_state_counts(&second.state, to), counts);
        for (int64_t i = 0; i < counts; i++)
            *to[i].value = *from[i].value;
        const int64_t count = vmt_guidance_state_tensors(&first.state, stored);
        assert_int_equal(vmt_guidance_state_tensors(&second.state, filled), count);
        for (int64_t i = 0; i < count; i++) {
            assert_string_equal(stored[i].name, filled[i].name);
            CHECK_OK(ctx, vmt_copy(ctx, &filled[i].tensor, &stored[i].tensor));
        }
        second.step.progress = NULL; /* losses are unknown until the next gradient */
        CHECK_OK(ctx, run_all(&second, &at));
        assert_true(motion_equal(ctx, &whole.state.latent, &second.state.latent));
        assert_int_equal(whole.state.computed, second.state.computed);
        close_guided(&first);
        close_guided(&second);
    }
    close_guided(&whole);
}

static void test_resume(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (int32_t reuse = VMT_REUSE_INNER; reuse <= VMT_REUSE_ADAPTIVE; reuse++)
        for (int32_t carry = 0; carry < 2; carry++) {
            vmt_motion_settings s = reusing((enum vmt_reuse)reuse, 3, 2);
            s.adamw_state = carry;
            s.reuse_cosine = 0.9f;
            check_resume(ctx, &s);
        }
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
    vmt_motion_settings bad[9];
    vmt_guidance g;

    (void)state;
    for (int i = 0; i < 9; i++)
        bad[i] = settings();
    bad[0].inner_steps = -1;
    bad[1].grad_reuse_interval = 0;
    bad[2].beta2 = 1.0f;
    bad[3].adam_eps = 0.0f;
    bad[4].amf_tile[1] = 0;
    bad[5].reuse = 4;
    bad[6] = reusing(VMT_REUSE_ADAPTIVE, 3, 2);
    bad[6].reuse_cosine = 1.0f;
    bad[7] = reusing(VMT_REUSE_STEPS, 3, 0);
    bad[8] = reusing(VMT_REUSE_STEPS, 3, 2); /* more gradients of a step than are kept */
    bad[8].inner_steps = 3 * VMT_GUIDANCE_SLOTS + 1;
    for (int i = 0; i < 9; i++)
        assert_int_equal(
            vmt_guidance_layout(ctx, &measure, &g, &bad[i], GRID, HEADS, HEAD_DIM, 4, LATENT),
            VMT_E_ARG);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guides),          cmocka_unit_test(test_gradient_reuse),
        cmocka_unit_test(test_moves),           cmocka_unit_test(test_resume),
        cmocka_unit_test(test_modes_count),     cmocka_unit_test(test_modes_meet),
        cmocka_unit_test(test_expected_turn),   cmocka_unit_test(test_staleness),
        cmocka_unit_test(test_slots),           cmocka_unit_test(test_scale),
        cmocka_unit_test(test_carried_moments), cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_not_finite),      cmocka_unit_test(test_reference_time),
        cmocka_unit_test(test_until),           cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("guidance", tests, NULL, NULL);
}
