/* SPDX-License-Identifier: MIT
 *
 * The text encoder against the official implementation: whole cases, the bundled model from prompt
 * to rows, and what it does with wrong weights and ids.
 */
#include "conformance.h"
#include "golden.h"

#include "base/half.h"
#include "text/prompt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY SOURCE_ROOT "/models/tiny/"

static void check_on(const char *backend, double factor)
{
    vmt_ctx *ctx = test_ctx_open(backend, "auto");
    conformance_check(ctx, "umt5_a", vmt_probe_umt5, "out.", factor);
    test_ctx_close(ctx);
}

static void umt5_on_ref(void **state)
{
    (void)state;
    check_on("ref", 1);
}

/* A tenth of the tolerance is float32's own deviation, most of which ref64 does not have. */
static void umt5_on_ref64(void **state)
{
    (void)state;
    check_on("ref64", 0.1);
}

static void umt5_on_cpu(void **state)
{
    (void)state;
    if (!test_backend_built("cpu", "f32"))
        skip();
    vmt_ctx *ctx = test_ctx_open("cpu", "f32");
    conformance_check(ctx, "umt5_a", vmt_probe_umt5, "out.", 1);
    test_ctx_close(ctx);
}

/* An encoder of a file, and what it needs. */
typedef struct encoder {
    vmt_ctx *ctx;
    vmt_tensor_file *file;
    vmt_text_config config;
    vmt_umt5 *umt5;
} encoder;

static encoder encoder_open(const char *backend, const char *dtype, const char *path)
{
    encoder e = {.ctx = test_ctx_open(backend, dtype)};
    CHECK_OK(e.ctx, vmt_tensor_file_open(e.ctx, &e.file, path));
    CHECK_OK(e.ctx, vmt_text_config_read(e.ctx, &e.config, NULL, e.file));
    CHECK_OK(e.ctx, vmt_umt5_open(e.ctx, &e.umt5, e.file, &e.config));
    return e;
}

static void encoder_close(encoder *e)
{
    vmt_umt5_close(e->ctx, e->umt5);
    vmt_tensor_file_close(e->file);
    test_ctx_close(e->ctx);
}

/* Largest difference of `count` floats. */
static double farthest(const float *a, const float *b, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        const double gap = fabs((double)a[i] - (double)b[i]);
        if (!(gap <= most))
            most = gap;
    }
    return most;
}

/* torch.save's file holds the same weights: the same rows, bit for bit. */
static void pth_gives_the_same(void **state)
{
    (void)state;
    static const int32_t ids[] = {5, 99, 0, 42, 7, 1};
    enum { COUNT = sizeof ids / sizeof *ids, DIM = 48 };
    float rows[2][COUNT * DIM];
    static const char *const paths[2] = {TEST_DATA "/golden/umt5_a.weights.safetensors",
                                         TEST_DATA "/golden/umt5_a.pth"};
    encoder safetensors = encoder_open("ref", "f32", paths[0]);
    vmt_tensor_file *pth;
    vmt_umt5 *umt5;
    CHECK_OK(safetensors.ctx, vmt_tensor_file_open(safetensors.ctx, &pth, paths[1]));
    CHECK_OK(safetensors.ctx, vmt_umt5_open(safetensors.ctx, &umt5, pth, &safetensors.config));
    const vmt_umt5_sequence sequence[2] = {{ids, COUNT, rows[0]}, {ids, COUNT, rows[1]}};
    CHECK_OK(safetensors.ctx,
             vmt_umt5_encode(safetensors.ctx, safetensors.umt5, &sequence[0], 1, NULL, NULL));
    CHECK_OK(safetensors.ctx, vmt_umt5_encode(safetensors.ctx, umt5, &sequence[1], 1, NULL, NULL));
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    vmt_umt5_close(safetensors.ctx, umt5);
    vmt_tensor_file_close(pth);
    encoder_close(&safetensors);
}

/* Sequences encoded together do not see each other. */
static void sequences_are_independent(void **state)
{
    (void)state;
    encoder e = encoder_open("ref", "f32", TEST_DATA "/golden/umt5_a.weights.safetensors");
    static const int32_t a[] = {5, 99, 0, 42, 7, 1}, b[] = {1}, c[] = {3, 3, 8, 1};
    float alone[3][6 * 48], together[3][6 * 48];
    vmt_umt5_sequence s[3] = {{a, 6, alone[0]}, {b, 1, alone[1]}, {c, 4, alone[2]}};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(e.ctx, vmt_umt5_encode(e.ctx, e.umt5, &s[i], 1, NULL, NULL));
        s[i].rows = together[i];
    }
    CHECK_OK(e.ctx, vmt_umt5_encode(e.ctx, e.umt5, s, 3, NULL, NULL));
    for (int i = 0; i < 3; i++)
        assert_memory_equal(alone[i], together[i], (size_t)s[i].count * 48 * sizeof(float));
    encoder_close(&e);
}

static enum vmt_status stop_at_second(vmt_ctx *ctx, void *user, int64_t layer, int64_t layers)
{
    (void)ctx;
    int64_t *seen = user;
    assert_int_equal(layers, 3);
    assert_int_equal(layer, ++*seen);
    return layer == 2 ? VMT_E_CANCELLED : VMT_OK;
}

/* Weights that stay give what weights that come and go give, and are counted; a run that was
 * stopped leaves nothing behind that the next one would use. */
static void check_kept(const char *backend, const char *dtype)
{
    encoder e = encoder_open(backend, dtype, TEST_DATA "/golden/umt5_a.weights.safetensors");
    static const int32_t ids[] = {5, 99, 0, 42, 7, 1};
    float rows[3][6 * 48];
    size_t streamed, kept, mapped, packed = 0;
    int64_t seen = 0;
    vmt_umt5_sequence s[2] = {{ids, 6, rows[0]}, {ids, 4, rows[2]}};

    CHECK_OK(e.ctx, vmt_umt5_encode(e.ctx, e.umt5, s, 2, NULL, NULL));
    assert_int_equal(vmt_umt5_encode(e.ctx, e.umt5, s, 2, stop_at_second, &seen), VMT_E_CANCELLED);
    CHECK_OK(e.ctx, vmt_umt5_encode_bytes(e.ctx, e.umt5, s, 2, &streamed, &mapped));
    s[0].rows = rows[1];
    CHECK_OK(e.ctx, vmt_umt5_encode(e.ctx, e.umt5, s, 2, NULL, NULL));
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    CHECK_OK(e.ctx, vmt_umt5_keep(e.ctx, e.umt5));
    CHECK_OK(e.ctx, vmt_umt5_encode_bytes(e.ctx, e.umt5, s, 2, &kept, &mapped));
    for (int run = 0; run < 2; run++) {
        memset(rows[1], 0, sizeof rows[1]);
        CHECK_OK(e.ctx, vmt_umt5_encode(e.ctx, e.umt5, s, 2, NULL, NULL));
        assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    }
    /* layers of one size: one of three at a time, two where the device is ahead */
    const vmt_weight q = {.w = *vmt_tensor_file_find(e.file, "blocks.0.attn.q.weight")};
    packed = e.ctx->ops->weight_prepare_bytes(e.ctx, &q, VMT_USE_LINEAR);
    assert_true(packed ? kept > streamed : kept == streamed);
    encoder_close(&e);
}

static void kept_weights_give_the_same(void **state)
{
    static const char *const names[][2] = {
        {"ref", "f32"}, {"cpu", "f32"}, {"cpu", "bf16"}, {"cuda", "f32"}, {"cuda", "bf16"}};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (test_backend_built(names[i][0], names[i][1]))
            check_kept(names[i][0], names[i][1]);
}

/* The three prompts of tests/data/golden/tiny_model.safetensors, from text to rows. */
static void check_bundled(const char *backend, const char *dtype, double tolerance)
{
    static const char *const texts[3] = {"a red car on snow", "A panda in the mountains.", ""};
    vmt_tokenizer *tokenizer;
    encoder e = encoder_open(backend, dtype, TINY "text.safetensors");
    if (vmt_tokenizer_open(e.ctx, &tokenizer, TINY "spiece.model") == VMT_E_UNSUPPORTED) {
        encoder_close(&e);
        skip();
    }
    vmt_tensor_file *file;
    CHECK_OK(e.ctx, vmt_tensor_file_open(e.ctx, &file, TEST_DATA "/golden/tiny_model.safetensors"));
    const vmt_tensor *context = vmt_tensor_file_find(file, "context");
    const vmt_tensor *ids = vmt_tensor_file_find(file, "ids");
    const int64_t rows = context->shape[1], dim = context->shape[2];
    vmt_prompt prompts[3];
    double most = 0;
    CHECK_OK(e.ctx, vmt_prompt_encode(e.ctx, prompts, texts, 3, tokenizer, e.umt5, NULL, NULL));
    for (int64_t p = 0; p < 3; p++) {
        const float *expected = (const float *)context->data + p * rows * dim;
        const double gap = farthest(prompts[p].rows, expected, prompts[p].count * dim);
        most = gap > most ? gap : most;
        for (int64_t i = 0; i < prompts[p].count; i++)
            assert_int_equal(prompts[p].ids[i], (int)((const float *)ids->data)[p * rows + i]);
        for (int64_t i = prompts[p].count * dim; i < rows * dim; i++)
            assert_true(expected[i] == 0);
        vmt_prompt_free(&prompts[p]);
    }
    print_message("bundled text encoder on %s %s: largest difference %.3g\n", e.ctx->ops->name,
                  vmt_dtype_name(e.ctx->act), most);
    assert_true(most <= tolerance);
    vmt_tensor_file_close(file);
    vmt_tokenizer_close(tokenizer);
    encoder_close(&e);
}

static void bundled_on_ref(void **state)
{
    (void)state;
    check_bundled("ref", "f32", 2e-5);
    check_bundled("ref64", NULL, 2e-5);
}

static void bundled_on_cpu(void **state)
{
    (void)state;
    if (!test_backend_built("cpu", "f32"))
        skip();
    check_bundled("cpu", "f32", 2e-5);
}

/* bf16 activations, residual in float: 0.0053 measured, values up to 4. */
static void bundled_in_bf16(void **state)
{
    (void)state;
    if (!test_backend_built("cpu", "bf16"))
        skip();
    check_bundled("cpu", "bf16", 0.02);
}

static void bundled_on_cuda(void **state)
{
    (void)state;
    if (!test_backend_built("cuda", "f32"))
        skip();
    check_bundled("cuda", "f32", 2e-5);
    check_bundled("cuda", "bf16", 0.02);
}

static void refuses_bad_ids(void **state)
{
    (void)state;
    encoder e = encoder_open("ref", "f32", TEST_DATA "/golden/umt5_a.weights.safetensors");
    int32_t ids[] = {1, 100};
    float rows[2 * 48];
    const vmt_umt5_sequence sequence = {ids, 2, rows};
    assert_int_equal(vmt_umt5_encode(e.ctx, e.umt5, &sequence, 1, NULL, NULL), VMT_E_ARG);
    ids[1] = -1;
    assert_int_equal(vmt_umt5_encode(e.ctx, e.umt5, &sequence, 1, NULL, NULL), VMT_E_ARG);
    encoder_close(&e);
}

/* Copies the golden weights with one value replaced; returns the path, relative. */
static const char *write_with(vmt_ctx *ctx, const vmt_tensor_file *file, const char *poisoned,
                              uint16_t value)
{
    static const char path[] = "umt5_poisoned.safetensors";
    const char *meta[] = {"vocab", "100", "heads", "4", "buckets", "32", NULL};
    const int64_t count = vmt_tensor_file_count(file);
    vmt_named_tensor *tensors = calloc((size_t)count, sizeof *tensors);
    uint16_t *copy = NULL;
    assert_non_null(tensors);
    for (int64_t i = 0; i < count; i++) {
        tensors[i].name = vmt_tensor_file_name(file, i);
        tensors[i].tensor = *vmt_tensor_file_find(file, tensors[i].name);
        if (strcmp(tensors[i].name, poisoned) != 0)
            continue;
        const size_t bytes = vmt_tensor_bytes(&tensors[i].tensor);
        copy = malloc(bytes);
        assert_non_null(copy);
        memcpy(copy, tensors[i].tensor.data, bytes);
        copy[3] = value;
        tensors[i].tensor.data = copy;
    }
    assert_non_null(copy);
    CHECK_OK(ctx, vmt_safetensors_write(ctx, path, tensors, count, meta));
    free(copy);
    free(tensors);
    return path;
}

static void names_the_layer_of_a_nan(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *where;
    } cases[] = {
        {"blocks.1.ffn.fc2.weight", "layer 1"},
        {"blocks.2.pos_embedding.embedding.weight", "layer 2"},
        {"norm.weight", "result"},
    };
    static const int32_t ids[] = {5, 99, 0, 42, 7, 1};
    float rows[6 * 48];
    encoder e = encoder_open("ref", "f32", TEST_DATA "/golden/umt5_a.weights.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = write_with(e.ctx, e.file, cases[i].tensor, 0x7fc0);
        encoder bad = encoder_open("ref", "f32", path);
        const vmt_umt5_sequence sequence = {ids, 6, rows};
        assert_int_equal(vmt_umt5_encode(bad.ctx, bad.umt5, &sequence, 1, NULL, NULL),
                         VMT_E_NUMERIC);
        if (!strstr(bad.ctx->message, cases[i].where))
            fail_msg("\"%s\" does not name %s", bad.ctx->message, cases[i].where);
        encoder_close(&bad);
        remove(path);
    }
    encoder_close(&e);
}

static void progress_can_stop(void **state)
{
    (void)state;
    encoder e = encoder_open("ref", "f32", TEST_DATA "/golden/umt5_a.weights.safetensors");
    static const int32_t ids[] = {5, 1};
    float rows[2 * 48];
    int64_t seen = 0;
    const vmt_umt5_sequence sequence = {ids, 2, rows};
    assert_int_equal(vmt_umt5_encode(e.ctx, e.umt5, &sequence, 1, stop_at_second, &seen),
                     VMT_E_CANCELLED);
    assert_int_equal(seen, 2);
    size_t bytes, mapped;
    CHECK_OK(e.ctx, vmt_umt5_encode_bytes(e.ctx, e.umt5, &sequence, 1, &bytes, &mapped));
    assert_true(bytes > 2 * 80 * sizeof(float) && bytes < 1 << 20);
    /* All matrices, 2 bytes a value. */
    assert_int_equal(mapped, 2 * (100 * 48 + 3 * (4 * 64 * 48 + 3 * 80 * 48)));
    encoder_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(umt5_on_ref),
        cmocka_unit_test(umt5_on_ref64),
        cmocka_unit_test(umt5_on_cpu),
        cmocka_unit_test(pth_gives_the_same),
        cmocka_unit_test(sequences_are_independent),
        cmocka_unit_test(kept_weights_give_the_same),
        cmocka_unit_test(bundled_on_ref),
        cmocka_unit_test(bundled_on_cpu),
        cmocka_unit_test(bundled_in_bf16),
        cmocka_unit_test(bundled_on_cuda),
        cmocka_unit_test(refuses_bad_ids),
        cmocka_unit_test(names_the_layer_of_a_nan),
        cmocka_unit_test(progress_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
