/* SPDX-License-Identifier: MIT
 *
 * The UMT5 text encoder: token ids to one row per token.
 *
 *   x = E[ids];  per layer   x += Wo attention(q, k, v, B),   q, k, v from rms(x) norm1
 *                            x += fc2 (fc1(y) ⊙ gelu(gate y)),   y = rms(x) norm2
 *   rows = rms(x) norm
 *
 * Attention has no 1/√d; B is the layer's own bias by relative position.  Only real tokens are
 * computed: padding is masked in the original, so it cannot change their rows.
 * Source: Wan-Video/Wan2.1 wan/modules/t5.py.
 */
#ifndef VMT_TEXT_UMT5_H
#define VMT_TEXT_UMT5_H

#include "model/model_config.h"
#include "model/tensor_file.h"

typedef struct vmt_umt5 vmt_umt5;

/* One prompt's tokens and where its rows go. */
typedef struct vmt_umt5_sequence {
    const int32_t *ids; /* [count], each below vocab */
    int64_t count;      /* >= 1 */
    float *rows;        /* [count, dim], host; written */
} vmt_umt5_sequence;

/* Called after each layer; anything but VMT_OK stops the encoder with it.  May be NULL. */
typedef enum vmt_status vmt_umt5_progress_fn(vmt_ctx *ctx, void *user, int64_t layer,
                                             int64_t layers);

/* Binds a checkpoint's tensors by their official names; converts the norms' vectors, leaves the
 * matrices mapped.  The file must outlive the encoder.  Errors: VMT_E_MODEL. */
enum vmt_status vmt_umt5_open(vmt_ctx *ctx, vmt_umt5 **umt5, const vmt_tensor_file *file,
                              const vmt_text_config *config);
/* NULL is allowed. */
void vmt_umt5_close(vmt_ctx *ctx, vmt_umt5 *umt5);
const vmt_text_config *vmt_umt5_get_config(const vmt_umt5 *umt5);

/* Gives the backend all layers' weights at once, for many prompts; they stay until the encoder is
 * closed, and vmt_umt5_encode_bytes counts them all. */
enum vmt_status vmt_umt5_keep(vmt_ctx *ctx, vmt_umt5 *umt5);

/* Encodes all sequences layer by layer: each layer's weights are read, packed and released once, so
 * that never more than one layer has a second copy; two, where a device has the next one brought
 * while it computes.
 * Errors: VMT_E_ARG (an id out of range), VMT_E_MEMORY, VMT_E_NUMERIC (naming the layer),
 * VMT_E_CANCELLED; the rows are then undefined. */
enum vmt_status vmt_umt5_encode(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_umt5_sequence *sequences,
                                int64_t count, vmt_umt5_progress_fn *progress, void *user);

/* Bytes that vmt_umt5_encode takes for sequences of these lengths (only `count` is read), its
 * largest layer's packed weights (with the next one's on a device) and the norms' vectors included;
 * *mapped: of weights used where
 * they lie. */
enum vmt_status vmt_umt5_encode_bytes(vmt_ctx *ctx, const vmt_umt5 *umt5,
                                      const vmt_umt5_sequence *sequences, int64_t count,
                                      size_t *bytes, size_t *mapped);

/* Bucket of distance = key - query: half of them for keys to the right; of each half, the first
 * half one by one, the rest logarithmic up to max_distance. */
int64_t vmt_umt5_bucket(const vmt_text_config *config, int64_t distance);

#endif
