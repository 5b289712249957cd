/* SPDX-License-Identifier: MIT
 *
 * The bench: every part is there, as a table and as JSON, and its counts of operations are those
 * written out below by hand.  No time is judged.
 *
 * The shape "tiny": width 64, feed-forward 160, 3 blocks, text 512 rows of 48; text encoder 48, 64,
 * 128, 2 layers; autoencoder 4, 8, 16, 16 channels.  32x32 pixels with 5 frames are 2x2x2 tokens.
 */
#include "cli_run.h"
#include "clips.h"

#include <cJSON.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT = 300 };

#define TINY "--shape", "tiny", "--size", "32x32", "--frames", "5", "--runs", "1"

/* ---- by hand; a multiplication and its addition are two */

enum { N = 8, D = 64, F = 160, L = 512 };

static const double EMBED = 2. * N * D * 64, HEAD = 2. * N * D * 64;
static const double SELF = 4 * 2. * N * D * D, CROSS = 2 * 2. * N * D * D, FFN = 2 * 2. * N * D * F;
static const double SELF_PAIRS = 2. * N * N * D, CROSS_PAIRS = 2. * N * L * D;

static double block_forward(void)
{
    return SELF + CROSS + FFN + 2 * SELF_PAIRS + 2 * CROSS_PAIRS;
}

/* Attention: logits again, dP, dq; dk and dv too where the keys are not the text's. */
static double block_backward(void)
{
    return SELF + CROSS + FFN + 5 * SELF_PAIRS + 3 * CROSS_PAIRS;
}

/* Products of the 3x3x3 residual block. */
static double res(double in, double out)
{
    return 27 * in * out + 27 * out * out + (in == out ? 0 : in * out);
}

/* 5 frames of 32x32 cells, 5 of 16x16, 3 of 8x8, 2 of 4x4; temporal filters skip the first frame.
 */
static double vae_encode(void)
{
    const double products = 5 * 1024. * (27 * 3 * 4 + 2 * res(4, 4)) + 5 * 256. * 9 * 4 * 4 +
                            5 * 256. * (res(4, 8) + res(8, 8)) + 5 * 64. * 9 * 8 * 8 +
                            2 * 64. * 3 * 8 * 8 + 3 * 64. * (res(8, 16) + res(16, 16)) +
                            3 * 16. * 9 * 16 * 16 + 1 * 16. * 3 * 16 * 16 +
                            2 * 16. * 2 * res(16, 16) + /* level, then the middle */
                            2 * 16. * (2 * res(16, 16) + 4 * 16 * 16 + 2 * 16 * 16) +
                            2 * 16. * (27 * 16 * 32 + 32 * 16);
    return 2 * products;
}

static double vae_decode(void)
{
    const double products = 2 * 16. * (16 * 16 + 27 * 16 * 16) +
                            2 * 16. * (2 * res(16, 16) + 4 * 16 * 16 + 2 * 16 * 16) +
                            2 * 16. * 3 * res(16, 16) + 1 * 16. * 3 * 16 * 32 +
                            3 * 64. * (9 * 16 * 8 + res(8, 16) + 2 * res(16, 16)) +
                            2 * 64. * 3 * 16 * 32 + 5 * 256. * (9 * 16 * 8 + 3 * res(8, 8)) +
                            5 * 1024. * (9 * 8 * 4 + 3 * res(4, 4) + 27 * 4 * 3);
    return 2 * products;
}

/* ---- the program */

static const cJSON *row_of(const cJSON *root, const char *part, const char *what)
{
    const cJSON *row;

    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        if (!strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "part")), part) &&
            !strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "what")), what))
            return row;
    }
    fail_msg("no row %s, %s", part, what);
    return NULL;
}

static double number(const cJSON *row, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(row, key);

    if (!cJSON_IsNumber(item))
        fail_msg("no number \"%s\" in %s", key,
                 cJSON_GetStringValue(cJSON_GetObjectItem(row, "what")));
    return item->valuedouble;
}

/* Counts, clocks in order, and that something was measured. */
static void check_row(const cJSON *root, const char *part, const char *what, double flop)
{
    const cJSON *row = row_of(root, part, what);

    if (fabs(number(row, "flop") - flop) > 1e-9 * flop)
        fail_msg("%s, %s: %.1f operations, by hand %.1f", part, what, number(row, "flop"), flop);
    assert_true(number(row, "seconds_least") <= number(row, "seconds"));
    assert_true(number(row, "seconds") <= number(row, "seconds_most"));
    assert_true(number(row, "processor_seconds") > 0);
    assert_true(number(row, "flop_per_second") > 0);
}

static cJSON *run_json(const char *const *arguments)
{
    cli_result r = cli_run(arguments, TIMEOUT);
    if (r.code != 0)
        fail_msg("exit code %d: %s", r.code, r.errors);
    assert_string_equal(r.errors, "");
    cJSON *root = cJSON_Parse(r.output);
    if (!root)
        fail_msg("no JSON: %.300s", r.output);
    cli_free(&r);
    return root;
}

#define RUN_JSON(...) run_json((const char *const[]){"bench", __VA_ARGS__, "--json", NULL})

static void json_has_every_part(void **state)
{
    static const char *const levels[] = {"forward + backward, all saved",
                                         "forward + backward, attention saved",
                                         "forward + backward, recomputed"};
    const double both = block_forward() + block_backward() + 2 * EMBED / 3;
    /* recomputed: all but the last matrix and, at level 1, self-attention */
    const double again[] = {0, block_forward() - FFN / 2 - 2 * SELF_PAIRS,
                            block_forward() - FFN / 2};
    cJSON *root = RUN_JSON(TINY);

    (void)state;
    assert_int_equal((int)number(root, "tokens"), N);
    assert_int_equal((int)number(root, "width"), 32);
    assert_int_equal((int)number(root, "runs"), 1);
    check_row(root, "dit", "forward", EMBED + 3 * block_forward() + HEAD);
    check_row(root, "block", "forward", block_forward() + EMBED / 3);
    for (int i = 0; i < 3; i++) {
        check_row(root, "block", levels[i], both + again[i]);
        assert_true(number(row_of(root, "block", levels[i]), "ratio") > 0);
    }
    check_row(root, "attention", "self, forward", 2 * SELF_PAIRS);
    check_row(root, "attention", "self, backward", 5 * SELF_PAIRS);
    check_row(root, "attention", "text, forward", 2 * CROSS_PAIRS);
    check_row(root, "attention", "text, backward", 3 * CROSS_PAIRS);
    check_row(root, "text", "UMT5 forward",
              2 * 2. * L * (4 * 48 * 64 + 3 * 48 * 128 + 2. * L * 64));
    check_row(root, "encode", "VAE encode", vae_encode());
    check_row(root, "decode", "VAE decode", vae_decode());
    assert_true(number(row_of(root, "load", "cat, from page cache"), "file_bytes") > 5e5);
    assert_true(number(row_of(root, "load", "map and prepare, from page cache"), "ratio") > 0);
    assert_true(number(row_of(root, "memory", "sample"), "planned_bytes") >
                number(row_of(root, "memory", "sample"), "converted_weight_bytes"));
#ifdef FASTVMT_HAVE_DNNL
    check_row(root, "ceiling", "oneDNN matmul", 2. * 2048 * 2048 * 2048);
    assert_true(number(root, "ceiling_flop_per_second") > 0);
    assert_true(number(row_of(root, "dit", "forward"), "of_ceiling") > 0);
#endif
    cJSON_Delete(root);
}

/* f32 file, bf16 activations: two bytes for each weight of the file. */
static void load_converts(void **state)
{
    cJSON *root = RUN_JSON(TINY, "--parts", "load", "--dtype", "bf16");
    const cJSON *row = row_of(root, "load", "map and prepare, from page cache");

    (void)state;
#ifdef FASTVMT_HAVE_DNNL /* without it weights are used where they are mapped */
    assert_true(number(row, "converted_weight_bytes") > 0.45 * number(row, "file_bytes"));
#else
    assert_non_null(row);
#endif
    cJSON_Delete(root);
    root = RUN_JSON("--parts", "load", "--runs", "1", "-m", SOURCE_ROOT "/models/tiny");
    assert_non_null(row_of(root, "load", "map and prepare, from page cache"));
    cJSON_Delete(root);
}

static void table_has_every_part(void **state)
{
    static const char *const words[] = {"\ndit ",    "\nblock ", "\nattention ", "\nload ",
                                        "\nmemory ", "GFLOP/s",  "GB/s",         "8 tokens"};
    cli_result r = CLI(TIMEOUT, "bench", TINY, "--parts", "dit,block,attention,load,memory");

    (void)state;
    if (r.code != 0)
        fail_msg("exit code %d: %s", r.code, r.errors);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(r.output, words[i]))
            fail_msg("no \"%s\" in:\n%s", words[i], r.output);
    assert_null(strstr(r.output, "\ntext "));
    cli_free(&r);
}

/* 2x2x2 tokens, of which each sees two frames of one. */
static void local_attention(void **state)
{
    const double keys = 2, pairs = SELF_PAIRS * keys / N;
    const double saved = 2 * (SELF_PAIRS - pairs);
    cJSON *root = RUN_JSON(TINY, "--parts", "dit,block,attention", "--attention", "local",
                           "--attention-window", "2,1,1");

    (void)state;
    check_row(root, "dit", "forward", EMBED + 3 * (block_forward() - saved) + HEAD);
    check_row(root, "block", "forward + backward, all saved",
              block_forward() + block_backward() + 2 * EMBED / 3 - 3.5 * saved);
    check_row(root, "attention", "self, forward", 2 * SELF_PAIRS);
    check_row(root, "attention", "local, forward", 2 * pairs);
    check_row(root, "attention", "local, backward", 5 * pairs);
    assert_true(number(row_of(root, "attention", "local, backward"), "ratio") > 0);
    check_row(root, "attention", "text, backward", 3 * CROSS_PAIRS);
    cJSON_Delete(root);
}

static void ops(void **state)
{
    cJSON *root = run_json(
        (const char *const[]){"bench", "ops", "--op", "gelu", "--runs", "1", "--json", NULL});
    const cJSON *row = row_of(root, "ops", "gelu");

    (void)state;
    assert_int_equal((int)number(row, "elements"), 540 * 640);
    cJSON_Delete(root);
}

static void transfer(void **state)
{
    (void)state;
    if (!TEST_HAS_SENTENCEPIECE)
        skip(); /* its prompt is text */
    cJSON *root = run_json((const char *const[]){
        "bench", "transfer", "-m", SOURCE_ROOT "/models/tiny", "--size", "48x32", "--frames", "5",
        "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "--cfg", "1", "--json", NULL});
    const char *const phases[] = {"text", "encode", "extract", "sample", "decode"};
    double flop = 0;

    for (int i = 0; i < 5; i++) {
        flop += number(row_of(root, "transfer", phases[i]), "flop");
        assert_true(number(row_of(root, "transfer", phases[i]), "planned_bytes") > 0);
    }
    assert_true(fabs(flop - number(row_of(root, "transfer", "all"), "flop")) < 1e-6 * flop);
    cJSON_Delete(root);
}

static const cJSON *method_of(const cJSON *root, const char *name)
{
    const cJSON *row;

    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "methods"))
    {
        if (!strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "method")), name))
            return row;
    }
    fail_msg("no method %s", name);
    return NULL;
}

/* The sums are those of the parts; every method is there. */
static void methods(void **state)
{
    (void)state;
    if (!TEST_HAS_SENTENCEPIECE)
        skip(); /* its prompt is text */
    cJSON *root =
        run_json((const char *const[]){"bench", "methods", "-q", "-m", SOURCE_ROOT "/models/tiny",
                                       "--size", "48x32", "--frames", "5", "--json", NULL});
    const cJSON *own = method_of(root, "fastvmt"), *base = method_of(root, "ditflow-10");
    const double inner = number(base, "gradients") / number(base, "guided_steps");
    const double computed = number(own, "gradients") / number(own, "guided_steps");
    const double guided = number(own, "reference_seconds") +
                          computed * number(own, "computed_inner_step_seconds") +
                          (inner - computed) * number(own, "reused_inner_step_seconds");
    const double loop = number(own, "guided_steps") * number(own, "guided_step_seconds") +
                        number(own, "steps") * number(own, "plain_step_seconds");

    for (size_t i = 0; vmt_method_at(i); i++)
        assert_true(number(method_of(root, vmt_method_at(i)->name), "plain_step_seconds") > 0);
    assert_true(computed < inner);
    assert_true(fabs(guided / number(own, "guided_step_seconds") - 1) < 1e-9);
    assert_true(fabs(loop / number(own, "loop_seconds") - 1) < 1e-9);
    assert_true(number(own, "whole_seconds") > number(own, "loop_seconds"));
    assert_true(fabs(number(base, "loop_faster") - 1) < 1e-9);
    assert_true(number(own, "planned_bytes") > 0);
    cJSON_Delete(root);
}

/* With --full the run's own time is there beside the sum. */
static void methods_whole(void **state)
{
    (void)state;
    if (!TEST_HAS_SENTENCEPIECE)
        skip();
    cJSON *root = run_json(
        (const char *const[]){"bench", "methods", "-q", "-m", SOURCE_ROOT "/models/tiny", "--size",
                              "48x32", "--frames", "5", "--method", "fastvmt", "--steps", "4",
                              "--guided-steps", "2", "--full", "--json", NULL});
    const cJSON *own = method_of(root, "fastvmt");

    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "methods")), 1);
    assert_int_equal((int)number(own, "steps"), 4);
    assert_true(number(own, "loop_ran_seconds") > 0);
    cJSON_Delete(root);
}

/* Every gradient of a run against the others: 2 guided steps of 3 inner steps. */
static void reuse(void **state)
{
    size_t length;

    (void)state;
    folder_remove("reuse");
    test_write_square("reuse.y4m");
    cli_result r = CLI(TIMEOUT, "bench", "reuse", "reuse.y4m", "-m", SOURCE_ROOT "/models/tiny",
                       "--embeddings", TEST_DATA "/prompt.safetensors", "-o", "reuse", "--frames",
                       "5", "--steps", "3", "--guided-steps", "2", "--inner-steps", "3",
                       "--threads", "1", "--progress", "none");
    if (r.code)
        fail_msg("exit code %d: %s", r.code, r.errors);
    assert_non_null(strstr(r.output, "6 gradients"));
    cli_free(&r);
    char *csv = (char *)file_read("reuse/reuse.csv", &length);
    assert_non_null(csv);
    const char *const rows[] = {"pairs,distance,mean,least,most,count\nrun,1,0.", "\nrun,5,",
                                "\nguided step,2,", "\nsame inner step,1,",
                                "\nnorm of the first,1,"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_non_null(strstr(csv, rows[i]));
    assert_null(strstr(csv, "run,6,"));
    assert_null(strstr(csv, "guided step,3,"));
    assert_null(strstr(csv, "same inner step,2,"));
    free(csv);
    assert_true(file_exists("reuse/reuse.svg"));
}

static void refused(int code, const char *text, const char *const *arguments)
{
    cli_result r = cli_run(arguments, TIMEOUT);
    cli_check_refused(arguments[1], &r, code, text);
}

#define REFUSED(code, text, ...) refused(code, text, (const char *const[]){__VA_ARGS__, NULL})

static void mistakes(void **state)
{
    (void)state;
    REFUSED(2, "ops, transfer, methods, reuse or table", "bench", "everything");
    REFUSED(2, "takes a reference", "bench", "reuse");
    REFUSED(2, "settings alone", "bench", "reuse", "x", "-m", "m", "-o", "reuse", "--jobs", "2");
    REFUSED(2, "no part 'x'", "bench", "--parts", "dit,x");
    REFUSED(2, "shape 2b: one of tiny, 1.3b, 14b", "bench", "--shape", "2b");
    REFUSED(2, "needs a model", "bench", "transfer");
    REFUSED(2, "--steps belongs to bench transfer", "bench", "--steps", "5");
    REFUSED(2, "takes no --parts", "bench", "ops", "--parts", "dit");
    REFUSED(2, "takes no --parts", "bench", "transfer", "-m", SOURCE_ROOT "/models/tiny", "--parts",
            "dit");
    REFUSED(2, "--attention belongs", "bench", "ops", "--attention", "local");
    REFUSED(2, "no op 'abacus'", "bench", "ops", "--op", "abacus");
    REFUSED(2, "--op belongs", "bench", "--op", "linear");
    REFUSED(2, "16384x16", "bench", "--size", "16384x16");
    REFUSED(2, "--runs 0", "bench", "--runs", "0");
    REFUSED(4, "none", "bench", "--parts", "load", "-m", "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(json_has_every_part),
                                       cmocka_unit_test(load_converts),
                                       cmocka_unit_test(table_has_every_part),
                                       cmocka_unit_test(ops),
                                       cmocka_unit_test(local_attention),
                                       cmocka_unit_test(transfer),
                                       cmocka_unit_test(reuse),
                                       cmocka_unit_test(methods),
                                       cmocka_unit_test(methods_whole),
                                       cmocka_unit_test(mistakes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
