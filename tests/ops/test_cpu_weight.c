/* SPDX-License-Identifier: MIT
 *
 * What backend cpu allocates for a weight: as much as it foretold, nothing where the file's bytes
 * will do; and a weight that nobody prepared still gives the same product.
 */
#include "testing.h"

#include "base/half.h"

#include <string.h>

enum { OUT = 24, IN = 40, ROWS = 7 };

struct stored {
    _Alignas(64) uint32_t matrix[OUT * IN + 1];
    _Alignas(64) float bias[OUT];
};

/* The values of a small integer matrix in `dtype`; `shift` bytes off its alignment. */
static vmt_weight make(struct stored *s, enum vmt_dtype dtype, size_t shift)
{
    unsigned char *data = (unsigned char *)s->matrix + shift;
    const size_t step = vmt_dtype_bytes(dtype);

    for (int i = 0; i < OUT * IN; i++) {
        const float value = (float)(i % 9 - 4);
        const uint16_t half = dtype == VMT_F16 ? vmt_f16_of_f32(value) : vmt_bf16_of_f32(value);
        memcpy(data + (size_t)i * step, dtype == VMT_F32 ? (const void *)&value : &half, step);
    }
    for (int i = 0; i < OUT; i++)
        s->bias[i] = (float)i;
    return (vmt_weight){.w = vmt_tensor_over(data, dtype, VMT_SHAPE(OUT, IN)),
                        .bias = vmt_tensor_over(s->bias, VMT_F32, VMT_SHAPE(OUT))};
}

static void multiply(vmt_ctx *ctx, float *y, const vmt_weight *w)
{
    float x[ROWS * IN];
    vmt_tensor to = vmt_tensor_over(y, VMT_F32, VMT_SHAPE(ROWS, OUT));
    const vmt_tensor from = vmt_tensor_over(x, VMT_F32, VMT_SHAPE(ROWS, IN));

    for (int i = 0; i < ROWS * IN; i++)
        x[i] = (float)(i % 5 - 2);
    CHECK_OK(ctx, vmt_linear(ctx, &to, &from, w, VMT_EPILOGUE_NONE));
}

static void check(const char *act, enum vmt_dtype dtype, size_t shift, bool copies)
{
    const unsigned use = VMT_USE_LINEAR | VMT_USE_BACKWARD;
    struct stored stored;
    float bare[ROWS * OUT], prepared[ROWS * OUT];

    if (!test_backend_built("cpu", act))
        return;
    vmt_ctx *ctx = test_ctx_open("cpu", act);
    vmt_weight weight = make(&stored, dtype, shift);
    if (shift == 0)
        multiply(ctx, bare, &weight);
    const size_t foretold = ctx->ops->weight_prepare_bytes(ctx, &weight, use);
    CHECK_OK(ctx, vmt_weight_prepare(ctx, &weight, use));
    assert_int_equal(weight.packed_bytes, foretold);
    assert_int_equal(foretold != 0, copies);
    assert_int_equal(weight.packed != NULL, copies);
    multiply(ctx, prepared, &weight);
    if (shift == 0)
        assert_memory_equal(bare, prepared, sizeof bare); /* integers: exact either way */
    assert_true(prepared[OUT - 1] != 0);
    ctx->ops->weight_release(ctx, &weight);
    assert_null(weight.packed);
    test_ctx_close(ctx);
}

static void test_f32(void **state)
{
    (void)state;
    check("f32", VMT_F32, 0, false);
    check("f32", VMT_BF16, 0, true);
    check("f32", VMT_F16, 0, true);
    check("f32", VMT_F32, 2, true); /* a file may place a tensor anywhere */
}

static void test_bf16(void **state)
{
    (void)state;
    check("bf16", VMT_BF16, 0, false);
    check("bf16", VMT_F32, 0, true);
    check("bf16", VMT_F16, 0, true);
    check("bf16", VMT_BF16, 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
