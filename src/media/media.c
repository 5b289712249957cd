/* SPDX-License-Identifier: MIT
 *
 * Which reader or writer a file is for, and the libav module.
 */
#include "media/media.h"

#include "base/module.h"
#include "media/media_path.h"
#include "media/source.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the module */

enum vmt_status media_libav_load(vmt_ctx *ctx, const media_libav **libav, const char *path)
{
    void *module = vmt_module_open(MEDIA_LIBAV_FILE);
    void *symbol = module ? dlsym(module, MEDIA_LIBAV_SYMBOL) : NULL;
    media_libav_get *get;

    *libav = NULL;
    if (symbol) {
        memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from object to function */
        *libav = get(vmt_version());
    }
    if (*libav)
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                    "%s: needs libav, which is %s: install FFmpeg's libraries, or use .y4m (also "
                    "\"-\"), .gif or a pattern NAME%%05d.ppm",
                    path,
                    !module  ? "not there"
                    : symbol ? "there for another version of this program"
                             : "there in a broken build");
}

bool media_has_libav(void)
{
    const media_libav *libav;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    return media_libav_load(&ctx, &libav, "") == VMT_OK;
}

/* ---- in */

static enum vmt_status open_stdio(vmt_ctx *ctx, media_source *source, const char *path, FILE *file)
{
    char head[10];
    const size_t length = fread(head, 1, sizeof head, file);
    const bool is_y4m = length == sizeof head && !memcmp(head, "YUV4MPEG2 ", sizeof head);

    if (is_y4m)
        return media_open_y4m(ctx, source, path, file);
    if (media_is_standard(path))
        return vmt_fail(ctx, VMT_E_FORMAT, "standard input: %s, expected Y4M (YUV4MPEG2)",
                        length ? "another format" : "empty");
    if (!length && !ferror(file)) {
        fclose(file);
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: empty file, expected a video", path);
    }
    if (length > 2 && !memcmp(head, "P6", 2)) {
        rewind(file);
        return media_open_ppm(ctx, source, path, file);
    }
    fclose(file);
    const media_libav *libav;
    VMT_TRY(media_libav_load(ctx, &libav, path));
    return libav->open(ctx, source, path);
}

enum vmt_status media_open_file(vmt_ctx *ctx, media_source *source, const char *path)
{
    FILE *file = media_is_standard(path) ? stdin : fopen(path, "rbe");

    if (!file)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: cannot be opened: %s", path,
                        strerror(errno));
    return open_stdio(ctx, source, path, file);
}

enum vmt_status media_describe(vmt_ctx *ctx, const char *path, char **text, char **comment)
{
    const media_libav *libav;

    *text = *comment = NULL;
    VMT_TRY(media_libav_load(ctx, &libav, path));
    return libav->describe(ctx, path, text, comment);
}

/* ---- out */

static enum vmt_status check_folder(vmt_ctx *ctx, const char *path)
{
    char folder[PATH_MAX];
    size_t length = strlen(path);

    while (length > 1 && path[length - 1] == '/')
        length--;
    while (length && path[length - 1] != '/')
        length--;
    if (length >= sizeof folder)
        return vmt_fail(ctx, VMT_E_ARG, "%.64s…: the name is too long", path);
    snprintf(folder, sizeof folder, "%.*s", (int)length, path);
    if (access(length ? folder : ".", W_OK | X_OK))
        return vmt_fail(ctx, VMT_E_IO, "%s: cannot be written: folder %s: %s", path,
                        length ? folder : ".", strerror(errno));
    return VMT_OK;
}

/* That libav is there and was built with this encoder. */
static enum vmt_status check_encoder(vmt_ctx *ctx, const char *path, const char *encoder,
                                     const char *instead)
{
    const media_libav *libav;

    VMT_TRY(media_libav_load(ctx, &libav, path));
    if (!libav->has_encoder(encoder))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: this libav has no %s: install one that has, or write %s", path,
                        encoder, instead);
    return VMT_OK;
}

enum vmt_status media_check_output(vmt_ctx *ctx, const char *path,
                                   const media_write_options *options)
{
    media_format format;

    VMT_TRY(media_format_find(ctx, &format, path, options));
    if (format.codec)
        VMT_TRY(check_encoder(ctx, path, format.codec->encoder, format.codec->instead));
    else if (format.needs_libav)
        VMT_TRY(check_encoder(ctx, path, media_ends_with(path, ".jpg") ? "mjpeg" : "png",
                              "NAME%05d.ppm"));
    return media_is_standard(path) ? VMT_OK : check_folder(ctx, path);
}

enum vmt_status media_check_picture(vmt_ctx *ctx, const char *path)
{
    if (!media_ends_with(path, ".png") && !media_ends_with(path, ".ppm"))
        return vmt_fail(ctx, VMT_E_ARG, "%s: unknown kind of picture: end it in .png or .ppm",
                        path);
    if (media_ends_with(path, ".png"))
        VMT_TRY(check_encoder(ctx, path, "png", ".ppm"));
    return check_folder(ctx, path);
}

enum vmt_status media_write(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                            const media_write_options *options)
{
    const media_write_options defaults = {.crf = MEDIA_DEFAULT_CRF};
    const media_libav *libav;
    media_format format;

    if (!options)
        options = &defaults;
    if (clip->frames < 1 || clip->width < 1 || clip->height < 1 || !(clip->fps > 0))
        return vmt_fail(ctx, VMT_E_ARG, "%s: nothing to write: the clip is empty", path);
    VMT_TRY(media_check_output(ctx, path, options));
    VMT_TRY(media_format_find(ctx, &format, path, options));
    media_write_options given = *options;
    if (given.sound && (media_is_standard(given.sound) || media_is_folder_name(given.sound) ||
                        media_is_pattern(given.sound)))
        given.sound = NULL; /* pictures, or Y4M that is gone */
    if (given.sound && format.kind != MEDIA_KIND_VIDEO)
        vmt_log(ctx, VMT_LOG_DEBUG, "%s: holds no sound, that of %s is left out", path,
                given.sound);
    switch (format.kind) {
    case MEDIA_KIND_VIDEO:
        VMT_TRY(media_libav_load(ctx, &libav, path));
        return libav->write_video(ctx, clip, path, &format, &given);
    case MEDIA_KIND_GIF:
        return media_write_gif(ctx, clip, path, options->comment);
    case MEDIA_KIND_Y4M:
        return media_write_y4m(ctx, clip, path);
    case MEDIA_KIND_PICTURES:
        return media_write_pictures(ctx, clip, path);
    }
    return vmt_fail(ctx, VMT_E_INTERNAL, "%s: kind of output not handled", path);
}

/* An empty folder holds nothing that could be lost. */
static bool holds_files(const char *folder)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    bool found = false;

    while (stream && !found && (entry = readdir(stream)))
        found = strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (stream)
        closedir(stream);
    return found;
}

bool media_would_replace(const char *path)
{
    struct stat info;

    if (media_is_standard(path))
        return false;
    if (media_is_folder_name(path))
        return holds_files(path);
    if (media_is_pattern(path)) {
        char *first = media_pattern_path(path, 0);
        const bool exists = first && !stat(first, &info);
        free(first);
        return exists;
    }
    return !stat(path, &info) && S_ISREG(info.st_mode);
}
