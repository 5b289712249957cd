/* SPDX-License-Identifier: MIT
 *
 * Matrix times weight on numbers of 8 bits, rounded as hardware does; products and sums are then
 * those of floats, in which products of two e4m3 are exact.
 */
#include "backend/ref/ref.h"
#include "base/half.h"

#include <math.h>
#include <string.h>

enum { OUT_BLOCK = 32 }; /* outputs computed side by side */

static const float LARGEST = 448.0F;

/* to = e4m3(from / s) as values; returns s. */
static real round_row(real *to, const real *from, int64_t count)
{
    float most = 0;

    for (int64_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf((float)from[i]));
    const float scale = most > 0 ? most / LARGEST : 1.0F;
    for (int64_t i = 0; i < count; i++)
        to[i] = (real)vmt_f32_of_e4m3(vmt_e4m3_of_f32((float)from[i] / scale));
    return (real)scale;
}

static real epilogue_of(real x, enum vmt_epilogue epilogue)
{
    if (epilogue == VMT_EPILOGUE_NONE)
        return x;
    return epilogue == VMT_EPILOGUE_GELU ? REF(gelu_of)(x) : REF(silu_of)(x);
}

/* y[:, o..o+n-1] of all rows; wt: [in, OUT_BLOCK], row: [2, in], both scratch of this thread. */
static void fp8_columns(vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                        enum vmt_epilogue epilogue, int64_t o, int64_t n, real *wt, real *row)
{
    const int64_t rows = x->shape[0], in = x->shape[1], out = y->shape[1];
    real bias_block[OUT_BLOCK] = {0}, scales[OUT_BLOCK];
    const real *bias = bias_block;

    memset(wt, 0, (size_t)(in * OUT_BLOCK) * sizeof *wt);
    for (int64_t b = 0; b < n; b++) {
        scales[b] = round_row(row, REF(load)(&w->w, (o + b) * in, in, row + in), in);
        for (int64_t i = 0; i < in; i++)
            wt[i * OUT_BLOCK + b] = row[i];
    }
    if (w->bias.data)
        bias = REF(load)(&w->bias, o, n, bias_block);
    for (int64_t t = 0; t < rows; t++) {
        const real scale = round_row(row, REF(load)(x, t * in, in, row + in), in);
        real sum[OUT_BLOCK] = {0};
        for (int64_t i = 0; i < in; i++)
            for (int b = 0; b < OUT_BLOCK; b++)
                sum[b] += row[i] * wt[i * OUT_BLOCK + b];
        for (int64_t b = 0; b < n; b++)
            sum[b] = epilogue_of(sum[b] * scale * scales[b] + bias[b], epilogue);
        REF(store)(y, t * out + o, n, sum);
    }
}

enum vmt_status REF(linear_fp8)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const vmt_weight *w, enum vmt_epilogue epilogue)
{
    const int64_t in = x->shape[1], out = y->shape[1], own = in * (OUT_BLOCK + 2);
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, own, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t o = 0; o < out; o += OUT_BLOCK) {
        real *mine = scratch + own * ref_thread();
        fp8_columns(y, x, w, epilogue, o, ref_min(OUT_BLOCK, out - o), mine, mine + in * OUT_BLOCK);
    }
    return VMT_OK;
}
