/* SPDX-License-Identifier: MIT
 *
 * 8-bit floats and their factors in a file with a model's names.  Whole files:
 * golden/test_formats.c.
 */
#include "testing.h"

#include "model/tensor_file.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define PATH "scales.safetensors"

static vmt_ctx bare;
static uint8_t eights[12] = {0x38, 0x40, 0xb8, 0x00, 0x3c, 0x01,
                             0x7e, 0x38, 0x38, 0x38, 0x38, 0x38};
static float factors[4] = {0.5f, 2, 4, 8}, bad_factors[1] = {INFINITY}, mark[1];

/* What makes it a model's file, and the tensors of the test. */
static enum vmt_status open_with(vmt_tensor_file **file, const vmt_named_tensor *more,
                                 int64_t count)
{
    vmt_named_tensor all[16] = {
        {"patch_embedding.weight", vmt_tensor_over(mark, VMT_F32, VMT_SHAPE(1))},
        {"head.modulation", vmt_tensor_over(eights, VMT_F8_E4M3, VMT_SHAPE(1, 2, 2))}};

    memcpy(all + 2, more, (size_t)count * sizeof *more);
    CHECK_OK(&bare, vmt_safetensors_write(&bare, PATH, all, count + 2, NULL));
    const enum vmt_status status = vmt_tensor_file_open(&bare, file, PATH);
    unlink(PATH);
    return status;
}

#define EIGHTS(name, ...)                                                                          \
    {                                                                                              \
        name, vmt_tensor_over(eights, VMT_F8_E4M3, VMT_SHAPE(__VA_ARGS__))                         \
    }
#define FLOATS(name, values, ...)                                                                  \
    {                                                                                              \
        name, vmt_tensor_over(values, VMT_F32, VMT_SHAPE(__VA_ARGS__))                             \
    }

static void factors_of_weights(void **state)
{
    const vmt_named_tensor tensors[] = {
        EIGHTS("a.weight", 3, 4),
        FLOATS("a.scale_weight", factors + 1, 1),
        FLOATS("a.scale_input", factors, 1),
        EIGHTS("b.weight", 3, 4),
        FLOATS("b.weight_scale", factors, 3, 1),
        EIGHTS("c.weight", 3, 4),
        FLOATS("scaled_fp8", mark, 1),
    };
    static const float plain[4] = {1, 2, -1, 0};
    vmt_tensor_file *file;
    float values[12];

    (void)state;
    CHECK_OK(&bare, open_with(&file, tensors, 7));
    assert_int_equal(vmt_tensor_file_count(file), 5); /* factors and the mark are no tensors */
    const vmt_tensor *a = vmt_tensor_file_find(file, "a.weight");
    const vmt_tensor *b = vmt_tensor_file_find(file, "b.weight");
    vmt_tensor_unpack(values, a, 0, 12);
    for (int i = 0; i < 4; i++)
        assert_true(values[i] == 2 * plain[i]);
    vmt_tensor_unpack(values, b, 0, 12); /* a factor for each row */
    for (int i = 0; i < 4; i++)
        assert_true(values[i] == 0.5f * plain[i]);
    assert_true(values[4] == 3 && values[5] == 2 * 0x1p-9f && values[6] == 896 && values[8] == 4);
    vmt_tensor_unpack(values, b, 3, 3); /* from the middle of a row into the next */
    assert_true(values[0] == 0 && values[1] == 3 && values[2] == 2 * 0x1p-9f);
    const vmt_tensor row = vmt_slice(b, 2, 1);
    vmt_tensor_unpack(values, &row, 1, 3);
    assert_true(values[0] == 4 && values[2] == 4);
    vmt_tensor_unpack(values, vmt_tensor_file_find(file, "c.weight"), 0, 4);
    assert_memory_equal(values, plain, sizeof plain);
    /* what is no matrix is widened, and counted */
    const vmt_tensor *head = vmt_tensor_file_find(file, "head.modulation");
    assert_int_equal(head->dtype, VMT_F32);
    assert_memory_equal(head->data, plain, sizeof plain);
    assert_int_equal(vmt_tensor_file_copied_bytes(file), 4 * sizeof(float));
    vmt_tensor_file_close(file);
}

/* The factors are a part of what names the model. */
static void hash_of_factors(void **state)
{
    char hash[2][65];

    (void)state;
    for (int i = 0; i < 2; i++) {
        const vmt_named_tensor tensors[] = {EIGHTS("a.weight", 3, 4),
                                            FLOATS("a.scale_weight", factors + i, 1)};
        vmt_tensor_file *file;
        CHECK_OK(&bare, open_with(&file, tensors, 2));
        vmt_tensor_file_hash(file, hash[i]);
        vmt_tensor_file_close(file);
    }
    assert_string_not_equal(hash[0], hash[1]);
}

static void refuse(const vmt_named_tensor *tensors, int64_t count, const char *reason)
{
    vmt_tensor_file *file;

    assert_int_equal(open_with(&file, tensors, count), VMT_E_FORMAT);
    if (!strstr(bare.message, reason))
        fail_msg("'%s' does not say '%s'", bare.message, reason);
}

static void wrong_factors(void **state)
{
    const vmt_named_tensor two[] = {EIGHTS("a.weight", 3, 4), FLOATS("a.scale_weight", factors, 2)};
    const vmt_named_tensor infinite[] = {EIGHTS("a.weight", 3, 4),
                                         FLOATS("a.scale_weight", bad_factors, 1)};
    const vmt_named_tensor twice[] = {EIGHTS("a.weight", 3, 4),
                                      FLOATS("a.scale_weight", factors, 1),
                                      FLOATS("a.weight_scale", factors, 1)};
    const vmt_named_tensor bytes[] = {EIGHTS("a.weight", 3, 4), EIGHTS("a.scale_weight", 1)};
    const vmt_named_tensor other[] = {FLOATS("a.weight", factors, 2, 2),
                                      FLOATS("a.scale_weight", factors, 1)};
    vmt_tensor_file *file;

    (void)state;
    refuse(two, 2, "has 2 factors, expected 1 or one for each row");
    refuse(infinite, 2, "no finite");
    refuse(twice, 3, "only once");
    refuse(bytes, 2, "no finite F32");
    CHECK_OK(&bare,
             open_with(&file, other, 2)); /* not of 8-bit floats: a surplus tensor, said later */
    assert_non_null(vmt_tensor_file_find(file, "a.scale_weight"));
    vmt_tensor_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_of_weights),
        cmocka_unit_test(hash_of_factors),
        cmocka_unit_test(wrong_factors),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
