/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/mapped_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void message_is_one_line(void **state)
{
    (void)state;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    assert_int_equal(vmt_fail(&ctx, VMT_E_FORMAT, "%s: bad", "a\nb\r\t\x1b[31mc\x7f"),
                     VMT_E_FORMAT);
    assert_string_equal(ctx.message, "a b   [31mc : bad");
    assert_int_equal(vmt_prefix(&ctx, VMT_E_FORMAT, "block\n%d", 3), VMT_E_FORMAT);
    assert_string_equal(ctx.message, "block 3: a b   [31mc : bad");
    assert_int_equal(vmt_prefix(&ctx, VMT_OK, "unused"), VMT_OK);
    assert_string_equal(ctx.message, "block 3: a b   [31mc : bad");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char *text = malloc(10000);
    vmt_ctx ctx;

    assert_non_null(text);
    memset(text, 'x', 9999);
    text[9999] = 0;
    vmt_ctx_init(&ctx);
    assert_int_equal(vmt_fail(&ctx, VMT_E_IO, "%s", text), VMT_E_IO);
    assert_int_equal(strlen(ctx.message), VMT_MESSAGE_BYTES - 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(vmt_prefix(&ctx, VMT_E_IO, "%s", text), VMT_E_IO);
    assert_true(strlen(ctx.message) < VMT_MESSAGE_BYTES);
    assert_int_equal(vmt_prefix(&ctx, VMT_E_IO, "file"), VMT_E_IO);
    assert_memory_equal(ctx.message, "file: xxx", 9);
    free(text);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    size_t result = 7;

    assert_true(vmt_mul_size(0, SIZE_MAX, &result) && result == 0);
    assert_true(vmt_mul_size(SIZE_MAX, 1, &result) && result == SIZE_MAX);
    assert_true(vmt_mul_size(SIZE_MAX / 3, 3, &result) && result == SIZE_MAX / 3 * 3);
    result = 7;
    assert_false(vmt_mul_size(SIZE_MAX / 2 + 1, 2, &result));
    assert_false(vmt_mul_size((size_t)1 << 32, (size_t)1 << 32, &result));
    assert_true(result == 7);
    assert_true(vmt_add_size(SIZE_MAX - 1, 1, &result) && result == SIZE_MAX);
    result = 7;
    assert_false(vmt_add_size(SIZE_MAX, 1, &result));
    assert_false(vmt_add_size(1, SIZE_MAX, &result));
    assert_true(result == 7);
}

static void impossible_allocation_fails(void **state)
{
    (void)state;
    void *memory = &memory;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    assert_int_equal(vmt_alloc(&ctx, &memory, SIZE_MAX / 2, 4), VMT_E_MEMORY);
    assert_null(memory);
    assert_non_null(strstr(ctx.message, "memory"));
    CHECK_OK(&ctx, vmt_alloc(&ctx, &memory, 0, 0));
    assert_non_null(memory);
    vmt_free(memory);
    CHECK_OK(&ctx, vmt_alloc(&ctx, &memory, 3, 5));
    for (int i = 0; i < 15; i++)
        assert_int_equal(((unsigned char *)memory)[i], 0);
    vmt_free(memory);
}

static void cancelling_is_seen(void **state)
{
    (void)state;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    CHECK_OK(&ctx, vmt_check_cancelled(&ctx));
    vmt_cancel(&ctx);
    assert_int_equal(vmt_check_cancelled(&ctx), VMT_E_CANCELLED);
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

static void atomic_file_is_whole_or_absent(void **state)
{
    (void)state;
    static const char path[] = "test_ctx.atomic";
    vmt_atomic_file file = {0};
    vmt_mapped_file map;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    unlink(path);
    CHECK_OK(&ctx, vmt_atomic_file_open(&ctx, &file, path));
    CHECK_OK(&ctx, vmt_atomic_file_write(&ctx, &file, "abc", 3));
    assert_false(exists(path));
    vmt_atomic_file_abort(&file);
    assert_false(exists(path));

    CHECK_OK(&ctx, vmt_atomic_file_open(&ctx, &file, path));
    CHECK_OK(&ctx, vmt_atomic_file_write(&ctx, &file, "abc", 3));
    CHECK_OK(&ctx, vmt_atomic_file_write(&ctx, &file, "de", 2));
    assert_int_equal(file.written, 5);
    CHECK_OK(&ctx, vmt_atomic_file_commit(&ctx, &file));
    CHECK_OK(&ctx, vmt_mapped_file_open(&ctx, &map, path));
    assert_int_equal(map.length, 5);
    assert_memory_equal(map.bytes, "abcde", 5);
    vmt_mapped_file_close(&map);

    /* Given up: what was there before stays. */
    CHECK_OK(&ctx, vmt_atomic_file_open(&ctx, &file, path));
    CHECK_OK(&ctx, vmt_atomic_file_write(&ctx, &file, "zzzzzzzz", 8));
    char *temporary = strdup(file.temporary);
    assert_true(exists(temporary));
    vmt_atomic_file_abort(&file);
    assert_false(exists(temporary));
    free(temporary);
    CHECK_OK(&ctx, vmt_mapped_file_open(&ctx, &map, path));
    assert_int_equal(map.length, 5);
    vmt_mapped_file_close(&map);
    unlink(path);

    assert_int_equal(vmt_atomic_file_open(&ctx, &file, "no such folder/x"), VMT_E_IO);
    assert_non_null(strstr(ctx.message, "no such folder/x"));
}

static void mapping_refuses_what_is_no_file(void **state)
{
    (void)state;
    static const char empty[] = "test_ctx.empty";
    vmt_mapped_file map;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    assert_int_equal(vmt_mapped_file_open(&ctx, &map, "absent"), VMT_E_IO);
    assert_non_null(strstr(ctx.message, "absent"));
    assert_int_equal(vmt_mapped_file_open(&ctx, &map, "."), VMT_E_IO);
    assert_int_equal(vmt_mapped_file_open(&ctx, &map, "/dev/null"), VMT_E_IO);
    FILE *file = fopen(empty, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(vmt_mapped_file_open(&ctx, &map, empty), VMT_E_FORMAT);
    unlink(empty);
}

static void json_is_limited(void **state)
{
    (void)state;
    cJSON *root = NULL;
    int64_t value = 0;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    static const char good[] = "{\"a\": 5, \"b\": 0.5, \"c\": 1e300, \"d\": \"5\"} \n";
    CHECK_OK(&ctx, vmt_json_parse(&ctx, &root, good, sizeof good - 1, "FILE"));
    assert_true(vmt_json_int(cJSON_GetObjectItem(root, "a"), &value) && value == 5);
    assert_false(vmt_json_int(cJSON_GetObjectItem(root, "b"), &value));
    assert_false(vmt_json_int(cJSON_GetObjectItem(root, "c"), &value));
    assert_false(vmt_json_int(cJSON_GetObjectItem(root, "d"), &value));
    assert_false(vmt_json_int(NULL, &value));
    cJSON_Delete(root);

    static const char *const bad[] = {"", "{", "[1]", "5", "{} x", "{\"a\":}", "{\"a\": 1,}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(vmt_json_parse(&ctx, &root, bad[i], strlen(bad[i]), "FILE"), VMT_E_FORMAT);
        assert_null(root);
        assert_memory_equal(ctx.message, "FILE: ", 6);
    }

    /* Nothing behind the given length is read: the text is cut before its last brace. */
    char *tight = malloc(7);
    assert_non_null(tight);
    memcpy(tight, "{\"a\":1}", 7);
    assert_int_equal(vmt_json_parse(&ctx, &root, tight, 6, "FILE"), VMT_E_FORMAT);
    CHECK_OK(&ctx, vmt_json_parse(&ctx, &root, tight, 7, "FILE"));
    cJSON_Delete(root);
    free(tight);

    /* Depth and number of values are limited, so that a small file cannot take much. */
    const size_t deep = 1 << 20, wide = (size_t)9 << 20;
    char *text = malloc(wide);
    assert_non_null(text);
    memset(text, '[', deep);
    memcpy(text, "{\"a\":", 5);
    assert_int_equal(vmt_json_parse(&ctx, &root, text, deep, "FILE"), VMT_E_FORMAT);
    for (size_t i = 0; i < wide; i++)
        text[i] = i % 2 ? '1' : ',';
    memcpy(text, "{\"a\":[1", 7);
    text[wide - 2] = ']';
    text[wide - 1] = '}';
    assert_int_equal(vmt_json_parse(&ctx, &root, text, wide, "FILE"), VMT_E_FORMAT);
    assert_non_null(strstr(ctx.message, "values"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_one_line),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(impossible_allocation_fails),
        cmocka_unit_test(cancelling_is_seen),
        cmocka_unit_test(atomic_file_is_whole_or_absent),
        cmocka_unit_test(mapping_refuses_what_is_no_file),
        cmocka_unit_test(json_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
