/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "base/half.h"
#include "model/model_paths.h"
#include "model/random_fill.h"
#include "model/random_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vmt_ctx bare;

/* The list must be that of the official checkpoint: names, shapes, order. */
static void compare_tsv(const vmt_tensor_list *list, const char *name)
{
    char path[512], line[512], expected[512], shape[128];
    int64_t i = 0;

    snprintf(path, sizeof path, TEST_DATA "/tensors/%s.tsv", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file)); /* the header */
    for (; fgets(line, sizeof line, file); i++) {
        assert_true(i < list->count);
        const vmt_tensor_spec *spec = &list->items[i];
        const vmt_tensor t = vmt_tensor_over(NULL, VMT_F32, spec->rank, spec->shape);
        vmt_shape_text(&t, shape);
        for (char *x = shape; *x; x++)
            *x = *x == 'x' ? ',' : *x;
        snprintf(expected, sizeof expected, "%s\t%s\t", spec->name, shape);
        if (strncmp(line, expected, strlen(expected)) != 0)
            fail_msg("%s, tensor %d: '%s', expected '%s'", name, (int)i, expected, line);
    }
    fclose(file);
    assert_int_equal(i, list->count);
}

static void official_lists(void **state)
{
    vmt_tensor_list list = {0};
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;

    (void)state;
    CHECK_OK(&bare, vmt_random_model_configs(&bare, &(vmt_random_model){.shape = "14b"}, &dit, &vae,
                                             &text));
    CHECK_OK(&bare, vmt_tensor_list_dit(&bare, &list, &dit));
    compare_tsv(&list, "wan2.1-t2v-14b-dit");
    vmt_tensor_list_free(&list);
    CHECK_OK(&bare, vmt_random_model_configs(&bare, &(vmt_random_model){.shape = "1.3b"}, &dit,
                                             &vae, &text));
    CHECK_OK(&bare, vmt_tensor_list_dit(&bare, &list, &dit));
    compare_tsv(&list, "wan2.1-t2v-1.3b-dit");
    vmt_tensor_list_free(&list);
    CHECK_OK(&bare, vmt_tensor_list_vae(&bare, &list, &vae));
    compare_tsv(&list, "wan2.1-vae");
    vmt_tensor_list_free(&list);
    CHECK_OK(&bare, vmt_tensor_list_text(&bare, &list, &text));
    compare_tsv(&list, "umt5-xxl-enc");
    vmt_tensor_list_free(&list);
}

/* Draws must not depend on pieces, and must have the promised mean and spread. */
static void draws(void **state)
{
    const vmt_tensor_spec spec = {.name = "blocks.0.modulation",
                                  .rank = 3,
                                  .shape = {1, 6, 1000},
                                  .scale = 0.3f,
                                  .gates = true};
    static float whole[6000], pieces[6000];
    static uint16_t bf16[6000];

    (void)state;
    vmt_random_fill(whole, VMT_F32, &spec, 7, 0, 6000);
    for (int64_t first = 0; first < 6000; first += 700)
        vmt_random_fill(pieces + first, VMT_F32, &spec, 7, first, first + 700 > 6000 ? 400 : 700);
    assert_memory_equal(whole, pieces, sizeof whole);
    vmt_random_fill(bf16, VMT_BF16, &spec, 7, 0, 6000);
    for (int i = 0; i < 6000; i++)
        assert_int_equal(bf16[i], vmt_bf16_of_f32(whole[i]));
    for (int row = 0; row < 6; row++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 1000; i++) {
            sum += (double)whole[1000 * row + i];
            squares += (double)whole[1000 * row + i] * (double)whole[1000 * row + i];
        }
        const double mean = sum / 1000, expected = row % 3 == 2 ? 0.5 : 0.0;
        /* standard error 0.3 / sqrt(1000) = 0.0095; five of them */
        assert_true(fabs(mean - expected) < 0.048);
        assert_true(fabs(sqrt(squares / 1000 - mean * mean) - 0.3) < 0.034);
    }
    vmt_random_fill(pieces, VMT_F32, &spec, 8, 0, 6000);
    assert_memory_not_equal(whole, pieces, sizeof whole);
}

/* Every tensor of the file must have the list's name and shape and drawn values. */
static void check_part(const char *path, const vmt_tensor_list *list, enum vmt_dtype dtype)
{
    vmt_tensor_file *file;

    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, path));
    assert_int_equal(vmt_tensor_file_count(file), list->count);
    assert_int_equal(vmt_tensor_file_copied_bytes(file), 0);
    for (int64_t i = 0; i < list->count; i++) {
        const vmt_tensor_spec *spec = &list->items[i];
        const vmt_tensor *t = vmt_tensor_file_find(file, spec->name);
        const vmt_tensor want = vmt_tensor_over(NULL, dtype, spec->rank, spec->shape);
        assert_non_null(t);
        assert_int_equal(t->dtype, dtype);
        assert_true(vmt_same_shape(t, &want));
        void *drawn = malloc(vmt_tensor_bytes(t));
        assert_non_null(drawn);
        vmt_random_fill(drawn, dtype, spec, 5, 0, vmt_numel(t));
        assert_memory_equal(t->data, drawn, vmt_tensor_bytes(t));
        free(drawn);
    }
    vmt_tensor_file_close(file);
}

static void one_folder(const vmt_random_model *model)
{
    static const char *const leftovers[] = {
        "rm/config.json", "rm/diffusion_pytorch_model-00001-of-00003.safetensors",
        "rm/diffusion_pytorch_model-00002-of-00003.safetensors",
        "rm/diffusion_pytorch_model-00003-of-00003.safetensors"};
    vmt_tensor_list list = {0};
    vmt_model_files files;
    vmt_config_file *config;
    vmt_tensor_file *weights;
    vmt_dit_config dit, read;
    vmt_vae_config vae;
    vmt_text_config text;

    assert_int_equal(system("rm -rf rm"), 0); /* of a run that failed */
    CHECK_OK(&bare, vmt_make_random_model(&bare, "rm", model));
    CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "rm"}));
    CHECK_OK(&bare, vmt_random_model_configs(&bare, model, &dit, &vae, &text));

    CHECK_OK(&bare, vmt_config_file_open(&bare, &config, files.parts[VMT_PART_DIT].config));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &weights, files.parts[VMT_PART_DIT].path));
    CHECK_OK(&bare, vmt_dit_config_read(&bare, &read, config, weights));
    assert_int_equal(read.heads, dit.heads);
    assert_int_equal(read.layers, dit.layers);
    assert_int_equal(read.out_dim, dit.out_dim);
    vmt_tensor_file_close(weights);
    vmt_config_file_close(config);

    CHECK_OK(&bare, vmt_tensor_list_dit(&bare, &list, &dit));
    check_part(files.parts[VMT_PART_DIT].path, &list, model->dit_dtype);
    vmt_tensor_list_free(&list);
    CHECK_OK(&bare, vmt_tensor_list_vae(&bare, &list, &vae));
    check_part(files.parts[VMT_PART_VAE].path, &list, VMT_F32);
    vmt_tensor_list_free(&list);
    CHECK_OK(&bare, vmt_tensor_list_text(&bare, &list, &text));
    check_part(files.parts[VMT_PART_TEXT].path, &list, VMT_BF16);
    vmt_tensor_list_free(&list);
    assert_string_equal(files.parts[VMT_PART_TOKENIZER].path, "rm/google/umt5-xxl/spiece.model");
    for (int i = 0; i < VMT_PART_COUNT; i++)
        if (files.parts[i].path)
            unlink(files.parts[i].path);
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++)
        unlink(leftovers[i]);
    rmdir("rm/google/umt5-xxl");
    rmdir("rm/google");
    assert_int_equal(rmdir("rm"), 0); /* nothing else was left */
    vmt_model_files_free(&files);
}

static void folders(void **state)
{
    vmt_random_model model = {.shape = "tiny", .seed = 5, .tokenizer = "rm_tokenizer"};
    FILE *file = fopen("rm_tokenizer", "w");

    (void)state;
    assert_non_null(file);
    fputs("tokenizer", file);
    fclose(file);
    one_folder(&model);
    model.shards = 3;
    model.layers = 2;
    model.dit_dtype = VMT_BF16;
    one_folder(&model);
    unlink("rm_tokenizer");
}

static void refused(void **state)
{
    (void)state;
    assert_int_equal(system("rm -rf rm && mkdir rm && touch rm/.keep"), 0);
    assert_int_equal(vmt_make_random_model(&bare, "rm", &(vmt_random_model){.shape = "tiny"}),
                     VMT_E_ARG); /* what is in it stays */
    assert_non_null(strstr(bare.message, "rm: "));
    assert_int_equal(system("test \"$(ls -A rm)\" = .keep && rm -r rm"), 0);
    assert_int_equal(vmt_make_random_model(
                         &bare, "rm", &(vmt_random_model){.shape = "tiny", .tokenizer = "absent"}),
                     VMT_E_IO);
    assert_int_equal(access("rm", F_OK), -1);
    assert_int_equal(vmt_make_random_model(&bare, "rm", &(vmt_random_model){.shape = "2b"}),
                     VMT_E_ARG);
    assert_int_equal(vmt_make_random_model(&bare, "rm", &(vmt_random_model){.shape = NULL}),
                     VMT_E_ARG);
    assert_int_equal(vmt_make_random_model(
                         &bare, "rm", &(vmt_random_model){.shape = "tiny", .text_shape = "wan"}),
                     VMT_E_ARG);
    assert_int_equal(vmt_make_random_model(
                         &bare, "rm", &(vmt_random_model){.shape = "tiny", .dit_dtype = VMT_I32}),
                     VMT_E_ARG);
    assert_int_equal(
        vmt_make_random_model(&bare, "no/folder", &(vmt_random_model){.shape = "tiny"}), VMT_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_lists),
        cmocka_unit_test(draws),
        cmocka_unit_test(folders),
        cmocka_unit_test(refused),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
