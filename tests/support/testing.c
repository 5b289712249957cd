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

double test_uniform(test_rng *rng)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 7;
    rng->state ^= rng->state << 17;
    return (double)(rng->state >> 11) * 0x1p-52 - 1.0;
}
