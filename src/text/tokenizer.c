/* SPDX-License-Identifier: MIT */
#include "text/tokenizer.h"

#include "base/mapped_file.h"
#include "text/sentencepiece_shim.h"
#include "text/spiece_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#ifdef FASTVMT_HAVE_SENTENCEPIECE

enum { LABEL_BYTES = 512 };

struct vmt_tokenizer {
    vmt_spiece *model;
    char label[LABEL_BYTES];
};

static enum vmt_status spiece_fail(vmt_ctx *ctx, const vmt_tokenizer *tokenizer, const char *what,
                                   const char *message)
{
    if (!message[0])
        return vmt_fail(ctx, VMT_E_MEMORY, "%s: sentencepiece is out of memory", tokenizer->label);
    return vmt_fail(ctx, VMT_E_FORMAT, "%s: sentencepiece cannot %s: %s", tokenizer->label, what,
                    message);
}

static enum vmt_status load(vmt_ctx *ctx, vmt_tokenizer *tokenizer, const void *model, size_t bytes)
{
    char message[VMT_SPIECE_MESSAGE_BYTES] = "";
    tokenizer->model = vmt_spiece_open(model, bytes, message);
    if (!tokenizer->model)
        return spiece_fail(ctx, tokenizer, "use this model", message);
    const int64_t eos = vmt_spiece_find(tokenizer->model, "</s>");
    if (eos != VMT_EOS_ID)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: </s> has id %" PRId64 ", UMT5 needs %d; name the spiece.model that "
                        "belongs to the text encoder",
                        tokenizer->label, eos, VMT_EOS_ID);
    return VMT_OK;
}

enum vmt_status vmt_tokenizer_parse(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const void *bytes,
                                    size_t length, const char *label)
{
    void *model, *memory;
    size_t model_bytes;
    *tokenizer = NULL;
    VMT_TRY(vmt_spiece_check(ctx, &model, &model_bytes, bytes, length, label));
    enum vmt_status status = vmt_alloc(ctx, &memory, 1, sizeof **tokenizer);
    if (status == VMT_OK) {
        *tokenizer = memory;
        snprintf((*tokenizer)->label, LABEL_BYTES, "%s", label);
        status = load(ctx, *tokenizer, model, model_bytes);
    }
    vmt_free(model);
    if (status != VMT_OK) {
        vmt_tokenizer_close(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

enum vmt_status vmt_tokenizer_open(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const char *path)
{
    vmt_mapped_file file;
    *tokenizer = NULL;
    VMT_TRY(vmt_mapped_file_open(ctx, &file, path));
    const enum vmt_status status =
        vmt_tokenizer_parse(ctx, tokenizer, file.bytes, file.length, path);
    vmt_mapped_file_close(&file);
    return status;
}

void vmt_tokenizer_close(vmt_tokenizer *tokenizer)
{
    if (tokenizer)
        vmt_spiece_close(tokenizer->model);
    vmt_free(tokenizer);
}

enum vmt_status vmt_tokenizer_encode(vmt_ctx *ctx, const vmt_tokenizer *tokenizer, int32_t *ids,
                                     int64_t *count, const char *text, int64_t text_len,
                                     int64_t vocab)
{
    char message[VMT_SPIECE_MESSAGE_BYTES] = "";
    size_t pieces;
    if (vmt_spiece_encode(tokenizer->model, text, strlen(text), ids, (size_t)(text_len - 1),
                          &pieces, message) != 0)
        return spiece_fail(ctx, tokenizer, "cut the prompt", message);
    if (pieces > (size_t)(text_len - 1)) {
        vmt_log(ctx, VMT_LOG_WARNING,
                "the prompt has %zu tokens, the model reads %" PRId64 ": its end is left out",
                pieces, text_len - 1);
        pieces = (size_t)(text_len - 1);
    }
    ids[pieces++] = VMT_EOS_ID;
    *count = (int64_t)pieces;
    for (size_t i = 0; i < pieces; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return vmt_fail(ctx, VMT_E_MODEL,
                            "%s: token %zu has id %" PRId32 ", the text encoder knows %" PRId64
                            "; name the spiece.model that belongs to it",
                            tokenizer->label, i, ids[i], vocab);
    return VMT_OK;
}

#else

enum vmt_status vmt_tokenizer_parse(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const void *bytes,
                                    size_t length, const char *label)
{
    (void)bytes;
    (void)length;
    *tokenizer = NULL;
    return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                    "%s: this build has no sentencepiece, so prompts cannot be read; build with "
                    "libsentencepiece-dev, or give prompt embeddings as a file",
                    label);
}

enum vmt_status vmt_tokenizer_open(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const char *path)
{
    return vmt_tokenizer_parse(ctx, tokenizer, NULL, 0, path);
}

void vmt_tokenizer_close(vmt_tokenizer *tokenizer)
{
    (void)tokenizer;
}

enum vmt_status vmt_tokenizer_encode(vmt_ctx *ctx, const vmt_tokenizer *tokenizer, int32_t *ids,
                                     int64_t *count, const char *text, int64_t text_len,
                                     int64_t vocab)
{
    (void)tokenizer;
    (void)ids;
    (void)count;
    (void)text_len;
    (void)vocab;
    return vmt_fail(ctx, VMT_E_UNSUPPORTED, "this build has no sentencepiece to cut \"%.40s\"",
                    text);
}

#endif
