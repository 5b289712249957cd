/* SPDX-License-Identifier: MIT
 *
 * *.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor: shard file}}.
 */
#ifndef VMT_MODEL_SHARD_INDEX_H
#define VMT_MODEL_SHARD_INDEX_H

#include "base/ctx.h"

typedef struct vmt_shard_tensor {
    char *name;
    int64_t shard; /* into vmt_shard_index.shards */
} vmt_shard_tensor;

typedef struct vmt_shard_index {
    char **shards; /* plain file names, no folder part, each once */
    int64_t shard_count;
    vmt_shard_tensor *tensors; /* sorted by name, each once */
    int64_t tensor_count;
} vmt_shard_index;

/* Errors: VMT_E_FORMAT, VMT_E_MEMORY; then *index is empty. */
enum vmt_status vmt_shard_index_parse(vmt_ctx *ctx, vmt_shard_index *index, const void *bytes,
                                      size_t length, const char *label);
void vmt_shard_index_free(vmt_shard_index *index);

/* Shard of a tensor, or -1. */
int64_t vmt_shard_index_find(const vmt_shard_index *index, const char *name);

/* A file name without folder part: not empty, no '/', not "." or "..". */
bool vmt_plain_file_name(const char *name);

#endif
