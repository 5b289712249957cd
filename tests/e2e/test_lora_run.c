/* SPDX-License-Identifier: MIT
 *
 * LoRAs on the command line: what is said, what changes, what is remembered; a stored run goes on
 * with the same ones only.
 */
#include "bad_input.h"

#include "model/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FEW "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "--threads", "1"
#define LORA "a.safetensors"
#define RUN                                                                                        \
    "transfer", "-m", MODEL, "-r", REFERENCE, "-p", "a red car on snow", FEW, "--cache-dir", "none"

enum { DIM = 256, RANK = 4 };

/* A pair for q of block 1, and, if asked for, a key of another model. */
static void write_lora(const char *path, float size, bool foreign)
{
    static float a[RANK * DIM], b[DIM * RANK];
    static vmt_ctx ctx;
    test_rng rng = {5};
    const char *const stem = "lora_unet_blocks_1_self_attn_q";
    char names[3][64];

    vmt_ctx_init(&ctx);
    for (int i = 0; i < RANK * DIM; i++) {
        a[i] = size * (float)test_uniform(&rng);
        b[i] = size * (float)test_uniform(&rng);
    }
    snprintf(names[0], sizeof names[0], "%s.lora_down.weight", stem);
    snprintf(names[1], sizeof names[1], "%s.lora_up.weight", stem);
    snprintf(names[2], sizeof names[2], "lora_unet_blocks_0_cross_attn_k_img.alpha");
    const vmt_named_tensor tensors[3] = {
        {names[0], vmt_tensor_over(a, VMT_F32, VMT_SHAPE(RANK, DIM))},
        {names[1], vmt_tensor_over(b, VMT_F32, VMT_SHAPE(DIM, RANK))},
        {names[2], vmt_tensor_over(a, VMT_F32, VMT_SHAPE(1))}};
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, path, tensors, foreign ? 3 : 2, NULL));
}

static void succeeds(cli_result r, const char *said)
{
    if (r.code != 0 || !strstr(r.errors, said))
        fail_msg("exit code %d, said: %s", r.code, r.errors);
    cli_free(&r);
}

static bool same_files(const char *a, const char *b)
{
    size_t lengths[2];
    unsigned char *bytes[2] = {file_read(a, &lengths[0]), file_read(b, &lengths[1])};
    const bool same = lengths[0] == lengths[1] && !memcmp(bytes[0], bytes[1], lengths[0]);

    free(bytes[0]);
    free(bytes[1]);
    return same;
}

/* Everything in a folder of its own. */
static int enter(void **state)
{
    (void)state;
    folder_new("lora_run");
    return chdir("lora_run");
}

static int leave(void **state)
{
    (void)state;
    const int status = chdir("..");
    folder_remove("lora_run");
    return status;
}

static void changes_the_result(void **state)
{
    (void)state;
    write_reference();
    write_lora(LORA, 0.3F, false);
    write_lora("foreign.safetensors", 0.3F, true);
    succeeds(CLI(120, RUN, "-o", "plain.y4m"), "");
    succeeds(CLI(120, RUN, "-o", "one.y4m", "--lora", LORA),
             "lora a.safetensors: 2 of 2 keys matched");
    succeeds(CLI(120, RUN, "-o", "half.y4m", "--lora", LORA ":0.5"), "2 of 2");
    succeeds(CLI(120, RUN, "-o", "none.y4m", "--lora", LORA ":0"), "2 of 2");
    succeeds(CLI(120, RUN, "-o", "two.y4m", "--lora", LORA ":0.25", "--lora", LORA ":0.25"), "");
    succeeds(CLI(120, RUN, "-o", "foreign.y4m", "--lora", "foreign.safetensors"),
             "warning: lora foreign.safetensors: 2 of 3 keys matched; not "
             "lora_unet_blocks_0_cross_attn_k_img.alpha");
    assert_true(same_files("plain.y4m", "none.y4m"));
    assert_true(same_files("one.y4m", "foreign.y4m"));
    assert_false(same_files("plain.y4m", "one.y4m"));
    assert_false(same_files("one.y4m", "half.y4m"));
}

/* The JSON beside the result gives the command back, limits of memory as bytes. */
static void is_remembered(void **state)
{
    (void)state;
    write_reference();
    write_lora(LORA, 0.3F, false);
    succeeds(CLI(120, RUN, "-o", "out.y4m", "-y", "--max-ram", "64G", "--lora", LORA ":0.5",
                 "--lora", LORA ":-0.25"),
             "");
    cli_result r = CLI(30, "info", "out.y4m.json");
    assert_int_equal(r.code, 0);
    if (!strstr(r.output, "--lora a.safetensors:0.5 --lora a.safetensors:-0.25"))
        fail_msg("%s", r.output);
    if (!strstr(r.output, " --max-ram 68719476736"))
        fail_msg("%s", r.output);
    cli_free(&r);
    r = CLI(30, "info", LORA);
    if (!strstr(r.output, "LoRA  1 matrices of rank 4"))
        fail_msg("%s", r.output);
    cli_free(&r);
}

static void goes_on_with_the_same_alone(void **state)
{
#define GOES_ON RUN, "-y", "-q", "-o", "out.y4m", "--resume", "run.state"
    (void)state;
    write_reference();
    write_lora(LORA, 0.3F, false);
    write_lora("b.safetensors", 0.2F, false);
    succeeds(CLI(120, RUN, "-o", "whole.y4m", "--lora", LORA, "--checkpoint", "1",
                 "--checkpoint-file", "run.state"),
             "");
    succeeds(CLI(120, GOES_ON, "--lora", LORA), "");
    assert_true(same_files("whole.y4m", "out.y4m"));
    REFUSED("without", 7, "run.state: was made with LoRA a.safetensors:1 ", GOES_ON);
    REFUSED("another weight", 7, "this run has a.safetensors:0.5 ", GOES_ON, "--lora", LORA ":0.5");
    REFUSED("another", 7, "this run has b.safetensors:1 ", GOES_ON, "--lora", "b.safetensors");
    succeeds(
        CLI(120, "extract", "-m", MODEL, "-r", REFERENCE, "-o", "motion.fvm", FEW, "--lora", LORA),
        "");
    REFUSED("motion without", 7, "was made with LoRA a.safetensors:1 ", "transfer", "-m", MODEL,
            "-q", "--motion", "motion.fvm", "-p", "x", "-o", "m.y4m", FEW);
}

static void is_refused(void **state)
{
    (void)state;
    write_reference();
    write_lora(LORA, 0.3F, false);
    REFUSED("no file", 4, "absent.safetensors: No such file", TRANSFER, "--lora",
            "absent.safetensors");
    REFUSED("the model itself", 6, "none of its", TRANSFER, "--lora", MODEL "/vae.safetensors");
    REFUSED("weight", 2, "a weight of 1000, from -100 to 100", TRANSFER, "--lora", LORA ":1000");
    REFUSED("no transformer", 2, "no transformer to add it to", "encode", "--vae",
            MODEL "/vae.safetensors", "-r", REFERENCE, "-o", "x.latent", "-q", "--lora", LORA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_the_result, enter, leave),
        cmocka_unit_test_setup_teardown(is_remembered, enter, leave),
        cmocka_unit_test_setup_teardown(goes_on_with_the_same_alone, enter, leave),
        cmocka_unit_test_setup_teardown(is_refused, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
