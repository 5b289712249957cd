/* SPDX-License-Identifier: MIT
 *
 * The checked calls: right arguments pass; each argument in turn with a longer axis, another rank,
 * another dtype or no memory is VMT_E_INTERNAL, and the message names the op.
 */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 9, ELEMENTS = 4096 };

/* Arguments of a call, t[i] by the letters of the case. */
struct arguments {
    vmt_ctx *ctx;
    vmt_tensor t[MAX_ARGUMENTS];
    double memory[MAX_ARGUMENTS][ELEMENTS];
};

typedef enum vmt_status call_fn(struct arguments *a);

static const vmt_flow_geometry geometry = {3, 4, 2, 3, 2, 3, VMT_POSITIONS_FRAME};
static const vmt_local_geometry boxes = {{2, 3, 2}, {1, 2, 1}, {2, 2, 1}};
static const vmt_pooling pooling = {3, 4, 2, 2};
static const vmt_conv_geometry convolution = {1, 1, 1, 1, 1, 1, 1};
static const vmt_adamw settings = {1e-3, 0.9, 0.999, 1e-8, 0.01, 1};
static const int64_t patch[3] = {1, 2, 2};

#define T(i) (&a->t[i])
#define CALL(name, ...)                                                                            \
    static enum vmt_status call_##name(struct arguments *a)                                        \
    {                                                                                              \
        return vmt_##name(a->ctx, __VA_ARGS__);                                                    \
    }
#define WEIGHT(i, j) (&(vmt_weight){.w = a->t[i], .bias = a->t[j]})
#define BARE_WEIGHT(i) (&(vmt_weight){.w = a->t[i]})

CALL(copy, T(0), T(1))
CALL(zero, T(0))
CALL(all_finite, &(bool){false}, T(0))
CALL(mark_bad, T(0), T(1))
CALL(weight_prepare, WEIGHT(0, 1), VMT_USE_LINEAR)
CALL(linear, T(0), T(1), WEIGHT(2, 3), VMT_EPILOGUE_NONE)
CALL(linear_fp8, T(0), T(1), WEIGHT(2, 3), VMT_EPILOGUE_NONE)
CALL(linear_bwd, T(0), T(1), BARE_WEIGHT(2))
CALL(linear_bwd_acc, T(0), T(1), BARE_WEIGHT(2))
CALL(linear_gelu, T(0), T(1), T(2), WEIGHT(3, 4))
CALL(linear_bwd_gelu, T(0), T(1), BARE_WEIGHT(2), T(3))
CALL(lincomb, T(0), T(1), T(2), 1, 1)
CALL(gelu, T(0), T(1))
CALL(gelu_bwd, T(0), T(1), T(2))
CALL(silu, T(0), T(1))
CALL(gelu_gate, T(0), T(1), T(2))
CALL(gate_residual, T(0), T(1), T(2), T(3))
CALL(gate_residual_bwd, T(0), T(1), T(2))
CALL(norm_modulate, T(0), T(1), T(2), T(3), 1e-6)
CALL(norm_modulate_bwd_acc, T(0), T(1), T(2), T(3), 1e-6)
CALL(layer_norm, T(0), T(1), T(2), T(3), 1e-6)
CALL(layer_norm_bwd_acc, T(0), T(1), T(2), T(3), 1e-6)
CALL(residual_norm_modulate, T(0), T(1), T(2), T(3), T(4), T(5), T(6), 1e-6)
CALL(residual_layer_norm, T(0), T(1), T(2), T(3), T(4), T(5), T(6), 1e-6)
CALL(rms_norm_rope, T(0), T(1), T(2), T(3), T(4), 1e-6)
CALL(rms_norm_rope_bwd, T(0), T(1), T(2), T(3), T(4), T(5), 1e-6)
CALL(rms_norm_channel, T(0), T(1), T(2), false)
CALL(attention, T(0), T(1), T(2), T(3), T(4), T(5), 1)
CALL(attention_bwd, T(0), T(1), T(2), T(3), T(4), T(5), T(6), T(7), T(8), 1)
CALL(attention_local, T(0), T(1), T(2), T(3), T(4), &boxes, 1)
CALL(attention_local_bwd, T(0), T(1), T(2), T(3), T(4), T(5), T(6), T(7), T(8), &boxes, 1)
CALL(patchify, T(0), T(1), patch)
CALL(patchify_bwd, T(0), T(1), patch)
CALL(unpatchify, T(0), T(1), patch)
CALL(unpatchify_bwd, T(0), T(1), patch)
CALL(embed, T(0), T(1), BARE_WEIGHT(2))
CALL(conv3d, T(0), T(1), WEIGHT(2, 3), &convolution)
CALL(upsample2, T(0), T(1))
CALL(split_frames, T(0), T(1))
CALL(add, T(0), T(1), T(2))
CALL(qk_reduce, T(0), T(1), VMT_REDUCE_RELEASED)
CALL(qk_reduce_bwd, T(0), T(1), VMT_REDUCE_RELEASED)
CALL(flow_full, T(0), T(1), T(2), &geometry, 1)
CALL(flow_full_bwd_acc, T(0), T(1), T(2), T(3), T(4), T(5), &geometry, 1)
CALL(flow_top, T(0), T(1), T(2), &geometry, 1, 3)
CALL(flow_top_bwd_acc, T(0), T(1), T(2), T(3), T(4), T(5), &geometry, 1, 3)
CALL(flow_windows, T(0), T(1), T(2), T(3), &geometry, 1)
CALL(flow_windowed, T(0), T(1), T(2), T(3), T(4), &geometry, 1)
CALL(flow_windowed_bwd_acc, T(0), T(1), T(2), T(3), T(4), T(5), T(6), T(7), &geometry, 1)
CALL(flow_loss, T(0), T(1), T(2), T(3), T(4), 1, 1)
CALL(window_mean, T(0), T(1), T(2), T(3), &geometry)
CALL(window_mean_bwd_acc, T(0), T(1), T(2), T(3), &geometry)
CALL(track_loss, T(0), T(1), T(2), T(3), T(4), T(5), 1, 1)
CALL(pool, T(0), T(1), &pooling)
CALL(pool_bwd, T(0), T(1), &pooling)
CALL(centre, T(0), T(1))
CALL(unit_rows, T(0), T(1), T(2))
CALL(unit_rows_bwd, T(0), T(1), T(2), T(3))
CALL(adamw_step, T(0), T(1), T(2), T(3), &settings)

/* Arguments in order, "R3x5": the dtype letter R (F32), A (BF16), W (F32 weight) or I (I32), then
 * the shape. */
static const struct {
    const char *op;
    call_fn *call;
    const char *arguments[MAX_ARGUMENTS + 1];
} cases[] = {
#define CASE(name, ...)                                                                            \
    {                                                                                              \
#name, call_##name,                                                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    CASE(copy, "R3x5", "A3x5"),
    CASE(zero, "R3x5"),
    CASE(all_finite, "R3x5"),
    CASE(mark_bad, "I1", "R3x5"),
    CASE(weight_prepare, "W4x5", "W4"),
    CASE(linear, "A3x4", "A3x5", "W4x5", "W4"),
    CASE(linear_fp8, "A3x4", "A3x5", "W4x5", "W4"),
    CASE(linear_bwd, "A3x5", "A3x4", "W4x5"),
    CASE(linear_bwd_acc, "R3x5", "A3x4", "W4x5"),
    CASE(linear_gelu, "A3x4", "A3x4", "A3x5", "W4x5", "W4"),
    CASE(linear_bwd_gelu, "A3x5", "A3x4", "W4x5", "A3x5"),
    CASE(lincomb, "R3x5", "R3x5", "R3x5"),
    CASE(gelu, "A3x5", "A3x5"),
    CASE(gelu_bwd, "A3x5", "A3x5", "A3x5"),
    CASE(silu, "A3x5", "R3x5"),
    CASE(gelu_gate, "A3x5", "A3x5", "A3x5"),
    CASE(gate_residual, "R3x5", "R3x5", "R5", "A3x5"),
    CASE(gate_residual_bwd, "A3x5", "R5", "R3x5"),
    CASE(norm_modulate, "A3x5", "R3x5", "R5", "R5"),
    CASE(norm_modulate_bwd_acc, "R3x5", "A3x5", "R3x5", "R5"),
    CASE(layer_norm, "A3x5", "R3x5", "R5", "R5"),
    CASE(layer_norm_bwd_acc, "R3x5", "A3x5", "R3x5", "R5"),
    CASE(residual_norm_modulate, "R3x5", "A3x5", "R3x5", "R5", "A3x5", "R5", "R5"),
    CASE(residual_layer_norm, "R3x5", "A3x5", "R3x5", "R5", "A3x5", "R5", "R5"),
    CASE(rms_norm_rope, "A3x2x4", "A3x8", "R8", "R3x2", "R3x2"),
    CASE(rms_norm_rope_bwd, "A3x8", "A3x2x4", "A3x8", "R8", "R3x2", "R3x2"),
    CASE(rms_norm_channel, "A2x3x4x5", "A2x3x4x5", "R5"),
    CASE(attention, "A3x2x4", "R2x3", "A3x2x4", "A5x2x4", "A5x2x4", "R2x7"),
    CASE(attention_bwd, "A3x2x4", "A5x2x4", "A5x2x4", "A3x2x4", "A3x2x4", "A5x2x4", "A5x2x4",
         "A3x2x4", "R2x3"),
    CASE(attention_local, "A12x2x4", "R2x12", "A12x2x4", "A12x2x4", "A12x2x4"),
    CASE(attention_local_bwd, "A12x2x4", "A12x2x4", "R12x2x4", "A12x2x4", "A12x2x4", "A12x2x4",
         "A12x2x4", "A12x2x4", "R2x12"),
    CASE(patchify, "A12x8", "R2x3x4x4"),
    CASE(patchify_bwd, "R2x3x4x4", "A12x8"),
    CASE(unpatchify, "R2x3x4x4", "A12x8"),
    CASE(unpatchify_bwd, "A12x8", "R2x3x4x4"),
    CASE(embed, "R3x5", "I3", "W7x5"),
    CASE(conv3d, "A2x4x5x6", "A4x4x5x3", "W6x3x3x3x3", "W6"),
    CASE(upsample2, "A2x6x8x5", "A2x3x4x5"),
    CASE(split_frames, "A4x3x2x5", "A2x3x2x10"),
    CASE(add, "A3x5", "A3x5", "A3x5"),
    CASE(qk_reduce, "R4x4", "A4x2x4"),
    CASE(qk_reduce_bwd, "A4x2x4", "R4x4"),
    CASE(flow_full, "R12x2", "R12x5", "R12x5"),
    CASE(flow_full_bwd_acc, "R12x5", "R12x5", "R12x2", "R12x2", "R12x5", "R12x5"),
    CASE(flow_top, "R12x2", "R12x5", "R12x5"),
    CASE(flow_top_bwd_acc, "R12x5", "R12x5", "R12x2", "R12x2", "R12x5", "R12x5"),
    CASE(flow_windows, "I4x2", "I4x3", "R12x5", "R12x5"),
    CASE(flow_windowed, "R12x2", "R12x5", "R12x5", "I4x2", "I4x3"),
    CASE(flow_windowed_bwd_acc, "R12x5", "R12x5", "R12x2", "R12x2", "R12x5", "R12x5", "I4x2",
         "I4x3"),
    CASE(flow_loss, "R1", "R12x2", "R12x2", "R12x2", "R12"),
    CASE(window_mean, "R4x5", "R12x5", "I4x2", "I4x3"),
    CASE(window_mean_bwd_acc, "R12x5", "R4x5", "I4x2", "I4x3"),
    CASE(track_loss, "R1", "R4x5", "R4x5", "R4x5", "R4x5", "R4"),
    CASE(pool, "R2x4x5", "R2x12x5"),
    CASE(pool_bwd, "R2x12x5", "R2x4x5"),
    CASE(centre, "R2x3x5", "R2x3x5"),
    CASE(unit_rows, "R3x5", "R3x5", "R5"),
    CASE(unit_rows_bwd, "R3x5", "R3x5", "R3x5", "R5"),
    CASE(adamw_step, "R7", "R7", "R7", "R7"),
};
enum { CASES = sizeof cases / sizeof cases[0] };

static int make_arguments(struct arguments *a, size_t which)
{
    int count = 0;

    memset(a->memory, 0, sizeof a->memory);
    for (; cases[which].arguments[count]; count++) {
        const char *text = cases[which].arguments[count];
        vmt_tensor *t = &a->t[count];
        *t = vmt_tensor_over(a->memory[count],
                             *text == 'A'   ? VMT_BF16
                             : *text == 'I' ? VMT_I32
                                            : VMT_F32,
                             0, NULL);
        for (text++; *text; text += *text == 'x') {
            char *end;
            t->shape[t->rank++] = strtoll(text, &end, 10);
            text = end;
        }
    }
    return count;
}

static void expect_internal(struct arguments *a, size_t which, int argument, const char *fault)
{
    char prefix[64];

    snprintf(prefix, sizeof prefix, "op %s: argument ", cases[which].op);
    a->ctx->message[0] = '\0';
    const enum vmt_status status = cases[which].call(a);
    if (status != VMT_E_INTERNAL || strncmp(a->ctx->message, prefix, strlen(prefix)) != 0)
        fail_msg("%s, argument %d with %s: status %d, message '%s'", cases[which].op, argument,
                 fault, (int)status, a->ctx->message);
}

static void right_arguments_pass(void **state)
{
    struct arguments *a = *state;
    for (size_t which = 0; which < CASES; which++) {
        make_arguments(a, which);
        CHECK_OK(a->ctx, cases[which].call(a));
    }
}

static void each_wrong_argument_is_named(void **state)
{
    struct arguments *a = *state;
    for (size_t which = 0; which < CASES; which++) {
        const int count = make_arguments(a, which);
        for (int i = 0; i < count; i++) {
            const vmt_tensor good = a->t[i];
            const bool free_shape =
                count == 1 || (strcmp(cases[which].op, "mark_bad") == 0 && i == 1);
            const bool is_bias = cases[which].arguments[i][0] == 'W' && good.rank == 1;
            /* The rows of an embedding table are any; so are a lone weight's columns. */
            const bool free_first = strcmp(cases[which].op, "embed") == 0 && i == 2;
            const bool free_last = strcmp(cases[which].op, "weight_prepare") == 0 && i == 0;

            for (int axis = 0; axis < good.rank && !free_shape; axis++) {
                if ((free_first && axis == 0) || (free_last && axis == 1))
                    continue;
                a->t[i].shape[axis]++;
                expect_internal(a, which, i, "a longer axis");
                a->t[i] = good;
                a->t[i].shape[axis] = 0;
                expect_internal(a, which, i, "an empty axis");
                a->t[i] = good;
            }
            if (!free_shape) {
                a->t[i].rank += good.rank == VMT_MAX_RANK ? -1 : 1;
                expect_internal(a, which, i, "another rank");
                a->t[i] = good;
            }
            if (strcmp(cases[which].op, "zero") != 0) {
                a->t[i].dtype = VMT_U8;
                expect_internal(a, which, i, "another dtype");
                a->t[i] = good;
            }
            if (!is_bias) {
                a->t[i].data = NULL;
                expect_internal(a, which, i, "no memory");
                a->t[i] = good;
            }
        }
    }
}

static void messages_hold_both_shapes(void **state)
{
    struct arguments *a = *state;
    vmt_tensor y = vmt_tensor_over(a->memory[0], VMT_BF16, VMT_SHAPE(3, 4));
    const vmt_tensor x = vmt_tensor_over(a->memory[1], VMT_BF16, VMT_SHAPE(3, 5));
    const vmt_weight w = {.w = vmt_tensor_over(a->memory[2], VMT_F32, VMT_SHAPE(4, 6))};

    assert_int_equal(vmt_linear(a->ctx, &y, &x, &w, VMT_EPILOGUE_NONE), VMT_E_INTERNAL);
    assert_string_equal(a->ctx->message, "op linear: argument w: shape 4x6, wanted 4x5 (-1: any)");
    y.dtype = VMT_F64;
    assert_int_equal(vmt_linear(a->ctx, &y, &x, &w, VMT_EPILOGUE_NONE), VMT_E_INTERNAL);
    assert_non_null(strstr(a->ctx->message, "argument y: dtype F64, wanted one of RA (R = F32, "
                                            "A = BF16"));
}

static void pairs_come_together(void **state)
{
    struct arguments *a = *state;
    const vmt_tensor q = vmt_tensor_over(a->memory[0], VMT_BF16, VMT_SHAPE(3, 2, 4));
    const vmt_tensor lse = vmt_tensor_over(a->memory[1], VMT_F32, VMT_SHAPE(2, 3));
    const vmt_tensor angles = vmt_tensor_over(a->memory[2], VMT_F32, VMT_SHAPE(3, 2));
    const vmt_tensor x = vmt_tensor_over(a->memory[3], VMT_BF16, VMT_SHAPE(3, 8));
    const vmt_tensor w = vmt_tensor_over(a->memory[4], VMT_F32, VMT_SHAPE(8));
    vmt_tensor dq = q, y = q;

    assert_int_equal(vmt_attention_bwd(a->ctx, &dq, &dq, NULL, &q, &q, &q, &q, &q, &lse, 1),
                     VMT_E_INTERNAL);
    assert_int_equal(vmt_rms_norm_rope(a->ctx, &y, &x, &w, &angles, NULL, 1e-6), VMT_E_INTERNAL);
}

static void geometries_that_do_not_fit(void **state)
{
    struct arguments *a = *state;
    const vmt_tensor k = vmt_tensor_over(a->memory[0], VMT_F32, VMT_SHAPE(12, 5));
    vmt_tensor rows = vmt_tensor_over(a->memory[1], VMT_I32, VMT_SHAPE(4, 2));
    vmt_tensor cols = vmt_tensor_over(a->memory[2], VMT_I32, VMT_SHAPE(4, 3));
    vmt_flow_geometry g = geometry;

    g.window_h = 4;
    assert_int_equal(vmt_flow_windows(a->ctx, &rows, &cols, &k, &k, &g, 1), VMT_E_INTERNAL);
    g = geometry;
    g.positions = VMT_POSITIONS_RELEASED; /* tiles 2x3 do not divide 3x4 */
    assert_int_equal(vmt_flow_windows(a->ctx, &rows, &cols, &k, &k, &g, 1), VMT_E_INTERNAL);
    g.tile_h = 3, g.tile_w = 4, g.window_h = 2; /* even */
    assert_int_equal(vmt_flow_windows(a->ctx, &rows, &cols, &k, &k, &g, 1), VMT_E_INTERNAL);
    g = geometry;
    g.tile_h = 0;
    assert_int_equal(vmt_flow_windows(a->ctx, &rows, &cols, &k, &k, &g, 1), VMT_E_INTERNAL);
}

static void boxes_that_do_not_fit(void **state)
{
    static const vmt_local_geometry wrong[] = {
        {{2, 3, 2}, {1, 2, 1}, {2, 4, 1}},  /* larger than the grid */
        {{2, 3, 2}, {1, 3, 1}, {2, 2, 1}},  /* smaller than the tile */
        {{2, 3, 2}, {0, 2, 1}, {2, 2, 1}},  /* no tile */
        {{2, 3, 3}, {1, 2, 1}, {2, 2, 1}}}; /* of other tokens */
    struct arguments *a = *state;
    const vmt_tensor q = vmt_tensor_over(a->memory[0], VMT_BF16, VMT_SHAPE(12, 2, 4));
    vmt_tensor o = vmt_tensor_over(a->memory[1], VMT_BF16, VMT_SHAPE(12, 2, 4));

    CHECK_OK(a->ctx, vmt_attention_local(a->ctx, &o, NULL, &q, &q, &q, &boxes, 1));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(vmt_attention_local(a->ctx, &o, NULL, &q, &q, &q, &wrong[i], 1),
                         VMT_E_INTERNAL);
    assert_int_equal(vmt_attention_local(a->ctx, &o, NULL, &q, &q, &q, NULL, 1), VMT_E_INTERNAL);
}

static int setup(void **state)
{
    static struct arguments arguments;
    arguments.ctx = test_ctx_open("ref", "bf16");
    *state = &arguments;
    return 0;
}

static int teardown(void **state)
{
    test_ctx_close(((struct arguments *)*state)->ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_arguments_pass),
        cmocka_unit_test(each_wrong_argument_is_named),
        cmocka_unit_test(messages_hold_both_shapes),
        cmocka_unit_test(pairs_come_together),
        cmocka_unit_test(geometries_that_do_not_fit),
        cmocka_unit_test(boxes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
