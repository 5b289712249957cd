/* SPDX-License-Identifier: MIT
 *
 * Prompt embeddings out of files.  From text to rows: golden/test_umt5.c.
 */
#include "testing.h"

#include "text/prompt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PATH "embeddings.safetensors"

enum { DIM = 3, TEXT_LEN = 4 };

static void write(const vmt_named_tensor *tensors, int64_t count)
{
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, PATH, tensors, count, NULL));
}

static vmt_named_tensor floats(const char *name, float *values, int64_t rows, int64_t dim)
{
    return (vmt_named_tensor){name, vmt_tensor_over(values, VMT_F32, VMT_SHAPE(rows, dim))};
}

static void test_reads_rows(void **state)
{
    (void)state;
    float prompt[4 * DIM] = {1, 2, 3, 0, 0, 4};   /* two rows of padding */
    uint16_t negative[DIM] = {0x3f80, 0xc000, 0}; /* BF16 1, -2, 0 */
    const vmt_named_tensor tensors[2] = {
        floats("prompt", prompt, 4, DIM),
        {"negative", vmt_tensor_over(negative, VMT_BF16, VMT_SHAPE(1, DIM))}};
    vmt_prompt_embeddings e;
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    write(tensors, 2);
    CHECK_OK(&ctx, vmt_prompt_embeddings_read(&ctx, &e, PATH, DIM, TEXT_LEN));
    assert_int_equal(e.prompt.count, 2);
    assert_int_equal(e.prompt.dim, DIM);
    assert_memory_equal(e.prompt.rows, prompt, 2 * DIM * sizeof(float));
    assert_int_equal(e.negative.count, 1);
    assert_true(e.negative.rows[0] == 1 && e.negative.rows[1] == -2 && e.negative.rows[2] == 0);
    assert_null(e.null.rows);
    vmt_prompt_embeddings_free(&e);
    assert_null(e.prompt.rows);
    remove(PATH);
}

static void check_refused(const vmt_named_tensor *tensors, int64_t count, enum vmt_status status,
                          const char *what)
{
    vmt_prompt_embeddings e;
    vmt_ctx ctx;
    vmt_ctx_init(&ctx);
    write(tensors, count);
    assert_int_equal(vmt_prompt_embeddings_read(&ctx, &e, PATH, DIM, TEXT_LEN), status);
    if (!strstr(ctx.message, what))
        fail_msg("\"%s\" does not say \"%s\"", ctx.message, what);
    assert_null(e.prompt.rows);
    assert_null(e.negative.rows);
    remove(PATH);
}

static void test_refuses_what_does_not_fit(void **state)
{
    (void)state;
    float rows[5 * DIM] = {1}, bad[2 * DIM] = {1, 2, 3, 4, NAN, 6};
    int32_t ids[DIM] = {1};
    const vmt_named_tensor good = floats("prompt", rows, 1, DIM);
    const vmt_named_tensor integers[] = {
        {"prompt", vmt_tensor_over(ids, VMT_I32, VMT_SHAPE(1, DIM))}};
    const vmt_named_tensor negative[] = {good, floats("negative", rows, 5, DIM)};
    const vmt_named_tensor other[] = {floats("rows", rows, 1, DIM)};
    const vmt_named_tensor narrow[] = {floats("prompt", rows, 1, DIM - 1)};
    const vmt_named_tensor long_one[] = {floats("prompt", rows, 5, DIM)};
    const vmt_named_tensor nan_row[] = {floats("prompt", bad, 2, DIM)};
    check_refused(other, 1, VMT_E_FORMAT, "no tensor \"prompt\"");
    check_refused(integers, 1, VMT_E_FORMAT, "I32");
    check_refused(narrow, 1, VMT_E_MODEL, "1 to 4 rows of 3");
    check_refused(long_one, 1, VMT_E_MODEL, "5x3");
    check_refused(negative, 2, VMT_E_MODEL, "negative");
    check_refused(nan_row, 1, VMT_E_NUMERIC, "row 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_rows),
        cmocka_unit_test(test_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
