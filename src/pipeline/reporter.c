/* SPDX-License-Identifier: MIT */
#include "pipeline/pipeline.h"

#include <math.h>
#include <string.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void vmt_reporter_start(vmt_reporter *r, const vmt_transfer_io *io)
{
    *r = (vmt_reporter){.fn = io->progress, .user = io->progress_user, .started = seconds_now()};
    r->now.loss = r->now.amf_loss = r->now.track_loss = (double)NAN;
}

enum vmt_status vmt_reporter_phase(vmt_ctx *ctx, vmt_reporter *r, enum vmt_phase phase,
                                   int64_t steps, double total)
{
    r->now.phase = phase;
    r->now.step = r->now.inner_step = r->now.inner_steps = 0;
    r->now.steps = steps;
    r->phase_start = seconds_now();
    r->done = 0;
    r->total = total;
    return vmt_reporter_tell(ctx, r, 0);
}

static const double SETTLED = 0.5; /* seconds of a phase after which its pace means something */

enum vmt_status vmt_reporter_tell(vmt_ctx *ctx, vmt_reporter *r, double work)
{
    const double now = seconds_now();

    const size_t taken = ctx->ops->taken_bytes  ? ctx->ops->taken_bytes(ctx)
                         : ctx->ops->free_bytes ? 0
                                                : vmt_process_memory();

    r->done += work;
    r->now.seconds = now - r->started;
    if (taken > r->now.memory_taken)
        r->now.memory_taken = taken;
    const bool known = r->done > 0 && now - r->phase_start > SETTLED;
    r->now.seconds_left =
        known ? (now - r->phase_start) * (r->total - r->done) / r->done : (double)NAN;
    if (r->fn && r->fn(r->user, &r->now))
        return vmt_fail(ctx, VMT_E_CANCELLED, "stopped");
    return vmt_check_cancelled(ctx);
}

void vmt_reporter_memory(vmt_reporter *r, size_t bytes)
{
    r->now.memory = bytes;
    if (bytes > r->now.memory_peak)
        r->now.memory_peak = bytes;
}

void vmt_reporter_plan(vmt_reporter *r, const vmt_budget *budget, size_t bytes)
{
    const uint64_t planned = (uint64_t)bytes + budget->fixed;

    if (planned > r->now.memory_planned)
        r->now.memory_planned = planned;
}

enum vmt_status vmt_reporter_vae(vmt_ctx *ctx, void *user, int64_t done, int64_t total)
{
    vmt_reporter *r = user;

    r->now.step = done;
    r->now.steps = total;
    r->total = (double)total;
    return vmt_reporter_tell(ctx, r, (double)done - r->done);
}
