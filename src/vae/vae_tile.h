/* SPDX-License-Identifier: MIT
 *
 * Overlapping spatial tiles.  Each is weighted with min(row ramp, column ramp): on a side that is
 * not the frame's border the ramp over the b = tile - stride outermost cells is 1/b, 2/b, .., 1.
 * Result = Σ weight y / Σ weight.  Source: FastVMT wan_video_vae.py, build_mask.
 */
#ifndef VMT_VAE_TILE_H
#define VMT_VAE_TILE_H

#include "vae/vae.h"

/* Tiles along one axis, in latent cells. */
typedef struct vmt_vae_axis {
    int64_t cells;        /* of the frame */
    int64_t size, stride; /* size <= cells */
    int64_t tiles;
} vmt_vae_axis;

/* Errors: VMT_E_ARG (stride not in 1 .. tile). */
enum vmt_status vmt_vae_axis_init(vmt_ctx *ctx, vmt_vae_axis *axis, const char *what, int64_t cells,
                                  int64_t tile, int64_t stride);

/* First cell and number of cells of tile i. */
int64_t vmt_vae_axis_first(const vmt_vae_axis *axis, int64_t i);
int64_t vmt_vae_axis_count(const vmt_vae_axis *axis, int64_t i);

/* Ramp of tile i: count * scale values, where an output has `scale` entries per cell. */
void vmt_vae_axis_ramp(const vmt_vae_axis *axis, int64_t i, int64_t scale, float *ramp);

#endif
