/* SPDX-License-Identifier: MIT */
#include "pipeline/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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
