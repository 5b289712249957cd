/* SPDX-License-Identifier: MIT
 *
 * Y4M and PPM, the formats of clips that we parse ourselves: as they are, and through resampling
 * and resizing.
 */
#include "input.h"

#include "media/media.h"

#include <string.h>

static void read_as(const char *path, const media_read_options *options)
{
    vmt_clip clip;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (media_read(&ctx, &clip, path, options) != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return;
    }
    if (clip.frames < 1 || clip.width < 1 || clip.height < 1 || !(clip.fps > 0))
        abort();
    /* the last byte is there, for AddressSanitizer */
    const volatile uint8_t *last =
        clip.pixels + (size_t)clip.frames * (size_t)(clip.width * clip.height * 3) - 1;
    (void)*last;
    vmt_clip_free(&clip);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const media_read_options small = {
        .start_frame = 1, .fps = 7, .width = 5, .height = 3, .fit = MEDIA_FIT_PAD};
    const bool ours = (length >= 10 && !memcmp(bytes, "YUV4MPEG2 ", 10)) ||
                      (length >= 2 && !memcmp(bytes, "P6", 2));

    if (!ours) /* everything else is libav's */
        return 0;
    const char *path = fuzz_file(bytes, length);
    read_as(path, NULL);
    read_as(path, &small);
    return 0;
}
