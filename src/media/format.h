/* SPDX-License-Identifier: MIT
 *
 * What is written: by the ending of the output's name and the codec asked for.
 */
#ifndef VMT_MEDIA_FORMAT_H
#define VMT_MEDIA_FORMAT_H

#include "base/ctx.h"
#include "media/media.h"

enum media_kind { MEDIA_KIND_Y4M, MEDIA_KIND_PICTURES, MEDIA_KIND_GIF, MEDIA_KIND_VIDEO };

enum media_codec_id { MEDIA_H264, MEDIA_FFV1, MEDIA_VP9 };

typedef struct media_codec {
    enum media_codec_id id;
    const char *name;    /* of --codec */
    const char *encoder; /* libav's name */
    const char *instead; /* what to write where the encoder is missing */
    int most_crf;        /* --crf: 0 to this; 0: the codec has none */
    int default_crf;
} media_codec;

typedef struct media_format {
    enum media_kind kind;
    bool needs_libav;
    const media_codec *codec; /* of MEDIA_KIND_VIDEO, else NULL */
    int crf;                  /* resolved */
} media_format;

/* `options` may be NULL.  Errors: VMT_E_ARG (ending, codec, crf, or two that do not fit). */
enum vmt_status media_format_find(vmt_ctx *ctx, media_format *format, const char *path,
                                  const media_write_options *options);

/* A rate as a ratio: the first of the continued fraction that is right to 1e-9, so exact for whole
 * numbers, N·1000/1001 and their small parts.  fps > 0, at most 1000. */
void media_rate(double fps, int64_t *over, int64_t *under);

#endif
