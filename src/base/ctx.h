/* SPDX-License-Identifier: MIT
 *
 * The context every call receives: where errors are written, what computes, how wide.
 * One context per device; one thread uses it at a time (vmt_cancel alone may come from anywhere).
 */
#ifndef VMT_BASE_CTX_H
#define VMT_BASE_CTX_H

#include "fastvmt/fastvmt.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmt_ops;

enum { VMT_MESSAGE_BYTES = 2048 };

struct vmt_ctx {
    const struct vmt_ops *ops;  /* table of the opened backend (tensor/tensor.h) */
    void *backend;              /* private state of that backend */
    enum vmt_dtype real;        /* residual stream, norms, latents, losses: F32 (F64 on ref64) */
    enum vmt_dtype act;         /* inputs and outputs of matmuls: F32, BF16 (F64 on ref64) */
    int threads;                /* >= 1 */
    int device;                 /* of backend cuda, from 0 */
    bool nondeterministic;      /* backend cuda: sums may be added in an order of chance */
    char machine[192];          /* what computes, as far as bits depend on it; of the backend */
    char *cache_dir;            /* folder of what is kept from run to run; owned; NULL: none */
    uint64_t cache_bytes;       /* what it may hold */
    uint64_t max_vram, max_ram; /* vmt_config; 0: no limit */
    size_t base_bytes;          /* anonymous memory of the process when it was opened */
    atomic_int cancelled;       /* set by vmt_cancel, seen at the next block */
    vmt_log_fn *log;            /* may be NULL */
    void *log_user;
    char message[VMT_MESSAGE_BYTES]; /* text of the last failure, one line */
};

#if defined(__GNUC__)
#define VMT_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define VMT_PRINTF(text, first)
#endif

/* Forwards a failure.  Early return is safe: arenas own memory, the context owns handles. */
#define VMT_TRY(call)                                                                              \
    do {                                                                                           \
        const enum vmt_status try_status_ = (call);                                                \
        if (try_status_ != VMT_OK)                                                                 \
            return try_status_;                                                                    \
    } while (0)

/* Writes the message (once, where the fault is known) and returns `status`.  A macro, so that the
 * compiler sees at the call that the result is not VMT_OK and outputs need not be set. */
#define vmt_fail(ctx, status, ...) (vmt_set_message((ctx), __VA_ARGS__), (status))
void vmt_set_message(vmt_ctx *ctx, const char *format, ...) VMT_PRINTF(2, 3);

/* What an error of the system comes to: out of memory, or a file that cannot be used. */
static inline enum vmt_status vmt_errno_status(int error)
{
    return error == ENOMEM ? VMT_E_MEMORY : VMT_E_IO;
}

/* Puts "prefix: " before the message already there; returns `status` (VMT_OK,
 * VMT_E_CANCELLED: does nothing). */
enum vmt_status vmt_prefix(vmt_ctx *ctx, enum vmt_status status, const char *format, ...)
    VMT_PRINTF(3, 4);

/* One line for people (no newline at the end); dropped when nobody listens. */
void vmt_log(vmt_ctx *ctx, enum vmt_log_level level, const char *format, ...) VMT_PRINTF(3, 4);

/* VMT_E_CANCELLED once vmt_cancel was called, else VMT_OK. */
enum vmt_status vmt_check_cancelled(vmt_ctx *ctx);

/* A bare context for parsers and tests: no backend, no log, one thread. */
void vmt_ctx_init(vmt_ctx *ctx);

/* Memory outside arenas (file tables, parser records): fails with a message, never NULL on VMT_OK.
 * count * size is checked for overflow; the memory is zeroed.  Free with vmt_free. */
enum vmt_status vmt_alloc(vmt_ctx *ctx, void **memory, size_t count, size_t size);
void vmt_free(void *memory);

/* a * b and a + b; false and *result untouched on overflow. */
bool vmt_mul_size(size_t a, size_t b, size_t *result);
bool vmt_add_size(size_t a, size_t b, size_t *result);

#endif
