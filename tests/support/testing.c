/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#ifdef FASTVMT_HAVE_DNNL
#include "backend/cpu/cpu_backend.h"
#endif

/* VMT_CPU_LEVEL=avx2 tests backend cpu with the kernels of that instruction set. */
static void choose_level(vmt_ctx *ctx)
{
#ifdef FASTVMT_HAVE_DNNL
    const char *level = getenv("VMT_CPU_LEVEL");
    if (!level || strcmp(ctx->ops->name, "cpu") != 0)
        return;
    if (vmt_backend_cpu_set_level(ctx, level) != VMT_OK) {
        print_message("SKIPPED: %s\n", ctx->message);
        exit(77);
    }
#else
    (void)ctx;
#endif
}

vmt_ctx *test_ctx_open_threads(const char *backend, const char *dtype, int threads)
{
    vmt_ctx *ctx = calloc(1, sizeof *ctx);
    assert_non_null(ctx);
    vmt_ctx_init(ctx);
    ctx->threads = threads;
    CHECK_OK(ctx, vmt_backend_open(ctx, backend, dtype));
    choose_level(ctx);
    return ctx;
}

vmt_ctx *test_ctx_open(const char *backend, const char *dtype)
{
    return test_ctx_open_threads(backend, dtype, 1);
}

void test_ctx_close(vmt_ctx *ctx)
{
    ctx->ops->close(ctx);
    free(ctx);
}

bool test_backend_built(const char *backend, const char *dtype)
{
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    const enum vmt_status status = vmt_backend_open(&ctx, backend, dtype);
    if (status == VMT_OK)
        ctx.ops->close(&ctx);
    else
        print_message("SKIPPED: %s %s: %s\n", backend, dtype ? dtype : "", ctx.message);
    return status != VMT_E_UNSUPPORTED;
}

double test_uniform(test_rng *rng)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 7;
    rng->state ^= rng->state << 17;
    return (double)(rng->state >> 11) * 0x1p-52 - 1.0;
}
