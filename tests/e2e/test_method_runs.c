/* SPDX-License-Identifier: MIT
 *
 * Each method of --method as a user runs it, on the bundled model at a small size: it comes to
 * something of its own, the same by way of a motion file, from a stored run and at another level of
 * recomputation; the two without guidance are what the settings say that they are.
 */
#include "cli_run.h"
#include "clips.h"

#include "fastvmt/fastvmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL SOURCE_ROOT "/models/tiny"
#define REFERENCE "reference.y4m"

/* Without sentencepiece prompts come encoded; tests/data/prompt.safetensors holds this one. */
#ifdef FASTVMT_HAVE_SENTENCEPIECE
#define PROMPT "-p", "a red car on snow"
#define EMPTY_PROMPT "--prompt", ""
#else
#define PROMPT "--embeddings", TEST_DATA "/prompt.safetensors"
#define EMPTY_PROMPT PROMPT
#endif

enum { TIMEOUT = 300 };

/* 3 steps of 2 latent frames, 2 of them guided with 2 inner steps. */
#define SMALL "--frames", "5", "--steps", "3", "--threads", "1", "-y", "-q"
#define SHORT                                                                                      \
    SMALL, "--guided-steps", "2", "--inner-steps", "2", "--amf-tile", "2x5", "--amf-window", "3"
#define TRANSFER "transfer", "-m", MODEL, "-r", REFERENCE, PROMPT, "-o", "out.y4m"

static void check_done(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    cli_free(&result);
}

/* The result's pixels: a hash of the whole file. */
static uint64_t result_hash(void)
{
    size_t length;
    unsigned char *bytes = file_read("out.y4m", &length);
    uint64_t hash = 14695981039346656037U;

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 1099511628211U;
    free(bytes);
    return hash;
}

static void same_whatever_the_way(void **state)
{
    uint64_t hashes[VMT_METHOD_COUNT];
    const vmt_method_row *row;

    (void)state;
    for (size_t i = 0; (row = vmt_method_at(i)) && *row->taps; i++) {
        print_message("%s\n", row->name);
        check_done(CLI(TIMEOUT, TRANSFER, SHORT, "--method", row->name, "--recompute", "0"));
        hashes[i] = result_hash();
        for (size_t other = 0; other < i; other++)
            assert_true(hashes[i] != hashes[other]);
        check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                       "motion.fvm", SHORT, "--method", row->name));
        check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                       "out.y4m", SHORT, "--method", row->name, "--recompute", "2"));
        assert_true(result_hash() == hashes[i]);
        cli_result r =
            CLI(TIMEOUT, "show", REFERENCE, "--motion", "motion.fvm", "-o", "flow.y4m", "-y", "-q");
        if (row->flow)
            check_done(r);
        else
            cli_check_refused(row->name, &r, VMT_E_UNSUPPORTED, "measures no flow");
    }
}

/* ---- stopped within a guided step, and gone on with */

static int stop_within_step(void *user, const vmt_progress *progress)
{
    const bool *stops = user;

    return *stops && progress->phase == VMT_PHASE_SAMPLE && progress->step == 1 &&
           progress->inner_step == 1;
}

/* more: pairs of option and value, NULL at the end. */
static enum vmt_status run_method(vmt_ctx *c, vmt_model *model, const char *method,
                                  const char *const *more, vmt_transfer_io *io)
{
    static const char *const options[][2] = {{"size", "64x48"},    {"frames", "5"},
                                             {"steps", "3"},       {"guided-steps", "2"},
                                             {"inner-steps", "2"}, {"grad-reuse-interval", "2"}};
    vmt_settings settings;

    CHECK_OK(c, vmt_settings_init(c, &settings, model, NULL));
    CHECK_OK(c, vmt_settings_set(c, &settings, "method", method));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        CHECK_OK(c, vmt_settings_set(c, &settings, options[i][0], options[i][1]));
    for (; *more; more += 2)
        CHECK_OK(c, vmt_settings_set(c, &settings, more[0], more[1]));
    return vmt_transfer(c, model, &settings, io);
}

static const char *const NO_MORE[] = {NULL};

typedef struct stopped {
    vmt_ctx *c;
    vmt_model *model;
    vmt_clip reference;
} stopped;

static void open_stopped(stopped *s)
{
    *s = (stopped){0};
    CHECK_OK(s->c, vmt_ctx_open(&s->c, &(vmt_config){.threads = 1}));
    CHECK_OK(s->c, vmt_model_open(s->c, &s->model, &(vmt_model_paths){.dir = MODEL}));
    s->reference = test_clip_smooth(s->c, 9, 64, 48, 16);
}

static void close_stopped(stopped *s)
{
    vmt_clip_free(&s->reference);
    vmt_model_close(s->c, s->model);
    vmt_ctx_close(s->c);
}

/* The stored state as a file of an earlier version would be: without what it did not know. */
static void make_old(const char *path)
{
    static const char *const news[] = {
        "\"grad_age\"",           "\"adamw_steps\"",         "\"option.reuse\"",
        "\"option.reuse-steps\"", "\"option.ref-interval\"", "\"option.adamw-state\"",
        "\"option.reuse-cosine\""};
    size_t length;
    unsigned char *bytes = file_read(path, &length);

    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof news / sizeof *news; i++) {
        unsigned char *at = memmem(bytes, length, news[i], strlen(news[i]));
        assert_non_null(at);
        at[1] = 'X';
    }
    file_write(path, bytes, length);
    free(bytes);
}

/* A run that is stopped in its second guided step and gone on with comes to what it had come to. */
static void check_stopped(stopped *s, const char *method, const char *const *more, bool old)
{
    vmt_clip whole = {0}, resumed = {0};
    bool stops = false;
    vmt_transfer_io io = {.reference = &s->reference,
                          .result = &whole,
                          .embeddings = TEST_DATA "/prompt.safetensors",
                          .checkpoint_path = "state",
                          .progress = stop_within_step,
                          .progress_user = &stops};

    CHECK_OK(s->c, run_method(s->c, s->model, method, more, &io));
    unlink("state");
    stops = true;
    io.result = &resumed;
    assert_int_equal(run_method(s->c, s->model, method, more, &io), VMT_E_CANCELLED);
    assert_true(file_exists("state"));
    if (old)
        make_old("state");
    stops = false;
    io.reference = NULL;
    io.resume = "state";
    CHECK_OK(s->c, run_method(s->c, s->model, method, more, &io));
    if (test_clip_distance(&whole, &resumed) != 0)
        fail_msg("%s %s: the resumed run differs", method, *more ? more[1] : "");
    vmt_clip_free(&whole);
    vmt_clip_free(&resumed);
}

static void same_after_stop_and_resume(void **state)
{
    const vmt_method_row *row;
    stopped s;

    (void)state;
    open_stopped(&s);
    for (size_t i = 0; (row = vmt_method_at(i)) && *row->taps; i++)
        check_stopped(&s, row->name, NO_MORE, false);
    check_stopped(&s, "fastvmt", NO_MORE, true);
    close_stopped(&s);
}

/* In each mode of reuse, for a method with a gradient through the network and one without. */
static void same_after_stop_with_reuse(void **state)
{
    static const char *const modes[][7] = {
        {"reuse", "steps", "grad-reuse-interval", "1", "adamw-state", "carry"},
        {"reuse", "adaptive", "grad-reuse-interval", "1", "reuse-cosine", "0.01"},
        {"reuse", "none"},
        {"ref-interval", "2", "adamw-state", "carry"},
    };
    stopped s;

    (void)state;
    open_stopped(&s);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        check_stopped(&s, i % 2 ? "flowmotion" : "fastvmt", modes[i], false);
    close_stopped(&s);
}

/* The JSON beside a result counts gradients; a reference pass that nobody looks at changes nothing.
 */
static void counts_gradients(void **state)
{
    uint64_t hash;
    size_t length;

    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, SHORT, "--reuse", "steps", "--reuse-steps", "2",
                   "--grad-reuse-interval", "1"));
    hash = result_hash();
    char *json = (char *)file_read("out.y4m.json", &length);
    assert_non_null(json);
    const char *at = strstr(json, "\"gradients\"");
    assert_non_null(at);
    assert_non_null(strstr(at, "\"computed\":\t2,"));
    assert_non_null(strstr(at, "\"reused\":\t2"));
    free(json);
    check_done(CLI(TIMEOUT, TRANSFER, SHORT, "--reuse", "steps", "--reuse-steps", "2",
                   "--grad-reuse-interval", "1", "--ref-interval", "2"));
    assert_true(result_hash() == hash);
    cli_result r = CLI(TIMEOUT, TRANSFER, SHORT, "--reuse", "steps", "--inner-steps", "9",
                       "--grad-reuse-interval", "1");
    cli_check_refused("nine kept", &r, VMT_E_ARG, "at most 8 gradients");
}

/* What needs no guidance: the settings that say the same. */
static void without_guidance(void **state)
{
    uint64_t hash;

    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, SMALL, "--method", "none"));
    hash = result_hash();
    check_done(CLI(TIMEOUT, TRANSFER, SMALL, "--guided-steps", "0"));
    assert_true(result_hash() == hash);
    check_done(CLI(TIMEOUT, TRANSFER, SMALL, "--method", "noise"));
    hash = result_hash();
    check_done(
        CLI(TIMEOUT, TRANSFER, SMALL, "--guided-steps", "0", "--init", "noise", "--strength", "1"));
    assert_true(result_hash() == hash);
    check_done(CLI(TIMEOUT, "generate", "-m", MODEL, PROMPT, "--size", "80x64", "-o", "out.y4m",
                   "--sampler", "euler", SMALL));
    assert_true(result_hash() == hash);
}

static void each_option_counts(void **state)
{
    static const char *const options[][3] = {{"fastvmt", "--amf-window", "0"},
                                             {"motionclone", "--top-k", "2"},
                                             {"smm", "--smm-pool", "2"},
                                             {"moft", "--moft-channels", "0.5"},
                                             {"ditflow", "--logit-scale", "5"}};
    uint64_t hash;

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        check_done(CLI(TIMEOUT, TRANSFER, SHORT, "--method", options[i][0]));
        hash = result_hash();
        check_done(
            CLI(TIMEOUT, TRANSFER, SHORT, options[i][1], options[i][2], "--method", options[i][0]));
        if (result_hash() == hash)
            fail_msg("%s %s changes nothing", options[i][1], options[i][2]);
    }
}

static void refused(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT, "--method", "smm"));
    cli_result r = CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                       "other.y4m", SHORT, "--method", "moft");
    cli_check_refused("other method", &r, VMT_E_MISMATCH, "--method smm");
    r = CLI(TIMEOUT, "show", REFERENCE, "-m", MODEL, "--method", "moft", "-o", "flow.y4m", "-y");
    cli_check_refused("no flow", &r, VMT_E_UNSUPPORTED, "measures no flow");
    assert_false(file_exists("other.y4m"));
}

static void listed(void **state)
{
    const vmt_method_row *row;

    (void)state;
    cli_result r = CLI(TIMEOUT, "methods", "-m", MODEL);
    assert_int_equal(r.code, 0);
    for (size_t i = 0; (row = vmt_method_at(i)); i++) {
        assert_non_null(strstr(r.output, row->name));
        assert_non_null(strstr(r.output, row->about));
        assert_non_null(strstr(r.output, row->paper));
    }
    cli_free(&r);
    r = CLI(TIMEOUT, "methods", "--method", "ditflow");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.output, "q, k          11      5         5"));
    assert_null(strstr(r.output, "flowmotion"));
    cli_free(&r);
    r = CLI(TIMEOUT, "methods", "--method", "slowvmt");
    cli_check_refused("unknown", &r, VMT_E_ARG, "one of fastvmt|ditflow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_whatever_the_way),      cmocka_unit_test(without_guidance),
        cmocka_unit_test(each_option_counts),         cmocka_unit_test(refused),
        cmocka_unit_test(same_after_stop_and_resume), cmocka_unit_test(listed),
        cmocka_unit_test(same_after_stop_with_reuse), cmocka_unit_test(counts_gradients),
    };

    folder_new("methods");
    if (chdir("methods"))
        return 1;
    test_write_square(REFERENCE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
