/* SPDX-License-Identifier: MIT
 *
 * What the readers of safetensors and .pth fill: names, tensors, metadata, and what keeps their
 * memory alive.  Behind vmt_tensor_file; only src/model includes it.
 */
#ifndef VMT_MODEL_TENSOR_TABLE_H
#define VMT_MODEL_TENSOR_TABLE_H

#include "base/mapped_file.h"
#include "model/tensor_file.h"

typedef struct vmt_tensor_entry {
    char *name;
    vmt_tensor tensor;
} vmt_tensor_entry;

typedef struct vmt_meta_entry {
    char *key, *value;
} vmt_meta_entry;

/* Grows by doubling; `bytes` is what one item takes. */
typedef struct vmt_list {
    void *items;
    size_t count, capacity;
} vmt_list;

struct vmt_tensor_file {
    char *path;
    vmt_list entries;   /* vmt_tensor_entry, in file order */
    vmt_list meta;      /* vmt_meta_entry */
    vmt_list maps;      /* vmt_mapped_file */
    vmt_list copies;    /* void *: aligned copies of tensors that lie unaligned in the file */
    int64_t *sorted;    /* indices into entries, by name; made by seal */
    const char *scheme; /* whose names the file had (tensor_names.c); NULL: not a model's */
    size_t copied_bytes, copy_limit;
};

/* Room for one more zeroed item at the end, counted; *item points to it. */
enum vmt_status vmt_list_add(vmt_ctx *ctx, vmt_list *list, size_t bytes, void **item);

/* Adds a tensor whose `length` bytes lie at `data`; copies them if they are not aligned for their
 * dtype.  The caller has checked that length fits dtype and shape.  The name is copied. */
enum vmt_status vmt_table_add(vmt_ctx *ctx, vmt_tensor_file *file, const char *name,
                              enum vmt_dtype dtype, int rank, const int64_t *shape,
                              unsigned char *data, size_t length);

/* `data` itself if it is aligned to `alignment`, else a copy owned by the file. */
enum vmt_status vmt_table_align(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char **data,
                                size_t length, size_t alignment);

/* Zeroed memory that lives as long as the file and counts as copied. */
enum vmt_status vmt_table_own(vmt_ctx *ctx, vmt_tensor_file *file, size_t length, void **memory);

/* Removes entry i where drop[i].  Not sealed any more. */
void vmt_table_drop(vmt_tensor_file *file, const bool *drop);

enum vmt_status vmt_table_add_meta(vmt_ctx *ctx, vmt_tensor_file *file, const char *key,
                                   const char *value);

/* After the last add or change of names: sorts.  Errors: VMT_E_FORMAT (a name twice), VMT_E_MEMORY.
 */
enum vmt_status vmt_table_seal(vmt_ctx *ctx, vmt_tensor_file *file);

/* Index into entries, or -1. */
int64_t vmt_table_find(const vmt_tensor_file *file, const char *name);

/* Index into meta, or -1. */
int64_t vmt_table_find_meta(const vmt_tensor_file *file, const char *key);

/* Bytes of a dense tensor.  false: an axis is negative, the rank is above VMT_MAX_RANK, rows are no
 * whole blocks, or the product overflows. */
bool vmt_shape_bytes(enum vmt_dtype dtype, int rank, const int64_t *shape, size_t *bytes);

#endif
