/* SPDX-License-Identifier: MIT
 *
 * The motion field out of a motion file alone: numbers known by hand, and files that must be
 * refused.
 */
#include "testing.h"

#include "model/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 2 flows; 3 latent frames with gap 2: pairs (0,0) (0,1) (1,1) (1,2) (2,2); 2x3 tokens. */
enum { FLOWS = 2, PAIRS = 5, TOKENS = 6 };

#define PATH "field.fvm"

static vmt_ctx ctx;
static float flows[FLOWS][PAIRS][TOKENS][2];
static float clean[2 * 3 * 4 * 6];

static const char *const good[][2] = {{"format", "fastvmt-motion"},
                                      {"format_version", "1"},
                                      {"width", "45"},
                                      {"height", "30"},
                                      {"frames", "4"},
                                      {"fps", "16"},
                                      {"option.fps", "0"},
                                      {"option.variant", "paper"},
                                      {"option.max-frame-gap", "2"},
                                      {"method", "fastvmt"},
                                      {"feature", "amf"},
                                      {"attention", "full"},
                                      {"grid", "3x2x3"},
                                      {"frames_per_latent", "2"},
                                      {"guided", "2"},
                                      {"flow_count", "2"},
                                      {"pairs", "5"}};

enum { GOOD = sizeof good / sizeof *good };

/* The good file, but `key` has another value; NULL: is missing. */
static void write_motion(const char *key, const char *value)
{
    const char *meta[2 * GOOD + 1] = {0};
    const vmt_named_tensor tensors[] = {
        {"clean", vmt_tensor_over(clean, VMT_F32, VMT_SHAPE(2, 3, 4, 6))},
        {"flows", vmt_tensor_over(flows, VMT_F32, VMT_SHAPE(FLOWS, PAIRS, TOKENS, 2))}};
    int count = 0;

    for (int i = 0; i < GOOD; i++) {
        const bool other = key && !strcmp(key, good[i][0]);
        if (other && !value)
            continue;
        meta[count++] = good[i][0];
        meta[count++] = other ? value : good[i][1];
    }
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, PATH, tensors, 2, meta));
}

static void known_values(void **state)
{
    vmt_motion_field field;
    vmt_clip made;

    (void)state;
    flows[0][1][0][0] = 99;                             /* of another step: not taken */
    flows[1][2][4][0] = 0.5F, flows[1][2][4][1] = -1;   /* (1, 1) */
    flows[1][3][4][0] = 2, flows[1][3][4][1] = -1.125F; /* (1, 2) */
    flows[1][4][4][0] = 77;                             /* (2, 2): has no next frame */
    write_motion(NULL, NULL);
    CHECK_OK(&ctx, vmt_motion_field_read(&ctx, &field, &made, PATH));
    assert_int_equal(made.width, 45);
    assert_int_equal(made.height, 30);
    assert_int_equal(made.frames, 4);
    assert_true(made.fps <= 0 && !made.pixels);
    assert_int_equal(field.frames, 2);
    assert_int_equal(field.grid_h, 2);
    assert_int_equal(field.grid_w, 3);
    assert_int_equal(field.frames_per_latent, 2);
    assert_true(field.cell_h == 16 && field.cell_w == 16); /* latent cells of 8, 2x2 a token */
    for (int i = 0; i < 2 * TOKENS; i++) {
        const bool set = i == TOKENS + 4;
        assert_true(field.flow[2 * i] == (set ? 24.0F : 0.0F)); /* (2 - 0.5) tokens */
        assert_true(field.flow[2 * i + 1] == (set ? -2.0F : 0.0F));
        assert_true(field.confidence[i] == (set ? 1 / 2.25F : 1.0F)); /* 1 + 0.5^2 + 1^2 */
    }
    vmt_motion_field_free(&field);
    assert_null(field.flow);
    write_motion("frames_per_latent", NULL); /* files before it was written: Wan2.1's */
    CHECK_OK(&ctx, vmt_motion_field_read(&ctx, &field, NULL, PATH));
    assert_int_equal(field.frames_per_latent, 4);
    vmt_motion_field_free(&field);
}

static void refused_files(void **state)
{
    static const struct {
        const char *key, *value, *text;
        enum vmt_status status;
    } cases[] = {
        {"format", "fastvmt-latent", "expected a fastvmt-motion file", VMT_E_FORMAT},
        {"format_version", "2", "format version 2", VMT_E_FORMAT},
        {"width", NULL, "width", VMT_E_FORMAT},
        {"width", "49", "49x30", VMT_E_FORMAT},
        {"height", "0", "45x0", VMT_E_FORMAT},
        {"frames", "6", "6 frames", VMT_E_FORMAT},
        {"grid", "3x2", "no grid", VMT_E_FORMAT},
        {"grid", "3x0x3", "does not divide", VMT_E_FORMAT},
        {"grid", "3x3x3", "does not divide", VMT_E_FORMAT},
        {"grid", "3x2x6", "expected F32", VMT_E_FORMAT},
        {"frames_per_latent", "0", "impossible latent", VMT_E_FORMAT},
        {"pairs", "4", "expected F32", VMT_E_FORMAT},
        {"flow_count", "-1", "impossible counts", VMT_E_FORMAT},
        {"flow_count", "0", "no step was guided", VMT_E_UNSUPPORTED},
        {"option.max-frame-gap", "3", "5 pairs of 3 frames, expected 6", VMT_E_FORMAT},
        {"option.max-frame-gap", "1", "max-frame-gap 1", VMT_E_UNSUPPORTED},
        {"option.max-frame-gap", "x", "max-frame-gap", VMT_E_FORMAT},
        {"option.variant", "released", "released", VMT_E_UNSUPPORTED},
        {"method", "other", "method is \"other\"", VMT_E_MISMATCH},
    };
    vmt_motion_field field;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_motion(cases[i].key, cases[i].value);
        const enum vmt_status status = vmt_motion_field_read(&ctx, &field, NULL, PATH);
        if (status != cases[i].status || !strstr(ctx.message, cases[i].text))
            fail_msg("%s %s: status %d, \"%s\"", cases[i].key, cases[i].value, status, ctx.message);
        assert_null(field.flow);
    }
    flows[1][0][0][0] = (float)strtod("nan", NULL);
    write_motion(NULL, NULL);
    assert_int_equal(vmt_motion_field_read(&ctx, &field, NULL, PATH), VMT_E_NUMERIC);
    flows[1][0][0][0] = 0;
    assert_int_equal(vmt_motion_field_read(&ctx, &field, NULL, "none.fvm"), VMT_E_IO);
    unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(refused_files),
    };

    vmt_ctx_init(&ctx);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
