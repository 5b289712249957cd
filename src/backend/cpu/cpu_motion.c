/* SPDX-License-Identifier: MIT
 *
 * Reduction of heads to a feature, and means of key windows.
 */
#include "backend/cpu/cpu_flow.h"

#include <omp.h>
#include <string.h>

/* Row of q that head or token `a` of the sum for Q[t] comes from, in rows of d. */
static int64_t source_row(enum vmt_qk_reduction reduction, int64_t t, int64_t heads, int64_t a)
{
    return reduction == VMT_REDUCE_HEADS ? t * heads + a
                                         : (t / heads * heads + a) * heads + t % heads;
}

/* HEADS: Q[t] = (1/n) Σ_m q[t, m];  RELEASED: Q[g·n + m] = (1/n) Σ_a q[g·n + a, m].
 *   Q: [N, d] R; q: [N, n, d] A. */
enum vmt_status cpu_qk_reduce(vmt_ctx *ctx, vmt_tensor *Q, const vmt_tensor *q,
                              enum vmt_qk_reduction reduction)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = q->shape[0], heads = q->shape[1], d = q->shape[2];
    unsigned char *memory;
    size_t stride;

    VMT_TRY(cpu_scratch_each(ctx, &memory, &stride, ctx->threads, (size_t)d * sizeof(float)));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *heads *d)) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        float *const out = (float *)Q->data + t * d;
        float *const buffer = (float *)(void *)(memory + (size_t)omp_get_thread_num() * stride);
        memset(out, 0, (size_t)d * sizeof *out);
        for (int64_t a = 0; a < heads; a++)
            kernels->add(out, out,
                         cpu_row_in(kernels, q, source_row(reduction, t, heads, a) * d, d, buffer),
                         d);
        kernels->scale(out, out, 1 / (float)heads, d);
    }
    return VMT_OK;
}

/* HEADS: dq[t, m] = dQ[t] / n;  RELEASED: dq[g·n + a, m] = dQ[g·n + m] / n.
 *   dq: [N, n, d] R|A; dQ: [N, d] R. */
enum vmt_status cpu_qk_reduce_bwd(vmt_ctx *ctx, vmt_tensor *dq, const vmt_tensor *dQ,
                                  enum vmt_qk_reduction reduction)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = dq->shape[0], heads = dq->shape[1], d = dq->shape[2];
    unsigned char *memory;
    size_t stride;

    VMT_TRY(cpu_scratch_each(ctx, &memory, &stride, ctx->threads, (size_t)d * sizeof(float)));
#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *heads *d)) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        float *const buffer = (float *)(void *)(memory + (size_t)omp_get_thread_num() * stride);
        for (int64_t m = 0; m < heads; m++) {
            const int64_t from = reduction == VMT_REDUCE_HEADS ? t : t / heads * heads + m;
            const int64_t first = (t * heads + m) * d;
            float *const out = cpu_row_out(dq, first, buffer);
            kernels->scale(out, (const float *)dQ->data + from * d, 1 / (float)heads, d);
            cpu_row_store(kernels, dq, first, d, out);
        }
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- means of windows */

/* Token of window entry p of a tile. */
static int64_t entry_token(const vmt_tensor *rows, const vmt_tensor *cols,
                           const vmt_flow_geometry *g, int64_t tile, int64_t p)
{
    return ((const int32_t *)rows->data)[tile * g->window_h + p / g->window_w] * g->grid_w +
           ((const int32_t *)cols->data)[tile * g->window_w + p % g->window_w];
}

/* FRAME: mean[t, :] = mean over the window's entries, [tiles, d];
 * RELEASED: mean[t, p] = mean over the channels of entry p, [tiles, entries].   R. */
enum vmt_status cpu_window_mean(vmt_ctx *ctx, vmt_tensor *mean, const vmt_tensor *k,
                                const vmt_tensor *rows, const vmt_tensor *cols,
                                const vmt_flow_geometry *geometry)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const bool released = geometry->positions == VMT_POSITIONS_RELEASED;
    const int64_t tiles = rows->shape[0], tokens = k->shape[0], d = k->shape[1];
    const int64_t entries = geometry->window_h * geometry->window_w, width = mean->shape[1];
    const float *const ks = k->data;
    void *memory;

    VMT_TRY(cpu_scratch(ctx, &memory, (size_t)(tokens + d) * sizeof(float)));
    float *const means = memory, *const ones = means + tokens; /* of each token's channels */
    for (int64_t c = 0; c < d; c++)
        ones[c] = 1;
#pragma omp parallel num_threads(ctx->threads)
    {
        if (released) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < tokens; i++)
                means[i] = kernels->dot(ks + i * d, ones, d) / (float)d;
        }
#pragma omp for schedule(static)
        for (int64_t t = 0; t < tiles; t++) {
            float *const out = (float *)mean->data + t * width;
            memset(out, 0, (size_t)width * sizeof *out);
            for (int64_t p = 0; p < entries; p++) {
                const int64_t token = entry_token(rows, cols, geometry, t, p);
                if (released)
                    out[p] = means[token];
                else
                    kernels->add(out, out, ks + token * d, d);
            }
            if (!released)
                kernels->scale(out, out, 1 / (float)entries, d);
        }
    }
    return VMT_OK;
}

/* One frame row of keys: dk += shares of the tiles' dmean, in order of tiles and entries. */
static void row_mean_gradient(const cpu_kernels *kernels, vmt_tensor *dk, const vmt_tensor *dmean,
                              const vmt_tensor *rows, const vmt_tensor *cols,
                              const vmt_flow_geometry *g, int64_t key_row, float *share)
{
    const bool released = g->positions == VMT_POSITIONS_RELEASED;
    const int64_t d = dk->shape[1], entries = g->window_h * g->window_w;
    const float factor = 1 / (float)(released ? d : entries);

    for (int64_t t = 0; t < rows->shape[0]; t++)
        for (int64_t a = 0; a < g->window_h; a++) {
            const float *const in = (const float *)dmean->data + t * dmean->shape[1];
            if (((const int32_t *)rows->data)[t * g->window_h + a] != key_row)
                continue;
            if (!released)
                kernels->scale(share, in, factor, d);
            for (int64_t b = 0; b < g->window_w; b++) {
                const int64_t p = a * g->window_w + b;
                float *const out = (float *)dk->data + entry_token(rows, cols, g, t, p) * d;
                if (released)
                    for (int64_t c = 0; c < d; c++)
                        out[c] += in[p] * factor;
                else
                    kernels->add(out, out, share, d);
            }
        }
}

/* dk += : every entry gets its share of dmean.  FRAME: dmean[t, :] / entries; RELEASED: dmean[t, p]
 * / d in all channels.  Each frame row of keys is summed by one thread. */
enum vmt_status cpu_window_mean_bwd_acc(vmt_ctx *ctx, vmt_tensor *dk, const vmt_tensor *dmean,
                                        const vmt_tensor *rows, const vmt_tensor *cols,
                                        const vmt_flow_geometry *geometry)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const size_t bytes = (size_t)dk->shape[1] * sizeof(float);
    unsigned char *memory;
    size_t stride;

    VMT_TRY(cpu_scratch_each(ctx, &memory, &stride, ctx->threads, bytes));
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
    for (int64_t key_row = 0; key_row < geometry->grid_h; key_row++)
        row_mean_gradient(kernels, dk, dmean, rows, cols, geometry, key_row,
                          (float *)(void *)(memory + (size_t)omp_get_thread_num() * stride));
    return VMT_OK;
}
