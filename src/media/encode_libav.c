/* SPDX-License-Identifier: MIT
 *
 * Video files: H.264 through libx264, VP9 through libvpx, FFV1.
 */
#include "base/atomic_file.h"
#include "media/sound_libav.h"

#include <libavutil/opt.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What an encoder writes may depend on the number of threads, so that must not depend on the
 * machine. */
enum { ENCODER_THREADS = 4 };

typedef struct encoder {
    const vmt_clip *clip;
    const media_codec *kind;
    const char *path; /* as the user named it */
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVRational tick;    /* seconds of a frame: times count in it */
    media_sound *sound; /* or NULL */
    AVFrame *frame;
    AVPacket *packet;
} encoder;

static void encoder_close(encoder *e)
{
    media_sound_close(e->sound);
    av_packet_free(&e->packet);
    av_frame_free(&e->frame);
    avcodec_free_context(&e->codec);
    if (e->format)
        avio_closep(&e->format->pb);
    avformat_free_context(e->format);
    e->format = NULL;
}

/* 4:2:0 of H.264 cannot have odd sizes, that of VP9 can.  RGB of FFV1 has an unused byte. */
static enum AVPixelFormat samples_of(const encoder *e)
{
    const bool odd = (e->clip->width | e->clip->height) & 1;

    switch (e->kind->id) {
    case MEDIA_FFV1:
        return AV_PIX_FMT_BGR0;
    case MEDIA_H264:
        return odd ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
    case MEDIA_VP9:
        break;
    }
    return AV_PIX_FMT_YUV420P;
}

static void describe_colours(AVCodecContext *c)
{
    const bool rgb = c->pix_fmt == AV_PIX_FMT_BGR0;

    c->color_range = rgb ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    c->colorspace = rgb ? AVCOL_SPC_RGB : AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->chroma_sample_location =
        c->pix_fmt == AV_PIX_FMT_YUV420P ? AVCHROMA_LOC_LEFT : AVCHROMA_LOC_UNSPECIFIED;
}

static int set_quality(AVCodecContext *c, const media_codec *kind, int crf)
{
    char text[16];

    snprintf(text, sizeof text, "%d", crf);
    if (kind->id == MEDIA_FFV1) {
        /* version 3 has checksums and slices; libav's loses pixels of slices below 3 rows */
        c->level = c->width > 2 && c->height > 5 ? 3 : 1;
        c->slices = c->level == 3 ? ENCODER_THREADS : 0;
        return 0;
    }
    if (kind->id == MEDIA_VP9)
        av_opt_set(c->priv_data, "cpu-used", "2", 0);
    return av_opt_set(c->priv_data, "crf", text, 0); /* bit_rate 0: quality alone */
}

static enum vmt_status open_codec(vmt_ctx *ctx, encoder *e, const AVCodec *codec, int crf)
{
    AVCodecContext *c = e->codec;
    int64_t over, under;

    media_rate(e->clip->fps, &over, &under);
    c->width = (int)e->clip->width;
    c->height = (int)e->clip->height;
    c->pix_fmt = samples_of(e);
    c->framerate = (AVRational){(int)over, (int)under};
    c->time_base = e->tick = av_inv_q(c->framerate);
    c->bit_rate = 0;
    c->thread_count = ENCODER_THREADS;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    if (e->format->oformat->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    describe_colours(c);
    int error = set_quality(c, e->kind, crf);
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
static enum vmt_status open_output(vmt_ctx *ctx, encoder *e, const char *url, int crf,
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
    e->format->max_interleave_delta = 0;     /* sound waits for the pictures an encoder holds */
    const AVCodec *codec = avcodec_find_encoder_by_name(e->kind->encoder);
    e->codec = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!e->codec) /* that the encoder is there was checked before */
        return media_av_fail(ctx, e->path, "opening its encoder", AVERROR(ENOMEM));
    VMT_TRY(open_codec(ctx, e, codec, crf));
    VMT_TRY(open_frame(ctx, e));
    e->stream = avformat_new_stream(e->format, NULL);
    if (!e->stream)
        return media_av_fail(ctx, e->path, "opening", AVERROR(ENOMEM));
    e->stream->time_base = e->tick;
    e->stream->avg_frame_rate = e->codec->framerate;
    if (options->sound)
        VMT_TRY(media_sound_open(ctx, &e->sound, e->format, options,
                                 (double)e->clip->frames / e->clip->fps,
                                 e->kind->id == MEDIA_FFV1));
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
        av_packet_rescale_ts(e->packet, e->tick, e->stream->time_base);
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

static void fill_rgb(AVFrame *f, const uint8_t *rgb)
{
    for (int y = 0; y < f->height; y++) {
        uint8_t *to = f->data[0] + (int64_t)y * f->linesize[0];
        for (int x = 0; x < f->width; x++, to += 4, rgb += 3) {
            to[0] = rgb[2];
            to[1] = rgb[1];
            to[2] = rgb[0];
            to[3] = 0;
        }
    }
}

static void fill_planes(AVFrame *f, const uint8_t *rgb)
{
    const bool halved = f->format == AV_PIX_FMT_YUV420P;
    media_planes planes = {.y = f->data[0],
                           .cb = f->data[1],
                           .cr = f->data[2],
                           .stride_y = f->linesize[0],
                           .stride_c = f->linesize[1],
                           .width = f->width,
                           .height = f->height,
                           .shift_x = halved,
                           .shift_y = halved,
                           .matrix = MEDIA_BT709};

    media_planes_from_rgb(&planes, rgb);
}

static enum vmt_status encode_frame(vmt_ctx *ctx, encoder *e, int64_t index)
{
    AVFrame *f = e->frame;
    const uint8_t *rgb = e->clip->pixels + index * e->clip->width * e->clip->height * 3;
    int error = av_frame_make_writable(f);

    if (error >= 0) {
        if (f->format == AV_PIX_FMT_BGR0)
            fill_rgb(f, rgb);
        else
            fill_planes(f, rgb);
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

static enum vmt_status write_all(vmt_ctx *ctx, encoder *e, const char *place, int crf,
                                 const media_write_options *options)
{
    const size_t size = strlen(place) + 8;
    char *url = malloc(size);

    if (!url)
        return media_av_fail(ctx, e->path, "opening", AVERROR(ENOMEM));
    snprintf(url, size, "file:%s", place);
    const enum vmt_status status = open_output(ctx, e, url, crf, options);
    free(url);
    VMT_TRY(status);
    for (int64_t i = 0; i < e->clip->frames; i++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(encode_frame(ctx, e, i));
        VMT_TRY(media_sound_write(ctx, e->sound, e->path, (double)(i + 1) / e->clip->fps));
    }
    return finish(ctx, e);
}

enum vmt_status media_encode_video(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                   const media_format *format, const media_write_options *options)
{
    encoder e = {.clip = clip, .kind = format->codec, .path = path};
    vmt_atomic_file file;

    if (clip->width > MEDIA_MAX_SIDE || clip->height > MEDIA_MAX_SIDE)
        return vmt_fail(ctx, VMT_E_ARG, "%s: video files get at most %d pixels in each direction",
                        path, MEDIA_MAX_SIDE);
    VMT_TRY(vmt_atomic_file_open(ctx, &file, path));
    /* libav opens the temporary file again by name: syncing ours syncs it */
    enum vmt_status status =
        write_all(ctx, &e, file.temporary ? file.temporary : file.path, format->crf, options);
    encoder_close(&e);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(ctx, &file);
    vmt_atomic_file_abort(&file);
    return status;
}
