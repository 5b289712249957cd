/* SPDX-License-Identifier: MIT
 *
 * Opening files through libavformat, saying what is in them, and the module's table.
 */
#include "media/libav.h"

#include <libavutil/display.h>
#include <libavutil/pixdesc.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum vmt_status media_av_fail(vmt_ctx *ctx, const char *path, const char *doing, int error)
{
    char text[AV_ERROR_MAX_STRING_SIZE];
    const enum vmt_status status = error == AVERROR(ENOMEM)       ? VMT_E_MEMORY
                                   : error == AVERROR_INVALIDDATA ? VMT_E_FORMAT
                                   : error == AVERROR_EOF         ? VMT_E_FORMAT
                                                                  : VMT_E_IO;

    av_strerror(error, text, sizeof text);
    return vmt_fail(ctx, status, "%s: %s failed: %s", path, doing, text);
}

/* ---- opening */

static enum vmt_status no_video(vmt_ctx *ctx, const media_container *in, const char *path)
{
    unsigned audio = 0;

    for (unsigned i = 0; i < in->format->nb_streams; i++)
        audio += in->format->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
    return vmt_fail(ctx, VMT_E_FORMAT,
                    "%s: no video stream (%u streams, %u of them audio): name a video", path,
                    in->format->nb_streams, audio);
}

int media_open_local(AVFormatContext **format, const char *path)
{
    const size_t size = strlen(path) + 8;
    char *url = malloc(size); /* "file:" keeps "http:…" and "concat:…" plain names */
    AVDictionary *options = NULL;

    if (!url)
        return AVERROR(ENOMEM);
    snprintf(url, size, "file:%s", path);
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    const int error = avformat_open_input(format, url, NULL, &options);
    av_dict_free(&options);
    free(url);
    return error;
}

static enum vmt_status open_format(vmt_ctx *ctx, media_container *in, const char *path)
{
    const int error = media_open_local(&in->format, path);

    /* Readers of damaged heads use all three; that the file can be read was checked before. */
    if (error == AVERROR_INVALIDDATA || error == AVERROR(EINVAL) || error == AVERROR(EIO))
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: not a video that libav knows, or its head is damaged", path);
    return error < 0 ? media_av_fail(ctx, path, "opening", error) : VMT_OK;
}

enum vmt_status media_container_open(vmt_ctx *ctx, media_container *in, const char *path)
{
    VMT_TRY(open_format(ctx, in, path));
    int found = avformat_find_stream_info(in->format, NULL);
    if (found < 0)
        return media_av_fail(ctx, path, "finding its streams", found);
    found = av_find_best_stream(in->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (found < 0)
        return no_video(ctx, in, path);
    in->stream = in->format->streams[found];
    if (in->stream->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return no_video(ctx, in, path); /* the cover of a song */
    return VMT_OK;
}

double media_container_fps(const media_container *in)
{
    const AVRational average = in->stream->avg_frame_rate;
    const AVRational guess = av_guess_frame_rate(in->format, in->stream, NULL);
    const double first = average.num > 0 && average.den > 0 ? av_q2d(average) : 0;
    const double second = guess.num > 0 && guess.den > 0 ? av_q2d(guess) : 0;
    /* an average over a gap or a rounded time base is near the rate the file was made for */
    const bool near = first > 0 && second > 0 && fabs(second / first - 1) < 0.005;
    const double fps = first > 0 && !near ? first : second > 0 ? second : 25;
    return fps > 1000 ? 1000 : fps < 0.001 ? 0.001 : fps;
}

const int32_t *media_display_matrix(const AVStream *stream)
{
    const uint8_t *data = NULL;
    size_t size = 0;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 100)
    const AVPacketSideData *side =
        av_packet_side_data_get(stream->codecpar->coded_side_data,
                                stream->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    if (side) {
        data = side->data;
        size = side->size;
    }
#else
    data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
#endif
    return size >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data : NULL;
}

/* ---- description */

static const char *or_unknown(const char *name)
{
    return name ? name : "unknown";
}

static void describe_video(FILE *out, const media_container *in)
{
    const AVCodecParameters *p = in->stream->codecpar;
    const int32_t *matrix = media_display_matrix(in->stream);
    const double turn = matrix ? av_display_rotation_get(matrix) : 0;

    fprintf(out, "video: %s, %dx%d, %.6g fps", avcodec_get_name(p->codec_id), p->width, p->height,
            media_container_fps(in));
    if (in->stream->nb_frames > 0)
        fprintf(out, ", %" PRId64 " frames", in->stream->nb_frames);
    fprintf(out, "\nsamples: %s, matrix %s, range %s, primaries %s, transfer %s\n",
            or_unknown(av_get_pix_fmt_name((enum AVPixelFormat)p->format)),
            or_unknown(av_color_space_name(p->color_space)),
            or_unknown(av_color_range_name(p->color_range)),
            or_unknown(av_color_primaries_name(p->color_primaries)),
            or_unknown(av_color_transfer_name(p->color_trc)));
    if (isfinite(turn) && fabs(turn) > 0.5)
        fprintf(out, "rotation: %.0f degrees clockwise\n", -turn);
    if (p->sample_aspect_ratio.num > 0 && p->sample_aspect_ratio.num != p->sample_aspect_ratio.den)
        fprintf(out, "pixel aspect: %d:%d\n", p->sample_aspect_ratio.num,
                p->sample_aspect_ratio.den);
}

static void describe_file(FILE *out, const media_container *in)
{
    unsigned audio = 0;

    fprintf(out, "container: %s", in->format->iformat->long_name);
    if (in->format->duration > 0)
        fprintf(out, ", %.3f s", (double)in->format->duration / AV_TIME_BASE);
    fputc('\n', out);
    describe_video(out, in);
    for (unsigned i = 0; i < in->format->nb_streams; i++)
        audio += in->format->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
    if (in->format->nb_streams > 1)
        fprintf(out, "other streams: %u (%u of them audio)\n", in->format->nb_streams - 1, audio);
}

enum vmt_status media_describe_streams(vmt_ctx *ctx, const char *path, char **text, char **comment)
{
    media_container in = {0};
    size_t length;
    enum vmt_status status = media_container_open(ctx, &in, path);

    *text = *comment = NULL;
    if (status == VMT_OK) {
        FILE *out = open_memstream(text, &length);
        const AVDictionaryEntry *tag = av_dict_get(in.format->metadata, "comment", NULL, 0);
        if (out) {
            describe_file(out, &in);
            fclose(out);
        }
        if (!*text)
            status = vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", path);
        if (tag)
            *comment = strdup(tag->value);
    }
    avformat_close_input(&in.format);
    return status;
}

/* ---- the table */

static bool has_encoder(const char *name)
{
    return avcodec_find_encoder_by_name(name) != NULL;
}

__attribute__((visibility("default"))) media_libav_get media_libav_table;

const media_libav *media_libav_table(const char *version)
{
    static const media_libav table = {.open = media_decoder_open,
                                      .write_video = media_encode_video,
                                      .encode_picture = media_encode_picture,
                                      .describe = media_describe_streams,
                                      .has_encoder = has_encoder};

    av_log_set_level(AV_LOG_QUIET); /* what matters comes back as an error of ours */
    return strcmp(version, FASTVMT_MODULE_VERSION) ? NULL : &table;
}
