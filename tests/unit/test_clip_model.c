/* SPDX-License-Identifier: MIT
 *
 * CLIP on random weights against what transformers computes with them (tools/make_clip_data.py).
 */
#include "json_data.h"
#include "testing.h"

#include "base/mapped_file.h"
#include "clip_model/clip_model.h"
#include "clip_model/clip_tokenizer.h"
#include "score/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER TEST_DATA "/clip"

enum { DIM = 16, SIDE = 32, WIDTH = 50, HEIGHT = 40, FRAMES = 3, MOST = 24 };

/* The clip whose frames the script drew. */
static vmt_clip pictures(vmt_ctx *ctx)
{
    vmt_clip clip;

    CHECK_OK(ctx, vmt_clip_new(ctx, &clip, FRAMES, HEIGHT, WIDTH, 16));
    for (int i = 0; i < FRAMES * HEIGHT * WIDTH * 3; i++) {
        const int c = i % 3, x = i / 3 % WIDTH, y = i / (3 * WIDTH) % HEIGHT;
        const int t = i / (3 * WIDTH * HEIGHT);
        clip.pixels[i] = (uint8_t)(x * (3 + c) + y * (5 - c) + 17 * t * (c + 1));
    }
    return clip;
}

static void expect(const float *vector, const cJSON *expected, double tolerance)
{
    double largest = 0, error = 0;

    assert_int_equal(cJSON_GetArraySize(expected), DIM);
    for (int i = 0; i < DIM; i++) {
        const double want = cJSON_GetArrayItem(expected, i)->valuedouble;
        largest = fmax(largest, fabs(want));
        error = fmax(error, fabs((double)vector[i] - want));
    }
    print_message("error %.2g of %.2g\n", error, largest);
    assert_true(error <= tolerance * largest);
}

static void check_ids(vmt_ctx *ctx, const vmt_clip_tokenizer *tokenizer, const cJSON *texts)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, texts)
    {
        const cJSON *want = cJSON_GetObjectItem(item, "ids");
        int32_t ids[MOST];
        int64_t count;
        CHECK_OK(ctx, vmt_clip_tokenizer_encode(
                          ctx, tokenizer, ids, &count, MOST,
                          cJSON_GetStringValue(cJSON_GetObjectItem(item, "text"))));
        assert_int_equal(count, cJSON_GetArraySize(want));
        for (int i = 0; i < (int)count; i++)
            assert_int_equal(ids[i], cJSON_GetArrayItem(want, i)->valueint);
    }
}

/* Both forms of the tables give the ids of the tokenizers library. */
static void tokens(void **state)
{
    cJSON *data = test_json_load("clip/expected.json");
    const cJSON *texts = cJSON_GetObjectItem(data, "texts");
    vmt_clip_tokenizer *tokenizer;
    vmt_mapped_file json;
    char long_text[VMT_CLIP_TEXT_BYTES + 2];
    int32_t ids[MOST];
    int64_t count;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    CHECK_OK(&ctx, vmt_clip_tokenizer_open(&ctx, &tokenizer, FOLDER));
    check_ids(&ctx, tokenizer, texts);
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    assert_int_equal(vmt_clip_tokenizer_encode(&ctx, tokenizer, ids, &count, MOST, long_text),
                     VMT_E_ARG);
    long_text[sizeof long_text - 2] = 0; /* one word of the longest prompt */
    CHECK_OK(&ctx, vmt_clip_tokenizer_encode(&ctx, tokenizer, ids, &count, MOST, long_text));
    assert_int_equal(count, MOST);
    vmt_clip_tokenizer_close(tokenizer);

    CHECK_OK(&ctx, vmt_mapped_file_open(&ctx, &json, FOLDER "/tokenizer.json"));
    CHECK_OK(&ctx, vmt_clip_tokenizer_parse(&ctx, &tokenizer, json.bytes, json.length, NULL, 0,
                                            "tokenizer.json"));
    check_ids(&ctx, tokenizer, texts);
    vmt_clip_tokenizer_close(tokenizer);
    vmt_mapped_file_close(&json);
    cJSON_Delete(data);
}

static void refused_tables(void **state)
{
    static const struct {
        const char *json, *merges, *message;
    } rows[] = {
        {"[]", NULL, "t: expected one JSON object in 2 bytes"},
        {"{}", NULL, "t: no vocabulary"},
        {"{}", "", "t: no token for byte 0"},
        {"{\"model\":{\"vocab\":{\"a\":-1}}}", NULL, "t: token 'a' has no id from 0 to 1048575"},
    };
    vmt_clip_tokenizer *tokenizer;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(vmt_clip_tokenizer_parse(&ctx, &tokenizer, rows[i].json,
                                                  strlen(rows[i].json), rows[i].merges,
                                                  rows[i].merges ? strlen(rows[i].merges) : 0, "t"),
                         VMT_E_FORMAT);
        assert_string_equal(ctx.message, rows[i].message);
        assert_null(tokenizer);
    }
}

/* Texts, and frames with their preprocessing, through the scores that are made of them. */
static void vectors(const char *backend, double tolerance)
{
    cJSON *data = test_json_load("clip/expected.json");
    const cJSON *item, *frames = cJSON_GetObjectItem(data, "pictures");
    vmt_ctx *ctx = test_ctx_open(backend, NULL);
    vmt_clip clip = pictures(ctx);
    vmt_clip_model *model;
    score_report report = {.frames = FRAMES};
    float vector[DIM];
    double text = 0, neighbours = 0;

    CHECK_OK(ctx, vmt_clip_model_open(ctx, &model, FOLDER));
    assert_int_equal(vmt_clip_model_side(model), SIDE);
    assert_int_equal(vmt_clip_model_dim(model), DIM);
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(data, "texts"))
    {
        CHECK_OK(ctx, vmt_clip_model_text(ctx, model, vector,
                                          cJSON_GetStringValue(cJSON_GetObjectItem(item, "text"))));
        expect(vector, cJSON_GetObjectItem(item, "vector"), tolerance);
    }
    /* the scores from the script's vectors */
    const cJSON *first =
        cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(data, "texts"), 0), "vector");
    for (int t = 0; t < FRAMES; t++)
        for (int other = 0; other < 2; other++) {
            const cJSON *a = cJSON_GetArrayItem(frames, t);
            const cJSON *b = other ? cJSON_GetArrayItem(frames, t + 1) : first;
            double ab = 0, aa = 0, bb = 0;
            for (int i = 0; b && i < DIM; i++) {
                const double u = cJSON_GetArrayItem(a, i)->valuedouble;
                const double v = cJSON_GetArrayItem(b, i)->valuedouble;
                ab += u * v;
                aa += u * u;
                bb += v * v;
            }
            *(other ? &neighbours : &text) += b ? ab / sqrt(aa * bb) : 0;
        }
    CHECK_OK(ctx, score_clip_model(ctx, &report, model, &clip, "a photo of a dog"));
    print_message("%s: text %.7f, expected %.7f; frames %.7f, expected %.7f\n", backend,
                  report.values[SCORE_CLIP_TEXT].value, text / FRAMES,
                  report.values[SCORE_CLIP_FRAMES].value, neighbours / (FRAMES - 1));
    assert_true(fabs(report.values[SCORE_CLIP_TEXT].value - text / FRAMES) < 1e-5);
    assert_true(fabs(report.values[SCORE_CLIP_FRAMES].value - neighbours / (FRAMES - 1)) < 1e-5);
    CHECK_OK(ctx, score_clip_model(ctx, &report, model, &clip, NULL));
    assert_false(report.values[SCORE_CLIP_TEXT].defined);
    vmt_clip_model_close(ctx, model);
    vmt_clip_free(&clip);
    test_ctx_close(ctx);
    cJSON_Delete(data);
}

static void on_ref(void **state)
{
    (void)state;
    vectors("ref64", 1e-6);
    vectors("ref", 2e-5);
}

static void on_cpu(void **state)
{
    (void)state;
    if (!test_backend_built("cpu", NULL))
        skip();
    vectors("cpu", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(refused_tables),
        cmocka_unit_test(on_ref),
        cmocka_unit_test(on_cpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
