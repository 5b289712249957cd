/* SPDX-License-Identifier: MIT
 *
 * The UMT5 encoder: token ids to the rows the DiT's cross-attention reads.
 * Source: Wan-Video/Wan2.1 wan/modules/t5.py (T5Encoder, shared_pos false); UMT5, arXiv 2304.09151.
 */
#ifndef VMT_TEXT_UMT5_H
#define VMT_TEXT_UMT5_H

#include "model/model_config.h"

typedef struct vmt_umt5 vmt_umt5;

/* Binds all tensors by their official names; only the norms' vectors are copied.  The file must
 * stay open as long as the encoder.  Errors: VMT_E_MODEL, VMT_E_MEMORY. */
enum vmt_status vmt_umt5_open(vmt_ctx *ctx, vmt_umt5 **umt5, const vmt_tensor_file *file,
                              const vmt_text_config *config);
void vmt_umt5_close(vmt_ctx *ctx, vmt_umt5 *umt5);

/**
 * Encodes `count` tokens (padding is left out: masked keys do not contribute, so the rows are the
 * same).  Matrices are converted for the backend layer by layer and dropped again.
 *   rows  out  [count, dim] F32, host
 *   ids   in   0 <= id < vocab
 * Errors: VMT_E_ARG (count, ids), VMT_E_MEMORY, VMT_E_NUMERIC (names the layer), VMT_E_CANCELLED.
 */
enum vmt_status vmt_umt5_encode(vmt_ctx *ctx, vmt_umt5 *umt5, float *rows, const int32_t *ids,
                                int64_t count);

/* Bytes that vmt_umt5_encode takes for `count` tokens: activations, and the converted matrices of
 * one layer. */
enum vmt_status vmt_umt5_encode_bytes(vmt_ctx *ctx, const vmt_umt5 *umt5, int64_t count,
                                      size_t *bytes);

/* Bucket of the distance key - query. */
int64_t vmt_umt5_bucket(const vmt_text_config *config, int64_t distance);

#endif
