/* SPDX-License-Identifier: MIT */
#include "text/prompt_cache.h"

#include "base/build_id.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "text/cache_folder.h"
#include "text/clean.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FORMAT = 1, HEADER_BYTES = 8192 };

/* ---------------------------------------------------------------- the key */

static void hash_of(const void *bytes, size_t length, char text[65])
{
    vmt_sha256 hash;

    vmt_sha256_init(&hash);
    vmt_sha256_add(&hash, bytes, length);
    vmt_sha256_text(&hash, text);
}

static enum vmt_status hash_tokenizer(vmt_ctx *ctx, const char *path, char text[65])
{
    vmt_mapped_file file;

    VMT_TRY(vmt_mapped_file_open(ctx, &file, path));
    hash_of(file.bytes, file.length, text);
    vmt_mapped_file_close(&file);
    return VMT_OK;
}

/* The processor's name: libraries choose their kernels by it. */
static void name_processor(char text[96])
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");

    text[0] = '\0';
    while (file && !text[0] && fgets(line, sizeof line, file))
        if (!strncmp(line, "model name", 10) && strchr(line, ':'))
            snprintf(text, 96, "%.90s", strchr(line, ':') + 1);
    if (file)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
}

static enum vmt_status name_encoder(vmt_ctx *ctx, vmt_prompt_cache *cache,
                                    const vmt_prompt_encoder *e)
{
    const vmt_text_config *c = e->config;
    char tokenizer[65], stamp[65], own[VMT_BUILD_ID_BYTES], module[VMT_BUILD_ID_BYTES];
    char processor[96];

    VMT_TRY(hash_tokenizer(ctx, e->tokenizer, tokenizer));
    vmt_tensor_file_stamp(e->file, stamp);
    vmt_build_id((uintptr_t)&vmt_prompt_cache_open, own);
    vmt_build_id((uintptr_t)ctx->ops->upload, module);
    name_processor(processor);
    snprintf(cache->encoder, sizeof cache->encoder,
             "prompts %d; program %s %s; backend %s %s %s; real %s, act %s, threads %d; "
             "processor%s; encoder %s %s; sizes %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
             " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %.17g; tokenizer %s",
             FORMAT, vmt_version(), own, ctx->ops->name, ctx->machine, module,
             vmt_dtype_name(ctx->real), vmt_dtype_name(ctx->act), ctx->threads, processor, e->hash,
             stamp, c->vocab, c->dim, c->dim_attn, c->dim_ffn, c->heads, c->layers, c->buckets,
             c->max_distance, c->text_len, c->eps, tokenizer);
    return VMT_OK;
}

enum vmt_status vmt_prompt_cache_open(vmt_ctx *ctx, vmt_prompt_cache *cache,
                                      const vmt_prompt_encoder *encoder)
{
    *cache = (vmt_prompt_cache){.most = ctx->cache_bytes,
                                .dim = encoder->config->dim,
                                .text_len = encoder->config->text_len};
    if (!ctx->cache_dir)
        return VMT_OK;
    VMT_TRY(name_encoder(ctx, cache, encoder));
    return vmt_cache_folder_name(ctx, &cache->folder, ctx->cache_dir, "prompts");
}

void vmt_prompt_cache_close(vmt_prompt_cache *cache)
{
    vmt_free(cache->folder);
    cache->folder = NULL;
}

/* An entry's key, with the prompt as a hash: the file is not to tell what was asked for.  *path:
 * freed by the caller. */
static enum vmt_status name_entry(vmt_ctx *ctx, const vmt_prompt_cache *cache, const char *text,
                                  char key[VMT_PROMPT_KEY_BYTES + 80], char **path)
{
    char prompt[65], name[65];
    char *cleaned;

    text = text ? text : "";
    VMT_TRY(vmt_text_clean(ctx, &cleaned, text, strlen(text)));
    hash_of(cleaned, strlen(cleaned), prompt);
    vmt_free(cleaned);
    snprintf(key, VMT_PROMPT_KEY_BYTES + 80, "%s; prompt %s", cache->encoder, prompt);
    hash_of(key, strlen(key), name);
    return vmt_cache_entry_path(ctx, path, cache->folder, name);
}

/* ---------------------------------------------------------------- find */

static bool says(const vmt_tensor_file *file, const char *key, const char *value)
{
    const char *found = vmt_tensor_file_meta(file, key);

    return found && !strcmp(found, value);
}

/* Rows of a file that holds what its name promises; else they stay NULL. */
static enum vmt_status take_rows(vmt_ctx *ctx, const vmt_prompt_cache *cache, vmt_prompt *prompt,
                                 const vmt_tensor_file *file, const char *key)
{
    const vmt_tensor *t = vmt_tensor_file_find(file, "rows");
    char sum[65];
    void *rows;

    if (!t || t->dtype != VMT_F32 || t->rank != 2 || t->shape[0] < 1 ||
        t->shape[0] > cache->text_len || t->shape[1] != cache->dim || !says(file, "key", key))
        return VMT_OK;
    hash_of(t->data, vmt_tensor_bytes(t), sum);
    if (!says(file, "checksum", sum))
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, &rows, (size_t)vmt_numel(t), sizeof *prompt->rows));
    memcpy(rows, t->data, vmt_tensor_bytes(t));
    *prompt = (vmt_prompt){.rows = rows, .count = t->shape[0], .dim = cache->dim};
    return VMT_OK;
}

enum vmt_status vmt_prompt_cache_find(vmt_ctx *ctx, const vmt_prompt_cache *cache,
                                      vmt_prompt *prompt, const char *text)
{
    char key[VMT_PROMPT_KEY_BYTES + 80];
    const size_t most = (size_t)(cache->text_len * cache->dim) * sizeof(float) + HEADER_BYTES;
    vmt_tensor_file *file;
    unsigned char *bytes = NULL;
    size_t length;
    char *path;

    *prompt = (vmt_prompt){0};
    if (!cache->folder)
        return VMT_OK;
    VMT_TRY(name_entry(ctx, cache, text, key, &path));
    enum vmt_status status = vmt_cache_entry_read(ctx, path, most, &bytes, &length);
    if (bytes) {
        if (vmt_tensor_file_open_bytes(ctx, &file, bytes, length, path) == VMT_OK) {
            status = take_rows(ctx, cache, prompt, file, key);
            vmt_tensor_file_close(file);
        }
        vmt_free(bytes);
        if (prompt->rows)
            vmt_cache_entry_used(path);
        vmt_log(ctx, VMT_LOG_DEBUG, prompt->rows ? "%s: a prompt's rows" : "%s: ignored: damaged",
                path);
    }
    vmt_free(path);
    return status;
}

/* ---------------------------------------------------------------- keep */

static enum vmt_status write_entry(vmt_ctx *ctx, const vmt_prompt_cache *cache,
                                   const vmt_prompt *prompt, const char *text)
{
    const vmt_named_tensor rows = {
        "rows", vmt_tensor_over(prompt->rows, VMT_F32, VMT_SHAPE(prompt->count, prompt->dim))};
    char key[VMT_PROMPT_KEY_BYTES + 80], sum[65];
    char *path;

    VMT_TRY(vmt_cache_folder_make(ctx, cache->folder));
    VMT_TRY(name_entry(ctx, cache, text, key, &path));
    hash_of(prompt->rows, vmt_tensor_bytes(&rows.tensor), sum);
    const char *const meta[] = {"format", "fastvmt-prompt", "key", key, "checksum", sum, NULL};
    const enum vmt_status status = vmt_safetensors_write(ctx, path, &rows, 1, meta);
    vmt_free(path);
    return status;
}

void vmt_prompt_cache_keep(vmt_ctx *ctx, vmt_prompt_cache *cache, const vmt_prompt *prompt,
                           const char *text)
{
    const uint64_t bytes =
        (uint64_t)(prompt->count * prompt->dim) * sizeof(float) + sizeof cache->encoder;

    if (!cache->folder || cache->failed || bytes > cache->most)
        return;
    enum vmt_status status = write_entry(ctx, cache, prompt, text);
    if (status == VMT_OK)
        status = vmt_cache_folder_trim(ctx, cache->folder, cache->most);
    cache->failed = status != VMT_OK;
    if (cache->failed)
        vmt_log(ctx, VMT_LOG_WARNING, "encoded prompts are not kept: %s", ctx->message);
}
