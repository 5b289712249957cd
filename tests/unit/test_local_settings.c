/* SPDX-License-Identifier: MIT
 *
 * Settings of local attention: their texts, in options and in config.json, and the tiles and boxes
 * that they come to.
 */
#include "testing.h"

#include "model/config_file.h"
#include "model/model_config.h"
#include "model/setting_text.h"
#include "pipeline/local_settings.h"

#include <stdio.h>
#include <string.h>

static void texts_of_extents(void **state)
{
    static const char *const good[] = {"1,2,3", "100%,67%,50%", "1%,100000,8"};
    static const char *const bad[] = {"",      "1",      "1,2",       "1,2,3,", "1,2,3,4",
                                      "0,1,1", "1,-2,3", "0%,1,1",    "1,2,3 ", "101%,1,1",
                                      "1,x,2", "1,,2",   "1,2,100001"};
    int32_t extent[3];
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(vmt_extent_parse(good[i], 1, extent));
        vmt_extent_print(text, sizeof text, extent);
        assert_string_equal(text, good[i]);
    }
    assert_true(vmt_extent_parse("0,5,20%", 0, extent));
    assert_int_equal(extent[0], 0);
    assert_int_equal(extent[1], 5);
    assert_int_equal(extent[2], -20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(vmt_extent_parse(bad[i], 1, extent));
}

static void texts_of_words_and_ranges(void **state)
{
    int32_t bits, range[2];
    char text[64];

    (void)state;
    assert_true(vmt_words_parse("sampling,reference", VMT_LOCAL_PHASES, &bits));
    assert_int_equal(bits, 5);
    vmt_words_print(text, sizeof text, VMT_LOCAL_PHASES, bits);
    assert_string_equal(text, "reference,sampling");
    assert_false(vmt_words_parse("", VMT_LOCAL_PHASES, &bits));
    assert_false(vmt_words_parse("sampling,", VMT_LOCAL_PHASES, &bits));
    assert_false(vmt_words_parse("sampl", VMT_LOCAL_PHASES, &bits));
    assert_true(vmt_range_parse("3-9", 0, 999, range));
    assert_true(range[0] == 3 && range[1] == 9);
    assert_true(vmt_range_parse("7", 0, 999, range));
    assert_true(range[0] == 7 && range[1] == 7);
    assert_false(vmt_range_parse("9-3", 0, 999, range));
    assert_false(vmt_range_parse("3-1000", 0, 999, range));
    assert_false(vmt_range_parse("3-", 0, 999, range));
    assert_false(vmt_range_parse("-3", 0, 999, range));
}

/* What `window` and `tile` come to on a grid: "tile / box". */
static void expect(const char *window, const char *tile, const int64_t grid[3], const char *want)
{
    vmt_attention_settings settings = {VMT_ATTENTION_LOCAL, .phases = 5, .blocks = {1, 999}};
    vmt_ctx ctx = {0};
    vmt_dit_local local;
    char have[96];

    assert_true(vmt_extent_parse(window, 1, settings.window));
    assert_true(vmt_extent_parse(tile, 0, settings.tile));
    CHECK_OK(&ctx, vmt_local_make(&ctx, &local, &settings, grid, 8));
    const int64_t *t = local.geometry.tile, *b = local.geometry.box;
    snprintf(have, sizeof have, "%dx%dx%d / %dx%dx%d", (int)t[0], (int)t[1], (int)t[2], (int)b[0],
             (int)b[1], (int)b[2]);
    assert_string_equal(have, want);
    assert_int_equal(local.passes[VMT_DIT_REFERENCE], b[0] > 0);
    assert_false(local.passes[VMT_DIT_GUIDANCE]);
    assert_int_equal(local.passes[VMT_DIT_SAMPLING], b[0] > 0);
}

static void boxes_of_grids(void **state)
{
    static const int64_t large[3] = {21, 30, 52}, tiny[3] = {9, 6, 10}, odd[3] = {1, 7, 11},
                         medium[3] = {5, 15, 26};

    (void)state;
    expect("100%,67%,50%", "0,0,0", large, "21x10x13 / 21x20x26");
    expect("13,14,25", "0,0,0", large, "7x8x13 / 13x14x25");
    expect("13,14,25", "7,10,13", large, "7x10x13 / 13x14x25");
    expect("100%,67%,50%", "0,0,0", tiny, "9x2x3 / 9x4x5");
    expect("100%,67%,50%", "50%,3,0", tiny, "5x3x3 / 9x4x5");
    expect("50%,50%,50%", "0,0,0", odd, "1x2x4 / 1x4x6");
    expect("60%,33%,33%", "0,0,0", medium, "2x3x6 / 3x5x9");
    expect("2,2,3", "0,0,0", medium, "1x1x2 / 2x2x3");
    expect("1,1,1", "0,0,0", tiny, "1x1x1 / 1x1x1");
    expect("99,99,9", "0,0,0", tiny, "9x6x5 / 9x6x9");
    expect("9,6,10", "0,0,0", tiny, "0x0x0 / 0x0x0"); /* everything: full attention */
}

static void faults(void **state)
{
    static const int64_t grid[3] = {9, 6, 10};
    vmt_attention_settings settings = {
        VMT_ATTENTION_LOCAL, {3, 3, 3}, {3, 4, 3}, .phases = 7, .blocks = {0, 9}};
    vmt_ctx ctx = {0};
    vmt_dit_local local;

    (void)state;
    assert_int_equal(vmt_local_make(&ctx, &local, &settings, grid, 8), VMT_E_ARG);
    assert_non_null(strstr(ctx.message, "axis 1"));
    settings.tile[1] = 3;
    CHECK_OK(&ctx, vmt_local_make(&ctx, &local, &settings, grid, 8));
    settings.blocks[0] = 8;
    assert_int_equal(vmt_local_make(&ctx, &local, &settings, grid, 8), VMT_E_ARG);
    settings.kind = VMT_ATTENTION_FULL;
    CHECK_OK(&ctx, vmt_local_make(&ctx, &local, &settings, grid, 8));
    for (int pass = 0; pass < VMT_DIT_PASSES; pass++)
        assert_false(local.passes[pass]);
}

static enum vmt_status from_config(vmt_ctx *ctx, const char *json, vmt_settings *settings)
{
    vmt_config_file *config;
    vmt_model_defaults defaults;

    CHECK_OK(ctx, vmt_config_file_parse(ctx, &config, json, strlen(json), "config.json"));
    const enum vmt_status status = vmt_model_defaults_read(ctx, &defaults, config);
    vmt_config_file_close(config);
    if (status == VMT_OK)
        vmt_model_defaults_apply(&defaults, settings);
    return status;
}

static void in_config_json(void **state)
{
    vmt_ctx ctx = {0};
    vmt_settings s = {0};

    (void)state;
    CHECK_OK(&ctx, from_config(&ctx,
                               "{\"motion\": {\"attention\": \"local\", \"attention_window\": "
                               "\"9,50%,5\", \"attention_tile\": \"0,2,0\", \"local_phases\": "
                               "\"guidance\", \"local_blocks\": \"2-4\"}}",
                               &s));
    const vmt_attention_settings *a = &s.attention;
    assert_int_equal(a->kind, VMT_ATTENTION_LOCAL);
    assert_true(a->window[0] == 9 && a->window[1] == -50 && a->window[2] == 5);
    assert_true(a->tile[0] == 0 && a->tile[1] == 2 && a->tile[2] == 0);
    assert_int_equal(a->phases, 2);
    assert_true(a->blocks[0] == 2 && a->blocks[1] == 4);
    assert_int_equal(from_config(&ctx, "{\"motion\": {\"attention_window\": [9, 3, 5]}}", &s),
                     VMT_E_FORMAT);
    assert_int_equal(from_config(&ctx, "{\"motion\": {\"local_phases\": \"none\"}}", &s),
                     VMT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_extents), cmocka_unit_test(texts_of_words_and_ranges),
        cmocka_unit_test(boxes_of_grids),   cmocka_unit_test(faults),
        cmocka_unit_test(in_config_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
