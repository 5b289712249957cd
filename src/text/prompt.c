/* SPDX-License-Identifier: MIT */
#include "text/prompt.h"

#include "base/half.h"
#include "text/clean.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

void vmt_prompt_free(vmt_prompt *prompt)
{
    vmt_free(prompt->rows);
    vmt_free(prompt->ids);
    *prompt = (vmt_prompt){0};
}

/* ---------------------------------------------------------------- from text */

/* Cleans the text and cuts it into ids; rows are not computed yet.  NULL is "". */
static enum vmt_status tokenize(vmt_ctx *ctx, vmt_prompt *prompt, const vmt_tokenizer *tokenizer,
                                const vmt_text_config *config, const char *text)
{
    char *cleaned;
    void *ids;
    *prompt = (vmt_prompt){.dim = config->dim};
    text = text ? text : "";
    VMT_TRY(vmt_text_clean(ctx, &cleaned, text, strlen(text)));
    enum vmt_status status = vmt_alloc(ctx, &ids, (size_t)config->text_len, sizeof *prompt->ids);
    if (status == VMT_OK) {
        prompt->ids = ids;
        status = vmt_tokenizer_encode(ctx, tokenizer, prompt->ids, &prompt->count, cleaned,
                                      config->text_len, config->vocab);
    }
    vmt_free(cleaned);
    if (status != VMT_OK)
        vmt_prompt_free(prompt);
    return status;
}

static enum vmt_status encode_all(vmt_ctx *ctx, vmt_prompt *prompts, const char *const *texts,
                                  int64_t count, vmt_umt5_sequence *sequences,
                                  const vmt_tokenizer *tokenizer, vmt_umt5 *umt5,
                                  vmt_umt5_progress_fn *progress, void *user)
{
    const vmt_text_config *config = vmt_umt5_get_config(umt5);
    for (int64_t i = 0; i < count; i++) {
        vmt_prompt *p = &prompts[i];
        void *rows;
        size_t values;
        VMT_TRY(tokenize(ctx, p, tokenizer, config, texts[i]));
        if (!vmt_mul_size((size_t)p->count, (size_t)p->dim, &values))
            return vmt_fail(ctx, VMT_E_MEMORY, "text rows larger than memory can be");
        VMT_TRY(vmt_alloc(ctx, &rows, values, sizeof *p->rows));
        p->rows = rows;
        sequences[i] = (vmt_umt5_sequence){p->ids, p->count, p->rows};
    }
    return vmt_umt5_encode(ctx, umt5, sequences, count, progress, user);
}

enum vmt_status vmt_prompt_encode(vmt_ctx *ctx, vmt_prompt *prompts, const char *const *texts,
                                  int64_t count, const vmt_tokenizer *tokenizer, vmt_umt5 *umt5,
                                  vmt_umt5_progress_fn *progress, void *user)
{
    void *sequences;
    for (int64_t i = 0; i < count; i++)
        prompts[i] = (vmt_prompt){0};
    VMT_TRY(vmt_alloc(ctx, &sequences, (size_t)count, sizeof(vmt_umt5_sequence)));
    const enum vmt_status status =
        encode_all(ctx, prompts, texts, count, sequences, tokenizer, umt5, progress, user);
    vmt_free(sequences);
    for (int64_t i = 0; status != VMT_OK && i < count; i++)
        vmt_prompt_free(&prompts[i]);
    return status;
}

/* ---------------------------------------------------------------- from a file */

void vmt_prompt_embeddings_free(vmt_prompt_embeddings *embeddings)
{
    vmt_prompt_free(&embeddings->prompt);
    vmt_prompt_free(&embeddings->negative);
    vmt_prompt_free(&embeddings->null);
}

/* Element i of a file's tensor; tensors of a file may lie at any address. */
static float value_at(const vmt_tensor *t, int64_t i)
{
    float f;
    uint16_t h;
    if (t->dtype == VMT_F32) {
        memcpy(&f, (const char *)t->data + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, (const char *)t->data + 2 * i, sizeof h);
    return t->dtype == VMT_BF16 ? vmt_f32_of_bf16(h) : vmt_f32_of_f16(h);
}

static enum vmt_status check_tensor(vmt_ctx *ctx, const vmt_tensor *t, const char *name,
                                    const char *path, int64_t text_dim, int64_t text_len)
{
    char shape[128];
    if (t->dtype != VMT_F32 && t->dtype != VMT_F16 && t->dtype != VMT_BF16)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %s is %s, expected F32, F16 or BF16", path, name,
                        vmt_dtype_name(t->dtype));
    if (t->rank != 2 || t->shape[1] != text_dim || t->shape[0] < 1 || t->shape[0] > text_len)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: %s is %s, this model reads 1 to %" PRId64 " rows of %" PRId64
                        "; make the embeddings with the model's own text encoder",
                        path, name, vmt_shape_text(t, shape), text_len, text_dim);
    return VMT_OK;
}

/* Optional tensors leave *prompt empty when they are absent. */
static enum vmt_status read_rows(vmt_ctx *ctx, vmt_prompt *prompt, const vmt_tensor_file *file,
                                 const char *name, bool optional, int64_t text_dim,
                                 int64_t text_len)
{
    const char *path = vmt_tensor_file_path(file);
    const vmt_tensor *t = vmt_tensor_file_find(file, name);
    void *rows;
    if (!t)
        return optional ? VMT_OK
                        : vmt_fail(ctx, VMT_E_FORMAT,
                                   "%s: no tensor \"%s\"; a file of prompt embeddings has it", path,
                                   name);
    VMT_TRY(check_tensor(ctx, t, name, path, text_dim, text_len));
    const int64_t values = vmt_numel(t);
    VMT_TRY(vmt_alloc(ctx, &rows, (size_t)values, sizeof *prompt->rows));
    *prompt = (vmt_prompt){.rows = rows, .dim = text_dim};
    for (int64_t i = 0; i < values; i++) {
        prompt->rows[i] = value_at(t, i);
        if (!isfinite(prompt->rows[i]))
            return vmt_fail(ctx, VMT_E_NUMERIC, "%s: %s has NaN or infinity in row %" PRId64, path,
                            name, i / text_dim);
        if (prompt->rows[i] != 0)
            prompt->count = i / text_dim + 1;
    }
    return VMT_OK;
}

enum vmt_status vmt_prompt_embeddings_read(vmt_ctx *ctx, vmt_prompt_embeddings *embeddings,
                                           const char *path, int64_t text_dim, int64_t text_len)
{
    vmt_prompt_embeddings *e = embeddings;
    vmt_tensor_file *file;
    *e = (vmt_prompt_embeddings){0};
    VMT_TRY(vmt_tensor_file_open(ctx, &file, path));
    enum vmt_status status = read_rows(ctx, &e->prompt, file, "prompt", false, text_dim, text_len);
    if (status == VMT_OK)
        status = read_rows(ctx, &e->negative, file, "negative", true, text_dim, text_len);
    if (status == VMT_OK)
        status = read_rows(ctx, &e->null, file, "null", true, text_dim, text_len);
    vmt_tensor_file_close(file);
    if (status != VMT_OK)
        vmt_prompt_embeddings_free(e);
    return status;
}
