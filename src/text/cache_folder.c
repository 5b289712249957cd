/* SPDX-License-Identifier: MIT */
#include "text/cache_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENDING ".safetensors"
#define PART ".part-" /* of vmt_atomic_file */

enum { HASH = 64, NAME_BYTES = 128, ABANDONED = 24 * 60 * 60 /* seconds */ };

/* ---------------------------------------------------------------- names */

static enum vmt_status join(vmt_ctx *ctx, char **path, const char *a, const char *b, const char *c)
{
    const size_t size = strlen(a) + strlen(b) + strlen(c) + 2;
    void *memory;

    *path = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, size, 1));
    *path = memory;
    snprintf(*path, size, "%s/%s%s", a, b, c);
    return VMT_OK;
}

enum vmt_status vmt_cache_folder_name(vmt_ctx *ctx, char **folder, const char *dir,
                                      const char *name)
{
    return join(ctx, folder, dir, name, "");
}

enum vmt_status vmt_cache_entry_path(vmt_ctx *ctx, char **path, const char *folder,
                                     const char hash[65])
{
    return join(ctx, path, folder, hash, ENDING);
}

enum vmt_status vmt_cache_folder_make(vmt_ctx *ctx, const char *folder)
{
    const size_t length = strlen(folder);
    int error = 0;
    char *path;

    VMT_TRY(join(ctx, &path, folder, "", ""));
    for (size_t i = 1; i <= length && !error; i++) {
        if (path[i] != '/')
            continue;
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            error = errno;
        path[i] = '/';
    }
    vmt_free(path);
    return error ? vmt_fail(ctx, vmt_errno_status(error), "%s: cannot be made: %s", folder,
                            strerror(error))
                 : VMT_OK;
}

/* ---------------------------------------------------------------- entries */

static bool read_all(int fd, unsigned char *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        const ssize_t got = read(fd, bytes + at, length - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

enum vmt_status vmt_cache_entry_read(vmt_ctx *ctx, const char *path, size_t most,
                                     unsigned char **bytes, size_t *length)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is not waited for */
    enum vmt_status status = VMT_OK;
    struct stat info;
    void *memory = NULL;

    *bytes = NULL;
    *length = 0;
    if (fd < 0)
        return VMT_OK;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 &&
        (uint64_t)info.st_size <= most) {
        *length = (size_t)info.st_size;
        status = vmt_alloc(ctx, &memory, *length, 1);
        if (status == VMT_OK && !read_all(fd, memory, *length)) {
            vmt_free(memory);
            memory = NULL;
        }
        *bytes = memory;
    }
    close(fd);
    return status;
}

void vmt_cache_entry_used(const char *path)
{
    (void)utimensat(AT_FDCWD, path, NULL, 0); /* a folder that is only read is used all the same */
}

/* ---------------------------------------------------------------- the limit */

typedef struct entry {
    struct timespec used;
    uint64_t bytes;
    char name[NAME_BYTES];
} entry;

typedef struct entry_list {
    entry *items;
    size_t count, capacity;
} entry_list;

static bool is_hash(const char *name)
{
    return strspn(name, "0123456789abcdef") == HASH;
}

static enum vmt_status add(vmt_ctx *ctx, entry_list *list, const char *name,
                           const struct stat *info)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *memory;
        VMT_TRY(vmt_alloc(ctx, &memory, capacity, sizeof(entry)));
        if (list->count)
            memcpy(memory, list->items, list->count * sizeof(entry));
        vmt_free(list->items);
        list->items = memory;
        list->capacity = capacity;
    }
    entry *e = &list->items[list->count++];
    e->used = info->st_mtim;
    e->bytes = (uint64_t)info->st_size;
    snprintf(e->name, sizeof e->name, "%s", name);
    return VMT_OK;
}

static enum vmt_status list_entries(vmt_ctx *ctx, entry_list *list, DIR *folder)
{
    const time_t now = time(NULL);
    const struct dirent *d;
    struct stat info;

    while ((d = readdir(folder))) {
        const char *name = d->d_name;
        if (!is_hash(name) || strncmp(name + HASH, ENDING, strlen(ENDING)) != 0 ||
            strlen(name) >= NAME_BYTES ||
            fstatat(dirfd(folder), name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
            continue;
        const char *rest = name + HASH + strlen(ENDING);
        if (!*rest)
            VMT_TRY(add(ctx, list, name, &info));
        else if (!strncmp(rest, PART, strlen(PART)) && now - info.st_mtim.tv_sec > ABANDONED)
            unlinkat(dirfd(folder), name, 0);
    }
    return VMT_OK;
}

static int by_use(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec)
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

enum vmt_status vmt_cache_folder_trim(vmt_ctx *ctx, const char *path, uint64_t most)
{
    entry_list list = {0};
    uint64_t bytes = 0;
    DIR *folder = opendir(path);

    if (!folder)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: %s", path, strerror(errno));
    const enum vmt_status status = list_entries(ctx, &list, folder);
    for (size_t i = 0; i < list.count; i++)
        bytes += list.items[i].bytes;
    if (list.count)
        qsort(list.items, list.count, sizeof *list.items, by_use);
    for (size_t i = 0; i < list.count && bytes > most; i++) {
        unlinkat(dirfd(folder), list.items[i].name, 0); /* another process may have done it */
        bytes -= list.items[i].bytes;
    }
    vmt_free(list.items);
    closedir(folder);
    return status;
}
