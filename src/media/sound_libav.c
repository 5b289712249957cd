/* SPDX-License-Identifier: MIT
 *
 * The sound of a file, for the time that a clip shows: packets as they are where the clip begins
 * with the sound and the container can hold them, else decoded, cut to the sample and encoded.
 */
#include "media/sound_libav.h"

#include <libavutil/audio_fifo.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BITS_PER_CHANNEL = 96000, FREE_FRAME = 1024 };

static const double preroll = 0.5; /* seconds decoded before the cut, for codecs with memory */
static const double reach = 0.01;  /* seconds behind its beginning that a decoder may drop */
static const double hole = 0.1;    /* seconds: a longer gap between packets becomes silence */

struct media_sound {
    AVFormatContext *in, *out;
    AVStream *from, *to;
    AVPacket *packet;
    double start, duration; /* of the clip: by the clock of `in`, in seconds */
    int64_t offset;         /* of copied packets, in `from`'s time base */
    bool copies, ended;
    bool holds;   /* the first packet is in `packet` */
    bool delayed; /* packets are stamped later by the decoder's delay */

    /* where it is encoded again */
    AVCodecContext *decoder, *encoder;
    SwrContext *resampler;
    AVAudioFifo *fifo; /* in the encoder's format */
    AVFrame *frame;
    int64_t next, wanted; /* samples of `from`: taken so far, from the clip's start on; in all */
    int64_t first;        /* the encoder's sample that the fifo began with */
    int64_t sent;         /* samples given to the encoder */
    bool begun;
};

void media_sound_close(media_sound *s)
{
    if (!s)
        return;
    av_frame_free(&s->frame);
    if (s->fifo)
        av_audio_fifo_free(s->fifo);
    swr_free(&s->resampler);
    avcodec_free_context(&s->encoder);
    avcodec_free_context(&s->decoder);
    av_packet_free(&s->packet);
    avformat_close_input(&s->in);
    free(s);
}

/* ---- opening */

static int open_input(media_sound *s, const char *path)
{
    int error = media_open_local(&s->in, path);

    if (error >= 0)
        error = avformat_find_stream_info(s->in, NULL);
    if (error >= 0)
        error = av_find_best_stream(s->in, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0);
    if (error < 0)
        return error;
    s->from = s->in->streams[error];
    for (unsigned i = 0; i < s->in->nb_streams; i++)
        if (s->in->streams[i] != s->from)
            s->in->streams[i]->discard = AVDISCARD_ALL;
    return 0;
}

/* What players of the container expect in it. */
static bool container_holds(const AVFormatContext *out, enum AVCodecID id)
{
    if (!strcmp(out->oformat->name, "webm"))
        return id == AV_CODEC_ID_OPUS || id == AV_CODEC_ID_VORBIS;
    if (!strcmp(out->oformat->name, "matroska"))
        return avformat_query_codec(out->oformat, id, FF_COMPLIANCE_NORMAL) == 1;
    return id == AV_CODEC_ID_AAC || id == AV_CODEC_ID_MP3 || id == AV_CODEC_ID_AC3 ||
           id == AV_CODEC_ID_ALAC;
}

static bool is_matroska(const AVFormatContext *out)
{
    return !strcmp(out->oformat->name, "webm") || !strcmp(out->oformat->name, "matroska");
}

static bool starts_with_clip(const media_sound *s)
{
    const double begin = s->from->start_time == AV_NOPTS_VALUE
                             ? 0
                             : (double)s->from->start_time * av_q2d(s->from->time_base);
    return s->start <= begin + reach;
}

/* Holds the first packet: stamps below zero are what the decoder drops before the sound begins. */
static int prepare_copy(media_sound *s)
{
    AVCodecParameters *par = s->from->codecpar;
    int error = 0;

    s->copies = true;
    s->offset = llrint(s->start / av_q2d(s->from->time_base));
    while (!s->holds && error >= 0) {
        error = av_read_frame(s->in, s->packet);
        s->holds = error >= 0 && s->packet->stream_index == s->from->index;
        if (error >= 0 && !s->holds)
            av_packet_unref(s->packet);
    }
    if (s->holds && s->packet->pts != AV_NOPTS_VALUE && s->packet->pts < s->offset)
        par->initial_padding = (int)av_rescale_q(s->offset - s->packet->pts, s->from->time_base,
                                                 (AVRational){1, par->sample_rate});
    return error == AVERROR_EOF ? AVERROR_STREAM_NOT_FOUND : error;
}

static int open_decoder(media_sound *s)
{
    const AVCodec *codec = avcodec_find_decoder(s->from->codecpar->codec_id);

    if (!codec)
        return AVERROR_DECODER_NOT_FOUND;
    s->decoder = avcodec_alloc_context3(codec);
    if (!s->decoder)
        return AVERROR(ENOMEM);
    const int error = avcodec_parameters_to_context(s->decoder, s->from->codecpar);
    s->decoder->pkt_timebase = s->from->time_base;
    s->decoder->thread_count = 1;
    return error < 0 ? error : avcodec_open2(s->decoder, codec, NULL);
}

static const AVCodec *find_encoder(const AVFormatContext *out, bool lossless)
{
    const bool webm = !strcmp(out->oformat->name, "webm");
    const AVCodec *codec = avcodec_find_encoder_by_name(webm       ? "libopus"
                                                        : lossless ? "flac"
                                                                   : "aac");

    return codec || !webm ? codec : avcodec_find_encoder_by_name("libvorbis");
}

/* The nearest rate that the encoder takes, from above where there is one. */
static int choose_rate(const AVCodec *codec, int rate)
{
    int best = 0;

    if (!codec->supported_samplerates)
        return rate;
    for (const int *p = codec->supported_samplerates; *p; p++)
        if (*p == rate || (best<rate && * p> best) || (best > rate && *p >= rate && *p < best))
            best = *p;
    return best;
}

static int open_encoder(media_sound *s, bool lossless)
{
    const AVCodec *codec = find_encoder(s->out, lossless);
    const int channels = s->decoder->ch_layout.nb_channels;

    if (!codec)
        return AVERROR_ENCODER_NOT_FOUND;
    AVCodecContext *c = s->encoder = avcodec_alloc_context3(codec);
    if (!c)
        return AVERROR(ENOMEM);
    av_channel_layout_default(&c->ch_layout, channels > 2 ? 2 : channels);
    c->sample_rate = choose_rate(codec, s->decoder->sample_rate);
    c->sample_fmt = codec->sample_fmts ? codec->sample_fmts[0] : AV_SAMPLE_FMT_FLTP;
    c->bit_rate = lossless ? 0 : (int64_t)BITS_PER_CHANNEL * c->ch_layout.nb_channels;
    c->time_base = (AVRational){1, c->sample_rate};
    c->thread_count = 1;
    c->flags |= AV_CODEC_FLAG_BITEXACT;
    if (s->out->oformat->flags & AVFMT_GLOBALHEADER)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    return avcodec_open2(c, codec, NULL);
}

static int prepare_encoding(media_sound *s, bool lossless)
{
    int error = open_decoder(s);

    if (error >= 0 && !(s->decoder->sample_rate > 0 && s->decoder->ch_layout.nb_channels > 0 &&
                        s->decoder->ch_layout.nb_channels <= AV_NUM_DATA_POINTERS))
        error = AVERROR_INVALIDDATA;
    if (error >= 0)
        error = open_encoder(s, lossless);
    if (error < 0)
        return error;
    if (s->decoder->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&s->decoder->ch_layout, s->decoder->ch_layout.nb_channels);
    AVCodecContext *d = s->decoder, *e = s->encoder;
    error = swr_alloc_set_opts2(&s->resampler, &e->ch_layout, e->sample_fmt, e->sample_rate,
                                &d->ch_layout, d->sample_fmt, d->sample_rate, 0, NULL);
    if (error >= 0)
        error = swr_init(s->resampler);
    s->fifo = av_audio_fifo_alloc(e->sample_fmt, e->ch_layout.nb_channels, FREE_FRAME);
    s->frame = av_frame_alloc();
    s->wanted = llrint(s->duration * d->sample_rate);
    return error < 0 ? error : s->fifo && s->frame ? 0 : AVERROR(ENOMEM);
}

static int prepare(media_sound *s, const char *path, bool lossless)
{
    const int error = open_input(s, path);

    if (error < 0)
        return error;
    s->packet = av_packet_alloc();
    if (!s->packet)
        return AVERROR(ENOMEM);
    if (container_holds(s->out, s->from->codecpar->codec_id) && starts_with_clip(s))
        return prepare_copy(s);
    if (s->start > 2 * preroll)
        (void)av_seek_frame(s->in, s->from->index,
                            llrint((s->start - preroll) / av_q2d(s->from->time_base)),
                            AVSEEK_FLAG_BACKWARD); /* else read from the beginning */
    return prepare_encoding(s, lossless);
}

static int add_stream(media_sound *s)
{
    s->to = avformat_new_stream(s->out, NULL);
    if (!s->to)
        return AVERROR(ENOMEM);
    s->to->time_base = s->copies ? s->from->time_base : s->encoder->time_base;
    const int error = s->copies ? avcodec_parameters_copy(s->to->codecpar, s->from->codecpar)
                                : avcodec_parameters_from_context(s->to->codecpar, s->encoder);
    if (s->copies)
        s->to->codecpar->codec_tag = 0; /* the old container's */
    if (is_matroska(s->out)) {          /* stamps below zero stay there: what the decoder drops */
        s->out->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
        /* but Opus's delay is written, to be taken from its stamps by readers */
        s->delayed = s->to->codecpar->codec_id == AV_CODEC_ID_OPUS;
    }
    return error;
}

enum vmt_status media_sound_open(vmt_ctx *ctx, media_sound **sound, AVFormatContext *out,
                                 const media_write_options *options, double duration, bool lossless)
{
    media_sound *s = calloc(1, sizeof *s);
    char text[AV_ERROR_MAX_STRING_SIZE];

    *sound = NULL;
    if (!s)
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", options->sound);
    s->out = out;
    s->start = options->sound_start;
    s->duration = duration;
    int error = prepare(s, options->sound, lossless);
    if (error >= 0) {
        *sound = s;
        error = add_stream(s);
        return error < 0 ? media_av_fail(ctx, options->sound, "taking its sound along", error)
                         : VMT_OK;
    }
    media_sound_close(s);
    if (error == AVERROR_STREAM_NOT_FOUND)
        return VMT_OK;
    av_strerror(error, text, sizeof text);
    vmt_log(ctx, VMT_LOG_WARNING, "%s: its sound is left out: %s", options->sound, text);
    return VMT_OK;
}

/* ---- packets out */

static int send_packet(media_sound *s, AVRational unit)
{
    s->packet->stream_index = s->to->index;
    s->packet->pos = -1;
    av_packet_rescale_ts(s->packet, unit, s->to->time_base);
    if (s->delayed) {
        const AVCodecParameters *par = s->to->codecpar;
        const int64_t delay =
            av_rescale_q(par->initial_padding, (AVRational){1, par->sample_rate}, s->to->time_base);
        s->packet->pts += delay;
        s->packet->dts += delay;
    }
    return av_interleaved_write_frame(s->out, s->packet);
}

static int drain(media_sound *s)
{
    int error;

    while ((error = avcodec_receive_packet(s->encoder, s->packet)) >= 0) {
        error = send_packet(s, s->encoder->time_base);
        if (error < 0)
            return error;
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : error;
}

static int encode(media_sound *s, int count)
{
    AVFrame *f = s->frame;

    av_frame_unref(f);
    f->nb_samples = count;
    f->format = s->encoder->sample_fmt;
    f->sample_rate = s->encoder->sample_rate;
    int error = av_channel_layout_copy(&f->ch_layout, &s->encoder->ch_layout);
    if (error >= 0)
        error = av_frame_get_buffer(f, 0);
    if (error < 0)
        return error;
    if (av_audio_fifo_read(s->fifo, (void **)f->data, count) < count)
        return AVERROR_BUG;
    f->pts = s->first + s->sent;
    s->sent += count;
    error = avcodec_send_frame(s->encoder, f);
    return error < 0 ? error : drain(s);
}

static int encode_whole_frames(media_sound *s)
{
    const int size = s->encoder->frame_size > 0 ? s->encoder->frame_size : FREE_FRAME;
    int error = 0;

    while (error >= 0 && av_audio_fifo_size(s->fifo) >= size)
        error = encode(s, size);
    return error;
}

/* Through the resampler into the fifo; `data` NULL: what the resampler still holds. */
static int convert(media_sound *s, uint8_t **data, int count)
{
    uint8_t **out = NULL;
    const int room = swr_get_out_samples(s->resampler, count);
    int error = room <= 0 ? room
                          : av_samples_alloc_array_and_samples(&out, NULL,
                                                               s->encoder->ch_layout.nb_channels,
                                                               room, s->encoder->sample_fmt, 0);

    if (error >= 0 && out) {
        error = swr_convert(s->resampler, out, room, (const uint8_t **)(void *)data, count);
        if (error > 0)
            error = av_audio_fifo_write(s->fifo, (void **)out, error);
        av_freep(&out[0]);
    }
    av_freep(&out);
    return error < 0 ? error : encode_whole_frames(s);
}

static int put_silence(media_sound *s, int64_t count)
{
    const AVCodecContext *d = s->decoder;
    uint8_t **zeros = NULL;
    const int part = d->sample_rate;
    int error = av_samples_alloc_array_and_samples(&zeros, NULL, d->ch_layout.nb_channels, part,
                                                   d->sample_fmt, 0);

    if (error < 0)
        return error;
    av_samples_set_silence(zeros, 0, part, d->ch_layout.nb_channels, d->sample_fmt);
    for (; count > 0 && error >= 0; count -= part)
        error = convert(s, zeros, (int)(count < part ? count : part));
    av_freep(&zeros[0]);
    av_freep(&zeros);
    return error;
}

/* ---- samples in */

/* The part of a decoded frame that lies in the clip's time. */
static int take_frame(media_sound *s, const AVFrame *f)
{
    const int rate = s->decoder->sample_rate, channels = s->decoder->ch_layout.nb_channels;
    const double time = (double)f->best_effort_timestamp * av_q2d(s->from->time_base) - s->start;
    const bool planar = av_sample_fmt_is_planar(s->decoder->sample_fmt);
    const int64_t step = av_get_bytes_per_sample(s->decoder->sample_fmt) * (planar ? 1 : channels);
    uint8_t *data[AV_NUM_DATA_POINTERS] = {NULL};
    int64_t at = f->best_effort_timestamp == AV_NOPTS_VALUE ? s->next : llrint(time * rate);
    int error = 0;

    if (f->format != s->decoder->sample_fmt || f->ch_layout.nb_channels != channels ||
        f->sample_rate != rate)
        return 0; /* changes on its way: silence */
    if (s->begun && llabs(at - s->next) < hole * rate)
        at = s->next; /* stamps are coarser than samples */
    if (!s->begun && at + f->nb_samples > 0) {
        s->begun = true;
        s->next = at > 0 ? at : 0;
        s->first = av_rescale(s->next, s->encoder->sample_rate, rate);
    }
    if (s->begun && at > s->next) {
        const int64_t end = at < s->wanted ? at : s->wanted;
        if (end > s->next)
            error = put_silence(s, end - s->next);
        s->next = end;
    }
    const int64_t skip = at < s->next ? s->next - at : 0;
    int64_t count = f->nb_samples - skip;
    count = count < s->wanted - s->next ? count : s->wanted - s->next;
    if (!s->begun || error < 0 || count <= 0)
        return error;
    for (int i = 0; i < (planar ? channels : 1); i++)
        data[i] = f->extended_data[i] + skip * step;
    s->next += count;
    return convert(s, data, (int)count);
}

static int decode_next(media_sound *s)
{
    int error = av_read_frame(s->in, s->packet);
    const bool at_end = error < 0;

    if (!at_end && s->packet->stream_index != s->from->index) {
        av_packet_unref(s->packet);
        return 0;
    }
    /* what cannot be decoded leaves a gap, which becomes silence */
    (void)avcodec_send_packet(s->decoder, at_end ? NULL : s->packet);
    av_packet_unref(s->packet);
    AVFrame *decoded = av_frame_alloc();
    error = decoded ? 0 : AVERROR(ENOMEM);
    while (error >= 0 && avcodec_receive_frame(s->decoder, decoded) >= 0)
        error = take_frame(s, decoded);
    av_frame_free(&decoded);
    s->ended = at_end || s->next >= s->wanted;
    if (error >= 0 && s->ended && s->begun) {
        error = convert(s, NULL, 0);
        if (error >= 0 && av_audio_fifo_size(s->fifo) > 0)
            error = encode(s, av_audio_fifo_size(s->fifo));
        if (error >= 0)
            error = avcodec_send_frame(s->encoder, NULL);
        if (error >= 0)
            error = drain(s);
    }
    return error;
}

/* The last packet is the one that is nearest to the clip's end. */
static int copy_next(media_sound *s)
{
    const AVRational unit = s->from->time_base;
    const int error = s->holds ? 0 : av_read_frame(s->in, s->packet);
    AVPacket *p = s->packet;

    s->holds = false;
    s->ended = error < 0;
    if (error < 0)
        return 0;
    if (p->stream_index == s->from->index) {
        p->pts -= p->pts != AV_NOPTS_VALUE ? s->offset : 0;
        p->dts -= p->dts != AV_NOPTS_VALUE ? s->offset : 0;
        const int64_t at = p->dts != AV_NOPTS_VALUE ? p->dts : p->pts;
        s->next = at + p->duration;
        s->ended = (double)(2 * at + p->duration) / 2 * av_q2d(unit) >= s->duration;
        if (!s->ended)
            return send_packet(s, unit);
    }
    av_packet_unref(p);
    return 0;
}

/* Seconds of the clip that have their sound. */
static double written(const media_sound *s)
{
    return (double)s->next *
           (s->copies ? av_q2d(s->from->time_base) : 1.0 / s->decoder->sample_rate);
}

enum vmt_status media_sound_write(vmt_ctx *ctx, media_sound *s, const char *path, double until)
{
    while (s && !s->ended && written(s) < until) {
        const int error = s->copies ? copy_next(s) : decode_next(s);
        if (error < 0)
            return media_av_fail(ctx, path, "writing its sound", error);
    }
    return VMT_OK;
}
