/* SPDX-License-Identifier: MIT
 *
 * The library by its public header alone: several runs on one opened model, a run that is stopped
 * and the next that is not, refusals with a message.
 */
#include "testing.h"

#include "fastvmt/fastvmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 48, HEIGHT = 40, FRAMES = 5 };

typedef struct fixture {
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    vmt_clip reference;
} fixture;

/* Lines of the log, one after another. */
static char logged[8192];

static void keep_line(void *user, enum vmt_log_level level, const char *line)
{
    const size_t used = strlen(logged);

    assert_ptr_equal(user, logged);
    assert_int_equal(level, VMT_LOG_DEBUG);
    assert_null(strchr(line, '\n'));
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static void open_fixture(fixture *f)
{
    const vmt_config config = {.threads = 1, .log = keep_line, .log_user = logged};

    assert_int_equal(vmt_ctx_open(&f->ctx, &config), VMT_OK);
    CHECK_OK(f->ctx, vmt_model_open(f->ctx, &f->model,
                                    &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    CHECK_OK(f->ctx, vmt_settings_init(f->ctx, &f->settings, f->model, NULL));
    f->settings.prompt = "a red car on snow";
    CHECK_OK(f->ctx, vmt_settings_set(f->ctx, &f->settings, "steps", "2"));
    CHECK_OK(f->ctx, vmt_settings_set(f->ctx, &f->settings, "guided-steps", "1"));
    CHECK_OK(f->ctx, vmt_settings_set(f->ctx, &f->settings, "inner-steps", "2"));
    CHECK_OK(f->ctx, vmt_clip_new(f->ctx, &f->reference, FRAMES, HEIGHT, WIDTH, 16));
    for (int t = 0; t < FRAMES; t++)
        for (int i = 0; i < 8 * WIDTH * 3; i++)
            f->reference.pixels[(t * HEIGHT + 4 * t) * WIDTH * 3 + i] = (uint8_t)(200 - i % 90);
}

static void close_fixture(fixture *f)
{
    vmt_clip_free(&f->reference);
    vmt_model_close(f->ctx, f->model);
    vmt_ctx_close(f->ctx);
}

static enum vmt_status transfer(fixture *f, vmt_clip *result, vmt_progress_fn *progress, void *user)
{
    const vmt_transfer_io io = {.reference = &f->reference,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .result = result,
                                .progress = progress,
                                .progress_user = user};

    return vmt_transfer(f->ctx, f->model, &f->settings, &io);
}

static int stop_in_sampling(void *user, const vmt_progress *progress)
{
    ++*(int *)user;
    return progress->phase == VMT_PHASE_SAMPLE && progress->inner_step == 1;
}

static int cancel_in_encoding(void *user, const vmt_progress *progress)
{
    if (progress->phase == VMT_PHASE_ENCODE)
        vmt_cancel(user);
    return 0;
}

static void several_runs_of_one_model(void **state)
{
    fixture f = {0};
    vmt_clip first = {0}, second = {0}, other = {0};
    int calls = 0;

    (void)state;
    open_fixture(&f);
    CHECK_OK(f.ctx, transfer(&f, &first, NULL, NULL));
    assert_int_equal(first.frames, FRAMES);
    assert_int_equal(first.width, WIDTH);
    assert_int_equal(first.height, HEIGHT);
    assert_non_null(strstr(logged, "threads 1\n"));
    assert_non_null(strstr(logged, "dit.safetensors: "));
    assert_non_null(
        strstr(logged, "the model's settings: " SOURCE_ROOT "/models/tiny/config.json"));
    assert_non_null(strstr(logged, "tokens 2x3x3, guided steps 1 of 2"));
    assert_int_equal(transfer(&f, &other, stop_in_sampling, &calls), VMT_E_CANCELLED);
    assert_true(calls > 3);
    assert_null(other.pixels);
    assert_int_equal(transfer(&f, &other, cancel_in_encoding, f.ctx), VMT_E_CANCELLED);
    assert_null(other.pixels);
    CHECK_OK(f.ctx, transfer(&f, &second, NULL, NULL));
    assert_memory_equal(first.pixels, second.pixels, 3 * FRAMES * WIDTH * HEIGHT);
    f.settings.seed = 1;
    CHECK_OK(f.ctx, transfer(&f, &other, NULL, NULL));
    assert_memory_not_equal(first.pixels, other.pixels, 3 * FRAMES * WIDTH * HEIGHT);
    vmt_clip_free(&first);
    vmt_clip_free(&second);
    vmt_clip_free(&other);
    close_fixture(&f);
}

static void refusals(void **state)
{
    fixture f = {0};
    vmt_clip result = {0};
    vmt_model *none = NULL;
    vmt_ctx *bad = NULL;

    (void)state;
    open_fixture(&f);
    assert_int_equal(vmt_settings_set(f.ctx, &f.settings, "steps", "none"), VMT_E_ARG);
    assert_non_null(strstr(vmt_message(f.ctx), "--steps none"));
    assert_int_equal(vmt_settings_set(f.ctx, &f.settings, "stepps", "3"), VMT_E_ARG);
    assert_int_equal(vmt_settings_init(f.ctx, &f.settings, f.model, "best"), VMT_E_ARG);
    assert_int_equal(vmt_model_open(f.ctx, &none, &(vmt_model_paths){.dir = "no-such-folder"}),
                     VMT_E_IO);
    assert_null(none);
    f.settings.motion.block = 8; /* the model has 0 to 7 */
    assert_int_equal(transfer(&f, &result, NULL, NULL), VMT_E_ARG);
    assert_non_null(strstr(vmt_message(f.ctx), "0 to 7"));
    close_fixture(&f);
    assert_int_equal(vmt_ctx_open(&bad, &(vmt_config){.backend = "abacus"}), VMT_E_ARG);
    assert_non_null(strstr(vmt_message(bad), "abacus"));
    vmt_ctx_close(bad);
}

/* Every option's printed value is taken again and prints the same. */
static void options_print_what_they_take(void **state)
{
    static const char *const presets[] = {"paper", "released", "tiny", "wan"};
    vmt_settings from, to;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    for (int p = 0; p < 4; p++) {
        const vmt_option *option;
        CHECK_OK(&ctx, vmt_settings_init(&ctx, &from, NULL, presets[p]));
        CHECK_OK(&ctx, vmt_settings_init(&ctx, &to, NULL, presets[(p + 1) % 4]));
        assert_string_equal(from.preset, presets[p]);
        for (size_t i = 0; (option = vmt_option_at(i)); i++) {
            char text[128], again[128];
            if (!strcmp(option->name, "prompt") || !strcmp(option->name, "negative"))
                continue;
            CHECK_OK(&ctx, vmt_settings_get(&ctx, &from, option->name, text, sizeof text));
            if (!strcmp(text, "0x0") && !strcmp(option->name, "size"))
                continue; /* not set: the reference's */
            CHECK_OK(&ctx, vmt_settings_set(&ctx, &to, option->name, text));
            CHECK_OK(&ctx, vmt_settings_get(&ctx, &to, option->name, again, sizeof again));
            assert_string_equal(text, again);
        }
        assert_memory_equal(&from.motion, &to.motion, sizeof from.motion);
    }
}

static void write_config(const char *path, const char *more)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file,
            "{\"dit\": {\"dim\": 256, \"ffn_dim\": 640, \"num_heads\": 4, \"num_layers\": 8, "
            "\"text_dim\": 128, \"text_len\": 64}%s}",
            more);
    fclose(file);
}

/* The motion defaults and the width a model opened from these paths has. */
static void check_defaults(vmt_ctx *ctx, const char *dir, const char *dit, int gap, int64_t width)
{
    vmt_model *model;
    vmt_settings settings;
    vmt_clip native;

    CHECK_OK(ctx, vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = dir, .dit = dit}));
    CHECK_OK(ctx, vmt_settings_init(ctx, &settings, model, NULL));
    vmt_model_native(model, &native);
    assert_string_equal(settings.preset, "model");
    assert_int_equal(settings.motion.max_frame_gap, gap);
    assert_int_equal(native.width, width);
    vmt_model_close(ctx, model);
}

/* A DiT from elsewhere: its sizes stand beside it, but the settings are the folder's, if that has
 * any. */
static void defaults_of_the_folder(void **state)
{
    const char *const tiny = SOURCE_ROOT "/models/tiny";
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    vmt_clip native;

    (void)state;
    assert_int_equal(system("rm -rf other_dit plain_dir && mkdir other_dit plain_dir && ln -s "
                            "'" SOURCE_ROOT "/models/tiny/dit.safetensors' other_dit/d"),
                     0);
    write_config("other_dit/config.json",
                 ", \"video\": {\"width\": 64}, \"motion\": {\"frame_range\": 7}");
    write_config("plain_dir/config.json", "");
    assert_int_equal(vmt_ctx_open(&ctx, NULL), VMT_OK);
    CHECK_OK(ctx, vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = tiny}));
    CHECK_OK(ctx, vmt_settings_init(ctx, &settings, model, NULL));
    vmt_model_native(model, &native);
    vmt_model_close(ctx, model);
    assert_true(settings.motion.max_frame_gap != 7 && native.width != 64);

    check_defaults(ctx, tiny, "other_dit/d", settings.motion.max_frame_gap, native.width);
    check_defaults(ctx, NULL, "other_dit/d", 7, 64);
    check_defaults(ctx, "plain_dir", "other_dit/d", 7, 64);
    vmt_ctx_close(ctx);
    assert_int_equal(system("rm -r other_dit plain_dir"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_runs_of_one_model),
        cmocka_unit_test(refusals),
        cmocka_unit_test(options_print_what_they_take),
        cmocka_unit_test(defaults_of_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
