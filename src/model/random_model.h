/* SPDX-License-Identifier: MIT
 *
 * A model folder with random weights, in exactly the official formats, names, dtypes and shapes:
 * what loading, memory and speed are tried on where the real weights cannot be had.
 */
#ifndef VMT_MODEL_RANDOM_MODEL_H
#define VMT_MODEL_RANDOM_MODEL_H

#include "model/model_config.h"

typedef struct vmt_random_model {
    const char *shape;        /* "tiny", "1.3b" or "14b" */
    const char *text_shape;   /* "small", or "xxl" (UMT5-xxl, 11.4 GB); NULL: small for tiny */
    const char *vae_shape;    /* "small", or "wan"; NULL: small for tiny */
    int64_t layers;           /* of the transformer; 0: as the shape has */
    int64_t shards;           /* files of the transformer; 0: as the shape has */
    enum vmt_dtype dit_dtype; /* F32 (official), F16 or BF16 */
    uint64_t seed;
    const char *tokenizer; /* spiece.model to copy; NULL: none */
    bool two_transformers; /* as Wan2.2 A14B has: high_noise_model and low_noise_model */
} vmt_random_model;

/* The configurations that such a folder has.  Errors: VMT_E_ARG (unknown shape). */
enum vmt_status vmt_random_model_configs(vmt_ctx *ctx, const vmt_random_model *model,
                                         vmt_dit_config *dit, vmt_vae_config *vae,
                                         vmt_text_config *text);

/* Writes the folder, which must be absent or empty.  Memory stays below 16 MiB.  Same arguments,
 * same bytes. Errors: VMT_E_ARG, VMT_E_IO; each file appears whole or not at all. */
enum vmt_status vmt_make_random_model(vmt_ctx *ctx, const char *dir, const vmt_random_model *model);

#endif
