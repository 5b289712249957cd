/* SPDX-License-Identifier: MIT
 *
 * What `info` says of a motion, latent, state or weight file: its text must be fit for a terminal.
 */
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = NULL;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_describe(&ctx, fuzz_file(bytes, length), &text) != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    for (const char *at = text; *at; at++)
        if (*at != '\n' && ((unsigned char)*at < 0x20 || *at == 0x7f))
            abort();
    vmt_text_free(text);
    return 0;
}
