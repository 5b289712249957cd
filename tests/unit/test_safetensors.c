/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "model/tensor_file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static vmt_ctx bare;

/* header (JSON) and `data_length` bytes 0, 1, 2, …, as a file in memory; freed by the caller */
static unsigned char *make(const char *header, size_t data_length, size_t *length)
{
    const size_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n + data_length);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < data_length; i++)
        bytes[8 + n + i] = (unsigned char)i;
    *length = 8 + n + data_length;
    return bytes;
}

static void refuse(const char *header, size_t data_length, const char *reason)
{
    size_t length;
    unsigned char *bytes = make(header, data_length, &length);
    vmt_tensor_file *file = NULL;

    const enum vmt_status status =
        vmt_tensor_file_open_bytes(&bare, &file, bytes, length, "file.safetensors");
    if (status != VMT_E_FORMAT || !strstr(bare.message, reason))
        fail_msg("%s: status %d, '%s', expected '%s'", header, status, bare.message, reason);
    assert_null(file);
    free(bytes);
}

static void hostile_headers(void **state)
{
    (void)state;
#define T(shape, begin, end)                                                                       \
    "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
    refuse("{\"a\":" T("[2]", 0, 8) "}", 7, "truncated");
    refuse("{\"a\":" T("[2]", 0, 8) "}", 9, "tensors end at byte 8");
    refuse("{\"a\":" T("[2]", 0, 4) "}", 4, "expected 8 by its shape");
    refuse("{\"a\":" T("[2]", 0, 12) "}", 12, "expected 8 by its shape");
    refuse("{\"a\":" T("[2]", 8, 0) "}", 8, "ascending");
    refuse("{\"a\":" T("[2]", -8, 0) "}", 8, "ascending");
    refuse("{\"a\":" T("[2]", 0, 1e300) "}", 8, "ascending");
    refuse("{\"a\":" T("[2]", 0.5, 8) "}", 8, "ascending");
    refuse("{\"a\":" T("[4294967296,4294967296]", 0, 8) "}", 8, "overflows");
    refuse("{\"a\":" T("[9007199254740992,9007199254740992]", 0, 0) "}", 0, "overflows");
    refuse("{\"a\":" T("[-2]", 0, 8) "}", 8, "no size");
    refuse("{\"a\":" T("[1e99]", 0, 8) "}", 8, "no size");
    refuse("{\"a\":" T("[1,1,1,1,1,2]", 0, 8) "}", 8, "more than 5 axes");
    refuse("{\"a\":" T("2", 0, 8) "}", 8, "no shape");
    refuse("{\"a\":" T("[2]", 0, 8) ",\"b\":" T("[2]", 4, 12) "}", 12, "overlap");
    refuse("{\"a\":" T("[2]", 0, 8) ",\"b\":" T("[2]", 12, 20) "}", 20, "hole");
    refuse("{\"a\":" T("[1]", 0, 4) ",\"a\":" T("[1]", 4, 8) "}", 8, "there twice");
    refuse("{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "F8_E5M2");
    refuse("{\"a\":{\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "(none)");
    refuse("{\"a\":3}", 0, "no object");
    refuse("{\"__metadata__\":[]}", 0, "__metadata__");
    refuse("{\"__metadata__\":{\"k\":1}}", 0, "no string");
    refuse("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "there twice");
    refuse("{\"a\":", 0, "JSON");
    refuse("{} x", 0, "JSON");
    refuse("", 0, "neither");
    refuse("", 100, "neither");
    refuse("[]", 0, "neither");
#undef T
}

static void hostile_lengths(void **state)
{
    unsigned char bytes[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    vmt_tensor_file *file;

    (void)state;
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, bytes, 10, "f"), VMT_E_FORMAT);
    memset(bytes, 0, 8);
    bytes[0] = 3; /* one more than there is */
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, bytes, 10, "f"), VMT_E_FORMAT);
    for (size_t n = 1; n < 8; n++)
        assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, bytes, n, "f"), VMT_E_FORMAT);
}

/* A tensor at an odd address must come out aligned and equal. */
static void unaligned_data(void **state)
{
    size_t length;
    unsigned char *bytes = make("{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                "\"f\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[1,9]},"
                                "\"e\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[9,9]},"
                                "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[9,10]}}",
                                10, &length);
    unsigned char *shifted = malloc(length + 1);
    (void)state;
    assert_non_null(shifted);
    for (size_t shift = 0; shift < 2; shift++) {
        static const unsigned char expected[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        vmt_tensor_file *file;
        memcpy(shifted + shift, bytes, length);
        CHECK_OK(&bare, vmt_tensor_file_open_bytes(&bare, &file, shifted + shift, length, "f"));
        const vmt_tensor *f = vmt_tensor_file_find(file, "f");
        assert_non_null(f);
        assert_int_equal((uintptr_t)f->data % 4, 0);
        assert_memory_equal(f->data, expected, 8);
        assert_int_equal(f->rank, 2);
        assert_int_equal(f->shape[0], 2);
        assert_int_equal(vmt_tensor_file_find(file, "s")->rank, 0);
        assert_int_equal(vmt_numel(vmt_tensor_file_find(file, "e")), 0);
        assert_null(vmt_tensor_file_find(file, "g"));
        assert_true(vmt_tensor_file_copied_bytes(file) <= 8);
        vmt_tensor_file_close(file);
    }
    free(shifted);
    free(bytes);
}

static void round_trip(void **state)
{
    float f[6] = {1, 2, 3, 4, 5, 6};
    double d[1] = {7};
    uint8_t u[3] = {8, 9, 10};
    const vmt_named_tensor tensors[] = {
        {"odd \"name\"", vmt_tensor_over(u, VMT_U8, VMT_SHAPE(3))},
        {"f", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(2, 3))},
        {"d", vmt_tensor_over(d, VMT_F64, VMT_SHAPE(1))},
    };
    const char *const meta[] = {"kind", "test", "n", "12", "x", "1e-6", NULL};
    vmt_tensor_file *file;
    int64_t n, seven = 7;
    double x;

    (void)state;
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "round.safetensors", tensors, 3, meta));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, "round.safetensors"));
    assert_int_equal(vmt_tensor_file_count(file), 3);
    assert_int_equal(vmt_tensor_file_copied_bytes(file), 0);
    assert_string_equal(vmt_tensor_file_path(file), "round.safetensors");
    for (int i = 0; i < 3; i++) {
        const vmt_tensor *t = vmt_tensor_file_find(file, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].tensor.dtype);
        assert_true(vmt_same_shape(t, &tensors[i].tensor));
        assert_memory_equal(t->data, tensors[i].tensor.data, vmt_tensor_bytes(t));
    }
    assert_string_equal(vmt_tensor_file_meta(file, "kind"), "test");
    assert_null(vmt_tensor_file_meta(file, "absent"));
    CHECK_OK(&bare, vmt_tensor_file_meta_int(&bare, file, "n", NULL, &n));
    assert_int_equal(n, 12);
    CHECK_OK(&bare, vmt_tensor_file_meta_int(&bare, file, "absent", &seven, &n));
    assert_int_equal(n, 7);
    CHECK_OK(&bare, vmt_tensor_file_meta_real(&bare, file, "x", NULL, &x));
    assert_true(x == 1e-6);
    assert_int_equal(vmt_tensor_file_meta_int(&bare, file, "x", NULL, &n), VMT_E_FORMAT);
    assert_int_equal(vmt_tensor_file_meta_int(&bare, file, "absent", NULL, &n), VMT_E_FORMAT);
    assert_int_equal(vmt_tensor_file_meta_real(&bare, file, "kind", NULL, &x), VMT_E_FORMAT);
    vmt_tensor_file_close(file);
    unlink("round.safetensors");
}

static void unwritable(void **state)
{
    float f[1] = {1};
    const vmt_named_tensor t = {"f", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(1))};
    struct stat st;

    (void)state;
    assert_int_equal(vmt_safetensors_write(&bare, "absent_folder/x", &t, 1, NULL), VMT_E_IO);
    assert_int_equal(vmt_safetensors_write(&bare, ".", &t, 1, NULL), VMT_E_IO);
    if (stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode)) {
        assert_int_equal(vmt_safetensors_write(&bare, "/dev/full", &t, 1, NULL), VMT_E_IO);
        assert_non_null(strstr(bare.message, "/dev/full"));
        assert_true(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode));
    }
}

/* A disk that becomes full: the old file stays, nothing else is left. */
static void full_disk(void **state)
{
    static float f[4096] = {1};
    const vmt_named_tensor small = {"f", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(1))};
    const vmt_named_tensor large = {"f", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(4096))};
    struct rlimit old, tight;
    vmt_tensor_file *file;

    (void)state;
    mkdir("full", 0777);
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "full/f", &small, 1, NULL));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN); /* writing then fails with EFBIG */
    tight = old;
    tight.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const enum vmt_status status = vmt_safetensors_write(&bare, "full/f", &large, 1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(status, VMT_E_IO);
    assert_non_null(strstr(bare.message, "full/f: writing failed after 8192 bytes"));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, "full/f"));
    assert_int_equal(vmt_numel(vmt_tensor_file_find(file, "f")), 1);
    vmt_tensor_file_close(file);
    unlink("full/f");
    const int left = rmdir("full");
    if (left != 0) /* the next run begins clean */
        assert_int_equal(system("rm -r full"), 0);
    assert_int_equal(left, 0);
}

static void wrong_kinds(void **state)
{
    vmt_tensor_file *file;
    FILE *empty = fopen("empty.safetensors", "wb");

    (void)state;
    assert_non_null(empty);
    fclose(empty);
    assert_int_equal(vmt_tensor_file_open(&bare, &file, "empty.safetensors"), VMT_E_FORMAT);
    assert_null(file);
    assert_int_equal(vmt_tensor_file_open(&bare, &file, "absent.safetensors"), VMT_E_IO);
    assert_int_equal(vmt_tensor_file_open(&bare, &file, "."), VMT_E_IO);
    unlink("empty.safetensors");
}

/* An index with two shards, and what can be wrong with it. */
static void shards(void **state)
{
    float f[2] = {1, 2};
    const vmt_named_tensor a = {"a", vmt_tensor_over(&f[0], VMT_F32, VMT_SHAPE(1))};
    const vmt_named_tensor b = {"b", vmt_tensor_over(&f[1], VMT_F32, VMT_SHAPE(1))};
    static const struct {
        const char *map, *reason; /* NULL: good */
    } cases[] = {
        {"{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}", NULL},
        {"{\"a\":\"s2.safetensors\",\"b\":\"s1.safetensors\"}", "by the index in"},
        {"{\"a\":\"s1.safetensors\"}", NULL},
        {"{\"a\":\"s1.safetensors\",\"c\":\"s1.safetensors\"}", "not in its shard"},
        {"{\"a\":\"s1.safetensors\",\"b\":\"s3.safetensors\"}", "No such file"},
        {"{\"a\":\"../s1.safetensors\"}", "plain name"},
        {"{\"a\":\"/s1.safetensors\"}", "plain name"},
        {"{\"a\":\"..\"}", "plain name"},
        {"{\"a\":7}", "plain name"},
        {"{\"a\":\"s1.safetensors\",\"a\":\"s1.safetensors\"}", "there twice"},
        {"{}", "no weight_map"},
        {"[]", "no weight_map"},
    };

    (void)state;
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "s1.safetensors", &a, 1, NULL));
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "s2.safetensors", &b, 1, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmt_tensor_file *file;
        FILE *index = fopen("m.safetensors.index.json", "w");
        assert_non_null(index);
        fprintf(index, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}\n", cases[i].map);
        fclose(index);
        const enum vmt_status status =
            vmt_tensor_file_open(&bare, &file, "m.safetensors.index.json");
        if ((status == VMT_OK) != !cases[i].reason ||
            (cases[i].reason && !strstr(bare.message, cases[i].reason)))
            fail_msg("%s: status %d, '%s'", cases[i].map, status, bare.message);
        if (i == 0) {
            assert_int_equal(vmt_tensor_file_count(file), 2);
            assert_true(*(float *)vmt_tensor_file_find(file, "a")->data == 1.0f);
            assert_true(*(float *)vmt_tensor_file_find(file, "b")->data == 2.0f);
        }
        vmt_tensor_file_close(file);
    }
    unlink("s1.safetensors");
    unlink("s2.safetensors");
    unlink("m.safetensors.index.json");
}

static void needs(void **state)
{
    float f[6] = {0};
    uint8_t u[4] = {0};
    const vmt_named_tensor tensors[] = {
        {"blocks.0.w", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(2, 3))},
        {"blocks.1.w", vmt_tensor_over(f, VMT_F32, VMT_SHAPE(3, 2))},
        {"bytes", vmt_tensor_over(u, VMT_U8, VMT_SHAPE(4))},
        {"extra", vmt_tensor_over(u, VMT_U8, VMT_SHAPE(4))},
    };
    vmt_tensor views[4] = {0};
    vmt_needs list = {0};
    vmt_tensor_file *file;

    (void)state;
    CHECK_OK(&bare, vmt_safetensors_write(&bare, "needs.safetensors", tensors, 4, NULL));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, "needs.safetensors"));
    for (int i = 0; i < 2; i++)
        CHECK_OK(&bare, vmt_needs_add(&bare, &list, &views[i], VMT_SHAPE(2, 3), "blocks.%d.w", i));
    CHECK_OK(&bare, vmt_needs_add(&bare, &list, &views[2], VMT_SHAPE(4), "bytes"));
    CHECK_OK(&bare, vmt_needs_add(&bare, &list, &views[3], VMT_SHAPE(1), "absent"));
    assert_int_equal(vmt_needs_bind(&bare, &list, file, "DiT"), VMT_E_MODEL);
    assert_non_null(strstr(bare.message, "1 missing: absent"));
    assert_non_null(strstr(bare.message, "blocks.1.w is 3x2, expected 2x3"));
    assert_non_null(strstr(bare.message, "bytes is U8"));
    assert_non_null(strstr(bare.message, "1 not part of this model: extra"));
    assert_ptr_equal(views[0].data, vmt_tensor_file_find(file, "blocks.0.w")->data);
    vmt_needs_free(&list);
    vmt_tensor_file_close(file);

    CHECK_OK(&bare, vmt_safetensors_write(&bare, "needs.safetensors", tensors, 1, NULL));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, "needs.safetensors"));
    CHECK_OK(&bare, vmt_needs_add(&bare, &list, &views[1], VMT_SHAPE(2, 3), "blocks.0.w"));
    CHECK_OK(&bare, vmt_needs_bind(&bare, &list, file, "DiT"));
    assert_ptr_equal(views[1].data, vmt_tensor_file_find(file, "blocks.0.w")->data);
    for (int i = 0; i < 300; i++) /* many: the message must stay readable and in bounds */
        CHECK_OK(&bare, vmt_needs_add(&bare, &list, &views[1], VMT_SHAPE(1),
                                      "a.very.long.tensor.name.to.fill.the.message.%d", i));
    assert_int_equal(vmt_needs_bind(&bare, &list, file, "DiT"), VMT_E_MODEL);
    assert_non_null(strstr(bare.message, "300 missing"));
    vmt_needs_free(&list);
    vmt_tensor_file_close(file);
    unlink("needs.safetensors");
}

/* A header of 123 bytes: the file begins with "{", as an index of shards does. */
static void length_like_a_brace(void **state)
{
    (void)state;
    char header[124];
    size_t length;
    vmt_tensor_file *file = NULL;

    snprintf(header, sizeof header, "%-123s",
             "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}");
    unsigned char *bytes = make(header, 8, &length);
    assert_int_equal(bytes[0], '{');
    CHECK_OK(&bare, vmt_tensor_file_open_bytes(&bare, &file, bytes, length, "file.safetensors"));
    assert_int_equal(vmt_tensor_file_count(file), 1);
    vmt_tensor_file_close(file);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_headers), cmocka_unit_test(hostile_lengths),
        cmocka_unit_test(unaligned_data),  cmocka_unit_test(round_trip),
        cmocka_unit_test(full_disk),       cmocka_unit_test(unwritable),
        cmocka_unit_test(wrong_kinds),     cmocka_unit_test(needs),
        cmocka_unit_test(shards),          cmocka_unit_test(length_like_a_brace),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
