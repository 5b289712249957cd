/* SPDX-License-Identifier: MIT */
#include "model/shard_index.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 1000 };

bool vmt_plain_file_name(const char *name)
{
    return name[0] && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static enum vmt_status add_shard(vmt_ctx *ctx, vmt_shard_index *index, const char *name,
                                 const char *label, int64_t *shard)
{
    for (int64_t i = index->shard_count - 1; i >= 0; i--) /* neighbours share a shard */
        if (strcmp(index->shards[i], name) == 0) {
            *shard = i;
            return VMT_OK;
        }
    if (index->shard_count == MAX_SHARDS)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: more than %d shards", label, (int)MAX_SHARDS);
    char *copy = strdup(name);
    if (!copy)
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", label);
    *shard = index->shard_count;
    index->shards[index->shard_count++] = copy;
    return VMT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vmt_shard_tensor *)a)->name, ((const vmt_shard_tensor *)b)->name);
}

static enum vmt_status read_map(vmt_ctx *ctx, vmt_shard_index *index, const cJSON *map,
                                const char *label)
{
    const cJSON *item;
    void *memory;

    if (!cJSON_IsObject(map) || !map->child)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: no weight_map, or nothing in it: not an index of shards", label);
    VMT_TRY(vmt_alloc(ctx, &memory, MAX_SHARDS, sizeof *index->shards));
    index->shards = memory;
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)cJSON_GetArraySize(map), sizeof *index->tensors));
    index->tensors = memory;
    cJSON_ArrayForEach(item, map)
    {
        vmt_shard_tensor *tensor = &index->tensors[index->tensor_count];
        if (!cJSON_IsString(item) || !vmt_plain_file_name(item->valuestring))
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s' lies in '%.200s', expected the plain name of a "
                            "file in the same folder",
                            label, item->string,
                            cJSON_IsString(item) ? item->valuestring : "(no string)");
        VMT_TRY(add_shard(ctx, index, item->valuestring, label, &tensor->shard));
        tensor->name = strdup(item->string);
        if (!tensor->name)
            return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", label);
        index->tensor_count++;
    }
    qsort(index->tensors, (size_t)index->tensor_count, sizeof *index->tensors, by_name);
    for (int64_t i = 1; i < index->tensor_count; i++)
        if (by_name(&index->tensors[i - 1], &index->tensors[i]) == 0)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s' is there twice", label,
                            index->tensors[i].name);
    return VMT_OK;
}

enum vmt_status vmt_shard_index_parse(vmt_ctx *ctx, vmt_shard_index *index, const void *bytes,
                                      size_t length, const char *label)
{
    cJSON *root = NULL;
    enum vmt_status status;

    *index = (vmt_shard_index){0};
    VMT_TRY(vmt_json_parse(ctx, &root, bytes, length, label));
    status = read_map(ctx, index, cJSON_GetObjectItemCaseSensitive(root, "weight_map"), label);
    cJSON_Delete(root);
    if (status != VMT_OK)
        vmt_shard_index_free(index);
    return status;
}

void vmt_shard_index_free(vmt_shard_index *index)
{
    for (int64_t i = 0; i < index->shard_count; i++)
        free(index->shards[i]);
    for (int64_t i = 0; i < index->tensor_count; i++)
        free(index->tensors[i].name);
    free(index->shards);
    free(index->tensors);
    *index = (vmt_shard_index){0};
}

int64_t vmt_shard_index_find(const vmt_shard_index *index, const char *name)
{
    int64_t low = 0, high = index->tensor_count;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(name, index->tensors[middle].name);
        if (order == 0)
            return index->tensors[middle].shard;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}
