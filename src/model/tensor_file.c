/* SPDX-License-Identifier: MIT */
#include "model/tensor_file.h"

#include "model/gguf.h"
#include "model/pth.h"
#include "model/safetensors.h"
#include "model/shard_index.h"
#include "model/tensor_names.h"
#include "model/tensor_scales.h"
#include "model/tensor_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum vmt_status new_file(vmt_ctx *ctx, vmt_tensor_file **file, const char *path)
{
    void *memory;

    *file = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(vmt_tensor_file)));
    *file = memory;
    (*file)->path = strdup(path);
    if (!(*file)->path) {
        vmt_tensor_file_close(*file);
        *file = NULL;
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", path);
    }
    return VMT_OK;
}

/* Maps one file; the mapping lives as long as the table. */
static enum vmt_status map_into(vmt_ctx *ctx, vmt_tensor_file *file, const char *path,
                                vmt_mapped_file *map)
{
    void *item = NULL;

    VMT_TRY(vmt_mapped_file_open(ctx, map, path));
    const enum vmt_status status = vmt_list_add(ctx, &file->maps, sizeof *map, &item);
    if (status != VMT_OK) {
        vmt_mapped_file_close(map);
        return status;
    }
    memcpy(item, map, sizeof *map);
    file->copy_limit += map->length;
    return VMT_OK;
}

void vmt_tensor_file_leave(const vmt_tensor_file *file, const vmt_tensor *tensor)
{
    const vmt_mapped_file *maps = file->maps.items;
    const unsigned char *data = tensor->data;

    for (size_t i = 0; i < file->maps.count; i++)
        if (data >= maps[i].bytes && data < maps[i].bytes + maps[i].length)
            vmt_mapped_reading(data, vmt_tensor_bytes(tensor), VMT_READ_DONE);
}

static enum vmt_status read_shard(vmt_ctx *ctx, vmt_tensor_file *file, const vmt_shard_index *index,
                                  int64_t shard, const char *path)
{
    const int64_t first = vmt_tensor_file_count(file);
    vmt_mapped_file map;

    VMT_TRY(map_into(ctx, file, path, &map));
    VMT_TRY(vmt_safetensors_parse(ctx, file, map.bytes, map.length, path));
    for (int64_t i = first; i < vmt_tensor_file_count(file); i++) {
        const char *name = vmt_tensor_file_name(file, i);
        const int64_t named = vmt_shard_index_find(index, name);
        if (named != shard)
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s' lies here, but by the index in %.200s", path, name,
                            named < 0 ? "no shard" : index->shards[named]);
    }
    return VMT_OK;
}

/* Whatever program the file is of: the official names, and factors at their weights. */
static enum vmt_status as_official(vmt_ctx *ctx, vmt_tensor_file *file)
{
    VMT_TRY(vmt_names_to_official(ctx, file));
    return vmt_scales_attach(ctx, file);
}

static enum vmt_status read_shards(vmt_ctx *ctx, vmt_tensor_file *file,
                                   const vmt_shard_index *index)
{
    const char *slash = strrchr(file->path, '/');
    const int folder = slash ? (int)(slash + 1 - file->path) : 0;

    for (int64_t i = 0; i < index->shard_count; i++) {
        const size_t size = (size_t)folder + strlen(index->shards[i]) + 1;
        char *path = malloc(size);
        if (!path)
            return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", file->path);
        snprintf(path, size, "%.*s%s", folder, file->path, index->shards[i]);
        const enum vmt_status status = read_shard(ctx, file, index, i, path);
        free(path);
        VMT_TRY(status);
    }
    VMT_TRY(vmt_table_seal(ctx, file));
    for (int64_t i = 0; i < index->tensor_count; i++)
        if (!vmt_tensor_file_find(file, index->tensors[i].name))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s' is not in its shard %.200s",
                            file->path, index->tensors[i].name,
                            index->shards[index->tensors[i].shard]);
    return as_official(ctx, file);
}

static enum vmt_status refuse_kind(vmt_ctx *ctx, const vmt_tensor_file *file,
                                   const unsigned char *bytes, size_t length)
{
    if (length >= 2 && bytes[0] == 0x80 && bytes[1] <= 5)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: a pickle of torch before 1.6; save it again with a newer torch, or as "
                        "safetensors",
                        file->path);
    return vmt_fail(
        ctx, VMT_E_FORMAT,
        "%s: neither safetensors, nor an index of shards, nor torch .pth, nor GGUF (%zu "
        "bytes, beginning %02x %02x)",
        file->path, length, (unsigned)bytes[0], length > 1 ? (unsigned)bytes[1] : 0u);
}

static enum vmt_status read_bytes(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                                  size_t length)
{
    if (length == 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: the file is empty", file->path);
    /* safetensors first: its length may begin like the others, but no other has "{" at byte 8 after
     * so small a number */
    const bool is_safetensors = vmt_safetensors_looks(bytes, length);
    if (bytes[0] == '{' && !is_safetensors) {
        vmt_shard_index index;
        VMT_TRY(vmt_shard_index_parse(ctx, &index, bytes, length, file->path));
        const enum vmt_status status = read_shards(ctx, file, &index);
        vmt_shard_index_free(&index);
        return status;
    }
    if (is_safetensors)
        VMT_TRY(vmt_safetensors_parse(ctx, file, bytes, length, file->path));
    else if (vmt_zip_looks(bytes, length))
        VMT_TRY(vmt_pth_parse(ctx, file, bytes, length, file->path));
    else if (vmt_gguf_looks(bytes, length))
        VMT_TRY(vmt_gguf_parse(ctx, file, bytes, length, file->path));
    else
        return refuse_kind(ctx, file, bytes, length);
    VMT_TRY(vmt_table_seal(ctx, file));
    return as_official(ctx, file);
}

enum vmt_status vmt_tensor_file_open(vmt_ctx *ctx, vmt_tensor_file **file, const char *path)
{
    vmt_mapped_file map;
    enum vmt_status status;

    VMT_TRY(new_file(ctx, file, path));
    status = map_into(ctx, *file, path, &map);
    if (status == VMT_OK)
        status = read_bytes(ctx, *file, map.bytes, map.length);
    if (status != VMT_OK) {
        vmt_tensor_file_close(*file);
        *file = NULL;
    }
    return status;
}

enum vmt_status vmt_tensor_file_open_bytes(vmt_ctx *ctx, vmt_tensor_file **file,
                                           unsigned char *bytes, size_t length, const char *label)
{
    enum vmt_status status;

    VMT_TRY(new_file(ctx, file, label));
    (*file)->copy_limit = length;
    status = read_bytes(ctx, *file, bytes, length);
    if (status != VMT_OK) {
        vmt_tensor_file_close(*file);
        *file = NULL;
    }
    return status;
}
