/* SPDX-License-Identifier: MIT
 *
 * Norms: one row at a time through a kernel, rows shared among threads.
 */
#include "backend/cpu/cpu_state.h"

#include <omp.h>

/* Two rows of `dim` floats for each thread. */
typedef struct row_buffers {
    unsigned char *memory;
    size_t stride;
} row_buffers;

static enum vmt_status take_rows(vmt_ctx *ctx, row_buffers *b, int64_t dim)
{
    return cpu_scratch_each(ctx, &b->memory, &b->stride, 2 * (int64_t)ctx->threads,
                            (size_t)dim * sizeof(float));
}

/* Row 0 or 1 of the calling thread. */
static float *row_of(const row_buffers *b, int which)
{
    const size_t index = 2 * (size_t)omp_get_thread_num() + (size_t)which;
    return (float *)(void *)(b->memory + index * b->stride);
}

/* y = x̂ (plus_one + factor) + offset: both LayerNorms.   y: [N, D] A; x: [N, D] R. */
static enum vmt_status norm_rows(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                 const vmt_tensor *factor, const vmt_tensor *offset, float plus_one,
                                 double eps)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    row_buffers rows = {0};

    VMT_TRY(take_rows(ctx, &rows, dim));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        float *const out = cpu_row_out(y, t * dim, row_of(&rows, 0));
        kernels->norm(out, (const float *)x->data + t * dim, factor->data, offset->data, plus_one,
                      eps, dim);
        cpu_row_store(kernels, y, t * dim, dim, out);
    }
    return VMT_OK;
}

/* dx += LN'(dy (plus_one + factor); x). */
static enum vmt_status norm_rows_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                         const vmt_tensor *x, const vmt_tensor *factor,
                                         float plus_one, double eps)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    row_buffers rows = {0};

    VMT_TRY(take_rows(ctx, &rows, dim));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        kernels->norm_bwd_acc((float *)dx->data + t * dim,
                              cpu_row_in(kernels, dy, t * dim, dim, row_of(&rows, 0)),
                              (const float *)x->data + t * dim, factor->data, plus_one, eps, dim);
    return VMT_OK;
}

/* y = x̂ (1 + scale) + shift.   y: [N, D] A; x: [N, D] R; shift, scale: [D] R. */
enum vmt_status cpu_norm_modulate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *shift, const vmt_tensor *scale, double eps)
{
    return norm_rows(ctx, y, x, scale, shift, 1, eps);
}

/* dx += LN'(dy (1 + scale); x).  No dshift, dscale: they depend on the timestep only. */
enum vmt_status cpu_norm_modulate_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                          const vmt_tensor *x, const vmt_tensor *scale, double eps)
{
    return norm_rows_bwd_acc(ctx, dx, dy, x, scale, 1, eps);
}

/* y = x̂ weight + bias.   weight, bias: [D] R. */
enum vmt_status cpu_layer_norm(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *weight, const vmt_tensor *bias, double eps)
{
    return norm_rows(ctx, y, x, weight, bias, 0, eps);
}

/* dx += LN'(dy weight; x).  No dweight, dbias: weights are constant. */
enum vmt_status cpu_layer_norm_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                       const vmt_tensor *x, const vmt_tensor *weight, double eps)
{
    return norm_rows_bwd_acc(ctx, dx, dy, x, weight, 0, eps);
}

/* z = x / sqrt(mean(x²) + eps) weight over all D, then, with angles, RoPE.
 *   y: [N, n, d] R|A; x: [N, n·d] R|A; weight: [n·d] R; angle_cos, angle_sin: [N, d/2] R or NULL.
 */
enum vmt_status cpu_rms_norm_rope(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                  const vmt_tensor *angle_sin, double eps)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = x->shape[0], dim = x->shape[1], heads = y->shape[1], d = y->shape[2];
    row_buffers rows = {0};

    VMT_TRY(take_rows(ctx, &rows, dim));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        float *const out = cpu_row_out(y, t * dim, row_of(&rows, 0));
        kernels->rms_rope(out, cpu_row_in(kernels, x, t * dim, dim, row_of(&rows, 1)), weight->data,
                          angle_cos ? (const float *)angle_cos->data + t * (d / 2) : NULL,
                          angle_sin ? (const float *)angle_sin->data + t * (d / 2) : NULL, eps,
                          heads, d);
        cpu_row_store(kernels, y, t * dim, dim, out);
    }
    return VMT_OK;
}

/* dx: [N, n·d] R|A overwritten; dy: [N, n, d] R|A; x as in the forward.  No dweight. */
enum vmt_status cpu_rms_norm_rope_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                      const vmt_tensor *x, const vmt_tensor *weight,
                                      const vmt_tensor *angle_cos, const vmt_tensor *angle_sin,
                                      double eps)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = x->shape[0], dim = x->shape[1], heads = dy->shape[1], d = dy->shape[2];
    row_buffers rows = {0};

    VMT_TRY(take_rows(ctx, &rows, dim));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        float *const out = cpu_row_out(dx, t * dim, row_of(&rows, 0));
        kernels->rms_rope_bwd(out, cpu_row_in(kernels, dy, t * dim, dim, row_of(&rows, 0)),
                              cpu_row_in(kernels, x, t * dim, dim, row_of(&rows, 1)), weight->data,
                              angle_cos ? (const float *)angle_cos->data + t * (d / 2) : NULL,
                              angle_sin ? (const float *)angle_sin->data + t * (d / 2) : NULL, eps,
                              heads, d);
        cpu_row_store(kernels, dx, t * dim, dim, out);
    }
    return VMT_OK;
}

/* y = x / max(‖x‖₂, 1e-12) √C gamma over the last axis, then SiLU if `silu`.
 *   y, x: [.., C] A; gamma: [C] R.  No backward: the VAE is never differentiated. */
enum vmt_status cpu_rms_norm_channel(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *gamma, bool silu)
{
    enum { FLOATS = 1024 };
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t dim = x->shape[x->rank - 1], total = vmt_numel(x) / dim;
    const int64_t block = dim < FLOATS ? FLOATS / dim : 1;
    row_buffers rows = {0};

    VMT_TRY(take_rows(ctx, &rows, block * dim));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, total *dim)) schedule(static)
    for (int64_t t = 0; t < total; t += block) {
        const int64_t n = cpu_min(block, total - t);
        float *const out = cpu_row_out(y, t * dim, row_of(&rows, 0));
        kernels->rms_channel(out, cpu_row_in(kernels, x, t * dim, n * dim, row_of(&rows, 1)),
                             gamma->data, silu, n, dim);
        cpu_row_store(kernels, y, t * dim, n * dim, out);
    }
    return VMT_OK;
}
