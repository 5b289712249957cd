/* SPDX-License-Identifier: MIT
 *
 * Clips in and out of files.  A library of its own: libfastvmt knows no video format, and what
 * needs libav is a module loaded at run time, so that a machine without libav still reads and
 * writes Y4M and PPM.
 *
 * Read: whatever ffmpeg reads, Y4M (own reader, also from "-"), folders and patterns of pictures.
 * Written: H.264 in .mp4, .mov or .mkv; FFV1 (lossless) and VP9 in .mkv, VP9 in .webm; GIF; Y4M
 * (.y4m, "-"); folders and patterns of PNG, JPEG or PPM.
 */
#ifndef VMT_MEDIA_H
#define VMT_MEDIA_H

#include "fastvmt/fastvmt.h"

#include <stdbool.h>

enum {
    MEDIA_MAX_SIDE = 8192,    /* pixels in each direction of what is read */
    MEDIA_DEFAULT_CRF = -1,   /* the codec's own: visually lossless */
    MEDIA_FOLDER_FPS = 16,    /* of pictures, which carry no rate */
    MEDIA_MAX_FRAMES = 100000 /* per clip */
};

/* Bytes of RGB in one clip: 16 GiB. */
#define MEDIA_MAX_CLIP_BYTES (INT64_C(1) << 34)

/* How a frame of another aspect ratio becomes the size asked for. */
enum media_fit {
    MEDIA_FIT_CROP = 0, /* the centre of that aspect ratio (as FastVMT does) */
    MEDIA_FIT_PAD,      /* all of it, black bars */
    MEDIA_FIT_STRETCH   /* all of it, distorted */
};

/* What is done about damage behind the first whole frame; what lies before it is skipped. */
enum media_damaged {
    MEDIA_DAMAGED_ERROR = 0, /* the clip is refused */
    MEDIA_DAMAGED_CONCEAL /* frames are taken as the decoder mends them, from the very first on */
};

typedef struct media_read_options {
    int64_t start_frame;   /* first frame taken, from 0; of the source, before resampling */
    double start_seconds;  /* the same as a time; used when > 0 */
    int64_t frames;        /* 0: all there are */
    int64_t stride;        /* every stride-th frame (0: 1), shown that much longer: speed stays */
    double fps;            /* resampled to this rate by nearest timestamp; speed stays; 0: as it is.
                              Pictures are taken to be stride times as many a second */
    int64_t width, height; /* 0: as it is */
    enum media_fit fit;
    enum media_damaged damaged;
    /* limits on what is left as it is: a longer clip ends there, frames of more pixels get this
     * size (sides exchanged when the clip stands upright and this lies, or the reverse); 0: none */
    int64_t most_frames, most_width, most_height;
    double *start_time; /* if not NULL: filled with the first frame's time by the file's clock */
} media_read_options;

/**
 * Reads a clip.  `options` may be NULL.  Colours become full-range RGB by the stream's matrix and
 * range (untagged: BT.709 from 1280x577 pixels on, else BT.601; limited); rotation and pixel aspect
 * of the stream are applied; alpha is dropped; the transfer curve is left alone.  The clip has a
 * constant rate: without `fps` and when a frame lies more than half a period from its place, the
 * frames are resampled to their own average rate.
 * Errors: VMT_E_IO, VMT_E_FORMAT (no video, no frame, damaged, too large), VMT_E_ARG (fewer frames
 * than asked for), VMT_E_MEMORY, VMT_E_UNSUPPORTED (needs libav), VMT_E_CANCELLED.
 */
VMT_MUST_CHECK enum vmt_status media_read(vmt_ctx *ctx, vmt_clip *clip, const char *path,
                                          const media_read_options *options);

typedef struct media_write_options {
    const char *codec;   /* "h264", "ffv1", "vp9"; NULL: the first of these that the name's ending
                            can hold */
    int crf;             /* quality, less is better: H.264 0 to 51, VP9 0 to 63;
                            MEDIA_DEFAULT_CRF: 18 */
    const char *comment; /* JSON for the container's comment tag (video files, GIF), or NULL */
    const char *sound;   /* file whose sound goes along (.mp4, .mov, .mkv, .webm; dropped elsewhere,
                            and when it has none), or NULL */
    double sound_start;  /* time of the clip's first frame in it (media_read_options.start_time) */
} media_write_options;

/**
 * Writes a clip; the name's ending tells the format, a folder or "NAME/" means NAME/00000.png, ….
 * H.264 is 4:2:0 for even sizes and 4:4:4 for odd ones (4:2:0 cannot have them), VP9 4:2:0, both
 * BT.709 limited; FFV1 is RGB, bit for bit the clip.  Byte for byte the same for the same clip.
 * `options` may be NULL.  The file appears whole or not at all; in a folder, older frames of the
 * same pattern are replaced, those beyond the last removed.
 * Errors: VMT_E_ARG (unknown ending; codec or crf that it has not), VMT_E_IO, VMT_E_UNSUPPORTED,
 * VMT_E_MEMORY.
 */
VMT_MUST_CHECK enum vmt_status media_write(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                           const media_write_options *options);

/** Fails as media_write would for this name and these options, before the work is done: unknown
 * ending, missing folder, missing libav or encoder. */
VMT_MUST_CHECK enum vmt_status media_check_output(vmt_ctx *ctx, const char *path,
                                                  const media_write_options *options);

/**
 * One picture from a clip's frames, side by side in as few rows as 1920 pixels of width allow, each
 * enlarged by a whole factor to 96 pixels of width at least.
 */
VMT_MUST_CHECK enum vmt_status media_strip(vmt_ctx *ctx, vmt_clip *picture, const vmt_clip *clip);

/** Writes the first frame as a picture (.png or .ppm), whole or not at all; an older one of that
 * name is replaced.  Errors: VMT_E_ARG (unknown ending), VMT_E_IO, VMT_E_UNSUPPORTED, VMT_E_MEMORY.
 */
VMT_MUST_CHECK enum vmt_status media_write_picture(vmt_ctx *ctx, const vmt_clip *clip,
                                                   const char *path);

/** Fails as media_write_picture would for this name. */
VMT_MUST_CHECK enum vmt_status media_check_picture(vmt_ctx *ctx, const char *path);

/** True when media_write to this path would replace something. */
bool media_would_replace(const char *path);

/**
 * Side by side: reference with its motion field | result, enlarged by a whole factor when small.
 *   result  of the reference's size, the shorter one decides the length; NULL: the field in
 * colours, with the wheel that explains them, in its place field   NULL or without flow: no arrows
 */
VMT_MUST_CHECK enum vmt_status media_compare(vmt_ctx *ctx, vmt_clip *picture,
                                             const vmt_clip *reference, const vmt_clip *result,
                                             const vmt_motion_field *field);

/**
 * Lines about a video's streams, for `info`; allocated, freed with vmt_text_free.
 * *comment receives the container's comment tag, or NULL; freed likewise.
 */
VMT_MUST_CHECK enum vmt_status media_describe(vmt_ctx *ctx, const char *path, char **text,
                                              char **comment);

/** True when libav is here: the module was built and its libraries are installed. */
bool media_has_libav(void);

#endif
