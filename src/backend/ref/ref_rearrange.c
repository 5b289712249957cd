/* SPDX-License-Identifier: MIT
 *
 * Ops that only move elements.
 */
#include "backend/ref/ref.h"

/* Walks over the cells of a latent [C, F, H, W] cut into patches {pt, ph, pw}: for each token its
 * patch's cells.  `cell` = index in the latent; `channel_last` orders a token's row (dt, dh, dw,
 * c), else (c, dt, dh, dw). */
struct patches {
    int64_t channels, frames, height, width;
    const int64_t *patch;
    bool channel_last;
};

static struct patches patches_of(const vmt_tensor *latent, const int64_t *patch, bool channel_last)
{
    return (struct patches){.channels = latent->shape[0],
                            .frames = latent->shape[1],
                            .height = latent->shape[2],
                            .width = latent->shape[3],
                            .patch = patch,
                            .channel_last = channel_last};
}

/* Position of latent cell (c, t, y, x) in the token matrix. */
static int64_t token_element(const struct patches *p, int64_t c, int64_t t, int64_t y, int64_t x)
{
    const int64_t pt = p->patch[0], ph = p->patch[1], pw = p->patch[2], volume = pt * ph * pw;
    const int64_t token = (t / pt * (p->height / ph) + y / ph) * (p->width / pw) + x / pw;
    const int64_t inside = (t % pt * ph + y % ph) * pw + x % pw;
    return token * p->channels * volume +
           (p->channel_last ? inside * p->channels + c : c * volume + inside);
}

/* Copies tokens -> latent or latent -> tokens, converting. */
static void move_patches(vmt_tensor *y, const vmt_tensor *x, const struct patches *p,
                         bool to_tokens)
{
    int64_t cell = 0;
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t t = 0; t < p->frames; t++)
            for (int64_t row = 0; row < p->height; row++)
                for (int64_t col = 0; col < p->width; col++, cell++) {
                    const int64_t at = token_element(p, c, t, row, col);
                    real one;
                    REF(store)
                    (y, to_tokens ? at : cell, 1, REF(load)(x, to_tokens ? cell : at, 1, &one));
                }
}

/* y[token, (c, dt, dh, dw)] = x[c, ti·pt + dt, yi·ph + dh, xi·pw + dw].
 *   y: [N, C·pt·ph·pw] R|A; x: [C, F, H, W] R. */
enum vmt_status REF(patchify)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                              const int64_t patch[3])
{
    const struct patches p = patches_of(x, patch, false);
    (void)ctx;
    move_patches(y, x, &p, true);
    return VMT_OK;
}

/* The inverse: each cell belongs to one token.   dx: [C, F, H, W] R; dy: [N, C·pt·ph·pw] R|A. */
enum vmt_status REF(patchify_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                  const int64_t patch[3])
{
    const struct patches p = patches_of(dx, patch, false);
    (void)ctx;
    move_patches(dx, dy, &p, false);
    return VMT_OK;
}

/* y[c, ti·pt + dt, …] = x[token, (dt, dh, dw, c)].   y: [C, F, H, W] R; x: [N, pt·ph·pw·C] R|A. */
enum vmt_status REF(unpatchify)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const int64_t patch[3])
{
    const struct patches p = patches_of(y, patch, true);
    (void)ctx;
    move_patches(y, x, &p, false);
    return VMT_OK;
}

/* The inverse.   dx: [N, pt·ph·pw·C] R|A; dy: [C, F, H, W] R. */
enum vmt_status REF(unpatchify_bwd)(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                    const int64_t patch[3])
{
    const struct patches p = patches_of(dy, patch, true);
    (void)ctx;
    move_patches(dx, dy, &p, true);
    return VMT_OK;
}

/* y[i, :] = table[ids[i], :].   y: [N, D] R; ids: [N] I32; table: [rows, D] as stored. */
enum vmt_status REF(embed)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *ids,
                           const vmt_weight *table)
{
    const int64_t tokens = y->shape[0], dim = y->shape[1];
    const int32_t *id = ids->data;
    real *row = y->data;

    (void)ctx;
    for (int64_t t = 0; t < tokens; t++, row += dim)
        REF(store)(y, t * dim, dim, REF(load)(&table->w, id[t] * dim, dim, row));
    return VMT_OK;
}

/* y[t, i, j, c] = x[t, i / 2, j / 2, c].   y: [T, 2H, 2W, C] A; x: [T, H, W, C] A. */
enum vmt_status REF(upsample2)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    const int64_t height = x->shape[1], width = x->shape[2], channels = x->shape[3];
    const int64_t rows = y->shape[0] * y->shape[1], cols = y->shape[2];
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, channels, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t from = (r / (2 * height) * height + r % (2 * height) / 2) * width;
        real *buffer = scratch + channels * ref_thread();
        for (int64_t c = 0; c < cols; c++)
            REF(store)
        (y, (r * cols + c) * channels, channels,
         REF(load)(x, (from + c / 2) * channels, channels, buffer));
    }
    return VMT_OK;
}

/* y[2t + p, i, j, c] = x[t, i, j, p·C + c].   y: [2T, H, W, C] A; x: [T, H, W, 2C] A. */
enum vmt_status REF(split_frames)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    const int64_t frames = y->shape[0], cells = y->shape[1] * y->shape[2], channels = y->shape[3];
    real *scratch;

    VMT_TRY(REF(scratch)(ctx, 0, channels, NULL, &scratch));
    REF_PARALLEL_FOR(ctx)
    for (int64_t t = 0; t < frames; t++) {
        real *buffer = scratch + channels * ref_thread();
        for (int64_t i = 0; i < cells; i++)
            REF(store)
        (y, (t * cells + i) * channels, channels,
         REF(load)(x, ((t / 2 * cells + i) * 2 + t % 2) * channels, channels, buffer));
    }
    return VMT_OK;
}
