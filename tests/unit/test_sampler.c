/* SPDX-License-Identifier: MIT
 *
 * Samplers: stop and resume, exactness on a known clean latent, refused schedules.  Values are
 * checked in tests/golden/test_golden_sampler.c.
 */
#include "motion_fixture.h"

#include "sampler/sampler.h"

#include <math.h>

static const enum vmt_sampler KINDS[] = {VMT_SAMPLER_EULER, VMT_SAMPLER_UNIPC, VMT_SAMPLER_DPMPP};
static const int64_t SHAPE[4] = {2, 3, 4, 5};

typedef struct toy {
    vmt_ctx *ctx;
    vmt_arena arena;
    vmt_sampler_state sampler;
    vmt_tensor x, velocity, clean;
} toy;

static void open_toy(toy *t, vmt_ctx *ctx, enum vmt_sampler kind, int64_t steps)
{
    test_rng rng = {.state = 11};

    *t = (toy){.ctx = ctx, .arena = motion_arena(ctx, 1 << 16)};
    CHECK_OK(ctx, vmt_sampler_open(ctx, &t->sampler, kind, steps, 5.0, 1.0));
    CHECK_OK(ctx, vmt_sampler_layout(ctx, &t->arena, &t->sampler, 4, SHAPE));
    t->x = motion_random(ctx, &t->arena, &rng, 1.0, 4, SHAPE);
    t->clean = motion_random(ctx, &t->arena, &rng, 1.0, 4, SHAPE);
    t->velocity = motion_random(ctx, &t->arena, &rng, 1.0, 4, SHAPE);
}

static void close_toy(toy *t)
{
    vmt_sampler_close(&t->sampler);
    vmt_arena_close(t->ctx, &t->arena);
}

/* A velocity that depends on x and sigma: that of a network whose estimate is clean + 0.3 sigma x.
 */
static void step(toy *t)
{
    const double sigma = (double)t->sampler.sigmas[t->sampler.step];

    CHECK_OK(t->ctx, vmt_lincomb(t->ctx, &t->velocity, &t->x, &t->clean,
                                 (1.0 - 0.3 * sigma) / sigma, -1.0 / sigma));
    CHECK_OK(t->ctx, vmt_sampler_step(t->ctx, &t->sampler, &t->x, &t->velocity));
}

static void test_resume(void **state)
{
    enum { STEPS = 6 };
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (int k = 0; k < 3; k++) {
        toy whole;
        open_toy(&whole, ctx, KINDS[k], STEPS);
        for (int i = 0; i < STEPS; i++)
            step(&whole);
        for (int stop = 0; stop <= STEPS; stop++) {
            vmt_named_tensor stored[VMT_SAMPLER_MAX_LATENTS], filled[VMT_SAMPLER_MAX_LATENTS];
            toy first, second;

            open_toy(&first, ctx, KINDS[k], STEPS);
            open_toy(&second, ctx, KINDS[k], STEPS);
            for (int i = 0; i < stop; i++)
                step(&first);
            second.sampler.step = first.sampler.step;
            const int64_t count = vmt_sampler_latents(&first.sampler, stored);
            assert_true(count <= VMT_SAMPLER_MAX_LATENTS);
            assert_int_equal(vmt_sampler_latents(&second.sampler, filled), count);
            CHECK_OK(ctx, vmt_copy(ctx, &second.x, &first.x));
            for (int64_t i = 0; i < count; i++) {
                assert_string_equal(stored[i].name, filled[i].name);
                CHECK_OK(ctx, vmt_copy(ctx, &filled[i].tensor, &stored[i].tensor));
            }
            for (int i = stop; i < STEPS; i++)
                step(&second);
            assert_true(motion_equal(ctx, &whole.x, &second.x));
            close_toy(&first);
            close_toy(&second);
        }
        close_toy(&whole);
    }
    test_ctx_close(ctx);
}

/* If the network always points at one clean latent, every sampler arrives there. */
static void test_arrives(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref64", NULL);

    (void)state;
    for (int k = 0; k < 3; k++)
        for (int64_t steps = 1; steps <= 5; steps++) {
            toy t;
            open_toy(&t, ctx, KINDS[k], steps);
            for (int64_t i = 0; i < steps; i++) {
                const double sigma = (double)t.sampler.sigmas[i];
                CHECK_OK(ctx,
                         vmt_lincomb(ctx, &t.velocity, &t.x, &t.clean, 1.0 / sigma, -1.0 / sigma));
                CHECK_OK(ctx, vmt_sampler_step(ctx, &t.sampler, &t.x, &t.velocity));
            }
            for (int64_t i = 0; i < vmt_numel(&t.x); i++)
                assert_true(fabs(motion_get(ctx, &t.x, i) - motion_get(ctx, &t.clean, i)) < 1e-6);
            assert_int_equal(vmt_sampler_step(ctx, &t.sampler, &t.x, &t.velocity),
                             VMT_E_INTERNAL); /* no step is left */
            close_toy(&t);
        }
    test_ctx_close(ctx);
}

static void test_refused(void **state)
{
    static const struct {
        int64_t steps;
        double shift, strength;
        enum vmt_status status;
    } cases[] = {
        {50, 7.0, 0.75, VMT_OK},    {0, 7.0, 0.75, VMT_E_ARG},   {-3, 7.0, 0.75, VMT_E_ARG},
        {50, 0.0, 0.75, VMT_E_ARG}, {50, -1.0, 0.75, VMT_E_ARG}, {50, NAN, 0.75, VMT_E_ARG},
        {50, 7.0, 0.0, VMT_E_ARG},  {50, 7.0, 1.01, VMT_E_ARG},  {50, 7.0, NAN, VMT_E_ARG},
        {50, 1e9, 0.75, VMT_E_ARG}, /* sigmas round to one value */
    };
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int k = 0; k < 3; k++) {
            vmt_sampler_state s;
            assert_int_equal(vmt_sampler_open(&ctx, &s, KINDS[k], cases[i].steps, cases[i].shift,
                                              cases[i].strength),
                             cases[i].status);
            vmt_sampler_close(&s); /* also after a failure */
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_arrives),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
