/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "cJSON.h"
#include "json_data.h"
#include "text/clean.h"
#include "text/html.h"

#include <stdlib.h>
#include <string.h>

/* tests/data/text/clean.json: what ftfy and Python make of each prompt. */
static void test_clean_as_python(void **state)
{
    (void)state;
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    cJSON *pairs = test_json_load("text/clean.json");
    const cJSON *pair;
    int count = 0;
    cJSON_ArrayForEach(pair, pairs)
    {
        const char *text = cJSON_GetArrayItem(pair, 0)->valuestring;
        const char *expected = cJSON_GetArrayItem(pair, 1)->valuestring;
        char *cleaned;
        CHECK_OK(&ctx, vmt_text_clean(&ctx, &cleaned, text, strlen(text)));
        if (strcmp(cleaned, expected) != 0)
            fail_msg("line %d: \"%s\" gave \"%s\", expected \"%s\"", count + 1, text, cleaned,
                     expected);
        vmt_free(cleaned);
        count++;
    }
    assert_true(count >= 500);
    cJSON_Delete(pairs);
}

static void check_refused(const char *text, size_t length, const char *where)
{
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    char unset, *cleaned = &unset;
    assert_int_equal(vmt_text_clean(&ctx, &cleaned, text, length), VMT_E_ARG);
    assert_null(cleaned);
    assert_non_null(strstr(ctx.message, where));
}

static void test_refuses_what_is_not_utf8(void **state)
{
    (void)state;
    check_refused("ab\xff", 3, "byte 2 of 3 is 0xff");
    check_refused("\xc0\x80", 2, "byte 0");          /* overlong NUL */
    check_refused("a\xed\xa0\xbd", 4, "byte 1");     /* surrogate */
    check_refused("a\xf4\x90\x80\x80", 5, "byte 1"); /* above U+10FFFF */
    check_refused("abc\xe4\xbd", 5, "byte 3");       /* cut short */
    check_refused("\xe0\x80\x80", 3, "byte 0");
    check_refused("\xf8\x88\x80\x80\x80", 5, "byte 0");
}

static void test_limits(void **state)
{
    (void)state;
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    char *text = malloc(VMT_PROMPT_BYTES + 1), *cleaned;
    assert_non_null(text);
    memset(text, 'a', VMT_PROMPT_BYTES + 1);
    check_refused(text, VMT_PROMPT_BYTES + 1, "at most 65536");
    CHECK_OK(&ctx, vmt_text_clean(&ctx, &cleaned, text, VMT_PROMPT_BYTES));
    assert_int_equal(strlen(cleaned), VMT_PROMPT_BYTES);
    vmt_free(cleaned);
    free(text);

    /* A NUL is a control character like others. */
    CHECK_OK(&ctx, vmt_text_clean(&ctx, &cleaned, "a\0b", 3));
    assert_string_equal(cleaned, "ab");
    vmt_free(cleaned);
}

/* The lookup is a binary search. */
static void check_sorted(const vmt_html_entity *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(table[i].name) <= VMT_HTML_NAME_CHARS);
        assert_true(i == 0 || strcmp(table[i - 1].name, table[i].name) < 0);
    }
}

static void test_tables_are_sorted(void **state)
{
    (void)state;
    assert_int_equal(vmt_html_names_count, 2231);
    check_sorted(vmt_html_names, vmt_html_names_count);
    check_sorted(vmt_html_upper_names, vmt_html_upper_names_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_as_python),
        cmocka_unit_test(test_refuses_what_is_not_utf8),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_tables_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
