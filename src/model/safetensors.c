/* SPDX-License-Identifier: MIT */
#include "model/safetensors.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000, MAX_META = 4096, DATA_ALIGN = 64 };

static const enum vmt_dtype DTYPES[] = {VMT_F32, VMT_F16, VMT_BF16, VMT_F64,
                                        VMT_I32, VMT_I64, VMT_U8,   VMT_F8_E4M3};

/* Dtype of its name ("BF16"); false: not one of ours. */
static bool parse_dtype(const char *name, enum vmt_dtype *dtype)
{
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(vmt_dtype_name(DTYPES[i]), name) == 0) {
            *dtype = DTYPES[i];
            return true;
        }
    return false;
}

static uint64_t read_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

bool vmt_safetensors_looks(const unsigned char *bytes, size_t length)
{
    return length > LENGTH_BYTES && read_u64(bytes) <= MAX_HEADER && bytes[LENGTH_BYTES] == '{';
}

/* One tensor of the header and where its data lies, from the start of the data. */
struct range {
    size_t begin, end;
    const char *name;
};

static enum vmt_status read_range(vmt_ctx *ctx, const cJSON *item, size_t data_length,
                                  const char *label, struct range *range)
{
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    int64_t begin, end;

    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !vmt_json_int(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !vmt_json_int(cJSON_GetArrayItem(offsets, 1), &end) || begin < 0 || end < begin)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s': data_offsets are not two ascending integers", label,
                        item->string);
    if ((uint64_t)end > data_length)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' ends at byte %lld of %zu bytes of data: the file is "
                        "truncated",
                        label, item->string, (long long)end, data_length);
    *range = (struct range){(size_t)begin, (size_t)end, item->string};
    return VMT_OK;
}

static enum vmt_status read_tensor(vmt_ctx *ctx, vmt_tensor_file *file, const cJSON *item,
                                   unsigned char *data, const struct range *range,
                                   const char *label)
{
    const cJSON *dtype_item = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape_item = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *axis;
    int64_t shape[VMT_MAX_RANK] = {0};
    enum vmt_dtype dtype;
    size_t bytes;
    int rank = 0;

    if (!cJSON_IsString(dtype_item) || !parse_dtype(dtype_item->valuestring, &dtype))
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' is of type '%.40s', expected F32, F16, BF16, F64, "
                        "I32, I64, U8 or F8_E4M3",
                        label, item->string,
                        cJSON_IsString(dtype_item) ? dtype_item->valuestring : "(none)");
    if (!cJSON_IsArray(shape_item))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s' has no shape", label, item->string);
    cJSON_ArrayForEach(axis, shape_item)
    {
        if (rank == VMT_MAX_RANK)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s' has more than %d axes", label,
                            item->string, (int)VMT_MAX_RANK);
        if (!vmt_json_int(axis, &shape[rank]) || shape[rank] < 0)
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s': axis %d of the shape is no size", label,
                            item->string, rank);
        rank++;
    }
    if (!vmt_shape_bytes(dtype, rank, shape, &bytes))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: tensor '%.200s': the shape's size overflows", label,
                        item->string);
    if (bytes != range->end - range->begin)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' has %zu bytes of data, expected %zu by its shape",
                        label, item->string, range->end - range->begin, bytes);
    return vmt_table_add(ctx, file, item->string, dtype, rank, shape, data + range->begin, bytes);
}

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The data must be covered once, without holes: what the format demands, and a sign of damage. */
static enum vmt_status check_cover(vmt_ctx *ctx, struct range *ranges, size_t count,
                                   size_t data_length, const char *label)
{
    size_t end = 0;

    qsort(ranges, count, sizeof *ranges, by_begin);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin != end)
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: data of tensor '%.200s' begins at byte %zu, expected %zu: %s",
                            label, ranges[i].name, ranges[i].begin, end,
                            ranges[i].begin < end ? "tensors overlap" : "there is a hole");
        end = ranges[i].end;
    }
    if (end != data_length)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %zu bytes of data, but its tensors end at byte %zu",
                        label, data_length, end);
    return VMT_OK;
}

/* Shards repeat their metadata: the first one's values stay. */
static enum vmt_status read_meta(vmt_ctx *ctx, vmt_tensor_file *file, const cJSON *meta,
                                 const char *label)
{
    const size_t before = file->meta.count;
    const cJSON *item;

    if (!cJSON_IsObject(meta) || cJSON_GetArraySize(meta) > MAX_META)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: __metadata__ is no object of at most %d keys",
                        label, (int)MAX_META);
    cJSON_ArrayForEach(item, meta)
    {
        if (!cJSON_IsString(item))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%.200s' is no string", label,
                            item->string);
        const int64_t found = vmt_table_find_meta(file, item->string);
        if (found >= (int64_t)before)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata key '%.200s' is there twice", label,
                            item->string);
        if (found < 0)
            VMT_TRY(vmt_table_add_meta(ctx, file, item->string, item->valuestring));
    }
    return VMT_OK;
}

static enum vmt_status read_header(vmt_ctx *ctx, vmt_tensor_file *file, const cJSON *root,
                                   struct range *ranges, unsigned char *data, size_t data_length,
                                   const char *label)
{
    const cJSON *item;
    size_t count = 0;

    cJSON_ArrayForEach(item, root)
    {
        if (strcmp(item->string, "__metadata__") == 0) {
            VMT_TRY(read_meta(ctx, file, item, label));
            continue;
        }
        if (!cJSON_IsObject(item))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: entry '%.200s' is no object", label,
                            item->string);
        VMT_TRY(read_range(ctx, item, data_length, label, &ranges[count]));
        VMT_TRY(read_tensor(ctx, file, item, data, &ranges[count], label));
        count++;
    }
    return check_cover(ctx, ranges, count, data_length, label);
}

enum vmt_status vmt_safetensors_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                                      size_t length, const char *label)
{
    cJSON *root = NULL;
    void *ranges = NULL;
    enum vmt_status status;

    if (length < LENGTH_BYTES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %zu bytes are too few for a safetensors file",
                        label, length);
    const uint64_t header = read_u64(bytes);
    if (header > MAX_HEADER || header > length - LENGTH_BYTES)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: a header of %llu bytes in a file of %zu (at most %d): truncated, or "
                        "no safetensors file",
                        label, (unsigned long long)header, length, (int)MAX_HEADER);
    VMT_TRY(vmt_json_parse(ctx, &root, bytes + LENGTH_BYTES, (size_t)header, label));
    status = vmt_alloc(ctx, &ranges, (size_t)cJSON_GetArraySize(root), sizeof(struct range));
    if (status == VMT_OK)
        status = read_header(ctx, file, root, ranges, bytes + LENGTH_BYTES + header,
                             length - LENGTH_BYTES - (size_t)header, label);
    vmt_free(ranges);
    cJSON_Delete(root);
    return status;
}

/* ---------------------------------------------------------------- writing */

/* Order of the data: wide dtypes first, so that each tensor is aligned without holes. */
static int64_t *writing_order(const vmt_named_tensor *tensors, int64_t count)
{
    int64_t *order = calloc((size_t)count + 1, sizeof *order);
    int64_t done = 0;

    if (!order)
        return NULL;
    for (size_t width = 8; width > 0; width /= 2)
        for (int64_t i = 0; i < count; i++)
            if (vmt_dtype_bytes(tensors[i].tensor.dtype) == width)
                order[done++] = i;
    return order;
}

static bool add_tensor(cJSON *root, const vmt_named_tensor *named, uint64_t begin, uint64_t end)
{
    cJSON *item = cJSON_AddObjectToObject(root, named->name);
    cJSON *shape, *offsets;

    if (!item || !cJSON_AddStringToObject(item, "dtype", vmt_dtype_name(named->tensor.dtype)))
        return false;
    shape = cJSON_AddArrayToObject(item, "shape");
    offsets = cJSON_AddArrayToObject(item, "data_offsets");
    if (!shape || !offsets)
        return false;
    for (int i = 0; i < named->tensor.rank; i++)
        if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)named->tensor.shape[i])))
            return false;
    return cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end));
}

static bool add_meta(cJSON *root, const char *const *meta)
{
    cJSON *object;

    if (!meta || !meta[0])
        return true;
    object = cJSON_AddObjectToObject(root, "__metadata__");
    for (size_t i = 0; object && meta[i]; i += 2)
        if (!cJSON_AddStringToObject(object, meta[i], meta[i + 1]))
            return false;
    return object != NULL;
}

/* The header's text, allocated, or NULL. */
static char *header_text(const vmt_named_tensor *tensors, const int64_t *order, int64_t count,
                         const char *const *meta)
{
    cJSON *root = cJSON_CreateObject();
    bool good = root && add_meta(root, meta);
    uint64_t offset = 0;

    for (int64_t i = 0; good && i < count; i++) {
        const vmt_named_tensor *named = &tensors[order[i]];
        const uint64_t bytes = vmt_tensor_bytes(&named->tensor);
        good = add_tensor(root, named, offset, offset + bytes);
        offset += bytes;
    }
    char *text = good ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static enum vmt_status write_header(vmt_ctx *ctx, vmt_atomic_file *file,
                                    const vmt_named_tensor *tensors, const int64_t *order,
                                    int64_t count, const char *const *meta)
{
    static const char blanks[DATA_ALIGN + 1] =
        "                                                                ";
    char *header = order ? header_text(tensors, order, count, meta) : NULL;
    unsigned char prefix[LENGTH_BYTES];
    enum vmt_status status;

    if (!header)
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory for the header", file->path);
    const size_t length = strlen(header);
    const size_t pad = (DATA_ALIGN - (LENGTH_BYTES + length) % DATA_ALIGN) % DATA_ALIGN;
    for (int i = 0; i < LENGTH_BYTES; i++)
        prefix[i] = (unsigned char)((uint64_t)(length + pad) >> (8 * i));
    status = vmt_atomic_file_write(ctx, file, prefix, sizeof prefix);
    if (status == VMT_OK)
        status = vmt_atomic_file_write(ctx, file, header, length);
    if (status == VMT_OK)
        status = vmt_atomic_file_write(ctx, file, blanks, pad);
    cJSON_free(header);
    return status;
}

enum vmt_status vmt_safetensors_write_header(vmt_ctx *ctx, vmt_atomic_file *file,
                                             const vmt_named_tensor *tensors, int64_t count,
                                             const char *const *meta)
{
    int64_t *order = writing_order(tensors, count);
    const enum vmt_status status = write_header(ctx, file, tensors, order, count, meta);

    free(order);
    return status;
}

static enum vmt_status write_all(vmt_ctx *ctx, vmt_atomic_file *file,
                                 const vmt_named_tensor *tensors, const int64_t *order,
                                 int64_t count, const char *const *meta)
{
    VMT_TRY(write_header(ctx, file, tensors, order, count, meta));
    for (int64_t i = 0; i < count; i++) {
        const vmt_tensor *t = &tensors[order[i]].tensor;
        VMT_TRY(vmt_atomic_file_write(ctx, file, t->data, vmt_tensor_bytes(t)));
    }
    return VMT_OK;
}

enum vmt_status vmt_safetensors_write(vmt_ctx *ctx, const char *path,
                                      const vmt_named_tensor *tensors, int64_t count,
                                      const char *const *meta)
{
    int64_t *order = writing_order(tensors, count);
    vmt_atomic_file file;
    enum vmt_status status = vmt_atomic_file_open(ctx, &file, path);

    if (status == VMT_OK) {
        status = write_all(ctx, &file, tensors, order, count, meta);
        if (status == VMT_OK)
            status = vmt_atomic_file_commit(ctx, &file);
        else
            vmt_atomic_file_abort(&file);
    }
    free(order);
    return status;
}
