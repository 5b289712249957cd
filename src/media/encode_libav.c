/* SPDX-License-Identifier: MIT
 *
 * H.264 through libx264, and PNG.
 */
#include "base/atomic_file.h"
#include "media/libav.h"

#include <libavutil/opt.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* libx264's output depends on the number of threads, so it must not depend on the machine. */
enum { X264_THREADS = 4 };

typedef struct encoder {
    const vmt_clip *clip;
    const char *path; /* as the user named it */
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
} encoder;

static void encoder_close(encoder *e)
{
    av_packet_free(&e->packet);
    av_frame_free(&e->frame);
    avcodec_free_context(&e->codec);
    if (e->format)
        avio_closep(&e->format->pb);
    avformat_free_context(e->format);
    e->format = NULL;
}

static enum vmt_status open_codec(vmt_ctx *ctx, encoder *e, int crf)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    const bool odd = (e->clip->width | e->clip->height) & 1;
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    char text[16];

    e->codec = c;
    if (!codec)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: this libav has no libx264: write .y4m or a PNG folder", e->path);
    if (!c)
        return media_av_fail(ctx, e->path, "opening its encoder", AVERROR(ENOMEM));
    c->width = (int)e->clip->width;
    c->height = (int)e->clip->height;
    c->pix_fmt = odd ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
    c->framerate = av_d2q(e->clip->fps, 100000);
    c->time_base = av_inv_q(c->framerate);
    c->color_range = AVCOL_RANGE_MPEG;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->chroma_sample_location = odd ? AVCHROMA_LOC_UNSPECIFIED : AVCHROMA_LOC_LEFT;
    c->thread_count = X264_THREADS;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    if (e->format->oformat->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    snprintf(text, sizeof text, "%d", crf);
    int error = av_opt_set(c->priv_data, "crf", text, 0);
    if (error >= 0)
        error = avcodec_open2(c, codec, NULL);
    return error < 0 ? media_av_fail(ctx, e->path, "opening its encoder", error) : VMT_OK;
}

static enum vmt_status open_frame(vmt_ctx *ctx, encoder *e)
{
    AVFrame *f = av_frame_alloc();

    e->frame = f;
    e->packet = av_packet_alloc();
    if (!f || !e->packet)
        return media_av_fail(ctx, e->path, "encoding", AVERROR(ENOMEM));
    f->format = e->codec->pix_fmt;
    f->width = e->codec->width;
    f->height = e->codec->height;
    f->color_range = e->codec->color_range;
    f->colorspace = e->codec->colorspace;
    f->color_primaries = e->codec->color_primaries;
    f->color_trc = e->codec->color_trc;
    f->chroma_location = e->codec->chroma_sample_location;
    const int error = av_frame_get_buffer(f, 0);
    return error < 0 ? media_av_fail(ctx, e->path, "encoding", error) : VMT_OK;
}

/* `url` is the temporary file; `e->path` tells the kind of container. */
static enum vmt_status open_output(vmt_ctx *ctx, encoder *e, const char *url,
                                   const media_write_options *options)
{
    AVDictionary *muxer = NULL;
    int error = avformat_alloc_output_context2(&e->format, NULL, NULL, e->path);

    if (error < 0)
        return media_av_fail(ctx, e->path, "choosing its container", error);
    char *name = av_strdup(url);
    if (!name)
        return media_av_fail(ctx, e->path, "opening", AVERROR(ENOMEM));
    av_free(e->format->url);
    e->format->url = name;
    e->format->flags |= AVFMT_FLAG_BITEXACT; /* no time of creation, no random id */
    VMT_TRY(open_codec(ctx, e, options->crf));
    VMT_TRY(open_frame(ctx, e));
    e->stream = avformat_new_stream(e->format, NULL);
    if (!e->stream)
        return media_av_fail(ctx, e->path, "opening", AVERROR(ENOMEM));
    e->stream->time_base = e->codec->time_base;
    e->stream->avg_frame_rate = e->codec->framerate;
    error = avcodec_parameters_from_context(e->stream->codecpar, e->codec);
    if (error >= 0 && options->comment)
        error = av_dict_set(&e->format->metadata, "comment", options->comment, 0);
    if (error >= 0)
        error = avio_open(&e->format->pb, name, AVIO_FLAG_WRITE);
    if (error >= 0) {
        av_dict_set(&muxer, "movflags", "+faststart", 0);
        error = avformat_write_header(e->format, &muxer);
        av_dict_free(&muxer);
    }
    return error < 0 ? media_av_fail(ctx, e->path, "writing its head", error) : VMT_OK;
}

/* Writes what the encoder has ready. */
static enum vmt_status drain(vmt_ctx *ctx, encoder *e)
{
    int error;

    while ((error = avcodec_receive_packet(e->codec, e->packet)) >= 0) {
        e->packet->stream_index = e->stream->index;
        e->packet->duration = 1;
        av_packet_rescale_ts(e->packet, e->codec->time_base, e->stream->time_base);
        error = av_interleaved_write_frame(e->format, e->packet);
        if (error >= 0)
            error = e->format->pb->error;
        if (error < 0)
            return media_av_fail(ctx, e->path, "writing", error);
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF
               ? VMT_OK
               : media_av_fail(ctx, e->path, "encoding", error);
}

static enum vmt_status encode_frame(vmt_ctx *ctx, encoder *e, int64_t index)
{
    AVFrame *f = e->frame;
    const vmt_clip *clip = e->clip;
    const bool halved = e->codec->pix_fmt == AV_PIX_FMT_YUV420P;
    int error = av_frame_make_writable(f);

    if (error >= 0) {
        media_planes planes = {.y = f->data[0],
                               .cb = f->data[1],
                               .cr = f->data[2],
                               .stride_y = f->linesize[0],
                               .stride_c = f->linesize[1],
                               .width = clip->width,
                               .height = clip->height,
                               .shift_x = halved,
                               .shift_y = halved,
                               .matrix = MEDIA_BT709};
        media_planes_from_rgb(&planes, clip->pixels + index * clip->width * clip->height * 3);
        f->pts = index;
        error = avcodec_send_frame(e->codec, f);
    }
    return error < 0 ? media_av_fail(ctx, e->path, "encoding", error) : drain(ctx, e);
}

static enum vmt_status finish(vmt_ctx *ctx, encoder *e)
{
    int error = avcodec_send_frame(e->codec, NULL);

    if (error < 0)
        return media_av_fail(ctx, e->path, "encoding", error);
    VMT_TRY(drain(ctx, e));
    error = av_write_trailer(e->format);
    if (error >= 0)
        error = e->format->pb->error;
    if (error >= 0)
        error = avio_closep(&e->format->pb);
    return error < 0 ? media_av_fail(ctx, e->path, "writing its end", error) : VMT_OK;
}

static enum vmt_status write_all(vmt_ctx *ctx, encoder *e, const char *place,
                                 const media_write_options *options)
{
    const size_t size = strlen(place) + 8;
    char *url = malloc(size);

    if (!url)
        return media_av_fail(ctx, e->path, "opening", AVERROR(ENOMEM));
    snprintf(url, size, "file:%s", place);
    const enum vmt_status status = open_output(ctx, e, url, options);
    free(url);
    VMT_TRY(status);
    for (int64_t i = 0; i < e->clip->frames; i++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(encode_frame(ctx, e, i));
    }
    return finish(ctx, e);
}

enum vmt_status media_encode_h264(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                  const media_write_options *options)
{
    encoder e = {.clip = clip, .path = path};
    vmt_atomic_file file;

    if (clip->width > MEDIA_MAX_SIDE || clip->height > MEDIA_MAX_SIDE)
        return vmt_fail(ctx, VMT_E_ARG, "%s: H.264 holds at most %d pixels in each direction", path,
                        MEDIA_MAX_SIDE);
    VMT_TRY(vmt_atomic_file_open(ctx, &file, path));
    /* libav opens the temporary file again by name: syncing ours syncs it */
    enum vmt_status status =
        write_all(ctx, &e, file.temporary ? file.temporary : file.path, options);
    encoder_close(&e);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(ctx, &file);
    vmt_atomic_file_abort(&file);
    return status;
}

/* ---- pictures */

static int encode_picture(AVCodecContext *c, AVFrame *f, AVPacket *packet, const uint8_t *pixels)
{
    int error;

    c->width = f->width;
    c->height = f->height;
    c->pix_fmt = f->format = AV_PIX_FMT_RGB24;
    c->time_base = (AVRational){1, 1};
    error = avcodec_open2(c, NULL, NULL);
    if (error >= 0)
        error = av_frame_get_buffer(f, 0);
    for (int y = 0; error >= 0 && y < f->height; y++)
        memcpy(f->data[0] + (int64_t)y * f->linesize[0], pixels + (int64_t)y * f->width * 3,
               (size_t)f->width * 3);
    if (error >= 0)
        error = avcodec_send_frame(c, f);
    if (error >= 0)
        error = avcodec_send_frame(c, NULL);
    return error >= 0 ? avcodec_receive_packet(c, packet) : error;
}

enum vmt_status media_encode_png(vmt_ctx *ctx, const uint8_t *pixels, int64_t width, int64_t height,
                                 uint8_t **bytes, size_t *count)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    AVFrame *f = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    int error = !codec ? AVERROR_ENCODER_NOT_FOUND : c && f && packet ? 0 : AVERROR(ENOMEM);

    *bytes = NULL;
    if (!error) {
        f->width = (int)width;
        f->height = (int)height;
        error = encode_picture(c, f, packet, pixels);
    }
    if (error >= 0) {
        *bytes = malloc((size_t)packet->size);
        *count = (size_t)packet->size;
        if (*bytes)
            memcpy(*bytes, packet->data, *count);
        else
            error = AVERROR(ENOMEM);
    }
    av_packet_free(&packet);
    av_frame_free(&f);
    avcodec_free_context(&c);
    return error < 0 ? media_av_fail(ctx, "PNG", "encoding", error) : VMT_OK;
}
