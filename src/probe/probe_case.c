/* SPDX-License-Identifier: MIT */
#include "probe/probe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs */

bool vmt_probe_has(const vmt_probe_case *c, const char *name)
{
    char full[VMT_TENSOR_NAME_BYTES];

    snprintf(full, sizeof full, "in.%s", name);
    return vmt_tensor_file_find(c->file, full) != NULL;
}

enum vmt_status vmt_probe_input(vmt_ctx *ctx, const vmt_probe_case *c, const char *name,
                                enum vmt_dtype dtype, int rank, const vmt_tensor **input)
{
    char full[VMT_TENSOR_NAME_BYTES];

    snprintf(full, sizeof full, "in.%s", name);
    *input = vmt_tensor_file_find(c->file, full);
    if (!*input)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no tensor %s", vmt_tensor_file_path(c->file), full);
    if ((*input)->dtype != dtype || (rank >= 0 && (*input)->rank != rank))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %s is %s of rank %d, expected %s%s",
                        vmt_tensor_file_path(c->file), full, vmt_dtype_name((*input)->dtype),
                        (*input)->rank, vmt_dtype_name(dtype), rank >= 0 ? " of another rank" : "");
    return VMT_OK;
}

/* Whether a name ends as files of weights do. */
static bool has_ending(const char *name)
{
    static const char *const endings[] = {".safetensors", ".json", ".gguf", ".pth"};
    const size_t length = strlen(name);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (length > strlen(endings[i]) &&
            strcmp(name + length - strlen(endings[i]), endings[i]) == 0)
            return true;
    return false;
}

enum vmt_status vmt_probe_config(vmt_ctx *ctx, const vmt_probe_case *c, vmt_config_file **config)
{
    const char *name = vmt_tensor_file_meta(c->file, "config");
    char path[4096];

    *config = NULL;
    if (!name)
        return VMT_OK;
    const int length = snprintf(path, sizeof path, "%s/%s", c->folder, name);
    if (strchr(name, '/') || length < 0 || (size_t)length >= sizeof path)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata \"config\" must name a file beside it",
                        vmt_tensor_file_path(c->file));
    return vmt_config_file_open(ctx, config, path);
}

enum vmt_status vmt_probe_weights(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                  vmt_tensor_file **weights)
{
    const char *stem = vmt_tensor_file_meta(c->file, key);
    char path[4096];

    *weights = NULL;
    if (!stem || !*stem || strchr(stem, '/'))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata \"%s\" must name a weight file beside it",
                        vmt_tensor_file_path(c->file), key);
    const int length = snprintf(path, sizeof path, "%s/%s%s", c->folder, stem,
                                has_ending(stem) ? "" : ".safetensors");
    if (length < 0 || (size_t)length >= sizeof path)
        return vmt_fail(ctx, VMT_E_ARG, "%s: path too long", c->folder);
    return vmt_tensor_file_open(ctx, weights, path);
}

enum vmt_status vmt_probe_meta_sizes(vmt_ctx *ctx, const vmt_probe_case *c, const char *key,
                                     int64_t *values, int count)
{
    const char *text = vmt_tensor_file_meta(c->file, key);
    int found = 0;

    for (const char *p = text; p && *p && found <= count;) {
        char *end;
        if (*p < '0' || *p > '9') {
            p++;
            continue;
        }
        const long long value = strtoll(p, &end, 10);
        if (found < count)
            values[found] = value;
        found++;
        p = end;
    }
    if (found != count)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: metadata \"%s\" is \"%s\", expected %d numbers",
                        vmt_tensor_file_path(c->file), key, text ? text : "", count);
    return VMT_OK;
}

/* ---- outputs */

static enum vmt_status grow(vmt_ctx *ctx, vmt_probe_case *c)
{
    const int64_t capacity = c->capacity ? 2 * c->capacity : 32;
    vmt_named_tensor *larger;

    if (c->count < c->capacity)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, (void **)&larger, (size_t)capacity, sizeof *larger));
    if (c->count)
        memcpy(larger, c->outputs, (size_t)c->count * sizeof *larger);
    vmt_free(c->outputs);
    c->outputs = larger;
    c->capacity = capacity;
    return VMT_OK;
}

/* I32 in place to I64: from the back, so that nothing is overwritten before it is read. */
static void widen(void *data, int64_t count)
{
    for (int64_t i = count - 1; i >= 0; i--) {
        int32_t narrow;
        memcpy(&narrow, (char *)data + 4 * i, sizeof narrow);
        const int64_t wide = narrow;
        memcpy((char *)data + 8 * i, &wide, sizeof wide);
    }
}

static enum vmt_status copy_out(vmt_ctx *ctx, vmt_tensor *out, const vmt_tensor *tensor, int rank,
                                const int64_t *shape)
{
    const int64_t count = vmt_numel(tensor);
    const enum vmt_dtype kept =
        tensor->dtype == VMT_I32 || tensor->dtype == VMT_U8 ? tensor->dtype : VMT_F32;
    void *data;

    VMT_TRY(vmt_alloc(ctx, &data, (size_t)count, 8));
    if (tensor->dtype == VMT_I64) { /* made on the host */
        memcpy(data, tensor->data, vmt_tensor_bytes(tensor));
        *out = vmt_tensor_over(data, VMT_I64, rank, shape);
        return VMT_OK;
    }
    *out = vmt_tensor_over(data, kept, tensor->rank, tensor->shape);
    VMT_TRY(vmt_download(ctx, out, tensor));
    if (kept == VMT_I32) {
        widen(data, count);
        out->dtype = VMT_I64;
    }
    *out = vmt_tensor_over(data, out->dtype, rank, shape);
    if (vmt_numel(out) != count)
        return vmt_fail(ctx, VMT_E_INTERNAL,
                        "an output of %" PRId64 " elements under a shape of %" PRId64, count,
                        vmt_numel(out));
    return VMT_OK;
}

/* A new output of that name, its tensor still empty. */
static enum vmt_status new_output(vmt_ctx *ctx, vmt_probe_case *c, vmt_tensor **tensor,
                                  const char *name, va_list args) VMT_PRINTF(4, 0);
static enum vmt_status new_output(vmt_ctx *ctx, vmt_probe_case *c, vmt_tensor **tensor,
                                  const char *name, va_list args)
{
    char *text;

    VMT_TRY(grow(ctx, c));
    VMT_TRY(vmt_alloc(ctx, (void **)&text, VMT_TENSOR_NAME_BYTES, 1));
    vsnprintf(text, VMT_TENSOR_NAME_BYTES, name, args);
    c->outputs[c->count] = (vmt_named_tensor){.name = text};
    *tensor = &c->outputs[c->count++].tensor;
    return VMT_OK;
}

enum vmt_status vmt_probe_emit(vmt_ctx *ctx, vmt_probe_case *c, const vmt_tensor *tensor, int rank,
                               const int64_t *shape, const char *name, ...)
{
    vmt_tensor *out;
    va_list args;

    va_start(args, name);
    const enum vmt_status status = new_output(ctx, c, &out, name, args);
    va_end(args);
    return status == VMT_OK ? copy_out(ctx, out, tensor, rank, shape) : status;
}

enum vmt_status vmt_probe_emit_host(vmt_ctx *ctx, vmt_probe_case *c, const vmt_tensor *host,
                                    const char *name, ...)
{
    const int64_t count = vmt_numel(host);
    vmt_tensor *out;
    void *data;
    va_list args;

    va_start(args, name);
    const enum vmt_status status = new_output(ctx, c, &out, name, args);
    va_end(args);
    VMT_TRY(status);
    VMT_TRY(vmt_alloc(ctx, &data, (size_t)count, 8));
    memcpy(data, host->data, vmt_tensor_bytes(host));
    if (host->dtype == VMT_I32)
        widen(data, count);
    *out = vmt_tensor_over(data, host->dtype == VMT_I32 ? VMT_I64 : host->dtype, host->rank,
                           host->shape);
    return VMT_OK;
}

void vmt_probe_case_free(vmt_probe_case *c)
{
    for (int64_t i = 0; i < c->count; i++) {
        vmt_free((char *)(uintptr_t)c->outputs[i].name);
        vmt_free(c->outputs[i].tensor.data);
    }
    vmt_free(c->outputs);
}
