/* SPDX-License-Identifier: MIT
 *
 * Inside of encode and decode: one call of them, which vae_code.c runs whole or in weighted tiles,
 * vae_exact.c in exact ones, and vae_pixels.c feeds and empties.
 */
#ifndef VMT_VAE_RUN_H
#define VMT_VAE_RUN_H

#include "vae/vae_net.h"
#include "vae/vae_tile.h"

/* Rows and columns of a frame. */
typedef struct vmt_vae_box {
    int64_t top, left, height, width;
} vmt_vae_box;

/* One call of encode or decode. */
typedef struct vmt_vae_run {
    const vmt_vae *vae;
    const vmt_vae_options *options;
    enum vmt_vae_direction direction;
    vmt_vae_axis rows, cols;     /* tiles in latent cells */
    int64_t in_scale, out_scale; /* entries per latent cell: 8 for pixels, 1 for latents */
    int64_t in_channels, out_channels;
    int64_t in_frames, out_frames, latent_frames;
    bool weighted;     /* tiles that overlap */
    vmt_tensor input;  /* host frame of the largest tile; latents F64, pixels F32 */
    vmt_tensor output; /* two of those: one that comes while the other is read */
    vmt_tensor coming; /* the one whose download has begun; data NULL: none */
    vmt_tensor row_ramp, col_ramp;
    vmt_tensor weight; /* [rows, cols] of the output: Σ of the tiles' weights */
    /* decode in tiles: [frames, rows, cols, 3]: Σ weight y, or the tiles' pixels where frames are
     * to be delivered; encode: the latent */
    vmt_tensor sum;
    vmt_tensor
        border; /* exact tiles: [latent_frames, rows, cols, C] A, what both stretches share */
    vmt_vae_net net;
    /* Does with output frame f of this tile, on the host, what is to be done. */
    enum vmt_status (*take)(vmt_ctx *ctx, struct vmt_vae_run *run, int64_t f,
                            const vmt_tensor *host);
    vmt_vae_box in, out;      /* of this tile, in entries of input and output */
    int64_t index;            /* output frames of this tile so far */
    int64_t taken;            /* of them, those that were taken */
    int64_t done;             /* latent frames of all tiles so far */
    const vmt_vae_clip *clip; /* encode */
    float *latent;            /* encode */
    const vmt_vae_sink *sink; /* decode; NULL while measuring */
    const float *encoded;     /* decode */
} vmt_vae_run;

bool vmt_vae_is_tiled(const vmt_vae_run *run);
int64_t vmt_vae_out_rows(const vmt_vae_run *run);
int64_t vmt_vae_out_cols(const vmt_vae_run *run);

/* run->in of frame t into run->input. */
void vmt_vae_read_frame(const vmt_vae_run *run, int64_t t);

/* As vmt_vae_net.emit, user is the run: begins to fetch this frame, then takes the one before, so
 * that the backend always has work.  After the last frame of a tile comes vmt_vae_fetch_last. */
enum vmt_status vmt_vae_fetch(vmt_ctx *ctx, void *user, const vmt_tensor *frame);
enum vmt_status vmt_vae_fetch_last(vmt_ctx *ctx, vmt_vae_run *run);

/* As vmt_vae_run.take: the latent, or pixels into sink or sum, at run->out. */
enum vmt_status vmt_vae_take_latent(vmt_ctx *ctx, vmt_vae_run *run, int64_t f,
                                    const vmt_tensor *host);
enum vmt_status vmt_vae_take_pixels(vmt_ctx *ctx, vmt_vae_run *run, int64_t f,
                                    const vmt_tensor *host);

/* Of row i, column j of a weighted tile's output. */
float vmt_vae_tile_weight(const vmt_vae_run *run, int64_t i, int64_t j);

enum vmt_status vmt_vae_not_finite(vmt_ctx *ctx, int64_t f, int64_t row, int64_t col);

/* A whole frame to the sink. */
enum vmt_status vmt_vae_deliver(vmt_ctx *ctx, const vmt_vae_run *run, int64_t f, const float *rgb);

/* One more latent frame is done of one tile, of `tiles` in all. */
enum vmt_status vmt_vae_tell(vmt_ctx *ctx, vmt_vae_run *run, int64_t tiles);

/* Memory for exact tiles (the most any needs), and the run with it. */
enum vmt_status vmt_vae_exact_layout(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                     vmt_arena *host);
enum vmt_status vmt_vae_exact_run(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                  vmt_arena *host);

#endif
