/* SPDX-License-Identifier: MIT
 *
 * What a kept forward saves of each block, in memory of the host: on a device copied out while the
 * next block computes, and back while the backward of the block behind it does.
 */
#include "dit/dit_internal.h"

/* What levels 1 and 2 keep of a block, in the order it lies in. */
static int parts_of(const vmt_dit_run *run, int i, vmt_tensor parts[3])
{
    const dit_saved *s = &run->saved[i];

    parts[0] = s->x;
    parts[1] = s->att;
    parts[2] = s->lse;
    return run->plan.recompute == 1 ? 3 : 1;
}

static size_t block_bytes(const vmt_dit_run *run)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    vmt_tensor parts[3];
    size_t bytes = 0;

    for (int p = parts_of(run, 0, parts) - 1; p >= 0; p--)
        bytes += (vmt_tensor_bytes(&parts[p]) + mask) & ~mask;
    return bytes;
}

/* The last blocks' slots are not needed for others: they stay. */
size_t dit_spill_bytes(const vmt_dit_run *run)
{
    if (!run->plan.spills)
        return 0;
    return (size_t)(run->plan.keep_blocks - DIT_SPILL_SLOTS) * block_bytes(run);
}

enum vmt_status dit_spill_open(vmt_ctx *ctx, vmt_dit_run *run)
{
    const size_t bytes = dit_spill_bytes(run);

    if (!bytes)
        return VMT_OK;
    run->spilled = ctx->ops->spill_alloc(ctx, bytes);
    if (!run->spilled)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "backend %s: out of memory: %zu bytes of the host for block inputs",
                        ctx->ops->name, bytes);
    return VMT_OK;
}

void dit_spill_close(vmt_ctx *ctx, vmt_dit_run *run)
{
    if (run->spilled)
        ctx->ops->spill_release(ctx, run->spilled);
    run->spilled = NULL;
}

/* Copies all parts of block i, out or back. */
static enum vmt_status move(vmt_ctx *ctx, vmt_dit_run *run, int i, bool out)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    unsigned char *at = (unsigned char *)run->spilled + (size_t)i * block_bytes(run);
    vmt_tensor parts[3];
    const int count = parts_of(run, i, parts);

    for (int p = 0; p < count; p++) {
        VMT_TRY(out ? ctx->ops->spill_out(ctx, at, &parts[p], i % DIT_SPILL_SLOTS)
                    : ctx->ops->spill_back(ctx, &parts[p], at, i % DIT_SPILL_SLOTS));
        at += (vmt_tensor_bytes(&parts[p]) + mask) & ~mask;
    }
    return VMT_OK;
}

enum vmt_status dit_spill_out(vmt_ctx *ctx, vmt_dit_run *run, int i, int count)
{
    return run->spilled && i < count - DIT_SPILL_SLOTS ? move(ctx, run, i, true) : VMT_OK;
}

enum vmt_status dit_spill_back(vmt_ctx *ctx, vmt_dit_run *run, int i)
{
    return run->spilled && i >= 0 ? move(ctx, run, i, false) : VMT_OK;
}

enum vmt_status dit_spill_wait(vmt_ctx *ctx, vmt_dit_run *run, int i)
{
    if (!run->spilled || !ctx->ops->spill_wait)
        return VMT_OK;
    return ctx->ops->spill_wait(ctx, i % DIT_SPILL_SLOTS);
}
