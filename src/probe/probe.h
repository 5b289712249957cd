/* SPDX-License-Identifier: MIT
 *
 * One conformance case: inputs by name, constants in the metadata, weight files beside the case
 * file. Each kind is one function in probe_*.c; vmt_probe (probe.c) picks it by the metadata key
 * "kind". Outputs are collected, then written in one go.  Format: docs/formats.md, "case file".
 */
#ifndef VMT_PROBE_H
#define VMT_PROBE_H

#include "model/model_config.h"

typedef struct vmt_probe_case {
    const vmt_tensor_file *file; /* the case: tensors in.* and metadata */
    const char *folder;          /* where its weight files lie */
    vmt_named_tensor *outputs;   /* collected by vmt_probe_emit; owned */
    int64_t count, capacity;
} vmt_probe_case;

/* Frees the collected outputs. */
void vmt_probe_case_free(vmt_probe_case *c);

/* Input "in.NAME" of a dtype and rank (rank < 0: any); VMT_E_FORMAT when absent or different. */
enum vmt_status vmt_probe_input(vmt_ctx *ctx, const vmt_probe_case *c, const char *name,
                                enum vmt_dtype dtype, int rank, const vmt_tensor **input);

/* True when the case holds "in.NAME". */
bool vmt_probe_has(const vmt_probe_case *c, const char *name);

/* Opens the weight file that the metadata key names: a file beside the case, ".safetensors" at its
 * end may be left out. */
enum vmt_status vmt_probe_weights(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                  vmt_tensor_file **weights);

/* Opens the config.json that metadata "config" names, beside the case; none: NULL. */
enum vmt_status vmt_probe_config(vmt_ctx *ctx, const vmt_probe_case *c, vmt_config_file **config);

/* Adds output `name` ("out.velocity"): copies a tensor of the backend to the host, as F32 (F64 on
 * ref64 too: converted), I32 as I64, U8 as it is; an I64 one lies on the host already.  The shape
 * is `rank` axes of `shape` with as many elements. */
enum vmt_status vmt_probe_emit(vmt_ctx *ctx, vmt_probe_case *c, const vmt_tensor *tensor, int rank,
                               const int64_t *shape, const char *name, ...) VMT_PRINTF(6, 7);

/* The same for a tensor on the host, under its own shape: F32, I64, I32 (as I64) or U8. */
enum vmt_status vmt_probe_emit_host(vmt_ctx *ctx, vmt_probe_case *c, const vmt_tensor *host,
                                    const char *name, ...) VMT_PRINTF(4, 5);

/* "3x4" or "(3, 4)" -> values; VMT_E_FORMAT when the key is absent or has another count. */
enum vmt_status vmt_probe_meta_sizes(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                     int64_t *values, int count);

/* The kinds. */
enum vmt_status vmt_probe_dit(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_vae(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_vae_tiled(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_umt5(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_samplers(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_rng(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_amf(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_features(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_shift(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_adamw(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_guided(vmt_ctx *ctx, vmt_probe_case *c);
enum vmt_status vmt_probe_pipeline(vmt_ctx *ctx, vmt_probe_case *c);

#endif
