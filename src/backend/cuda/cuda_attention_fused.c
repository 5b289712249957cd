/* SPDX-License-Identifier: MIT
 *
 * Attention by cuDNN's fused kernels: BF16 without a bias.  Everything else, and every shape that
 * cuDNN refuses, is left to cuda_attention.c.  `--verbose` tells at the first use of a shape which
 * of the two it is.
 */
#include "backend/cuda/cuda_state.h"

#include <inttypes.h>

#ifdef FASTVMT_HAVE_CUDNN

/* The plan of a shape, or NULL. */
static cuda_cudnn_plan *plan_of(vmt_ctx *ctx, const vmt_tensor *q, const vmt_tensor *k,
                                double scale, bool backward, bool has_lse)
{
    const cuda_cudnn_shape shape = {.nq = q->shape[0],
                                    .nk = k->shape[0],
                                    .heads = q->shape[1],
                                    .d = q->shape[2],
                                    .scale = scale,
                                    .backward = backward,
                                    .has_lse = has_lse};
    bool made = false;
    cuda_cudnn *library = ctx->act == VMT_BF16 ? cuda_cudnn_of(ctx) : NULL;
    cuda_cudnn_plan *plan = library ? cuda_cudnn_find(library, &shape, &made) : NULL;

    if (made)
        vmt_log(ctx, VMT_LOG_DEBUG,
                "backend cuda: attention%s %" PRId64 "x%" PRId64 ", %" PRId64 " heads of %" PRId64
                ": %s",
                backward ? " backward" : "", shape.nq, shape.nk, shape.heads, shape.d,
                plan ? "cuDNN" : "products");
    return plan;
}

enum vmt_status cuda_attention_fused(vmt_ctx *ctx, bool *done, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     double scale)
{
    cuda_cudnn_plan *plan = plan_of(ctx, q, k, scale, false, lse != NULL);
    void *data[CUDA_CUDNN_POINTERS] = {0}, *workspace = NULL;

    *done = false;
    if (!plan)
        return VMT_OK;
    VMT_TRY(cuda_scratch(ctx, &workspace, cuda_cudnn_workspace(plan)));
    data[CUDA_CUDNN_Q] = q->data;
    data[CUDA_CUDNN_K] = k->data;
    data[CUDA_CUDNN_V] = v->data;
    data[CUDA_CUDNN_O] = o->data;
    data[CUDA_CUDNN_LSE] = lse ? lse->data : NULL;
    *done = true;
    return cuda_cudnn_execute(ctx, "attention", plan, data, workspace);
}

enum vmt_status cuda_attention_fused_bwd(vmt_ctx *ctx, bool *done, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, double scale)
{
    const bool narrow =
        dq->dtype == VMT_BF16 && (!dk || (dk->dtype == VMT_BF16 && dv->dtype == VMT_BF16));
    cuda_cudnn_plan *plan = narrow ? plan_of(ctx, q, k, scale, true, true) : NULL;
    void *data[CUDA_CUDNN_POINTERS] = {0}, *memory = NULL;

    *done = false;
    if (!plan)
        return VMT_OK;
    /* cuDNN always makes dk and dv; where nobody wants them they go to scratch */
    const size_t workspace = cuda_padded(cuda_cudnn_workspace(plan));
    const size_t unwanted = dk ? 0 : cuda_padded(vmt_tensor_bytes(k));
    VMT_TRY(cuda_scratch(ctx, &memory, workspace + 2 * unwanted));
    unsigned char *const spare = (unsigned char *)memory + workspace;
    data[CUDA_CUDNN_Q] = q->data;
    data[CUDA_CUDNN_K] = k->data;
    data[CUDA_CUDNN_V] = v->data;
    data[CUDA_CUDNN_O] = o->data;
    data[CUDA_CUDNN_LSE] = lse->data;
    data[CUDA_CUDNN_DO] = dout->data;
    data[CUDA_CUDNN_DQ] = dq->data;
    data[CUDA_CUDNN_DK] = dk ? dk->data : spare;
    data[CUDA_CUDNN_DV] = dk ? dv->data : spare + unwanted;
    *done = true;
    return cuda_cudnn_execute(ctx, "attention", plan, data, memory);
}

#else

enum vmt_status cuda_attention_fused(vmt_ctx *ctx, bool *done, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     double scale)
{
    (void)ctx, (void)o, (void)lse, (void)q, (void)k, (void)v, (void)scale;
    *done = false; /* this build has no cuDNN */
    return VMT_OK;
}

enum vmt_status cuda_attention_fused_bwd(vmt_ctx *ctx, bool *done, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, double scale)
{
    (void)ctx, (void)dq, (void)dk, (void)dv, (void)dout, (void)q, (void)k, (void)v, (void)o,
        (void)lse, (void)scale;
    *done = false;
    return VMT_OK;
}

#endif
