/* SPDX-License-Identifier: MIT
 *
 * A clip as numbered pictures.  They are written into a folder of their own inside the target, and
 * moved up when all are there, so that a run that fails leaves nothing.
 */
#include "base/atomic_file.h"
#include "media/media_path.h"
#include "media/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct album {
    const char *path;   /* as the user named it, for messages */
    char *pattern;      /* where the pictures go in the end */
    char *folder;       /* of the pattern */
    char *temporary;    /* folder inside it */
    char *temp_pattern; /* the pattern inside that */
    bool made_folder;   /* the target folder is ours to remove */
    bool made_temporary;
    int64_t written, moved;
} album;

static enum vmt_status no_memory(vmt_ctx *ctx, const album *a)
{
    return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory for its name", a->path);
}

static enum vmt_status name_parts(vmt_ctx *ctx, album *a)
{
    a->pattern = media_is_folder_name(a->path) ? media_folder_pattern(a->path) : strdup(a->path);
    if (!a->pattern)
        return no_memory(ctx, a);
    const char *slash = strrchr(a->pattern, '/'), *name = slash ? slash + 1 : a->pattern;
    a->folder = slash ? strndup(a->pattern, (size_t)(slash - a->pattern) + 1) : strdup("./");
    if (!a->folder)
        return no_memory(ctx, a);
    const size_t size = strlen(a->folder) + strlen(name) + 64;
    a->temporary = malloc(size);
    a->temp_pattern = malloc(size);
    if (!a->temporary || !a->temp_pattern)
        return no_memory(ctx, a);
    snprintf(a->temporary, size, "%s.part-%ld", a->folder, (long)getpid());
    snprintf(a->temp_pattern, size, "%s/%s", a->temporary, name);
    return VMT_OK;
}

static enum vmt_status make_folders(vmt_ctx *ctx, album *a)
{
    if (!mkdir(a->folder, 0777))
        a->made_folder = true;
    else if (errno != EEXIST)
        return vmt_fail(ctx, VMT_E_IO, "%s: cannot be created: %s", a->folder, strerror(errno));
    if (mkdir(a->temporary, 0777))
        return vmt_fail(ctx, VMT_E_IO, "%s: cannot be created: %s", a->temporary, strerror(errno));
    a->made_temporary = true;
    return VMT_OK;
}

static enum vmt_status write_bytes(vmt_ctx *ctx, const char *path, const void *head,
                                   size_t head_bytes, const void *body, size_t body_bytes)
{
    vmt_atomic_file file;

    VMT_TRY(vmt_atomic_file_open(ctx, &file, path));
    enum vmt_status status = vmt_atomic_file_write(ctx, &file, head, head_bytes);
    if (status == VMT_OK)
        status = vmt_atomic_file_write(ctx, &file, body, body_bytes);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(ctx, &file);
    vmt_atomic_file_abort(&file);
    return status;
}

enum vmt_status media_write_picture(vmt_ctx *ctx, const vmt_clip *clip, const char *path)
{
    const media_libav *libav;
    char head[64];
    uint8_t *bytes;
    size_t count;

    if (media_ends_with(path, ".ppm")) {
        snprintf(head, sizeof head, "P6\n%" PRId64 " %" PRId64 "\n255\n", clip->width,
                 clip->height);
        return write_bytes(ctx, path, head, strlen(head), clip->pixels,
                           (size_t)(3 * clip->width * clip->height));
    }
    VMT_TRY(media_libav_load(ctx, &libav, path));
    VMT_TRY(libav->encode_picture(ctx, clip->pixels, clip->width, clip->height,
                                  media_ends_with(path, ".jpg"), &bytes, &count));
    const enum vmt_status status = write_bytes(ctx, path, "", 0, bytes, count);
    free(bytes);
    return status;
}

static enum vmt_status write_all(vmt_ctx *ctx, album *a, const vmt_clip *clip)
{
    for (; a->written < clip->frames; a->written++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        char *path = media_pattern_path(a->temp_pattern, a->written);
        if (!path)
            return no_memory(ctx, a);
        vmt_clip frame = *clip;
        frame.pixels += a->written * 3 * clip->width * clip->height;
        const enum vmt_status status = media_write_picture(ctx, &frame, path);
        free(path);
        VMT_TRY(status);
    }
    return VMT_OK;
}

static enum vmt_status move_up(vmt_ctx *ctx, album *a)
{
    for (; a->moved < a->written; a->moved++) {
        const int64_t i = a->moved;
        char *from = media_pattern_path(a->temp_pattern, i);
        char *to = media_pattern_path(a->pattern, i);
        const int error = !from || !to ? ENOMEM : rename(from, to) ? errno : 0;
        free(from);
        free(to);
        if (error)
            return vmt_fail(ctx, vmt_errno_status(error), "%s: picture %" PRId64 ": %s", a->path, i,
                            strerror(error));
    }
    for (int64_t i = a->written;; i++) { /* of an older, longer clip */
        char *old = media_pattern_path(a->pattern, i);
        const bool removed = old && !unlink(old);
        free(old);
        if (!removed)
            return VMT_OK;
    }
}

static void clean_up(album *a, bool failed)
{
    for (int64_t i = 0; a->made_temporary && failed && i <= a->written; i++) {
        char *path = media_pattern_path(a->temp_pattern, i);
        if (path)
            unlink(path);
        free(path);
    }
    for (int64_t i = 0; failed && i < a->moved; i++) {
        char *path = media_pattern_path(a->pattern, i);
        if (path)
            unlink(path);
        free(path);
    }
    if (a->made_temporary)
        rmdir(a->temporary);
    if (a->made_folder && failed)
        rmdir(a->folder);
    free(a->pattern);
    free(a->folder);
    free(a->temporary);
    free(a->temp_pattern);
}

enum vmt_status media_write_pictures(vmt_ctx *ctx, const vmt_clip *clip, const char *path)
{
    album a = {.path = path};
    enum vmt_status status = name_parts(ctx, &a);

    if (status == VMT_OK)
        status = make_folders(ctx, &a);
    if (status == VMT_OK)
        status = write_all(ctx, &a, clip);
    if (status == VMT_OK)
        status = move_up(ctx, &a);
    clean_up(&a, status != VMT_OK);
    return status;
}
