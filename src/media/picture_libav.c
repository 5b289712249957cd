/* SPDX-License-Identifier: MIT
 *
 * One frame as PNG or JPEG.
 */
#include "media/libav.h"

#include <stdlib.h>
#include <string.h>

enum { JPEG_QUALITY = 2 }; /* quantiser scale, 1 to 31 */

static void fill_jpeg(AVFrame *f, const uint8_t *pixels)
{
    media_planes planes = {.y = f->data[0],
                           .cb = f->data[1],
                           .cr = f->data[2],
                           .stride_y = f->linesize[0],
                           .stride_c = f->linesize[1],
                           .width = f->width,
                           .height = f->height,
                           .full = true,
                           .matrix = MEDIA_BT601};

    media_planes_from_rgb(&planes, pixels);
}

static int encode_picture(AVCodecContext *c, AVFrame *f, AVPacket *packet, const uint8_t *pixels)
{
    const bool jpeg = c->codec_id == AV_CODEC_ID_MJPEG;
    int error;

    c->width = f->width;
    c->height = f->height;
    c->pix_fmt = f->format = jpeg ? AV_PIX_FMT_YUVJ444P : AV_PIX_FMT_RGB24;
    c->color_range = f->color_range = AVCOL_RANGE_JPEG;
    if (jpeg) {
        c->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
        c->global_quality = f->quality = JPEG_QUALITY * FF_QP2LAMBDA;
        c->colorspace = f->colorspace = AVCOL_SPC_BT470BG; /* JFIF: BT.601, full range */
    }
    c->time_base = (AVRational){1, 1};
    error = avcodec_open2(c, NULL, NULL);
    if (error >= 0)
        error = av_frame_get_buffer(f, 0);
    if (error >= 0 && jpeg)
        fill_jpeg(f, pixels);
    for (int y = 0; error >= 0 && !jpeg && y < f->height; y++)
        memcpy(f->data[0] + (int64_t)y * f->linesize[0], pixels + (int64_t)y * f->width * 3,
               (size_t)f->width * 3);
    if (error >= 0)
        error = avcodec_send_frame(c, f);
    if (error >= 0)
        error = avcodec_send_frame(c, NULL);
    return error >= 0 ? avcodec_receive_packet(c, packet) : error;
}

enum vmt_status media_encode_picture(vmt_ctx *ctx, const uint8_t *pixels, int64_t width,
                                     int64_t height, bool jpeg, uint8_t **bytes, size_t *count)
{
    const AVCodec *codec = avcodec_find_encoder(jpeg ? AV_CODEC_ID_MJPEG : AV_CODEC_ID_PNG);
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
    return error < 0 ? media_av_fail(ctx, jpeg ? "JPEG" : "PNG", "encoding", error) : VMT_OK;
}
