/* SPDX-License-Identifier: MIT
 *
 * GGUF files and blocks of few bits: what Python's gguf wrote and reads in them
 * (tools/check_formats.py), and files that say something false.
 */
#include "testing.h"

#include "base/half.h"
#include "base/quant.h"
#include "model/tensor_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vmt_ctx bare;

/* ---------------------------------------------------------------- values */

static void blocks_as_gguf_reads_them(void **state)
{
    static const enum vmt_dtype dtypes[] = {VMT_Q8_0, VMT_Q4_0, VMT_Q4_K, VMT_Q5_K, VMT_Q6_K};
    vmt_tensor_file *file, *expected;
    float values[2048];

    (void)state;
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, TEST_DATA "/formats/gguf/blocks.gguf"));
    CHECK_OK(&bare,
             vmt_tensor_file_open(&bare, &expected, TEST_DATA "/formats/gguf/blocks.safetensors"));
    assert_string_equal(vmt_tensor_file_meta(file, "answer"), "42");
    assert_string_equal(vmt_tensor_file_meta(file, "general.architecture"), "wan");
    assert_int_equal(vmt_tensor_file_count(file), 8);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        const char *name = vmt_dtype_name(dtypes[i]);
        const vmt_tensor *t = vmt_tensor_file_find(file, name);
        const float *want = vmt_tensor_file_find(expected, name)->data;
        assert_non_null(t);
        assert_int_equal(t->dtype, dtypes[i]);
        assert_int_equal(t->shape[0], 4);
        assert_int_equal(t->shape[1], 512);
        vmt_unpack(values, t->dtype, t->data, 0, 2048);
        for (int j = 0; j < 2048; j++)
            if (values[j] != want[j])
                fail_msg("%s, element %d: %.9g, expected %.9g", name, j, (double)values[j],
                         (double)want[j]);
        /* any part of it, whatever block it begins in */
        for (int first = 0; first < 2048; first += 97) {
            const int count = 2048 - first < 301 ? 2048 - first : 301;
            float part[301];
            vmt_unpack(part, t->dtype, t->data, first, count);
            assert_memory_equal(part, want + first, (size_t)count * sizeof *part);
        }
    }
    for (int i = 0; i < 3; i++) {
        const char *name = ((const char *const[]){"F32", "F16", "BF16"})[i];
        const vmt_tensor *t = vmt_tensor_file_find(file, name);
        assert_string_equal(vmt_dtype_name(t->dtype), name);
        assert_int_equal(vmt_tensor_bytes(t), 2048 * (i ? 2 : 4));
    }
    vmt_tensor_file_close(file);
    vmt_tensor_file_close(expected);
}

/* Value of an 8-bit float from its definition. */
static double f8_value(unsigned f)
{
    const int exponent = (int)(f >> 3 & 15), fraction = (int)(f & 7);
    const double magnitude = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    return f & 0x80 ? -magnitude : magnitude;
}

/* Every pattern there and back; every midpoint of two neighbours goes to the even one. */
static void f8_patterns(void **state)
{
    (void)state;
    for (unsigned f = 0; f < 256; f++) {
        const float x = vmt_f32_of_e4m3((uint8_t)f);
        if ((f & 0x7f) == 0x7f) {
            assert_true(isnan(x));
            assert_int_equal(vmt_e4m3_of_f32(x) & 0x7f, 0x7f);
            continue;
        }
        assert_true(x == (float)f8_value(f));
        assert_int_equal(vmt_e4m3_of_f32(x), f);
        if ((f & 0x7f) == 0x7e)
            continue;
        const float next = (float)f8_value(f + 1), middle = (x + next) / 2;
        assert_int_equal(vmt_e4m3_of_f32(middle), f & 1 ? f + 1 : f);
        assert_int_equal(vmt_e4m3_of_f32(nextafterf(middle, x)), f);
        assert_int_equal(vmt_e4m3_of_f32(nextafterf(middle, next)), f + 1);
    }
    assert_int_equal(vmt_e4m3_of_f32(1e30f), 0x7e);
    assert_int_equal(vmt_e4m3_of_f32(-460), 0xfe);
}

/* Packed and unpacked again: never farther off than the format must be. */
static void pack_and_unpack(void **state)
{
    static const struct {
        enum vmt_dtype dtype;
        double rms; /* of the error, in units of the values' */
    } cases[] = {{VMT_F8_E4M3, 0.03}, {VMT_Q8_0, 0.006}, {VMT_Q4_K, 0.075}};
    test_rng rng = {7};
    float x[1024], y[1024];
    uint8_t blocks[1200];

    (void)state;
    for (int i = 0; i < 1024; i++) /* about normal */
        x[i] = (float)(test_uniform(&rng) + test_uniform(&rng) + test_uniform(&rng));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double error = 0, size = 0;
        vmt_pack(blocks, cases[c].dtype, x, 1024);
        vmt_unpack(y, cases[c].dtype, blocks, 0, 1024);
        for (int i = 0; i < 1024; i++) {
            error += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
            size += (double)x[i] * (double)x[i];
        }
        if (!(sqrt(error / size) < cases[c].rms))
            fail_msg("%s: error %.4f", vmt_dtype_name(cases[c].dtype), sqrt(error / size));
    }
    /* constants and zeros are kept: no scale is divided by */
    for (int sign = -1; sign <= 1; sign++) {
        for (int i = 0; i < 1024; i++)
            x[i] = 0.25f * (float)sign;
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            vmt_pack(blocks, cases[c].dtype, x, 1024);
            vmt_unpack(y, cases[c].dtype, blocks, 0, 1024);
            for (int i = 0; i < 1024; i++)
                assert_true(fabsf(y[i] - x[i]) <= 0.25f * 0.005f);
        }
    }
}

/* ---------------------------------------------------------------- a product from blocks */

/* linear and linear_bwd of a weight in few bits: those of its values as F32. */
static void products(void **state)
{
    static const enum vmt_dtype dtypes[] = {VMT_F8_E4M3, VMT_Q8_0, VMT_Q4_0,
                                            VMT_Q4_K,    VMT_Q5_K, VMT_Q6_K};
    const char *const backends[] = {"ref", "ref64", "cpu"};
    enum { ROWS = 5, IN = 512, OUT = 4 };
    vmt_tensor_file *file;

    (void)state;
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, TEST_DATA "/formats/gguf/blocks.gguf"));
    for (size_t b = 0; b < 3; b++) {
        if (!test_backend_built(backends[b], b == 1 ? NULL : "f32"))
            continue;
        vmt_ctx *ctx = test_ctx_open_threads(backends[b], b == 1 ? NULL : "f32", 2);
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            static float plain[OUT * IN], x32[ROWS * IN], y32[2][ROWS * IN];
            static double x64[ROWS * IN], y64[2][ROWS * IN];
            static uint8_t eights[OUT * IN];
            vmt_weight w[2] = {0};
            if (dtypes[d] == VMT_F8_E4M3) {
                for (int i = 0; i < OUT * IN; i++)
                    eights[i] = (uint8_t)(i * 7 % 120);
                w[0].w = vmt_tensor_over(eights, VMT_F8_E4M3, VMT_SHAPE(OUT, IN));
            } else {
                w[0].w = *vmt_tensor_file_find(file, vmt_dtype_name(dtypes[d]));
            }
            vmt_unpack(plain, w[0].w.dtype, w[0].w.data, 0, OUT * IN);
            w[1].w = vmt_tensor_over(plain, VMT_F32, VMT_SHAPE(OUT, IN));
            for (int i = 0; i < ROWS * IN; i++)
                x64[i] = x32[i] = (float)((i * 31 % 17) - 8) / 8;
            const bool wide = ctx->real == VMT_F64;
            for (int i = 0; i < 2; i++) {
                void *to = wide ? (void *)y64[i] : (void *)y32[i];
                void *from = wide ? (void *)x64 : (void *)x32;
                vmt_tensor y = vmt_tensor_over(to, ctx->real, VMT_SHAPE(ROWS, OUT));
                const vmt_tensor x = vmt_tensor_over(from, ctx->real, VMT_SHAPE(ROWS, IN));
                CHECK_OK(ctx, vmt_weight_prepare(ctx, &w[i], VMT_USE_LINEAR | VMT_USE_BACKWARD));
                CHECK_OK(ctx, vmt_linear(ctx, &y, &x, &w[i], VMT_EPILOGUE_NONE));
            }
            assert_memory_equal(y32[0], y32[1], ROWS * OUT * sizeof(float));
            assert_memory_equal(y64[0], y64[1], ROWS * OUT * sizeof(double));
            for (int i = 0; i < 2; i++) {
                void *to = wide ? (void *)y64[i] : (void *)y32[i];
                void *from = wide ? (void *)x64 : (void *)x32;
                vmt_tensor dx = vmt_tensor_over(to, ctx->real, VMT_SHAPE(ROWS, IN));
                const vmt_tensor dy = vmt_tensor_over(from, ctx->real, VMT_SHAPE(ROWS, OUT));
                CHECK_OK(ctx, vmt_linear_bwd(ctx, &dx, &dy, &w[i]));
                ctx->ops->weight_release(ctx, &w[i]);
            }
            assert_memory_equal(y32[0], y32[1], sizeof y32[0]);
            assert_memory_equal(y64[0], y64[1], sizeof y64[0]);
            /* the plan counts what a product takes beside the file */
            const size_t use = vmt_weight_use_bytes(ctx, &w[0]);
            assert_int_equal(use, strcmp(backends[b], "cpu") == 0 ? OUT * IN * sizeof(float) : 0);
            assert_int_equal(vmt_weight_use_bytes(ctx, &w[1]), 0);
        }
        test_ctx_close(ctx);
    }
    vmt_tensor_file_close(file);
}

/* ---------------------------------------------------------------- files that are wrong */

typedef struct bytes {
    unsigned char data[1024];
    size_t length;
} bytes;

static void put(bytes *b, uint64_t value, int width)
{
    for (int i = 0; i < width; i++)
        b->data[b->length++] = (unsigned char)(value >> (8 * i));
}

static void put_text(bytes *b, const char *text)
{
    put(b, strlen(text), 8);
    memcpy(b->data + b->length, text, strlen(text));
    b->length += strlen(text);
}

/* Header of one tensor [rows, side] and the numbers that tests falsify. */
typedef struct header {
    uint64_t version, tensors, keys, key_type, alignment, rank, side, type, offset, data;
    const char *name;
} header;

static const header GOOD = {3, 1, 1, 4, 32, 2, 64, 8, 0, 2 * 2 * 34, "w"};

static void make(bytes *b, const header *h)
{
    *b = (bytes){0};
    memcpy(b->data, "GGUF", 4);
    b->length = 4;
    put(b, h->version, 4);
    put(b, h->tensors, 8);
    put(b, h->keys, 8);
    put_text(b, "general.alignment");
    put(b, h->key_type, 4);
    put(b, h->alignment, 4);
    put_text(b, h->name);
    put(b, h->rank, 4);
    put(b, h->side, 8);
    put(b, 2, 8);
    put(b, h->type, 4);
    put(b, h->offset, 8);
    const size_t step = h->alignment && h->alignment < 512 ? (size_t)h->alignment : 32;
    b->length = (b->length + step - 1) / step * step + (size_t)h->data;
}

static void refuse(const header *h, const char *reason)
{
    vmt_tensor_file *file;
    bytes b;

    make(&b, h);
    if (vmt_tensor_file_open_bytes(&bare, &file, b.data, b.length, "f.gguf") != VMT_E_FORMAT)
        fail_msg("not refused: %s", reason);
    if (!strstr(bare.message, reason))
        fail_msg("'%s' does not say '%s'", bare.message, reason);
}

static void wrong_files(void **state)
{
    vmt_tensor_file *file;
    header h;
    bytes b;

    (void)state;
    make(&b, &GOOD);
    CHECK_OK(&bare, vmt_tensor_file_open_bytes(&bare, &file, b.data, b.length, "f.gguf"));
    assert_int_equal(vmt_tensor_file_find(file, "w")->shape[1], 64);
    vmt_tensor_file_close(file);
#define WRONG(field, value, reason)                                                                \
    h = GOOD;                                                                                      \
    h.field = value;                                                                               \
    refuse(&h, reason)
    WRONG(version, 1, "version 1");
    WRONG(version, 0x03000000, "expected 2 or 3");
    WRONG(tensors, UINT64_C(1) << 40, "at most");
    WRONG(tensors, 1 << 19, "truncated");
    WRONG(tensors, 2, "tensor");
    WRONG(keys, UINT64_C(1) << 63, "at most");
    WRONG(key_type, 13, "type 13");
    WRONG(key_type, 8, "truncated");
    WRONG(alignment, 0, "power of two");
    WRONG(alignment, 48, "power of two");
    WRONG(rank, 0, "0 axes");
    WRONG(rank, 6, "6 axes");
    WRONG(side, 48, "multiple of 32");
    WRONG(side, UINT64_C(1) << 63, "axis of");
    WRONG(side, (UINT64_C(1) << 62), "overflows");
    WRONG(type, 3, "Q4_1");
    WRONG(type, 1000, "unknown");
    WRONG(offset, 16, "multiple of 32");
    WRONG(offset, 32, "truncated");
    WRONG(offset, UINT64_MAX - 31, "truncated");
    WRONG(data, 2 * 2 * 34 - 1, "truncated");
    WRONG(name, "", "expected 1 to");
#undef WRONG
    for (size_t length = 4; length < b.length; length++) /* every cut */
        assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, b.data, length, "f.gguf"),
                         VMT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_as_gguf_reads_them),
        cmocka_unit_test(f8_patterns),
        cmocka_unit_test(pack_and_unpack),
        cmocka_unit_test(products),
        cmocka_unit_test(wrong_files),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
