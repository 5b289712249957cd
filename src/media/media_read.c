/* SPDX-License-Identifier: MIT
 *
 * Source to clip: which frames, at which size.
 */
#include "media/media_path.h"
#include "media/resize.h"
#include "media/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    media_source *source;
    media_read_options want;
    vmt_clip *clip;      /* filled frame by frame; width and height 0 before the first */
    int64_t room;        /* frames that clip->pixels and times can hold */
    double *times;       /* of the frames in the clip */
    double time;         /* of the current frame */
    uint8_t *rgb;        /* the current frame at its own size */
    size_t rgb_bytes;    /* of it */
    uint8_t *held;       /* resampling: the frame before, already fitted */
    double held_time;    /* of it */
    bool holds;          /* whether there is one */
    int64_t index;       /* frames of the source seen */
    int64_t since_start; /* of these, from the first wanted one on */
    double first_time;   /* time of the first frame to take */
    double end_time;     /* of the last frame seen */
    bool started;        /* first_time is known */
} reader;

static enum vmt_status check_options(vmt_ctx *ctx, const media_read_options *o)
{
    if (o->start_frame < 0 || !(o->start_seconds >= 0 && o->start_seconds < 1e9))
        return vmt_fail(ctx, VMT_E_ARG, "--start: a frame number or seconds, not negative");
    if (o->frames < 0 || o->frames > MEDIA_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_ARG, "--frames %" PRId64 ": 1 to %d", o->frames,
                        MEDIA_MAX_FRAMES);
    if (o->stride < 0 || o->stride > MEDIA_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_ARG, "--stride %" PRId64 ": 1 to %d", o->stride,
                        MEDIA_MAX_FRAMES);
    if (!(o->fps >= 0 && o->fps <= 1000))
        return vmt_fail(ctx, VMT_E_ARG, "--fps %g: above 0, at most 1000", o->fps);
    if (o->width < 0 || o->height < 0 || !o->width != !o->height || o->width > MEDIA_MAX_SIDE ||
        o->height > MEDIA_MAX_SIDE)
        return vmt_fail(ctx, VMT_E_ARG, "--size %" PRId64 "x%" PRId64 ": each side 1 to %d",
                        o->width, o->height, MEDIA_MAX_SIDE);
    return VMT_OK;
}

/* ---- frames of the clip */

static size_t frame_bytes(const vmt_clip *clip)
{
    return (size_t)(clip->width * clip->height * 3); /* sides are checked: fits 2^28 */
}

static enum vmt_status make_room(vmt_ctx *ctx, reader *r)
{
    vmt_clip *clip = r->clip;
    const int64_t most = MEDIA_MAX_CLIP_BYTES / (int64_t)frame_bytes(clip);

    if (clip->frames < r->room)
        return VMT_OK;
    if (clip->frames >= most || clip->frames >= MEDIA_MAX_FRAMES)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "%s: more than %" PRId64 " frames of %" PRId64 "x%" PRId64
                        " pixels: take fewer (--frames) or smaller ones (--size)",
                        r->source->path, clip->frames, clip->width, clip->height);
    int64_t room = r->want.frames ? r->want.frames : 2 * r->room + 1;
    room = room > most ? most : room;
    void *pixels = realloc(clip->pixels, frame_bytes(clip) * (size_t)room);
    if (pixels)
        clip->pixels = pixels;
    void *times = realloc(r->times, sizeof *r->times * (size_t)room);
    if (times)
        r->times = times;
    if (!pixels || !times)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "%s: no memory for %" PRId64 " frames of %" PRId64 "x%" PRId64
                        " pixels: take fewer (--frames) or smaller ones (--size)",
                        r->source->path, room, clip->width, clip->height);
    r->room = room;
    return VMT_OK;
}

static bool is_full(const reader *r)
{
    const int64_t most = r->want.frames ? r->want.frames : r->want.most_frames;
    return most > 0 && r->clip->frames >= most;
}

static void limit_size(vmt_clip *clip, const media_read_options *want)
{
    const bool turned = (clip->width < clip->height) != (want->most_width < want->most_height);

    if (!want->most_width || clip->width * clip->height <= want->most_width * want->most_height)
        return;
    clip->width = turned ? want->most_height : want->most_width;
    clip->height = turned ? want->most_width : want->most_height;
}

/* The first frame decides the size when none was asked for. */
static void choose_size(reader *r)
{
    const media_source *s = r->source;
    const double aspect = s->pixel_aspect;

    if (r->clip->width)
        return;
    r->clip->width = r->want.width;
    r->clip->height = r->want.height;
    if (r->want.width)
        return;
    r->clip->width = s->width;
    r->clip->height = s->height;
    if (aspect > 1)
        r->clip->width = (int64_t)((double)s->width * aspect + 0.5);
    else if (aspect < 1)
        r->clip->height = (int64_t)((double)s->height / aspect + 0.5);
    limit_size(r->clip, &r->want);
}

/* The source's current frame at the clip's size. */
static enum vmt_status fetch(vmt_ctx *ctx, reader *r, uint8_t *to)
{
    media_source *s = r->source;
    const size_t bytes = (size_t)(s->width * s->height * 3);

    if (s->width == r->clip->width && s->height == r->clip->height)
        return s->rgb(ctx, s, to);
    if (bytes > r->rgb_bytes) {
        free(r->rgb);
        r->rgb = malloc(bytes);
        r->rgb_bytes = r->rgb ? bytes : 0;
        if (!r->rgb)
            return vmt_fail(ctx, VMT_E_MEMORY, "%s: no memory for a frame of %zu bytes", s->path,
                            bytes);
    }
    VMT_TRY(s->rgb(ctx, s, r->rgb));
    const media_view view = {r->rgb, s->width, s->height, 3 * s->width};
    return media_fit_frame(ctx, to, r->clip->width, r->clip->height, r->want.fit, &view,
                           s->pixel_aspect);
}

static enum vmt_status append(vmt_ctx *ctx, reader *r, const uint8_t *fitted)
{
    VMT_TRY(make_room(ctx, r));
    uint8_t *to = r->clip->pixels + (size_t)r->clip->frames * frame_bytes(r->clip);
    if (fitted)
        memcpy(to, fitted, frame_bytes(r->clip));
    else
        VMT_TRY(fetch(ctx, r, to));
    r->times[r->clip->frames++] = r->time;
    return VMT_OK;
}

/* ---- which frames */

/* True from the first wanted frame on. */
static bool has_started(reader *r)
{
    const double half = 0.5 / r->source->fps;

    if (r->started)
        return true;
    r->started = r->want.start_seconds > 0 ? r->time >= r->want.start_seconds - half
                                           : r->index >= r->want.start_frame;
    r->first_time = r->time;
    return r->started;
}

static double wanted_time(const reader *r)
{
    return r->first_time + (double)r->clip->frames / r->want.fps;
}

/* The held frame is the nearest for all wanted times up to the middle between it and the next. */
static enum vmt_status emit_held(vmt_ctx *ctx, reader *r, double until)
{
    while (r->holds && !is_full(r) && wanted_time(r) <= until)
        VMT_TRY(append(ctx, r, r->held));
    return VMT_OK;
}

static enum vmt_status take_by_time(vmt_ctx *ctx, reader *r)
{
    void *memory;

    if (!r->held) {
        VMT_TRY(vmt_alloc(ctx, &memory, frame_bytes(r->clip), 1));
        r->held = memory;
    }
    VMT_TRY(emit_held(ctx, r, (r->held_time + r->time) / 2));
    r->holds = true;
    r->held_time = r->time;
    return fetch(ctx, r, r->held);
}

static enum vmt_status take(vmt_ctx *ctx, reader *r)
{
    if (!has_started(r))
        return VMT_OK;
    r->end_time = r->time + 1 / r->source->fps; /* the last frame is shown for one more period */
    if (r->since_start++ % r->want.stride)
        return VMT_OK;
    return r->want.fps > 0 ? take_by_time(ctx, r) : append(ctx, r, NULL);
}

/* Its times were wrong up to here. */
static bool is_misread(const media_source *s)
{
    return s->decode_times && !s->by_order;
}

static enum vmt_status read_frames(vmt_ctx *ctx, reader *r)
{
    bool more = true;

    for (; !is_full(r); r->index++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(r->source->next(ctx, r->source, &more, &r->time));
        if (!more || is_misread(r->source))
            break;
        choose_size(r);
        VMT_TRY(media_check_size(ctx, r->source->path, r->clip->width, r->clip->height));
        VMT_TRY(take(ctx, r));
    }
    /* a wanted time at the very end is the next frame's */
    return emit_held(ctx, r, r->end_time - 1e-6 / r->source->fps);
}

/* ---- a constant rate */

/* The rate of `gaps` gaps in `span` seconds; a usual one when it fits to a millisecond, which is as
 * fine as some containers count. */
static double rate_of(int64_t gaps, double span)
{
    const double rate = (double)gaps / span;
    const double usual[] = {round(rate), round(rate * 1.001) / 1.001};

    for (int i = 0; i < 2; i++)
        if (usual[i] > 0 && fabs((double)gaps / usual[i] - span) <= 1e-3)
            return usual[i];
    return rate;
}

/* 0 when the frames may stay as they came; else the constant rate to read them at: one lies more
 * than half a period from its place, which would change the motion's timing. */
static double needed_rate(reader *r)
{
    vmt_clip *clip = r->clip;
    const int64_t gaps = clip->frames - 1;
    const double span = gaps > 0 ? r->times[gaps] - r->times[0] : 0;
    const double period = span / (double)gaps;
    double farthest = 0;

    if (!(span > 0) || r->want.fps > 0)
        return 0;
    for (int64_t i = 1; i < gaps; i++)
        farthest = fmax(farthest, fabs(r->times[i] - r->times[0] - (double)i * period));
    const bool steady = farthest <= period * (0.5 + 1e-6);
    const double average = rate_of(gaps, span);
    if (steady && fabs(span - (double)gaps / clip->fps) > period / 2)
        clip->fps = average; /* steady, but not at the file's own rate */
    /* a file that lacks some of its frames keeps its rate */
    return steady ? 0 : clip->fps >= average && clip->fps <= 1.1 * average ? clip->fps : average;
}

/* ---- the whole */

static void report_damage(vmt_ctx *ctx, const media_source *s)
{
    if (s->skipped)
        vmt_log(ctx, VMT_LOG_WARNING,
                "%s: frames at its beginning that cannot be decoded are left out: %" PRId64,
                s->path, s->skipped);
    if (s->concealed)
        vmt_log(ctx, VMT_LOG_WARNING,
                "%s: damaged: frames lost or taken as the decoder mended them: %" PRId64, s->path,
                s->concealed);
}

static enum vmt_status check_count(vmt_ctx *ctx, const reader *r)
{
    const char *path = r->source->path;

    if (!r->index)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no frame in it: name a video with at least one",
                        path);
    if (!r->clip->frames)
        return vmt_fail(ctx, VMT_E_ARG,
                        "%s: --start lies behind its end: it has %" PRId64 " frames", path,
                        r->index);
    if (r->clip->frames < r->want.frames)
        return vmt_fail(ctx, VMT_E_ARG,
                        "%s: %" PRId64 " frames asked for, only %" PRId64
                        " there: ask for fewer with --frames, or lower --start or --stride",
                        path, r->want.frames, r->clip->frames);
    return VMT_OK;
}

/* Gives back what doubling took too much. */
static void shrink(vmt_clip *clip)
{
    void *pixels = realloc(clip->pixels, frame_bytes(clip) * (size_t)clip->frames);
    if (pixels)
        clip->pixels = pixels;
}

static enum vmt_status open_source(vmt_ctx *ctx, media_source *source, const char *path, double fps)
{
    if (!*path)
        return vmt_fail(ctx, VMT_E_ARG, "the name of the clip is empty");
    if (media_is_folder_name(path) || media_is_pattern(path))
        return media_open_pictures(ctx, source, path, fps);
    return media_open_file(ctx, source, path);
}

/* *again: has to be read once more, as `want` and *by_order then say. */
static enum vmt_status read_once(vmt_ctx *ctx, vmt_clip *clip, const char *path,
                                 media_read_options *want, bool *by_order, bool *again)
{
    media_source source = {.path = path, .pixel_aspect = 1};
    reader r = {.source = &source, .clip = clip, .want = *want};
    double rate = 0;

    VMT_TRY(open_source(ctx, &source, path, want->fps * (double)want->stride));
    source.conceal = want->damaged == MEDIA_DAMAGED_CONCEAL;
    source.by_order = *by_order;
    clip->fps = want->fps > 0 ? want->fps : source.fps / (double)want->stride;
    enum vmt_status status = read_frames(ctx, &r);
    const bool misread = status == VMT_OK && is_misread(&source);
    if (misread) {
        *by_order = true;
        vmt_log(ctx, VMT_LOG_INFO,
                "%s: its frames have the times of their decoding: shown in order, one for each",
                path);
    } else if (status == VMT_OK) {
        status = check_count(ctx, &r);
        rate = status == VMT_OK ? needed_rate(&r) : 0;
    }
    if (rate > 0) {
        vmt_log(ctx, VMT_LOG_INFO,
                "%s: variable frame rate, read at %.6g a second (--fps for another)", path, rate);
        want->fps = rate;
    }
    *again = misread || rate > 0;
    if (status == VMT_OK && !*again)
        report_damage(ctx, &source);
    if (want->start_time)
        *want->start_time = source.origin + r.first_time;
    source.close(&source);
    free(r.rgb);
    free(r.times);
    vmt_free(r.held);
    if (status == VMT_OK && !*again)
        shrink(clip);
    else
        vmt_clip_free(clip);
    return status;
}

enum vmt_status media_read(vmt_ctx *ctx, vmt_clip *clip, const char *path,
                           const media_read_options *options)
{
    media_read_options want = {0};
    bool by_order = false, again = true;

    *clip = (vmt_clip){0};
    if (options)
        want = *options;
    VMT_TRY(check_options(ctx, &want));
    if (!want.stride)
        want.stride = 1;
    while (again)
        VMT_TRY(read_once(ctx, clip, path, &want, &by_order, &again));
    return VMT_OK;
}
