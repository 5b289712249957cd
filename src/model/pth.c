/* SPDX-License-Identifier: MIT */
#include "model/pth.h"

#include "model/unpickle.h"

#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 512, STORAGE_ALIGN = 8 };

static const char PICKLE[] = "/data.pkl";

struct reader {
    vmt_ctx *ctx;
    vmt_tensor_file *file;
    const char *label;
    vmt_zip zip;
    vmt_span stem; /* folder of all entries */
};

/* The one entry STEM/data.pkl. */
static enum vmt_status find_pickle(struct reader *r, vmt_zip_entry **pickle)
{
    const size_t tail = sizeof PICKLE - 1;

    *pickle = NULL;
    for (size_t i = 0; i < r->zip.count; i++) {
        vmt_zip_entry *entry = &r->zip.entries[i];
        if (entry->name_length < tail ||
            memcmp(entry->name + entry->name_length - tail, PICKLE, tail) != 0)
            continue;
        if (*pickle)
            return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: two entries named data.pkl", r->label);
        *pickle = entry;
    }
    if (!*pickle)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: an archive without data.pkl: not written by torch.save", r->label);
    r->stem = (vmt_span){(*pickle)->name, (*pickle)->name_length - tail};
    return VMT_OK;
}

/* Entry STEM/folder KEY, or NULL. */
static vmt_zip_entry *entry_of(const struct reader *r, const char *folder, vmt_span key)
{
    char name[MAX_NAME];

    if (r->stem.length > MAX_NAME / 2 || key.length > MAX_NAME / 4)
        return NULL;
    const int length = snprintf(name, sizeof name, "%.*s%s%.*s", (int)r->stem.length, r->stem.text,
                                folder, (int)key.length, key.text);
    return length < 0 ? NULL : vmt_zip_find(&r->zip, name, (size_t)length);
}

static enum vmt_status check_byte_order(const struct reader *r)
{
    const vmt_zip_entry *order = entry_of(r, "/byteorder", (vmt_span){"", 0});

    if (!order || (order->length == 6 && memcmp(order->data, "little", 6) == 0))
        return VMT_OK;
    return vmt_fail(r->ctx, VMT_E_FORMAT,
                    "%s: written on a big-endian machine; save it again on a "
                    "little-endian one",
                    r->label);
}

/* Row-major without gaps: each axis of more than one entry steps over the product of the inner
 * ones. */
static bool is_contiguous(const vmt_pickled_tensor *t)
{
    int64_t step = 1;

    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return true;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != step)
            return false;
        step *= t->shape[i]; /* vmt_shape_bytes has shown that this does not overflow */
    }
    return true;
}

static enum vmt_status add_tensor(struct reader *r, const vmt_pickled_tensor *t, const char *name)
{
    const size_t item = vmt_dtype_bytes(t->dtype);
    vmt_zip_entry *storage = entry_of(r, "/data/", t->storage_key);
    size_t bytes;

    if (!storage)
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: tensor '%.200s': its storage is not in the file",
                        r->label, name);
    if (t->storage_count < 0 || (uint64_t)t->storage_count != storage->length / item ||
        storage->length % item != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s': storage of %zu bytes, expected %lld items of %zu",
                        r->label, name, storage->length, (long long)t->storage_count, item);
    if (!vmt_shape_bytes(t->dtype, t->rank, t->shape, &bytes))
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: tensor '%.200s': the shape's size overflows",
                        r->label, name);
    if (t->storage_offset < 0 || t->storage_offset > t->storage_count ||
        bytes > storage->length - (size_t)t->storage_offset * item)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' of %zu bytes at item %lld reaches past its storage of "
                        "%zu bytes",
                        r->label, name, bytes, (long long)t->storage_offset, storage->length);
    if (!is_contiguous(t))
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' is transposed or strided; save it after .contiguous()",
                        r->label, name);
    /* the whole storage, once for all tensors in it */
    VMT_TRY(vmt_table_align(r->ctx, r->file, &storage->data, storage->length, STORAGE_ALIGN));
    return vmt_table_add(r->ctx, r->file, name, t->dtype, t->rank, t->shape,
                         storage->data + (size_t)t->storage_offset * item, bytes);
}

static enum vmt_status add_tensors(struct reader *r, const vmt_pickled_tensor *tensors,
                                   int64_t count)
{
    char name[MAX_NAME];

    for (int64_t i = 0; i < count; i++) {
        const vmt_span text = tensors[i].name;
        if (text.length >= sizeof name || memchr(text.text, 0, text.length))
            return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: tensor %lld has a name of %zu bytes",
                            r->label, (long long)i, text.length);
        memcpy(name, text.text, text.length);
        name[text.length] = 0;
        VMT_TRY(add_tensor(r, &tensors[i], name));
    }
    return VMT_OK;
}

static enum vmt_status read_archive(struct reader *r)
{
    vmt_pickled_tensor *tensors;
    vmt_zip_entry *pickle;
    int64_t count;

    VMT_TRY(find_pickle(r, &pickle));
    VMT_TRY(check_byte_order(r));
    VMT_TRY(vmt_unpickle(r->ctx, pickle->data, pickle->length, r->label, &tensors, &count));
    const enum vmt_status status = add_tensors(r, tensors, count);
    vmt_free(tensors);
    return status;
}

enum vmt_status vmt_pth_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                              size_t length, const char *label)
{
    struct reader r = {.ctx = ctx, .file = file, .label = label};

    VMT_TRY(vmt_zip_parse(ctx, &r.zip, bytes, length, label));
    const enum vmt_status status = read_archive(&r);
    vmt_zip_free(&r.zip);
    return status;
}
