/* SPDX-License-Identifier: MIT
 *
 * What the files of the libav module share.
 */
#ifndef VMT_MEDIA_LIBAV_H
#define VMT_MEDIA_LIBAV_H

#include "media/colour.h"
#include "media/source.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* An opened file and its video stream. */
typedef struct media_container {
    AVFormatContext *format;
    AVStream *stream;
} media_container;

/* Only local files are touched, whatever a playlist says.  Returns 0 or libav's error. */
int media_open_local(AVFormatContext **format, const char *path);

/* Errors: VMT_E_IO, VMT_E_FORMAT. */
enum vmt_status media_container_open(vmt_ctx *ctx, media_container *in, const char *path);

/* Frames per second: the stream's average, else a guess; > 0, <= 1000. */
double media_container_fps(const media_container *in);

/* 3x3 matrix of how the picture is to be shown, or NULL. */
const int32_t *media_display_matrix(const AVStream *stream);

/* "PATH: DOING failed: libav's text"; VMT_E_MEMORY, VMT_E_IO or VMT_E_FORMAT by the error. */
enum vmt_status media_av_fail(vmt_ctx *ctx, const char *path, const char *doing, int error);

enum vmt_status media_decoder_open(vmt_ctx *ctx, media_source *source, const char *path);
enum vmt_status media_encode_video(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                   const media_format *format, const media_write_options *options);
enum vmt_status media_encode_picture(vmt_ctx *ctx, const uint8_t *pixels, int64_t width,
                                     int64_t height, bool jpeg, uint8_t **bytes, size_t *count);
enum vmt_status media_describe_streams(vmt_ctx *ctx, const char *path, char **text, char **comment);

#endif
