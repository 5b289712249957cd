/* SPDX-License-Identifier: MIT
 *
 * Matrices in few bits: they lie on the device as in the file, and an op widens the one that it
 * multiplies with, into a buffer that the next one takes over.
 */
#include "backend/cuda/cuda_state.h"

#include "base/quant.h"

/* Blocks, then factors. */
static size_t block_bytes(const vmt_tensor *w)
{
    return cuda_padded(vmt_tensor_bytes(w));
}

size_t cuda_quant_bytes(const vmt_tensor *w)
{
    return block_bytes(w) + (w->scale ? cuda_padded((size_t)w->scales * sizeof(float)) : 0);
}

size_t cuda_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight)
{
    if (!vmt_is_quantised(weight->w.dtype))
        return 0;
    return cuda_padded((size_t)vmt_numel(&weight->w) * vmt_dtype_bytes(ctx->act));
}

enum vmt_status cuda_quant_send(vmt_ctx *ctx, cudaStream_t stream, void *matrix,
                                const vmt_tensor *w)
{
    const vmt_tensor bytes =
        vmt_tensor_over(w->data, VMT_U8, VMT_SHAPE((int64_t)vmt_tensor_bytes(w)));

    VMT_TRY(cuda_send(ctx, "weight_prepare", stream, (cuda_view){matrix, VMT_U8}, &bytes));
    if (!w->scale)
        return VMT_OK;
    const vmt_tensor factors =
        vmt_tensor_over((void *)(uintptr_t)w->scale, VMT_F32, VMT_SHAPE(w->scales));
    const cuda_view to = {(unsigned char *)matrix + block_bytes(w), VMT_F32};
    return cuda_send(ctx, "weight_prepare", stream, to, &factors);
}

enum vmt_status cuda_weight_matrix(vmt_ctx *ctx, const char *op, const vmt_weight *weight,
                                   const void **matrix)
{
    const vmt_tensor *w = &weight->w;
    const cuda_packed *packed = weight->packed;
    const int64_t count = vmt_numel(w);
    cuda_quant blocks = {.blocks = packed->matrix, .dtype = w->dtype, .part = count};
    void *memory = NULL;

    *matrix = packed->matrix;
    if (!vmt_is_quantised(w->dtype))
        return VMT_OK;
    if (w->scale) {
        blocks.factors =
            (const float *)(const void *)((const unsigned char *)packed->matrix + block_bytes(w));
        blocks.part = count / w->scales;
    }
    VMT_TRY(cuda_widened(ctx, &memory, cuda_weight_use_bytes(ctx, weight)));
    *matrix = memory;
    return cuda_check(
        ctx, op, cuda_unpack(cuda_of(ctx)->stream, (cuda_view){memory, ctx->act}, blocks, count));
}
