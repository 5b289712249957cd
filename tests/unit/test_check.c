/* SPDX-License-Identifier: MIT
 *
 * Reading files whole: a changed bit in a .pth and a value that is not finite are found.
 */
#include "testing.h"

#include "base/crc32.h"
#include "model/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TORCH_FILE TEST_DATA "/golden/umt5_a.pth"

static vmt_ctx bare;

/* The check value of the catalogue of CRCs, whole and in pieces of every length. */
static void known_checksum(void **state)
{
    vmt_crc32 crc;

    (void)state;
    vmt_crc32_init(&crc);
    assert_int_equal(vmt_crc32_add(&crc, 0, "", 0), 0);
    for (size_t i = 0; i <= 9; i++)
        assert_int_equal(
            vmt_crc32_add(&crc, vmt_crc32_add(&crc, 0, "123456789", i), "123456789" + i, 9 - i),
            0xcbf43926);
}

static enum vmt_status check_path(const char *path)
{
    vmt_tensor_file *file;

    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, path));
    const enum vmt_status status = vmt_tensor_file_check(&bare, file);
    vmt_tensor_file_close(file);
    return status;
}

/* torch.save's own checksums agree; opening does not notice a bit that changed, the check does. */
static void checksums(void **state)
{
    unsigned char *bytes = malloc(1 << 20);
    FILE *from = fopen(TORCH_FILE, "rb");
    vmt_tensor_file *file;

    (void)state;
    CHECK_OK(&bare, check_path(TORCH_FILE));
    assert_non_null(bytes);
    assert_non_null(from);
    const size_t length = fread(bytes, 1, 1 << 20, from);
    assert_true(length > 1000 && length < 1 << 20);
    fclose(from);
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, TORCH_FILE));
    for (int64_t i = 0; i < vmt_tensor_file_count(file); i += 7) {
        const vmt_tensor *t = vmt_tensor_file_find(file, vmt_tensor_file_name(file, i));
        const size_t size = vmt_tensor_bytes(t);
        unsigned char *at = memmem(bytes, length, t->data, size);
        assert_non_null(at);
        at[size - 1] ^= 1;
        FILE *to = fopen("damaged.pth", "wb");
        assert_non_null(to);
        assert_int_equal(fwrite(bytes, 1, length, to), length);
        fclose(to);
        at[size - 1] ^= 1;
        assert_int_equal(check_path("damaged.pth"), VMT_E_FORMAT);
        assert_non_null(strstr(bare.message, "damaged.pth: entry '"));
        assert_non_null(strstr(bare.message, "checksum"));
    }
    vmt_tensor_file_close(file);
    unlink("damaged.pth");
    free(bytes);
}

/* Six values of a type, the last of them as its bits say. */
static enum vmt_status check_value(enum vmt_dtype dtype, uint64_t bits)
{
    unsigned char data[6 * 8] = {0};
    const size_t width = vmt_dtype_bytes(dtype);

    memcpy(data + 5 * width, &bits, width);
    const vmt_named_tensor tensor = {
        "t", {.data = data, .dtype = dtype, .rank = 1, .shape = {6, 1, 1, 1, 1}}};
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "values.safetensors", &tensor, 1, NULL));
    const enum vmt_status status = check_path("values.safetensors");
    unlink("values.safetensors");
    return status;
}

static void values(void **state)
{
    static const struct {
        enum vmt_dtype dtype;
        uint64_t largest, infinity; /* one above the other */
    } types[] = {{VMT_F64, 0x7fefffffffffffff, 0x7ff0000000000000},
                 {VMT_F32, 0x7f7fffff, 0x7f800000},
                 {VMT_BF16, 0x7f7f, 0x7f80},
                 {VMT_F16, 0x7bff, 0x7c00}};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const enum vmt_dtype dtype = types[i].dtype;
        const uint64_t sign = UINT64_C(1) << (8 * vmt_dtype_bytes(dtype) - 1);
        CHECK_OK(&bare, check_value(dtype, types[i].largest));
        CHECK_OK(&bare, check_value(dtype, types[i].largest | sign));
        CHECK_OK(&bare, check_value(dtype, 1)); /* the least above 0 */
        assert_int_equal(check_value(dtype, types[i].infinity), VMT_E_NUMERIC);
        assert_non_null(strstr(bare.message, "tensor 't': value 5 "));
        assert_int_equal(check_value(dtype, types[i].infinity | sign), VMT_E_NUMERIC);
        assert_int_equal(check_value(dtype, types[i].infinity + 1), VMT_E_NUMERIC);
    }
    CHECK_OK(&bare, check_value(VMT_I32, 0x7fffffff));
    CHECK_OK(&bare, check_value(VMT_I64, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_checksum),
        cmocka_unit_test(checksums),
        cmocka_unit_test(values),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
