/* SPDX-License-Identifier: MIT
 *
 * Elementwise ops: chunks are converted, computed and stored, so that y may be x.
 */
#include "backend/ref/ref.h"

enum { CHUNK = 512 };

static const real GELU_A = (real)0.7978845608028653558798921198687637; /* √(2/π) */
static const real GELU_B = (real)0.044715;

real REF(gelu_of)(real x)
{
    return (real)0.5 * x * (1 + ref_tanh(GELU_A * (x + GELU_B * x * x * x)));
}

/* With t = tanh(a (x + b x³)): ½(1 + t) + ½ x (1 - t²) a (1 + 3 b x²). */
static real gelu_slope(real x)
{
    const real t = ref_tanh(GELU_A * (x + GELU_B * x * x * x));
    return (real)0.5 * (1 + t) + (real)0.5 * x * (1 - t * t) * GELU_A * (1 + 3 * GELU_B * x * x);
}

real REF(silu_of)(real x)
{
    return x / (1 + ref_exp(-x));
}

/* y = a x + b z.   All R, one shape; z is not read when b is 0. */
enum vmt_status REF(lincomb)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                             double a, double b)
{
    const int64_t count = vmt_numel(x);
    const real *xs = x->data, *zs = z->data, ar = (real)a, br = (real)b;
    real *ys = y->data;

    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        ys[i] = br == 0 ? ar * xs[i] : ar * xs[i] + br * zs[i];
    return VMT_OK;
}

/* y = op(x) elementwise. */
static enum vmt_status map(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, real (*op)(real))
{
    const int64_t count = vmt_numel(x);

    REF_PARALLEL_FOR(ctx)
    for (int64_t first = 0; first < count; first += CHUNK) {
        real buffer[CHUNK], out[CHUNK];
        const int64_t n = ref_min(CHUNK, count - first);
        const real *in = REF(load)(x, first, n, buffer);
        for (int64_t i = 0; i < n; i++)
            out[i] = op(in[i]);
        REF(store)(y, first, n, out);
    }
    return VMT_OK;
}

/* y = op(x, z) elementwise. */
static enum vmt_status map2(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                            real (*op)(real, real))
{
    const int64_t count = vmt_numel(x);

    REF_PARALLEL_FOR(ctx)
    for (int64_t first = 0; first < count; first += CHUNK) {
        real x_buffer[CHUNK], z_buffer[CHUNK], out[CHUNK];
        const int64_t n = ref_min(CHUNK, count - first);
        const real *xs = REF(load)(x, first, n, x_buffer), *zs = REF(load)(z, first, n, z_buffer);
        for (int64_t i = 0; i < n; i++)
            out[i] = op(xs[i], zs[i]);
        REF(store)(y, first, n, out);
    }
    return VMT_OK;
}

static real times_gelu_slope(real dy, real x)
{
    return gelu_slope(x) * dy;
}

static real times_gelu(real x, real gate)
{
    return x * REF(gelu_of)(gate);
}

static real plus(real x, real z)
{
    return x + z;
}

/* y = gelu(x), the tanh form.   [..] R|A. */
enum vmt_status REF(gelu)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    return map(ctx, y, x, REF(gelu_of));
}

/* dx = gelu'(x) dy. */
enum vmt_status REF(gelu_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                              const vmt_tensor *x)
{
    return map2(ctx, dx, dy, x, times_gelu_slope);
}

/* y = x / (1 + e⁻ˣ).   [..] R|A. */
enum vmt_status REF(silu)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    return map(ctx, y, x, REF(silu_of));
}

/* y = x ⊙ gelu(gate).   [..] R|A. */
enum vmt_status REF(gelu_gate)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *gate)
{
    return map2(ctx, y, x, gate, times_gelu);
}

/* y = x + z.   [..] A. */
enum vmt_status REF(add)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z)
{
    return map2(ctx, y, x, z, plus);
}

/* y = x + gate ⊙ branch.   x, y: [N, D] R; gate: [D] R or NULL (= 1); branch: [N, D] R|A. */
enum vmt_status REF(gate_residual)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                   const vmt_tensor *gate, const vmt_tensor *branch)
{
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    const real *gates = gate ? gate->data : NULL, *xs = x->data;
    real *scratch, *ys = y->data;

    VMT_TRY(REF(scratch)(ctx, 0, dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        const real *row = REF(load)(branch, t * dim, dim, scratch + dim * ref_thread());
        for (int64_t c = 0; c < dim; c++)
            ys[t * dim + c] = xs[t * dim + c] + (gates ? gates[c] * row[c] : row[c]);
    }
    return VMT_OK;
}

/* dbranch = gate ⊙ dy.   dbranch: [N, D] R|A; dy: [N, D] R.  dx = dy is the caller's; no dgate: the
 * gate depends on the timestep only. */
enum vmt_status REF(gate_residual_bwd)(vmt_ctx *ctx, vmt_tensor *dbranch, const vmt_tensor *gate,
                                       const vmt_tensor *dy)
{
    const int64_t tokens = dy->shape[0], dim = dy->shape[1];
    const real *gates = gate ? gate->data : NULL;
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, 2 * dim, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        real *out = scratch + 2 * dim * ref_thread();
        const real *row = REF(load)(dy, t * dim, dim, out + dim);
        for (int64_t c = 0; c < dim; c++)
            out[c] = gates ? gates[c] * row[c] : row[c];
        REF(store)(dbranch, t * dim, dim, out);
    }
    return VMT_OK;
}
