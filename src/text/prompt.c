/* SPDX-License-Identifier: MIT */
#include "text/prompt.h"

#include "text/clean.h"
#include "text/tokenizer.h"

#include <string.h>

static enum vmt_status tokenize(vmt_ctx *ctx, const vmt_text_config *config, const char *tokenizer,
                                const char *prompt, int32_t *ids, int64_t *count)
{
    vmt_tokenizer *pieces = NULL;
    char *clean = NULL;

    if (!tokenizer)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "no tokenizer: name its file (spiece.model) with --tokenizer");
    VMT_TRY(vmt_prefix(ctx, vmt_text_clean(ctx, &clean, prompt, strlen(prompt)), "prompt"));
    enum vmt_status status = vmt_tokenizer_open(ctx, &pieces, tokenizer);
    if (status == VMT_OK)
        status =
            vmt_tokenizer_encode(ctx, pieces, ids, count, clean, config->text_len, config->vocab);
    vmt_tokenizer_close(pieces);
    vmt_free(clean);
    return status;
}

enum vmt_status vmt_prompt_encode(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_text_config *config,
                                  const char *tokenizer, const char *prompt, float **rows,
                                  int64_t *count)
{
    int32_t *ids;

    *rows = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)&ids, (size_t)config->text_len, sizeof *ids));
    enum vmt_status status = tokenize(ctx, config, tokenizer, prompt, ids, count);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)rows, (size_t)(*count * config->dim), sizeof **rows);
    if (status == VMT_OK)
        status = vmt_umt5_encode(ctx, umt5, *rows, ids, *count);
    if (status != VMT_OK) {
        vmt_free(*rows);
        *rows = NULL;
    }
    vmt_free(ids);
    return status;
}
