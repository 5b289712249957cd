/* SPDX-License-Identifier: MIT
 *
 * The DiT's tensors under their official names: bound, converted, packed, released.
 * Source: state dict of Wan-Video/Wan2.1 wan/modules/model.py, WanModel.
 */
#include "dit/dit_internal.h"

#include <string.h>

/* What opening collects: needs to bind, and which of them are vectors to convert. */
typedef struct dit_binder {
    vmt_tensor **vectors;
    int64_t vector_count;
    vmt_dit *dit;
} dit_binder;

static enum vmt_status need_matrix(vmt_ctx *ctx, dit_binder *b, vmt_weight *w, int64_t out,
                                   int64_t in, const char *name)
{
    b->dit->matrices[b->dit->matrix_count++] = w;
    VMT_TRY(vmt_needs_add(ctx, &b->dit->needs, &w->w, VMT_SHAPE(out, in), "%s.weight", name));
    vmt_needs_packs(&b->dit->needs);
    return vmt_needs_add(ctx, &b->dit->needs, &w->bias, VMT_SHAPE(out), "%s.bias", name);
}

static enum vmt_status need_vector(vmt_ctx *ctx, dit_binder *b, vmt_tensor *t, int rank,
                                   const int64_t *shape, const char *name)
{
    b->vectors[b->vector_count++] = t;
    return vmt_needs_add(ctx, &b->dit->needs, t, rank, shape, "%s", name);
}

static enum vmt_status need_attention(vmt_ctx *ctx, dit_binder *b, dit_attention_weights *a,
                                      int64_t dim, const char *prefix)
{
    vmt_weight *const matrix[4] = {&a->q, &a->k, &a->v, &a->o};
    vmt_tensor *const norm[2] = {&a->norm_q, &a->norm_k};
    char name[VMT_TENSOR_NAME_BYTES];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%c", prefix, "qkvo"[i]);
        VMT_TRY(need_matrix(ctx, b, matrix[i], dim, dim, name));
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.norm_%c.weight", prefix, "qk"[i]);
        VMT_TRY(need_vector(ctx, b, norm[i], VMT_SHAPE(dim), name));
    }
    return VMT_OK;
}

static enum vmt_status need_block(vmt_ctx *ctx, dit_binder *b, dit_block_weights *w, int64_t i)
{
    const vmt_dit_config *c = &b->dit->config;
    char name[VMT_TENSOR_NAME_BYTES];

    snprintf(name, sizeof name, "blocks.%" PRId64 ".modulation", i);
    VMT_TRY(need_vector(ctx, b, &w->modulation, VMT_SHAPE(1, 6, c->dim), name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".self_attn", i);
    VMT_TRY(need_attention(ctx, b, &w->self_attn, c->dim, name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".norm3.weight", i);
    VMT_TRY(need_vector(ctx, b, &w->norm3_weight, VMT_SHAPE(c->dim), name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".norm3.bias", i);
    VMT_TRY(need_vector(ctx, b, &w->norm3_bias, VMT_SHAPE(c->dim), name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".cross_attn", i);
    VMT_TRY(need_attention(ctx, b, &w->cross_attn, c->dim, name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".ffn.0", i);
    VMT_TRY(need_matrix(ctx, b, &w->ffn_in, c->ffn_dim, c->dim, name));
    snprintf(name, sizeof name, "blocks.%" PRId64 ".ffn.2", i);
    return need_matrix(ctx, b, &w->ffn_out, c->dim, c->ffn_dim, name);
}

static enum vmt_status need_all(vmt_ctx *ctx, dit_binder *b)
{
    vmt_dit *dit = b->dit;
    const vmt_dit_config *c = &dit->config;
    const int64_t cells = c->patch[0] * c->patch[1] * c->patch[2];

    dit->matrices[dit->matrix_count++] = &dit->patch_embedding;
    VMT_TRY(vmt_needs_add(ctx, &b->dit->needs, &dit->patch_embedding.w,
                          VMT_SHAPE(c->dim, c->in_dim, c->patch[0], c->patch[1], c->patch[2]),
                          "patch_embedding.weight"));
    VMT_TRY(vmt_needs_add(ctx, &b->dit->needs, &dit->patch_embedding.bias, VMT_SHAPE(c->dim),
                          "patch_embedding.bias"));
    VMT_TRY(need_matrix(ctx, b, &dit->text_in, c->dim, c->text_dim, "text_embedding.0"));
    VMT_TRY(need_matrix(ctx, b, &dit->text_out, c->dim, c->dim, "text_embedding.2"));
    VMT_TRY(need_matrix(ctx, b, &dit->time_in, c->dim, c->freq_dim, "time_embedding.0"));
    VMT_TRY(need_matrix(ctx, b, &dit->time_out, c->dim, c->dim, "time_embedding.2"));
    VMT_TRY(need_matrix(ctx, b, &dit->time_projection, 6 * c->dim, c->dim, "time_projection.1"));
    for (int64_t i = 0; i < c->layers; i++)
        VMT_TRY(need_block(ctx, b, &dit->blocks[i], i));
    VMT_TRY(need_vector(ctx, b, &dit->head_modulation, VMT_SHAPE(1, 2, c->dim), "head.modulation"));
    return need_matrix(ctx, b, &dit->head, cells * c->out_dim, c->dim, "head.head");
}

/* Converts the bound vectors to R: once on a measuring arena, once for real. */
static enum vmt_status take_vectors(vmt_ctx *ctx, dit_binder *b, vmt_arena *arena)
{
    for (int64_t i = 0; i < b->vector_count; i++) {
        const vmt_tensor mapped = *b->vectors[i];
        vmt_tensor own;
        VMT_TRY(vmt_take(ctx, arena, &own, ctx->real, mapped.rank, mapped.shape));
        if (vmt_arena_measures(arena))
            continue;
        VMT_TRY(vmt_upload(ctx, &own, &mapped));
        *b->vectors[i] = own;
    }
    return VMT_OK;
}

/* [1, rows, D] as [rows, D] */
static void drop_first_axis(vmt_tensor *t)
{
    *t = vmt_reshape(t, VMT_SHAPE(t->shape[1], t->shape[2]));
}

static enum vmt_status bind_all(vmt_ctx *ctx, dit_binder *b, const vmt_tensor_file *file)
{
    vmt_dit *dit = b->dit;
    vmt_arena measure = vmt_arena_measure();
    vmt_tensor *patch = &dit->patch_embedding.w;

    VMT_TRY(need_all(ctx, b));
    VMT_TRY(vmt_needs_bind(ctx, &b->dit->needs, file, "DiT"));
    *patch = vmt_reshape(patch, VMT_SHAPE(patch->shape[0], vmt_numel(patch) / patch->shape[0]));
    VMT_TRY(take_vectors(ctx, b, &measure));
    VMT_TRY(vmt_arena_open(ctx, &dit->vectors, measure.peak));
    VMT_TRY(take_vectors(ctx, b, &dit->vectors));
    drop_first_axis(&dit->head_modulation);
    for (int64_t i = 0; i < dit->config.layers; i++)
        drop_first_axis(&dit->blocks[i].modulation);
    return VMT_OK;
}

void dit_block_matrices(const vmt_dit *dit, int64_t i, vmt_weight *matrices[DIT_BLOCK_MATRICES])
{
    dit_block_weights *b = &dit->blocks[i];
    vmt_weight *const all[DIT_BLOCK_MATRICES] = {
        &b->self_attn.q,  &b->self_attn.k, &b->self_attn.v, &b->self_attn.o,  &b->cross_attn.q,
        &b->cross_attn.o, &b->ffn_in,      &b->ffn_out,     &b->cross_attn.k, &b->cross_attn.v};

    memcpy(matrices, all, sizeof all);
}

static enum vmt_status new_stream(vmt_ctx *ctx, vmt_dit *dit)
{
    VMT_TRY(vmt_alloc(ctx, (void **)&dit->stream, 1, sizeof *dit->stream));
    dit->stream->resident = (int)dit->config.layers;
    return vmt_alloc(ctx, (void **)&dit->stream->there, (size_t)dit->config.layers,
                     sizeof *dit->stream->there);
}

enum vmt_status vmt_dit_open(vmt_ctx *ctx, vmt_dit **result, const vmt_tensor_file *file,
                             const vmt_dit_config *config)
{
    const size_t layers = (size_t)config->layers;
    dit_binder binder = {0};
    vmt_dit *dit = NULL;
    enum vmt_status status;

    *result = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)&dit, 1, sizeof *dit));
    dit->config = *config;
    dit->file = file;
    binder.dit = dit;
    status = vmt_alloc(ctx, (void **)&dit->blocks, layers, sizeof *dit->blocks);
    if (status == VMT_OK) /* 10 matrices a block and 7 beside; 7 vectors a block and 1 */
        status = vmt_alloc(ctx, (void **)&dit->matrices, 10 * layers + 7, sizeof *dit->matrices);
    if (status == VMT_OK)
        status = new_stream(ctx, dit);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&binder.vectors, 7 * layers + 1, sizeof *binder.vectors);
    if (status == VMT_OK)
        status = bind_all(ctx, &binder, file);
    vmt_free(binder.vectors);
    if (status != VMT_OK) {
        vmt_dit_close(ctx, dit);
        return status;
    }
    *result = dit;
    return VMT_OK;
}

void vmt_dit_close(vmt_ctx *ctx, vmt_dit *dit)
{
    if (!dit)
        return;
    vmt_dit_release(ctx, dit);
    dit_lora_close(ctx, dit);
    vmt_needs_free(&dit->needs);
    vmt_arena_close(ctx, &dit->vectors);
    if (dit->stream)
        vmt_free(dit->stream->there);
    vmt_free(dit->stream);
    vmt_free(dit->matrices);
    vmt_free(dit->blocks);
    vmt_free(dit);
}

const vmt_dit_config *vmt_dit_get_config(const vmt_dit *dit)
{
    return &dit->config;
}

static bool is_converted(vmt_ctx *ctx, const vmt_weight *weight)
{
    return vmt_weight_is_copied(ctx, weight, VMT_USE_LINEAR | VMT_USE_BACKWARD);
}

void vmt_dit_weight_bytes(vmt_ctx *ctx, const vmt_dit *dit, size_t *packed, size_t *mapped)
{
    size_t use = 0;

    *packed = dit->vectors.peak + dit_lora_bytes(ctx, dit);
    *mapped = 0;
    for (int64_t i = 0; i < dit->matrix_count; i++) {
        *packed += ctx->ops->weight_prepare_bytes(ctx, dit->matrices[i],
                                                  VMT_USE_LINEAR | VMT_USE_BACKWARD);
        if (!is_converted(ctx, dit->matrices[i]))
            *mapped += vmt_tensor_bytes(&dit->matrices[i]->w);
        const size_t own = vmt_weight_use_bytes(ctx, dit->matrices[i]);
        use = own > use ? own : use;
    }
    *packed += use;
}

/* ---- numbers of 8 bits */

enum vmt_status vmt_dit_prepare_fp8(vmt_ctx *ctx, vmt_dit *dit)
{
    const unsigned use = VMT_USE_LINEAR | VMT_USE_BACKWARD | VMT_USE_FP8;

    if (!ctx->ops->linear_fp8)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "--fp8: backend %s has no products of 8 bits",
                        ctx->ops->name);
    for (int i = 0; !dit->prepared_fp8 && i < dit->config.layers; i++) {
        vmt_weight *matrices[DIT_BLOCK_MATRICES];
        dit_block_matrices(dit, i, matrices);
        for (int k = 0; k < DIT_PASS_MATRICES && dit_stream_stays(dit, i); k++)
            VMT_TRY(vmt_weight_prepare(ctx, matrices[k], use));
    }
    dit->prepared_fp8 = true;
    return VMT_OK;
}

size_t vmt_dit_fp8_bytes(vmt_ctx *ctx, const vmt_dit *dit)
{
    const unsigned use = VMT_USE_LINEAR | VMT_USE_BACKWARD;
    size_t bytes = 0;

    for (int64_t i = 0; i < dit->config.layers; i++) {
        vmt_weight *matrices[DIT_BLOCK_MATRICES];
        dit_block_matrices(dit, i, matrices);
        for (int k = 0; k < DIT_PASS_MATRICES; k++)
            bytes += ctx->ops->weight_prepare_bytes(ctx, matrices[k], use | VMT_USE_FP8) -
                     ctx->ops->weight_prepare_bytes(ctx, matrices[k], use);
    }
    return bytes;
}
