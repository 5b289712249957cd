/* SPDX-License-Identifier: MIT
 *
 * Products with a matrix in few bits, on every backend, forward and backward: the bits of products
 * with the same values in F32.  A block read wrongly, a fused rounding or a factor of the wrong
 * row turns it red.
 */
#include "testing.h"

#include "base/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, IN = 512, OUT = 48, COUNT = OUT * IN, FACTORS = 3 };

static const enum vmt_dtype DTYPES[] = {VMT_F8_E4M3, VMT_Q8_0, VMT_Q4_0,
                                        VMT_Q4_K,    VMT_Q5_K, VMT_Q6_K};

/* Any bytes are blocks, but their scales should be numbers of a sensible size. */
static void fill(uint8_t *blocks, enum vmt_dtype dtype)
{
    const size_t bytes = vmt_quant_bytes(dtype);
    const int64_t count = COUNT / vmt_quant_elements(dtype);
    uint32_t seed = 7;

    for (size_t i = 0; i < (size_t)count * bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        blocks[i] = (uint8_t)(seed >> 24);
        if (dtype == VMT_F8_E4M3 && (blocks[i] & 127) == 127) /* NaN */
            blocks[i] = 3;
    }
    for (int64_t i = 0; i < count && dtype != VMT_F8_E4M3; i++) {
        uint8_t *b = blocks + (size_t)i * bytes + (dtype == VMT_Q6_K ? 208 : 0);
        const bool has_least = dtype == VMT_Q4_K || dtype == VMT_Q5_K;
        b[1] = (uint8_t)(0x20 + i % 8);
        if (has_least)
            b[3] = (uint8_t)(0x21 + i % 7);
    }
}

struct buffers {
    vmt_arena arena;
    vmt_tensor x, y, u, dy, dx;
};

static vmt_tensor rows(vmt_ctx *ctx, vmt_arena *arena, int64_t width)
{
    vmt_tensor t;

    CHECK_OK(ctx, vmt_take(ctx, arena, &t, ctx->act, VMT_SHAPE(ROWS, width)));
    return t;
}

static void fill_rows(vmt_ctx *ctx, vmt_tensor *t)
{
    static float values[ROWS * IN];
    const vmt_tensor host = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(ROWS, t->shape[1]));

    for (int64_t i = 0; i < vmt_numel(t); i++)
        values[i] = (float)(i * 31 % 17 - 8) / 8;
    CHECK_OK(ctx, vmt_upload(ctx, t, &host));
}

static void open_buffers(vmt_ctx *ctx, struct buffers *b)
{
    CHECK_OK(ctx, vmt_arena_open(ctx, &b->arena, (size_t)1 << 20));
    b->x = rows(ctx, &b->arena, IN);
    b->dx = rows(ctx, &b->arena, IN);
    b->y = rows(ctx, &b->arena, OUT);
    b->u = rows(ctx, &b->arena, OUT);
    b->dy = rows(ctx, &b->arena, OUT);
    fill_rows(ctx, &b->x);
    fill_rows(ctx, &b->dy);
}

static void fetch(vmt_ctx *ctx, float *values, const vmt_tensor *t)
{
    vmt_tensor host = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(ROWS, t->shape[1]));

    CHECK_OK(ctx, vmt_download(ctx, &host, t));
}

struct results {
    float y[ROWS * OUT], gelu[ROWS * OUT], dx[ROWS * IN];
};

static void multiply(vmt_ctx *ctx, struct buffers *b, vmt_weight *w, struct results *r)
{
    const unsigned use = VMT_USE_LINEAR | VMT_USE_BACKWARD;

    CHECK_OK(ctx, vmt_weight_prepare(ctx, w, use));
    CHECK_OK(ctx, vmt_linear(ctx, &b->y, &b->x, w, VMT_EPILOGUE_NONE));
    fetch(ctx, r->y, &b->y);
    CHECK_OK(ctx, vmt_linear_gelu(ctx, &b->y, &b->u, &b->x, w));
    fetch(ctx, r->gelu, &b->y);
    CHECK_OK(ctx, vmt_linear_bwd(ctx, &b->dx, &b->dy, w));
    fetch(ctx, r->dx, &b->dx);
    ctx->ops->weight_release(ctx, w);
}

static void check(vmt_ctx *ctx, struct buffers *b, enum vmt_dtype dtype, int64_t factors)
{
    static uint8_t blocks[2 * COUNT];
    static float plain[COUNT], scale[OUT];
    static struct results few, all;
    vmt_weight w = {.w = vmt_tensor_over(blocks, dtype, VMT_SHAPE(OUT, IN))};
    vmt_weight wide = {.w = vmt_tensor_over(plain, VMT_F32, VMT_SHAPE(OUT, IN))};

    fill(blocks, dtype);
    for (int i = 0; i < OUT; i++)
        scale[i] = 0.3f + 0.07f * (float)i;
    w.w.scale = factors ? scale : NULL;
    w.w.scales = factors;
    vmt_tensor_unpack(plain, &w.w, 0, COUNT);
    multiply(ctx, b, &w, &few);
    multiply(ctx, b, &wide, &all);
    if (memcmp(&few, &all, sizeof few) != 0)
        fail_msg("backend %s, %s, %lld factors: other bits than its values as F32", ctx->ops->name,
                 vmt_dtype_name(dtype), (long long)factors);
}

static void products(void **state)
{
    static const char *const targets[][2] = {{"ref", "f32"},  {"ref", "bf16"}, {"cpu", "f32"},
                                             {"cpu", "bf16"}, {"cuda", "f32"}, {"cuda", "bf16"}};
    static const int64_t factors[FACTORS] = {0, 1, OUT};
    const char *only = getenv("VMT_BACKEND");

    (void)state;
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        if ((only && strcmp(only, targets[t][0]) != 0) ||
            !test_backend_built(targets[t][0], targets[t][1]))
            continue;
        vmt_ctx *ctx = test_ctx_open_threads(targets[t][0], targets[t][1], 2);
        struct buffers buffers = {0};
        open_buffers(ctx, &buffers);
        for (size_t d = 0; d < sizeof DTYPES / sizeof *DTYPES; d++)
            for (int f = 0; f < FACTORS; f++)
                check(ctx, &buffers, DTYPES[d], factors[f]);
        vmt_arena_close(ctx, &buffers.arena);
        test_ctx_close(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
