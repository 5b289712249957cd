/* SPDX-License-Identifier: MIT */
#include "model/tensor_table.h"

#include <stdlib.h>
#include <string.h>

enum vmt_status vmt_list_add(vmt_ctx *ctx, vmt_list *list, size_t bytes, void **item)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 16;
        size_t size;
        void *grown = vmt_mul_size(capacity, bytes, &size) ? realloc(list->items, size) : NULL;
        if (!grown)
            return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %zu items of %zu bytes", capacity,
                            bytes);
        list->items = grown;
        list->capacity = capacity;
    }
    *item = (unsigned char *)list->items + list->count++ * bytes;
    memset(*item, 0, bytes);
    return VMT_OK;
}

static enum vmt_status copy_text(vmt_ctx *ctx, char **copy, const char *text)
{
    *copy = strdup(text);
    return *copy ? VMT_OK : vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %zu bytes", strlen(text));
}

bool vmt_shape_bytes(enum vmt_dtype dtype, int rank, const int64_t *shape, size_t *bytes)
{
    const int64_t block = vmt_dtype_block(dtype);
    size_t product = vmt_dtype_bytes(dtype);

    if (rank < 0 || rank > VMT_MAX_RANK)
        return false;
    if (block > 1 && (rank < 1 || shape[rank - 1] % block != 0))
        return false;
    for (int i = 0; i < rank; i++) {
        const int64_t side = i == rank - 1 ? shape[i] / block : shape[i];
        if (side < 0 || (uint64_t)side > SIZE_MAX || !vmt_mul_size(product, (size_t)side, &product))
            return false;
    }
    if (product > INT64_MAX)
        return false;
    *bytes = product;
    return true;
}

enum vmt_status vmt_table_align(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char **data,
                                size_t length, size_t alignment)
{
    void *copy = NULL;

    if ((uintptr_t)*data % alignment == 0 || length == 0)
        return VMT_OK;
    VMT_TRY(vmt_table_own(ctx, file, length, &copy));
    memcpy(copy, *data, length);
    *data = copy;
    return VMT_OK;
}

enum vmt_status vmt_table_own(vmt_ctx *ctx, vmt_tensor_file *file, size_t length, void **memory)
{
    void **slot = NULL, *copy = NULL;

    /* tensors that share bytes could otherwise ask for more memory than the file has */
    if (length > file->copy_limit - file->copied_bytes)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensors overlap: more data than the file's %zu bytes", file->path,
                        file->copy_limit);
    VMT_TRY(vmt_list_add(ctx, &file->copies, sizeof(void *), (void **)&slot));
    if (posix_memalign(&copy, VMT_ARENA_ALIGN, length) != 0) {
        file->copies.count--;
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory: %zu bytes for an unaligned tensor",
                        file->path, length);
    }
    memset(copy, 0, length);
    *slot = copy;
    file->copied_bytes += length;
    *memory = copy;
    return VMT_OK;
}

void vmt_table_drop(vmt_tensor_file *file, const bool *drop)
{
    vmt_tensor_entry *entries = file->entries.items;
    size_t kept = 0;

    for (size_t i = 0; i < file->entries.count; i++)
        if (drop[i])
            free(entries[i].name);
        else
            entries[kept++] = entries[i];
    file->entries.count = kept;
}

enum vmt_status vmt_table_add(vmt_ctx *ctx, vmt_tensor_file *file, const char *name,
                              enum vmt_dtype dtype, int rank, const int64_t *shape,
                              unsigned char *data, size_t length)
{
    vmt_tensor_entry *entry;
    void *item = NULL;

    /* blocks are read byte by byte */
    const size_t alignment = vmt_dtype_block(dtype) > 1 ? 1 : vmt_dtype_bytes(dtype);
    VMT_TRY(vmt_table_align(ctx, file, &data, length, alignment));
    VMT_TRY(vmt_list_add(ctx, &file->entries, sizeof *entry, &item));
    entry = item;
    entry->tensor = vmt_tensor_over(data, dtype, rank, shape);
    return copy_text(ctx, &entry->name, name);
}

enum vmt_status vmt_table_add_meta(vmt_ctx *ctx, vmt_tensor_file *file, const char *key,
                                   const char *value)
{
    vmt_meta_entry *entry;
    void *item = NULL;

    VMT_TRY(vmt_list_add(ctx, &file->meta, sizeof *entry, &item));
    entry = item;
    VMT_TRY(copy_text(ctx, &entry->key, key));
    return copy_text(ctx, &entry->value, value);
}

static const vmt_tensor_entry *entry_at(const vmt_tensor_file *file, int64_t i)
{
    return (const vmt_tensor_entry *)file->entries.items + i;
}

static int by_name(const void *a, const void *b, void *file)
{
    return strcmp(entry_at(file, *(const int64_t *)a)->name,
                  entry_at(file, *(const int64_t *)b)->name);
}

enum vmt_status vmt_table_seal(vmt_ctx *ctx, vmt_tensor_file *file)
{
    const int64_t count = (int64_t)file->entries.count;
    void *sorted;

    VMT_TRY(vmt_alloc(ctx, &sorted, (size_t)count, sizeof(int64_t)));
    free(file->sorted);
    file->sorted = sorted;
    for (int64_t i = 0; i < count; i++)
        file->sorted[i] = i;
    qsort_r(file->sorted, (size_t)count, sizeof(int64_t), by_name, file);
    for (int64_t i = 1; i < count; i++)
        if (by_name(&file->sorted[i - 1], &file->sorted[i], file) == 0)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s' is there twice", file->path,
                            entry_at(file, file->sorted[i])->name);
    return VMT_OK;
}

void vmt_tensor_file_close(vmt_tensor_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->entries.count; i++)
        free(((vmt_tensor_entry *)file->entries.items)[i].name);
    for (size_t i = 0; i < file->meta.count; i++) {
        free(((vmt_meta_entry *)file->meta.items)[i].key);
        free(((vmt_meta_entry *)file->meta.items)[i].value);
    }
    for (size_t i = 0; i < file->copies.count; i++)
        free(((void **)file->copies.items)[i]);
    for (size_t i = 0; i < file->maps.count; i++)
        vmt_mapped_file_close(&((vmt_mapped_file *)file->maps.items)[i]);
    free(file->entries.items);
    free(file->meta.items);
    free(file->copies.items);
    free(file->maps.items);
    free(file->sorted);
    free(file->path);
    free(file);
}

const char *vmt_tensor_file_scheme(const vmt_tensor_file *file)
{
    return file->scheme;
}

const char *vmt_tensor_file_path(const vmt_tensor_file *file)
{
    return file->path;
}

int64_t vmt_tensor_file_count(const vmt_tensor_file *file)
{
    return (int64_t)file->entries.count;
}

const char *vmt_tensor_file_name(const vmt_tensor_file *file, int64_t i)
{
    return entry_at(file, i)->name;
}

int64_t vmt_table_find(const vmt_tensor_file *file, const char *name)
{
    int64_t low = 0, high = (int64_t)file->entries.count;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(name, entry_at(file, file->sorted[middle])->name);
        if (order == 0)
            return file->sorted[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const vmt_tensor *vmt_tensor_file_find(const vmt_tensor_file *file, const char *name)
{
    const int64_t i = vmt_table_find(file, name);
    return i < 0 ? NULL : &entry_at(file, i)->tensor;
}

int64_t vmt_table_find_meta(const vmt_tensor_file *file, const char *key)
{
    const vmt_meta_entry *meta = file->meta.items;

    for (size_t i = 0; i < file->meta.count; i++)
        if (strcmp(meta[i].key, key) == 0)
            return (int64_t)i;
    return -1;
}

const char *vmt_tensor_file_meta(const vmt_tensor_file *file, const char *key)
{
    const int64_t i = vmt_table_find_meta(file, key);
    return i < 0 ? NULL : ((const vmt_meta_entry *)file->meta.items)[i].value;
}

size_t vmt_tensor_file_copied_bytes(const vmt_tensor_file *file)
{
    return file->copied_bytes;
}

enum vmt_status vmt_tensor_file_meta_int(vmt_ctx *ctx, const vmt_tensor_file *file, const char *key,
                                         const int64_t *fallback, int64_t *value)
{
    const char *text = vmt_tensor_file_meta(file, key);
    char *end = NULL;

    if (!text && fallback) {
        *value = *fallback;
        return VMT_OK;
    }
    if (!text)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%s' is missing", file->path, key);
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || number <= -(1LL << 53) || number >= 1LL << 53)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%s' is '%.80s', expected an integer",
                        file->path, key, text);
    *value = number;
    return VMT_OK;
}

enum vmt_status vmt_tensor_file_meta_real(vmt_ctx *ctx, const vmt_tensor_file *file,
                                          const char *key, const double *fallback, double *value)
{
    const char *text = vmt_tensor_file_meta(file, key);
    char *end = NULL;

    if (!text && fallback) {
        *value = *fallback;
        return VMT_OK;
    }
    if (!text)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%s' is missing", file->path, key);
    const double number = strtod(text, &end);
    if (end == text || *end || !(number - number == 0.0))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%s' is '%.80s', expected a number",
                        file->path, key, text);
    *value = number;
    return VMT_OK;
}
