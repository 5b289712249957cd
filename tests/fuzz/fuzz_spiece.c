/* SPDX-License-Identifier: MIT
 *
 * spiece.model: our check, then libsentencepiece on what it let through.
 */
#include "input.h"

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char text[] =
        "a red car, \xe4\xb8\x80\xe5\x8f\xaa\xe7\x8b\x97 on SNOW \xf0\x9f\x90\x9d";
    vmt_tokenizer *tokenizer = NULL;
    int32_t ids[32];
    int64_t count;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_tokenizer_parse(&ctx, &tokenizer, bytes, length, "input") != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    if (vmt_tokenizer_encode(&ctx, tokenizer, ids, &count, text, 32, 1 << 20) != VMT_OK)
        FUZZ_REFUSED(ctx);
    vmt_tokenizer_close(tokenizer);
    return 0;
}
