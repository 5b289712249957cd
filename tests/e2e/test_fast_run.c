/* SPDX-License-Identifier: MIT
 *
 * What a run leaves out: steps that reuse what others computed, passes of the negative prompt, and
 * the mode that sets such switches.
 */
#include "testing.h"

#include "fastvmt/fastvmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 48, HEIGHT = 32, FRAMES = 5, STEPS = 9 };

/* Of one backend. */
typedef struct rig {
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_clip reference;
} rig;

typedef struct outcome {
    vmt_clip clip;
    int64_t forwards, reused;
    int64_t stop; /* after so many steps; -1: never */
} outcome;

static bool open_rig(rig *r, const char *backend)
{
    if (!test_backend_built(backend, "f32"))
        return false;
    r->ctx = test_ctx_open(backend, "f32");
    CHECK_OK(r->ctx, vmt_model_open(r->ctx, &r->model,
                                    &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    CHECK_OK(r->ctx, vmt_clip_new(r->ctx, &r->reference, FRAMES, HEIGHT, WIDTH, 8));
    for (int64_t i = 0; i < FRAMES * HEIGHT * WIDTH * 3; i++)
        r->reference.pixels[i] = (uint8_t)(i / 7 + i / (HEIGHT * WIDTH * 3) * 11);
    return true;
}

static void close_rig(rig *r)
{
    vmt_clip_free(&r->reference);
    vmt_model_close(r->ctx, r->model);
    test_ctx_close(r->ctx);
}

static vmt_settings settings_with(rig *r, const char *options)
{
    vmt_settings s;
    char copy[256];

    CHECK_OK(r->ctx, vmt_settings_init(r->ctx, &s, r->model, NULL));
    s.steps = STEPS;
    s.motion.guided_steps = s.motion.inner_steps = 1;
    snprintf(copy, sizeof copy, "%s", options);
    for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "))
        CHECK_OK(r->ctx, vmt_settings_set(r->ctx, &s, name, strtok(NULL, " ")));
    return s;
}

static int count(void *user, const vmt_progress *p)
{
    outcome *o = user;

    o->forwards = p->forwards;
    o->reused = p->reused_forwards;
    return p->phase == VMT_PHASE_SAMPLE && p->step == o->stop;
}

static outcome transfer(rig *r, const char *options, int64_t stop, const char *resume)
{
    const vmt_settings s = settings_with(r, options);
    outcome o = {.stop = stop};
    const vmt_transfer_io io = {.reference = resume ? NULL : &r->reference,
                                .result = &o.clip,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .checkpoint_path = stop < 0 ? NULL : "fast.state.safetensors",
                                .resume = resume,
                                .progress = count,
                                .progress_user = &o};

    const enum vmt_status status = vmt_transfer(r->ctx, r->model, &s, &io);
    if (stop >= 0)
        assert_int_equal(status, VMT_E_CANCELLED);
    else if (status != VMT_OK)
        fail_msg("%s: %s", options, vmt_message(r->ctx));
    return o;
}

static bool same(const outcome *a, const outcome *b)
{
    return !memcmp(a->clip.pixels, b->clip.pixels, (size_t)FRAMES * HEIGHT * WIDTH * 3);
}

/* Options against options: whether the clips are the same, and the forwards of the second. */
static void check(rig *r, const char *one, const char *other, bool equal, int forwards, int reused)
{
    outcome a = transfer(r, one, -1, NULL), b = transfer(r, other, -1, NULL);

    if (same(&a, &b) != equal || b.forwards != forwards || b.reused != reused)
        fail_msg("%s, and %s: %s, %d forwards, %d reused", one, other,
                 same(&a, &b) ? "the same" : "not the same", (int)b.forwards, (int)b.reused);
    vmt_clip_free(&a.clip);
    vmt_clip_free(&b.clip);
}

/* Steps 0 and 1 are computed, four reuse them, 6 is computed, 7 reuses it, the last is computed. */
static void skips(void **state)
{
    static const char *const backends[] = {"cpu", "ref", "cuda"};
    rig r;

    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (!open_rig(&r, backends[i]))
            continue;
        check(&r, "cache 10", "cache 10 cache-from residual", false, 8, 10);
        if (!strcmp(backends[i], "ref")) { /* slow */
            close_rig(&r);
            continue;
        }
        check(&r, "cache 0", "cache 1e-9", true, 2 * STEPS, 0);
        check(&r, "cache 0", "cache 1e-9 cache-from residual", true, 2 * STEPS, 0);
        check(&r, "cache 0", "cache 10", false, 8, 10);
        check(&r, "cache 10 cfg 1", "cache 10 cfg 1 cache-from residual", false, 4, 5);
        close_rig(&r);
    }
}

static void passes_of_the_prompt_alone(void **state)
{
    rig r;

    (void)state;
    if (!open_rig(&r, "cpu"))
        assert_true(open_rig(&r, "ref"));
    check(&r, "cfg 5", "cfg-until 1e-6", true, 2 * STEPS, 0);
    check(&r, "cfg 1", "cfg-until 1", true, STEPS, 0);
    /* sigmas from 0.978 (strength 0.9, shift 5); three of the nine are above 0.9 */
    check(&r, "cfg 5", "cfg-until 0.9", false, STEPS + 3, 0);
    /* step 2 reuses step 1; 3 is computed, being the first of one pass; 4 to 7 reuse it */
    check(&r, "cfg 5", "cfg-until 0.9 cache 10", false, 6, 6);
    close_rig(&r);
}

/* Stopped in any step, a run goes on to the same bits and the same steps; with residuals it
 * computes those of the last computed step again, if the next one reuses them. */
static void resumes(void **state)
{
    static const char *const options[] = {"cache 10", "cache 10 cfg-until 0.9 recompute 2",
                                          "cache 10 cfg-until 0.9 cache-from residual recompute 1"};
    static const int64_t stops[] = {2, 4, 7};
    rig r;

    (void)state;
    if (!open_rig(&r, "cpu"))
        assert_true(open_rig(&r, "ref"));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        outcome whole = transfer(&r, options[i], -1, NULL);
        for (size_t k = 0; k < sizeof stops / sizeof *stops; k++) {
            outcome part = transfer(&r, options[i], stops[k], NULL);
            outcome rest = transfer(&r, options[i], -1, "fast.state.safetensors");
            assert_true(same(&whole, &rest));
            assert_int_equal(rest.reused, whole.reused);
            assert_in_range(rest.forwards - whole.forwards, 0,
                            strstr(options[i], "residual") ? 2 : 0);
            assert_true(part.forwards <= whole.forwards);
            vmt_clip_free(&rest.clip);
        }
        vmt_clip_free(&whole.clip);
    }
    unlink("fast.state.safetensors");
    close_rig(&r);
}

/* Only sampling's products change: without a sampling step that would be none.  The clip stays
 * near (steps amplify what rounding does, by another factor in each build), at every level of
 * recomputation the same. */
static void products_of_eight_bits(void **state)
{
    static const char *const backends[] = {"cpu", "cuda"};
    rig r;

    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (!open_rig(&r, backends[i]))
            continue;
        outcome off = transfer(&r, "fp8 off", -1, NULL), on = transfer(&r, "fp8 on", -1, NULL);
        outcome level = transfer(&r, "fp8 on recompute 2", -1, NULL);
        const int64_t bytes = (int64_t)FRAMES * HEIGHT * WIDTH * 3;
        int64_t apart = 0;
        for (int64_t k = 0; k < bytes; k++)
            apart += abs(off.clip.pixels[k] - on.clip.pixels[k]);
        print_message("%s: %.3f apart\n", backends[i], (double)apart / (double)bytes);
        assert_in_range(apart, 1, 20 * bytes);
        if (strcmp(backends[i], "cuda") != 0)
            assert_true(same(&on, &level));
        vmt_clip_free(&off.clip);
        vmt_clip_free(&on.clip);
        vmt_clip_free(&level.clip);
        close_rig(&r);
    }
}

static vmt_plan plan_of(rig *r, const char *options)
{
    const vmt_settings s = settings_with(r, options);
    const vmt_transfer_io io = {.reference = &r->reference,
                                .embeddings = TEST_DATA "/prompt.safetensors"};
    vmt_plan plan;

    CHECK_OK(r->ctx, vmt_plan_make(r->ctx, r->model, &s, &io, &plan));
    return plan;
}

static void plans(void **state)
{
    const uint64_t latent = 16 * 2 * 4 * 6 * sizeof(float), slack = 1024;
    const uint64_t tokens = 2 * 2 * 3, dim = 256;
    rig r;

    (void)state;
    assert_true(open_rig(&r, "ref"));
    const vmt_plan off = plan_of(&r, "cache 0"), line = plan_of(&r, "cache 0.1"),
                   held = plan_of(&r, "cache 0.1 cache-from residual");
    assert_int_equal(off.forwards, 2 * STEPS);
    assert_int_equal(plan_of(&r, "cfg-until 0.9").forwards, STEPS + 3);
    const uint64_t base = off.phase_bytes[VMT_PHASE_SAMPLE];
    assert_in_range(line.phase_bytes[VMT_PHASE_SAMPLE] - base, 4 * latent, 4 * latent + slack);
    assert_in_range(held.phase_bytes[VMT_PHASE_SAMPLE] - base,
                    5 * latent + 2 * tokens * dim * sizeof(float),
                    5 * latent + 2 * tokens * dim * sizeof(float) + slack);
    close_rig(&r);
}

static void modes(void **state)
{
    rig r;
    char value[32];

    (void)state;
    assert_true(open_rig(&r, "ref"));
    vmt_settings s = settings_with(&r, "mode exact");
    assert_true(s.cache == 0);
    s = settings_with(&r, "mode fast");
    assert_true(s.cache > 0);
    s = settings_with(&r, "mode fast cache 0.5");
    assert_true(s.cache == 0.5F);
    CHECK_OK(r.ctx, vmt_settings_get(r.ctx, &s, "mode", value, sizeof value));
    assert_string_equal(value, "fast");
    s = settings_with(&r, "mode fast mode exact");
    assert_true(s.cache == 0);
    assert_int_equal(vmt_settings_set(r.ctx, &s, "mode", "faster"), VMT_E_ARG);
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skips),   cmocka_unit_test(passes_of_the_prompt_alone),
        cmocka_unit_test(resumes), cmocka_unit_test(products_of_eight_bits),
        cmocka_unit_test(plans),   cmocka_unit_test(modes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
