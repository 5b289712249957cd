/* SPDX-License-Identifier: MIT
 *
 * Memory of the host: what this process has, and what the system, its control group and the
 * shell's limits leave.
 */
#include "pipeline/budget.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* Without allocating: it may be asked when there is nothing left.  A line of /proc/self/status, in
 * KiB. */
static size_t status_bytes(const char *key)
{
    char text[4096];
    unsigned long long kib = 0;
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    const char *line = strstr(text, key);
    return line && sscanf(line + strlen(key), " %llu kB", &kib) == 1 ? (size_t)kib * 1024 : 0;
}

size_t vmt_process_memory(void)
{
    return status_bytes("RssAnon:");
}

/* A number in the first line of a file; SIZE_MAX when there is none ("max"). */
static size_t number_in(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    unsigned long long value;
    const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = length > 0 && length < PATH_BYTES ? fopen(path, "r") : NULL;
    const bool found = file && fscanf(file, "%llu", &value) == 1;

    if (file)
        fclose(file);
    return found ? (size_t)value : SIZE_MAX;
}

/* What a control group's files are called. */
typedef struct group_files {
    const char *limit, *used;
    const char *cache[2]; /* lines of memory.stat */
} group_files;

static const group_files V1 = {"memory.limit_in_bytes",
                               "memory.usage_in_bytes",
                               {"total_inactive_file ", "total_active_file "}};
static const group_files V2 = {"memory.max", "memory.current", {"inactive_file ", "active_file "}};

/* Pages of files that a control group is charged with and that go when memory is short: a model's
 * weights, read where they lie, would otherwise count as taken. */
static size_t group_cache(const char *folder, const group_files *names)
{
    char path[PATH_BYTES], line[256];
    unsigned long long value;
    size_t bytes = 0;
    const int length = snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *file = length > 0 && length < PATH_BYTES ? fopen(path, "r") : NULL;

    while (file && fgets(line, sizeof line, file))
        for (int i = 0; i < 2; i++) {
            const size_t key = strlen(names->cache[i]);
            if (!strncmp(line, names->cache[i], key) && sscanf(line + key, "%llu", &value) == 1)
                bytes += (size_t)value;
        }
    if (file)
        fclose(file);
    return bytes;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t group_free(const char *folder, const group_files *names)
{
    const size_t limit = number_in(folder, names->limit), used = number_in(folder, names->used);

    if (limit == SIZE_MAX || used == SIZE_MAX)
        return SIZE_MAX;
    return vmt_left_of(limit, vmt_left_of(used, group_cache(folder, names)));
}

/* The least of a group and those it lies in.  In a container the mount may be the group itself and
 * the path one of the host's: then only the mount is there. */
static size_t groups_free(const char *mount, char *group, const group_files *names)
{
    char folder[PATH_BYTES];
    size_t least = group_free(mount, names);

    for (char *end; *group && (end = strrchr(group, '/')); *end = 0)
        if (snprintf(folder, sizeof folder, "%s%s", mount, group) < PATH_BYTES)
            least = smaller(least, group_free(folder, names));
    return least;
}

/* One of a comma-separated list. */
static bool is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);

    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ','))
            return true;
    return false;
}

/* Lines "number:controllers:/path": of the second version no controllers are named. */
size_t vmt_group_memory(const char *groups, const char *mount)
{
    char line[PATH_BYTES], folder[PATH_BYTES];
    FILE *file = fopen(groups, "r");
    size_t least = SIZE_MAX;

    while (file && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        controllers++;
        const bool second = !*controllers;
        if (!second && !is_listed(controllers, "memory"))
            continue;
        if (snprintf(folder, sizeof folder, "%s%s", mount, second ? "" : "/memory") < PATH_BYTES)
            least = smaller(least, groups_free(folder, path, second ? &V2 : &V1));
    }
    if (file)
        fclose(file);
    return least;
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

/* Reserved and not touched, which such limits count and anonymous memory does not: stacks, room for
 * alignment, pages of generated code.  Small runs need less of it. */
enum { RESERVED = 48 << 20 };

/* What a limit of the shell (ulimit) leaves beside what is there. */
static size_t shell_free(__rlimit_resource_t kind, const char *key)
{
    struct rlimit limit;

    if (getrlimit(kind, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    const size_t left = vmt_left_of((size_t)limit.rlim_cur, status_bytes(key));
    return left - smaller(left / 4, RESERVED);
}

static size_t shell_memory(void)
{
    return smaller(shell_free(RLIMIT_AS, "VmSize:"), shell_free(RLIMIT_DATA, "VmData:"));
}

uint64_t vmt_shell_limit(size_t base)
{
    /* what opening files and a model still takes; what a plan counts for the process */
    enum { ROUNDED = 8 << 20, MODEL = 32 << 20, PROCESS = 32 << 20 };
    const size_t left = shell_memory();

    if (left == SIZE_MAX)
        return 0;
    const size_t most = left - smaller(left / 8, MODEL), least = left / 2 + PROCESS;
    return (base + (most > least ? most : least)) / ROUNDED * ROUNDED + 1;
}

size_t vmt_host_memory(void)
{
    const size_t group = vmt_group_memory("/proc/self/cgroup", "/sys/fs/cgroup");
    return smaller(smaller(available(), group), shell_memory());
}
