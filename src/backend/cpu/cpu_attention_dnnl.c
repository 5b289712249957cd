/* SPDX-License-Identifier: MIT
 *
 * Attention in blocks of queries: each task takes one head and some queries, forms their logits
 * [block, Nk] in its own scratch by oneDNN, and is done with them before the next block.  The whole
 * [Nq, Nk] matrix never exists.  Each task writes its own part of the outputs, so the results do
 * not depend on the order of the tasks.
 */
#include "backend/cpu/cpu_state.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { BLOCK_LOGITS = 1 << 17, MIN_BLOCK = 32, MAX_BLOCK = 128 };

/* Queries of a block: the logits stay in a core's cache, and the last block is not much smaller. */
static int64_t block_rows(int64_t nq, int64_t nk)
{
    int64_t rows = BLOCK_LOGITS / nk;
    rows = rows < MIN_BLOCK ? MIN_BLOCK : rows > MAX_BLOCK ? MAX_BLOCK : rows;
    const int64_t blocks = (nq + rows - 1) / rows;
    return cpu_min(nq, ((nq + blocks - 1) / blocks + 3) / 4 * 4);
}

/* Sizes all parts share; q and k of one head are d apart from the next, rows n·d apart. */
typedef struct shape {
    int64_t nq, nk, heads, d, stride, rows, blocks;
    enum vmt_dtype act;
    size_t act_bytes;
} shape;

static shape shape_of(const vmt_ctx *ctx, const vmt_tensor *q, const vmt_tensor *k)
{
    shape s = {.nq = q->shape[0],
               .nk = k->shape[0],
               .heads = q->shape[1],
               .d = q->shape[2],
               .act = ctx->act,
               .act_bytes = vmt_dtype_bytes(ctx->act)};
    s.stride = s.heads * s.d;
    s.rows = block_rows(s.nq, s.nk);
    s.blocks = (s.nq + s.rows - 1) / s.rows;
    return s;
}

/* Element `col` of row `row` of a [rows, n·d] tensor. */
static void *at(const vmt_tensor *t, const shape *s, int64_t row, int64_t col)
{
    return (unsigned char *)t->data + (size_t)(row * s->stride + col) * vmt_dtype_bytes(t->dtype);
}

/* One kind of product, for whole blocks and for the last one. */
typedef struct product {
    cpu_primitive *whole, *last;
} product;

/* `axis` says which size of the product is the block's: 'm' or 'k'. */
static enum vmt_status get_product(vmt_ctx *ctx, product *p, const shape *s, cpu_matmul m,
                                   char axis)
{
    int64_t *const size = axis == 'm' ? &m.m : &m.k;

    m.split = true;
    *size = s->rows;
    VMT_TRY(cpu_matmul_get(ctx, &p->whole, &m));
    *size = s->nq - (s->blocks - 1) * s->rows;
    return cpu_matmul_get(ctx, &p->last, &m);
}

static cpu_primitive *pick(const product *p, const shape *s, int64_t rows)
{
    return rows == s->rows ? p->whole : p->last;
}

/* x yᵀ of a block, [block, Nk] F32: q kᵀ, do vᵀ. */
static enum vmt_status get_logits(vmt_ctx *ctx, product *p, const shape *s)
{
    const cpu_matmul m = {.k = s->d,
                          .n = s->nk,
                          .a_row = s->stride,
                          .a_col = 1,
                          .b_row = 1,
                          .b_col = s->stride,
                          .c_row = s->nk,
                          .in = s->act,
                          .out = VMT_F32};
    return get_product(ctx, p, s, m, 'm');
}

/* P y of a block, [block, d], rows c_row apart: P v, dS k. */
static enum vmt_status get_mix(vmt_ctx *ctx, product *p, const shape *s, int64_t c_row,
                               enum vmt_dtype out)
{
    const cpu_matmul m = {.k = s->nk,
                          .n = s->d,
                          .a_row = s->nk,
                          .a_col = 1,
                          .b_row = s->stride,
                          .b_col = 1,
                          .c_row = c_row,
                          .in = s->act,
                          .out = out};
    return get_product(ctx, p, s, m, 'm');
}

/* Pᵀ x of a block, [Nk, d] F32, overwritten or added: Pᵀ do, dSᵀ q. */
static enum vmt_status get_spread(vmt_ctx *ctx, product *p, const shape *s, bool add)
{
    const cpu_matmul m = {.m = s->nk,
                          .n = s->d,
                          .a_row = 1,
                          .a_col = s->nk,
                          .b_row = s->stride,
                          .b_col = 1,
                          .c_row = s->d,
                          .in = s->act,
                          .out = VMT_F32,
                          .add = add};
    return get_product(ctx, p, s, m, 'k');
}

/* ---------------------------------------------------------------- forward */

typedef struct forward {
    shape s;
    product logits, mix;
    const vmt_tensor *q, *k, *v, *bias;
    vmt_tensor *o, *lse;
    float scale;
    unsigned char *scratch;
    size_t stride; /* bytes of scratch per thread */
} forward;

/* Scratch of a thread: logits F32, the same in A (if not F32), o F32, 1/sum. */
static size_t forward_bytes(const shape *s)
{
    const size_t logits = (size_t)(s->rows * s->nk), out = (size_t)(s->rows * s->d);
    return logits * sizeof(float) + (s->act == VMT_F32 ? 0 : logits * s->act_bytes) +
           (out + (size_t)s->rows + 16) * sizeof(float);
}

static dnnl_status_t forward_block(cpu_state *state, const forward *f, int64_t h, int64_t block)
{
    const shape *s = &f->s;
    const cpu_kernels *kernels = state->kernels;
    const int64_t first = block * s->rows, rows = cpu_min(s->rows, s->nq - first);
    const int thread = omp_get_thread_num();
    float *const sums = (float *)(void *)(f->scratch + (size_t)thread * f->stride);
    float *const out = sums + (s->rows + 15) / 16 * 16;
    float *const logits = out + s->rows * s->d;
    uint16_t *const half = (uint16_t *)(void *)(logits + s->rows * s->nk);
    const void *p = logits;

    dnnl_status_t status =
        cpu_matmul_run(state, pick(&f->logits, s, rows), thread, logits,
                       at(f->q, s, first, h * s->d), at(f->k, s, 0, h * s->d), NULL);
    if (status != dnnl_success)
        return status;
    for (int64_t i = 0; i < rows; i++) {
        const float *bias =
            f->bias ? (const float *)f->bias->data + h * (s->nq + s->nk - 1) + s->nq - 1 - first - i
                    : NULL;
        float max;
        kernels->softmax(logits + i * s->nk, f->scale, bias, &max, &sums[i], s->nk);
        if (f->lse)
            ((float *)f->lse->data)[h * s->nq + first + i] = max + logf(sums[i]);
        sums[i] = 1 / sums[i];
        if (s->act == VMT_BF16)
            kernels->bf16_of_f32(half + i * s->nk, logits + i * s->nk, s->nk);
    }
    if (s->act == VMT_BF16)
        p = half;
    status = cpu_matmul_run(state, pick(&f->mix, s, rows), thread, out, p, at(f->v, s, 0, h * s->d),
                            NULL);
    if (status != dnnl_success)
        return status;
    for (int64_t i = 0; i < rows; i++) {
        void *const y = at(f->o, s, first + i, h * s->d);
        if (s->act == VMT_F32) {
            kernels->scale(y, out + i * s->d, sums[i], s->d);
        } else {
            kernels->scale(out + i * s->d, out + i * s->d, sums[i], s->d);
            kernels->bf16_of_f32(y, out + i * s->d, s->d);
        }
    }
    return dnnl_success;
}

/* o = softmax(scale q kᵀ + B) v per head.   o, q: [Nq, n, d] A; k, v: [Nk, n, d] A; lse: [n, Nq] R
 * or NULL; bias: [n, Nq + Nk - 1] R or NULL, B[h, i, j] = bias[h, j - i + Nq - 1]. */
enum vmt_status cpu_attention_dnnl(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                   const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                   const vmt_tensor *bias, double scale)
{
    cpu_state *state = cpu_of(ctx);
    forward f = {.s = shape_of(ctx, q, k),
                 .q = q,
                 .k = k,
                 .v = v,
                 .bias = bias,
                 .o = o,
                 .lse = lse,
                 .scale = (float)scale};
    int failed = dnnl_success;

    VMT_TRY(get_logits(ctx, &f.logits, &f.s));
    VMT_TRY(get_mix(ctx, &f.mix, &f.s, f.s.d, VMT_F32));
    VMT_TRY(cpu_scratch_each(ctx, &f.scratch, &f.stride, ctx->threads, forward_bytes(&f.s)));
    const int before = cpu_threads_begin(ctx->threads);
#pragma omp parallel for num_threads(ctx->threads) schedule(static) reduction(max : failed)
    for (int64_t task = 0; task < f.s.heads * f.s.blocks; task++) {
        const int status = (int)forward_block(state, &f, task / f.s.blocks, task % f.s.blocks);
        failed = status > failed ? status : failed;
    }
    cpu_threads_end(before);
    return failed == dnnl_success ? VMT_OK : cpu_dnnl_fail(ctx, "attention", (dnnl_status_t)failed);
}

/* ---------------------------------------------------------------- backward */

typedef struct backward {
    shape s;
    product logits, mix, spread, spread_add;
    const vmt_tensor *q, *k, *v, *o, *dout, *lse;
    vmt_tensor *dq, *dk, *dv;
    float scale;
    int64_t groups; /* tasks of a head, each with its own sums of dk and dv */
    unsigned char *scratch, *partial;
    size_t stride, partial_stride;
} backward;

/* Scratch of a thread: P, dP, F32; a row of o and do; P, dP in A. */
static size_t backward_bytes(const shape *s)
{
    const size_t logits = (size_t)(s->rows * s->nk);
    return 2 * logits * sizeof(float) + (s->act == VMT_F32 ? 0 : 2 * logits * s->act_bytes) +
           2 * (size_t)s->d * sizeof(float);
}

/* δ = Σ do o of one query. */
static float delta_of(const backward *b, const cpu_kernels *kernels, int64_t i, int64_t h,
                      float *rows)
{
    const shape *s = &b->s;
    const void *o = at(b->o, s, i, h * s->d), *dout = at(b->dout, s, i, h * s->d);

    if (s->act == VMT_F32)
        return kernels->dot(o, dout, s->d);
    kernels->f32_of_bf16(rows, o, s->d);
    kernels->f32_of_bf16(rows + s->d, dout, s->d);
    return kernels->dot(rows, rows + s->d, s->d);
}

/* One block; `sums` [2, Nk, d]: dv, dk of the task, NULL without them. */
static dnnl_status_t backward_block(cpu_state *state, const backward *b, int64_t h, int64_t block,
                                    bool is_first, float *sums)
{
    const shape *s = &b->s;
    const cpu_kernels *kernels = state->kernels;
    const int64_t first = block * s->rows, rows = cpu_min(s->rows, s->nq - first);
    const int thread = omp_get_thread_num();
    float *const p = (float *)(void *)(b->scratch + (size_t)thread * b->stride);
    float *const dp = p + s->rows * s->nk, *const row = dp + s->rows * s->nk;
    uint16_t *const half_p = (uint16_t *)(void *)(row + 2 * s->d);
    uint16_t *const half_ds = half_p + s->rows * s->nk;
    const void *const q = at(b->q, s, first, h * s->d), *const k = at(b->k, s, 0, h * s->d);
    const void *const dout = at(b->dout, s, first, h * s->d);
    const product *const spread = is_first ? &b->spread : &b->spread_add;
    const void *to_p = p, *to_ds = dp;

    dnnl_status_t status = cpu_matmul_run(state, pick(&b->logits, s, rows), thread, p, q, k, NULL);
    if (status == dnnl_success)
        status = cpu_matmul_run(state, pick(&b->logits, s, rows), thread, dp, dout,
                                at(b->v, s, 0, h * s->d), NULL);
    for (int64_t i = 0; i < rows && status == dnnl_success; i++) {
        float *const p_row = p + i * s->nk, *const dp_row = dp + i * s->nk;
        kernels->softmax_bwd(p_row, dp_row, b->scale,
                             ((const float *)b->lse->data)[h * s->nq + first + i],
                             delta_of(b, kernels, first + i, h, row), s->nk);
        if (s->act == VMT_BF16) {
            kernels->bf16_of_f32(half_p + i * s->nk, p_row, s->nk);
            kernels->bf16_of_f32(half_ds + i * s->nk, dp_row, s->nk);
        }
    }
    if (s->act == VMT_BF16) {
        to_p = half_p;
        to_ds = half_ds;
    }
    if (status == dnnl_success)
        status = cpu_matmul_run(state, pick(&b->mix, s, rows), thread,
                                at(b->dq, s, first, h * s->d), to_ds, k, NULL);
    if (status == dnnl_success && sums)
        status = cpu_matmul_run(state, pick(spread, s, rows), thread, sums, to_p, dout, NULL);
    if (status == dnnl_success && sums)
        status = cpu_matmul_run(state, pick(spread, s, rows), thread, sums + s->nk * s->d, to_ds, q,
                                NULL);
    return status;
}

/* Sums of a task's blocks into dv and dk (groups 1), or for gather. */
static void store_head(const backward *b, const cpu_kernels *kernels, int64_t h, const float *sums)
{
    const shape *s = &b->s;
    for (int64_t j = 0; j < s->nk; j++) {
        cpu_convert(kernels, at(b->dv, s, j, h * s->d), b->dv->dtype, sums + j * s->d, VMT_F32,
                    s->d);
        cpu_convert(kernels, at(b->dk, s, j, h * s->d), b->dk->dtype, sums + (s->nk + j) * s->d,
                    VMT_F32, s->d);
    }
}

static dnnl_status_t backward_task(cpu_state *state, const backward *b, int64_t task)
{
    const int64_t h = task / b->groups, group = task % b->groups;
    const int64_t first = b->s.blocks * group / b->groups;
    const int64_t end = b->s.blocks * (group + 1) / b->groups;
    const int64_t own = b->groups == 1 ? omp_get_thread_num() : task;
    float *const sums =
        b->dk ? (float *)(void *)(b->partial + (size_t)own * b->partial_stride) : NULL;
    dnnl_status_t status = dnnl_success;

    for (int64_t block = first; block < end && status == dnnl_success; block++)
        status = backward_block(state, b, h, block, block == first, sums);
    if (b->dk && b->groups == 1 && status == dnnl_success)
        store_head(b, state->kernels, h, sums);
    return status;
}

/* Adds the groups' sums of a head in order. */
static void gather_head(const backward *b, const cpu_kernels *kernels, int64_t h)
{
    const int64_t count = 2 * b->s.nk * b->s.d;
    unsigned char *const start = b->partial + (size_t)(h * b->groups) * b->partial_stride;
    float *const total = (float *)(void *)start;

    for (int64_t g = 1; g < b->groups; g++)
        kernels->lincomb(total, total,
                         (const float *)(const void *)(start + (size_t)g * b->partial_stride), 1, 1,
                         count);
    store_head(b, kernels, h, total);
}

/* Without dk and dv every block is a task.  With them a head is one, unless there are more threads
 * than a few heads keep busy: then a head's blocks are cut into groups, summed at the end. */
static int64_t group_count(const vmt_ctx *ctx, const shape *s, bool has_dk)
{
    int64_t groups = 1;

    if (!has_dk)
        return s->blocks;
    while (groups < s->blocks && groups * s->heads < 4 * ctx->threads &&
           groups * s->heads % ctx->threads != 0)
        groups++;
    return groups;
}

static enum vmt_status backward_memory(vmt_ctx *ctx, backward *b)
{
    const size_t sums = b->dk ? (size_t)(2 * b->s.nk * b->s.d) * sizeof(float) : 0;
    const int64_t users = b->groups == 1 ? ctx->threads : b->s.heads * b->groups;
    const size_t mask = VMT_ARENA_ALIGN - 1;
    size_t total, partial;
    void *memory = NULL;

    b->stride = (backward_bytes(&b->s) + mask) & ~mask;
    b->partial_stride = (sums + mask) & ~mask;
    if (!vmt_mul_size(b->stride, (size_t)ctx->threads, &total) ||
        !vmt_mul_size(b->partial_stride, (size_t)users, &partial) ||
        !vmt_add_size(total, partial, &partial))
        total = 0, partial = SIZE_MAX;
    VMT_TRY(cpu_scratch(ctx, &memory, partial));
    b->scratch = memory;
    b->partial = b->scratch + total;
    return VMT_OK;
}

/* δ_i = Σ do_i o_i; dv = Pᵀ do; ds = P ⊙ (do vᵀ - δ); dq = scale ds k; dk = scale dsᵀ q.
 * dq, dk, dv: R|A; dk and dv may both be NULL. */
enum vmt_status cpu_attention_dnnl_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                       const vmt_tensor *dout, const vmt_tensor *q,
                                       const vmt_tensor *k, const vmt_tensor *v,
                                       const vmt_tensor *o, const vmt_tensor *lse, double scale)
{
    cpu_state *state = cpu_of(ctx);
    backward b = {.s = shape_of(ctx, q, k),
                  .q = q,
                  .k = k,
                  .v = v,
                  .o = o,
                  .dout = dout,
                  .lse = lse,
                  .dq = dq,
                  .dk = dk,
                  .dv = dv,
                  .scale = (float)scale};
    int failed = dnnl_success;

    b.groups = group_count(ctx, &b.s, dk != NULL);
    VMT_TRY(get_logits(ctx, &b.logits, &b.s));
    VMT_TRY(get_mix(ctx, &b.mix, &b.s, b.s.stride, dq->dtype));
    if (dk) {
        VMT_TRY(get_spread(ctx, &b.spread, &b.s, false));
        VMT_TRY(get_spread(ctx, &b.spread_add, &b.s, true));
    }
    VMT_TRY(backward_memory(ctx, &b));
    const int before = cpu_threads_begin(ctx->threads);
#pragma omp parallel for num_threads(ctx->threads) schedule(static) reduction(max : failed)
    for (int64_t task = 0; task < b.s.heads * b.groups; task++) {
        const int status = (int)backward_task(state, &b, task);
        failed = status > failed ? status : failed;
    }
    if (dk && b.groups > 1 && failed == dnnl_success) {
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
        for (int64_t h = 0; h < b.s.heads; h++)
            gather_head(&b, state->kernels, h);
    }
    cpu_threads_end(before);
    return failed == dnnl_success ? VMT_OK
                                  : cpu_dnnl_fail(ctx, "attention_bwd", (dnnl_status_t)failed);
}
