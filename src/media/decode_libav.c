/* SPDX-License-Identifier: MIT
 *
 * A video or picture through libavformat and libavcodec; to RGB through libswscale.
 */
#include "media/libav.h"

#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 16, ROW_SLACK = 64, MOST_EARLY = 256 };

/* Output pixel (x, y) is input pixel (x, y), or (y, x) if transposed, each mirrored if flipped. */
typedef struct orientation {
    bool transposed, flip_x, flip_y; /* flips: of the output */
} orientation;

typedef struct decoder {
    media_container in;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scaler;
    uint8_t *rows; /* RGB in the orientation of the file */
    size_t rows_bytes;
    int64_t rows_stride;
    orientation turn;
    int64_t frames, packets;
    int64_t early[MOST_EARLY]; /* stamps of the packets sent before the first frame came out; by
                                  order: of those whose frame is still to come */
    int early_count;
    int64_t packet_stamp, frame_stamp; /* of the last ones */
    bool rising;                       /* every packet's stamp is later than that before it */
    int64_t first_stamp;
    double last_time;
    bool draining;
} decoder;

/* ---- opening */

static orientation orientation_of(const AVStream *stream)
{
    const int32_t *m = media_display_matrix(stream);

    if (!m)
        return (orientation){0};
    /* shown x = m[0] x + m[3] y, shown y = m[1] x + m[4] y: a turn by 90° has no diagonal */
    if (llabs(m[0]) + llabs(m[4]) >= llabs(m[1]) + llabs(m[3]))
        return (orientation){false, m[0] < 0, m[4] < 0};
    return (orientation){true, m[3] < 0, m[1] < 0};
}

static double aspect_of(const decoder *d)
{
    const AVRational a = av_guess_sample_aspect_ratio(d->in.format, d->in.stream, NULL);
    const double value = a.num > 0 && a.den > 0 ? (double)a.num / a.den : 1;
    const double sane = value >= 0.01 && value <= 100 ? value : 1;
    return d->turn.transposed ? 1 / sane : sane;
}

static enum vmt_status open_codec(vmt_ctx *ctx, decoder *d, const char *path)
{
    const AVCodecParameters *par = d->in.stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(par->codec_id);
    int error;

    if (!codec)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: this libav has no decoder for %s: install one that has, or convert "
                        "the file",
                        path, avcodec_get_name(par->codec_id));
    if (par->width > 0 && par->height > 0)
        VMT_TRY(media_check_size(ctx, path, par->width, par->height));
    d->codec = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->frame = av_frame_alloc();
    if (!d->codec || !d->packet || !d->frame)
        return media_av_fail(ctx, path, "opening", AVERROR(ENOMEM));
    error = avcodec_parameters_to_context(d->codec, par);
    if (error >= 0) {
        d->codec->pkt_timebase = d->in.stream->time_base;
        d->codec->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT; /* seen and judged, not dropped */
        d->codec->max_pixels = (int64_t)MEDIA_MAX_SIDE * MEDIA_MAX_SIDE;
        d->codec->thread_count = ctx->threads < 1             ? 1
                                 : ctx->threads > MAX_THREADS ? MAX_THREADS
                                                              : ctx->threads;
        error = avcodec_open2(d->codec, codec, NULL);
    }
    return error < 0 ? media_av_fail(ctx, path, "opening its decoder", error) : VMT_OK;
}

/* ---- frames */

static enum vmt_status damaged(vmt_ctx *ctx, const media_source *s, const decoder *d, int error)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "damaged data";

    if (error < 0)
        av_strerror(error, text, sizeof text);
    return vmt_fail(ctx, VMT_E_FORMAT,
                    "%s: damaged at frame %" PRId64 ", %.2f s (%s): fetch the file again, use "
                    "frames before or behind (--start, --frames), or mend it (--damaged conceal)",
                    s->path, d->frames, d->frames ? d->last_time + 1 / s->fps : 0, text);
}

static void drop_stamp(decoder *d, int index)
{
    if (index < 0 || index >= d->early_count)
        return;
    d->early_count--;
    memmove(&d->early[index], &d->early[index + 1],
            sizeof *d->early * (size_t)(d->early_count - index));
}

/* A frame that cannot be decoded, or not whole: fails unless it may be left out or mended. */
static enum vmt_status meet_damage(vmt_ctx *ctx, media_source *s, const decoder *d, int error)
{
    if (error == AVERROR(ENOMEM))
        return media_av_fail(ctx, s->path, "decoding", error);
    if (s->conceal)
        s->concealed++;
    else if (!d->frames)
        s->skipped++; /* a recording may begin between key frames */
    else
        return damaged(ctx, s, d, error);
    return VMT_OK;
}

/* The index of an MP4 says how many packets there are, so that a cut file shows. */
static enum vmt_status check_end(vmt_ctx *ctx, media_source *s, const decoder *d)
{
    const bool counted = strstr(d->in.format->iformat->name, "mov") != NULL;
    const int64_t wanted = d->in.stream->nb_frames;

    if (counted && wanted > d->packets && s->conceal)
        s->concealed += wanted - d->packets;
    else if (counted && wanted > d->packets)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: cut off after frame %" PRId64 " of %" PRId64
                        ": fetch the file again, or take fewer frames (--frames)",
                        s->path, d->packets, wanted);
    return VMT_OK;
}

static void note_packet(const media_source *s, decoder *d)
{
    const int64_t stamp = d->packet->pts;

    d->rising = d->rising && stamp != AV_NOPTS_VALUE &&
                (d->packet_stamp == AV_NOPTS_VALUE || stamp > d->packet_stamp);
    d->packet_stamp = stamp;
    if ((!d->frames || s->by_order) && d->early_count < MOST_EARLY &&
        !(d->packet->flags & AV_PKT_FLAG_DISCARD) && stamp != AV_NOPTS_VALUE)
        d->early[d->early_count++] = stamp;
}

/* Sends the next packet of our stream, or the end. */
static enum vmt_status feed(vmt_ctx *ctx, media_source *s, decoder *d)
{
    int error = av_read_frame(d->in.format, d->packet);

    if (error < 0) {
        const bool at_end =
            error == AVERROR_EOF || (d->in.format->pb && avio_feof(d->in.format->pb));
        VMT_TRY(at_end ? check_end(ctx, s, d) : meet_damage(ctx, s, d, error));
        d->draining = true;
        error = avcodec_send_packet(d->codec, NULL);
        return error < 0 && error != AVERROR_EOF ? meet_damage(ctx, s, d, error) : VMT_OK;
    }
    if (d->packet->stream_index != d->in.stream->index) {
        av_packet_unref(d->packet);
        return VMT_OK;
    }
    const bool corrupt = d->packet->flags & AV_PKT_FLAG_CORRUPT;
    d->packets += !corrupt;
    note_packet(s, d);
    error = avcodec_send_packet(d->codec, d->packet);
    av_packet_unref(d->packet);
    if (error < 0 && s->by_order)
        drop_stamp(d, d->early_count - 1);
    return error < 0 || corrupt ? meet_damage(ctx, s, d, error) : VMT_OK;
}

/* Decoders drop a first key frame that they cannot read without a word. */
static void count_skipped(media_source *s, const decoder *d)
{
    int64_t before = 0;

    for (int i = 0; i < d->early_count; i++)
        before += d->early[i] < d->frame->pts;
    if (d->frame->pts != AV_NOPTS_VALUE && before > s->skipped + s->concealed)
        s->skipped = before;
}

/* Packets come in the order of decoding.  Where their stamps rise all the same, and frames come out
 * in another order, they are the times of decoding: the file lacks those of showing.  *at: what
 * the frame has to have. */
static void mend_stamp(media_source *s, decoder *d, int64_t *at)
{
    const int64_t own = d->frame->pts;

    if (s->by_order && d->early_count > 0) {
        *at = d->early[0];
        drop_stamp(d, 0);
    }
    if (d->rising && own != AV_NOPTS_VALUE && d->frame_stamp != AV_NOPTS_VALUE &&
        own < d->frame_stamp)
        s->decode_times = true;
    d->frame_stamp = own;
}

static void stamp(media_source *s, decoder *d, double *time)
{
    const double unit = av_q2d(d->in.stream->time_base);
    int64_t at = d->frame->best_effort_timestamp;

    if (!d->frames)
        count_skipped(s, d);
    mend_stamp(s, d, &at);
    if (!d->frames) {
        d->first_stamp = at;
        s->origin = at != AV_NOPTS_VALUE ? (double)at * unit : 0;
        *time = 0;
    } else if (at != AV_NOPTS_VALUE && d->first_stamp != AV_NOPTS_VALUE) {
        *time = (double)(at - d->first_stamp) * unit;
    } else {
        *time = d->last_time + 1 / s->fps;
    }
    if (*time < d->last_time) /* damaged stamps */
        *time = d->last_time;
    d->last_time = *time;
    d->frames++;
}

/* The next picture, whole or not; *error: AVERROR_EOF at the end, else what decoding it came to. */
static enum vmt_status receive(vmt_ctx *ctx, media_source *s, decoder *d, int *error)
{
    while ((*error = avcodec_receive_frame(d->codec, d->frame)) == AVERROR(EAGAIN) && !d->draining)
        VMT_TRY(feed(ctx, s, d));
    if (*error == AVERROR(EAGAIN))
        *error = AVERROR_EOF;
    return VMT_OK;
}

static enum vmt_status decoder_next(vmt_ctx *ctx, media_source *s, bool *more, double *time)
{
    decoder *d = s->state;
    int error;

    for (;;) {
        VMT_TRY(receive(ctx, s, d, &error));
        if (error == AVERROR_EOF)
            break;
        if (error >= 0 && !d->frame->decode_error_flags &&
            !(d->frame->flags & AV_FRAME_FLAG_CORRUPT))
            break;
        VMT_TRY(meet_damage(ctx, s, d, error));
        if (error >= 0 && s->conceal)
            break;
        if (s->by_order)
            drop_stamp(d, 0);
    }
    *more = error >= 0;
    if (!*more)
        return d->frames || !d->packets
                   ? VMT_OK
                   : vmt_fail(ctx, VMT_E_FORMAT,
                              "%s: none of its frames can be decoded: fetch the file again or "
                              "re-encode it",
                              s->path);
    VMT_TRY(media_check_size(ctx, s->path, d->frame->width, d->frame->height));
    s->width = d->turn.transposed ? d->frame->height : d->frame->width;
    s->height = d->turn.transposed ? d->frame->width : d->frame->height;
    stamp(s, d, time);
    return VMT_OK;
}

/* ---- colour */

static int matrix_of(const AVFrame *f)
{
    switch ((int)f->colorspace) {
    case AVCOL_SPC_BT709:
        return SWS_CS_ITU709;
    case AVCOL_SPC_FCC:
        return SWS_CS_FCC;
    case AVCOL_SPC_SMPTE240M:
        return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return SWS_CS_BT2020;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
        return SWS_CS_ITU601;
    default:
        return media_guess_matrix(f->width, f->height) == MEDIA_BT709 ? SWS_CS_ITU709
                                                                      : SWS_CS_ITU601;
    }
}

/* The formats named J are full range by name; libswscale wants the plain name and a flag. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full)
{
    *full = true;
    switch ((int)format) {
    case AV_PIX_FMT_YUVJ420P:
        return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
        return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
        return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
        return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P:
        return AV_PIX_FMT_YUV411P;
    default:
        *full = false;
        return format;
    }
}

static enum vmt_status scale(vmt_ctx *ctx, const media_source *s, decoder *d)
{
    const AVFrame *f = d->frame;
    bool full;
    const enum AVPixelFormat format = plain_format((enum AVPixelFormat)f->format, &full);
    const AVPixFmtDescriptor *about = av_pix_fmt_desc_get(format);
    const int flags =
        SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
    uint8_t *planes[4] = {d->rows};
    const int strides[4] = {(int)d->rows_stride};

    full = full || f->color_range == AVCOL_RANGE_JPEG ||
           (about && (about->flags & AV_PIX_FMT_FLAG_RGB)) ||
           (about && about->nb_components < 3 && f->color_range == AVCOL_RANGE_UNSPECIFIED);
    d->scaler = sws_getCachedContext(d->scaler, f->width, f->height, format, f->width, f->height,
                                     AV_PIX_FMT_RGB24, flags, NULL, NULL, NULL);
    if (!d->scaler)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: pixel format %s cannot be converted", s->path,
                        about ? about->name : "unknown");
    /* fails for formats without a matrix, which need none; deep RGB goes by way of Y'CbCr, with one
     * matrix there and back */
    const int *matrix = sws_getCoefficients(matrix_of(f));
    (void)sws_setColorspaceDetails(d->scaler, matrix, full, matrix, 1, 0, 1 << 16, 1 << 16);
    const int rows = sws_scale(d->scaler, (const uint8_t *const *)f->data, f->linesize, 0,
                               f->height, planes, strides);
    return rows == f->height
               ? VMT_OK
               : vmt_fail(ctx, VMT_E_FORMAT, "%s: frame %" PRId64 " cannot be converted to RGB",
                          s->path, d->frames);
}

static void turn_into(uint8_t *pixels, const media_source *s, const decoder *d)
{
    const orientation turn = d->turn;

    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++, pixels += 3) {
            const int64_t u = turn.flip_x ? s->width - 1 - x : x;
            const int64_t v = turn.flip_y ? s->height - 1 - y : y;
            const int64_t row = turn.transposed ? u : v, column = turn.transposed ? v : u;
            memcpy(pixels, d->rows + row * d->rows_stride + 3 * column, 3);
        }
}

static enum vmt_status decoder_rgb(vmt_ctx *ctx, media_source *s, uint8_t *pixels)
{
    decoder *d = s->state;
    const AVFrame *f = d->frame;

    /* libswscale may write past a row's end */
    d->rows_stride = (3 * (int64_t)f->width + 2 * ROW_SLACK - 1) / ROW_SLACK * ROW_SLACK;
    const size_t bytes = (size_t)d->rows_stride * (size_t)f->height + ROW_SLACK;
    if (bytes > d->rows_bytes) {
        av_freep(&d->rows);
        d->rows = av_malloc(bytes);
        d->rows_bytes = d->rows ? bytes : 0;
        if (!d->rows)
            return media_av_fail(ctx, s->path, "converting", AVERROR(ENOMEM));
    }
    VMT_TRY(scale(ctx, s, d));
    turn_into(pixels, s, d);
    return VMT_OK;
}

static void decoder_close(media_source *s)
{
    decoder *d = s->state;

    sws_freeContext(d->scaler);
    av_freep(&d->rows);
    av_frame_free(&d->frame);
    av_packet_free(&d->packet);
    avcodec_free_context(&d->codec);
    avformat_close_input(&d->in.format);
    free(d);
    s->state = NULL;
}

enum vmt_status media_decoder_open(vmt_ctx *ctx, media_source *source, const char *path)
{
    decoder *d = calloc(1, sizeof *d);

    if (!d)
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", path);
    d->packet_stamp = d->frame_stamp = AV_NOPTS_VALUE;
    d->rising = true;
    *source = (media_source){
        .state = d, .path = path, .next = decoder_next, .rgb = decoder_rgb, .close = decoder_close};
    enum vmt_status status = media_container_open(ctx, &d->in, path);
    if (status == VMT_OK)
        status = open_codec(ctx, d, path);
    if (status == VMT_OK) {
        d->turn = orientation_of(d->in.stream);
        source->fps = media_container_fps(&d->in);
        source->pixel_aspect = aspect_of(d);
    } else {
        decoder_close(source);
    }
    return status;
}
