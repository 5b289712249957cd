/* SPDX-License-Identifier: MIT
 *
 * Weights written in another type: read back, they are the same within what the type can hold, and
 * what cannot be written leaves no file.
 */
#include "testing.h"

#include "base/half.h"
#include "base/quant.h"
#include "model/convert.h"
#include "model/model_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TINY SOURCE_ROOT "/models/tiny/"
#define OUT "converted.bin"

static vmt_ctx *ctx;

static vmt_tensor_file *convert(const char *in, const char *type)
{
    const vmt_conversion c = {.in = in, .out = OUT, .type = type};
    vmt_tensor_file *file;

    CHECK_OK(ctx, vmt_convert(ctx, &c));
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, OUT));
    return file;
}

static float value_at(const vmt_tensor *t, int64_t i)
{
    float x;

    if (t->dtype == VMT_F32)
        return ((const float *)t->data)[i];
    if (t->dtype == VMT_BF16)
        return vmt_f32_of_bf16(((const uint16_t *)t->data)[i]);
    if (t->dtype == VMT_F16)
        return vmt_f32_of_f16(((const uint16_t *)t->data)[i]);
    vmt_tensor_unpack(&x, t, i, 1);
    return x;
}

/* Each tensor of `in` is in `file` with the same shape; returns the largest relative RMS error of
 * those of dtype `packed`, and requires all others to be exact. */
static double error_of(const vmt_tensor_file *file, const char *in, enum vmt_dtype packed,
                       int *count)
{
    vmt_tensor_file *source;
    double worst = 0;

    *count = 0;
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &source, in));
    assert_int_equal(vmt_tensor_file_count(file), vmt_tensor_file_count(source));
    for (int64_t i = 0; i < vmt_tensor_file_count(source); i++) {
        const char *name = vmt_tensor_file_name(source, i);
        const vmt_tensor *a = vmt_tensor_file_find(source, name);
        const vmt_tensor *b = vmt_tensor_file_find(file, name);
        double error = 0, size = 0;
        if (!b || !vmt_same_shape(a, b))
            fail_msg("%s is missing or of another shape", name);
        for (int64_t k = 0; k < vmt_numel(a); k++) {
            const double x = (double)value_at(a, k), y = (double)value_at(b, k);
            error += (x - y) * (x - y);
            size += x * x;
        }
        if (b->dtype == packed) {
            worst = fmax(worst, sqrt(error / size));
            ++*count;
        } else if (!vmt_is_quantised(b->dtype)) {
            assert_true(error == 0);
        }
    }
    vmt_tensor_file_close(source);
    return worst;
}

static void transformer(void **state)
{
    static const struct {
        const char *type;
        enum vmt_dtype dtype;
        int count; /* 10 matrices in each of 8 blocks; ffn.2 has rows of 640, no whole Q4_K blocks
                    */
        double error;
    } cases[] = {{"bf16", VMT_BF16, 231, 0},     {"f16", VMT_F16, 231, 1e-5},
                 {"fp8", VMT_F8_E4M3, 80, 0.03}, {"fp8_scaled", VMT_F8_E4M3, 80, 0.03},
                 {"q8_0", VMT_Q8_0, 80, 0.008},  {"q4_k", VMT_Q4_K, 72, 0.09}};
    char hash[2][65];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmt_tensor_file *file = convert(TINY "dit.safetensors", cases[i].type), *source;
        vmt_dit_config config;
        int count;
        const double error = error_of(file, TINY "dit.safetensors", cases[i].dtype, &count);
        if (count != cases[i].count || !(error <= cases[i].error))
            fail_msg("%s: %d tensors, error %.4f", cases[i].type, count, error);
        /* what no shape tells came along */
        CHECK_OK(ctx, vmt_dit_config_read(ctx, &config, NULL, file));
        assert_int_equal(config.heads, 4);
        assert_int_equal(config.text_len, 64);
        if (i == 0) {
            CHECK_OK(ctx, vmt_tensor_file_open(ctx, &source, TINY "dit.safetensors"));
            vmt_tensor_file_hash(file, hash[0]);
            vmt_tensor_file_hash(source, hash[1]);
            assert_string_equal(hash[0], hash[1]);
            vmt_tensor_file_close(source);
        }
        vmt_tensor_file_close(file);
    }
    unlink(OUT);
}

/* That of one tensor in a safetensors header. */
static bool header_says(const char *header, const char *name, const char *what)
{
    char quoted[64];

    snprintf(quoted, sizeof quoted, "\"%s\":{", name);
    const char *at = strstr(header, quoted), *found = at ? strstr(at, what) : NULL;
    return found && found < strchr(at, '}');
}

/* What ComfyUI looks for: the mark of two elements, and one number beside each matrix that makes
 * its largest value the largest of 8 bits. */
static void scaled_as_comfy(void **state)
{
    static char header[65536];

    (void)state;
    for (int scaled = 0; scaled < 2; scaled++) {
        vmt_tensor_file *source,
            *file = convert(TINY "dit.safetensors", scaled ? "fp8_scaled" : "fp8");
        FILE *raw = fopen(OUT, "rb");
        assert_non_null(raw);
        assert_int_equal(fseek(raw, 8, SEEK_SET), 0);
        assert_int_equal(fread(header, 1, sizeof header - 1, raw), sizeof header - 1);
        fclose(raw);
        assert_true(header_says(header, "blocks.0.self_attn.q.scale_weight",
                                scaled ? "\"shape\":[]" : "\"shape\":[256,1]"));
        assert_int_equal(header_says(header, "scaled_fp8", "\"shape\":[2]"), scaled);
        assert_int_equal(header_says(header, "scaled_fp8", "F8_E4M3"), scaled);
        CHECK_OK(ctx, vmt_tensor_file_open(ctx, &source, TINY "dit.safetensors"));
        const vmt_tensor *a = vmt_tensor_file_find(source, "blocks.3.ffn.2.weight");
        const vmt_tensor *b = vmt_tensor_file_find(file, "blocks.3.ffn.2.weight");
        float most[2] = {0};
        for (int64_t k = 0; k < vmt_numel(a); k++) {
            most[0] = fmaxf(most[0], fabsf(value_at(a, k)));
            most[1] = fmaxf(most[1], fabsf(value_at(b, k)));
        }
        assert_int_equal(b->scales, scaled ? 1 : b->shape[0]);
        assert_true(fabsf(most[1] - most[0]) <= 1e-6f * most[0]);
        vmt_tensor_file_close(source);
        vmt_tensor_file_close(file);
    }
    unlink(OUT);
}

static void text_encoder(void **state)
{
    vmt_tensor_file *file = convert(TINY "text.safetensors", "q8_0");
    int count;

    (void)state;
    assert_string_equal(vmt_tensor_file_scheme(file), "llama.cpp");
    assert_true(error_of(file, TINY "text.safetensors", VMT_Q8_0, &count) < 0.008);
    assert_int_equal(count, 2 * 7 + 1); /* the embedding, too */
    vmt_tensor_file_close(file);
    unlink(OUT);
}

/* Its channels' mean and spread are in no shape, and not Wan's. */
static void autoencoder(void **state)
{
    vmt_tensor_file *source, *file = convert(TINY "vae.safetensors", "f16");
    vmt_vae_config expected, got, again;
    vmt_config_file *config;
    int count;

    (void)state;
    assert_true(error_of(file, TINY "vae.safetensors", VMT_F16, &count) == 0);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &source, TINY "vae.safetensors"));
    CHECK_OK(ctx, vmt_config_file_open(ctx, &config, TINY "config.json"));
    CHECK_OK(ctx, vmt_vae_config_read(ctx, &expected, config, source));
    CHECK_OK(ctx, vmt_vae_config_read(ctx, &got, NULL, file));
    assert_memory_equal(&got, &expected, sizeof got);
    /* and from there, too; a config.json that has a section wins */
    const vmt_conversion c = {.in = OUT, .out = "again.bin", .type = "bf16"};
    CHECK_OK(ctx, vmt_convert(ctx, &c));
    vmt_tensor_file_close(file);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, "again.bin"));
    CHECK_OK(ctx, vmt_vae_config_read(ctx, &again, NULL, file));
    assert_memory_equal(&again, &expected, sizeof again);
    vmt_config_file_close(config);
    CHECK_OK(ctx, vmt_config_file_parse(ctx, &config, "{\"vae\":{}}", 10, "config"));
    CHECK_OK(ctx, vmt_vae_config_read(ctx, &again, config, file));
    assert_true(again.std[0] == 2.8184);
    vmt_config_file_close(config);
    vmt_tensor_file_close(source);
    vmt_tensor_file_close(file);
    unlink("again.bin");
    unlink(OUT);
}

/* From few bits into others, and the VAE in a plain type. */
static void other_sources(void **state)
{
    vmt_tensor_file *file = convert(TEST_DATA "/formats/gguf/transformer/model.gguf", "bf16");
    int count;

    (void)state;
    assert_true(error_of(file, TEST_DATA "/formats/gguf/transformer/model.gguf", VMT_BF16, &count) <
                0.005);
    vmt_tensor_file_close(file);
    file = convert(TEST_DATA "/formats/comfy/transformer/model.safetensors", "q8_0");
    assert_int_equal(vmt_tensor_file_find(file, "blocks.1.ffn.0.weight")->dtype, VMT_Q8_0);
    vmt_tensor_file_close(file);
    file = convert(TEST_DATA "/formats/diffusers/vae/diffusion_pytorch_model.safetensors", "f16");
    assert_string_equal(vmt_tensor_file_scheme(file), "official");
    vmt_tensor_file_close(file);
    unlink(OUT);
}

static void refuse(const char *in, const char *type, enum vmt_status status, const char *reason)
{
    const vmt_conversion c = {.in = in, .out = OUT, .type = type};

    assert_int_equal(vmt_convert(ctx, &c), status);
    if (!strstr(ctx->message, reason))
        fail_msg("'%s' does not say '%s'", ctx->message, reason);
    assert_int_not_equal(access(OUT, F_OK), 0);
}

static int stop_at_half(void *user, uint64_t done, uint64_t total)
{
    *(uint64_t *)user = total;
    return 2 * done > total;
}

static void refused(void **state)
{
    float weight[4] = {1, NAN, 2, 3}, large[4] = {1, 70000, 2, 3}, head[1] = {1};
    uint64_t total = 0;

    (void)state;
    refuse(TINY "dit.safetensors", "q3", VMT_E_ARG, "expected bf16");
    refuse(TINY "text.safetensors", "fp8_scaled", VMT_E_UNSUPPORTED, "tokenizer");
    refuse(TINY "vae.safetensors", "q8_0", VMT_E_UNSUPPORTED, "no form in few bits");
    refuse(TEST_DATA "/golden/rng_a.safetensors", "bf16", VMT_E_MODEL, "not those of");
    refuse("absent", "bf16", VMT_E_IO, "absent");
    for (int i = 0; i < 2; i++) {
        /* an autoencoder as far as its sizes go: nothing else is asked of it */
        const vmt_named_tensor tensors[] = {
            {"encoder.conv1.weight",
             vmt_tensor_over(i ? large : weight, VMT_F32, VMT_SHAPE(2, 2, 1, 1, 1))},
            {"decoder.conv1.weight", vmt_tensor_over(head, VMT_F32, VMT_SHAPE(1, 1, 1, 1, 1))},
            {"decoder.head.0.gamma", vmt_tensor_over(head, VMT_F32, VMT_SHAPE(1))}};
        CHECK_OK(ctx, vmt_safetensors_write(ctx, "bad.safetensors", tensors, 3, NULL));
        refuse("bad.safetensors", "f16", VMT_E_NUMERIC, i ? "70000" : "nan");
    }
    unlink("bad.safetensors");
    const vmt_conversion stopped = {.in = TINY "text.safetensors",
                                    .out = OUT,
                                    .type = "bf16",
                                    .progress = stop_at_half,
                                    .user = &total};
    assert_int_equal(vmt_convert(ctx, &stopped), VMT_E_CANCELLED);
    assert_true(total > 1000000);
    assert_int_not_equal(access(OUT, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transformer),   cmocka_unit_test(scaled_as_comfy),
        cmocka_unit_test(text_encoder),  cmocka_unit_test(autoencoder),
        cmocka_unit_test(other_sources), cmocka_unit_test(refused),
    };
    ctx = test_ctx_open_threads("ref", "f32", 2);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_ctx_close(ctx);
    return failed;
}
