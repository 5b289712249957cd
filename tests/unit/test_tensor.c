/* SPDX-License-Identifier: MIT
 *
 * Views, arenas' tensors, the choice of backends.
 */
#include "testing.h"

#include "backend/backend.h"

#include <math.h>
#include <string.h>

static void views_share_memory(void **state)
{
    float data[24];
    const vmt_tensor t = vmt_tensor_over(data, VMT_F32, VMT_SHAPE(4, 3, 2));
    const vmt_tensor part = vmt_slice(&t, 1, 2), entry = vmt_index(&t, 3);
    const vmt_tensor flat = vmt_reshape(&t, VMT_SHAPE(24));

    (void)state;
    assert_ptr_equal(part.data, data + 6);
    assert_int_equal(part.shape[0], 2);
    assert_int_equal(part.rank, 3);
    assert_ptr_equal(entry.data, data + 18);
    assert_int_equal(entry.rank, 2);
    assert_int_equal(entry.shape[1], 2);
    assert_int_equal(entry.shape[2], 1);
    assert_int_equal(vmt_numel(&flat), 24);
    assert_int_equal(vmt_tensor_bytes(&part), 48);
    assert_true(vmt_same_shape(&t, &(vmt_tensor){.shape = {4, 3, 2}, .rank = 3}));
    assert_false(vmt_same_shape(&t, &part));
}

static void shapes_as_text(void **state)
{
    const int64_t most = INT64_MAX;
    char text[128];
    vmt_tensor t = vmt_tensor_over(NULL, VMT_F32, VMT_SHAPE(16, 9, 12, 20));

    (void)state;
    assert_string_equal(vmt_shape_text(&t, text), "16x9x12x20");
    t.rank = 0;
    assert_string_equal(vmt_shape_text(&t, text), "scalar");
    t = vmt_tensor_over(NULL, VMT_F32, VMT_SHAPE(most, most, most, most, most));
    assert_int_equal(strlen(vmt_shape_text(&t, text)), 5 * 19 + 4);
}

static void takes_what_it_measured(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_arena measure = vmt_arena_measure(), arena;
    vmt_tensor a, b;

    (void)state;
    CHECK_OK(ctx, vmt_take(ctx, &measure, &a, VMT_F32, VMT_SHAPE(3, 5)));
    CHECK_OK(ctx, vmt_take(ctx, &measure, &b, VMT_BF16, VMT_SHAPE(7)));
    CHECK_OK(ctx, vmt_arena_open(ctx, &arena, measure.peak));
    CHECK_OK(ctx, vmt_take(ctx, &arena, &a, VMT_F32, VMT_SHAPE(3, 5)));
    CHECK_OK(ctx, vmt_take(ctx, &arena, &b, VMT_BF16, VMT_SHAPE(7)));
    CHECK_OK(ctx, vmt_zero(ctx, &a));
    CHECK_OK(ctx, vmt_zero(ctx, &b));
    assert_int_equal((uintptr_t)b.data % VMT_ARENA_ALIGN, 0);
    assert_int_equal(vmt_take(ctx, &arena, &b, VMT_BF16, VMT_SHAPE(64)), VMT_E_MEMORY);
    assert_non_null(strstr(ctx->message, "64 BF16 needs 128 bytes"));
    vmt_arena_close(ctx, &arena);
    test_ctx_close(ctx);
}

static void too_large_shapes_fail(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    vmt_arena measure = vmt_arena_measure(), arena;
    const int64_t large = (int64_t)1 << 40;
    vmt_tensor t;

    (void)state;
    assert_int_equal(vmt_take(ctx, &measure, &t, VMT_F32, VMT_SHAPE(large, large)), VMT_E_MEMORY);
    assert_int_equal(vmt_take(ctx, &measure, &t, VMT_F32, VMT_SHAPE(-1, 2)), VMT_E_MEMORY);
    assert_int_equal(vmt_arena_open(ctx, &arena, SIZE_MAX - 8), VMT_E_MEMORY);
    test_ctx_close(ctx);
}

static void not_finite_is_named(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);
    float data[] = {1, 2, NAN, 4};
    vmt_tensor t = vmt_tensor_over(data, VMT_F32, VMT_SHAPE(2, 2));

    (void)state;
    assert_int_equal(vmt_require_finite(ctx, &t, "step 3"), VMT_E_NUMERIC);
    assert_string_equal(ctx->message, "step 3: NaN or infinity in a tensor 2x2 F32");
    data[2] = 3;
    CHECK_OK(ctx, vmt_require_finite(ctx, &t, "step 3"));
    test_ctx_close(ctx);
}

static void backends_by_name(void **state)
{
    static const struct {
        const char *name, *dtype;
        enum vmt_status status;
        enum vmt_dtype real, act;
    } cases[] = {
        {"ref", NULL, VMT_OK, VMT_F32, VMT_F32},     {"ref", "auto", VMT_OK, VMT_F32, VMT_F32},
        {"ref", "bf16", VMT_OK, VMT_F32, VMT_BF16},  {"ref64", NULL, VMT_OK, VMT_F64, VMT_F64},
        {"ref64", "auto", VMT_OK, VMT_F64, VMT_F64}, {"ref64", "f32", VMT_E_ARG, VMT_F64, VMT_F64},
        {"ref", "f16", VMT_E_ARG, VMT_F32, VMT_F32}, {"gpu", NULL, VMT_E_ARG, VMT_F32, VMT_F32}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vmt_ctx ctx;
        vmt_ctx_init(&ctx);
        ctx.threads = 0;
        assert_int_equal(vmt_backend_open(&ctx, cases[i].name, cases[i].dtype), cases[i].status);
        if (cases[i].status != VMT_OK) {
            assert_int_not_equal(ctx.message[0], '\0');
            continue;
        }
        assert_string_equal(ctx.ops->name, cases[i].name);
        assert_int_equal(ctx.real, cases[i].real);
        assert_int_equal(ctx.act, cases[i].act);
        assert_int_equal(ctx.threads, vmt_backend_cores());
        ctx.ops->close(&ctx);
    }
}

static void converts_between_all_floating_dtypes(void **state)
{
    static const enum vmt_dtype dtypes[] = {VMT_F32, VMT_F64, VMT_F16, VMT_BF16};
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++) {
            double x[3], y[3];
            double values[] = {1.5, -0.25, 448};
            const vmt_tensor host = vmt_tensor_over(values, VMT_F64, VMT_SHAPE(3));
            vmt_tensor a = vmt_tensor_over(x, dtypes[from], VMT_SHAPE(3));
            vmt_tensor b = vmt_tensor_over(y, dtypes[to], VMT_SHAPE(3));
            double back_data[3];
            vmt_tensor back = vmt_tensor_over(back_data, VMT_F64, VMT_SHAPE(3));
            CHECK_OK(ctx, vmt_upload(ctx, &a, &host));
            CHECK_OK(ctx, vmt_copy(ctx, &b, &a));
            CHECK_OK(ctx, vmt_download(ctx, &back, &b));
            assert_memory_equal(back_data, values, sizeof values);
        }
    vmt_tensor ints = vmt_tensor_over((int32_t[]){1}, VMT_I32, VMT_SHAPE(1));
    const vmt_tensor real = vmt_tensor_over((float[]){1}, VMT_F32, VMT_SHAPE(1));
    assert_int_equal(vmt_copy(ctx, &ints, &real), VMT_E_INTERNAL);
    assert_string_equal(ctx->message, "op copy: argument y: no conversion from F32 to I32");
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_share_memory),
        cmocka_unit_test(shapes_as_text),
        cmocka_unit_test(takes_what_it_measured),
        cmocka_unit_test(too_large_shapes_fail),
        cmocka_unit_test(not_finite_is_named),
        cmocka_unit_test(backends_by_name),
        cmocka_unit_test(converts_between_all_floating_dtypes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
