/* SPDX-License-Identifier: MIT */
#include "model/read_ahead.h"

#include "model/tensor_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIECE = 1 << 20, AHEAD = 256 << 20, GAP = 1 << 20 };

/* Where a weight lies. */
typedef struct extent {
    const vmt_mapped_file *map; /* NULL: in no file */
    off_t first;
    size_t bytes;
} extent;

struct vmt_read_ahead {
    const vmt_tensor_file *file;
    extent *extents;
    int64_t count;
    char *buffer; /* what is read goes nowhere: the system's pages are what counts */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t read, released; /* bytes, of all extents in order */
    int64_t done, wanted;  /* extents that are read; the one that is waited for */
    bool stop;
};

/* Page faults at weights shall fetch nothing by themselves while the thread reads. */
static void advise(const vmt_tensor_file *file, enum vmt_reading reading)
{
    const vmt_mapped_file *maps = file->maps.items;

    for (size_t i = 0; i < file->maps.count; i++)
        vmt_mapped_reading(maps[i].bytes, maps[i].length, reading);
}

static extent extent_of(const vmt_tensor_file *file, const vmt_tensor *t)
{
    const vmt_mapped_file *maps = file->maps.items;
    const unsigned char *data = t->data;

    for (size_t i = 0; i < file->maps.count; i++)
        if (data >= maps[i].bytes && data < maps[i].bytes + maps[i].length)
            return (extent){&maps[i], (off_t)(data - maps[i].bytes), vmt_tensor_bytes(t)};
    return (extent){NULL, 0, vmt_tensor_bytes(t)};
}

/* What lies between two weights is read too: the system reads ahead of whoever leaves nothing out.
 */
static void close_gap(extent *e, const extent *before)
{
    const off_t end = before->first + (off_t)before->bytes;

    if (e->map && e->map == before->map && e->first > end && e->first - end < GAP) {
        e->bytes += (size_t)(e->first - end);
        e->first = end;
    }
}

/* Whether a byte of a mapped file is in memory.  Some file systems cannot tell the first way,
 * memory itself (tmpfs, a memfd) among them. */
static bool is_resident(const vmt_mapped_file *map, off_t at, char *byte)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct iovec one = {.iov_base = byte, .iov_len = 1};
    unsigned char there = 0;

    if (preadv2(map->fd, &one, 1, at, RWF_NOWAIT) == 1)
        return true;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return false;
    return mincore(map->bytes + (size_t)at / page * page, 1, &there) == 0 && there & 1;
}

/* Weights whose middle is not in memory: ends may be there because somebody wanted just them. */
static int64_t count_missing(const vmt_read_ahead *a)
{
    int64_t missing = 0;

    for (int64_t i = 0; i < a->count; i++) {
        const extent *e = &a->extents[i];
        const off_t middle = e->first + (off_t)(e->bytes / 2);
        missing += e->map && !is_resident(e->map, middle, a->buffer);
    }
    return missing;
}

/* Single pages that are there already would cut the system's large pieces into small ones: 70 % of
 * the disk's rate instead of 95 %. */
static void drop_single_pages(const vmt_tensor_file *file)
{
    const vmt_mapped_file *maps = file->maps.items;

    for (size_t i = 0; i < file->maps.count; i++) {
        madvise(maps[i].bytes, maps[i].length, MADV_DONTNEED); /* else they are in use */
        posix_fadvise(maps[i].fd, 0, 0, POSIX_FADV_DONTNEED);
    }
}

/* Counts bytes as read and waits while too many of them are not used yet; false: stop. */
static bool go_on(vmt_read_ahead *a, size_t bytes, bool whole)
{
    pthread_mutex_lock(&a->lock);
    a->read += bytes;
    a->done += whole;
    if (whole)
        pthread_cond_broadcast(&a->moved);
    while (!a->stop && a->read > a->released + AHEAD && a->done > a->wanted)
        pthread_cond_wait(&a->moved, &a->lock);
    const bool stop = a->stop;
    pthread_mutex_unlock(&a->lock);
    return !stop;
}

static void *read_all(void *user)
{
    vmt_read_ahead *a = user;

    for (int64_t i = 0; i < a->count; i++) {
        const extent *e = &a->extents[i];
        for (size_t at = 0; at < e->bytes; at += PIECE) {
            const size_t bytes = e->bytes - at < PIECE ? e->bytes - at : PIECE;
            const off_t from = e->first + (off_t)at;
            /* a fault of the disk is told to whoever reads the mapping */
            if (e->map && pread(e->map->fd, a->buffer, bytes, from) < 0)
                break;
            if (!go_on(a, bytes, false))
                return NULL;
        }
        if (!go_on(a, 0, true))
            return NULL;
    }
    return NULL;
}

enum vmt_status vmt_read_ahead_open(vmt_ctx *ctx, vmt_read_ahead **result,
                                    const vmt_tensor_file *file, vmt_weight *const *weights,
                                    int64_t count)
{
    void *memory, *extents = NULL, *buffer = NULL;

    *result = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(vmt_read_ahead)));
    vmt_read_ahead *a = memory;
    enum vmt_status status = vmt_alloc(ctx, &extents, (size_t)count, sizeof(extent));
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &buffer, PIECE, 1);
    a->extents = extents;
    a->buffer = buffer;
    a->file = file;
    a->count = count;
    for (int64_t i = 0; i < count && status == VMT_OK; i++)
        a->extents[i] = extent_of(file, &weights[i]->w);
    for (int64_t i = 1; i < count && status == VMT_OK; i++)
        close_gap(&a->extents[i], &a->extents[i - 1]);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->moved, NULL);
    const int64_t missing = status == VMT_OK ? count_missing(a) : 0;
    if (missing > count / 16 * 15)
        drop_single_pages(file);
    advise(file, VMT_READ_FEW);
    if (missing > count / 16 && pthread_create(&a->thread, NULL, read_all, a) == 0) {
        *result = a;
        return VMT_OK;
    }
    a->count = -1; /* no thread to join */
    vmt_read_ahead_close(a);
    return status;
}

void vmt_read_ahead_wait(vmt_read_ahead *a, int64_t i)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    for (; a->wanted < i; a->wanted++)
        a->released += a->extents[a->wanted].bytes;
    pthread_cond_broadcast(&a->moved);
    while (a->done <= i)
        pthread_cond_wait(&a->moved, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

void vmt_read_ahead_close(vmt_read_ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->moved);
    pthread_mutex_unlock(&a->lock);
    if (a->count >= 0)
        pthread_join(a->thread, NULL);
    advise(a->file, VMT_READ_ANY);
    pthread_cond_destroy(&a->moved);
    pthread_mutex_destroy(&a->lock);
    vmt_free(a->extents);
    vmt_free(a->buffer);
    vmt_free(a);
}
