/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "json_data.h"
#include "text/spiece_check.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL SOURCE_ROOT "/models/tiny/spiece.model"

enum { VOCAB = 1280, LONG = 4096 };

static vmt_tokenizer *open_bundled(vmt_ctx *ctx)
{
    vmt_tokenizer *tokenizer;
    vmt_ctx_init(ctx);
    const enum vmt_status status = vmt_tokenizer_open(ctx, &tokenizer, MODEL);
    if (status == VMT_E_UNSUPPORTED) {
        assert_non_null(strstr(ctx->message, "embeddings"));
        skip();
    }
    CHECK_OK(ctx, status);
    return tokenizer;
}

/* The bundled model's bytes; freed by the caller. */
static unsigned char *read_model(size_t *length)
{
    FILE *file = fopen(MODEL, "rb");
    assert_non_null(file);
    unsigned char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *length = fread(bytes, 1, 1 << 20, file);
    assert_true(*length > 1000 && *length < 1 << 20);
    fclose(file);
    return bytes;
}

static void count_warning(void *user, enum vmt_log_level level, const char *line)
{
    assert_int_equal(level, VMT_LOG_WARNING);
    assert_non_null(strstr(line, "tokens, the model reads "));
    ++*(int *)user;
}

/* tests/data/text/tokens.json: what Python's sentencepiece makes of each text. */
static void check_all(int64_t text_len)
{
    vmt_ctx ctx;
    vmt_tokenizer *tokenizer = open_bundled(&ctx);
    cJSON *pairs = test_json_load("text/tokens.json");
    const cJSON *pair;
    int lines = 0, cut = 0, warnings = 0;
    int32_t *ids = malloc((size_t)text_len * sizeof *ids);
    assert_non_null(ids);
    ctx.log = count_warning;
    ctx.log_user = &warnings;
    cJSON_ArrayForEach(pair, pairs)
    {
        const char *text = cJSON_GetArrayItem(pair, 0)->valuestring;
        const cJSON *expected = cJSON_GetArrayItem(pair, 1)->child;
        int64_t count;
        CHECK_OK(&ctx, vmt_tokenizer_encode(&ctx, tokenizer, ids, &count, text, text_len, VOCAB));
        for (int64_t i = 0; i < count - 1; i++, expected = expected->next)
            if (!expected || expected->valueint != ids[i])
                fail_msg("line %d \"%s\": id %d is %d, expected %d", lines + 1, text, (int)i,
                         ids[i], expected ? expected->valueint : -1);
        assert_true(count >= 1 && count <= text_len && (!expected || count == text_len));
        assert_int_equal(ids[count - 1], VMT_EOS_ID);
        cut += expected != NULL;
        lines++;
    }
    assert_true(lines >= 2000);
    assert_int_equal(warnings, cut);
    assert_true(text_len == LONG ? cut == 0 : cut > 0);
    free(ids);
    cJSON_Delete(pairs);
    vmt_tokenizer_close(tokenizer);
}

static void test_ids_as_python(void **state)
{
    (void)state;
    check_all(LONG);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    check_all(512);
    check_all(16);
    check_all(1);
}

static void test_empty_text_is_end_alone(void **state)
{
    (void)state;
    vmt_ctx ctx;
    vmt_tokenizer *tokenizer = open_bundled(&ctx);
    int32_t ids[4] = {7, 7, 7, 7};
    int64_t count;
    CHECK_OK(&ctx, vmt_tokenizer_encode(&ctx, tokenizer, ids, &count, "", 4, VOCAB));
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], VMT_EOS_ID);
    assert_int_equal(ids[1], 7);
    vmt_tokenizer_close(tokenizer);
}

static void test_ids_beyond_the_encoder_are_refused(void **state)
{
    (void)state;
    vmt_ctx ctx;
    vmt_tokenizer *tokenizer = open_bundled(&ctx);
    int32_t ids[64];
    int64_t count;
    assert_int_equal(
        vmt_tokenizer_encode(&ctx, tokenizer, ids, &count, "a red car on snow", 64, 20),
        VMT_E_MODEL);
    assert_non_null(strstr(ctx.message, "the text encoder knows 20"));
    vmt_tokenizer_close(tokenizer);
}

/* A model laid out as the official one (tools/make_tokenizer.py --rules): byte fallback, symbols of
 * the user, rules A -> a and AA -> ab.  Ids: Python's sentencepiece. */
static void test_official_layout(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[20];
    } cases[] = {
        {"a red car AAA \xe2\x9c\xa8",
         {269, 307, 370, 281, 330, 269, 275, 281, 268, 238, 168, 180, 1}},
        {"<extra_id_3> A  AA \xe4\xb8\x80", {268, 7, 269, 269, 275, 268, 240, 196, 140, 1}},
        {"", {1}},
    };
    vmt_ctx ctx;
    vmt_tokenizer *tokenizer;
    vmt_tokenizer_close(open_bundled(&ctx));
    CHECK_OK(&ctx, vmt_tokenizer_open(&ctx, &tokenizer, TEST_DATA "/text/byte_fallback.model"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ids[20] = {0};
        int64_t count;
        CHECK_OK(&ctx, vmt_tokenizer_encode(&ctx, tokenizer, ids, &count, cases[i].text, 20, 420));
        assert_memory_equal(ids, cases[i].ids, sizeof ids);
    }
    vmt_tokenizer_close(tokenizer);
}

static void check_refused(const void *bytes, size_t length, const char *what)
{
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    void *model;
    size_t model_bytes;
    assert_int_equal(vmt_spiece_check(&ctx, &model, &model_bytes, bytes, length, "FILE"),
                     VMT_E_FORMAT);
    assert_null(model);
    if (!strstr(ctx.message, what))
        fail_msg("\"%s\" does not say \"%s\"", ctx.message, what);
}

/* Handmade models, each wrong in one place. */
static void test_hostile_models_are_refused(void **state)
{
    (void)state;
    check_refused("", 0, "no pieces");
    check_refused("\x0a", 1, "cut short");
    check_refused("\x0a\x7f"
                  "abc",
                  5, "past the end");
    check_refused("\x0b\x00", 2, "wire type");
    check_refused("\x02\x00", 2, "no valid number");
    check_refused("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, "ten bytes");
    check_refused("\x08\x01", 2, "no message");
    check_refused("\x0a\x02\x0a\x00", 4, "empty"); /* piece "" */
    check_refused("\x0a\x05\x0a\x03"
                  "a\0b",
                  7, "zero byte"); /* piece "a\0b" */
    check_refused("\x0a\x03\x0a\x01"
                  "a\x12\x02\x18\x09",
                  9, "unknown type"); /* model_type 9 */
    check_refused("\x0a\x03\x0a\x01"
                  "a\x1a\x04\x12\x02xy",
                  11, "impossible size");
}

static void put_u32(unsigned char *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

/* A piece "a" and a normaliser whose trie is `units` (of 256) with the text "x\0". */
static void check_trie_refused(const uint32_t *units, const char *what)
{
    unsigned char bytes[5 + 3 + 3 + 4 + 1024 + 2] = "\x0a\x03\x0a\x01"
                                                    "a\x1a\x89\x08\x12\x86\x08";
    put_u32(bytes + 11, 1024);
    memcpy(bytes + 15, units, 1024);
    memcpy(bytes + 15 + 1024, "x", 2);
    if (what) {
        check_refused(bytes, sizeof bytes, what);
        return;
    }
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    void *model;
    size_t model_bytes;
    CHECK_OK(&ctx, vmt_spiece_check(&ctx, &model, &model_bytes, bytes, sizeof bytes, "FILE"));
    assert_memory_equal(model, bytes, sizeof bytes);
    vmt_free(model);
}

static void test_hostile_normalisers_are_refused(void **state)
{
    (void)state;
    uint32_t units[256] = {0};
    for (uint32_t i = 0; i < 256; i++)
        units[i] = (i + 1) & 0xff;     /* no label fits its place */
    units[0] = 2 << 10;                /* base 2: 'a' is at 2 ^ 97 = 99 */
    units[99] = 97 | 1 << 8 | 4 << 10; /* base 99 ^ 4 = 103: leaf there */
    units[103] = 1u << 31 | 1;
    check_trie_refused(units, NULL);
    units[103] = 1u << 31 | 2;
    check_trie_refused(units, "points past its text");
    units[103] = 0x17;
    check_trie_refused(units, "no value");
    units[103] = 1u << 31;
    units[99] = 97 | 256 << 10;
    check_trie_refused(units, "leaves its array");
    units[99] = 97 | 97 << 10; /* base 99 ^ 97 = 2, as the root's: 'a' again */
    check_trie_refused(units, "circle");
    units[0] = 1u << 31;
    check_trie_refused(units, "no root");
}

/* The bundled model cut anywhere is refused or still a model; never a fault. */
static void test_truncated_models(void **state)
{
    (void)state;
    vmt_ctx ctx;
    vmt_tokenizer_close(open_bundled(&ctx));
    size_t length;
    unsigned char *bytes = read_model(&length);
    for (size_t cut = 0; cut < length; cut += 1 + cut / 5) {
        vmt_tokenizer *tokenizer;
        unsigned char *part =
            malloc(cut ? cut : 1); /* of its own, so that a sanitizer sees its end */
        assert_non_null(part);
        memcpy(part, bytes, cut);
        const enum vmt_status status = vmt_tokenizer_parse(&ctx, &tokenizer, part, cut, "CUT");
        assert_true(status == VMT_OK || status == VMT_E_FORMAT || status == VMT_E_MODEL);
        vmt_tokenizer_close(tokenizer);
        free(part);
    }
    free(bytes);
    vmt_tokenizer *tokenizer;
    assert_int_equal(vmt_tokenizer_open(&ctx, &tokenizer, "absent.model"), VMT_E_IO);
    assert_null(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_as_python),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_empty_text_is_end_alone),
        cmocka_unit_test(test_ids_beyond_the_encoder_are_refused),
        cmocka_unit_test(test_official_layout),
        cmocka_unit_test(test_hostile_models_are_refused),
        cmocka_unit_test(test_hostile_normalisers_are_refused),
        cmocka_unit_test(test_truncated_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
