/* SPDX-License-Identifier: MIT */
#include "pipeline/texts.h"

#include "text/prompt_cache.h"

#include <inttypes.h>
#include <string.h>

const char *const vmt_text_names[VMT_TEXT_COUNT] = {"prompt", "negative", "null"};

static const char *text_of(const vmt_settings *settings, int which)
{
    const char *text = which == VMT_TEXT_PROMPT     ? settings->prompt
                       : which == VMT_TEXT_NEGATIVE ? settings->negative
                                                    : "";
    return text ? text : "";
}

static enum vmt_status open_cache(vmt_ctx *ctx, vmt_prompt_cache *cache, const vmt_model *model)
{
    const vmt_prompt_encoder encoder = {.file = model->files[VMT_PART_TEXT],
                                        .hash = model->hashes[VMT_PART_TEXT],
                                        .tokenizer = model->tokenizer,
                                        .config = &model->text_config};

    return vmt_prompt_cache_open(ctx, cache, &encoder);
}

/* ---- encode */

/* Encodes texts[0..count) and keeps them; the rows are then the caller's. */
static enum vmt_status encode_and_keep(vmt_ctx *ctx, vmt_prompt *prompts, const char *const *texts,
                                       int64_t count, const vmt_model *model,
                                       vmt_prompt_cache *cache, vmt_reporter *reporter)
{
    vmt_tokenizer *tokenizer = NULL;

    VMT_TRY(vmt_tokenizer_open(ctx, &tokenizer, model->tokenizer));
    const enum vmt_status status = vmt_prompt_encode(ctx, prompts, texts, count, tokenizer,
                                                     model->text, vmt_reporter_vae, reporter);
    vmt_tokenizer_close(tokenizer);
    for (int64_t i = 0; status == VMT_OK && i < count; i++)
        vmt_prompt_cache_keep(ctx, cache, &prompts[i], texts[i]);
    return status;
}

/* The same text once more, in memory of its own. */
static enum vmt_status copy_rows(vmt_ctx *ctx, vmt_text_rows *to, const vmt_text_rows *from,
                                 int64_t dim)
{
    const size_t values = (size_t)(from->count * dim);
    void *rows;

    VMT_TRY(vmt_alloc(ctx, &rows, values, sizeof *to->rows));
    memcpy(rows, from->rows, values * sizeof *to->rows);
    *to = (vmt_text_rows){rows, from->count};
    return VMT_OK;
}

/* The first needed text that is the same, maybe itself. */
static int first_like(const vmt_settings *settings, const bool needed[VMT_TEXT_COUNT], int which)
{
    int first = 0;

    while (!needed[first] || strcmp(text_of(settings, first), text_of(settings, which)))
        first++;
    return first;
}

/* The tokenizer, which would say it, is not asked for a prompt that was kept. */
static void warn_of_long(vmt_ctx *ctx, int64_t count, int64_t text_len)
{
    if (count == text_len)
        vmt_log(ctx, VMT_LOG_WARNING,
                "the prompt has %" PRId64 " tokens or more, the model reads %" PRId64
                ": what is beyond is left out",
                text_len - 1, text_len - 1);
}

static enum vmt_status encode_needed(vmt_ctx *ctx, vmt_text_rows texts[VMT_TEXT_COUNT],
                                     const vmt_model *model, const vmt_settings *settings,
                                     const bool needed[VMT_TEXT_COUNT], vmt_prompt_cache *cache,
                                     vmt_reporter *reporter)
{
    const char *missing[VMT_TEXT_COUNT];
    vmt_prompt prompts[VMT_TEXT_COUNT], found;
    int which[VMT_TEXT_COUNT];
    int64_t count = 0;

    for (int i = 0; i < VMT_TEXT_COUNT; i++) {
        if (!needed[i] || first_like(settings, needed, i) != i)
            continue;
        VMT_TRY(vmt_prompt_cache_find(ctx, cache, &found, text_of(settings, i)));
        texts[i] = (vmt_text_rows){found.rows, found.count};
        warn_of_long(ctx, found.count, model->text_config.text_len);
        if (!found.rows) {
            missing[count] = text_of(settings, i);
            which[count++] = i;
        }
    }
    if (count)
        VMT_TRY(encode_and_keep(ctx, prompts, missing, count, model, cache, reporter));
    for (int64_t i = 0; i < count; i++) {
        texts[which[i]] = (vmt_text_rows){prompts[i].rows, prompts[i].count};
        prompts[i].rows = NULL; /* now the run's */
        vmt_prompt_free(&prompts[i]);
    }
    for (int i = 0; i < VMT_TEXT_COUNT; i++)
        if (needed[i] && !texts[i].rows)
            VMT_TRY(copy_rows(ctx, &texts[i], &texts[first_like(settings, needed, i)],
                              model->text_config.dim));
    return VMT_OK;
}

enum vmt_status vmt_texts_encode(vmt_ctx *ctx, vmt_text_rows texts[VMT_TEXT_COUNT],
                                 const vmt_model *model, const vmt_settings *settings,
                                 const bool needed[VMT_TEXT_COUNT], vmt_reporter *reporter)
{
    vmt_prompt_cache cache;

    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_TEXT));
    if (!model->tokenizer)
        return vmt_fail(
            ctx, VMT_E_MODEL,
            "the model has no tokenizer: name its file (spiece.model) with --tokenizer");
    VMT_TRY(open_cache(ctx, &cache, model));
    const enum vmt_status status =
        encode_needed(ctx, texts, model, settings, needed, &cache, reporter);
    vmt_prompt_cache_close(&cache);
    return status;
}

bool vmt_texts_kept(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                    const bool needed[VMT_TEXT_COUNT])
{
    vmt_prompt_cache cache;
    vmt_prompt found;
    bool all = true;

    if (!ctx->cache_dir || !model->files[VMT_PART_TEXT] || !model->tokenizer ||
        open_cache(ctx, &cache, model) != VMT_OK)
        return false;
    for (int i = 0; i < VMT_TEXT_COUNT && all; i++) {
        if (!needed[i])
            continue;
        all = vmt_prompt_cache_find(ctx, &cache, &found, text_of(settings, i)) == VMT_OK &&
              found.rows;
        vmt_prompt_free(&found);
    }
    vmt_prompt_cache_close(&cache);
    return all;
}

/* ---- from a file */

enum vmt_status vmt_texts_read(vmt_ctx *ctx, vmt_text_rows texts[VMT_TEXT_COUNT],
                               const vmt_model *model, const bool needed[VMT_TEXT_COUNT],
                               const char *path)
{
    const vmt_dit_config *c = &model->dit_config;
    vmt_prompt_embeddings file;
    enum vmt_status status = VMT_OK;

    VMT_TRY(vmt_prompt_embeddings_read(ctx, &file, path, c->text_dim, c->text_len));
    vmt_prompt *const prompts[VMT_TEXT_COUNT] = {[VMT_TEXT_PROMPT] = &file.prompt,
                                                 [VMT_TEXT_NEGATIVE] = &file.negative,
                                                 [VMT_TEXT_EMPTY] = &file.null};
    for (int i = 0; i < VMT_TEXT_COUNT && status == VMT_OK; i++) {
        if (!needed[i])
            continue;
        if (!prompts[i]->rows)
            status = vmt_fail(ctx, VMT_E_FORMAT, "%s: no tensor \"%s\", which this run needs", path,
                              vmt_text_names[i]);
        texts[i] = (vmt_text_rows){prompts[i]->rows, prompts[i]->count};
        prompts[i]->rows = NULL; /* now the run's */
    }
    vmt_prompt_embeddings_free(&file);
    return status;
}
