/* SPDX-License-Identifier: MIT
 *
 * Cleaning of prompts: Unicode, HTML entities, white space.
 */
#include "input.h"

#include "text/clean.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *cleaned = NULL, *again = NULL;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_text_clean(&ctx, &cleaned, (const char *)bytes, length) != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    /* What comes out is UTF-8: it can go in again (unless it grew beyond the limit). */
    if (strlen(cleaned) <= VMT_PROMPT_BYTES &&
        vmt_text_clean(&ctx, &again, cleaned, strlen(cleaned)) != VMT_OK)
        abort();
    vmt_free(again);
    vmt_free(cleaned);
    return 0;
}
