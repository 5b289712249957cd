/* SPDX-License-Identifier: MIT
 *
 * Products on numbers of 8 bits: e4m3, a scale for each row of the input and of the weight.
 * cuBLASLt puts both scales back itself where it can (12.9 and later, results in BF16); else a
 * kernel does after it.
 */
#include "backend/cuda/cuda_state.h"

static bool is_wanted(const vmt_weight *weight, unsigned use)
{
    return (use & VMT_USE_FP8) && weight->w.rank == 2;
}

size_t cuda_fp8_bytes(const vmt_weight *weight, unsigned use)
{
    if (!is_wanted(weight, use))
        return 0;
    return cuda_own_pages(cuda_padded((size_t)vmt_numel(&weight->w)) +
                          cuda_padded((size_t)weight->w.shape[0] * sizeof(float)));
}

enum vmt_status cuda_fp8_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    const int64_t out = weight->w.shape[0], in = weight->w.shape[1];
    const size_t bytes = cuda_fp8_bytes(weight, use);
    cuda_packed *packed = weight->packed;
    const void *matrix = NULL;

    if (!bytes || packed->fp8)
        return VMT_OK;
    if (out % 16 || in % 16)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: products of 8 bits want widths by sixteens, not %lld and "
                        "%lld",
                        (long long)out, (long long)in);
    VMT_TRY(cuda_weight_matrix(ctx, "weight_prepare", weight, &matrix));
    VMT_TRY(cuda_block_take(ctx, &packed->fp8, bytes));
    packed->fp8_bytes = bytes;
    weight->packed_bytes += bytes;
    packed->fp8_scales = (float *)(void *)((unsigned char *)packed->fp8 +
                                           cuda_padded((size_t)vmt_numel(&weight->w)));
    return cuda_check(ctx, "weight_prepare",
                      cuda_fp8_rows(cuda_of(ctx)->stream, packed->fp8, packed->fp8_scales,
                                    (cuda_view){(void *)(uintptr_t)matrix, ctx->act}, out, in));
}

/* x in 8 bits with its scales, in scratch. */
static enum vmt_status round_input(vmt_ctx *ctx, unsigned char **bytes, float **scales,
                                   const vmt_tensor *x)
{
    const size_t rounded = cuda_padded((size_t)vmt_numel(x));
    void *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory, rounded + (size_t)x->shape[0] * sizeof(float)));
    *bytes = memory;
    *scales = (float *)(void *)(*bytes + rounded);
    return cuda_check(ctx, "linear_fp8",
                      cuda_fp8_rows(cuda_of(ctx)->stream, *bytes, *scales, cuda_view_of(x),
                                    x->shape[0], x->shape[1]));
}

/* y = x Wᵀ + b. */
static enum vmt_status multiply(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const cuda_packed *view)
{
    const int64_t in = x->shape[1], out = y->shape[1];
    bool scaled = y->dtype == VMT_BF16;
    cuda_matmul product = {.m = x->shape[0],
                           .n = out,
                           .k = in,
                           .a_row = in,
                           .b_row = in,
                           .c_row = out,
                           .in = VMT_U8,
                           .out = y->dtype,
                           .b_turned = true,
                           .scaled = true,
                           .has_bias = view->bias != NULL};
    unsigned char *bytes;
    float *scales;

    VMT_TRY(round_input(ctx, &bytes, &scales, x));
    if (scaled)
        VMT_TRY(cuda_matmul_fp8(ctx, &product, &scaled, y->data, bytes, view->fp8,
                                cuda_bias_for(view, y->dtype), scales, view->fp8_scales));
    if (scaled)
        return VMT_OK;
    product.scaled = product.has_bias = false;
    VMT_TRY(cuda_matmul_run(ctx, &product, y->data, bytes, view->fp8, NULL, NULL));
    return cuda_check(ctx, "linear_fp8",
                      cuda_fp8_scale(cuda_of(ctx)->stream, cuda_view_of(y), scales,
                                     view->fp8_scales, view->bias, x->shape[0], out));
}

enum vmt_status cuda_linear_fp8(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const vmt_weight *w, enum vmt_epilogue epilogue)
{
    const enum cuda_map_kind map = epilogue == VMT_EPILOGUE_GELU ? CUDA_GELU : CUDA_SILU;
    const cuda_view v = cuda_view_of(y);
    const cuda_packed *view = NULL;

    VMT_TRY(cuda_weight_view(ctx, w, "linear_fp8", &view));
    if (!view->fp8)
        return vmt_fail(ctx, VMT_E_INTERNAL,
                        "backend cuda: linear_fp8: a weight was not prepared for it");
    VMT_TRY(multiply(ctx, y, x, view));
    if (epilogue == VMT_EPILOGUE_NONE)
        return VMT_OK;
    return cuda_check(
        ctx, "linear_fp8",
        cuda_map(cuda_of(ctx)->stream, map, v, v, (cuda_view){NULL, v.dtype}, vmt_numel(y)));
}
