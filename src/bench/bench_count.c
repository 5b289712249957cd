/* SPDX-License-Identifier: MIT
 *
 * An op table that counts and times the products, whatever runs them.
 */
#include "bench/bench.h"

static bench_counter *counter_of(vmt_ctx *ctx)
{
    return (bench_counter *)(uintptr_t)ctx->ops; /* its first member */
}

/* The clock before a product; what was asked for earlier is done. */
static double start(vmt_ctx *ctx)
{
    if (counter_of(ctx)->waits)
        (void)bench_wait(ctx); /* a failure shows at the next wait */
    return bench_now();
}

static void add(vmt_ctx *ctx, enum bench_kind kind, double products, double began)
{
    bench_counter *c = counter_of(ctx);

    c->seconds[kind] += start(ctx) - began;
    c->flop[kind] += 2 * products;
    if (!c->watches)
        return;
    const size_t now = bench_used(ctx);
    c->most = now > c->most ? now : c->most;
}

static double linear_products(const vmt_tensor *rows, const vmt_weight *w)
{
    return (double)rows->shape[0] * (double)vmt_numel(&w->w);
}

static enum vmt_status linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                              enum vmt_epilogue epilogue)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear(ctx, y, x, w, epilogue);
    add(ctx, BENCH_LINEAR, linear_products(x, w), began);
    return status;
}

static enum vmt_status linear_fp8(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_weight *w, enum vmt_epilogue epilogue)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear_fp8(ctx, y, x, w, epilogue);
    add(ctx, BENCH_LINEAR, linear_products(x, w), began);
    return status;
}

static enum vmt_status linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                  const vmt_weight *w)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear_bwd(ctx, dx, dy, w);
    add(ctx, BENCH_LINEAR, linear_products(dy, w), began);
    return status;
}

static enum vmt_status linear_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                      const vmt_weight *w)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear_bwd_acc(ctx, dx, dy, w);
    add(ctx, BENCH_LINEAR, linear_products(dy, w), began);
    return status;
}

static enum vmt_status linear_gelu(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *u, const vmt_tensor *x,
                                   const vmt_weight *w)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear_gelu(ctx, y, u, x, w);
    add(ctx, BENCH_LINEAR, linear_products(x, w), began);
    return status;
}

static enum vmt_status linear_bwd_gelu(vmt_ctx *ctx, vmt_tensor *du, const vmt_tensor *dy,
                                       const vmt_weight *w, const vmt_tensor *u)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->linear_bwd_gelu(ctx, du, dy, w, u);
    add(ctx, BENCH_LINEAR, linear_products(dy, w), began);
    return status;
}

/* Pairs of queries and keys times the width of all heads: one product of two in attention. */
static double pairs(const vmt_tensor *q, const vmt_tensor *k)
{
    return (double)k->shape[0] * (double)vmt_numel(q);
}

static enum vmt_status attention(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                                 const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                                 double scale)
{
    const double began = start(ctx);
    const enum vmt_status status =
        counter_of(ctx)->backend->attention(ctx, o, lse, q, k, v, bias, scale);
    add(ctx, BENCH_ATTENTION, 2 * pairs(q, k), began);
    return status;
}

/* Logits again, dP and dq; with keys' gradients dk and dv too. */
static enum vmt_status attention_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                     const vmt_tensor *dout, const vmt_tensor *q,
                                     const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o,
                                     const vmt_tensor *lse, double scale)
{
    const double began = start(ctx);
    const enum vmt_status status =
        counter_of(ctx)->backend->attention_bwd(ctx, dq, dk, dv, dout, q, k, v, o, lse, scale);
    add(ctx, BENCH_ATTENTION, (dk ? 5 : 3) * pairs(q, k), began);
    return status;
}

static double local_pairs(const vmt_tensor *q, const vmt_local_geometry *g)
{
    return (double)(g->box[0] * g->box[1] * g->box[2]) * (double)vmt_numel(q);
}

static enum vmt_status attention_local(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                       const vmt_tensor *q, const vmt_tensor *k,
                                       const vmt_tensor *v, const vmt_local_geometry *geometry,
                                       double scale)
{
    const double began = start(ctx);
    const enum vmt_status status =
        counter_of(ctx)->backend->attention_local(ctx, o, lse, q, k, v, geometry, scale);
    add(ctx, BENCH_ATTENTION, 2 * local_pairs(q, geometry), began);
    return status;
}

static enum vmt_status attention_local_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                           vmt_tensor *dv, const vmt_tensor *dout,
                                           const vmt_tensor *q, const vmt_tensor *k,
                                           const vmt_tensor *v, const vmt_tensor *o,
                                           const vmt_tensor *lse,
                                           const vmt_local_geometry *geometry, double scale)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->attention_local_bwd(
        ctx, dq, dk, dv, dout, q, k, v, o, lse, geometry, scale);
    add(ctx, BENCH_ATTENTION, 5 * local_pairs(q, geometry), began);
    return status;
}

static enum vmt_status conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                              const vmt_conv_geometry *geometry)
{
    const double began = start(ctx);
    const enum vmt_status status = counter_of(ctx)->backend->conv3d(ctx, y, x, w, geometry);
    const double cells = (double)(y->shape[0] * y->shape[1] * y->shape[2]);
    add(ctx, BENCH_CONV, cells * (double)vmt_numel(&w->w), began);
    return status;
}

void bench_counter_begin(vmt_ctx *ctx, bench_counter *counter)
{
    *counter = (bench_counter){.ops = *ctx->ops, .backend = ctx->ops};
    counter->ops.linear = linear;
    counter->ops.linear_fp8 = counter->backend->linear_fp8 ? linear_fp8 : NULL;
    counter->ops.linear_bwd = linear_bwd;
    counter->ops.linear_bwd_acc = linear_bwd_acc;
    counter->ops.linear_gelu = counter->backend->linear_gelu ? linear_gelu : NULL;
    counter->ops.linear_bwd_gelu = counter->backend->linear_bwd_gelu ? linear_bwd_gelu : NULL;
    counter->ops.attention = attention;
    counter->ops.attention_bwd = attention_bwd;
    counter->ops.attention_local = attention_local;
    counter->ops.attention_local_bwd = attention_local_bwd;
    counter->ops.conv3d = conv3d;
    ctx->ops = &counter->ops;
}

void bench_counter_end(vmt_ctx *ctx, bench_counter *counter)
{
    ctx->ops = counter->backend;
}
