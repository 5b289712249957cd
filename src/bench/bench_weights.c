/* SPDX-License-Identifier: MIT
 *
 * Random weights as a file that no folder shows: mapped and read page by page like any other, and
 * gone with the process.
 */
#include "bench/bench.h"
#include "model/random_fill.h"
#include "model/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 1 << 18 }; /* elements drawn at a time */

static enum vmt_status open_place(vmt_ctx *ctx, bench_weights *w, enum bench_place place)
{
    const char *folder = getenv("TMPDIR");
    char name[4096] = "memory";

    if (place == BENCH_DISK) {
        snprintf(name, sizeof name, "%s/fastvmt-bench-XXXXXX", folder && *folder ? folder : "/tmp");
        w->fd = mkstemp(name);
        if (w->fd >= 0)
            unlink(name);
    } else {
        w->fd = memfd_create("fastvmt-bench", MFD_CLOEXEC);
    }
    if (w->fd < 0)
        return vmt_fail(ctx, VMT_E_IO, "%s: no file for random weights: %s", name, strerror(errno));
    snprintf(w->path, sizeof w->path, "/proc/self/fd/%d", w->fd);
    return VMT_OK;
}

static enum vmt_status write_header(vmt_ctx *ctx, bench_weights *w, const vmt_tensor_list *list,
                                    enum vmt_dtype dtype, size_t *start)
{
    vmt_atomic_file file = {.path = w->path, .fd = w->fd};
    void *memory;
    size_t bytes = 0;

    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)list->count, sizeof(vmt_named_tensor)));
    vmt_named_tensor *named = memory;
    for (int64_t i = 0; i < list->count; i++) {
        named[i].name = list->items[i].name;
        named[i].tensor = vmt_tensor_over(NULL, dtype, list->items[i].rank, list->items[i].shape);
        bytes += vmt_tensor_bytes(&named[i].tensor);
    }
    const enum vmt_status status =
        vmt_safetensors_write_header(ctx, &file, named, list->count, NULL);
    vmt_free(memory);
    VMT_TRY(status);
    *start = (size_t)file.written;
    w->bytes = *start + bytes;
    if (ftruncate(w->fd, (off_t)w->bytes) != 0)
        return vmt_fail(ctx, VMT_E_IO, "%zu bytes of random weights: %s", w->bytes,
                        strerror(errno));
    return VMT_OK;
}

static void draw(vmt_ctx *ctx, unsigned char *to, const vmt_tensor_spec *spec, enum vmt_dtype dtype)
{
    const vmt_tensor t = vmt_tensor_over(NULL, dtype, spec->rank, spec->shape);
    const int64_t count = vmt_numel(&t);

#ifdef _OPENMP
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
#endif
    for (int64_t first = 0; first < count; first += PIECE)
        vmt_random_fill(to + (size_t)first * vmt_dtype_bytes(dtype), dtype, spec, 0, first,
                        count - first < PIECE ? count - first : PIECE);
    (void)ctx;
}

static enum vmt_status fill(vmt_ctx *ctx, bench_weights *w, const vmt_tensor_list *list,
                            enum vmt_dtype dtype, size_t start)
{
    unsigned char *map = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);

    if (map == MAP_FAILED)
        return vmt_fail(ctx, VMT_E_MEMORY, "%zu bytes of random weights: %s", w->bytes,
                        strerror(errno));
    for (int64_t i = 0; i < list->count; i++) {
        const vmt_tensor t =
            vmt_tensor_over(NULL, dtype, list->items[i].rank, list->items[i].shape);
        draw(ctx, map + start, &list->items[i], dtype);
        start += vmt_tensor_bytes(&t);
    }
    munmap(map, w->bytes);
    return VMT_OK;
}

enum vmt_status bench_weights_open(vmt_ctx *ctx, bench_weights *w, vmt_tensor_list *list,
                                   enum vmt_dtype dtype, enum bench_place place)
{
    size_t start = 0;
    enum vmt_status status = open_place(ctx, w, place);

    if (status == VMT_OK)
        status = write_header(ctx, w, list, dtype, &start);
    if (status == VMT_OK && place != BENCH_UNDRAWN)
        status = fill(ctx, w, list, dtype, start);
    vmt_tensor_list_free(list);
    if (status != VMT_OK)
        bench_weights_close(w);
    return status;
}

void bench_weights_close(bench_weights *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

enum vmt_status bench_weights_file(vmt_ctx *ctx, vmt_tensor_file **file, vmt_tensor_list *list,
                                   enum vmt_dtype dtype, enum bench_place place)
{
    bench_weights w;

    *file = NULL;
    VMT_TRY(bench_weights_open(ctx, &w, list, dtype, place));
    const enum vmt_status status = vmt_tensor_file_open(ctx, file, w.path);
    bench_weights_close(&w); /* the mapping stays */
    return status;
}

void bench_fill(float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(((uint64_t)i * 2654435761u >> 8) % 2048) / 1024 - 1;
}

enum vmt_status bench_tensor(vmt_ctx *ctx, vmt_tensor *t, enum vmt_dtype dtype, int rank,
                             const int64_t *shape)
{
    vmt_tensor host = vmt_tensor_over(NULL, VMT_F32, rank, shape);
    void *values;

    *t = vmt_tensor_over(NULL, dtype, rank, shape);
    VMT_TRY(vmt_alloc(ctx, &values, (size_t)vmt_numel(&host), sizeof(float)));
    host.data = values;
    bench_fill(values, vmt_numel(&host));
    t->data = ctx->ops->alloc(ctx, vmt_tensor_bytes(t));
    const enum vmt_status status =
        t->data ? vmt_upload(ctx, t, &host)
                : vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %zu bytes", vmt_tensor_bytes(t));
    vmt_free(values);
    return status;
}
