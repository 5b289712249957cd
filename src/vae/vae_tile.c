/* SPDX-License-Identifier: MIT */
#include "vae/vae_tile.h"

enum vmt_status vmt_vae_axis_init(vmt_ctx *ctx, vmt_vae_axis *axis, const char *what, int64_t cells,
                                  int64_t tile, int64_t stride)
{
    *axis = (vmt_vae_axis){.cells = cells, .size = cells, .stride = cells, .tiles = 1};
    if (tile == 0)
        return VMT_OK;
    if (tile < 0 || stride < 1 || stride > tile)
        return vmt_fail(ctx, VMT_E_ARG,
                        "VAE tile of %lld %s with stride %lld: the stride must be 1 to the tile's "
                        "size",
                        (long long)tile, what, (long long)stride);
    if (tile < cells) {
        axis->size = tile;
        axis->stride = stride;
        /* Starts are the multiples of stride but those whose predecessor reaches the end. */
        axis->tiles = 1 + (cells - tile + stride - 1) / stride;
    }
    return VMT_OK;
}

int64_t vmt_vae_axis_first(const vmt_vae_axis *axis, int64_t i)
{
    return i * axis->stride;
}

int64_t vmt_vae_axis_count(const vmt_vae_axis *axis, int64_t i)
{
    const int64_t left = axis->cells - i * axis->stride;

    return left < axis->size ? left : axis->size;
}

void vmt_vae_axis_ramp(const vmt_vae_axis *axis, int64_t i, int64_t scale, float *ramp)
{
    const int64_t count = vmt_vae_axis_count(axis, i) * scale;
    const int64_t border = (axis->size - axis->stride) * scale;

    for (int64_t j = 0; j < count; j++)
        ramp[j] = 1;
    for (int64_t j = 0; i > 0 && j < border; j++)
        ramp[j] = (float)(j + 1) / (float)border;
    /* Second, as it wins where both ramps meet. */
    for (int64_t j = 0; i < axis->tiles - 1 && j < border; j++)
        ramp[count - 1 - j] = (float)(j + 1) / (float)border;
}
