/* SPDX-License-Identifier: MIT */
#include "base/ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Control characters of untrusted names must not reach a terminal. */
static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void vmt_set_message(vmt_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->message, sizeof ctx->message, format, args);
    va_end(args);
    make_one_line(ctx->message);
}

enum vmt_status vmt_prefix(vmt_ctx *ctx, enum vmt_status status, const char *format, ...)
{
    char prefix[256], old[VMT_MESSAGE_BYTES];
    va_list args;

    if (status == VMT_OK || status == VMT_E_CANCELLED)
        return status;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    make_one_line(prefix);
    memcpy(old, ctx->message, sizeof old);
    snprintf(ctx->message, sizeof ctx->message, "%s: %.*s", prefix,
             (int)(sizeof old - sizeof prefix - 3), old);
    return status;
}

void vmt_log(vmt_ctx *ctx, enum vmt_log_level level, const char *format, ...)
{
    char line[VMT_MESSAGE_BYTES];
    va_list args;

    if (!ctx->log)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    make_one_line(line);
    ctx->log(ctx->log_user, level, line);
}

enum vmt_status vmt_check_cancelled(vmt_ctx *ctx)
{
    /* taken back as it is reported: the next call runs */
    if (atomic_exchange_explicit(&ctx->cancelled, 0, memory_order_relaxed))
        return vmt_fail(ctx, VMT_E_CANCELLED, "stopped");
    return VMT_OK;
}

void vmt_ctx_init(vmt_ctx *ctx)
{
    memset(ctx, 0, sizeof *ctx);
    ctx->real = VMT_F32;
    ctx->act = VMT_F32;
    ctx->threads = 1;
}

enum vmt_status vmt_alloc(vmt_ctx *ctx, void **memory, size_t count, size_t size)
{
    *memory = calloc(count ? count : 1, size ? size : 1);
    if (!*memory)
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %zu items of %zu bytes", count, size);
    return VMT_OK;
}

void vmt_free(void *memory)
{
    free(memory);
}

bool vmt_mul_size(size_t a, size_t b, size_t *result)
{
    if (a && b > SIZE_MAX / a)
        return false;
    *result = a * b;
    return true;
}

bool vmt_add_size(size_t a, size_t b, size_t *result)
{
    if (b > SIZE_MAX - a)
        return false;
    *result = a + b;
    return true;
}
