/* SPDX-License-Identifier: MIT */
#include "media/format.h"

#include "media/media_path.h"

#include <string.h>

static const media_codec codecs[] = {
    {MEDIA_H264, "h264", "libx264", "--codec ffv1 in .mkv, .gif, .y4m or \"/\" (PNG)", 51, 18},
    {MEDIA_FFV1, "ffv1", "ffv1", ".y4m or \"/\" (PNG)", 0, 0},
    {MEDIA_VP9, "vp9", "libvpx-vp9", ".mp4, .gif, .y4m or \"/\" (PNG)", 63, 18},
};

/* The first codec is the one taken unasked. */
static const struct {
    const char *ending;
    const char *codecs[4];
} containers[] = {
    {".mp4", {"h264"}},
    {".mov", {"h264"}},
    {".mkv", {"h264", "ffv1", "vp9"}},
    {".webm", {"vp9"}},
};

static const media_codec *codec_named(const char *name)
{
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (!strcmp(codecs[i].name, name))
            return &codecs[i];
    return NULL;
}

static enum vmt_status choose_codec(vmt_ctx *ctx, media_format *format, const char *path,
                                    const char *const *held, const char *asked)
{
    format->codec = codec_named(held[0]);
    if (!asked)
        return VMT_OK;
    for (int i = 0; i < 4 && held[i]; i++)
        if (!strcmp(held[i], asked)) {
            format->codec = codec_named(asked);
            return VMT_OK;
        }
    return vmt_fail(ctx, VMT_E_ARG,
                    "%s: no --codec %s there: .mp4 and .mov hold h264, .mkv h264, "
                    "ffv1 or vp9, .webm vp9",
                    path, asked);
}

static enum vmt_status find_kind(vmt_ctx *ctx, media_format *format, const char *path,
                                 const char *asked)
{
    const bool numbered = !media_is_folder_name(path) && media_is_pattern(path);

    for (size_t i = 0; i < sizeof containers / sizeof *containers; i++)
        if (media_ends_with(path, containers[i].ending) && !media_is_folder_name(path) &&
            !numbered) {
            *format = (media_format){.kind = MEDIA_KIND_VIDEO, .needs_libav = true};
            return choose_codec(ctx, format, path, containers[i].codecs, asked);
        }
    if (media_is_standard(path) || (media_ends_with(path, ".y4m") && !numbered))
        *format = (media_format){.kind = MEDIA_KIND_Y4M};
    else if (media_ends_with(path, ".gif") && !numbered)
        *format = (media_format){.kind = MEDIA_KIND_GIF};
    else if (media_is_folder_name(path) ||
             (numbered && (media_ends_with(path, ".png") || media_ends_with(path, ".jpg"))))
        *format = (media_format){.kind = MEDIA_KIND_PICTURES, .needs_libav = true};
    else if (numbered && media_ends_with(path, ".ppm"))
        *format = (media_format){.kind = MEDIA_KIND_PICTURES};
    else
        return vmt_fail(ctx, VMT_E_ARG,
                        "%s: unknown kind of output: end it in .mp4, .mov, .mkv, .webm, .gif, "
                        ".y4m, \"/\" (PNG files), %%05d.png, %%05d.jpg or %%05d.ppm",
                        path);
    return VMT_OK;
}

enum vmt_status media_format_find(vmt_ctx *ctx, media_format *format, const char *path,
                                  const media_write_options *options)
{
    const char *asked = options ? options->codec : NULL;
    const int crf = options ? options->crf : MEDIA_DEFAULT_CRF;

    if (asked && !codec_named(asked))
        return vmt_fail(ctx, VMT_E_ARG, "--codec %s: one of h264|ffv1|vp9", asked);
    VMT_TRY(find_kind(ctx, format, path, asked));
    const media_codec *codec = format->codec;
    if (asked && !codec)
        return vmt_fail(ctx, VMT_E_ARG, "%s: --codec is for .mp4, .mov, .mkv and .webm", path);
    format->crf = codec ? codec->default_crf : 0;
    if (crf == MEDIA_DEFAULT_CRF)
        return VMT_OK;
    if (!codec || !codec->most_crf)
        return vmt_fail(ctx, VMT_E_ARG, "%s: --crf is for h264 (0 to 51) and vp9 (0 to 63)", path);
    if (crf < 0 || crf > codec->most_crf)
        return vmt_fail(ctx, VMT_E_ARG, "--crf %d: 0 to %d for %s", crf, codec->most_crf,
                        codec->name);
    format->crf = crf;
    return VMT_OK;
}
