/* SPDX-License-Identifier: MIT
 *
 * Matrix times weight.  Weights are read where the file has them and converted block by block.
 */
#include "backend/ref/ref.h"

#include <string.h>

enum {
    OUT_BLOCK = 32, /* outputs computed side by side */
    ROW_BLOCK = 16  /* rows of dy that share one conversion of a weight row */
};

static real epilogue_of(real x, enum vmt_epilogue epilogue)
{
    switch (epilogue) {
    case VMT_EPILOGUE_GELU:
        return REF(gelu_of)(x);
    case VMT_EPILOGUE_SILU:
        return REF(silu_of)(x);
    case VMT_EPILOGUE_NONE:
        break;
    }
    return x;
}

/* y[:, o..o+n-1] of all rows; wt: [in, OUT_BLOCK], x_row: [in], both scratch of this thread. */
static void linear_columns(vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           enum vmt_epilogue epilogue, int64_t o, int64_t n, real *wt, real *x_row)
{
    const int64_t rows = x->shape[0], in = x->shape[1], out = y->shape[1];
    real bias_block[OUT_BLOCK] = {0};
    const real *bias = bias_block;

    memset(wt, 0, (size_t)(in * OUT_BLOCK) * sizeof *wt);
    for (int64_t b = 0; b < n; b++) {
        const real *w_row = REF(load)(&w->w, (o + b) * in, in, x_row);
        for (int64_t i = 0; i < in; i++)
            wt[i * OUT_BLOCK + b] = w_row[i];
    }
    if (w->bias.data)
        bias = REF(load)(&w->bias, o, n, bias_block);
    for (int64_t t = 0; t < rows; t++) {
        const real *row = REF(load)(x, t * in, in, x_row);
        real sum[OUT_BLOCK] = {0};
        for (int64_t i = 0; i < in; i++)
            for (int b = 0; b < OUT_BLOCK; b++)
                sum[b] += row[i] * wt[i * OUT_BLOCK + b];
        for (int64_t b = 0; b < n; b++)
            sum[b] = epilogue_of(sum[b] + bias[b], epilogue);
        REF(store)(y, t * out + o, n, sum);
    }
}

/* y = epilogue(x Wᵀ + b).   y: [N, out] R|A; x: [N, in] R|A; w: [out, in]. */
enum vmt_status REF(linear)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                            enum vmt_epilogue epilogue)
{
    const int64_t in = x->shape[1], out = y->shape[1], own = in * (OUT_BLOCK + 1);
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, own, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t o = 0; o < out; o += OUT_BLOCK) {
        real *mine = scratch + own * ref_thread();
        linear_columns(y, x, w, epilogue, o, ref_min(OUT_BLOCK, out - o), mine,
                       mine + in * OUT_BLOCK);
    }
    return VMT_OK;
}

/* dx[t..t+n-1, :] (+)= dy W; sums: [ROW_BLOCK, in], buffer: [max(in, out)], of this thread. */
static void linear_bwd_rows(vmt_tensor *dx, const vmt_tensor *dy, const vmt_weight *w, bool add,
                            int64_t t, int64_t n, real *sums, real *buffer)
{
    const int64_t in = dx->shape[1], out = dy->shape[1];

    memset(sums, 0, (size_t)(n * in) * sizeof *sums);
    for (int64_t o = 0; o < out; o++) {
        const real *w_row = REF(load)(&w->w, o * in, in, buffer);
        for (int64_t r = 0; r < n; r++) {
            real one;
            const real g = *REF(load)(dy, (t + r) * out + o, 1, &one);
            for (int64_t i = 0; i < in; i++)
                sums[r * in + i] += g * w_row[i];
        }
    }
    for (int64_t r = 0; r < n; r++) {
        real *sum = sums + r * in;
        if (add) {
            const real *old = REF(load)(dx, (t + r) * in, in, buffer);
            for (int64_t i = 0; i < in; i++)
                sum[i] += old[i];
        }
        REF(store)(dx, (t + r) * in, in, sum);
    }
}

static enum vmt_status linear_bwd_either(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                         const vmt_weight *w, bool add)
{
    const int64_t rows = dx->shape[0], in = dx->shape[1], own = in * (ROW_BLOCK + 1);
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, own, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < rows; t += ROW_BLOCK) {
        real *mine = scratch + own * ref_thread();
        linear_bwd_rows(dx, dy, w, add, t, ref_min(ROW_BLOCK, rows - t), mine,
                        mine + in * ROW_BLOCK);
    }
    return VMT_OK;
}

/* dx = dy W.   dx: [N, in] R|A; dy: [N, out] R|A.  No dW, db: weights are constant. */
enum vmt_status REF(linear_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                const vmt_weight *w)
{
    return linear_bwd_either(ctx, dx, dy, w, false);
}

/* dx += dy W, rounded once after the sum. */
enum vmt_status REF(linear_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                    const vmt_weight *w)
{
    return linear_bwd_either(ctx, dx, dy, w, true);
}
