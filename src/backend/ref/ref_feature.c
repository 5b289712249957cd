/* SPDX-License-Identifier: MIT
 *
 * What features of hidden states are made of: means over cells, centring, rows of length 1.
 */
#include "backend/ref/ref.h"

#include <string.h>

/* Below this a row counts as this long. */
static const double SHORTEST = 1e-6;

/* Entries first..end-1 of an axis of `size` that cell `a` of `cells` covers. */
typedef struct span {
    int64_t first, end;
} span;

static span cell_span(int64_t a, int64_t cells, int64_t size)
{
    return (span){.first = a * size / cells, .end = ((a + 1) * size + cells - 1) / cells};
}

/* y = mean over the tokens of each cell.   y: [T, cells, C] R; x: [T, S, C] R. */
enum vmt_status REF(pool)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                          const vmt_pooling *pooling)
{
    const vmt_pooling p = *pooling;
    const int64_t cells = p.cells_h * p.cells_w, channels = x->shape[2];
    const int64_t own = 2 * channels; /* reals that hold doubles */
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, own, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t n = 0; n < y->shape[0] * cells; n++) {
        const int64_t frame = n / cells, cell = n % cells;
        const span r = cell_span(cell / p.cells_w, p.cells_h, p.grid_h);
        const span c = cell_span(cell % p.cells_w, p.cells_w, p.grid_w);
        const real *in = (const real *)x->data + frame * x->shape[1] * channels;
        real *out = (real *)y->data + n * channels;
        double *sum = (double *)(void *)(scratch + own * ref_thread());

        memset(sum, 0, (size_t)channels * sizeof *sum);
        for (int64_t row = r.first; row < r.end; row++)
            for (int64_t col = c.first; col < c.end; col++)
                for (int64_t k = 0; k < channels; k++)
                    sum[k] += (double)in[(row * p.grid_w + col) * channels + k];
        for (int64_t k = 0; k < channels; k++)
            out[k] = (real)(sum[k] / (double)((r.end - r.first) * (c.end - c.first)));
    }
    return VMT_OK;
}

/* dx = Σ over the cells a token is in: dy of the cell / its tokens. */
enum vmt_status REF(pool_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                              const vmt_pooling *pooling)
{
    const vmt_pooling p = *pooling;
    const int64_t tokens = p.grid_h * p.grid_w, cells = p.cells_h * p.cells_w;
    const int64_t channels = dx->shape[2];

    REF_PARALLEL_FOR(ctx)
    for (int64_t n = 0; n < dx->shape[0] * tokens; n++) {
        const int64_t row = n % tokens / p.grid_w, col = n % p.grid_w;
        const real *in = (const real *)dy->data + n / tokens * cells * channels;
        real *out = (real *)dx->data + n * channels;

        memset(out, 0, (size_t)channels * sizeof *out);
        for (int64_t cell = 0; cell < cells; cell++) {
            const span r = cell_span(cell / p.cells_w, p.cells_h, p.grid_h);
            const span c = cell_span(cell % p.cells_w, p.cells_w, p.grid_w);
            const real share = (real)(1 / (double)((r.end - r.first) * (c.end - c.first)));
            if (row < r.first || row >= r.end || col < c.first || col >= c.end)
                continue;
            for (int64_t k = 0; k < channels; k++)
                out[k] += share * in[cell * channels + k];
        }
    }
    return VMT_OK;
}

/* y = x - mean of x over axis 1.   [n, G, C] R; y may be x. */
enum vmt_status REF(centre)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    const int64_t group = x->shape[1], channels = x->shape[2];

    REF_PARALLEL_FOR(ctx)
    for (int64_t i = 0; i < x->shape[0] * channels; i++) {
        const int64_t first = i / channels * group * channels + i % channels;
        const real *in = (const real *)x->data + first;
        real *out = (real *)y->data + first;
        double sum = 0;

        for (int64_t g = 0; g < group; g++)
            sum += (double)in[g * channels];
        for (int64_t g = 0; g < group; g++)
            out[g * channels] = (real)((double)in[g * channels] - sum / (double)group);
    }
    return VMT_OK;
}

static double masked_norm(const real *x, const real *mask, int64_t channels)
{
    double squares = 0;

    for (int64_t c = 0; c < channels; c++) {
        const double value = (double)(mask ? mask[c] * x[c] : x[c]);
        squares += value * value;
    }
    return sqrt(squares);
}

/* y = m ⊙ x / max(‖m ⊙ x‖₂, 1e-6) of each row.   x, y: [n, C] R; mask: [C] R or NULL. */
enum vmt_status REF(unit_rows)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *mask)
{
    const int64_t channels = x->shape[1];
    const real *m = mask ? mask->data : NULL;

    REF_PARALLEL_FOR(ctx)
    for (int64_t n = 0; n < x->shape[0]; n++) {
        const real *in = (const real *)x->data + n * channels;
        real *out = (real *)y->data + n * channels;
        const double norm = masked_norm(in, m, channels);
        const double factor = 1 / (norm < SHORTEST ? SHORTEST : norm);

        for (int64_t c = 0; c < channels; c++)
            out[c] = (real)((double)(m ? m[c] * in[c] : in[c]) * factor);
    }
    return VMT_OK;
}

/* dx = m ⊙ (dy - y (y·dy)) / ‖m ⊙ x‖₂; m ⊙ dy / 1e-6 where the norm is less. */
enum vmt_status REF(unit_rows_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const vmt_tensor *x, const vmt_tensor *mask)
{
    const int64_t channels = x->shape[1];
    const real *m = mask ? mask->data : NULL;

    REF_PARALLEL_FOR(ctx)
    for (int64_t n = 0; n < x->shape[0]; n++) {
        const real *in = (const real *)x->data + n * channels;
        const real *g = (const real *)dy->data + n * channels;
        real *out = (real *)dx->data + n * channels;
        const double norm = masked_norm(in, m, channels);
        const bool is_short = norm < SHORTEST;
        const double factor = 1 / (is_short ? SHORTEST : norm);
        double along = 0; /* y·dy / ‖m ⊙ x‖ */

        for (int64_t c = 0; c < channels && !is_short; c++)
            along += (double)(m ? m[c] * in[c] : in[c]) * (double)g[c];
        along *= factor * factor;
        for (int64_t c = 0; c < channels; c++) {
            const double value = (double)(m ? m[c] * in[c] : in[c]);
            out[c] = (real)((m ? (double)m[c] : 1.0) * ((double)g[c] - value * along) * factor);
        }
    }
    return VMT_OK;
}
