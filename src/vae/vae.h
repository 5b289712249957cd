/* SPDX-License-Identifier: MIT
 *
 * The Wan video autoencoder: RGB frames <-> latent [z, F, h, w], 8 pixels to a cell and (by the
 * official configuration) 4 frames to a latent frame, the first frame alone.
 *
 * Both directions stream: one frame at a time goes through the whole network, and each causal
 * convolution remembers the last two frames it read.  So memory does not depend on the clip's
 * length, and the result is the one of a single pass over the clip.
 * Source: Wan-Video/Wan2.1 wan/modules/vae.py; tiles as in FastVMT's wan_video_vae.py.
 */
#ifndef VMT_VAE_H
#define VMT_VAE_H

#include "model/model_config.h"

typedef struct vmt_vae vmt_vae;

enum vmt_vae_direction { VMT_VAE_ENCODE = 1, VMT_VAE_DECODE = 2 };

/* Pixels of a latent cell's side. */
enum { VMT_VAE_CELL = 8 };

/**
 * Binds all tensors of the file by their official names and checks their shapes.  Only the norms'
 * small vectors are copied: the file must stay open as long as the autoencoder.
 * Errors: VMT_E_MODEL (tensors missing, surplus or misshapen), VMT_E_MEMORY.
 */
enum vmt_status vmt_vae_open(vmt_ctx *ctx, vmt_vae **vae, const vmt_tensor_file *file,
                             const vmt_vae_config *config);

/* NULL is allowed. */
void vmt_vae_close(vmt_ctx *ctx, vmt_vae *vae);

/* Lets the backend convert the weights of the given directions (or-ed).  Encode and decode do it
 * themselves when it has not been done.  vmt_vae_release undoes it. */
enum vmt_status vmt_vae_prepare(vmt_ctx *ctx, vmt_vae *vae, unsigned directions);
void vmt_vae_release(vmt_ctx *ctx, vmt_vae *vae);

/* Bytes that vmt_vae_prepare allocates. */
size_t vmt_vae_weight_bytes(vmt_ctx *ctx, const vmt_vae *vae, unsigned directions);

/* Frames that become one latent frame: 4 by the official configuration. */
int64_t vmt_vae_time_factor(const vmt_vae *vae);

/* Channels of the latent. */
int64_t vmt_vae_channels(const vmt_vae *vae);

/* A clip to encode; exactly one of the two pointers is set. */
typedef struct vmt_vae_clip {
    const uint8_t *bytes; /* [frames, height, width, 3], x = byte * float32(2/255) - 1 */
    const float *planes;  /* [3, frames, height, width], -1 .. 1 */
    int64_t frames, height, width;
} vmt_vae_clip;

/*
 * Where decoded frames go, in order; pointers that are NULL are skipped.  With tiles they come all
 * at the end.
 */
typedef struct vmt_vae_sink {
    uint8_t *bytes; /* [frames, height, width, 3]: trunc(clip((x + 1) * 127.5, 0, 255)) */
    /* rgb: [height, width, 3], not clamped, valid during the call */
    enum vmt_status (*frame)(vmt_ctx *ctx, void *user, int64_t index, const float *rgb);
    void *user;
} vmt_vae_sink;

/* Options of both directions; NULL or all zero: no tiles, no progress. */
typedef struct vmt_vae_options {
    int64_t tile[2]; /* rows, columns of a spatial tile in latent cells; 0: not tiled */
    /* Tiles that overlap and are weighted, as FastVMT does; else exact ones, which give what whole
     * frames give, up to the rounding of a backend whose sums depend on a frame's size. */
    bool blend;
    int64_t stride[2]; /* blend: from tile to tile, 1 .. tile; else 0 */
    /* After each latent frame of each tile; a failure it returns stops the run. */
    enum vmt_status (*progress)(vmt_ctx *ctx, void *user, int64_t done, int64_t total);
    void *user;
} vmt_vae_options;

/**
 * Encodes a clip.
 *   latent  out  [z, F, height / 8, width / 8], normalised; memory of the caller;
 *                F = 1 + (frames - 1) / time factor, frames beyond that are not read
 *   clip    in   height and width multiples of 8
 * Errors: VMT_E_ARG (sizes), VMT_E_MEMORY, VMT_E_NUMERIC, VMT_E_CANCELLED.
 */
enum vmt_status vmt_vae_encode(vmt_ctx *ctx, vmt_vae *vae, float *latent, const vmt_vae_clip *clip,
                               const vmt_vae_options *options);

/**
 * Decodes latent [z, frames, rows, cols] into 1 + (frames - 1) * time factor frames of
 * 8 rows x 8 cols pixels.
 * Errors: VMT_E_ARG (sizes), VMT_E_MEMORY, VMT_E_NUMERIC, VMT_E_CANCELLED, and the sink's.
 */
enum vmt_status vmt_vae_decode(vmt_ctx *ctx, vmt_vae *vae, const vmt_vae_sink *sink,
                               const float *latent, int64_t frames, int64_t rows, int64_t cols,
                               const vmt_vae_options *options);

/* Bytes those calls take while they run, by the same layout code; frames counts only with tiles.
 * Not in it: the caller's buffers and converted weights; with exact tiles, the floats of all frames
 * for a sink that takes frames. */
enum vmt_status vmt_vae_encode_bytes(vmt_ctx *ctx, const vmt_vae *vae, int64_t frames,
                                     int64_t height, int64_t width, const vmt_vae_options *options,
                                     size_t *bytes);
enum vmt_status vmt_vae_decode_bytes(vmt_ctx *ctx, const vmt_vae *vae, int64_t frames, int64_t rows,
                                     int64_t cols, const vmt_vae_options *options, size_t *bytes);

/* bytes[i] = trunc(clip((x[i] + 1) * 127.5, 0, 255)). */
void vmt_vae_to_bytes(uint8_t *bytes, const float *x, int64_t count);

#endif
