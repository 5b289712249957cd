/* SPDX-License-Identifier: MIT
 *
 * Previews by the public header: when they come, what they show, and that the run does not notice
 * them, whole or resumed.
 */
#include "testing.h"

#include "fastvmt/fastvmt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE "preview.state.safetensors"

enum { WIDTH = 91, HEIGHT = 60, FRAMES = 7, STEPS = 5, COLS = 12, ROWS = 8, LATENTS = 3 };

typedef struct fixture {
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    vmt_clip reference, last; /* the last preview */
    int64_t calls, steps[STEPS];
    int64_t stop_after; /* 0: never */
} fixture;

static void open_fixture(fixture *f)
{
    *f = (fixture){0};
    assert_int_equal(vmt_ctx_open(&f->ctx, &(vmt_config){.threads = 1}), VMT_OK);
    CHECK_OK(f->ctx, vmt_model_open(f->ctx, &f->model,
                                    &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    CHECK_OK(f->ctx, vmt_settings_init(f->ctx, &f->settings, f->model, NULL));
    f->settings.steps = STEPS;
    f->settings.cfg_scale = 1;
    f->settings.motion.guided_steps = 1;
    f->settings.motion.inner_steps = 1;
    CHECK_OK(f->ctx, vmt_clip_new(f->ctx, &f->reference, FRAMES, HEIGHT, WIDTH, 16));
    for (int64_t t = 0; t < FRAMES; t++)
        for (int64_t i = 0; i < HEIGHT * WIDTH * 3; i++)
            f->reference.pixels[t * HEIGHT * WIDTH * 3 + i] =
                (uint8_t)(i / (3 * WIDTH) > 10 + 2 * t && i / 3 % WIDTH < 50 ? 220
                                                                             : 40 + i % 3 * 50);
}

static void close_fixture(fixture *f)
{
    vmt_clip_free(&f->reference);
    vmt_clip_free(&f->last);
    vmt_model_close(f->ctx, f->model);
    vmt_ctx_close(f->ctx);
}

static int keep(void *user, int64_t steps, const vmt_clip *frames)
{
    fixture *f = user;

    assert_int_equal(frames->frames, LATENTS);
    assert_int_equal(frames->width, COLS);
    assert_int_equal(frames->height, ROWS);
    assert_true(frames->fps == 4);
    assert_true(f->calls < STEPS);
    f->steps[f->calls++] = steps;
    if (!f->last.pixels)
        CHECK_OK(f->ctx, vmt_clip_new(f->ctx, &f->last, LATENTS, ROWS, COLS, 4));
    memcpy(f->last.pixels, frames->pixels, (size_t)LATENTS * ROWS * COLS * 3);
    return f->calls == f->stop_after;
}

static enum vmt_status run(fixture *f, vmt_clip *result, int64_t every, bool guided,
                           const char *resume)
{
    const vmt_transfer_io io = {.reference = guided && !resume ? &f->reference : NULL,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .result = result,
                                .checkpoint_path = STATE,
                                .resume = resume,
                                .preview = every ? keep : NULL,
                                .preview_user = f,
                                .preview_steps = every};

    f->calls = 0;
    return guided ? vmt_transfer(f->ctx, f->model, &f->settings, &io)
                  : vmt_generate(f->ctx, f->model, &f->settings, &io);
}

/* Of the preview with the means of the result's cells, over all colours. */
static double correlation(const fixture *f, const vmt_clip *result)
{
    double n = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;

    for (int t = 0; t < LATENTS - 1; t++) /* of the last latent frame not all frames come out */
        for (int i = 0; i < (ROWS - 1) * (COLS - 1) * 3; i++) {
            const int row = i / 3 / (COLS - 1), col = i / 3 % (COLS - 1), c = i % 3;
            double x = 0;
            for (int k = 0; k < 4 * 64; k++) {
                const int frame = t ? 4 * t - 3 + k / 64 : 0;
                const int pixel = (frame * HEIGHT + 8 * row + k / 8 % 8) * WIDTH + 8 * col + k % 8;
                x += result->pixels[3 * pixel + c] / 256.0;
            }
            const double y = f->last.pixels[((t * ROWS + row) * COLS + col) * 3 + c];
            n++, sx += x, sy += y, sxx += x * x, syy += y * y, sxy += x * y;
        }
    return (sxy - sx * sy / n) / sqrt((sxx - sx * sx / n) * (syy - sy * sy / n));
}

static void same_result(const vmt_clip *a, const vmt_clip *b)
{
    assert_int_equal(a->frames, FRAMES);
    assert_memory_equal(a->pixels, b->pixels, (size_t)FRAMES * HEIGHT * WIDTH * 3);
}

static void the_run_does_not_notice(void **state)
{
    fixture f;
    vmt_clip plain = {0}, watched = {0}, resumed = {0}, none = {0};

    (void)state;
    open_fixture(&f);
    CHECK_OK(f.ctx, run(&f, &plain, 0, true, NULL));
    CHECK_OK(f.ctx, run(&f, &watched, 1, true, NULL));
    same_result(&plain, &watched);
    assert_int_equal(f.calls, STEPS);
    for (int i = 0; i < STEPS; i++)
        assert_int_equal(f.steps[i], i + 1);
    const double r = correlation(&f, &watched);
    print_message("correlation of the last preview with the result: %.4f\n", r);
    assert_true(r > 0.8);
    /* stopped by a preview, the run goes on from its state; steps count from its beginning */
    f.stop_after = 1;
    assert_int_equal(run(&f, &none, 3, true, NULL), VMT_E_CANCELLED);
    assert_null(none.pixels);
    assert_int_equal(f.steps[0], 3);
    f.stop_after = 0;
    CHECK_OK(f.ctx, run(&f, &resumed, 2, true, STATE));
    same_result(&plain, &resumed);
    assert_int_equal(f.calls, 1);
    assert_int_equal(f.steps[0], 4);
    unlink(STATE);
    vmt_clip_free(&plain);
    vmt_clip_free(&watched);
    vmt_clip_free(&resumed);
    close_fixture(&f);
}

/* Every solver, with and without a negative prompt: its velocity's memory is used on the way. */
static void generate_does_not_notice(void **state)
{
    fixture f;

    (void)state;
    open_fixture(&f);
    f.settings.width = WIDTH;
    f.settings.height = HEIGHT;
    f.settings.frames = FRAMES;
    f.settings.fps = 16;
    for (int i = 0; i < 6; i++) {
        vmt_clip plain = {0}, watched = {0};
        f.settings.sampler = i / 2;
        f.settings.cfg_scale = i % 2 ? 1 : 4;
        CHECK_OK(f.ctx, run(&f, &plain, 0, false, NULL));
        CHECK_OK(f.ctx, run(&f, &watched, 2, false, NULL));
        same_result(&plain, &watched);
        assert_int_equal(f.calls, 2);
        vmt_clip_free(&plain);
        vmt_clip_free(&watched);
    }
    assert_int_equal(run(&f, &f.last, -1, false, NULL), VMT_E_ARG);
    close_fixture(&f);
}

static void plan_counts_it(void **state)
{
    fixture f;
    vmt_plan without, with;

    (void)state;
    open_fixture(&f);
    CHECK_OK(f.ctx, vmt_plan_make(f.ctx, f.model, &f.settings, NULL, &without));
    CHECK_OK(f.ctx, vmt_plan_make(f.ctx, f.model, &f.settings,
                                  &(vmt_transfer_io){.preview = keep, .preview_steps = 1}, &with));
    assert_int_equal(without.phase_bytes[VMT_PHASE_ENCODE], 0);
    assert_true(with.phase_bytes[VMT_PHASE_ENCODE] > 1 << 20);
    /* latent [16, 9, 12, 20] and its picture, at the model's own 160x96 with 33 frames */
    assert_int_equal(with.phase_bytes[VMT_PHASE_SAMPLE] - without.phase_bytes[VMT_PHASE_SAMPLE],
                     9 * 12 * 20 * (4 * 16 + 3));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_run_does_not_notice),
        cmocka_unit_test(generate_does_not_notice),
        cmocka_unit_test(plan_counts_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
