/* SPDX-License-Identifier: MIT */
#include "model/pth_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DATA_ALIGN = 64,
    LOCAL_BYTES = 30,
    FLAGS = 0x0808, /* sizes follow the data; names are UTF-8 */
    VERSION_ZIP64 = 45,
    EXTRA_PAD = 0x4246, /* "FB", torch's own padding field */
    EXTRA_ZIP64 = 1
};

struct entry {
    char name[128];
    uint64_t offset, start; /* of the local header, and of the data */
    uint64_t bytes;
    uint32_t crc;
};

/* ---------------------------------------------------------------- bytes to be written */

/* A growing buffer; after the first failure all else does nothing. */
struct buffer {
    vmt_ctx *ctx;
    unsigned char *bytes;
    size_t length, capacity;
    enum vmt_status status;
};

static void put(struct buffer *b, const void *bytes, size_t length)
{
    if (b->status != VMT_OK)
        return;
    if (length > b->capacity - b->length) {
        const size_t capacity = 2 * (b->length + length) + 256;
        void *grown = realloc(b->bytes, capacity);
        if (!grown) {
            b->status = vmt_fail(b->ctx, VMT_E_MEMORY, "out of memory: %zu bytes", capacity);
            return;
        }
        b->bytes = grown;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->length, bytes, length);
    b->length += length;
}

static void put_number(struct buffer *b, uint64_t value, int bytes)
{
    unsigned char little[8];
    for (int i = 0; i < bytes; i++)
        little[i] = (unsigned char)(value >> (8 * i));
    put(b, little, (size_t)bytes);
}

static void put_line(struct buffer *b, const char *text)
{
    put(b, text, strlen(text));
}

/* ---------------------------------------------------------------- the pickle */

static void pickle_text(struct buffer *b, const char *text)
{
    put_line(b, "X");
    put_number(b, strlen(text), 4);
    put_line(b, text);
}

/* BININT1, BININT or LONG1: the shortest that holds a value >= 0. */
static void pickle_int(struct buffer *b, int64_t value)
{
    if (value < 256) {
        put_line(b, "K");
        put_number(b, (uint64_t)value, 1);
    } else if (value <= INT32_MAX) {
        put_line(b, "J");
        put_number(b, (uint64_t)value, 4);
    } else {
        put(b, "\x8a\x08", 2);
        put_number(b, (uint64_t)value, 8);
    }
}

static const char *storage_type(enum vmt_dtype dtype)
{
    return dtype == VMT_F32   ? "ctorch\nFloatStorage\n"
           : dtype == VMT_F16 ? "ctorch\nHalfStorage\n"
                              : "ctorch\nBFloat16Storage\n";
}

static void pickle_tensor(struct buffer *b, const vmt_tensor_spec *spec, int64_t i,
                          enum vmt_dtype dtype)
{
    int64_t stride[VMT_MAX_RANK], count = 1;
    char key[24];

    for (int a = spec->rank - 1; a >= 0; a--) {
        stride[a] = count;
        count *= spec->shape[a];
    }
    snprintf(key, sizeof key, "%lld", (long long)i);
    pickle_text(b, spec->name);
    put_line(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_text(b, "storage");
    put_line(b, storage_type(dtype));
    pickle_text(b, key);
    pickle_text(b, "cpu");
    pickle_int(b, count);
    put_line(b, "tQ");
    pickle_int(b, 0);
    put_line(b, "(");
    for (int a = 0; a < spec->rank; a++)
        pickle_int(b, spec->shape[a]);
    put_line(b, "t(");
    for (int a = 0; a < spec->rank; a++)
        pickle_int(b, stride[a]);
    put_line(b, "t\x89"
                "ccollections\nOrderedDict\n)RtR");
}

static void pickle_list(struct buffer *b, const vmt_tensor_list *list, enum vmt_dtype dtype,
                        bool ordered)
{
    put(b, "\x80\x02", 2);
    put_line(b, ordered ? "ccollections\nOrderedDict\n)R(" : "}(");
    for (int64_t i = 0; i < list->count; i++)
        pickle_tensor(b, &list->items[i], i, dtype);
    put_line(b, "u.");
}

/* ---------------------------------------------------------------- the archive */

static enum vmt_status flush(vmt_pth_writer *writer, struct buffer *b)
{
    enum vmt_status status = b->status;

    if (status == VMT_OK)
        status = vmt_atomic_file_write(b->ctx, &writer->file, b->bytes, b->length);
    free(b->bytes);
    return status;
}

static struct entry *open_entry(const vmt_pth_writer *writer)
{
    return (struct entry *)writer->entries.items + writer->entries.count - 1;
}

/* CRC and size, known only now; the size takes 4 bytes, as begin_entry says. */
static enum vmt_status end_entry(vmt_ctx *ctx, vmt_pth_writer *writer)
{
    struct buffer b = {.ctx = ctx};

    if (writer->entries.count == 0)
        return VMT_OK;
    struct entry *entry = open_entry(writer);
    entry->bytes = writer->file.written - entry->start;
    if (entry->bytes >= UINT32_MAX)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: tensor %s of %llu bytes; at most 4 GiB",
                        writer->file.path, entry->name, (unsigned long long)entry->bytes);
    put_number(&b, 0x08074b50, 4);
    put_number(&b, entry->crc, 4);
    put_number(&b, entry->bytes, 4);
    put_number(&b, entry->bytes, 4);
    return flush(writer, &b);
}

static enum vmt_status begin_entry(vmt_ctx *ctx, vmt_pth_writer *writer, const char *name)
{
    struct buffer b = {.ctx = ctx};
    static const char padding[DATA_ALIGN + 4] = {0};
    void *item = NULL;

    VMT_TRY(end_entry(ctx, writer));
    VMT_TRY(vmt_list_add(ctx, &writer->entries, sizeof(struct entry), &item));
    struct entry *entry = item;
    snprintf(entry->name, sizeof entry->name, "%s/%s", writer->stem, name);
    entry->offset = writer->file.written;
    const size_t length = strlen(entry->name);
    const uint64_t unpadded = entry->offset + LOCAL_BYTES + length + 4;
    const size_t pad = (size_t)((DATA_ALIGN - unpadded % DATA_ALIGN) % DATA_ALIGN);
    entry->start = unpadded + pad;

    put_number(&b, 0x04034b50, 4);
    put_number(&b, 0, 2);
    put_number(&b, FLAGS, 2);
    put_number(&b, 0, 2); /* stored */
    put_number(&b, 0, 4); /* no time: equal input gives equal files */
    put_number(&b, 0, 4); /* CRC and both sizes follow the data */
    put_number(&b, 0, 4);
    put_number(&b, 0, 4);
    put_number(&b, length, 2);
    put_number(&b, 4 + pad, 2);
    put(&b, entry->name, length);
    put_number(&b, EXTRA_PAD, 2);
    put_number(&b, pad, 2);
    put(&b, padding, pad);
    return flush(writer, &b);
}

enum vmt_status vmt_pth_writer_add(vmt_ctx *ctx, vmt_pth_writer *writer, const void *bytes,
                                   size_t length)
{
    struct entry *entry = open_entry(writer);

    entry->crc = vmt_crc32_add(&writer->crc, entry->crc, bytes, length);
    return vmt_atomic_file_write(ctx, &writer->file, bytes, length);
}

enum vmt_status vmt_pth_writer_begin(vmt_ctx *ctx, vmt_pth_writer *writer, int64_t i)
{
    char name[40];

    snprintf(name, sizeof name, "data/%lld", (long long)i);
    return begin_entry(ctx, writer, name);
}

static void put_central(struct buffer *b, const struct entry *entry)
{
    const bool wide = entry->offset >= UINT32_MAX;

    put_number(b, 0x02014b50, 4);
    put_number(b, wide ? VERSION_ZIP64 : 0, 2);
    put_number(b, wide ? VERSION_ZIP64 : 0, 2);
    put_number(b, FLAGS, 2);
    put_number(b, 0, 2);
    put_number(b, 0, 4);
    put_number(b, entry->crc, 4);
    put_number(b, entry->bytes, 4);
    put_number(b, entry->bytes, 4);
    put_number(b, strlen(entry->name), 2);
    put_number(b, wide ? 12 : 0, 2);
    put_number(b, 0, 2); /* comment */
    put_number(b, 0, 2); /* disk */
    put_number(b, 0, 2); /* attributes */
    put_number(b, 0, 4);
    put_number(b, wide ? UINT32_MAX : entry->offset, 4);
    put_line(b, entry->name);
    if (wide) {
        put_number(b, EXTRA_ZIP64, 2);
        put_number(b, 8, 2);
        put_number(b, entry->offset, 8);
    }
}

/* The directory and its end, in zip64 form too, as torch always does. */
static void put_directory(struct buffer *b, const vmt_pth_writer *writer)
{
    const struct entry *entries = writer->entries.items;
    const uint64_t start = writer->file.written, count = writer->entries.count;

    for (size_t i = 0; i < writer->entries.count; i++)
        put_central(b, &entries[i]);
    const uint64_t bytes = b->length, end = start + bytes;
    put_number(b, 0x06064b50, 4);
    put_number(b, 44, 8);
    put_number(b, VERSION_ZIP64, 2);
    put_number(b, VERSION_ZIP64, 2);
    put_number(b, 0, 4);
    put_number(b, 0, 4);
    put_number(b, count, 8);
    put_number(b, count, 8);
    put_number(b, bytes, 8);
    put_number(b, start, 8);
    put_number(b, 0x07064b50, 4);
    put_number(b, 0, 4);
    put_number(b, end, 8);
    put_number(b, 1, 4);
    put_number(b, 0x06054b50, 4);
    put_number(b, 0, 4);
    put_number(b, count < UINT16_MAX ? count : UINT16_MAX, 2);
    put_number(b, count < UINT16_MAX ? count : UINT16_MAX, 2);
    put_number(b, bytes < UINT32_MAX ? bytes : UINT32_MAX, 4);
    put_number(b, start < UINT32_MAX ? start : UINT32_MAX, 4);
    put_number(b, 0, 2);
}

/* "folder/Wan2.1_VAE.pth" -> "Wan2.1_VAE". */
static void set_stem(vmt_pth_writer *writer, const char *path)
{
    const char *slash = strrchr(path, '/');

    snprintf(writer->stem, sizeof writer->stem, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(writer->stem, '.');
    if (dot && dot != writer->stem)
        *dot = 0;
}

static enum vmt_status write_pickle(vmt_ctx *ctx, vmt_pth_writer *writer,
                                    const vmt_tensor_list *list, enum vmt_dtype dtype, bool ordered)
{
    struct buffer b = {.ctx = ctx};

    pickle_list(&b, list, dtype, ordered);
    enum vmt_status status = b.status;
    if (status == VMT_OK)
        status = begin_entry(ctx, writer, "data.pkl");
    if (status == VMT_OK)
        status = vmt_pth_writer_add(ctx, writer, b.bytes, b.length);
    free(b.bytes);
    VMT_TRY(status);
    VMT_TRY(begin_entry(ctx, writer, "byteorder"));
    return vmt_pth_writer_add(ctx, writer, "little", 6);
}

enum vmt_status vmt_pth_writer_open(vmt_ctx *ctx, vmt_pth_writer *writer, const char *path,
                                    const vmt_tensor_list *list, enum vmt_dtype dtype, bool ordered)
{
    *writer = (vmt_pth_writer){0};
    set_stem(writer, path);
    vmt_crc32_init(&writer->crc);
    VMT_TRY(vmt_atomic_file_open(ctx, &writer->file, path));
    const enum vmt_status status = write_pickle(ctx, writer, list, dtype, ordered);
    if (status != VMT_OK)
        vmt_pth_writer_abort(writer);
    return status;
}

static enum vmt_status finish(vmt_ctx *ctx, vmt_pth_writer *writer)
{
    struct buffer b = {.ctx = ctx};

    VMT_TRY(begin_entry(ctx, writer, "version"));
    VMT_TRY(vmt_pth_writer_add(ctx, writer, "3\n", 2));
    VMT_TRY(end_entry(ctx, writer));
    put_directory(&b, writer);
    return flush(writer, &b);
}

enum vmt_status vmt_pth_writer_commit(vmt_ctx *ctx, vmt_pth_writer *writer)
{
    enum vmt_status status = finish(ctx, writer);

    if (status == VMT_OK)
        status = vmt_atomic_file_commit(ctx, &writer->file);
    vmt_pth_writer_abort(writer);
    return status;
}

void vmt_pth_writer_abort(vmt_pth_writer *writer)
{
    vmt_atomic_file_abort(&writer->file);
    free(writer->entries.items);
    writer->entries = (vmt_list){0};
}
