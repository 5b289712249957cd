/* SPDX-License-Identifier: MIT
 *
 * What a prompt contributes to every step: k and v of each block's cross-attention.
 *   context = W2 gelu(W1 rows)          all text_len rows, the appended zero rows too
 *   k_i = rms(Wk' context) · norm_k     v_i = Wv' context
 * Source: Wan-Video/Wan2.1 wan/modules/model.py, WanModel.forward and WanT2VCrossAttention.
 */
#include "dit/dit_internal.h"

typedef struct text_scratch {
    vmt_tensor padded; /* [L, text_dim] A */
    vmt_tensor hidden; /* [L, D] A */
    vmt_tensor k_lin;  /* [L, D] A */
    vmt_tensor lora;   /* [L, largest rank] A */
} text_scratch;

static enum vmt_status layout(vmt_ctx *ctx, const vmt_dit *dit, vmt_dit_text *text,
                              text_scratch *scratch)
{
    const vmt_dit_config *c = &dit->config;
    const int64_t kv[3] = {c->text_len, c->heads, c->dim / c->heads};
    vmt_arena *a = &text->arena;

    if (dit_lora_rank(dit))
        VMT_TRY(
            vmt_take(ctx, a, &scratch->lora, ctx->act, VMT_SHAPE(c->text_len, dit_lora_rank(dit))));
    VMT_TRY(vmt_take(ctx, a, &text->context, ctx->act, VMT_SHAPE(c->text_len, c->dim)));
    for (int64_t i = 0; i < c->layers; i++) {
        VMT_TRY(vmt_take(ctx, a, &text->k[i], ctx->act, 3, kv));
        VMT_TRY(vmt_take(ctx, a, &text->v[i], ctx->act, 3, kv));
    }
    VMT_TRY(vmt_take(ctx, a, &scratch->padded, ctx->act, VMT_SHAPE(c->text_len, c->text_dim)));
    VMT_TRY(vmt_take(ctx, a, &scratch->hidden, ctx->act, VMT_SHAPE(c->text_len, c->dim)));
    return vmt_take(ctx, a, &scratch->k_lin, ctx->act, VMT_SHAPE(c->text_len, c->dim));
}

static enum vmt_status embed(vmt_ctx *ctx, const vmt_dit *dit, vmt_dit_text *text,
                             text_scratch *scratch, const float *rows, int64_t count)
{
    VMT_TRY(vmt_zero(ctx, &scratch->padded));
    if (count > 0) {
        const vmt_tensor host = {.data = (void *)(uintptr_t)rows,
                                 .shape = {count, dit->config.text_dim, 1, 1, 1},
                                 .dtype = VMT_F32,
                                 .rank = 2};
        vmt_tensor real = vmt_slice(&scratch->padded, 0, count);
        VMT_TRY(vmt_upload(ctx, &real, &host));
    }
    VMT_TRY(dit_stream_lend(ctx, dit, &dit->text_in));
    VMT_TRY(dit_stream_lend(ctx, dit, &dit->text_out));
    VMT_TRY(dit_linear(ctx, dit, &scratch->lora, vmt_linear, &scratch->hidden, &scratch->padded,
                       &dit->text_in, VMT_EPILOGUE_GELU));
    VMT_TRY(dit_linear(ctx, dit, &scratch->lora, vmt_linear, &text->context, &scratch->hidden,
                       &dit->text_out, VMT_EPILOGUE_NONE));
    dit_stream_return(ctx, dit, &dit->text_in);
    dit_stream_return(ctx, dit, &dit->text_out);
    return VMT_OK;
}

static enum vmt_status project(vmt_ctx *ctx, const vmt_dit *dit, vmt_dit_text *text,
                               text_scratch *scratch, int64_t i)
{
    const dit_attention_weights *w = &dit->blocks[i].cross_attn;
    vmt_tensor v = vmt_reshape(&text->v[i], VMT_SHAPE(dit->config.text_len, dit->config.dim));

    VMT_TRY(vmt_check_cancelled(ctx));
    VMT_TRY(dit_stream_lend(ctx, dit, &w->k));
    VMT_TRY(dit_stream_lend(ctx, dit, &w->v));
    VMT_TRY(dit_linear(ctx, dit, &scratch->lora, vmt_linear, &scratch->k_lin, &text->context, &w->k,
                       VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_rms_norm_rope(ctx, &text->k[i], &scratch->k_lin, &w->norm_k, NULL, NULL,
                              dit->config.eps));
    VMT_TRY(dit_linear(ctx, dit, &scratch->lora, vmt_linear, &v, &text->context, &w->v,
                       VMT_EPILOGUE_NONE));
    dit_stream_return(ctx, dit, &w->k);
    dit_stream_return(ctx, dit, &w->v);
    return VMT_OK;
}

static enum vmt_status fill(vmt_ctx *ctx, const vmt_dit *dit, vmt_dit_text *text, const float *rows,
                            int64_t count)
{
    text_scratch scratch = {0};
    size_t bytes;

    if (count < 0 || count > dit->config.text_len)
        return vmt_fail(ctx, VMT_E_ARG, "prompt of %" PRId64 " rows, at most %" PRId64 " fit",
                        count, dit->config.text_len);
    VMT_TRY(vmt_dit_text_bytes(ctx, dit, &bytes));
    VMT_TRY(vmt_arena_open(ctx, &text->arena, bytes));
    VMT_TRY(layout(ctx, dit, text, &scratch));
    VMT_TRY(embed(ctx, dit, text, &scratch, rows, count));
    for (int64_t i = 0; i < dit->config.layers; i++)
        VMT_TRY(project(ctx, dit, text, &scratch, i));
    return VMT_OK;
}

static enum vmt_status new_text(vmt_ctx *ctx, vmt_dit_text **text, const vmt_dit *dit)
{
    const size_t layers = (size_t)dit->config.layers;

    VMT_TRY(vmt_alloc(ctx, (void **)text, 1, sizeof **text));
    VMT_TRY(vmt_alloc(ctx, (void **)&(*text)->k, layers, sizeof *(*text)->k));
    return vmt_alloc(ctx, (void **)&(*text)->v, layers, sizeof *(*text)->v);
}

enum vmt_status vmt_dit_text_open(vmt_ctx *ctx, vmt_dit_text **text, const vmt_dit *dit,
                                  const float *rows, int64_t count)
{
    *text = NULL;
    enum vmt_status status = new_text(ctx, text, dit);
    if (status == VMT_OK)
        status = fill(ctx, dit, *text, rows, count);
    if (status != VMT_OK) {
        vmt_dit_text_close(ctx, *text);
        *text = NULL;
    }
    return status;
}

void vmt_dit_text_close(vmt_ctx *ctx, vmt_dit_text *text)
{
    if (!text)
        return;
    vmt_arena_close(ctx, &text->arena);
    vmt_free(text->k);
    vmt_free(text->v);
    vmt_free(text);
}

enum vmt_status vmt_dit_text_bytes(vmt_ctx *ctx, const vmt_dit *dit, size_t *bytes)
{
    vmt_dit_text *text = NULL;
    text_scratch scratch = {0};
    enum vmt_status status = new_text(ctx, &text, dit);

    if (status == VMT_OK) {
        text->arena = vmt_arena_measure();
        status = layout(ctx, dit, text, &scratch);
        *bytes = text->arena.peak;
        text->arena = (vmt_arena){0};
    }
    vmt_dit_text_close(ctx, text);
    return status;
}

const vmt_tensor *vmt_dit_text_context(const vmt_dit_text *text)
{
    return &text->context;
}
