/* SPDX-License-Identifier: MIT
 *
 * Videos by way of libav: our reader around it, with libav's own demuxers and decoders as they
 * come.
 */
#include "input.h"

#include "media/media.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const media_read_options options = {
        .most_frames = 4, .width = 8, .height = 6, .fit = MEDIA_FIT_CROP};
    char *text = NULL, *comment = NULL;
    vmt_clip clip;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (length < 16 || !media_has_libav())
        return 0;
    const char *path = fuzz_file(bytes, length);
    if (media_read(&ctx, &clip, path, &options) == VMT_OK) {
        if (clip.frames < 1 || clip.width != 8 || clip.height != 6 || !(clip.fps > 0))
            abort();
        vmt_clip_free(&clip);
    } else {
        FUZZ_REFUSED(ctx);
    }
    ctx.message[0] = '\0';
    if (media_describe(&ctx, path, &text, &comment) != VMT_OK)
        FUZZ_REFUSED(ctx);
    vmt_text_free(text);
    vmt_text_free(comment);
    return 0;
}
