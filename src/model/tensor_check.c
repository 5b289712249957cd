/* SPDX-License-Identifier: MIT
 *
 * Reading a file whole, which opening does not: checksums and values.
 */
#include "model/tensor_table.h"
#include "model/zip_reader.h"

#include "base/crc32.h"
#include "base/quant.h"

#include <math.h>

#include <inttypes.h>
#include <string.h>

enum { PIECE = 1 << 24 }; /* bytes between two looks at whether the run was stopped */

static enum vmt_status check_entry(vmt_ctx *ctx, const vmt_crc32 *crc, const vmt_zip_entry *entry,
                                   const char *path)
{
    uint32_t sum = 0;

    for (size_t at = 0; at < entry->length; at += PIECE) {
        const size_t left = entry->length - at;
        sum = vmt_crc32_add(crc, sum, entry->data + at, left < PIECE ? left : PIECE);
        VMT_TRY(vmt_check_cancelled(ctx));
    }
    if (sum == entry->crc)
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_FORMAT,
                    "%s: entry '%.*s' has checksum %08" PRIx32 ", its directory says %08" PRIx32
                    ": damaged, or saved without checksums",
                    path, entry->name_length < 200 ? (int)entry->name_length : 200, entry->name,
                    sum, entry->crc);
}

static enum vmt_status check_archive(vmt_ctx *ctx, const vmt_mapped_file *map, const char *path)
{
    vmt_crc32 crc;
    vmt_zip zip;
    enum vmt_status status = VMT_OK;

    VMT_TRY(vmt_zip_parse(ctx, &zip, map->bytes, map->length, path));
    vmt_crc32_init(&crc);
    for (size_t i = 0; i < zip.count && status == VMT_OK; i++)
        status = check_entry(ctx, &crc, &zip.entries[i], path);
    vmt_zip_free(&zip);
    return status;
}

/* Bits that are all set in NaN and infinity, and in nothing else; 0: the type has neither. */
static uint64_t exponent_of(enum vmt_dtype dtype)
{
    switch (dtype) {
    case VMT_F64:
        return UINT64_C(0x7ff) << 52;
    case VMT_F32:
        return 0x7f800000;
    case VMT_BF16:
        return 0x7f80;
    case VMT_F16:
        return 0x7c00;
    case VMT_I32:
    case VMT_I64:
    case VMT_U8:
    case VMT_F8_E4M3:
    case VMT_Q8_0:
    case VMT_Q4_0:
    case VMT_Q4_K:
    case VMT_Q5_K:
    case VMT_Q6_K:
        break;
    }
    return 0;
}

static int64_t find_in_blocks(const vmt_tensor *t, int64_t from, int64_t to)
{
    float values[VMT_QUANT_BLOCK];

    for (int64_t i = from; i < to; i += VMT_QUANT_BLOCK) {
        const int64_t n = to - i < VMT_QUANT_BLOCK ? to - i : VMT_QUANT_BLOCK;
        vmt_tensor_unpack(values, t, i, n);
        for (int64_t j = 0; j < n; j++)
            if (!isfinite(values[j]))
                return i + j;
    }
    return to;
}

/* First value in [from, to) that is not finite, or `to`. */
static int64_t find_not_finite(const vmt_tensor *t, int64_t from, int64_t to)
{
    const uint64_t exponent = exponent_of(t->dtype);
    const size_t bytes = vmt_dtype_bytes(t->dtype);
    const unsigned char *data = t->data;

    if (vmt_is_quantised(t->dtype))
        return find_in_blocks(t, from, to);
    for (int64_t i = from; i < to; i++) {
        uint64_t value = 0;
        memcpy(&value, data + (size_t)i * bytes, bytes); /* little-endian, as the files are */
        if ((value & exponent) == exponent)
            return i;
    }
    return to;
}

static enum vmt_status check_values(vmt_ctx *ctx, const char *path, const vmt_tensor_entry *entry)
{
    const int64_t count = vmt_numel(&entry->tensor);

    if (!exponent_of(entry->tensor.dtype) && !vmt_is_quantised(entry->tensor.dtype))
        return VMT_OK;
    for (int64_t from = 0; from < count; from += PIECE) {
        const int64_t to = count - from < PIECE ? count : from + PIECE;
        const int64_t bad = find_not_finite(&entry->tensor, from, to);
        if (bad < to)
            return vmt_fail(ctx, VMT_E_NUMERIC,
                            "%s: tensor '%.200s': value %" PRId64 " is NaN or infinite", path,
                            entry->name, bad);
        VMT_TRY(vmt_check_cancelled(ctx));
    }
    return VMT_OK;
}

enum vmt_status vmt_tensor_file_check(vmt_ctx *ctx, const vmt_tensor_file *file)
{
    const vmt_mapped_file *maps = file->maps.items;
    const vmt_tensor_entry *entries = file->entries.items;

    for (size_t i = 0; i < file->maps.count; i++)
        if (vmt_zip_looks(maps[i].bytes, maps[i].length))
            VMT_TRY(check_archive(ctx, &maps[i], file->path));
    for (size_t i = 0; i < file->entries.count; i++)
        VMT_TRY(check_values(ctx, file->path, &entries[i]));
    return VMT_OK;
}
