/* SPDX-License-Identifier: MIT */
#include "backend/backend.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#ifdef FASTVMT_HAVE_DNNL
#include "backend/cpu/cpu_backend.h"
#endif

int vmt_backend_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int cores = CPU_COUNT(&set);
    return cores > 0 ? cores : 1;
}

static enum vmt_status open_cpu(vmt_ctx *ctx)
{
#ifdef FASTVMT_HAVE_DNNL
    return vmt_backend_cpu_open(ctx);
#else
    return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                    "backend cpu: this build has no oneDNN; use --backend ref");
#endif
}

static enum vmt_status set_dtype(vmt_ctx *ctx, const char *backend, const char *dtype)
{
    const bool is_auto = !dtype || strcmp(dtype, "auto") == 0;

    ctx->real = ctx->act = VMT_F32;
    if (is_auto && strcmp(backend, "cuda") == 0)
        ctx->act = VMT_BF16; /* what its matrix units are for */
    if (strcmp(backend, "ref64") == 0) {
        if (!is_auto)
            return vmt_fail(ctx, VMT_E_ARG, "backend ref64: dtype %s, only auto (double) exists",
                            dtype);
        ctx->real = ctx->act = VMT_F64;
    } else if (!is_auto && strcmp(dtype, "bf16") == 0) {
        ctx->act = VMT_BF16;
    } else if (!is_auto && strcmp(dtype, "f32") != 0) {
        return vmt_fail(ctx, VMT_E_ARG, "dtype %s: one of auto, f32, bf16", dtype);
    }
    return VMT_OK;
}

static void *pass(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* OpenMP's runtime ends the process when a thread cannot be started: they are tried here, all at
 * once, where it can be told.  Their stacks stay with the C library for the next ones. */
static enum vmt_status try_threads(vmt_ctx *ctx)
{
    const int others = ctx->threads - 1;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    void *memory;
    int made = 0;

    if (others < 1)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)others, sizeof(pthread_t)));
    pthread_t *threads = memory;
    pthread_mutex_lock(&gate);
    while (made < others && pthread_create(&threads[made], NULL, pass, &gate) == 0)
        made++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    vmt_free(memory);
    if (made < others)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "%d of %d threads can be started, no memory for more: choose fewer "
                        "(--threads)",
                        made + 1, ctx->threads);
    return VMT_OK;
}

/* The fastest that works here; a device that is there and fails is no reason to go slowly. */
static enum vmt_status open_fastest(vmt_ctx *ctx, const char *dtype)
{
    const enum vmt_status status = vmt_backend_open(ctx, "cuda", dtype);

    if (status != VMT_E_UNSUPPORTED || ctx->device > 0) /* a device was asked for */
        return status;
#ifdef FASTVMT_HAVE_DNNL
    return vmt_backend_open(ctx, "cpu", dtype);
#else
    return vmt_backend_open(ctx, "ref", dtype);
#endif
}

enum vmt_status vmt_backend_open(vmt_ctx *ctx, const char *name, const char *dtype)
{
    static const struct {
        const char *name;
        enum vmt_status (*open)(vmt_ctx *);
    } backends[] = {{"cuda", vmt_backend_cuda_open},
                    {"cpu", open_cpu},
                    {"ref", vmt_backend_open_ref32},
                    {"ref64", vmt_backend_open_ref64}};

    if (!name || strcmp(name, "auto") == 0)
        return open_fastest(ctx, dtype);
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        if (strcmp(name, backends[i].name) != 0)
            continue;
        if (ctx->device > 0 && backends[i].open != vmt_backend_cuda_open)
            return vmt_fail(ctx, VMT_E_ARG, "--device %d: backend %s has none, only cuda does",
                            ctx->device, name);
        VMT_TRY(set_dtype(ctx, name, dtype));
        if (ctx->threads <= 0)
            ctx->threads = vmt_backend_cores();
        VMT_TRY(try_threads(ctx));
        return backends[i].open(ctx);
    }
    return vmt_fail(ctx, VMT_E_ARG, "backend %s: one of auto, cuda, cpu, ref, ref64", name);
}
