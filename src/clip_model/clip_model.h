/* SPDX-License-Identifier: MIT
 *
 * CLIP (Radford et al. 2021, arXiv 2103.00020) with a vision transformer: pictures and texts to
 * vectors whose cosine says how well they go together.  Weights are the user's: the safetensors of
 * openai/clip-vit-base-patch32 and its kind.
 */
#ifndef VMT_CLIP_MODEL_H
#define VMT_CLIP_MODEL_H

#include "base/ctx.h"

typedef struct vmt_clip_model vmt_clip_model;

/* From a folder: model.safetensors, config.json (heads and activation; may be absent), and the
 * tokenizer's tables.  Errors: VMT_E_IO, VMT_E_FORMAT, VMT_E_MODEL (a tensor is missing or has
 * another shape), VMT_E_UNSUPPORTED (another activation), VMT_E_MEMORY. */
enum vmt_status vmt_clip_model_open(vmt_ctx *ctx, vmt_clip_model **model, const char *folder);

/* NULL is allowed. */
void vmt_clip_model_close(vmt_ctx *ctx, vmt_clip_model *model);

int64_t vmt_clip_model_side(const vmt_clip_model *model); /* pixels of its square pictures */
int64_t vmt_clip_model_dim(const vmt_clip_model *model);  /* of its vectors */

/* vector: [dim], not normalised.  Errors: VMT_E_ARG (text), VMT_E_NUMERIC, VMT_E_MEMORY. */
enum vmt_status vmt_clip_model_text(vmt_ctx *ctx, vmt_clip_model *model, float *vector,
                                    const char *text);

/* pixels: [side, side, 3], RGB. */
enum vmt_status vmt_clip_model_picture(vmt_ctx *ctx, vmt_clip_model *model, float *vector,
                                       const uint8_t *pixels);

#endif
