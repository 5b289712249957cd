/* SPDX-License-Identifier: MIT
 *
 * Models in other programs' files, made and run by the libraries whose formats they are
 * (tools/check_formats.py): the same results.
 */
#include "testing.h"

#include "pipeline/pipeline.h"
#include "probe/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RESULT "formats.out.safetensors"

/* Largest difference of two F32 tensors, in units of the largest expected value. */
static double difference(const vmt_tensor *got, const vmt_tensor *expected)
{
    const float *a = got->data, *b = expected->data;
    double most = 0, largest = 0;

    assert_true(vmt_same_shape(got, expected));
    assert_int_equal(got->dtype, VMT_F32);
    assert_int_equal(expected->dtype, VMT_F32);
    for (int64_t i = 0; i < vmt_numel(got); i++) {
        const double gap = fabs((double)a[i] - (double)b[i]);
        most = gap > most || isnan(gap) ? gap : most;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return most / largest;
}

/* Every out.* of the case FOLDER/NAME, within `tolerance`. */
static void run_case(const char *backend, const char *name_of_case, double tolerance)
{
    vmt_ctx *ctx = test_ctx_open(backend, "f32");
    vmt_tensor_file *expected, *got;
    char path[512];
    int compared = 0;

    snprintf(path, sizeof path, TEST_DATA "/formats/%s.safetensors", name_of_case);
    CHECK_OK(ctx, vmt_probe(ctx, path, RESULT));
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &expected, path));
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &got, RESULT));
    for (int64_t i = 0; i < vmt_tensor_file_count(expected); i++) {
        const char *name = vmt_tensor_file_name(expected, i);
        if (strncmp(name, "out.", 4) != 0)
            continue;
        const vmt_tensor *result = vmt_tensor_file_find(got, name);
        assert_non_null(result);
        const double off = difference(result, vmt_tensor_file_find(expected, name));
        if (!(off <= tolerance))
            fail_msg("%s on %s, %s: off by %.3g, allowed %.3g", name_of_case, backend, name, off,
                     tolerance);
        compared++;
    }
    assert_true(compared > 0);
    vmt_tensor_file_close(expected);
    vmt_tensor_file_close(got);
    test_ctx_close(ctx);
    unlink(RESULT);
}

static void run_on_all(const char *name, double tolerance)
{
    run_case("ref", name, tolerance);
    if (test_backend_built("cpu", "f32"))
        run_case("cpu", name, tolerance);
}

/* BF16 shards of diffusers' transformer, its config.json; float against float. */
static void diffusers_transformer(void **state)
{
    (void)state;
    run_on_all("diffusers/transformer/case", 2e-5);
}

static void diffusers_vae(void **state)
{
    (void)state;
    run_on_all("diffusers/vae/case", 1e-4);
}

static void transformers_text_encoder(void **state)
{
    (void)state;
    run_on_all("diffusers/text_encoder/case", 1e-5);
}

/* Matrices in Q8_0, Q4_0, BF16 and F16 in turn, official names, a 5-axis tensor. */
static void gguf_transformer(void **state)
{
    (void)state;
    run_on_all("gguf/transformer/case", 2e-5);
}

/* llama.cpp's names. */
static void gguf_text_encoder(void **state)
{
    (void)state;
    run_on_all("gguf/text_encoder/case", 1e-5);
}

/* fp8_scaled as ComfyUI has it: a prefix, a factor for each matrix, marks. */
static void scaled_fp8_transformer(void **state)
{
    (void)state;
    run_on_all("comfy/transformer/case", 2e-5);
}

/* Every tensor in 8-bit floats without factors, and the tokenizer among them. */
static void fp8_text_encoder(void **state)
{
    (void)state;
    run_on_all("comfy/text_encoder/case", 1e-5);
}

/* LoRAs under diffusers', musubi-tuner's and ComfyUI's names, as diffusers and PEFT apply them. */
static void loras(void **state)
{
    (void)state;
    run_on_all("lora/diffusers", 5e-5);
    run_on_all("lora/musubi", 5e-5);
    run_on_all("lora/comfy", 5e-5);
}

/* The folder opens as a model; its parts belong together. */
static void diffusers_folder(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", "f32");
    vmt_model *model;

    (void)state;
    CHECK_OK(ctx, vmt_model_open(ctx, &model,
                                 &(vmt_model_paths){.dir = TEST_DATA "/formats/diffusers"}));
    assert_int_equal(model->dit_config.heads, 2);
    assert_int_equal(model->dit_config.layers, 2);
    assert_int_equal(model->text_config.buckets, 32);
    assert_int_equal(model->vae_config.dim, 2);
    assert_true(model->vae_config.std[1] == 1.4541);
    vmt_model_close(ctx, model);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diffusers_transformer),
        cmocka_unit_test(diffusers_vae),
        cmocka_unit_test(transformers_text_encoder),
        cmocka_unit_test(diffusers_folder),
        cmocka_unit_test(gguf_transformer),
        cmocka_unit_test(gguf_text_encoder),
        cmocka_unit_test(scaled_fp8_transformer),
        cmocka_unit_test(fp8_text_encoder),
        cmocka_unit_test(loras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
