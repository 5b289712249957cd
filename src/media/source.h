/* SPDX-License-Identifier: MIT
 *
 * Where frames come from, one after another; and what the libav module offers.
 */
#ifndef VMT_MEDIA_SOURCE_H
#define VMT_MEDIA_SOURCE_H

#include "media/format.h"

#include <stdio.h>

typedef struct media_source {
    void *state;
    const char *path;           /* for messages; borrowed */
    double fps;                 /* > 0 */
    double pixel_aspect;        /* width of a pixel over its height, as shown */
    int64_t width, height;      /* of the current frame, as shown (rotation applied) */
    double origin;              /* of the first frame, by the file's clock; known from then on */
    bool conceal;               /* set by the reader: MEDIA_DAMAGED_CONCEAL */
    int64_t skipped, concealed; /* damaged frames so far */
    bool decode_times;          /* found: the stamps are the times of decoding, not of showing */
    bool by_order; /* set by the reader, which knows: the k-th frame shown has the k-th stamp */

    /* Goes to the next frame; *more false at the end.  *time: seconds since the first frame. */
    enum vmt_status (*next)(vmt_ctx *ctx, struct media_source *source, bool *more, double *time);
    /* The current frame as [height, width, 3]. */
    enum vmt_status (*rgb)(vmt_ctx *ctx, struct media_source *source, uint8_t *pixels);
    void (*close)(struct media_source *source);
} media_source;

/* Each opens a source; on failure nothing is left open. */
enum vmt_status media_open_y4m(vmt_ctx *ctx, media_source *source, const char *path, FILE *file);
enum vmt_status media_open_pictures(vmt_ctx *ctx, media_source *source, const char *path,
                                    double fps);
enum vmt_status media_open_ppm(vmt_ctx *ctx, media_source *source, const char *path, FILE *file);

/* A file of any kind but folders and patterns.  Looks at its first bytes. */
enum vmt_status media_open_file(vmt_ctx *ctx, media_source *source, const char *path);

/* Refuses sizes above MEDIA_MAX_SIDE. */
enum vmt_status media_check_size(vmt_ctx *ctx, const char *path, int64_t width, int64_t height);

/* The module; its one exported symbol is MEDIA_LIBAV_SYMBOL, of type media_libav_get *. */
typedef struct media_libav {
    enum vmt_status (*open)(vmt_ctx *ctx, media_source *source, const char *path);
    enum vmt_status (*write_video)(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                   const media_format *format, const media_write_options *options);
    /* One frame as PNG or JPEG; *bytes is allocated with malloc. */
    enum vmt_status (*encode_picture)(vmt_ctx *ctx, const uint8_t *pixels, int64_t width,
                                      int64_t height, bool jpeg, uint8_t **bytes, size_t *count);
    enum vmt_status (*describe)(vmt_ctx *ctx, const char *path, char **text, char **comment);
    bool (*has_encoder)(const char *name);
} media_libav;

typedef const media_libav *media_libav_get(const char *version);
#define MEDIA_LIBAV_SYMBOL "media_libav_table"
#define MEDIA_LIBAV_FILE "fastvmt_libav.so"

/* Errors: VMT_E_UNSUPPORTED: not built, or a library that it needs is not installed. */
enum vmt_status media_libav_load(vmt_ctx *ctx, const media_libav **libav, const char *path);

/* Writers of one format each. */
enum vmt_status media_write_y4m(vmt_ctx *ctx, const vmt_clip *clip, const char *path);
enum vmt_status media_write_gif(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                const char *comment);
enum vmt_status media_write_pictures(vmt_ctx *ctx, const vmt_clip *clip, const char *path);

#endif
