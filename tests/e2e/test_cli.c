/* SPDX-License-Identifier: MIT
 *
 * The program's manners: help, mistakes on the command line, progress, files it takes and makes.
 * What it computes is tested in test_transfer.c.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"

#include <cJSON.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL SOURCE_ROOT "/models/tiny"
#define FOLDER "cli_files/"
#define REFERENCE FOLDER "reference.y4m"

enum { TIMEOUT = 300 };

/* The least that is a whole run: one guided step of two. */
#define LEAST "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "--cfg", "1"
#define TRANSFER "transfer", "-m", MODEL, "-r", REFERENCE, "-p", "a red car", LEAST

static vmt_ctx ctx;

static int make_inputs(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    folder_new("cli_files");
    vmt_clip clip = test_clip_smooth(&ctx, 5, 64, 48, 16);
    CHECK_OK(&ctx, media_write(&ctx, &clip, REFERENCE, NULL));
    vmt_clip_free(&clip);
    return 0;
}

static int remove_inputs(void **state)
{
    (void)state;
    cli_result gone = COMMAND(10, "rm", "-r", "cli_files");
    cli_free(&gone);
    return 0;
}

static void check_done(cli_result *result)
{
    if (result->code != 0)
        fail_msg("exit code %d: %s", result->code, result->errors);
}

static void check_clip(const char *path, int64_t frames, int64_t width, int64_t height)
{
    vmt_clip clip;

    CHECK_OK(&ctx, media_read(&ctx, &clip, path, NULL));
    assert_int_equal(clip.frames, frames);
    assert_int_equal(clip.width, width);
    assert_int_equal(clip.height, height);
    vmt_clip_free(&clip);
}

/* ---- help and mistakes */

/* Whether or not there is a device, the program says so and goes on; asked for by name, a device
 * that is not there is an error, and nothing is computed by the CPU instead. */
static void devices(void **state)
{
    (void)state;
    cli_result r = CLI(60, "devices");
    check_done(&r);
    assert_non_null(strstr(r.output, "auto is "));
    assert_non_null(strstr(r.output, "cuda: "));
    const bool none = strstr(r.output, "cuda: none: ") != NULL;
    cli_free(&r);
    r = CLI(60, "generate", "-m", MODEL, "-p", "a red car", LEAST, "--frames", "5", "--size",
            "32x32", "--backend", "cuda", "--device", none ? "0" : "1000", "-o",
            FOLDER "device.y4m");
    assert_int_equal(r.code, none ? VMT_E_UNSUPPORTED : VMT_E_ARG);
    assert_non_null(strstr(r.errors, "backend cuda: "));
    assert_null(strchr(strchr(r.errors, '\n') + 1, '\n')); /* one line */
    assert_int_not_equal(access(FOLDER "device.y4m", F_OK), 0);
    cli_free(&r);
}

static void help(void **state)
{
    static const char *const commands[] = {"transfer",   "generate", "extract", "encode",
                                           "decode",     "embed",    "info",    "probe",
                                           "make-model", "convert",  "show",    "bench"};
    cli_result r = CLI(10, "--help");
    (void)state;
    check_done(&r);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_non_null(strstr(r.output, commands[i]));
        cli_result of = CLI(10, commands[i], "--help");
        check_done(&of);
        assert_string_equal(of.errors, "");
        assert_non_null(strstr(of.output, "Examples\n  fastvmt "));
        assert_non_null(strstr(of.output, "130 stopped"));
        cli_free(&of);
    }
    cli_free(&r);
    r = CLI(10, "transfer", "-h");
    assert_non_null(strstr(r.output, "--amf-window"));
    assert_non_null(strstr(r.output, "--checkpoint"));
    cli_free(&r);
    r = CLI(60, "info", MODEL);
    assert_string_equal(r.errors, "");
    cli_free(&r);
    r = CLI(10, "info", TEST_DATA "/golden/rng_a.safetensors");
    assert_non_null(strstr(r.output, "20800 bytes copied to memory: unaligned"));
    cli_free(&r);
    r = CLI(60, "info", "--verbose", MODEL);
    assert_non_null(strstr(r.errors, "backend "));
    cli_free(&r);
    r = CLI(60, "info", "--check", MODEL);
    check_done(&r);
    assert_non_null(strstr(r.output, "\nchecked: "));
    cli_free(&r);
    r = CLI(10, "--version");
    assert_string_equal(r.output, "fastvmt 0.1.0\n");
    cli_free(&r);
}

static void refused(int code, const char *text, const char *const *arguments)
{
    cli_result r = cli_run(arguments, 60);
    cli_check_refused(arguments[0] ? arguments[0] : "nothing", &r, code, text);
}

#define REFUSED(code, text, ...) refused(code, text, (const char *const[]){__VA_ARGS__, NULL})

static void mistakes(void **state)
{
    (void)state;
    REFUSED(2, "no command", NULL);
    REFUSED(2, "--check is for models", "info", "--check", REFERENCE);
    REFUSED(2, "did you mean transfer", "transfr");
    REFUSED(2, "did you mean --amf-window", TRANSFER, "-o", FOLDER "x.y4m", "--afm-window", "5");
    REFUSED(2, "knows no option --x", TRANSFER, "-x", "5");
    REFUSED(2, "needs a value", TRANSFER, "-o");
    REFUSED(2, "needs an output", TRANSFER);
    REFUSED(2, "--steps 0", TRANSFER, "-o", FOLDER "x.y4m", "--steps", "0");
    REFUSED(2, "--seed -1", TRANSFER, "-o", FOLDER "x.y4m", "--seed", "-1");
    REFUSED(2, "--size", TRANSFER, "-o", FOLDER "x.y4m", "--size", "64");
    REFUSED(2, "--fit", TRANSFER, "-o", FOLDER "x.y4m", "--fit", "squeeze");
    REFUSED(2, "--damaged x: one of", TRANSFER, "-o", FOLDER "x.y4m", "--damaged", "x");
    REFUSED(2, "--crf", TRANSFER, "-o", FOLDER "x.mp4", "--crf", "64");
    REFUSED(2, "--preview 0", TRANSFER, "-o", FOLDER "x.y4m", "--preview", "0");
    REFUSED(2, "--preview N", TRANSFER, "-o", FOLDER "x.y4m", "--preview-path", FOLDER "x.png");
    REFUSED(2, "kind of picture", TRANSFER, "-o", FOLDER "x.y4m", "--preview", "1",
            "--preview-path", FOLDER "x.mp4");
    REFUSED(2, "-y overwrites", TRANSFER, "-o", FOLDER "x.y4m", "--preview", "1", "--preview-path",
            REFERENCE);
    REFUSED(2, "--progress", TRANSFER, "-o", FOLDER "x.y4m", "--progress", "loud");
    REFUSED(2, "generate takes no motion", "generate", "-m", MODEL, "-p", "a cat", "-o",
            FOLDER "x.y4m", "--motion", REFERENCE);
    REFUSED(2, "--compare", "generate", "-m", MODEL, "-p", "a cat", "-o", FOLDER "x.y4m",
            "--compare", FOLDER "y.y4m");
    REFUSED(2, "--preset", TRANSFER, "-o", FOLDER "x.y4m", "--preset", "none");
    REFUSED(2, "unknown kind of output", TRANSFER, "-o", FOLDER "x.xyz");
    REFUSED(2, "--crf is for h264", TRANSFER, "-o", FOLDER "x.y4m", "--crf", "5");
    REFUSED(2, "--codec vp8: one of", TRANSFER, "-o", FOLDER "x.mkv", "--codec", "vp8");
    REFUSED(2, "no --codec ffv1 there", TRANSFER, "-o", FOLDER "x.mp4", "--codec", "ffv1");
    REFUSED(2, "0 to 51 for h264", TRANSFER, "-o", FOLDER "x.mp4", "--crf", "52");
    REFUSED(2, "--size 0x48", TRANSFER, "-o", REFERENCE, "-y", "--frames", "2", "--size", "0x48");
    REFUSED(2, "-y overwrites", TRANSFER, "-o", REFERENCE);
    REFUSED(2, "only 5", TRANSFER, "-o", FOLDER "x.y4m", "--frames", "6");
    REFUSED(2, "--start", TRANSFER, "-o", FOLDER "x.y4m", "--start", "5");
    REFUSED(2, "prompt", "transfer", "-m", MODEL, "-r", REFERENCE, "-o", FOLDER "x.y4m");
    REFUSED(2, "reference", "transfer", "-m", MODEL, "-p", "a cat", "-o", FOLDER "x.y4m");
    REFUSED(4, "no/", TRANSFER, "-o", FOLDER "no/x.y4m");
    REFUSED(4, "none.y4m", "transfer", "-m", MODEL, "-p", "a cat", "-o", FOLDER "x.y4m", "-r",
            FOLDER "none.y4m");
    REFUSED(4, "none", "transfer", "-m", FOLDER "none", "-p", "a cat", "-o", FOLDER "x.y4m", "-r",
            REFERENCE);
    REFUSED(2, "backend", TRANSFER, "-o", FOLDER "x.y4m", "--backend", "abacus");
    REFUSED(2, "info needs", "info");
    REFUSED(4, "none", "info", FOLDER "none");
    assert_int_equal(folder_count("cli_files"), 1);
}

static void bad_references(void **state)
{
    static const struct {
        const char *bytes, *text;
        int code;
    } cases[] = {
        {"", "empty file", 5},
        {"YUV4MPEG2 W16000 H16 F16:1 C444\nFRAME\n", "16000x16", 5},
        {"YUV4MPEG2 W16 H16 F16:1 C444\n", "no frame", 5},
        {"YUV4MPEG2 W16 H16 F16:1 C444\nFRAME\nabc", "cut off", 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_write(FOLDER "bad.y4m", cases[i].bytes, strlen(cases[i].bytes));
        REFUSED(cases[i].code, cases[i].text, "transfer", "-m", MODEL, "-p", "a cat", "-o",
                FOLDER "x.y4m", "-r", FOLDER "bad.y4m");
    }
    unlink(FOLDER "bad.y4m");
    assert_int_equal(folder_count("cli_files"), 1);
}

static void plan_from_motion_file(void **state)
{
    (void)state;
    cli_result r = CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, LEAST, "-o",
                       FOLDER "motion.fvm", "-q");
    check_done(&r);
    cli_free(&r);
    r = CLI(60, "transfer", "-m", MODEL, "--motion", FOLDER "motion.fvm", "-p", "a cat", LEAST,
            "--plan");
    check_done(&r);
    assert_non_null(strstr(r.errors, "64x48, 5 frames"));
    assert_non_null(strstr(r.errors, "1 guided"));
    assert_null(strstr(r.errors, "encode"));
    cli_free(&r);
    r = CLI(60, TRANSFER, "--plan");
    check_done(&r);
    assert_non_null(strstr(r.errors, "encode"));
    cli_free(&r);
    unlink(FOLDER "motion.fvm");
    assert_int_equal(folder_count("cli_files"), 1);
}

/* ---- what comes out */

static void odd_size_and_count(void **state)
{
    cli_result r = CLI(TIMEOUT, TRANSFER, "-o", FOLDER "odd.y4m", "--size", "45x37", "--frames",
                       "3", "--start", "1", "-q");
    (void)state;
    check_done(&r);
    assert_string_equal(r.output, "");
    assert_string_equal(r.errors, "");
    cli_free(&r);
    check_clip(FOLDER "odd.y4m", 3, 45, 37);
    unlink(FOLDER "odd.y4m");
    unlink(FOLDER "odd.y4m.json");
    assert_int_equal(folder_count("cli_files"), 1);
}

/* Y4M through pipes, in and out, is what goes through files. */
static void standard_streams(void **state)
{
    (void)state;
    cli_result r = CLI(TIMEOUT, TRANSFER, "-o", FOLDER "file.y4m", "-q");
    check_done(&r);
    cli_free(&r);
    r = COMMAND(TIMEOUT, "sh", "-c",
                "cd " FOLDER " && cat reference.y4m | " FASTVMT_PROGRAM " transfer -m " MODEL
                " -r - -p 'a red car' --steps 2 --guided-steps 1 --inner-steps 1 --cfg 1 -q -o - "
                "> pipe.y4m && cmp pipe.y4m file.y4m");
    check_done(&r);
    cli_free(&r);
    /* a reader that is gone is an error, not a death */
    r = COMMAND(TIMEOUT, "sh", "-c",
                "cd " FOLDER " && " FASTVMT_PROGRAM " encode -m " MODEL
                " -r reference.y4m -o a.latent -q && { " FASTVMT_PROGRAM " decode -m " MODEL
                " a.latent -q -o - 2>said; test $? = 4 && rm a.latent; } | true");
    cli_free(&r);
    assert_false(file_exists(FOLDER "a.latent"));
    size_t length;
    char *said = (char *)file_read(FOLDER "said", &length);
    assert_string_equal(said, "fastvmt: standard output: Broken pipe\n");
    free(said);
    unlink(FOLDER "said");
    unlink(FOLDER "file.y4m");
    unlink(FOLDER "file.y4m.json");
    unlink(FOLDER "pipe.y4m");
    assert_int_equal(folder_count("cli_files"), 1);
}

static void folder_of_pictures(void **state)
{
    (void)state;
    if (!media_has_libav())
        skip();
    cli_result r = CLI(TIMEOUT, TRANSFER, "-o", FOLDER "pictures/", "-q");
    check_done(&r);
    cli_free(&r);
    check_clip(FOLDER "pictures", 5, 64, 48);
    assert_int_equal(folder_count("cli_files/pictures"), 5);
    assert_true(file_exists(FOLDER "pictures.json"));
    REFUSED(2, "-y overwrites", TRANSFER, "-o", FOLDER "pictures");
    r = CLI(60, "encode", "-m", MODEL, "-r", FOLDER "pictures", "-o", FOLDER "l.safetensors", "-q");
    check_done(&r);
    cli_free(&r);
    r = COMMAND(10, "rm", "-r", FOLDER "pictures", FOLDER "pictures.json", FOLDER "l.safetensors");
    cli_free(&r);
    assert_int_equal(folder_count("cli_files"), 1);
}

/* The command line that `info` prints for a result makes the same result again. */
static void info_gives_the_command(void **state)
{
    const char *name = media_has_libav() ? FOLDER "made.mp4" : FOLDER "made.y4m";
    const char *told = media_has_libav() ? name : FOLDER "made.y4m.json";
    char script[8192];
    size_t first_bytes, second_bytes;
    (void)state;
    cli_result r =
        CLI(TIMEOUT, "transfer", "-m", MODEL, "-r", REFERENCE, "-p", "it's \"a\" $HOME `car`",
            LEAST, "--seed", "7", "--stride", "2", "-o", name, "-q");
    check_done(&r);
    cli_free(&r);
    unsigned char *first = file_read(name, &first_bytes);
    r = CLI(60, "info", told);
    check_done(&r);
    const char *line = strstr(r.output, "fastvmt transfer ");
    assert_non_null(line);
    snprintf(script, sizeof script, "%s%s", FASTVMT_PROGRAM, line + strlen("fastvmt"));
    script[strcspn(script, "\n")] = '\0';
    strncat(script, " -y -q", sizeof script - strlen(script) - 1);
    cli_free(&r);
    r = COMMAND(TIMEOUT, "sh", "-c", script);
    check_done(&r);
    cli_free(&r);
    unsigned char *second = file_read(name, &second_bytes);
    check_clip(name, 3, 64, 48);
    if (!media_has_libav()) {
        assert_int_equal(first_bytes, second_bytes);
        assert_memory_equal(first, second, first_bytes);
    } else { /* the comment holds times: compare pictures */
        vmt_clip a, b;
        CHECK_OK(&ctx, media_read(&ctx, &b, name, NULL));
        file_write(name, first, first_bytes);
        CHECK_OK(&ctx, media_read(&ctx, &a, name, NULL));
        assert_int_equal(test_clip_distance(&a, &b), 0);
        vmt_clip_free(&a);
        vmt_clip_free(&b);
    }
    free(first);
    free(second);
    unlink(name);
    unlink(FOLDER "made.mp4.json");
    unlink(FOLDER "made.y4m.json");
    assert_int_equal(folder_count("cli_files"), 1);
}

/* Alone in a folder the program does not find the module, as where libav is not installed. */
static void without_libav(void **state)
{
    (void)state;
    cli_result r = COMMAND(60, "sh", "-c",
                           "mkdir " FOLDER "alone && mkdir " FOLDER
                           "alone/bin && cp " FASTVMT_PROGRAM " " FOLDER "alone/bin/fastvmt");
    check_done(&r);
    cli_free(&r);
    r = COMMAND(TIMEOUT, FOLDER "alone/bin/fastvmt", TRANSFER, "-o", FOLDER "x.mp4");
    cli_check_refused("mp4 without libav", &r, 9, "needs libav");
    r = COMMAND(TIMEOUT, FOLDER "alone/bin/fastvmt", "encode", "-m", MODEL, "-r",
                SOURCE_ROOT "/demo/refs/07_swing.mkv", "-o", FOLDER "x.safetensors");
    cli_check_refused("mkv without libav", &r, 9, "needs libav");
    r = COMMAND(TIMEOUT, FOLDER "alone/bin/fastvmt", TRANSFER, "-o", FOLDER "x.y4m", "-q");
    check_done(&r);
    cli_free(&r);
    check_clip(FOLDER "x.y4m", 5, 64, 48);
    r = COMMAND(TIMEOUT, FOLDER "alone/bin/fastvmt", TRANSFER, "-o", FOLDER "x.gif", "-q");
    check_done(&r);
    cli_free(&r);
    if (media_has_libav())
        check_clip(FOLDER "x.gif", 5, 64, 48);
    r = COMMAND(10, "rm", "-r", FOLDER "alone", FOLDER "x.y4m", FOLDER "x.y4m.json", FOLDER "x.gif",
                FOLDER "x.gif.json");
    cli_free(&r);
    assert_int_equal(folder_count("cli_files"), 1);
}

static void comparison(void **state)
{
    (void)state;
    cli_result r = CLI(TIMEOUT, TRANSFER, "-o", FOLDER "a.y4m", "--compare", FOLDER "b.y4m");
    check_done(&r);
    assert_non_null(strstr(r.errors, "a.y4m"));
    assert_non_null(strstr(r.errors, "b.y4m"));
    assert_non_null(strstr(r.errors, "sample "));
    cli_free(&r);
    check_clip(FOLDER "b.y4m", 5, 2 * 7 * 64, 7 * 48); /* enlarged to at least 448 a half */
    unlink(FOLDER "a.y4m");
    unlink(FOLDER "b.y4m");
    unlink(FOLDER "a.y4m.json");
}

/* ---- progress */

static void progress_as_json(void **state)
{
    int lines = 0, samples = 0;
    (void)state;
    cli_result r = CLI(TIMEOUT, TRANSFER, "-o", FOLDER "p.y4m", "--progress", "json", "-q");
    check_done(&r);
    for (char *line = strtok(r.errors, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        cJSON *one = cJSON_Parse(line);
        const cJSON *phase = cJSON_GetObjectItem(one, "phase");
        if (!cJSON_IsString(phase) || !cJSON_IsNumber(cJSON_GetObjectItem(one, "step")) ||
            !cJSON_HasObjectItem(one, "seconds_left") || !cJSON_HasObjectItem(one, "amf_loss") ||
            !cJSON_IsNumber(cJSON_GetObjectItem(one, "memory_peak")) ||
            !cJSON_IsNumber(cJSON_GetObjectItem(one, "memory_planned")) ||
            !cJSON_IsNumber(cJSON_GetObjectItem(one, "memory_taken")))
            fail_msg("no progress object: %s", line);
        samples += !strcmp(phase->valuestring, "sample") &&
                   cJSON_IsNumber(cJSON_GetObjectItem(one, "loss"));
        cJSON_Delete(one);
    }
    assert_true(lines >= 8 && samples >= 1);
    cli_free(&r);
    unlink(FOLDER "p.y4m");
    unlink(FOLDER "p.y4m.json");
}

/* The line printed for going on: a shell command; it ends the buffer there. */
static char *command_to_go_on(char *errors)
{
    char *line = strstr(errors, "go on with:\n");

    assert_non_null(line);
    line += strlen("go on with:\n");
    line[strcspn(line, "\n")] = '\0';
    return line;
}

/* SIGINT: exit code 130, and the printed line goes on to the result of an undisturbed run. */
static void interrupted(void **state)
{
    char script[4096];
    size_t whole_bytes, resumed_bytes;
    (void)state;
    snprintf(script, sizeof script,
             "cd %s && R='%s transfer -m %s -r reference.y4m --steps 60 --guided-steps 4 "
             "--inner-steps 4 --cfg 1 -q --progress json -p' && $R 'a \"$x\" car' -o whole.y4m "
             "2>/dev/null && { $R 'a \"$x\" car' -o stopped.y4m 2>log & P=$!; "
             "until grep -q '\"phase\":\"sample\",\"step\":1' log; do sleep 0.05; done; "
             "kill -INT $P; wait $P; test $? = 130; }",
             FOLDER, FASTVMT_PROGRAM, MODEL);
    /* non-interactive shells ignore SIGINT in background jobs; the program sets its own handler */
    cli_result r = COMMAND(TIMEOUT, "sh", "-c", script);
    check_done(&r);
    cli_free(&r);
    assert_false(file_exists(FOLDER "stopped.y4m"));
    size_t length;
    char *log = (char *)file_read(FOLDER "log", &length);
    snprintf(script, sizeof script, "cd %s && %s 2>/dev/null", FOLDER, command_to_go_on(log));
    r = COMMAND(TIMEOUT, "sh", "-c", script);
    check_done(&r);
    cli_free(&r);
    free(log);
    unsigned char *whole = file_read(FOLDER "whole.y4m", &whole_bytes);
    unsigned char *resumed = file_read(FOLDER "stopped.y4m", &resumed_bytes);
    assert_int_equal(whole_bytes, resumed_bytes);
    assert_memory_equal(whole, resumed, whole_bytes);
    free(whole);
    free(resumed);
    assert_false(file_exists(FOLDER "stopped.y4m.state.safetensors"));
}

/* ---- a full disk */

/* Nothing half-written; the latent stays, and the printed line makes the result of it. */
static void full_disk(void **state)
{
    (void)state;
    cli_result r = COMMAND(TIMEOUT, "sh", "-c",
                           "ulimit -f 64 && exec " FASTVMT_PROGRAM " transfer -m " MODEL
                           " -r " REFERENCE " -p cat --steps 2 --guided-steps 1 --inner-steps 1 "
                           "--cfg 1 -q -o " FOLDER "full.y4m");
    assert_int_equal(r.code, 4);
    assert_non_null(strstr(r.errors, "fastvmt: " FOLDER "full.y4m"));
    assert_false(file_exists(FOLDER "full.y4m"));
    cli_result again = COMMAND(60, "sh", "-c", command_to_go_on(r.errors));
    check_done(&again);
    check_clip(FOLDER "full.y4m", 5, 64, 48);
    cli_free(&again);
    cli_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help),
        cmocka_unit_test(devices),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(bad_references),
        cmocka_unit_test(plan_from_motion_file),
        cmocka_unit_test(odd_size_and_count),
        cmocka_unit_test(standard_streams),
        cmocka_unit_test(folder_of_pictures),
        cmocka_unit_test(info_gives_the_command),
        cmocka_unit_test(without_libav),
        cmocka_unit_test(comparison),
        cmocka_unit_test(progress_as_json),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, make_inputs, remove_inputs);
}
