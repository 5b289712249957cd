/* SPDX-License-Identifier: MIT
 *
 * Attention by products: some queries of all heads at a time, their logits [heads, block, Nk] in
 * scratch, softmax row by row, and the product with v.  Works for every head size and dtype, in F32
 * with F32 products; blocks are worked on in order, so dk and dv are summed in one order.
 */
#include "backend/cuda/cuda_state.h"

enum { BLOCK_BYTES = 1 << 28, LEAST_ROWS = 64 };

typedef struct shape {
    int64_t nq, nk, heads, d, stride,
        rows; /* rows: queries of a block; stride: elements from token to token */
    enum vmt_dtype act;
    size_t item;
} shape;

static shape shape_for(const vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d)
{
    shape s = {.nq = nq,
               .nk = nk,
               .heads = heads,
               .d = d,
               .stride = heads * d,
               .act = ctx->act,
               .item = vmt_dtype_bytes(ctx->act)};
    s.rows = BLOCK_BYTES / (s.heads * s.nk * (int64_t)sizeof(float));
    if (s.rows < LEAST_ROWS)
        s.rows = LEAST_ROWS;
    if (s.rows > s.nq)
        s.rows = s.nq;
    return s;
}

static shape shape_of(const vmt_ctx *ctx, const vmt_tensor *q, const vmt_tensor *k)
{
    return shape_for(ctx, q->shape[0], k->shape[0], q->shape[1], q->shape[2]);
}

/* Logits of a block. */
static size_t logit_bytes(const shape *s, size_t item)
{
    return cuda_padded((size_t)(s->heads * s->rows * s->nk) * item);
}

/* The same in A beside the F32 ones; none when A is F32. */
static size_t narrow_bytes(const shape *s)
{
    return s->act == VMT_F32 ? 0 : logit_bytes(s, s->item);
}

/* Row `row` of a [N, n, d] tensor. */
static void *row_at(const vmt_tensor *t, const shape *s, int64_t row)
{
    return (unsigned char *)t->data + (size_t)(row * s->stride) * vmt_dtype_bytes(t->dtype);
}

/* x yᵀ per head: [rows, Nk] F32. */
static enum vmt_status logits(vmt_ctx *ctx, const shape *s, int64_t rows, float *z, const void *x,
                              const void *y)
{
    const cuda_matmul product = {.m = rows,
                                 .n = s->nk,
                                 .k = s->d,
                                 .a_row = s->stride,
                                 .b_row = s->stride,
                                 .c_row = s->nk,
                                 .batch = s->heads,
                                 .a_batch = s->d,
                                 .b_batch = s->d,
                                 .c_batch = rows * s->nk,
                                 .in = s->act,
                                 .out = VMT_F32,
                                 .b_turned = true};
    return cuda_matmul_run(ctx, &product, z, x, y, NULL, NULL);
}

/* P y per head, into rows of a [N, n, d] tensor. */
static enum vmt_status mix(vmt_ctx *ctx, const shape *s, int64_t rows, void *out,
                           enum vmt_dtype dtype, const void *p, const void *y)
{
    const cuda_matmul product = {.m = rows,
                                 .n = s->d,
                                 .k = s->nk,
                                 .a_row = s->nk,
                                 .b_row = s->stride,
                                 .c_row = s->stride,
                                 .batch = s->heads,
                                 .a_batch = rows * s->nk,
                                 .b_batch = s->d,
                                 .c_batch = s->d,
                                 .in = s->act,
                                 .out = dtype};
    return cuda_matmul_run(ctx, &product, out, p, y, NULL, NULL);
}

/* Pᵀ x per head, [Nk, n, d] F32, overwritten or added. */
static enum vmt_status spread(vmt_ctx *ctx, const shape *s, int64_t rows, float *out, const void *p,
                              const void *x, bool add)
{
    const cuda_matmul product = {.m = s->nk,
                                 .n = s->d,
                                 .k = rows,
                                 .a_row = s->nk,
                                 .b_row = s->stride,
                                 .c_row = s->stride,
                                 .batch = s->heads,
                                 .a_batch = rows * s->nk,
                                 .b_batch = s->d,
                                 .c_batch = s->d,
                                 .in = s->act,
                                 .out = VMT_F32,
                                 .a_turned = true,
                                 .add = add};
    return cuda_matmul_run(ctx, &product, out, p, x, NULL, NULL);
}

size_t cuda_attention_products_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                                     bool backward)
{
    const shape s = shape_for(ctx, nq, nk, heads, d);
    const size_t logits_and_p = logit_bytes(&s, sizeof(float)) + narrow_bytes(&s);

    if (!backward)
        return logits_and_p;
    return 2 * logits_and_p + cuda_padded((size_t)(heads * nq) * sizeof(float)) +
           (s.act == VMT_F32 ? 0 : 2 * cuda_padded((size_t)(nk * s.stride) * sizeof(float)));
}

enum vmt_status cuda_attention(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                               const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                               double scale)
{
    const shape s = shape_of(ctx, q, k);
    const size_t z_bytes = logit_bytes(&s, sizeof(float)), p_bytes = narrow_bytes(&s);
    void *memory = NULL;
    bool done = false;

    if (!bias)
        VMT_TRY(cuda_attention_fused(ctx, &done, o, lse, q, k, v, scale));
    if (done)
        return VMT_OK;
    VMT_TRY(cuda_scratch(ctx, &memory, z_bytes + p_bytes));
    float *const z = memory;
    void *const p = p_bytes ? (unsigned char *)memory + z_bytes : memory;
    for (int64_t first = 0; first < s.nq; first += s.rows) {
        const int64_t rows = s.rows < s.nq - first ? s.rows : s.nq - first;
        VMT_TRY(logits(ctx, &s, rows, z, row_at(q, &s, first), k->data));
        VMT_TRY(cuda_check(ctx, "attention",
                           cuda_softmax(cuda_of(ctx)->stream, (cuda_view){p, s.act}, z,
                                        lse ? (float *)lse->data + first : NULL, s.nq,
                                        bias ? bias->data : NULL, s.nq + s.nk - 1, s.nq - 1 - first,
                                        (float)scale, s.heads, rows, s.nk)));
        VMT_TRY(mix(ctx, &s, rows, row_at(o, &s, first), s.act, p, v->data));
    }
    return VMT_OK;
}

/* Scratch of the backward. */
typedef struct backward {
    float *z, *dp; /* [heads, rows, Nk] */
    void *p, *ds;  /* the same in A; on z and dp when A is F32 */
    float *delta;  /* [heads, Nq] */
    float *dk,
        *dv; /* [Nk, n, d] sums; the outputs themselves when they are F32; NULL without them */
} backward;

static enum vmt_status take_backward(vmt_ctx *ctx, backward *b, const shape *s,
                                     const vmt_tensor *dk, const vmt_tensor *dv)
{
    const size_t wide = logit_bytes(s, sizeof(float)), narrow = narrow_bytes(s);
    const size_t delta = cuda_padded((size_t)(s->heads * s->nq) * sizeof(float));
    const size_t sums = cuda_padded((size_t)(s->nk * s->stride) * sizeof(float));
    const bool own_dk = dk && dk->dtype != VMT_F32, own_dv = dv && dv->dtype != VMT_F32;
    void *memory = NULL;

    VMT_TRY(cuda_scratch(ctx, &memory,
                         2 * (wide + narrow) + delta + (own_dk ? sums : 0) + (own_dv ? sums : 0)));
    unsigned char *at = memory;
    b->z = (float *)(void *)at, at += wide;
    b->dp = (float *)(void *)at, at += wide;
    b->p = narrow ? (void *)at : (void *)b->z, at += narrow;
    b->ds = narrow ? (void *)at : (void *)b->dp, at += narrow;
    b->delta = (float *)(void *)at, at += delta;
    b->dk = own_dk ? (float *)(void *)at : dk ? dk->data : NULL, at += own_dk ? sums : 0;
    b->dv = own_dv ? (float *)(void *)at : dv ? dv->data : NULL;
    return VMT_OK;
}

/* Sums into the output's dtype. */
static enum vmt_status store_sums(vmt_ctx *ctx, vmt_tensor *t, float *sums)
{
    if (!t || sums == t->data)
        return VMT_OK;
    return cuda_check(ctx, "attention_bwd",
                      cuda_convert(cuda_of(ctx)->stream, cuda_view_of(t),
                                   (cuda_view){sums, VMT_F32}, vmt_numel(t)));
}

enum vmt_status cuda_attention_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   double scale)
{
    const shape s = shape_of(ctx, q, k);
    cudaStream_t stream = cuda_of(ctx)->stream;
    bool done = false;
    backward b;

    VMT_TRY(cuda_attention_fused_bwd(ctx, &done, dq, dk, dv, dout, q, k, v, o, lse, scale));
    if (done)
        return VMT_OK;
    VMT_TRY(take_backward(ctx, &b, &s, dk, dv));
    VMT_TRY(cuda_check(
        ctx, "attention_bwd",
        cuda_delta(stream, b.delta, cuda_view_of(dout), cuda_view_of(o), s.nq, s.heads, s.d)));
    for (int64_t first = 0; first < s.nq; first += s.rows) {
        const int64_t rows = s.rows < s.nq - first ? s.rows : s.nq - first;
        const void *qs = row_at(q, &s, first), *douts = row_at(dout, &s, first);
        VMT_TRY(logits(ctx, &s, rows, b.z, qs, k->data));
        VMT_TRY(logits(ctx, &s, rows, b.dp, douts, v->data));
        VMT_TRY(
            cuda_check(ctx, "attention_bwd",
                       cuda_softmax_bwd(stream, (cuda_view){b.p, s.act}, (cuda_view){b.ds, s.act},
                                        b.z, b.dp, (const float *)lse->data + first,
                                        b.delta + first, s.nq, (float)scale, s.heads, rows, s.nk)));
        VMT_TRY(mix(ctx, &s, rows, row_at(dq, &s, first), dq->dtype, b.ds, k->data));
        if (!dk)
            continue;
        VMT_TRY(spread(ctx, &s, rows, b.dk, b.ds, qs, first > 0));
        VMT_TRY(spread(ctx, &s, rows, b.dv, b.p, douts, first > 0));
    }
    VMT_TRY(store_sums(ctx, dk, b.dk));
    return store_sums(ctx, dv, b.dv);
}
