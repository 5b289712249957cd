/* SPDX-License-Identifier: MIT */
#include "pipeline/budget.h"

size_t vmt_free_memory(vmt_ctx *ctx)
{
    if (ctx->ops->free_bytes)
        return ctx->ops->free_bytes(ctx);
    return vmt_host_memory();
}

/* What allocator, threads and compiled products add to a process (e2e.plan), to a round number;
 * pinned pieces that transfers go through. */
enum { OWN_BYTES = 24 << 20, ROUNDED = 8 << 20, PINNED_BYTES = 128 << 20 };

static size_t process_bytes(const vmt_ctx *ctx)
{
    return (ctx->base_bytes + OWN_BYTES + ROUNDED - 1) / ROUNDED * ROUNDED;
}

/* Without a limit: what is free less what the process itself still takes, and less a margin for
 * what others take while it runs. */
static size_t without_limit(size_t free, size_t own)
{
    enum { MARGIN = 32 }; /* one part of as many */

    return vmt_left_of(free - free / MARGIN, own);
}

vmt_budget vmt_budget_now(vmt_ctx *ctx, size_t held)
{
    const bool device = ctx->ops->free_bytes != NULL;
    size_t later = 0;
    vmt_budget b = {.named = ctx->max_vram || ctx->max_ram, .free = vmt_free_memory(ctx) + held};

    if (!device) {
        b.fixed = process_bytes(ctx);
        b.room = ctx->max_ram ? vmt_left_of((size_t)ctx->max_ram, b.fixed)
                              : without_limit(b.free, OWN_BYTES);
        return b;
    }
    b.fixed = ctx->ops->fixed_bytes ? ctx->ops->fixed_bytes(ctx, &later) : 0;
    b.free = vmt_left_of(b.free, later);
    b.room = ctx->max_vram ? vmt_left_of((size_t)ctx->max_vram, b.fixed) : without_limit(b.free, 0);
    b.host_fixed = process_bytes(ctx) + PINNED_BYTES;
    b.host_room =
        ctx->max_ram ? vmt_left_of((size_t)ctx->max_ram, b.host_fixed) : vmt_host_memory() / 2;
    return b;
}

enum vmt_status vmt_require_room(vmt_ctx *ctx, const vmt_budget *budget, size_t bytes)
{
    const bool device = ctx->ops->free_bytes != NULL;
    const uint64_t limit = device ? ctx->max_vram : ctx->max_ram;

    if (!limit || bytes <= budget->room)
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_MEMORY, "needs %.1f MiB at least, %s allows %.1f",
                    (double)(bytes + budget->fixed) / (1 << 20),
                    device ? "--max-vram" : "--max-ram", (double)limit / (1 << 20));
}
