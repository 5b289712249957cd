/* SPDX-License-Identifier: MIT
 *
 * One checked call per entry of the table; those of the motion: ops_motion.c.
 */
#include "tensor/op_check.h"

/* [out, in] and an optional bias [out]. */
static void check_weight(struct call *call, const vmt_weight *w, int64_t out, int64_t in)
{
    if (!w) {
        reject(call, "w", "no weight");
        return;
    }
    check_tensor(call, "w", &w->w, "WQ", VMT_SHAPE(out, in));
    if (w->bias.data)
        check_tensor(call, "bias", &w->bias, "W", VMT_SHAPE(out));
}

/* [out, in, kt, kh, kw] and an optional bias [out]. */
static void check_filter(struct call *call, const vmt_weight *w, int64_t in)
{
    if (!w) {
        reject(call, "w", "no weight");
        return;
    }
    check_tensor(call, "w", &w->w, "W", VMT_SHAPE(ANY, in, ANY, ANY, ANY));
    if (w->bias.data)
        check_tensor(call, "bias", &w->bias, "W", VMT_SHAPE(axis(&w->w, 0)));
}

/* ---------------------------------------------------------------- memory */

static void check_conversion(struct call *call, const vmt_tensor *y, const vmt_tensor *x)
{
    check_like(call, "x", x, "*", x);
    check_like(call, "y", y, "*", x);
    if (call->status == VMT_OK && y->dtype != x->dtype &&
        !(dtype_fits(call, y->dtype, "F") && dtype_fits(call, x->dtype, "F")))
        reject(call, "y", "no conversion from %s to %s", vmt_dtype_name(x->dtype),
               vmt_dtype_name(y->dtype));
}

enum vmt_status vmt_upload(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *host)
{
    BEGIN(upload);
    check_conversion(&call, y, host);
    RUN(upload, y, host);
}

enum vmt_status vmt_download(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x)
{
    BEGIN(download);
    check_conversion(&call, host, x);
    RUN(download, host, x);
}

enum vmt_status vmt_download_begin(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x)
{
    BEGIN(download_begin);
    check_conversion(&call, host, x);
    if (call.status != VMT_OK)
        return call.status;
    return ctx->ops->download_begin ? ctx->ops->download_begin(ctx, host, x)
                                    : ctx->ops->download(ctx, host, x);
}

enum vmt_status vmt_download_end(vmt_ctx *ctx, vmt_tensor *host)
{
    BEGIN(download_end);
    WANT_LIKE(host, "*", host);
    if (call.status != VMT_OK)
        return call.status;
    return ctx->ops->download_end ? ctx->ops->download_end(ctx, host) : VMT_OK;
}

enum vmt_status vmt_copy(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(copy);
    check_conversion(&call, y, x);
    RUN(copy, y, x);
}

enum vmt_status vmt_zero(vmt_ctx *ctx, vmt_tensor *y)
{
    BEGIN(zero);
    WANT_LIKE(y, "*", y);
    RUN(zero, y);
}

enum vmt_status vmt_all_finite(vmt_ctx *ctx, bool *finite, const vmt_tensor *x)
{
    BEGIN(all_finite);
    WANT_LIKE(x, "F", x);
    RUN(all_finite, finite, x);
}

enum vmt_status vmt_mark_bad(vmt_ctx *ctx, vmt_tensor *flag, const vmt_tensor *x)
{
    BEGIN(mark_bad);
    WANT(flag, "I", 1);
    WANT_LIKE(x, "F", x);
    RUN(mark_bad, flag, x);
}

enum vmt_status vmt_weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    BEGIN(weight_prepare);
    const bool is_conv = (use & VMT_USE_CONV) != 0;
    WANT_THAT("use", use != 0 && (use & ~(unsigned)(VMT_USE_LINEAR | VMT_USE_BACKWARD |
                                                    VMT_USE_CONV | VMT_USE_FP8)) == 0);
    if (is_conv)
        check_filter(&call, weight, ANY);
    else
        check_weight(&call, weight, axis(weight ? &weight->w : NULL, 0), ANY);
    RUN(weight_prepare, weight, use);
}

bool vmt_weight_is_copied(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    vmt_weight matrix = *weight;

    matrix.bias.data = NULL;
    return ctx->ops->weight_prepare_bytes(ctx, &matrix, use) > 0;
}

size_t vmt_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight)
{
    return ctx->ops->weight_use_bytes ? ctx->ops->weight_use_bytes(ctx, weight) : 0;
}

/* ---------------------------------------------------------------- linear algebra */

enum vmt_status vmt_linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           enum vmt_epilogue epilogue)
{
    BEGIN(linear);
    WANT(x, "RA", ANY, ANY);
    WANT(y, "RA", axis(x, 0), ANY);
    check_weight(&call, w, axis(y, 1), axis(x, 1));
    RUN(linear, y, x, w, epilogue);
}

enum vmt_status vmt_linear_fp8(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_weight *w, enum vmt_epilogue epilogue)
{
    BEGIN(linear_fp8);
    WANT(x, "RA", ANY, ANY);
    WANT(y, "RA", axis(x, 0), ANY);
    check_weight(&call, w, axis(y, 1), axis(x, 1));
    RUN(linear_fp8, y, x, w, epilogue);
}

enum vmt_status vmt_linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                               const vmt_weight *w)
{
    BEGIN(linear_bwd);
    WANT(dy, "RA", ANY, ANY);
    WANT(dx, "RA", axis(dy, 0), ANY);
    check_weight(&call, w, axis(dy, 1), axis(dx, 1));
    RUN(linear_bwd, dx, dy, w);
}

enum vmt_status vmt_linear_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const vmt_weight *w)
{
    BEGIN(linear_bwd_acc);
    WANT(dy, "RA", ANY, ANY);
    WANT(dx, "RA", axis(dy, 0), ANY);
    check_weight(&call, w, axis(dy, 1), axis(dx, 1));
    RUN(linear_bwd_acc, dx, dy, w);
}

enum vmt_status vmt_linear_gelu(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *u, const vmt_tensor *x,
                                const vmt_weight *w)
{
    BEGIN(linear_gelu);
    WANT(x, "RA", ANY, ANY);
    WANT(u, "RA", axis(x, 0), ANY);
    WANT_LIKE(y, "RA", u);
    check_weight(&call, w, axis(u, 1), axis(x, 1));
    if (call.status == VMT_OK && !ctx->ops->linear_gelu) {
        VMT_TRY(ctx->ops->linear(ctx, u, x, w, VMT_EPILOGUE_NONE));
        return ctx->ops->gelu(ctx, y, u);
    }
    RUN(linear_gelu, y, u, x, w);
}

enum vmt_status vmt_linear_bwd_gelu(vmt_ctx *ctx, vmt_tensor *du, const vmt_tensor *dy,
                                    const vmt_weight *w, const vmt_tensor *u)
{
    BEGIN(linear_bwd_gelu);
    WANT(dy, "RA", ANY, ANY);
    WANT(u, "RA", axis(dy, 0), ANY);
    WANT_LIKE(du, "RA", u);
    check_weight(&call, w, axis(dy, 1), axis(u, 1));
    if (call.status == VMT_OK && !ctx->ops->linear_bwd_gelu) {
        VMT_TRY(ctx->ops->linear_bwd(ctx, du, dy, w));
        return ctx->ops->gelu_bwd(ctx, du, du, u);
    }
    RUN(linear_bwd_gelu, du, dy, w, u);
}

/* ---------------------------------------------------------------- elementwise */

enum vmt_status vmt_lincomb(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                            double a, double b)
{
    BEGIN(lincomb);
    WANT_LIKE(x, "R", x);
    WANT_LIKE(y, "R", x);
    WANT_LIKE(z, "R", x);
    RUN(lincomb, y, x, z, a, b);
}

enum vmt_status vmt_gelu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(gelu);
    WANT_LIKE(x, "RA", x);
    WANT_LIKE(y, "RA", x);
    RUN(gelu, y, x);
}

enum vmt_status vmt_gelu_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                             const vmt_tensor *x)
{
    BEGIN(gelu_bwd);
    WANT_LIKE(x, "RA", x);
    WANT_LIKE(dy, "RA", x);
    WANT_LIKE(dx, "RA", x);
    RUN(gelu_bwd, dx, dy, x);
}

enum vmt_status vmt_silu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(silu);
    WANT_LIKE(x, "RA", x);
    WANT_LIKE(y, "RA", x);
    RUN(silu, y, x);
}

enum vmt_status vmt_gelu_gate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                              const vmt_tensor *gate)
{
    BEGIN(gelu_gate);
    WANT_LIKE(x, "RA", x);
    WANT_LIKE(gate, "RA", x);
    WANT_LIKE(y, "RA", x);
    RUN(gelu_gate, y, x, gate);
}

enum vmt_status vmt_gate_residual(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *gate, const vmt_tensor *branch)
{
    BEGIN(gate_residual);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(y, "R", x);
    WANT_LIKE(branch, "RA", x);
    if (gate)
        WANT(gate, "R", axis(x, 1));
    RUN(gate_residual, y, x, gate, branch);
}

enum vmt_status vmt_gate_residual_bwd(vmt_ctx *ctx, vmt_tensor *dbranch, const vmt_tensor *gate,
                                      const vmt_tensor *dy)
{
    BEGIN(gate_residual_bwd);
    WANT(dy, "R", ANY, ANY);
    WANT_LIKE(dbranch, "RA", dy);
    if (gate)
        WANT(gate, "R", axis(dy, 1));
    RUN(gate_residual_bwd, dbranch, gate, dy);
}

/* ---------------------------------------------------------------- norms */

enum vmt_status vmt_norm_modulate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *shift, const vmt_tensor *scale, double eps)
{
    BEGIN(norm_modulate);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(y, "A", x);
    WANT(shift, "R", axis(x, 1));
    WANT(scale, "R", axis(x, 1));
    RUN(norm_modulate, y, x, shift, scale, eps);
}

enum vmt_status vmt_norm_modulate_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                          const vmt_tensor *x, const vmt_tensor *scale, double eps)
{
    BEGIN(norm_modulate_bwd_acc);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(dy, "RA", x);
    WANT_LIKE(dx, "R", x);
    WANT(scale, "R", axis(x, 1));
    RUN(norm_modulate_bwd_acc, dx, dy, x, scale, eps);
}

enum vmt_status vmt_layer_norm(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *weight, const vmt_tensor *bias, double eps)
{
    BEGIN(layer_norm);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(y, "A", x);
    WANT(weight, "R", axis(x, 1));
    WANT(bias, "R", axis(x, 1));
    RUN(layer_norm, y, x, weight, bias, eps);
}

enum vmt_status vmt_layer_norm_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                       const vmt_tensor *x, const vmt_tensor *weight, double eps)
{
    BEGIN(layer_norm_bwd_acc);
    WANT(x, "R", ANY, ANY);
    WANT_LIKE(dy, "RA", x);
    WANT_LIKE(dx, "R", x);
    WANT(weight, "R", axis(x, 1));
    RUN(layer_norm_bwd_acc, dx, dy, x, weight, eps);
}

/* split: [N, n, d] (y or dy); x: [N, n·d]. */
static void check_rms_norm_rope(struct call *call, const char *name, const vmt_tensor *split,
                                const vmt_tensor *x, const vmt_tensor *weight,
                                const vmt_tensor *angle_cos, const vmt_tensor *angle_sin)
{
    const int64_t head_dim = axis(split, 2);

    check_tensor(call, name, split, "RA", VMT_SHAPE(ANY, ANY, ANY));
    check_tensor(call, "x", x, "RA", VMT_SHAPE(axis(split, 0), axis(split, 1) * head_dim));
    check_tensor(call, "weight", weight, "R", VMT_SHAPE(axis(x, 1)));
    check_bool(call, "angle_sin", !angle_cos == !angle_sin, "both tables or neither");
    if (!angle_cos)
        return;
    check_bool(call, name, head_dim % 2 == 0, "an even head dim");
    check_tensor(call, "angle_cos", angle_cos, "R", VMT_SHAPE(axis(x, 0), head_dim / 2));
    check_tensor(call, "angle_sin", angle_sin, "R", VMT_SHAPE(axis(x, 0), head_dim / 2));
}

/* y, normed, x, gate and branch of a sum with the norm of it. */
static void check_residual_norm(struct call *call, const vmt_tensor *y, const vmt_tensor *normed,
                                const vmt_tensor *x, const vmt_tensor *gate,
                                const vmt_tensor *branch)
{
    check_tensor(call, "x", x, "R", VMT_SHAPE(ANY, ANY));
    check_like(call, "y", y, "R", x);
    check_like(call, "branch", branch, "RA", x);
    check_like(call, "normed", normed, "A", x);
    if (gate)
        check_tensor(call, "gate", gate, "R", VMT_SHAPE(axis(x, 1)));
}

enum vmt_status vmt_residual_norm_modulate(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *normed,
                                           const vmt_tensor *x, const vmt_tensor *gate,
                                           const vmt_tensor *branch, const vmt_tensor *shift,
                                           const vmt_tensor *scale, double eps)
{
    BEGIN(residual_norm_modulate);
    check_residual_norm(&call, y, normed, x, gate, branch);
    WANT(shift, "R", axis(x, 1));
    WANT(scale, "R", axis(x, 1));
    if (call.status == VMT_OK && !ctx->ops->residual_norm_modulate) {
        VMT_TRY(ctx->ops->gate_residual(ctx, y, x, gate, branch));
        return ctx->ops->norm_modulate(ctx, normed, y, shift, scale, eps);
    }
    RUN(residual_norm_modulate, y, normed, x, gate, branch, shift, scale, eps);
}

enum vmt_status vmt_residual_layer_norm(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *normed,
                                        const vmt_tensor *x, const vmt_tensor *gate,
                                        const vmt_tensor *branch, const vmt_tensor *weight,
                                        const vmt_tensor *bias, double eps)
{
    BEGIN(residual_layer_norm);
    check_residual_norm(&call, y, normed, x, gate, branch);
    WANT(weight, "R", axis(x, 1));
    WANT(bias, "R", axis(x, 1));
    if (call.status == VMT_OK && !ctx->ops->residual_layer_norm) {
        VMT_TRY(ctx->ops->gate_residual(ctx, y, x, gate, branch));
        return ctx->ops->layer_norm(ctx, normed, y, weight, bias, eps);
    }
    RUN(residual_layer_norm, y, normed, x, gate, branch, weight, bias, eps);
}

enum vmt_status vmt_rms_norm_rope(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                  const vmt_tensor *angle_sin, double eps)
{
    BEGIN(rms_norm_rope);
    check_rms_norm_rope(&call, "y", y, x, weight, angle_cos, angle_sin);
    RUN(rms_norm_rope, y, x, weight, angle_cos, angle_sin, eps);
}

enum vmt_status vmt_rms_norm_rope_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                      const vmt_tensor *x, const vmt_tensor *weight,
                                      const vmt_tensor *angle_cos, const vmt_tensor *angle_sin,
                                      double eps)
{
    BEGIN(rms_norm_rope_bwd);
    check_rms_norm_rope(&call, "dy", dy, x, weight, angle_cos, angle_sin);
    WANT_LIKE(dx, "RA", x);
    RUN(rms_norm_rope_bwd, dx, dy, x, weight, angle_cos, angle_sin, eps);
}

enum vmt_status vmt_rms_norm_channel(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *gamma, bool silu)
{
    BEGIN(rms_norm_channel);
    WANT_LIKE(x, "A", x);
    WANT_LIKE(y, "A", x);
    WANT_THAT("x", x && x->rank >= 1);
    WANT(gamma, "R", x ? axis(x, x->rank - 1) : 0);
    RUN(rms_norm_channel, y, x, gamma, silu);
}

/* ---------------------------------------------------------------- attention */

/* q: [Nq, n, d]; k, v: [Nk, n, d], all A. */
static void check_qkv(struct call *call, const vmt_tensor *q, const vmt_tensor *k,
                      const vmt_tensor *v)
{
    check_tensor(call, "q", q, "A", VMT_SHAPE(ANY, ANY, ANY));
    check_tensor(call, "k", k, "A", VMT_SHAPE(ANY, axis(q, 1), axis(q, 2)));
    check_like(call, "v", v, "A", k);
}

enum vmt_status vmt_attention(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                              double scale)
{
    BEGIN(attention);
    check_qkv(&call, q, k, v);
    WANT_LIKE(o, "A", q);
    if (lse)
        WANT(lse, "R", axis(q, 1), axis(q, 0));
    if (bias)
        WANT(bias, "R", axis(q, 1), axis(q, 0) + axis(k, 0) - 1);
    RUN(attention, o, lse, q, k, v, bias, scale);
}

enum vmt_status vmt_attention_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                  const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                  double scale)
{
    BEGIN(attention_bwd);
    check_qkv(&call, q, k, v);
    WANT_LIKE(o, "A", q);
    WANT_LIKE(dout, "A", q);
    WANT(lse, "R", axis(q, 1), axis(q, 0));
    WANT_LIKE(dq, "RA", q);
    WANT_THAT("dv", !dk == !dv);
    if (dk) {
        WANT_LIKE(dk, "RA", k);
        WANT_LIKE(dv, "RA", k);
    }
    RUN(attention_bwd, dq, dk, dv, dout, q, k, v, o, lse, scale);
}

/* True when the box is the whole grid. */
static bool check_local(struct call *call, const vmt_local_geometry *g, const vmt_tensor *q,
                        const vmt_tensor *k, const vmt_tensor *v)
{
    int64_t tokens = 1;
    bool whole = true;

    check_bool(call, "geometry", g != NULL, "one");
    for (int a = 0; a < 3 && g; a++) {
        check_bool(call, "geometry",
                   1 <= g->tile[a] && g->tile[a] <= g->box[a] && g->box[a] <= g->grid[a],
                   "1 <= tile <= box <= grid");
        tokens *= g->grid[a];
        whole = whole && g->box[a] == g->grid[a];
    }
    check_tensor(call, "q", q, "A", VMT_SHAPE(tokens, ANY, ANY));
    check_like(call, "k", k, "A", q);
    check_like(call, "v", v, "A", q);
    return whole;
}

enum vmt_status vmt_attention_local(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                    const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                    const vmt_local_geometry *geometry, double scale)
{
    BEGIN(attention_local);
    const bool whole = check_local(&call, geometry, q, k, v);
    WANT_LIKE(o, "A", q);
    if (lse)
        WANT(lse, "R", axis(q, 1), axis(q, 0));
    if (call.status == VMT_OK && whole)
        return ctx->ops->attention(ctx, o, lse, q, k, v, NULL, scale);
    RUN(attention_local, o, lse, q, k, v, geometry, scale);
}

enum vmt_status vmt_attention_local_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                        vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                                        const vmt_tensor *k, const vmt_tensor *v,
                                        const vmt_tensor *o, const vmt_tensor *lse,
                                        const vmt_local_geometry *geometry, double scale)
{
    BEGIN(attention_local_bwd);
    const bool whole = check_local(&call, geometry, q, k, v);
    WANT_LIKE(o, "A", q);
    WANT_LIKE(dout, "A", q);
    WANT(lse, "R", axis(q, 1), axis(q, 0));
    WANT_LIKE(dq, "RA", q);
    WANT_LIKE(dk, "RA", q);
    WANT_LIKE(dv, "RA", q);
    if (call.status == VMT_OK && whole)
        return ctx->ops->attention_bwd(ctx, dq, dk, dv, dout, q, k, v, o, lse, scale);
    RUN(attention_local_bwd, dq, dk, dv, dout, q, k, v, o, lse, geometry, scale);
}

/* ---------------------------------------------------------------- rearrangements */

/* latent: [C, F, H, W] R; tokens: [N, C·pt·ph·pw] R|A. */
static void check_patches(struct call *call, const vmt_tensor *latent, const vmt_tensor *tokens,
                          const int64_t patch[3])
{
    int64_t cells = 1, count = 1;

    check_tensor(call, "latent", latent, "R", VMT_SHAPE(ANY, ANY, ANY, ANY));
    for (int i = 0; i < 3; i++) {
        if (patch[i] < 1 || axis(latent, i + 1) % patch[i] != 0) {
            reject(call, "patch", "%" PRId64 " does not divide axis %d of the latent, %" PRId64,
                   patch[i], i + 1, axis(latent, i + 1));
            return;
        }
        cells *= patch[i];
        count *= axis(latent, i + 1) / patch[i];
    }
    check_tensor(call, "tokens", tokens, "RA", VMT_SHAPE(count, axis(latent, 0) * cells));
}

enum vmt_status vmt_patchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                             const int64_t patch[3])
{
    BEGIN(patchify);
    check_patches(&call, x, y, patch);
    RUN(patchify, y, x, patch);
}

enum vmt_status vmt_patchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                 const int64_t patch[3])
{
    BEGIN(patchify_bwd);
    check_patches(&call, dx, dy, patch);
    RUN(patchify_bwd, dx, dy, patch);
}

enum vmt_status vmt_unpatchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const int64_t patch[3])
{
    BEGIN(unpatchify);
    check_patches(&call, y, x, patch);
    RUN(unpatchify, y, x, patch);
}

enum vmt_status vmt_unpatchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const int64_t patch[3])
{
    BEGIN(unpatchify_bwd);
    check_patches(&call, dy, dx, patch);
    RUN(unpatchify_bwd, dx, dy, patch);
}

enum vmt_status vmt_embed(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *ids,
                          const vmt_weight *table)
{
    BEGIN(embed);
    WANT(ids, "I", ANY);
    WANT(y, "R", axis(ids, 0), ANY);
    check_weight(&call, table, ANY, axis(y, 1));
    RUN(embed, y, ids, table);
}

/* ---------------------------------------------------------------- VAE */

static int64_t conv_axis(int64_t length, int64_t kernel, int64_t stride)
{
    return stride >= 1 && length >= kernel ? (length - kernel) / stride + 1 : 0;
}

enum vmt_status vmt_conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           const vmt_conv_geometry *geometry)
{
    BEGIN(conv3d);
    const vmt_conv_geometry *g = geometry;
    const vmt_tensor *filter = w ? &w->w : NULL;

    WANT(x, "A", ANY, ANY, ANY, ANY);
    check_filter(&call, w, axis(x, 3));
    WANT_THAT("geometry",
              g->pad_top >= 0 && g->pad_bottom >= 0 && g->pad_left >= 0 && g->pad_right >= 0);
    WANT(y, "A", conv_axis(axis(x, 0), axis(filter, 2), g->stride_t),
         conv_axis(axis(x, 1) + g->pad_top + g->pad_bottom, axis(filter, 3), g->stride_h),
         conv_axis(axis(x, 2) + g->pad_left + g->pad_right, axis(filter, 4), g->stride_w),
         axis(filter, 0));
    RUN(conv3d, y, x, w, geometry);
}

enum vmt_status vmt_upsample2(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(upsample2);
    WANT(x, "A", ANY, ANY, ANY, ANY);
    WANT(y, "A", axis(x, 0), 2 * axis(x, 1), 2 * axis(x, 2), axis(x, 3));
    RUN(upsample2, y, x);
}

enum vmt_status vmt_split_frames(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    BEGIN(split_frames);
    WANT(y, "A", ANY, ANY, ANY, ANY);
    WANT_THAT("y", axis(y, 0) % 2 == 0);
    WANT(x, "A", axis(y, 0) / 2, axis(y, 1), axis(y, 2), 2 * axis(y, 3));
    RUN(split_frames, y, x);
}

enum vmt_status vmt_add(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z)
{
    BEGIN(add);
    WANT_LIKE(x, "A", x);
    WANT_LIKE(z, "A", x);
    WANT_LIKE(y, "A", x);
    RUN(add, y, x, z);
}
