/* SPDX-License-Identifier: MIT
 *
 * Clocks, the process's memory, and the one way a call is measured.
 */
#include "bench/bench.h"

#include "pipeline/budget.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double SHORTEST = 0.02; /* seconds of one run, for the clocks' sake */

static double seconds_of(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double bench_processor(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

size_t bench_used(vmt_ctx *ctx)
{
    return ctx->ops->free_bytes ? SIZE_MAX - ctx->ops->free_bytes(ctx) : vmt_process_memory();
}

enum vmt_status bench_wait(vmt_ctx *ctx)
{
    return ctx->ops->wait ? ctx->ops->wait(ctx) : VMT_OK;
}

void bench_mark_memory(bench *b)
{
    b->counter.before = b->counter.most = bench_used(b->ctx);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(double *values, int count, double *median, double *least, double *most)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    *median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    *least = values[0];
    *most = values[count - 1];
}

/* Counts, memory, and how often a run repeats the call. */
static enum vmt_status rehearse(bench *b, vmt_bench_row *row, bench_call *call, void *user,
                                int64_t *repeats)
{
    bench_counter *c = &b->counter;
    const double began = bench_now();

    memset(c->flop, 0, sizeof c->flop);
    c->most = bench_used(b->ctx);
    c->watches = true;
    const enum vmt_status status = call(b->ctx, user);
    c->watches = false;
    VMT_TRY(status);
    VMT_TRY(bench_wait(b->ctx));
    const size_t now = bench_used(b->ctx);
    c->most = now > c->most ? now : c->most;
    row->taken = c->most > c->before ? c->most - c->before : 0;
    for (int k = 0; k < BENCH_KINDS; k++)
        row->flop += c->flop[k];
    *repeats = 1;
    if (bench_now() - began > 5 * SHORTEST)
        return VMT_OK;
    for (;; *repeats *= 2) {
        const double start = bench_now();
        for (int64_t i = 0; i < *repeats; i++)
            VMT_TRY(call(b->ctx, user));
        VMT_TRY(bench_wait(b->ctx));
        if (bench_now() - start > SHORTEST)
            return VMT_OK;
    }
}

static void fill_shares(vmt_bench_row *row, const bench_counter *c, double all)
{
    row->linear = c->seconds[BENCH_LINEAR] / all;
    row->attention = c->seconds[BENCH_ATTENTION] / all;
    row->conv = c->seconds[BENCH_CONV] / all;
}

/* Where products go to a device and are not waited for: their shares, from a call that waits. */
static enum vmt_status share_run(bench *b, vmt_bench_row *row, bench_call *call, void *user)
{
    bench_counter *c = &b->counter;
    const double start = bench_now();

    if (!b->ctx->ops->wait)
        return VMT_OK;
    memset(c->seconds, 0, sizeof c->seconds);
    c->waits = true;
    enum vmt_status status = call(b->ctx, user);
    c->waits = false;
    if (status == VMT_OK)
        status = bench_wait(b->ctx);
    fill_shares(row, c, bench_now() - start);
    return status;
}

static enum vmt_status clock_runs(bench *b, vmt_bench_row *row, bench_call *before,
                                  bench_call *call, void *user, int64_t repeats)
{
    const int runs = b->options.runs;
    bench_counter *c = &b->counter;
    double all = 0, least, most;
    enum vmt_status status = VMT_OK;
    void *memory;

    VMT_TRY(vmt_alloc(b->ctx, &memory, 2 * (size_t)runs, sizeof(double)));
    double *wall = memory, *used = wall + runs;
    memset(c->seconds, 0, sizeof c->seconds);
    for (int r = 0; r < runs && status == VMT_OK; r++) {
        if (before)
            status = before(b->ctx, user);
        const double start = bench_now(), spent = bench_processor();
        for (int64_t i = 0; i < repeats && status == VMT_OK; i++)
            status = call(b->ctx, user);
        if (status == VMT_OK)
            status = bench_wait(b->ctx);
        wall[r] = (bench_now() - start) / (double)repeats;
        used[r] = (bench_processor() - spent) / (double)repeats;
        all += wall[r] * (double)repeats;
    }
    if (status == VMT_OK) {
        bench_sort(wall, runs, &row->median, &row->least, &row->most);
        bench_sort(used, runs, &row->processor, &least, &most);
        if (!b->ctx->ops->wait)
            fill_shares(row, c, all);
    }
    vmt_free(memory);
    return status;
}

enum vmt_status bench_measure(bench *b, vmt_bench_row *row, bench_call *call, void *user)
{
    int64_t repeats;

    VMT_TRY(rehearse(b, row, call, user, &repeats));
    VMT_TRY(share_run(b, row, call, user));
    return clock_runs(b, row, NULL, call, user, repeats);
}

enum vmt_status bench_time(bench *b, vmt_bench_row *row, bench_call *before, bench_call *call,
                           void *user)
{
    return clock_runs(b, row, before, call, user, 1);
}

enum vmt_status bench_tell(bench *b, const vmt_bench_row *row)
{
    if (b->options.row && b->options.row(b->options.user, &b->head, row))
        return vmt_fail(b->ctx, VMT_E_CANCELLED, "stopped");
    return VMT_OK;
}
