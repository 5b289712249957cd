/* SPDX-License-Identifier: MIT */
#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder part of a path, "." if there is none; allocated. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Creates a file of a name nobody else uses, with the rights that creat() gives. */
static int create_beside(vmt_atomic_file *file)
{
    const size_t size = strlen(file->path) + 48;
    int fd = -1;

    file->temporary = malloc(size);
    if (!file->temporary) {
        errno = ENOMEM;
        return -1;
    }
    for (int i = 0; i < 100 && fd < 0; i++) {
        snprintf(file->temporary, size, "%s.part-%ld-%d", file->path, (long)getpid(), i);
        fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0) {
        const int error = errno;
        free(file->temporary); /* not ours: must not be unlinked */
        file->temporary = NULL;
        errno = error;
    }
    return fd;
}

enum vmt_status vmt_atomic_file_open(vmt_ctx *ctx, vmt_atomic_file *file, const char *path)
{
    struct stat old, name;
    const bool exists = stat(path, &old) == 0;
    const bool is_link = exists && lstat(path, &name) == 0 && S_ISLNK(name.st_mode);

    *file = (vmt_atomic_file){.fd = -1};
    if (exists && S_ISDIR(old.st_mode))
        return vmt_fail(ctx, VMT_E_IO, "%s: is a folder, expected the name of a file", path);
    file->path = is_link ? realpath(path, NULL) : strdup(path); /* a link stays a link */
    if (!file->path)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: %s", path, strerror(errno));
    /* a device or pipe cannot be replaced, only written to */
    file->fd =
        exists && !S_ISREG(old.st_mode) ? open(path, O_WRONLY | O_CLOEXEC) : create_beside(file);
    if (file->fd < 0) {
        const int error = errno;
        vmt_atomic_file_abort(file);
        return vmt_fail(ctx, vmt_errno_status(error), "%s: cannot be created: %s", path,
                        strerror(error));
    }
    return VMT_OK;
}

enum vmt_status vmt_atomic_file_write(vmt_ctx *ctx, vmt_atomic_file *file, const void *bytes,
                                      size_t length)
{
    const unsigned char *from = bytes;

    while (length > 0) {
        const size_t part = length < (1u << 30) ? length : (1u << 30);
        const ssize_t done = write(file->fd, from, part);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return vmt_fail(ctx, VMT_E_IO, "%s: writing failed after %llu bytes: %s", file->path,
                            (unsigned long long)file->written, strerror(done < 0 ? errno : ENOSPC));
        from += done;
        length -= (size_t)done;
        file->written += (uint64_t)done;
    }
    return VMT_OK;
}

/* The name is on disk only when the folder is; systems that cannot sync folders are no worse. */
static void sync_folder(const char *path)
{
    char *folder = folder_of(path);
    const int fd = folder ? open(folder, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

enum vmt_status vmt_atomic_file_commit(vmt_ctx *ctx, vmt_atomic_file *file)
{
    enum vmt_status status = VMT_OK;
    int error = file->temporary && fsync(file->fd) != 0 ? errno : 0;

    if (close(file->fd) != 0 && !error)
        error = errno;
    file->fd = -1;
    if (!error && file->temporary) {
        if (rename(file->temporary, file->path) != 0) {
            error = errno;
        } else {
            sync_folder(file->path);
            free(file->temporary);
            file->temporary = NULL;
        }
    }
    if (error)
        status = vmt_fail(ctx, VMT_E_IO, "%s: writing failed after %llu bytes: %s", file->path,
                          (unsigned long long)file->written, strerror(error));
    vmt_atomic_file_abort(file);
    return status;
}

void vmt_atomic_file_abort(vmt_atomic_file *file)
{
    if (file->path && file->fd >= 0)
        close(file->fd);
    if (file->temporary)
        unlink(file->temporary);
    free(file->temporary);
    free(file->path);
    *file = (vmt_atomic_file){.fd = -1};
}
