/* SPDX-License-Identifier: MIT
 *
 * Colours straight from a latent, without the decoder: a linear map of its channels, with bias,
 * fitted to the autoencoder at hand by least squares on a colour chart that it encodes.  One pixel
 * a cell: enough to see what a run is making.
 */
#ifndef VMT_VAE_COLOUR_H
#define VMT_VAE_COLOUR_H

#include "vae/vae.h"

typedef struct vmt_vae_colour {
    int64_t channels; /* of the latent */
    /* Red, green, blue from each channel and 1; of the first latent frame, which stands for one
     * frame of the clip, and of the others, which stand for a group. */
    double weight[2][3][VMT_VAE_MAX_Z + 1];
} vmt_vae_colour;

/* Encodes the chart (converts weights if need be) and fits.  `options`: progress alone. */
enum vmt_status vmt_vae_colour_fit(vmt_ctx *ctx, vmt_vae_colour *map, vmt_vae *vae,
                                   const vmt_vae_options *options);

/* Bytes that takes while it runs, without converted weights. */
enum vmt_status vmt_vae_colour_bytes(vmt_ctx *ctx, const vmt_vae *vae, size_t *bytes);

/**
 * rgb  out  clip->frames x height x width pixels: the first frames, rows and columns of the latent
 *   latent  in  [channels, frames, rows, cols], at least as large
 */
void vmt_vae_colour_apply(const vmt_vae_colour *map, vmt_clip *clip, const float *latent,
                          int64_t frames, int64_t rows, int64_t cols);

#endif
