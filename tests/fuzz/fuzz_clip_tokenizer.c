/* SPDX-License-Identifier: MIT
 *
 * CLIP's tokenizer tables: tokenizer.json, or vocab.json with merges.txt behind its first NUL; what
 * is accepted must cut any text into few enough known tokens.
 */
#include "input.h"

#include "clip_model/clip_tokenizer.h"

#include <string.h>

enum { MOST = 77 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const uint8_t *nul = length ? memchr(bytes, 0, length) : NULL;
    const size_t json = nul ? (size_t)(nul - bytes) : length;
    vmt_clip_tokenizer *tokenizer;
    int32_t ids[MOST];
    int64_t count;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_clip_tokenizer_parse(&ctx, &tokenizer, bytes, json, nul ? nul + 1 : NULL,
                                 nul ? length - json - 1 : 0, "input") != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    if (vmt_clip_tokenizer_encode(&ctx, tokenizer, ids, &count, MOST,
                                  "it's the 1st caf\xc3\xa9, don't you think?") != VMT_OK ||
        count < 2 || count > MOST)
        abort();
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0)
            abort();
    vmt_clip_tokenizer_close(tokenizer);
    return 0;
}
