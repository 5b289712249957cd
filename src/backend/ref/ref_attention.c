/* SPDX-License-Identifier: MIT
 *
 * Attention, row by row: one row of logits per thread.  Matrices of one head are loaded plain and
 * transposed, so that both kinds of products run over neighbouring elements.
 */
#include "backend/local_host.h"
#include "backend/ref/ref.h"

#include <string.h>

void REF(dots)(real *z, const real *x, const real *columns, int64_t d, int64_t count)
{
    int64_t c = 0;

    memset(z, 0, (size_t)count * sizeof *z);
    for (; c + 4 <= d; c += 4) {
        const real *a = columns + c * count, x0 = x[c], x1 = x[c + 1], x2 = x[c + 2], x3 = x[c + 3];
        for (int64_t j = 0; j < count; j++)
            z[j] = z[j] + x0 * a[j] + x1 * a[count + j] + x2 * a[2 * count + j] +
                   x3 * a[3 * count + j];
    }
    for (; c < d; c++)
        for (int64_t j = 0; j < count; j++)
            z[j] += x[c] * columns[c * count + j];
}

void REF(weighted_rows)(real *y, const real *a, const real *rows, int64_t count, int64_t d)
{
    memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t j = 0; j < count; j++)
        for (int64_t c = 0; c < d; c++)
            y[c] += a[j] * rows[j * d + c];
}

real REF(softmax)(real *z, int64_t count)
{
    real most = z[0];
    double sum = 0;

    for (int64_t j = 1; j < count; j++)
        most = z[j] > most ? z[j] : most;
    for (int64_t j = 0; j < count; j++) {
        z[j] = ref_exp(z[j] - most);
        sum += (double)z[j];
    }
    const real factor = (real)(1 / sum);
    for (int64_t j = 0; j < count; j++)
        z[j] *= factor;
    /* cppcheck-suppress invalidFunctionArg ; the largest logit alone makes it 1 */
    return (real)((double)most + log(sum));
}

/* o = softmax(scale q kᵀ + B) v per head.   o, q: [Nq, n, d] A; k, v: [Nk, n, d] A; lse: [n, Nq] R
 * or NULL; bias: [n, Nq + Nk - 1] R or NULL, B[h, i, j] = bias[h, j - i + Nq - 1]. */
enum vmt_status REF(attention)(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                               const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                               double scale)
{
    const int64_t nq = q->shape[0], nk = k->shape[0], heads = q->shape[1], d = q->shape[2];
    const int64_t own = nk + 2 * d, stride = heads * d;
    real *k_columns, *scratch;

    VMT_TRY(REF(scratch)(ctx, 2 * nk * d, own, &k_columns, &scratch));
    real *const v_rows = k_columns + nk * d;
    for (int64_t h = 0; h < heads; h++) {
        const real *biases = bias ? (const real *)bias->data + h * (nq + nk - 1) : NULL;
        REF(load_matrix)(NULL, k_columns, k, nk, d, stride, h * d);
        REF(load_matrix)(v_rows, NULL, v, nk, d, stride, h * d);
        REF_PARALLEL_FOR(ctx)
        for (int64_t i = 0; i < nq; i++) {
            real *z = scratch + own * ref_thread(), *q_row = z + nk, *o_row = q_row + d;
            REF(dots)(z, REF(load)(q, i * stride + h * d, d, q_row), k_columns, d, nk);
            for (int64_t j = 0; j < nk; j++)
                z[j] = z[j] * (real)scale + (biases ? biases[j - i + nq - 1] : 0);
            const real log_sum = REF(softmax)(z, nk);
            if (lse)
                ((real *)lse->data)[h * nq + i] = log_sum;
            REF(weighted_rows)(o_row, z, v_rows, nk, d);
            REF(store)(o, i * stride + h * d, d, o_row);
        }
    }
    return VMT_OK;
}

/* One head's operands of the backward: rows [N, d] and columns [d, N] of q, dout, k, v. */
struct head {
    int64_t nq, nk, d, stride, first;
    real scale;
    real *q, *q_columns, *dout, *dout_columns, *k, *k_columns, *v, *v_columns;
    real *delta;     /* [Nq], Σ_c do o */
    const real *lse; /* [Nq] */
};

static void load_head(struct head *h, const vmt_tensor *dout, const vmt_tensor *q,
                      const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o)
{
    const int64_t d = h->d;

    REF(load_matrix)(h->q, h->q_columns, q, h->nq, d, h->stride, h->first);
    REF(load_matrix)(h->k, h->k_columns, k, h->nk, d, h->stride, h->first);
    REF(load_matrix)(h->v, h->v_columns, v, h->nk, d, h->stride, h->first);
    /* o is needed for delta only: it passes through the place of dout. */
    REF(load_matrix)(h->dout, NULL, o, h->nq, d, h->stride, h->first);
    for (int64_t i = 0; i < h->nq; i++) {
        double sum = 0;
        for (int64_t c = 0; c < d; c++) {
            real one;
            const int64_t at = i * h->stride + h->first + c;
            sum += (double)h->dout[i * d + c] * (double)*REF(load)(dout, at, 1, &one);
        }
        h->delta[i] = (real)sum;
    }
    REF(load_matrix)(h->dout, h->dout_columns, dout, h->nq, d, h->stride, h->first);
}

/* P = exp(scale q kᵀ - lse); ds = P ⊙ (do vᵀ - delta) over row i; dq_i = scale Σ_j ds_j k_j. */
static void query_gradient(const struct head *h, int64_t i, real *p, real *ds, real *dq)
{
    REF(dots)(p, h->q + i * h->d, h->k_columns, h->d, h->nk);
    REF(dots)(ds, h->dout + i * h->d, h->v_columns, h->d, h->nk);
    for (int64_t j = 0; j < h->nk; j++)
        ds[j] = h->scale * ref_exp(p[j] * h->scale - h->lse[i]) * (ds[j] - h->delta[i]);
    REF(weighted_rows)(dq, ds, h->k, h->nk, h->d);
}

/* The same over column j; dk_j = scale Σ_i ds_i q_i, dv_j = Σ_i P_i do_i. */
static void key_gradient(const struct head *h, int64_t j, real *p, real *ds, real *dk, real *dv)
{
    REF(dots)(p, h->k + j * h->d, h->q_columns, h->d, h->nq);
    REF(dots)(ds, h->v + j * h->d, h->dout_columns, h->d, h->nq);
    for (int64_t i = 0; i < h->nq; i++) {
        p[i] = ref_exp(p[i] * h->scale - h->lse[i]);
        ds[i] = h->scale * p[i] * (ds[i] - h->delta[i]);
    }
    REF(weighted_rows)(dk, ds, h->q, h->nq, h->d);
    REF(weighted_rows)(dv, p, h->dout, h->nq, h->d);
}

/* dq, dk, dv: R|A; dk and dv may be NULL (cross-attention: the text is constant).  No dbias: only
 * the text encoder has one, and it is not differentiated. */
enum vmt_status REF(attention_bwd)(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   double scale)
{
    const int64_t nq = q->shape[0], nk = k->shape[0], heads = q->shape[1], d = q->shape[2];
    const int64_t longest = nq > nk ? nq : nk, own = 2 * longest + 2 * d;
    real *shared, *scratch;

    VMT_TRY(REF(scratch)(ctx, 4 * (nq + nk) * d + nq, own, &shared, &scratch));
    struct head h = {.nq = nq, .nk = nk, .d = d, .stride = heads * d, .scale = (real)scale};
    h.q = shared, h.q_columns = h.q + nq * d;
    h.dout = h.q_columns + nq * d, h.dout_columns = h.dout + nq * d;
    h.k = h.dout_columns + nq * d, h.k_columns = h.k + nk * d;
    h.v = h.k_columns + nk * d, h.v_columns = h.v + nk * d;
    h.delta = h.v_columns + nk * d;
    for (int64_t head = 0; head < heads; head++) {
        h.first = head * d;
        h.lse = (const real *)lse->data + head * nq;
        load_head(&h, dout, q, k, v, o);
        REF_PARALLEL_FOR(ctx)
        for (int64_t i = 0; i < nq; i++) {
            real *p = scratch + own * ref_thread(), *ds = p + longest, *row = ds + longest;
            query_gradient(&h, i, p, ds, row);
            REF(store)(dq, i * h.stride + h.first, d, row);
        }
        if (!dk)
            continue;
        REF_PARALLEL_FOR(ctx)
        for (int64_t j = 0; j < nk; j++) {
            real *p = scratch + own * ref_thread(), *ds = p + longest, *row = ds + longest;
            key_gradient(&h, j, p, ds, row, row + d);
            REF(store)(dk, j * h.stride + h.first, d, row);
            REF(store)(dv, j * h.stride + h.first, d, row + d);
        }
    }
    return VMT_OK;
}

static enum vmt_status sequences_forward(vmt_ctx *ctx, int64_t sequences, vmt_tensor *o,
                                         vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, double scale)
{
    return vmt_each_sequence(ctx, REF(attention), sequences, o, lse, q, k, v, scale);
}

static enum vmt_status sequences_backward(vmt_ctx *ctx, int64_t sequences, vmt_tensor *dq,
                                          vmt_tensor *dk, vmt_tensor *dv, const vmt_tensor *dout,
                                          const vmt_tensor *q, const vmt_tensor *k,
                                          const vmt_tensor *v, const vmt_tensor *o,
                                          const vmt_tensor *lse, double scale)
{
    return vmt_each_sequence_bwd(ctx, REF(attention_bwd), sequences, dq, dk, dv, dout, q, k, v, o,
                                 lse, scale);
}

enum vmt_status REF(attention_local)(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     const vmt_local_geometry *geometry, double scale)
{
    return vmt_local_forward(ctx, sequences_forward, o, lse, q, k, v, geometry, scale);
}

enum vmt_status REF(attention_local_bwd)(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, const vmt_local_geometry *geometry,
                                         double scale)
{
    return vmt_local_backward(ctx, sequences_backward, dq, dk, dv, dout, q, k, v, o, lse, geometry,
                              scale);
}
