/* SPDX-License-Identifier: MIT
 *
 * The program as a user runs it, on the bundled model at a small size: what comes out is the same
 * run after run, in one step or by way of a motion file, after a kill and a resume, at any level of
 * recomputation; and every option of the method changes it.
 */
#include "cli_run.h"
#include "clips.h"

#include "fastvmt/fastvmt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

/* A short run: 3 steps, 2 of them guided, 3 inner steps, one gradient reused. */
#define SHORT                                                                                      \
    "--steps", "3", "--guided-steps", "2", "--inner-steps", "3", "--grad-reuse-interval", "2",     \
        "--amf-tile", "2x5", "--amf-window", "3", "--threads", "1", "-y", "-q"
#define TRANSFER "transfer", "-m", MODEL, "-r", REFERENCE, PROMPT, "-o", "out.y4m", SHORT

static void check_done(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    cli_free(&result);
}

/* The result's pixels: a hash of the whole file. */
static uint64_t file_hash(const char *path)
{
    size_t length;
    unsigned char *bytes = file_read(path, &length);
    uint64_t hash = 14695981039346656037U;

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 1099511628211U;
    free(bytes);
    return hash;
}

static uint64_t base_hash(void)
{
    static uint64_t hash; /* of the run without any further option, made once */

    if (!hash) {
        check_done(CLI(TIMEOUT, TRANSFER));
        hash = file_hash("out.y4m");
    }
    return hash;
}

/* ---- the same again */

static void same_run_after_run(void **state)
{
    (void)state;
    const uint64_t first = base_hash();
    check_done(CLI(TIMEOUT, TRANSFER));
    assert_true(file_hash("out.y4m") == first);
    assert_true(file_exists("out.y4m.json"));
    assert_false(file_exists("out.y4m.latent.safetensors"));
    assert_false(file_exists("out.y4m.state.safetensors"));
}

static void same_at_every_recompute_level(void **state)
{
    static const char *const levels[] = {"0", "1", "2"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        check_done(CLI(TIMEOUT, TRANSFER, "--recompute", levels[i]));
        assert_true(file_hash("out.y4m") == base_hash());
    }
}

static void same_by_motion_file(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT));
    check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                   "out.y4m", SHORT));
    assert_true(file_hash("out.y4m") == base_hash());
}

/* Another seed with the motion of --ref-seed 0, in one step and by file. */
static void same_by_motion_file_other_seed(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, "--seed", "5", "--ref-seed", "0"));
    const uint64_t once = file_hash("out.y4m");
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT, "--ref-seed", "0"));
    check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                   "out.y4m", SHORT, "--seed", "5"));
    assert_true(file_hash("out.y4m") == once);
}

static void motion_file_of_other_settings_is_refused(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT));
    cli_result r = CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                       "out2.y4m", SHORT, "--block", "4");
    cli_check_refused("other block", &r, VMT_E_MISMATCH, "--block 5");
    r = CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o", "out2.y4m",
            SHORT, "--ref-seed", "9");
    cli_check_refused("other noise", &r, VMT_E_MISMATCH, "--ref-seed 0");
    r = CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o", "out2.y4m",
            SHORT, "--size", "64x64");
    cli_check_refused("other size", &r, VMT_E_MISMATCH, "80x64");
    assert_false(file_exists("out2.y4m"));
}

/* Encoded by the program itself, and as the tests' data hold them. */
static void same_with_embeddings_from_file(void **state)
{
    (void)state;
#ifdef FASTVMT_HAVE_SENTENCEPIECE
    check_done(CLI(TIMEOUT, "embed", "-m", MODEL, PROMPT, "-o", "prompt.safetensors", "-y"));
    check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "-r", REFERENCE, "--embeddings",
                   "prompt.safetensors", "-o", "out.y4m", SHORT));
    assert_true(file_hash("out.y4m") == base_hash());
#else
    skip();
#endif
}

/* Exact tiles give the whole frame's pixels, within a level of rounding; blended ones do not, and
 * their stride counts.  A stride without them is refused. */
static void tiles(void **state)
{
    size_t a, b;
    int most = 0;

    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER));
    unsigned char *whole = file_read("out.y4m", &a);
    check_done(CLI(TIMEOUT, TRANSFER, "--vae-tile", "4x4"));
    unsigned char *tiled = file_read("out.y4m", &b);
    assert_int_equal(a, b);
    for (size_t i = 0; i < a; i++)
        most = abs(whole[i] - tiled[i]) > most ? abs(whole[i] - tiled[i]) : most;
    assert_true(most <= 1);
    free(whole);
    free(tiled);
    check_done(CLI(TIMEOUT, TRANSFER, "--vae-tile", "4x4", "--vae-tiling", "blend"));
    const uint64_t blended = file_hash("out.y4m");
    assert_true(blended != base_hash());
    check_done(CLI(TIMEOUT, TRANSFER, "--vae-tile", "4x4", "--vae-tiling", "blend",
                   "--vae-tile-stride", "3x3"));
    assert_true(file_hash("out.y4m") != blended);
    cli_result r = CLI(TIMEOUT, TRANSFER, "--vae-tile", "4x4", "--vae-tile-stride", "3x3");
    cli_check_refused("stride", &r, VMT_E_ARG, "exact tiles have none");
}

/* The program's strip of the latent frames: 3 of 10x8 pixels, enlarged ten times. */
static void same_with_previews(void **state)
{
    static const char head[] = "P6\n300 80\n255\n";
    size_t length;

    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, "--preview", "2", "--preview-path", "now.ppm"));
    assert_true(file_hash("out.y4m") == base_hash());
    unsigned char *picture = file_read("now.ppm", &length);
    assert_int_equal(length, sizeof head - 1 + 300 * 80 * 3);
    assert_memory_equal(picture, head, sizeof head - 1);
    free(picture);
}

/* ---- kill and resume */

static pid_t start(const char *const *arguments)
{
    const char *argv[64] = {FASTVMT_PROGRAM};
    int count = 1;

    for (; arguments[count - 1]; count++)
        argv[count] = arguments[count - 1];
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(126);
        execv(FASTVMT_PROGRAM, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

/* Kills a run some milliseconds after it began, as often as it takes to have a state; then goes on
 * from it. */
static void same_after_kill_and_resume(void **state)
{
    static const char *const run[] = {
        TRANSFER, "--checkpoint", "1", "--checkpoint-file", "state.safetensors", NULL};

    (void)state;
    const uint64_t whole = base_hash();
    unsigned seed = 7;
    for (int round = 0; round < 3; round++) {
        unlink("state.safetensors");
        unlink("out.y4m");
        for (int delay = 200; !file_exists("state.safetensors"); delay += 150) {
            const pid_t child = start(run);
            seed = seed * 1103515245U + 12345U;
            usleep((useconds_t)(delay + (int)(seed >> 16) % 100) * 1000);
            kill(child, SIGKILL);
            int status;
            waitpid(child, &status, 0);
        }
        if (file_exists("out.y4m"))
            continue; /* this one was through already */
        check_done(CLI(TIMEOUT, TRANSFER, "--checkpoint-file", "state.safetensors", "--resume",
                       "state.safetensors"));
        assert_true(file_hash("out.y4m") == whole);
    }
}

/* Ctrl-C: the state is stored within a step, the command that goes on is printed. */
static void interrupt_then_resume(void **state)
{
    static const char *const run[] = {
        "transfer", "-m", MODEL,          "-r", REFERENCE,   PROMPT, "-o", "long.y4m",
        "--steps",  "40", "--checkpoint", "1",  "--threads", "1",    "-y", NULL};
    int status;

    (void)state;
    unlink("long.y4m.state.safetensors");
    const pid_t child = start(run);
    for (int i = 0; i < 3000 && !file_exists("long.y4m.state.safetensors"); i++)
        usleep(20 * 1000);
    kill(child, SIGINT);
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_false(file_exists("long.y4m"));
    assert_true(file_exists("long.y4m.state.safetensors"));
    /* other settings do not go on from it */
    cli_result r = CLI(TIMEOUT, "transfer", "-m", MODEL, PROMPT, "-o", "long.y4m", "--steps", "41",
                       "--resume", "long.y4m.state.safetensors", "-q");
    cli_check_refused("other steps", &r, VMT_E_MISMATCH, "--steps 40");
}

/* ---- every option counts */

static void option_changes_result(const char *name, const char *value)
{
    char option[64];

    snprintf(option, sizeof option, "--%s", name);
    cli_result r = CLI(TIMEOUT, TRANSFER, option, value);
    if (r.code != 0)
        fail_msg("%s %s: exit code %d: %s", option, value, r.code, r.errors);
    cli_free(&r);
    if (file_hash("out.y4m") == base_hash())
        fail_msg("%s %s changes nothing", option, value);
}

static void every_option_changes_the_result(void **state)
{
    static const char *const options[][2] = {
#ifdef FASTVMT_HAVE_SENTENCEPIECE
        {"prompt", "a cat on grass"},
        {"negative", "snow"},
#endif
        {"size", "64x64"},
        {"frames", "5"},
        {"seed", "1"},
        {"steps", "4"},
        {"shift", "3"},
        {"strength", "0.8"},
        {"cfg", "3"},
        {"init", "noise"},
        {"variant", "released"},
        {"ref-time", "clean"},
        {"ref-interval", "2"},
        {"ref-seed", "3"},
        {"block", "4"},
        {"guided-steps", "1"},
        {"guide-until", "0.95"},
        {"inner-steps", "2"},
        {"lr-first", "0.02"},
        {"lr-last", "0.001"},
        {"grad-reuse-interval", "3"},
        {"reuse", "none"},
        {"reuse", "steps"},
        {"adamw-state", "carry"},
        {"amf-window", "4"},
        {"amf-tile", "1x5"},
        {"max-frame-gap", "2"},
        {"logit-scale", "1"},
        {"amf-weight", "1"},
        {"track-weight", "9"},
        {"last-pair-weight", "0.1"},
        {"weight-decay", "0.5"},
        {"beta1", "0.5"},
        {"beta2", "0.5"},
        {"adam-eps", "0.1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        option_changes_result(options[i][0], options[i][1]);
}

/* ---- local attention: the grid has 3x4x5 tokens, the model blocks 0 to 7, of which guidance runs
 * 0 to 4 and the queries and keys of 5 */

static void whole_boxes_change_nothing(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, "--attention", "local", "--attention-window", "3,100%,9"));
    assert_true(file_hash("out.y4m") == base_hash());
    check_done(CLI(TIMEOUT, TRANSFER, "--attention", "local", "--local-phases",
                   "reference,guidance", "--local-blocks", "5-7"));
    assert_true(file_hash("out.y4m") == base_hash());
}

static void local_in_each_phase(void **state)
{
    static const char *const phases[] = {"reference", "guidance", "sampling",
                                         "reference,guidance,sampling"};
    uint64_t hashes[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        check_done(CLI(TIMEOUT, TRANSFER, "--attention", "local", "--attention-window", "2,3,50%",
                       "--local-phases", phases[i], "--recompute", "0"));
        hashes[i] = file_hash("out.y4m");
        assert_true(hashes[i] != base_hash());
        for (int j = 0; j < i; j++)
            assert_true(hashes[i] != hashes[j]);
    }
    for (int level = 1; level < 3; level++) {
        check_done(CLI(TIMEOUT, TRANSFER, "--attention", "local", "--attention-window", "2,3,50%",
                       "--recompute", level == 1 ? "1" : "2"));
        assert_true(file_hash("out.y4m") == hashes[3]);
    }
    size_t length;
    char *json = (char *)file_read("out.y4m.json", &length);
    assert_non_null(json);
    assert_non_null(strstr(json, "\"attention-window\":\t\"2,3,50%\""));
    free(json);
}

static void local_in_motion_files(void **state)
{
    (void)state;
    check_done(CLI(TIMEOUT, TRANSFER, "--attention", "local"));
    const uint64_t once = file_hash("out.y4m");
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT, "--attention", "local"));
    check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                   "out.y4m", SHORT, "--attention", "local"));
    assert_true(file_hash("out.y4m") == once);
    cli_result r = CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                       "out2.y4m", SHORT);
    cli_check_refused("other attention", &r, VMT_E_MISMATCH, "--attention local");
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, EMPTY_PROMPT, "-o",
                   "motion.fvm", SHORT));
    check_done(CLI(TIMEOUT, "transfer", "-m", MODEL, "--motion", "motion.fvm", PROMPT, "-o",
                   "out.y4m", SHORT, "--attention", "local", "--local-phases",
                   "guidance,sampling"));
}

/* ---- other commands */

static void generate_by_each_sampler(void **state)
{
    static const char *const samplers[] = {"euler", "unipc", "dpmpp"};
    uint64_t hashes[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        check_done(CLI(TIMEOUT, "generate", "-m", MODEL, PROMPT, "--size", "64x48", "--frames", "6",
                       "--steps", "3", "--sampler", samplers[i], "-o", "out.y4m", "-y", "-q"));
        hashes[i] = file_hash("out.y4m");
    }
    assert_true(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
}

static void encode_then_decode(void **state)
{
    (void)state;
    check_done(
        CLI(TIMEOUT, "encode", "-m", MODEL, "-r", REFERENCE, "-o", "clip.safetensors", "-y", "-q"));
    check_done(
        CLI(TIMEOUT, "decode", "-m", MODEL, "clip.safetensors", "-o", "out.y4m", "-y", "-q"));
    size_t a, b;
    unsigned char *first = file_read(REFERENCE, &a), *second = file_read("out.y4m", &b);
    assert_true(b > 1000 && memcmp(second, "YUV4MPEG2 W80 H64 F16:1", 23) == 0);
    free(first);
    free(second);
    cli_result r = CLI(TIMEOUT, "info", "clip.safetensors");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.output, "fastvmt-latent"));
    cli_free(&r);
    r = CLI(TIMEOUT, "decode", "-m", MODEL, "motion.fvm", "-o", "out3.y4m", "-q");
    cli_check_refused("motion file as latent", &r, VMT_E_FORMAT, "fastvmt-motion");
}

/* No config.json beside it, and the tiny model's scales are not Wan's: metadata has them. */
static void converted_vae_alone(void **state)
{
    (void)state;
    folder_new("alone");
    check_done(CLI(TIMEOUT, "convert", MODEL "/vae.safetensors", "-o", "alone/vae.safetensors",
                   "--type", "f16", "-q"));
    check_done(CLI(TIMEOUT, "encode", "--vae", "alone/vae.safetensors", "-r", REFERENCE, "-o",
                   "alone/latent", "-q"));
    check_done(CLI(TIMEOUT, "decode", "--vae", "alone/vae.safetensors", "alone/latent", "-o",
                   "alone/out.y4m", "-q"));
    assert_true(file_hash("alone/out.y4m") == file_hash("out.y4m"));
    folder_remove("alone");
}

static void plan_alone(void **state)
{
    (void)state;
    cli_result r = CLI(TIMEOUT, "transfer", "-m", MODEL, "-r", REFERENCE, PROMPT, "--plan");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.errors, "80x64, 9 frames, tokens 3x4x5"));
    assert_null(strstr(r.errors, "local attention"));
    cli_free(&r);
    r = CLI(TIMEOUT, "transfer", "-m", MODEL, "-r", REFERENCE, PROMPT, "--plan", "--attention",
            "local", "--attention-window", "3,50%,2", "--local-phases", "guidance");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.errors, "local attention: 3x1x1 queries see 3x2x2 keys (20 %); "
                                     "guidance, blocks 0-999"));
    cli_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_run_after_run),
        cmocka_unit_test(same_at_every_recompute_level),
        cmocka_unit_test(same_by_motion_file),
        cmocka_unit_test(same_by_motion_file_other_seed),
        cmocka_unit_test(motion_file_of_other_settings_is_refused),
        cmocka_unit_test(same_with_embeddings_from_file),
        cmocka_unit_test(tiles),
        cmocka_unit_test(same_with_previews),
        cmocka_unit_test(same_after_kill_and_resume),
        cmocka_unit_test(interrupt_then_resume),
        cmocka_unit_test(every_option_changes_the_result),
        cmocka_unit_test(whole_boxes_change_nothing),
        cmocka_unit_test(local_in_each_phase),
        cmocka_unit_test(local_in_motion_files),
        cmocka_unit_test(generate_by_each_sampler),
        cmocka_unit_test(encode_then_decode),
        cmocka_unit_test(converted_vae_alone),
        cmocka_unit_test(plan_alone),
    };

    folder_new("transfer");
    if (chdir("transfer"))
        return 1;
    test_write_square(REFERENCE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
