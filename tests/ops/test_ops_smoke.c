/* SPDX-License-Identifier: MIT
 *
 * Results small enough to be computed by hand.
 */
#include "testing.h"

#include "base/half.h"

#include <math.h>

static void linear_sums_and_epilogue(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", "f32");
    float x[] = {1, 2, 3, -1, 0, 4}, w[] = {1, 0, 2, -3, 1, 1}, b[] = {10, 20}, y[4], dx[6];
    vmt_tensor tx = vmt_tensor_over(x, VMT_F32, VMT_SHAPE(2, 3));
    vmt_tensor ty = vmt_tensor_over(y, VMT_F32, VMT_SHAPE(2, 2));
    vmt_tensor tdx = vmt_tensor_over(dx, VMT_F32, VMT_SHAPE(2, 3));
    const vmt_weight weight = {.w = vmt_tensor_over(w, VMT_F32, VMT_SHAPE(2, 3)),
                               .bias = vmt_tensor_over(b, VMT_F32, VMT_SHAPE(2))};
    const float want[] = {17, 22, 17, 27}, want_dx[] = {17 - 66, 22, 56, 17 - 81, 27, 61};

    (void)state;
    CHECK_OK(ctx, vmt_linear(ctx, &ty, &tx, &weight, VMT_EPILOGUE_NONE));
    assert_memory_equal(y, want, sizeof want);
    CHECK_OK(ctx, vmt_linear_bwd(ctx, &tdx, &ty, &weight));
    assert_memory_equal(dx, want_dx, sizeof want_dx);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(linear_sums_and_epilogue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
