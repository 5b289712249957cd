/* SPDX-License-Identifier: MIT
 *
 * Norms over the last axis.  Means are formed in double.
 */
#include "backend/ref/ref.h"

/* Mean and 1 / sqrt(var + eps) of a row; the variance is biased and centred (two passes). */
static void row_moments(const real *x, int64_t dim, double eps, real *mean, real *rstd)
{
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < dim; c++)
        sum += (double)x[c];
    const double mu = sum / (double)dim;
    for (int64_t c = 0; c < dim; c++)
        squares += ((double)x[c] - mu) * ((double)x[c] - mu);
    *mean = (real)mu;
    *rstd = (real)(1 / sqrt(squares / (double)dim + eps));
}

/* y = x̂ (plus_one + factor) + offset: both LayerNorms.   y: [N, D] A; x: [N, D] R. */
static enum vmt_status norm_rows(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                 const vmt_tensor *factor, const vmt_tensor *offset, real plus_one,
                                 double eps)
{
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    const real *factors = factor->data, *offsets = offset->data;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        const real *row = (const real *)x->data + t * dim;
        real *out = scratch + dim * ref_thread(), mean, rstd;
        row_moments(row, dim, eps, &mean, &rstd);
        for (int64_t c = 0; c < dim; c++)
            out[c] = (row[c] - mean) * rstd * (plus_one + factors[c]) + offsets[c];
        REF(store)(y, t * dim, dim, out);
    }
    return VMT_OK;
}

/* With G = dy (plus_one + factor), r = 1 / sqrt(var + eps): dx += r (G - mean G - x̂ mean(G x̂)). */
static enum vmt_status norm_rows_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                         const vmt_tensor *x, const vmt_tensor *factor,
                                         real plus_one, double eps)
{
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    const real *factors = factor->data;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, 2 * dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        const real *row = (const real *)x->data + t * dim;
        real *out = (real *)dx->data + t * dim, *g = scratch + 2 * dim * ref_thread(), mean, rstd;
        const real *dy_row = REF(load)(dy, t * dim, dim, g + dim);
        double sum_g = 0, sum_gx = 0;

        row_moments(row, dim, eps, &mean, &rstd);
        for (int64_t c = 0; c < dim; c++) {
            g[c] = dy_row[c] * (plus_one + factors[c]);
            sum_g += (double)g[c];
            sum_gx += (double)g[c] * (double)((row[c] - mean) * rstd);
        }
        const real mean_g = (real)(sum_g / (double)dim), mean_gx = (real)(sum_gx / (double)dim);
        for (int64_t c = 0; c < dim; c++)
            out[c] += rstd * (g[c] - mean_g - (row[c] - mean) * rstd * mean_gx);
    }
    return VMT_OK;
}

/* y = x̂ (1 + scale) + shift.   y: [N, D] A; x: [N, D] R; shift, scale: [D] R. */
enum vmt_status REF(norm_modulate)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                   const vmt_tensor *shift, const vmt_tensor *scale, double eps)
{
    return norm_rows(ctx, y, x, scale, shift, 1, eps);
}

/* dx += LN'(dy (1 + scale); x).  No dshift, dscale: they depend on the timestep only. */
enum vmt_status REF(norm_modulate_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                           const vmt_tensor *x, const vmt_tensor *scale, double eps)
{
    return norm_rows_bwd_acc(ctx, dx, dy, x, scale, 1, eps);
}

/* y = x̂ weight + bias.   weight, bias: [D] R. */
enum vmt_status REF(layer_norm)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const vmt_tensor *weight, const vmt_tensor *bias, double eps)
{
    return norm_rows(ctx, y, x, weight, bias, 0, eps);
}

/* dx += LN'(dy weight; x).  No dweight, dbias: weights are constant. */
enum vmt_status REF(layer_norm_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                        const vmt_tensor *x, const vmt_tensor *weight, double eps)
{
    return norm_rows_bwd_acc(ctx, dx, dy, x, weight, 0, eps);
}

/* 1 / sqrt(mean(x²) + eps). */
static real row_rrms(const real *x, int64_t dim, double eps)
{
    double squares = 0;
    for (int64_t c = 0; c < dim; c++)
        squares += (double)x[c] * (double)x[c];
    return (real)(1 / sqrt(squares / (double)dim + eps));
}

/* Rotates the pairs (2j, 2j+1) of every head of a row by ±angle.   sign: 1, or -1 for the inverse.
 */
static void rotate(real *z, int64_t dim, int64_t head_dim, const real *cosines, const real *sines,
                   real sign)
{
    for (int64_t h = 0; h < dim; h += head_dim)
        for (int64_t j = 0; j < head_dim / 2; j++) {
            const real a = z[h + 2 * j], b = z[h + 2 * j + 1], sine = sign * sines[j];
            z[h + 2 * j] = a * cosines[j] - b * sine;
            z[h + 2 * j + 1] = a * sine + b * cosines[j];
        }
}

/* z = x / sqrt(mean(x²) + eps) weight over all D, then, with angles, RoPE.
 *   y: [N, n, d] R|A; x: [N, n·d] R|A; weight: [n·d] R; angle_cos, angle_sin: [N, d/2] R or NULL.
 */
enum vmt_status REF(rms_norm_rope)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                   const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                   const vmt_tensor *angle_sin, double eps)
{
    const int64_t tokens = x->shape[0], dim = x->shape[1], head_dim = y->shape[2];
    const real *weights = weight->data;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, 2 * dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        real *z = scratch + 2 * dim * ref_thread();
        const real *row = REF(load)(x, t * dim, dim, z + dim);
        const real r = row_rrms(row, dim, eps);
        for (int64_t c = 0; c < dim; c++)
            z[c] = row[c] * r * weights[c];
        if (angle_cos)
            rotate(z, dim, head_dim, (const real *)angle_cos->data + t * (head_dim / 2),
                   (const real *)angle_sin->data + t * (head_dim / 2), 1);
        REF(store)(y, t * dim, dim, z);
    }
    return VMT_OK;
}

/* RoPE is undone by -angle; then, with G = that ⊙ weight and r = 1 / sqrt(mean(x²) + eps):
 * dx = r G - x r³ mean(G x).  No dweight. */
enum vmt_status REF(rms_norm_rope_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                       const vmt_tensor *x, const vmt_tensor *weight,
                                       const vmt_tensor *angle_cos, const vmt_tensor *angle_sin,
                                       double eps)
{
    const int64_t tokens = x->shape[0], dim = x->shape[1], head_dim = dy->shape[2];
    const real *weights = weight->data;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, 2 * dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        real *g = scratch + 2 * dim * ref_thread();
        const real *dy_row = REF(load)(dy, t * dim, dim, g + dim);
        double sum_gx = 0;

        for (int64_t c = 0; c < dim; c++)
            g[c] = dy_row[c];
        if (angle_cos)
            rotate(g, dim, head_dim, (const real *)angle_cos->data + t * (head_dim / 2),
                   (const real *)angle_sin->data + t * (head_dim / 2), -1);
        const real *row = REF(load)(x, t * dim, dim, g + dim);
        const real r = row_rrms(row, dim, eps);
        for (int64_t c = 0; c < dim; c++) {
            g[c] *= weights[c];
            sum_gx += (double)g[c] * (double)row[c];
        }
        const real shrink = r * r * r * (real)(sum_gx / (double)dim);
        for (int64_t c = 0; c < dim; c++)
            g[c] = r * g[c] - row[c] * shrink;
        REF(store)(dx, t * dim, dim, g);
    }
    return VMT_OK;
}

/* y = x / max(‖x‖₂, 1e-12) √C gamma over the last axis, then SiLU if `silu`.
 *   y, x: [.., C] A; gamma: [C] R.  No backward: the VAE is never differentiated. */
enum vmt_status REF(rms_norm_channel)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                      const vmt_tensor *gamma, bool silu)
{
    const int64_t dim = x->shape[x->rank - 1], rows = vmt_numel(x) / dim;
    const real *gammas = gamma->data;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, 2 * dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < rows; t++) {
        real *out = scratch + 2 * dim * ref_thread();
        const real *row = REF(load)(x, t * dim, dim, out + dim);
        double squares = 0;
        for (int64_t c = 0; c < dim; c++)
            squares += (double)row[c] * (double)row[c];
        const real factor = (real)(sqrt((double)dim) / fmax(sqrt(squares), 1e-12));
        for (int64_t c = 0; c < dim; c++) {
            const real z = row[c] * factor * gammas[c];
            out[c] = silu ? REF(silu_of)(z) : z;
        }
        REF(store)(y, t * dim, dim, out);
    }
    return VMT_OK;
}
