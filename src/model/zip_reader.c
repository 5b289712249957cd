/* SPDX-License-Identifier: MIT */
#include "model/zip_reader.h"

#include <stdlib.h>
#include <string.h>

/* Signatures and fixed parts of the records. */
#define LOCAL_SIGNATURE 0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR64_SIGNATURE 0x07064b50u
enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    MAX_COMMENT = 0xffff,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1
};

struct reader {
    vmt_ctx *ctx;
    const char *label;
    unsigned char *bytes;
    size_t length;
};

static uint64_t number(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | bytes[count];
    return value;
}

static uint32_t u16(const unsigned char *bytes)
{
    return (uint32_t)number(bytes, 2);
}

static uint32_t u32(const unsigned char *bytes)
{
    return (uint32_t)number(bytes, 4);
}

static enum vmt_status damaged(const struct reader *r, const char *what)
{
    return vmt_fail(r->ctx, VMT_E_FORMAT,
                    "%s: %s: a damaged or truncated archive (%zu bytes); fetch the file again",
                    r->label, what, r->length);
}

bool vmt_zip_looks(const unsigned char *bytes, size_t length)
{
    return length >= 4 && (u32(bytes) == LOCAL_SIGNATURE || u32(bytes) == END_SIGNATURE);
}

/* true: `count` bytes from `offset` lie inside the file. */
static bool inside(const struct reader *r, uint64_t offset, uint64_t count)
{
    return offset <= r->length && count <= r->length - offset;
}

/* Where the central directory lies. */
struct directory {
    uint64_t offset, bytes, count;
};

/* The record at the very end, whose comment reaches exactly to the end of the file. */
static bool find_end(const struct reader *r, size_t *offset)
{
    if (r->length < END_BYTES)
        return false;
    const size_t last = r->length - END_BYTES;
    const size_t first = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t at = last + 1; at-- > first;)
        if (u32(r->bytes + at) == END_SIGNATURE && u16(r->bytes + at + 20) == last - at) {
            *offset = at;
            return true;
        }
    return false;
}

static enum vmt_status find_directory(const struct reader *r, struct directory *directory)
{
    size_t end;

    if (!find_end(r, &end))
        return damaged(r, "no end of a zip directory");
    const unsigned char *e = r->bytes + end;
    *directory = (struct directory){u32(e + 16), u32(e + 12), u16(e + 10)};
    uint64_t disks = u16(e + 4) | u16(e + 6);

    const unsigned char *locator = e - LOCATOR64_BYTES;
    if (end >= LOCATOR64_BYTES && u32(locator) == LOCATOR64_SIGNATURE) {
        const uint64_t at = number(locator + 8, 8);
        if (!inside(r, at, END64_BYTES) || u32(r->bytes + at) != END64_SIGNATURE)
            return damaged(r, "no zip64 end record where the locator says");
        const unsigned char *e64 = r->bytes + at;
        *directory =
            (struct directory){number(e64 + 48, 8), number(e64 + 40, 8), number(e64 + 32, 8)};
        disks = u32(e64 + 16) | u32(e64 + 20);
    }
    if (disks != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: an archive in several parts", r->label);
    if (!inside(r, directory->offset, directory->bytes) ||
        directory->count > directory->bytes / CENTRAL_BYTES)
        return damaged(r, "the zip directory reaches past the end");
    return VMT_OK;
}

/* Sizes of 0xffffffff stand in the zip64 extra field, in this order. */
static bool read_extra64(const unsigned char *extra, size_t length, uint64_t *values[3])
{
    while (length >= 4) {
        const size_t field = u16(extra + 2);
        if (field > length - 4)
            return false;
        if (u16(extra) == EXTRA_ZIP64) {
            size_t at = 4;
            for (int i = 0; i < 3; i++) {
                if (*values[i] != UINT32_MAX)
                    continue;
                if (at + 8 > field + 4)
                    return false;
                *values[i] = number(extra + at, 8);
                at += 8;
            }
            return true;
        }
        extra += 4 + field;
        length -= 4 + field;
    }
    return *values[0] != UINT32_MAX && *values[1] != UINT32_MAX && *values[2] != UINT32_MAX;
}

/* Sets the entry's data from its local header, which must name the same entry. */
static enum vmt_status locate(const struct reader *r, vmt_zip_entry *entry, uint64_t offset,
                              uint64_t bytes)
{
    if (!inside(r, offset, LOCAL_BYTES) || u32(r->bytes + offset) != LOCAL_SIGNATURE)
        return damaged(r, "no local header where the directory says");
    const unsigned char *local = r->bytes + offset;
    const uint64_t header = LOCAL_BYTES + (uint64_t)u16(local + 26) + u16(local + 28);
    if (!inside(r, offset, header) || !inside(r, offset + header, bytes))
        return damaged(r, "an entry reaches past the end");
    if (u16(local + 26) != entry->name_length || u16(local + 8) != 0 ||
        memcmp(local + LOCAL_BYTES, entry->name, entry->name_length) != 0)
        return damaged(r, "a local header contradicts the directory");
    entry->data = r->bytes + offset + header;
    entry->length = (size_t)bytes;
    return VMT_OK;
}

/* One record of the directory; *at moves behind it. */
static enum vmt_status read_entry(const struct reader *r, vmt_zip_entry *entry, uint64_t *at,
                                  uint64_t end)
{
    const unsigned char *central = r->bytes + *at;

    if (end - *at < CENTRAL_BYTES || u32(central) != CENTRAL_SIGNATURE)
        return damaged(r, "a bad record in the zip directory");
    const size_t name = u16(central + 28), extra = u16(central + 30);
    const uint64_t whole = CENTRAL_BYTES + name + extra + u16(central + 32);
    if (end - *at < whole)
        return damaged(r, "a record of the zip directory reaches past its end");
    *entry = (vmt_zip_entry){.name = (const char *)central + CENTRAL_BYTES,
                             .name_length = name,
                             .crc = u32(central + 16)};

    uint64_t stored = u32(central + 20), original = u32(central + 24), offset = u32(central + 42);
    uint64_t *values[3] = {&original, &stored, &offset};
    if (!read_extra64(central + CENTRAL_BYTES + name, extra, values))
        return damaged(r, "a bad zip64 field");
    if (u16(central + 10) != 0 || (u16(central + 8) & FLAG_ENCRYPTED) || stored != original)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: entry '%.*s' is compressed or encrypted; only stored entries, as "
                        "torch.save writes them, can be mapped",
                        r->label, name < 200 ? (int)name : 200, entry->name);
    *at += whole;
    return locate(r, entry, offset, stored);
}

static int compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
    const int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : a_length < b_length ? -1 : a_length > b_length;
}

static int by_name(const void *a, const void *b)
{
    const vmt_zip_entry *x = a, *y = b;
    return compare(x->name, x->name_length, y->name, y->name_length);
}

static enum vmt_status read_entries(const struct reader *r, vmt_zip *zip,
                                    const struct directory *directory)
{
    uint64_t at = directory->offset;
    void *memory;

    VMT_TRY(vmt_alloc(r->ctx, &memory, (size_t)directory->count, sizeof *zip->entries));
    zip->entries = memory;
    for (uint64_t i = 0; i < directory->count; i++, zip->count++)
        VMT_TRY(read_entry(r, &zip->entries[i], &at, directory->offset + directory->bytes));
    qsort(zip->entries, zip->count, sizeof *zip->entries, by_name);
    for (size_t i = 1; i < zip->count; i++)
        if (by_name(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return damaged(r, "an entry is there twice");
    return VMT_OK;
}

enum vmt_status vmt_zip_parse(vmt_ctx *ctx, vmt_zip *zip, unsigned char *bytes, size_t length,
                              const char *label)
{
    const struct reader r = {ctx, label, bytes, length};
    struct directory directory;

    *zip = (vmt_zip){0};
    VMT_TRY(find_directory(&r, &directory));
    const enum vmt_status status = read_entries(&r, zip, &directory);
    if (status != VMT_OK)
        vmt_zip_free(zip);
    return status;
}

void vmt_zip_free(vmt_zip *zip)
{
    vmt_free(zip->entries);
    *zip = (vmt_zip){0};
}

vmt_zip_entry *vmt_zip_find(const vmt_zip *zip, const char *name, size_t name_length)
{
    size_t low = 0, high = zip->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        vmt_zip_entry *entry = &zip->entries[middle];
        const int order = compare(name, name_length, entry->name, entry->name_length);
        if (order == 0)
            return entry;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
