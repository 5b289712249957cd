/* SPDX-License-Identifier: MIT
 *
 * A folder (all its pictures, by name) or a pattern (from number 0 or 1 on, without gaps) as a
 * clip.  Pictures are opened one after another, each as a file of one frame.
 */
#include "media/media_path.h"
#include "media/source.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pictures {
    char **paths;
    int64_t count, index; /* index: of the next picture */
    media_source picture; /* open when its state is not NULL */
} pictures;

static void pictures_close(media_source *source)
{
    pictures *p = source->state;

    if (p->picture.state)
        p->picture.close(&p->picture);
    for (int64_t i = 0; i < p->count; i++)
        free(p->paths[i]);
    free(p->paths);
    vmt_free(p);
    source->state = NULL;
}

/* Takes over `path`. */
static enum vmt_status add_path(vmt_ctx *ctx, pictures *p, char *path)
{
    char **paths = path ? realloc(p->paths, (size_t)(p->count + 1) * sizeof *paths) : NULL;

    if (!paths) {
        free(path);
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: names of %" PRId64 " pictures",
                        p->count);
    }
    p->paths = paths;
    p->paths[p->count++] = path;
    if (p->count > MEDIA_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_ARG, "%s: more than %d pictures", path, MEDIA_MAX_FRAMES);
    return VMT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_picture(const char *name)
{
    return name[0] != '.' && (media_ends_with(name, ".png") || media_ends_with(name, ".ppm") ||
                              media_ends_with(name, ".jpg") || media_ends_with(name, ".jpeg"));
}

static char *join(const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);

    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static enum vmt_status list_folder(vmt_ctx *ctx, pictures *p, const char *folder)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    enum vmt_status status = VMT_OK;

    if (!stream)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: cannot be opened: %s", folder,
                        strerror(errno));
    while (status == VMT_OK && (entry = readdir(stream)))
        if (is_picture(entry->d_name))
            status = add_path(ctx, p, join(folder, entry->d_name));
    closedir(stream);
    if (p->count)
        qsort(p->paths, (size_t)p->count, sizeof *p->paths, by_name);
    return status;
}

static enum vmt_status list_pattern(vmt_ctx *ctx, pictures *p, const char *pattern)
{
    for (int64_t number = 0;; number++) {
        char *path = media_pattern_path(pattern, number);
        if (path && access(path, F_OK)) {
            free(path);
            if (number == 0)
                continue; /* counts from 1 */
            return VMT_OK;
        }
        VMT_TRY(add_path(ctx, p, path));
    }
}

static enum vmt_status pictures_next(vmt_ctx *ctx, media_source *source, bool *more, double *time)
{
    pictures *p = source->state;
    double ignored;

    if (p->picture.state)
        p->picture.close(&p->picture);
    p->picture.state = NULL;
    *more = p->index < p->count;
    if (!*more)
        return VMT_OK;
    const char *path = p->paths[p->index];
    VMT_TRY(media_open_file(ctx, &p->picture, path));
    VMT_TRY(p->picture.next(ctx, &p->picture, more, &ignored));
    if (!*more)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no picture in it", path);
    if (p->index && (p->picture.width != source->width || p->picture.height != source->height))
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: %" PRId64 "x%" PRId64 " pixels, the pictures before have %" PRId64
                        "x%" PRId64 ": give all the same size",
                        path, p->picture.width, p->picture.height, source->width, source->height);
    source->width = p->picture.width;
    source->height = p->picture.height;
    *time = (double)p->index++ / source->fps;
    return VMT_OK;
}

static enum vmt_status pictures_rgb(vmt_ctx *ctx, media_source *source, uint8_t *pixels)
{
    pictures *p = source->state;
    return p->picture.rgb(ctx, &p->picture, pixels);
}

enum vmt_status media_open_pictures(vmt_ctx *ctx, media_source *source, const char *path,
                                    double fps)
{
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(pictures)));
    *source = (media_source){.state = memory,
                             .path = path,
                             .fps = fps > 0 ? fps : MEDIA_FOLDER_FPS,
                             .pixel_aspect = 1,
                             .next = pictures_next,
                             .rgb = pictures_rgb,
                             .close = pictures_close};
    pictures *p = memory;
    enum vmt_status status =
        media_is_folder_name(path) ? list_folder(ctx, p, path) : list_pattern(ctx, p, path);
    if (status == VMT_OK && !p->count)
        status = vmt_fail(ctx, VMT_E_FORMAT,
                          "%s: no pictures (.png, .ppm, .jpg) there: name a video or a folder of "
                          "frames",
                          path);
    if (status != VMT_OK)
        pictures_close(source);
    return status;
}
