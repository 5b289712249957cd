/* SPDX-License-Identifier: MIT */
#include "pipeline/budget.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Pages of files that a control group is charged with and that go when memory is short: a model's
 * weights, read where they lie, would otherwise count as taken. */
static size_t group_cache(void)
{
    char line[256];
    unsigned long long value;
    size_t bytes = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.stat", "r");

    if (!file)
        return bytes;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "inactive_file %llu", &value) == 1 ||
            sscanf(line, "active_file %llu", &value) == 1)
            bytes += (size_t)value;
    fclose(file);
    return bytes;
}

/* A number in the first line of a file; SIZE_MAX when there is none ("max"). */
static size_t number_in(const char *path)
{
    unsigned long long value;
    FILE *file = fopen(path, "r");
    const bool found = file && fscanf(file, "%llu", &value) == 1;

    if (file)
        fclose(file);
    return found ? (size_t)value : SIZE_MAX;
}

static size_t available(void)
{
    char line[256];
    unsigned long long kib;
    size_t bytes = SIZE_MAX;
    FILE *file = fopen("/proc/meminfo", "r");

    if (!file)
        return bytes;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            bytes = (size_t)kib * 1024;
    fclose(file);
    return bytes;
}

/* What limit - used leaves. */
static size_t left_of(size_t limit, size_t used)
{
    if (limit == SIZE_MAX || used == SIZE_MAX)
        return SIZE_MAX;
    return limit > used ? limit - used : 0;
}

static size_t host_memory(void)
{
    struct rlimit limit;
    size_t bytes = available();
    const size_t used = number_in("/sys/fs/cgroup/memory.current");
    const size_t cache = group_cache();
    const size_t group = left_of(number_in("/sys/fs/cgroup/memory.max"),
                                 used == SIZE_MAX ? used : left_of(used, cache));

    if (group < bytes)
        bytes = group;
    if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes)
        bytes = (size_t)limit.rlim_cur;
    return bytes;
}

size_t vmt_free_memory(vmt_ctx *ctx)
{
    if (ctx->ops->free_bytes)
        return ctx->ops->free_bytes(ctx);
    return host_memory();
}

/* Without allocating: it may be asked when there is nothing left. */
size_t vmt_process_memory(void)
{
    char text[4096];
    unsigned long long kib = 0;
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    const char *line = strstr(text, "RssAnon:");
    return line && sscanf(line, "RssAnon: %llu kB", &kib) == 1 ? (size_t)kib * 1024 : 0;
}

/* What allocator, threads and compiled products add to a process (e2e.plan), to a round number;
 * pinned pieces that transfers go through. */
enum { OWN_BYTES = 24 << 20, ROUNDED = 8 << 20, PINNED_BYTES = 128 << 20 };

static size_t process_bytes(const vmt_ctx *ctx)
{
    return (ctx->base_bytes + OWN_BYTES + ROUNDED - 1) / ROUNDED * ROUNDED;
}

vmt_budget vmt_budget_now(vmt_ctx *ctx, size_t held)
{
    const bool device = ctx->ops->free_bytes != NULL;
    size_t later = 0;
    vmt_budget b = {.named = ctx->max_vram || ctx->max_ram, .free = vmt_free_memory(ctx) + held};

    if (!device) {
        b.fixed = process_bytes(ctx);
        b.room = ctx->max_ram ? left_of((size_t)ctx->max_ram, b.fixed) : b.free;
        return b;
    }
    b.fixed = ctx->ops->fixed_bytes ? ctx->ops->fixed_bytes(ctx, &later) : 0;
    b.free = left_of(b.free, later);
    b.room = ctx->max_vram ? left_of((size_t)ctx->max_vram, b.fixed) : b.free;
    b.host_fixed = process_bytes(ctx) + PINNED_BYTES;
    b.host_room = ctx->max_ram ? left_of((size_t)ctx->max_ram, b.host_fixed) : host_memory() / 2;
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
