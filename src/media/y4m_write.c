/* SPDX-License-Identifier: MIT
 *
 * YUV4MPEG2, 4:4:4, limited range.  The format has no tag for the matrix, and readers guess it by
 * size: so we use the one they guess, and say it in a tag of our own (XCOLORMATRIX).
 */
#include "base/atomic_file.h"
#include "media/colour.h"
#include "media/media_path.h"
#include "media/source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A file, or standard output. */
typedef struct sink {
    vmt_atomic_file file;
    bool standard;
} sink;

static enum vmt_status put(vmt_ctx *ctx, sink *s, const void *bytes, size_t count)
{
    if (!s->standard)
        return vmt_atomic_file_write(ctx, &s->file, bytes, count);
    if (fwrite(bytes, 1, count, stdout) < count)
        return vmt_fail(ctx, VMT_E_IO, "standard output: %s", strerror(errno));
    return VMT_OK;
}

static enum vmt_status put_frames(vmt_ctx *ctx, sink *s, const vmt_clip *clip, uint8_t *frame)
{
    const int64_t area = clip->width * clip->height;
    const bool hd = media_guess_matrix(clip->width, clip->height) == MEDIA_BT709;
    media_planes planes = {.y = frame,
                           .cb = frame + area,
                           .cr = frame + 2 * area,
                           .stride_y = clip->width,
                           .stride_c = clip->width,
                           .width = clip->width,
                           .height = clip->height,
                           .matrix = hd ? MEDIA_BT709 : MEDIA_BT601};
    char line[256];
    int64_t over, under;

    media_rate(clip->fps, &over, &under);
    snprintf(line, sizeof line,
             "YUV4MPEG2 W%" PRId64 " H%" PRId64 " F%" PRId64 ":%" PRId64
             " Ip A1:1 C444 XCOLORRANGE=LIMITED XCOLORMATRIX=%s\n",
             clip->width, clip->height, over, under, hd ? "BT709" : "BT601");
    VMT_TRY(put(ctx, s, line, strlen(line)));
    for (int64_t t = 0; t < clip->frames; t++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        media_planes_from_rgb(&planes, clip->pixels + t * 3 * area);
        VMT_TRY(put(ctx, s, "FRAME\n", 6));
        VMT_TRY(put(ctx, s, frame, (size_t)(3 * area)));
    }
    return VMT_OK;
}

static enum vmt_status finish(vmt_ctx *ctx, sink *s)
{
    if (!s->standard)
        return vmt_atomic_file_commit(ctx, &s->file);
    if (fflush(stdout))
        return vmt_fail(ctx, VMT_E_IO, "standard output: %s", strerror(errno));
    return VMT_OK;
}

enum vmt_status media_write_y4m(vmt_ctx *ctx, const vmt_clip *clip, const char *path)
{
    sink s = {.standard = media_is_standard(path)};
    void *frame;

    VMT_TRY(vmt_alloc(ctx, &frame, (size_t)(clip->width * clip->height), 3));
    enum vmt_status status = s.standard ? VMT_OK : vmt_atomic_file_open(ctx, &s.file, path);
    if (status == VMT_OK) {
        status = put_frames(ctx, &s, clip, frame);
        if (status == VMT_OK)
            status = finish(ctx, &s);
        else if (!s.standard)
            vmt_atomic_file_abort(&s.file);
    }
    vmt_free(frame);
    return status;
}
