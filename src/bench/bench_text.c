/* SPDX-License-Identifier: MIT
 *
 * The text encoder on one prompt of full length, its weights where they stay; on a device also as a
 * transfer does it: its three prompts, each layer's weights brought from memory.
 */
#include "bench/bench.h"

#include "text/umt5.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    PROMPTS = 3,
    FEW_LAYERS = 2,
    FEW_WORDS = 1024 /* rows of the embedding: it is looked up, never multiplied */
};

typedef struct text_bench {
    vmt_tensor_file *file;
    vmt_umt5 *umt5;
    vmt_umt5_sequence sequences[PROMPTS];
    int64_t prompts;
} text_bench;

static enum vmt_status encode_text(vmt_ctx *ctx, void *user)
{
    text_bench *t = user;
    return vmt_umt5_encode(ctx, t->umt5, t->sequences, t->prompts, NULL, NULL);
}

static enum vmt_status measure_prompts(bench *b, text_bench *t, int64_t prompts, const char *what)
{
    const vmt_text_config *config = vmt_umt5_get_config(t->umt5);
    char detail[BENCH_TEXT_BYTES];
    size_t planned, mapped;

    t->prompts = prompts;
    VMT_TRY(vmt_umt5_encode_bytes(b->ctx, t->umt5, t->sequences, prompts, &planned, &mapped));
    vmt_bench_row row = {
        .part = "text", .what = what, .detail = detail, .planned = planned, .mapped = mapped};
    snprintf(detail, sizeof detail, "%" PRId64 " of %" PRId64 " layers, %" PRId64 " tokens",
             config->layers, b->text.layers, prompts * config->text_len);
    VMT_TRY(bench_measure(b, &row, encode_text, t));
    return bench_tell(b, &row);
}

static enum vmt_status measure_text(bench *b, text_bench *t, int32_t *ids, float *rows)
{
    vmt_ctx *ctx = b->ctx;
    vmt_text_config config = b->text;
    vmt_tensor_list list = {0};

    if (!b->options.full) {
        config.layers = config.layers < FEW_LAYERS ? config.layers : FEW_LAYERS;
        config.vocab = FEW_WORDS;
    }
    for (int64_t i = 0; i < config.text_len; i++)
        ids[i] = (int32_t)(i * 37 % config.vocab);
    for (int p = 0; p < PROMPTS; p++)
        t->sequences[p] = (vmt_umt5_sequence){.ids = ids, .count = config.text_len, .rows = rows};
    VMT_TRY(vmt_tensor_list_text(ctx, &list, &config));
    VMT_TRY(bench_weights_file(ctx, &t->file, &list, ctx->act == VMT_BF16 ? VMT_BF16 : VMT_F32,
                               BENCH_MEMORY));
    bench_mark_memory(b);
    VMT_TRY(vmt_umt5_open(ctx, &t->umt5, t->file, &config));
    if (!ctx->ops->wait)
        return measure_prompts(b, t, 1, "UMT5 forward");
    VMT_TRY(measure_prompts(b, t, PROMPTS, "UMT5 forward, weights streamed"));
    VMT_TRY(vmt_umt5_keep(ctx, t->umt5));
    return measure_prompts(b, t, 1, "UMT5 forward");
}

enum vmt_status bench_text(bench *b)
{
    text_bench t = {0};
    void *ids = NULL, *rows = NULL;
    enum vmt_status status = vmt_alloc(b->ctx, &ids, (size_t)b->text.text_len, sizeof(int32_t));

    if (status == VMT_OK)
        status = vmt_alloc(b->ctx, &rows, (size_t)(b->text.text_len * b->text.dim), sizeof(float));
    if (status == VMT_OK)
        status = measure_text(b, &t, ids, rows);
    vmt_umt5_close(b->ctx, t.umt5);
    vmt_tensor_file_close(t.file);
    vmt_free(ids);
    vmt_free(rows);
    return status;
}
