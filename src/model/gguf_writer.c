/* SPDX-License-Identifier: MIT */
#include "model/gguf_writer.h"

#include "model/gguf.h"

#include <stdio.h>
#include <string.h>

enum { U32 = 4, I32 = 5, TEXT = 8, LIST = 9, VERSION = 3, QUANTIZATION_VERSION = 2 };

/* A header being written; after the first failure all else does nothing. */
typedef struct writer {
    vmt_ctx *ctx;
    vmt_atomic_file *file;
    enum vmt_status status;
} writer;

static void put_bytes(writer *w, const void *bytes, size_t length)
{
    if (w->status == VMT_OK)
        w->status = vmt_atomic_file_write(w->ctx, w->file, bytes, length);
}

static void put(writer *w, uint64_t value, int bytes)
{
    unsigned char little[8];

    for (int i = 0; i < bytes; i++)
        little[i] = (unsigned char)(value >> (8 * i));
    put_bytes(w, little, (size_t)bytes);
}

static void put_text(writer *w, const char *text)
{
    put(w, strlen(text), 8);
    put_bytes(w, text, strlen(text));
}

static void put_text_key(writer *w, const char *prefix, const char *key, const char *value)
{
    put(w, strlen(prefix) + strlen(key), 8);
    put_bytes(w, prefix, strlen(prefix));
    put_bytes(w, key, strlen(key));
    put(w, TEXT, 4);
    put_text(w, value);
}

static bool is_folded(const vmt_tensor *t)
{
    return t->rank == VMT_MAX_RANK;
}

static void put_shape_key(writer *w, const vmt_named_tensor *named)
{
    char key[VMT_TENSOR_NAME_BYTES + 32];

    snprintf(key, sizeof key, "comfy.gguf.orig_shape.%s", named->name);
    put_text(w, key);
    put(w, LIST, 4);
    put(w, I32, 4);
    put(w, (uint64_t)named->tensor.rank, 8);
    for (int i = 0; i < named->tensor.rank; i++)
        put(w, (uint64_t)named->tensor.shape[i], 4);
}

static void put_tensor(writer *w, const vmt_named_tensor *named, uint64_t *offset)
{
    const vmt_tensor *t = &named->tensor;
    const int type = vmt_gguf_type(t->dtype), first = is_folded(t) ? 1 : 0;

    if (type < 0 && w->status == VMT_OK)
        w->status = vmt_fail(w->ctx, VMT_E_INTERNAL, "%s: GGUF has no type %s", named->name,
                             vmt_dtype_name(t->dtype));
    put_text(w, named->name);
    put(w, (uint64_t)(t->rank - first), 4);
    for (int i = t->rank - 1; i >= first; i--)
        put(w, (uint64_t)(i == first && first ? t->shape[0] * t->shape[1] : t->shape[i]), 8);
    put(w, (uint64_t)type, 4);
    put(w, *offset, 8);
    *offset +=
        (vmt_tensor_bytes(t) + VMT_GGUF_ALIGNMENT - 1) / VMT_GGUF_ALIGNMENT * VMT_GGUF_ALIGNMENT;
}

enum vmt_status vmt_gguf_write_header(vmt_ctx *ctx, vmt_atomic_file *file, const char *architecture,
                                      const vmt_named_tensor *tensors, int64_t count,
                                      const char *const *meta)
{
    writer w = {ctx, file, VMT_OK};
    uint64_t keys = 2, offset = 0;

    for (int64_t i = 0; i < count; i++)
        keys += is_folded(&tensors[i].tensor);
    for (size_t i = 0; meta && meta[i]; i += 2)
        keys++;
    put_bytes(&w, "GGUF", 4);
    put(&w, VERSION, 4);
    put(&w, (uint64_t)count, 8);
    put(&w, keys, 8);
    put_text_key(&w, "", "general.architecture", architecture);
    put_text(&w, "general.quantization_version");
    put(&w, U32, 4);
    put(&w, QUANTIZATION_VERSION, 4);
    for (size_t i = 0; meta && meta[i]; i += 2)
        put_text_key(&w, "fastvmt.", meta[i], meta[i + 1]);
    for (int64_t i = 0; i < count; i++)
        if (is_folded(&tensors[i].tensor))
            put_shape_key(&w, &tensors[i]);
    for (int64_t i = 0; i < count; i++)
        put_tensor(&w, &tensors[i], &offset);
    return w.status != VMT_OK ? w.status : vmt_gguf_write_padding(ctx, file);
}

enum vmt_status vmt_gguf_write_padding(vmt_ctx *ctx, vmt_atomic_file *file)
{
    static const unsigned char zeros[VMT_GGUF_ALIGNMENT];
    const size_t over = (size_t)(file->written % VMT_GGUF_ALIGNMENT);

    return over ? vmt_atomic_file_write(ctx, file, zeros, VMT_GGUF_ALIGNMENT - over) : VMT_OK;
}
