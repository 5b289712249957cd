/* SPDX-License-Identifier: MIT
 *
 * Attention by cuDNN's fused kernels: BF16 without a bias.  Everything else, and every shape that
 * cuDNN refuses, is left to cuda_attention.c.  `--verbose` tells at the first use of a shape which
 * of the two it is.
 */
#include "backend/cuda/cuda_state.h"

#include <inttypes.h>
#include <math.h>

/* cuDNN's backward with a fixed order of sums keeps dS of all pairs, so that its workspace grows
 * with their number: above this limit a call works on fewer heads. */
static const double MOST_PAIR_BYTES = 2.2e9;

size_t cuda_attention_most_pair_bytes(void)
{
    return (size_t)MOST_PAIR_BYTES;
}

#ifdef FASTVMT_HAVE_CUDNN

/* Text has few keys, too few blocks of them to fill a device: the queries are cut into so many
 * sequences at most, each with its own copy of the keys. */
enum { MOST_SEQUENCES = 8, FEW_KEYS = 1024, LEAST_QUERIES = 1024 };

static cuda_cudnn_shape shape_of(const vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads,
                                 int64_t d, double scale, bool backward, bool has_lse)
{
    cuda_cudnn_shape s = {.batch = 1,
                          .nq = nq,
                          .nk = nk,
                          .heads = heads,
                          .d = d,
                          .row = heads * d,
                          .scale = scale,
                          .backward = backward,
                          .has_lse = has_lse,
                          .any_order = backward && ctx->nondeterministic};
    const double bytes = 2.0 * (double)nq * (double)nk;

    if (!backward || s.any_order)
        return s;
    while (s.heads > 1 && (heads % s.heads || (double)s.heads * bytes > MOST_PAIR_BYTES))
        s.heads--;
    return s;
}

/* The plan of a shape, or NULL. */
static cuda_cudnn_plan *plan_of(vmt_ctx *ctx, const cuda_cudnn_shape *shape)
{
    bool made = false;
    cuda_cudnn *library = ctx->act == VMT_BF16 ? cuda_cudnn_of(ctx) : NULL;
    cuda_cudnn_plan *plan = library ? cuda_cudnn_find(library, shape, &made) : NULL;

    if (made)
        vmt_log(ctx, VMT_LOG_DEBUG,
                "backend cuda: attention%s %" PRId64 "x%" PRId64 "x%" PRId64 ", %" PRId64
                " heads of %" PRId64 ": %s",
                shape->backward ? " backward" : "", shape->batch, shape->nq, shape->nk,
                shape->heads, shape->d, plan ? "cuDNN" : "products");
    return plan;
}

size_t cuda_attention_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                            bool backward)
{
    size_t bytes = 0;

    for (int back = 0; back <= (int)backward; back++) {
        const cuda_cudnn_shape s = shape_of(ctx, nq, nk, heads, d, 1 / sqrt((double)d), back, true);
        cuda_cudnn_plan *plan = plan_of(ctx, &s);
        const size_t own = plan ? cuda_cudnn_workspace(plan)
                                : cuda_attention_products_bytes(ctx, nq, nk, heads, d, back);
        bytes = own > bytes ? own : bytes;
    }
    return bytes;
}

enum vmt_status cuda_attention_fused(vmt_ctx *ctx, bool *done, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     double scale)
{
    const cuda_cudnn_shape s = shape_of(ctx, q->shape[0], k->shape[0], q->shape[1], q->shape[2],
                                        scale, false, lse != NULL);
    cuda_cudnn_plan *plan = plan_of(ctx, &s);
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

/* ---- backward */

/* The address of head `head` in a [N, n, d] BF16 tensor. */
static void *head_of(const vmt_tensor *t, int64_t head)
{
    return (uint16_t *)t->data + head * t->shape[2];
}

/* Some heads after others, with gradients of the keys. */
static enum vmt_status backward_by_heads(vmt_ctx *ctx, cuda_cudnn_plan *plan,
                                         const cuda_cudnn_shape *s, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse)
{
    void *workspace = NULL;

    VMT_TRY(cuda_scratch(ctx, &workspace, cuda_cudnn_workspace(plan)));
    for (int64_t head = 0; head < q->shape[1]; head += s->heads) {
        void *data[CUDA_CUDNN_POINTERS] = {0};
        data[CUDA_CUDNN_Q] = head_of(q, head);
        data[CUDA_CUDNN_K] = head_of(k, head);
        data[CUDA_CUDNN_V] = head_of(v, head);
        data[CUDA_CUDNN_O] = head_of(o, head);
        data[CUDA_CUDNN_LSE] = (float *)lse->data + head * q->shape[0];
        data[CUDA_CUDNN_DO] = head_of(dout, head);
        data[CUDA_CUDNN_DQ] = head_of(dq, head);
        data[CUDA_CUDNN_DK] = head_of(dk, head);
        data[CUDA_CUDNN_DV] = head_of(dv, head);
        VMT_TRY(cuda_cudnn_execute(ctx, "attention_bwd", plan, data, workspace));
    }
    return VMT_OK;
}

/* `count` copies of a tensor one behind another, by doubling. */
static enum vmt_status repeat(vmt_ctx *ctx, void *to, const vmt_tensor *x, int64_t count)
{
    const size_t bytes = vmt_tensor_bytes(x);
    cudaStream_t stream = cuda_of(ctx)->stream;
    cudaError_t error = cudaMemcpyAsync(to, x->data, bytes, cudaMemcpyDeviceToDevice, stream);

    for (int64_t done = 1; done < count && error == cudaSuccess; done *= 2) {
        const int64_t more = done < count - done ? done : count - done;
        error = cudaMemcpyAsync((unsigned char *)to + (size_t)done * bytes, to,
                                (size_t)more * bytes, cudaMemcpyDeviceToDevice, stream);
    }
    return cuda_check(ctx, "attention_bwd", error);
}

/* Gradient of the queries alone.  cuDNN makes dk and dv all the same: they go to scratch. */
static enum vmt_status backward_of_queries(vmt_ctx *ctx, cuda_cudnn_plan *plan, int64_t sequences,
                                           vmt_tensor *dq, const vmt_tensor *dout,
                                           const vmt_tensor *q, const vmt_tensor *k,
                                           const vmt_tensor *v, const vmt_tensor *o,
                                           const vmt_tensor *lse)
{
    const size_t workspace = cuda_padded(cuda_cudnn_workspace(plan));
    const size_t keys = cuda_padded((size_t)sequences * vmt_tensor_bytes(k));
    void *data[CUDA_CUDNN_POINTERS] = {0}, *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory, workspace + 4 * keys));
    unsigned char *const spare = (unsigned char *)memory + workspace;
    VMT_TRY(repeat(ctx, spare, k, sequences));
    VMT_TRY(repeat(ctx, spare + keys, v, sequences));
    data[CUDA_CUDNN_Q] = q->data;
    data[CUDA_CUDNN_K] = spare;
    data[CUDA_CUDNN_V] = spare + keys;
    data[CUDA_CUDNN_O] = o->data;
    data[CUDA_CUDNN_LSE] = lse->data;
    data[CUDA_CUDNN_DO] = dout->data;
    data[CUDA_CUDNN_DQ] = dq->data;
    data[CUDA_CUDNN_DK] = spare + 2 * keys;
    data[CUDA_CUDNN_DV] = spare + 3 * keys;
    return cuda_cudnn_execute(ctx, "attention_bwd", plan, data, memory);
}

/* Into how many sequences `nq` queries are cut. */
static int64_t sequences_of(int64_t nq, int64_t nk)
{
    int64_t count = nk <= FEW_KEYS ? MOST_SEQUENCES : 1;

    while (count > 1 && (nq % count || nq / count < LEAST_QUERIES))
        count--;
    return count;
}

enum vmt_status cuda_attention_fused_bwd(vmt_ctx *ctx, bool *done, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, double scale)
{
    const bool narrow =
        dq->dtype == VMT_BF16 && (!dk || (dk->dtype == VMT_BF16 && dv->dtype == VMT_BF16));
    cuda_cudnn_shape s =
        shape_of(ctx, q->shape[0], k->shape[0], q->shape[1], q->shape[2], scale, true, true);
    cuda_cudnn_plan *plan = NULL;

    *done = false;
    if (!narrow)
        return VMT_OK;
    if (dk) {
        plan = plan_of(ctx, &s);
        *done = plan != NULL;
        return plan ? backward_by_heads(ctx, plan, &s, dq, dk, dv, dout, q, k, v, o, lse) : VMT_OK;
    }
    s.heads = q->shape[1];
    s.batch = sequences_of(s.nq, s.nk);
    s.nq /= s.batch;
    plan = plan_of(ctx, &s);
    *done = plan != NULL;
    return plan ? backward_of_queries(ctx, plan, s.batch, dq, dout, q, k, v, o, lse) : VMT_OK;
}

/* ---- batches of local attention */

static cuda_cudnn_plan *batch_plan(vmt_ctx *ctx, const cuda_attention_batch *b)
{
    const cuda_cudnn_shape s = {.batch = b->count,
                                .nq = b->nq,
                                .nk = b->nk,
                                .heads = b->heads,
                                .d = b->d,
                                .row = b->heads * b->d,
                                .scale = b->scale,
                                .backward = b->backward,
                                .has_lse = b->has_lse || b->backward,
                                .lse_by_batch = true,
                                .any_order = b->backward && ctx->nondeterministic};

    return plan_of(ctx, &s);
}

bool cuda_attention_batch_find(vmt_ctx *ctx, const cuda_attention_batch *batch, size_t *workspace)
{
    cuda_cudnn_plan *plan = batch_plan(ctx, batch);

    *workspace = plan ? cuda_cudnn_workspace(plan) : 0;
    return plan != NULL;
}

enum vmt_status cuda_attention_batch_run(vmt_ctx *ctx, const cuda_attention_batch *batch,
                                         void *const data[CUDA_CUDNN_POINTERS])
{
    const char *const op = batch->backward ? "attention_local_bwd" : "attention_local";
    cuda_cudnn_plan *plan = batch_plan(ctx, batch);
    void *workspace = NULL;

    if (!plan)
        return vmt_fail(ctx, VMT_E_INTERNAL, "backend cuda: %s: no plan", op);
    VMT_TRY(cuda_scratch(ctx, &workspace, cuda_cudnn_workspace(plan)));
    return cuda_cudnn_execute(ctx, op, plan, data, workspace);
}

#else

bool cuda_attention_batch_find(vmt_ctx *ctx, const cuda_attention_batch *batch, size_t *workspace)
{
    (void)ctx, (void)batch;
    *workspace = 0;
    return false;
}

enum vmt_status cuda_attention_batch_run(vmt_ctx *ctx, const cuda_attention_batch *batch,
                                         void *const data[CUDA_CUDNN_POINTERS])
{
    (void)batch, (void)data;
    return vmt_fail(ctx, VMT_E_INTERNAL, "backend cuda: this build has no cuDNN");
}

size_t cuda_attention_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                            bool backward)
{
    return cuda_attention_products_bytes(ctx, nq, nk, heads, d, backward);
}

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
