/* SPDX-License-Identifier: MIT
 *
 * The heads' reduction, the losses of the motion guidance, AdamW.
 * Source: FastVMT, sections on the flow loss, the corresponding-window loss and the optimiser.
 */
#include "backend/ref/ref.h"

#include <string.h>

/* HEADS: Q[t] = (1/n) Σ_m q[t, m];  RELEASED: Q[g·n + m] = (1/n) Σ_a q[g·n + a, m].
 *   Q: [N, d] R; q: [N, n, d] A. */
enum vmt_status REF(qk_reduce)(vmt_ctx *ctx, vmt_tensor *Q, const vmt_tensor *q,
                               enum vmt_qk_reduction reduction)
{
    const int64_t tokens = q->shape[0], heads = q->shape[1], d = q->shape[2];
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, d, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++) {
        real *out = (real *)Q->data + t * d;
        memset(out, 0, (size_t)d * sizeof *out);
        for (int64_t a = 0; a < heads; a++) {
            const int64_t from = reduction == VMT_REDUCE_HEADS
                                     ? t * heads + a
                                     : (t / heads * heads + a) * heads + t % heads;
            const real *row = REF(load)(q, from * d, d, scratch + d * ref_thread());
            for (int64_t c = 0; c < d; c++)
                out[c] += row[c];
        }
        for (int64_t c = 0; c < d; c++)
            out[c] /= (real)heads;
    }
    return VMT_OK;
}

/* HEADS: dq[t, m] = dQ[t] / n;  RELEASED: dq[g·n + a, m] = dQ[g·n + m] / n.
 *   dq: [N, n, d] R|A; dQ: [N, d] R. */
enum vmt_status REF(qk_reduce_bwd)(vmt_ctx *ctx, vmt_tensor *dq, const vmt_tensor *dQ,
                                   enum vmt_qk_reduction reduction)
{
    const int64_t tokens = dq->shape[0], heads = dq->shape[1], d = dq->shape[2];
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, d, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t m = 0; m < heads; m++) {
            const int64_t from = reduction == VMT_REDUCE_HEADS ? t : t / heads * heads + m;
            const real *row = (const real *)dQ->data + from * d;
            real *out = scratch + d * ref_thread();
            for (int64_t c = 0; c < d; c++)
                out[c] = row[c] / (real)heads;
            REF(store)(dq, (t * heads + m) * d, d, out);
        }
    return VMT_OK;
}

/* *loss += weight Σ_s m_s |flow_s - ref_s|²;  dflow = 2 grad_scale weight m_s (flow - ref).
 *   loss: [1] R; flow, ref, dflow: [S, C] R; token_weights m: [S] R or NULL; dflow or NULL. */
enum vmt_status REF(flow_loss)(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *dflow,
                               const vmt_tensor *flow, const vmt_tensor *ref,
                               const vmt_tensor *token_weights, double weight, double grad_scale)
{
    const real *flows = flow->data, *refs = ref->data;
    const real *m = token_weights ? token_weights->data : NULL;
    const real factor = (real)(2 * grad_scale * weight);
    const int64_t width = flow->shape[1];
    double sum = 0;

    (void)ctx;
    for (int64_t i = 0; i < width * flow->shape[0]; i++) {
        const real difference = flows[i] - refs[i], share = m ? m[i / width] : 1;
        sum += (double)share * ((double)difference * (double)difference);
        if (dflow)
            ((real *)dflow->data)[i] = factor * share * difference;
    }
    *(real *)loss->data += (real)(weight * sum);
    return VMT_OK;
}

/* First element of the key of window entry p of a tile. */
static int64_t key_element(const vmt_tensor *rows, const vmt_tensor *cols,
                           const vmt_flow_geometry *g, int64_t tile, int64_t p, int64_t d)
{
    const int64_t row = ((const int32_t *)rows->data)[tile * g->window_h + p / g->window_w];
    const int64_t col = ((const int32_t *)cols->data)[tile * g->window_w + p % g->window_w];
    return (row * g->grid_w + col) * d;
}

/* FRAME: mean[t, :] = mean over the window's entries, [tiles, d];
 * RELEASED: mean[t, p] = mean over the channels of entry p, [tiles, entries].   R. */
enum vmt_status REF(window_mean)(vmt_ctx *ctx, vmt_tensor *mean, const vmt_tensor *k,
                                 const vmt_tensor *rows, const vmt_tensor *cols,
                                 const vmt_flow_geometry *geometry)
{
    const int64_t tiles = rows->shape[0], d = k->shape[1];
    const int64_t entries = geometry->window_h * geometry->window_w;
    const real *ks = k->data;

    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < tiles; t++) {
        real *out = (real *)mean->data + t * mean->shape[1];
        memset(out, 0, (size_t)mean->shape[1] * sizeof *out);
        for (int64_t p = 0; p < entries; p++) {
            const real *key = ks + key_element(rows, cols, geometry, t, p, d);
            for (int64_t c = 0; c < d; c++)
                out[geometry->positions == VMT_POSITIONS_RELEASED ? p : c] += key[c];
        }
        for (int64_t i = 0; i < mean->shape[1]; i++)
            out[i] /= (real)(geometry->positions == VMT_POSITIONS_RELEASED ? d : entries);
    }
    return VMT_OK;
}

/* dk += : every entry gets its share of dmean.  FRAME: dmean[t, :] / entries; RELEASED: dmean[t, p]
 * / d in all channels.  Each frame row of keys is summed by one thread, in order of tiles. */
enum vmt_status REF(window_mean_bwd_acc)(vmt_ctx *ctx, vmt_tensor *dk, const vmt_tensor *dmean,
                                         const vmt_tensor *rows, const vmt_tensor *cols,
                                         const vmt_flow_geometry *geometry)
{
    const bool released = geometry->positions == VMT_POSITIONS_RELEASED;
    const int64_t tiles = rows->shape[0], d = dk->shape[1], window_w = geometry->window_w;
    const int64_t entries = geometry->window_h * window_w;

    REF_PARALLEL_FOR(ctx)
    for (int64_t key_row = 0; key_row < geometry->grid_h; key_row++)
        for (int64_t t = 0; t < tiles; t++) {
            const real *in = (const real *)dmean->data + t * dmean->shape[1];
            const int32_t *row = (const int32_t *)rows->data + t * geometry->window_h;
            for (int64_t p = 0; p < entries; p++) {
                if (row[p / window_w] != key_row)
                    continue;
                real *out = (real *)dk->data + key_element(rows, cols, geometry, t, p, d);
                for (int64_t c = 0; c < d; c++)
                    out[c] += released ? in[p] / (real)d : in[c] / (real)entries;
            }
        }
    return VMT_OK;
}

/* *loss += weight Σ_t m_t ‖b_t - a_t‖₂; with u = grad_scale weight m_t (b_t - a_t) / ‖·‖ (0 where
 * the norm is 0): db += u, da -= u.   loss: [1] R; a, b, da, db: [tiles, C] R; m: [tiles] R or
 * NULL; da and db may both be NULL. */
enum vmt_status REF(track_loss)(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *da, vmt_tensor *db,
                                const vmt_tensor *a, const vmt_tensor *b,
                                const vmt_tensor *tile_weights, double weight, double grad_scale)
{
    const int64_t tiles = a->shape[0], channels = a->shape[1];
    double total = 0;

    (void)ctx;
    for (int64_t t = 0; t < tiles; t++) {
        const real *as = (const real *)a->data + t * channels;
        const real *bs = (const real *)b->data + t * channels;
        const double share = tile_weights ? (double)((const real *)tile_weights->data)[t] : 1;
        double squares = 0;
        for (int64_t c = 0; c < channels; c++) {
            const double difference = (double)bs[c] - (double)as[c];
            squares += difference * difference;
        }
        total += share * sqrt(squares);
        if (!da || squares == 0)
            continue;
        const double factor = grad_scale * weight * share / sqrt(squares);
        for (int64_t c = 0; c < channels; c++) {
            const real unit = (real)(factor * ((double)bs[c] - (double)as[c]));
            ((real *)db->data)[t * channels + c] += unit;
            ((real *)da->data)[t * channels + c] -= unit;
        }
    }
    *(real *)loss->data += (real)(weight * total);
    return VMT_OK;
}

/* x *= 1 - lr·decay; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²;
 * x -= lr/(1-β₁ᵏ) · m / (√v/√(1-β₂ᵏ) + eps), k = step.   All R, one shape, in place. */
enum vmt_status REF(adamw_step)(vmt_ctx *ctx, vmt_tensor *x, vmt_tensor *m, vmt_tensor *v,
                                const vmt_tensor *g, const vmt_adamw *adamw)
{
    const int64_t count = vmt_numel(x);
    const real beta1 = (real)adamw->beta1, beta2 = (real)adamw->beta2;
    const real rest1 = (real)(1 - adamw->beta1), rest2 = (real)(1 - adamw->beta2);
    const real keep = (real)(1 - adamw->lr * adamw->weight_decay), eps = (real)adamw->eps;
    const double k = (double)adamw->step;
    const real rate = (real)(adamw->lr / (1 - pow(adamw->beta1, k)));
    const real root = (real)sqrt(1 - pow(adamw->beta2, k));
    real *xs = x->data, *ms = m->data, *vs = v->data;
    const real *gs = g->data;

    (void)ctx;
    for (int64_t i = 0; i < count; i++) {
        ms[i] = beta1 * ms[i] + rest1 * gs[i];
        vs[i] = beta2 * vs[i] + rest2 * (gs[i] * gs[i]);
        xs[i] = xs[i] * keep - rate * (ms[i] / (ref_sqrt(vs[i]) / root + eps));
    }
    return VMT_OK;
}
