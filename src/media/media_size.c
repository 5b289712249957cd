/* SPDX-License-Identifier: MIT
 *
 * The limit on what is read; a file of its own because the libav module needs it too.
 */
#include "media/source.h"

#include <inttypes.h>

enum vmt_status media_check_size(vmt_ctx *ctx, const char *path, int64_t width, int64_t height)
{
    if (width < 1 || height < 1)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: frames of %" PRId64 "x%" PRId64 " pixels, expected at least 1x1", path,
                        width, height);
    if (width > MEDIA_MAX_SIDE || height > MEDIA_MAX_SIDE)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: frames of %" PRId64 "x%" PRId64
                        " pixels, at most %d in each direction: scale it down first",
                        path, width, height, MEDIA_MAX_SIDE);
    return VMT_OK;
}
