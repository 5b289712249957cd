/* SPDX-License-Identifier: MIT
 *
 * MOFT: how the mean hidden state of the frame changes from frame to frame, in those channels alone
 * in which the reference's changes most (hidden.h with one cell).  What stays the same all through
 * the clip is content; it drops out of the difference.
 *
 * Features of a reference, [frames, dim]: its rows at length 1, then the mask of its channels.
 * Source: arXiv 2405.14864; docs/methods.md says what differs.
 */
#include "motion/moft.h"

#include "motion/guidance.h"

#include <math.h>
#include <string.h>

int64_t vmt_moft_count(double share, int64_t dim)
{
    const int64_t count = (int64_t)(share * (double)dim);

    return count < 1 ? 1 : count < dim ? count : dim;
}

static void choose(int64_t *channels, int64_t count, double *strength, const double *moved,
                   int64_t rows, int64_t dim)
{
    for (int64_t c = 0; c < dim; c++) {
        strength[c] = 0;
        for (int64_t r = 0; r < rows; r++)
            strength[c] += fabs(moved[r * dim + c]);
    }
    for (int64_t n = 0; n < count; n++) {
        int64_t best = 0;
        for (int64_t c = 1; c < dim; c++)
            if (strength[c] > strength[best])
                best = c;
        channels[n] = best;
        strength[best] = -1;
    }
}

enum vmt_status vmt_moft_choose(vmt_ctx *ctx, int64_t *channels, int64_t count,
                                const vmt_tensor *moved)
{
    const int64_t rows = moved->shape[0], dim = moved->shape[1];
    double *memory;

    VMT_TRY(vmt_alloc(ctx, (void **)&memory, (size_t)((rows + 1) * dim), sizeof *memory));
    vmt_tensor host = vmt_tensor_over(memory, VMT_F64, 2, moved->shape);
    const enum vmt_status status = vmt_download(ctx, &host, moved);
    if (status == VMT_OK)
        choose(channels, count, memory + rows * dim, memory, rows, dim);
    vmt_free(memory);
    return status;
}

static enum vmt_status layout(vmt_ctx *ctx, vmt_arena *arena, vmt_guidance *g,
                              const int64_t grid[3], int64_t heads, int64_t head_dim,
                              const int64_t shape[4])
{
    (void)shape;
    VMT_TRY(vmt_hidden_layout(ctx, arena, &g->hidden, grid, heads * head_dim, 1));
    g->features = (vmt_feature_shape){.rank = 2, .axes = {grid[0], heads * head_dim}};
    return VMT_OK;
}

/* 1 for the chosen channels, 0 for the others. */
static enum vmt_status make_mask(vmt_ctx *ctx, vmt_tensor *mask, const vmt_tensor *moved,
                                 double share)
{
    const int64_t dim = mask->shape[0], count = vmt_moft_count(share, dim);
    int64_t *channels = NULL;
    float *kept = NULL;
    enum vmt_status status = vmt_alloc(ctx, (void **)&channels, (size_t)count, sizeof *channels);

    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&kept, (size_t)dim, sizeof *kept);
    if (status == VMT_OK)
        status = vmt_moft_choose(ctx, channels, count, moved);
    if (status == VMT_OK) {
        const vmt_tensor host = vmt_tensor_over(kept, VMT_F32, 1, mask->shape);
        memset(kept, 0, (size_t)dim * sizeof *kept);
        for (int64_t n = 0; n < count; n++)
            kept[channels[n]] = 1.0f;
        status = vmt_upload(ctx, mask, &host);
    }
    vmt_free(channels);
    vmt_free(kept);
    return status;
}

static enum vmt_status reference(vmt_ctx *ctx, vmt_guidance *g, vmt_tensor *features,
                                 const vmt_taps *taps)
{
    const int64_t rows = features->shape[0] - 1;
    vmt_tensor unit = vmt_slice(features, 0, rows), mask = vmt_index(features, rows);

    VMT_TRY(vmt_hidden_moved(ctx, &g->hidden, taps->hidden));
    VMT_TRY(make_mask(ctx, &mask, &g->hidden.moved, (double)g->settings.moft_channels));
    return vmt_unit_rows(ctx, &unit, &g->hidden.moved, &mask);
}

static enum vmt_status gradient(vmt_ctx *ctx, vmt_guidance *g, vmt_taps *gradient,
                                const vmt_taps *taps, const vmt_guided_step *step)
{
    const vmt_tensor *features = step->references[0].features;
    const int64_t rows = features->shape[0] - 1;
    const vmt_tensor unit = vmt_slice(features, 0, rows), mask = vmt_index(features, rows);

    VMT_TRY(vmt_hidden_moved(ctx, &g->hidden, taps->hidden));
    gradient->hidden = &g->hidden.dhidden;
    return vmt_hidden_distance(ctx, &g->hidden, &g->amf_loss, &unit, &mask,
                               (double)g->settings.amf_weight);
}

const vmt_motion_method vmt_method_moft = {
    .row = {.name = "moft",
            .about = "the mean hidden state of the frame in the channels that change most",
            .paper = "arXiv 2405.14864",
            .taps = "hidden"},
    .feature = "moft",
    .tap = VMT_TAP_HIDDEN,
    .schedule = {.guided_steps = 1, .inner_steps = 1, .lr_first = 1, .lr_last = 1, .interval = 1},
    .layout = layout,
    .reference = reference,
    .gradient = gradient,
};
