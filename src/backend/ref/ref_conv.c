/* SPDX-License-Identifier: MIT
 *
 * The VAE's convolution.
 */
#include "backend/ref/ref.h"

#include <string.h>

/* w [Co, Ci, taps] -> filter [taps, Ci, Co]: the sums of all output channels lie side by side. */
static void load_filter(real *filter, const vmt_weight *w)
{
    const int64_t out = w->w.shape[0], in = w->w.shape[1];
    const int64_t taps = w->w.shape[2] * w->w.shape[3] * w->w.shape[4];

    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t t = 0; t < taps; t++) {
                real one;
                filter[(t * in + i) * out + o] =
                    *REF(load)(&w->w, (o * in + i) * taps + t, 1, &one);
            }
}

/* sum[o] += Σ_i x[i] filter[i, o]. */
static void add_tap(real *restrict sum, const real *x, const real *restrict filter, int64_t in,
                    int64_t out)
{
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o++)
            sum[o] += x[i] * filter[i * out + o];
}

/* y[t, i, j, :]; sum: [Co], buffer: [Ci]. */
static void convolve_cell(vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                          const vmt_conv_geometry *g, const real *filter, const int64_t cell[3],
                          real *sum, real *buffer)
{
    const int64_t out = w->w.shape[0], in = w->w.shape[1];
    const int64_t kt = w->w.shape[2], kh = w->w.shape[3], kw = w->w.shape[4];

    for (int64_t a = 0; a < kt; a++)
        for (int64_t b = 0; b < kh; b++) {
            const int64_t row = cell[1] * g->stride_h + b - g->pad_top;
            if (row < 0 || row >= x->shape[1])
                continue;
            for (int64_t c = 0; c < kw; c++) {
                const int64_t col = cell[2] * g->stride_w + c - g->pad_left;
                const int64_t frame = cell[0] * g->stride_t + a;
                if (col < 0 || col >= x->shape[2])
                    continue;
                const int64_t from = (frame * x->shape[1] + row) * x->shape[2] + col;
                add_tap(sum, REF(load)(x, from * in, in, buffer),
                        filter + ((a * kh + b) * kw + c) * in * out, in, out);
            }
        }
    REF(store)(y, ((cell[0] * y->shape[1] + cell[1]) * y->shape[2] + cell[2]) * out, out, sum);
}

/* Cross-correlation, zeros around the frame, none in time.
 *   y: [To, Ho, Wo, Co] A; x: [T, H, W, Ci] A; w: [Co, Ci, kt, kh, kw].
 * No backward: the VAE is never differentiated. */
enum vmt_status REF(conv3d)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                            const vmt_conv_geometry *geometry)
{
    const int64_t out = w->w.shape[0], in = w->w.shape[1], filter_size = vmt_numel(&w->w);
    const int64_t rows = y->shape[0] * y->shape[1], cols = y->shape[2], own = out + in;
    real *filter, *scratch;

    VMT_TRY(REF(scratch)(ctx, filter_size + out, own, &filter, &scratch));
    real *const bias = filter + filter_size;
    load_filter(filter, w);
    memset(bias, 0, (size_t)out * sizeof *bias);
    if (w->bias.data)
        REF(load_matrix)(bias, NULL, &w->bias, 1, out, out, 0);
    REF_PARALLEL_FOR(ctx)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            real *sum = scratch + own * ref_thread();
            memcpy(sum, bias, (size_t)out * sizeof *sum);
            convolve_cell(y, x, w, geometry, filter,
                          (const int64_t[]){r / y->shape[1], r % y->shape[1], c}, sum, sum + out);
        }
    return VMT_OK;
}
