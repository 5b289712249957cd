/* SPDX-License-Identifier: MIT
 *
 * The context and the clip of the public header; names of statuses and phases.
 */
#include "pipeline/budget.h"

#include "backend/backend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)

enum vmt_status vmt_ctx_open(vmt_ctx **result, const vmt_config *config)
{
    const vmt_config defaults = {0};
    vmt_ctx *ctx = calloc(1, sizeof *ctx);

    *result = ctx;
    if (!ctx)
        return VMT_E_MEMORY;
    if (!config)
        config = &defaults;
    vmt_ctx_init(ctx);
    ctx->threads = config->threads;
    ctx->device = config->device;
    ctx->nondeterministic = config->nondeterministic != 0;
    ctx->log = config->log;
    ctx->log_user = config->log_user;
    ctx->cache_bytes = config->cache_bytes ? config->cache_bytes : 512U << 20;
    if (config->cache_dir && !(ctx->cache_dir = strdup(config->cache_dir)))
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory");
    ctx->max_vram = config->max_vram;
    ctx->max_ram = config->max_ram;
    VMT_TRY(vmt_backend_open(ctx, config->backend, config->dtype));
    ctx->base_bytes = vmt_process_memory();
    if (!ctx->max_ram && !ctx->ops->free_bytes)
        ctx->max_ram = vmt_shell_limit(ctx->base_bytes);
    if (ctx->max_vram && !ctx->ops->free_bytes)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--max-vram: backend %s computes in memory of the host: limit it by "
                        "--max-ram",
                        ctx->ops->name);
    vmt_log(ctx, VMT_LOG_DEBUG, "backend %s, activations %s, threads %d", ctx->ops->name,
            vmt_dtype_name(ctx->act), ctx->threads);
    return VMT_OK;
}

void vmt_ctx_close(vmt_ctx *ctx)
{
    if (!ctx)
        return;
    if (ctx->ops)
        ctx->ops->close(ctx);
    free(ctx->cache_dir);
    free(ctx);
}

const char *vmt_message(const vmt_ctx *ctx)
{
    return ctx ? ctx->message : "out of memory";
}

const char *vmt_backend_name(const vmt_ctx *ctx)
{
    return ctx->ops ? ctx->ops->name : "none";
}

enum vmt_status vmt_describe_devices(vmt_ctx *ctx, char **text)
{
    enum { SIZE = 8192 };
    void *memory = NULL;

    *text = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, SIZE, 1));
    const enum vmt_status status = vmt_backend_cuda_describe(ctx, memory, SIZE);
    if (status == VMT_OK)
        *text = memory;
    else
        vmt_free(memory);
    return status;
}

void vmt_cancel(vmt_ctx *ctx)
{
    atomic_store_explicit(&ctx->cancelled, 1, memory_order_relaxed);
}

const char *vmt_version(void)
{
    return STRING(VMT_VERSION_MAJOR) "." STRING(VMT_VERSION_MINOR) "." STRING(VMT_VERSION_PATCH);
}

const char *vmt_status_name(enum vmt_status status)
{
    switch (status) {
    case VMT_OK:
        return "ok";
    case VMT_E_INTERNAL:
        return "internal error";
    case VMT_E_ARG:
        return "bad argument";
    case VMT_E_MEMORY:
        return "out of memory";
    case VMT_E_IO:
        return "input or output failed";
    case VMT_E_FORMAT:
        return "bad file";
    case VMT_E_MODEL:
        return "files do not make a model";
    case VMT_E_MISMATCH:
        return "made with other settings";
    case VMT_E_NUMERIC:
        return "not a number";
    case VMT_E_UNSUPPORTED:
        return "not supported";
    case VMT_E_CANCELLED:
        return "stopped";
    }
    return "unknown status";
}

const char *vmt_phase_name(enum vmt_phase phase)
{
    static const char *const names[VMT_PHASE_COUNT] = {"load",    "text",   "encode",
                                                       "extract", "sample", "decode"};
    return (unsigned)phase < VMT_PHASE_COUNT ? names[phase] : "unknown";
}

enum vmt_status vmt_clip_new(vmt_ctx *ctx, vmt_clip *clip, int64_t frames, int64_t height,
                             int64_t width, double fps)
{
    size_t bytes = 3;
    void *pixels;

    *clip = (vmt_clip){0};
    if (frames < 1 || height < 1 || width < 1 || !(fps > 0))
        return vmt_fail(ctx, VMT_E_ARG,
                        "a clip of %" PRId64 " frames of %" PRId64 "x%" PRId64 " at %g fps", frames,
                        width, height, fps);
    if (!vmt_mul_size(bytes, (size_t)frames, &bytes) ||
        !vmt_mul_size(bytes, (size_t)height, &bytes) || !vmt_mul_size(bytes, (size_t)width, &bytes))
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "%" PRId64 " frames of %" PRId64 "x%" PRId64 " are too large", frames,
                        width, height);
    VMT_TRY(vmt_alloc(ctx, &pixels, bytes, 1));
    *clip = (vmt_clip){
        .pixels = pixels, .frames = frames, .height = height, .width = width, .fps = fps};
    return VMT_OK;
}

void vmt_clip_free(vmt_clip *clip)
{
    vmt_free(clip->pixels);
    *clip = (vmt_clip){0};
}
