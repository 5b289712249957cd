/* SPDX-License-Identifier: MIT
 *
 * Loading a transformer: mapped, bound, converted where the activations' dtype asks for it, and
 * every page of it there; beside reading the same bytes as `cat` does.
 */
#include "bench/bench.h"

#include "base/mapped_file.h"
#include "base/quant.h"
#include "dit/dit.h"
#include "model/model_paths.h"
#include "model/shard_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FEW_BLOCKS = 4, MAX_FILES = 64, PAGE = 4096, CAT_BYTES = 128 << 10 };

typedef struct load_bench {
    vmt_dit_config config;
    bench_weights made;    /* fd < 0: the user's own files */
    vmt_model_files files; /* of the user's model */
    char path[4096];       /* of the file, or of the index of shards */
    int fds[MAX_FILES];    /* what there is to read */
    int count;
    double bytes;
    bool drops; /* each run begins without the file in memory */
    vmt_tensor_file *file;
    vmt_dit *dit;
    bench *b;
    unsigned char buffer[CAT_BYTES];
} load_bench;

/* ---- files */

static enum vmt_status add_file(vmt_ctx *ctx, load_bench *l, const char *path)
{
    struct stat info;

    if (l->count == MAX_FILES)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: more than %d shards", path, MAX_FILES);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        const int fault = errno;
        if (fd >= 0)
            close(fd);
        return vmt_fail(ctx, VMT_E_IO, "%s: %s", path, strerror(fault));
    }
    fsync(fd); /* pages not yet written cannot be dropped */
    l->fds[l->count++] = fd;
    l->bytes += (double)info.st_size;
    return VMT_OK;
}

static enum vmt_status add_shards(vmt_ctx *ctx, load_bench *l, const vmt_mapped_file *map)
{
    const char *slash = strrchr(l->path, '/');
    vmt_shard_index index;
    enum vmt_status status = VMT_OK;

    VMT_TRY(vmt_shard_index_parse(ctx, &index, map->bytes, map->length, l->path));
    for (int64_t i = 0; i < index.shard_count && status == VMT_OK; i++) {
        char path[sizeof l->path + 256];
        snprintf(path, sizeof path, "%.*s%.200s", slash ? (int)(slash + 1 - l->path) : 0, l->path,
                 index.shards[i]);
        status = add_file(ctx, l, path);
    }
    vmt_shard_index_free(&index);
    return status;
}

static enum vmt_status find_files(vmt_ctx *ctx, load_bench *l, const vmt_model_paths *paths)
{
    vmt_config_file *config = NULL;
    vmt_mapped_file map;

    VMT_TRY(vmt_model_paths_resolve(ctx, &l->files, paths));
    const vmt_part_file *dit = &l->files.parts[VMT_PART_DIT];
    if (!dit->path)
        return vmt_fail(ctx, VMT_E_MODEL, "the model has no dit: name its file with --dit");
    snprintf(l->path, sizeof l->path, "%s", dit->path);
    VMT_TRY(vmt_mapped_file_open(ctx, &map, l->path));
    enum vmt_status status =
        map.bytes[0] == '{' ? add_shards(ctx, l, &map) : add_file(ctx, l, l->path);
    vmt_mapped_file_close(&map);
    VMT_TRY(status);
    VMT_TRY(vmt_tensor_file_open(ctx, &l->file, l->path));
    if (dit->config)
        VMT_TRY(vmt_config_file_open(ctx, &config, dit->config));
    status = vmt_dit_config_read(ctx, &l->config, config, l->file);
    vmt_config_file_close(config);
    return status;
}

/* As the official checkpoint stores it: F32. */
static enum vmt_status make_file(bench *b, load_bench *l)
{
    vmt_tensor_list list = {0};

    l->config = b->dit;
    if (!b->options.full && l->config.layers > FEW_BLOCKS)
        l->config.layers = FEW_BLOCKS;
    VMT_TRY(vmt_tensor_list_dit(b->ctx, &list, &l->config));
    VMT_TRY(bench_weights_open(b->ctx, &l->made, &list, VMT_F32, BENCH_DISK));
    snprintf(l->path, sizeof l->path, "%s", l->made.path);
    return add_file(b->ctx, l, l->path);
}

/* ---- what is measured */

/* Pages of weights used where they lie come when they are first read: here. */
static void touch(vmt_ctx *ctx, const vmt_tensor_file *file)
{
    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const vmt_tensor *t = vmt_tensor_file_find(file, vmt_tensor_file_name(file, i));
        const unsigned char *bytes = t->data;
        const int64_t length = (int64_t)vmt_tensor_bytes(t);
        unsigned sum = 0;
        if (ctx->ops->wait || (t->dtype != ctx->act && !vmt_is_quantised(t->dtype)))
            continue; /* a device has copies of all; others are copied as they are converted */
#ifdef _OPENMP
#pragma omp parallel for num_threads(ctx->threads) schedule(static) reduction(+ : sum)
#endif
        for (int64_t at = 0; at < length; at += PAGE)
            sum += *(const volatile unsigned char *)(bytes + at);
    }
}

static void unload(vmt_ctx *ctx, load_bench *l)
{
    vmt_dit_close(ctx, l->dit);
    vmt_tensor_file_close(l->file);
    l->dit = NULL;
    l->file = NULL;
}

static enum vmt_status load(vmt_ctx *ctx, void *user)
{
    load_bench *l = user;
    char hash[65];

    VMT_TRY(vmt_tensor_file_open(ctx, &l->file, l->path));
    vmt_tensor_file_hash(l->file, hash);
    VMT_TRY(vmt_dit_open(ctx, &l->dit, l->file, &l->config));
    VMT_TRY(vmt_dit_prepare(ctx, l->dit));
    touch(ctx, l->file);
    return VMT_OK;
}

static enum vmt_status cat(vmt_ctx *ctx, void *user)
{
    load_bench *l = user;

    for (int i = 0; i < l->count; i++) {
        ssize_t got;
        if (lseek(l->fds[i], 0, SEEK_SET) < 0)
            return vmt_fail(ctx, VMT_E_IO, "%s: %s", l->path, strerror(errno));
        while ((got = read(l->fds[i], l->buffer, sizeof l->buffer)) > 0)
            ;
        if (got < 0)
            return vmt_fail(ctx, VMT_E_IO, "%s: %s", l->path, strerror(errno));
    }
    return VMT_OK;
}

/* Before each run: nothing is loaded, and the file is out of memory if the row says so. */
static enum vmt_status begin(vmt_ctx *ctx, void *user)
{
    load_bench *l = user;

    unload(ctx, l);
    for (int i = 0; i < l->count && l->drops; i++)
        posix_fadvise(l->fds[i], 0, 0, POSIX_FADV_DONTNEED);
    return VMT_OK;
}

/* Does the system let go of the file's pages when asked? */
static bool can_drop(vmt_ctx *ctx, load_bench *l)
{
    struct stat info;
    size_t resident = 0, pages = 0;

    l->drops = true;
    if (begin(ctx, l) != VMT_OK)
        return false;
    for (int i = 0; i < l->count; i++) {
        if (fstat(l->fds[i], &info) != 0)
            return false;
        const size_t length = (size_t)info.st_size, count = (length + PAGE - 1) / PAGE;
        void *seen = NULL, *map = mmap(NULL, length, PROT_READ, MAP_SHARED, l->fds[i], 0);
        if (map == MAP_FAILED)
            return false;
        if (vmt_alloc(ctx, &seen, count, 1) == VMT_OK && mincore(map, length, seen) == 0)
            for (size_t p = 0; p < count; p++)
                resident += ((unsigned char *)seen)[p] & 1;
        else
            resident = SIZE_MAX / 2;
        pages += count;
        vmt_free(seen);
        munmap(map, length);
    }
    return resident <= pages / 50;
}

static enum vmt_status measure_pair(bench *b, load_bench *l, const char *detail, bool drops)
{
    vmt_bench_row read = {.part = "load",
                          .what = drops ? "cat, from disk" : "cat, from page cache",
                          .detail = detail,
                          .bytes = l->bytes};
    vmt_bench_row row = {.part = "load",
                         .what = drops ? "map and prepare, from disk"
                                       : "map and prepare, from page cache",
                         .detail = detail,
                         .bytes = l->bytes};
    size_t converted, mapped;

    l->drops = drops;
    if (!drops)
        VMT_TRY(cat(b->ctx, l)); /* all of it is there now */
    VMT_TRY(bench_time(b, &read, begin, cat, l));
    VMT_TRY(bench_tell(b, &read));
    VMT_TRY(begin(b->ctx, l));
    bench_mark_memory(b);
    VMT_TRY(bench_time(b, &row, begin, load, l));
    const size_t now = bench_used(b->ctx);
    row.taken = now > b->counter.before ? now - b->counter.before : 0;
    vmt_dit_weight_bytes(b->ctx, l->dit, &converted, &mapped);
    row.planned = row.converted = converted;
    row.mapped = mapped;
    row.ratio = row.median / read.median;
    row.ratio_to = read.what;
    return bench_tell(b, &row);
}

static enum vmt_status nothing(vmt_ctx *ctx, void *user)
{
    (void)ctx;
    (void)user;
    return VMT_OK;
}

/* What a backend of the host does before each product: matrices in few bits become floats, a piece
 * that stays in the cache at a time. */
static enum vmt_status widen(vmt_ctx *ctx, void *user)
{
    const load_bench *l = user;

    for (int64_t i = 0; i < vmt_tensor_file_count(l->file); i++) {
        const vmt_tensor *t = vmt_tensor_file_find(l->file, vmt_tensor_file_name(l->file, i));
        const int64_t count = vmt_numel(t);
        if (!vmt_is_quantised(t->dtype))
            continue;
#ifdef _OPENMP
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
#endif
        for (int64_t first = 0; first < count; first += VMT_QUANT_BLOCK) {
            float values[VMT_QUANT_BLOCK];
            vmt_tensor_unpack(values, t, first,
                              count - first < VMT_QUANT_BLOCK ? count - first : VMT_QUANT_BLOCK);
            *(volatile float *)values = values[VMT_QUANT_BLOCK - 1];
        }
    }
    (void)ctx;
    return VMT_OK;
}

static enum vmt_status measure_widening(bench *b, load_bench *l, const char *detail)
{
    vmt_bench_row row = {.part = "load", .what = "widen to f32, before each use", .detail = detail};

    for (int64_t i = 0; i < vmt_tensor_file_count(l->file); i++) {
        const vmt_tensor *t = vmt_tensor_file_find(l->file, vmt_tensor_file_name(l->file, i));
        row.bytes += vmt_is_quantised(t->dtype) ? (double)vmt_tensor_bytes(t) : 0;
    }
    if (row.bytes == 0 || b->ctx->ops->wait) /* none, or a device widens them once */
        return VMT_OK;
    VMT_TRY(bench_time(b, &row, nothing, widen, l));
    return bench_tell(b, &row);
}

static enum vmt_status measure_load(bench *b, load_bench *l)
{
    char detail[BENCH_TEXT_BYTES];

    snprintf(detail, sizeof detail, "%" PRId64 " blocks, %.2f GB in %d file%s", l->config.layers,
             1e-9 * l->bytes, l->count, l->count > 1 ? "s" : "");
    VMT_TRY(measure_pair(b, l, detail, false));
    VMT_TRY(measure_widening(b, l, detail));
    if (can_drop(b->ctx, l))
        return measure_pair(b, l, detail, true);
    const vmt_bench_row row = {.part = "load",
                               .what = "from disk",
                               .detail = "not measured: the system keeps the file in memory"};
    return bench_tell(b, &row);
}

enum vmt_status bench_load(bench *b)
{
    vmt_ctx *ctx = b->ctx;
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(load_bench)));
    load_bench *l = memory;
    l->made.fd = -1;
    l->b = b;
    enum vmt_status status =
        b->options.paths ? find_files(ctx, l, b->options.paths) : make_file(b, l);
    if (status == VMT_OK)
        status = measure_load(b, l);
    unload(ctx, l);
    for (int i = 0; i < l->count; i++)
        close(l->fds[i]);
    bench_weights_close(&l->made);
    vmt_model_files_free(&l->files);
    vmt_free(l);
    return status;
}
