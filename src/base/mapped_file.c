/* SPDX-License-Identifier: MIT */
#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum vmt_status map(vmt_ctx *ctx, vmt_mapped_file *file, const char *path, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return vmt_fail(ctx, VMT_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return vmt_fail(ctx, VMT_E_IO, "%s: is a %s, expected a file", path,
                        S_ISDIR(st.st_mode) ? "folder" : "device or pipe");
    if (st.st_size <= 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: the file is empty", path);
    if ((uintmax_t)st.st_size > SIZE_MAX / 2)
        return vmt_fail(ctx, VMT_E_IO, "%s: too large to map here", path);
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: cannot be mapped: %s", path,
                        strerror(errno));
    file->bytes = bytes;
    file->length = (size_t)st.st_size;
    file->fd = fd;
    return VMT_OK;
}

enum vmt_status vmt_mapped_file_open(vmt_ctx *ctx, vmt_mapped_file *file, const char *path)
{
    *file = (vmt_mapped_file){0};
    /* O_NONBLOCK: a named pipe must not make us wait; regular files do not care */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: %s", path, strerror(errno));
    const enum vmt_status status = map(ctx, file, path, fd);
    if (status != VMT_OK)
        close(fd);
    return status;
}

void vmt_mapped_reading(const void *bytes, size_t length, enum vmt_reading reading)
{
    static const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_WILLNEED, MADV_DONTNEED};
    const long page = sysconf(_SC_PAGESIZE);

    if (page <= 0 || length == 0)
        return;
    const uintptr_t first = (uintptr_t)bytes & ~((uintptr_t)page - 1);
    madvise((void *)first, (uintptr_t)bytes + length - first, advice[reading]);
}

void vmt_mapped_file_close(vmt_mapped_file *file)
{
    if (file->bytes) {
        munmap(file->bytes, file->length);
        close(file->fd);
    }
    *file = (vmt_mapped_file){0};
}
