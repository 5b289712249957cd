/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <stdlib.h>

vmt_ctx *test_ctx_open(const char *backend, const char *dtype)
{
    vmt_ctx *ctx = calloc(1, sizeof *ctx);
    assert_non_null(ctx);
    vmt_ctx_init(ctx);
    CHECK_OK(ctx, vmt_backend_open(ctx, backend, dtype));
    return ctx;
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
