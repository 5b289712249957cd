/* SPDX-License-Identifier: MIT
 *
 * Runs that find their prompts where an earlier one kept them: the same result, and the text
 * encoder is not read.
 */
#include "bad_input.h"

#include "model/tensor_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT = 120, AT_ONCE = 6 };

#define EMBED "embed", "-m", "model", "-p", "a red car on snow", "--threads", "1", "-q", "-y"
#define GENERATE                                                                                   \
    "generate", "-m", "model", "-p", "a cat", "--size", "32x32", "--frames", "5", "--steps", "2",  \
        "--threads", "1", "-y"

static void check_done(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    cli_free(&result);
}

static void check_same(const char *a, const char *b)
{
    size_t left, right;
    unsigned char *x = file_read(a, &left), *y = file_read(b, &right);

    assert_int_equal(left, right);
    assert_memory_equal(x, y, left);
    free(x);
    free(y);
}

/* In the middle of a matrix, where no hash of samples looks; the file's time stays. */
static void damage_encoder(void)
{
    static const unsigned char nan_bf16[2] = {0xc0, 0x7f};
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_tensor_file *file;
    struct stat info;
    size_t length;

    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, MODEL "/text.safetensors"));
    const vmt_tensor *t = vmt_tensor_file_find(file, "blocks.0.ffn.fc1.weight");
    assert_non_null(t);
    const size_t size = vmt_tensor_bytes(t);
    unsigned char *bytes = file_read("model/text.safetensors", &length);
    unsigned char *at = memmem(bytes, length, t->data, size);
    assert_non_null(at);
    assert_true(size > 4 * 4096 && t->dtype == VMT_BF16);
    memcpy(at + size / 2, nan_bf16, sizeof nan_bf16);
    assert_int_equal(stat("model/text.safetensors", &info), 0);
    file_write("model/text.safetensors", bytes, length);
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, "model/text.safetensors", times, 0), 0);
    vmt_tensor_file_close(file);
    test_ctx_close(ctx);
    free(bytes);
}

static void fresh_model(void)
{
    link_model("model", "text.safetensors");
    file_copy("model/text.safetensors", MODEL "/text.safetensors");
    folder_remove("kept");
}

/* With an encoder that can only fail, what was kept is found, and nothing else. */
static void the_encoder_is_not_read(void **state)
{
    (void)state;
    fresh_model();
    check_done(CLI(TIMEOUT, EMBED, "-o", "without.safetensors", "--cache-dir", "none"));
    check_done(CLI(TIMEOUT, EMBED, "-o", "first.safetensors", "--cache-dir", "kept"));
    assert_int_equal(folder_count("kept/prompts"), 2); /* the prompt, and the empty one */
    damage_encoder();
    check_done(CLI(TIMEOUT, EMBED, "-o", "second.safetensors", "--cache-dir", "kept"));
    check_same("without.safetensors", "first.safetensors");
    check_same("without.safetensors", "second.safetensors");
    cli_result r = CLI(TIMEOUT, EMBED, "-o", "x.safetensors", "--cache-dir", "none");
    cli_check_refused("none", &r, VMT_E_NUMERIC, "layer 0");
    r = CLI(TIMEOUT, EMBED, "-o", "x.safetensors", "--cache-size", "0", "--cache-dir", "kept");
    cli_check_refused("size 0", &r, VMT_E_NUMERIC, "layer 0");
    r = CLI(TIMEOUT, EMBED, "-o", "x.safetensors", "--cache-dir", "kept", "-n", "blurred");
    cli_check_refused("negative", &r, VMT_E_NUMERIC, "layer 0");
    r = CLI(TIMEOUT, EMBED, "-o", "x.safetensors", "--cache-dir", "kept", "--dtype", "bf16",
            "--backend", "ref");
    cli_check_refused("backend", &r, VMT_E_NUMERIC, "layer 0");
    assert_false(file_exists("x.safetensors"));
    assert_int_equal(folder_count("kept/prompts"), 2); /* what failed was not kept */
}

/* The plan of a run has no phase of text when it will have none; the clip is the same. */
static void plan_and_result(void **state)
{
    (void)state;
    fresh_model();
    cli_result r = CLI(TIMEOUT, GENERATE, "--cache-dir", "kept", "--plan");
    assert_non_null(strstr(r.errors, "  text  "));
    cli_free(&r);
    assert_false(file_exists("kept"));
    check_done(CLI(TIMEOUT, GENERATE, "--cache-dir", "none", "-o", "without.y4m"));
    check_done(CLI(TIMEOUT, GENERATE, "--cache-dir", "kept", "-o", "first.y4m"));
    r = CLI(TIMEOUT, GENERATE, "--cache-dir", "kept", "--plan");
    assert_int_equal(r.code, 0);
    assert_null(strstr(r.errors, "  text  "));
    cli_free(&r);
    damage_encoder();
    check_done(CLI(TIMEOUT, GENERATE, "--cache-dir", "kept", "-o", "second.y4m"));
    check_same("without.y4m", "first.y4m");
    check_same("without.y4m", "second.y4m");
}

/* All keep the same two entries; each result is whole, and nothing is left beside them. */
static void several_processes_at_once(void **state)
{
    pid_t pids[AT_ONCE];
    char name[64];

    (void)state;
    fresh_model();
    check_done(CLI(TIMEOUT, EMBED, "-o", "without.safetensors", "--cache-dir", "none"));
    for (int i = 0; i < AT_ONCE; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (!pids[i]) {
            snprintf(name, sizeof name, "out%d.safetensors", i);
            execl(FASTVMT_PROGRAM, FASTVMT_PROGRAM, EMBED, "-o", name, "--cache-dir", "kept",
                  (char *)NULL);
            _exit(127);
        }
    }
    for (int i = 0; i < AT_ONCE; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
        snprintf(name, sizeof name, "out%d.safetensors", i);
        check_same("without.safetensors", name);
        remove(name);
    }
    assert_int_equal(folder_count("kept/prompts"), 2);
}

/* A place where nothing can be kept is no reason to stop. */
static void a_place_that_cannot_be_written(void **state)
{
    (void)state;
    fresh_model();
    file_write("kept", "a file", 6);
    cli_result r = CLI(TIMEOUT, GENERATE, "--cache-dir", "kept", "-o", "out.y4m");
    const char *warning = strstr(r.errors, "warning: encoded prompts are not kept: kept/prompts");
    if (r.code || !warning || strstr(warning + 1, "warning: "))
        fail_msg("exit code %d: %s", r.code, r.errors);
    cli_free(&r);
    assert_true(file_exists("out.y4m"));
    folder_remove("kept");
}

static void bad_options(void **state)
{
    (void)state;
    REFUSED("size", VMT_E_ARG, "--cache-size 1T: a size", EMBED, "--cache-size", "1T");
    REFUSED("size", VMT_E_ARG, "--cache-size M: a size", EMBED, "--cache-size", "M");
    REFUSED("size", VMT_E_ARG, "--cache-size -1: a size", EMBED, "--cache-size", "-1");
    REFUSED("bench", VMT_E_ARG, "belong to bench table", "bench", "--cache-dir", "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_encoder_is_not_read), cmocka_unit_test(plan_and_result),
        cmocka_unit_test(several_processes_at_once),
        cmocka_unit_test(a_place_that_cannot_be_written), cmocka_unit_test(bad_options)};

    folder_new("kept_prompts");
    if (chdir("kept_prompts"))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
