/* SPDX-License-Identifier: MIT */
#include "model/tensor_list.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A list being filled; after the first failure all else does nothing. */
struct builder {
    vmt_ctx *ctx;
    vmt_tensor_list *list;
    enum vmt_status status;
};

static void add(struct builder *b, float mean, float scale, int rank, const int64_t *shape,
                const char *name, ...) VMT_PRINTF(6, 7);

static void add(struct builder *b, float mean, float scale, int rank, const int64_t *shape,
                const char *name, ...)
{
    vmt_tensor_list *list = b->list;
    va_list args;

    if (b->status != VMT_OK)
        return;
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        void *grown = realloc(list->items, (size_t)capacity * sizeof *list->items);
        if (!grown) {
            b->status = vmt_fail(b->ctx, VMT_E_MEMORY, "out of memory: list of tensors");
            return;
        }
        list->items = grown;
        list->capacity = capacity;
    }
    vmt_tensor_spec *spec = &list->items[list->count++];
    *spec = (vmt_tensor_spec){.rank = rank, .mean = mean, .scale = scale};
    memcpy(spec->shape, shape, (size_t)rank * sizeof *shape);
    va_start(args, name);
    vsnprintf(spec->name, sizeof spec->name, name, args);
    va_end(args);
}

/* Keeps the variance of what it multiplies: 1 / sqrt(inputs of one output). */
static float fan_in(int rank, const int64_t *shape)
{
    double inputs = 1;
    for (int i = 1; i < rank; i++)
        inputs *= (double)shape[i];
    return (float)(1 / sqrt(inputs));
}

static void weight_and_bias(struct builder *b, float gain, int rank, const int64_t *shape,
                            const char *prefix, const char *name)
{
    add(b, 0, gain * fan_in(rank, shape), rank, shape, "%s%s.weight", prefix, name);
    add(b, 0, 0.1f, 1, shape, "%s%s.bias", prefix, name);
}

static void linear(struct builder *b, int64_t out, int64_t in, const char *prefix, const char *name)
{
    weight_and_bias(b, 1, VMT_SHAPE(out, in), prefix, name);
}

/* ---------------------------------------------------------------- diffusion transformer */

static void dit_attention(struct builder *b, const char *prefix, const char *name, int64_t dim)
{
    char inner[VMT_TENSOR_NAME_BYTES];

    snprintf(inner, sizeof inner, "%s%s.", prefix, name);
    linear(b, dim, dim, inner, "q");
    linear(b, dim, dim, inner, "k");
    linear(b, dim, dim, inner, "v");
    linear(b, dim, dim, inner, "o");
    add(b, 1, 0.2f, VMT_SHAPE(dim), "%snorm_q.weight", inner);
    add(b, 1, 0.2f, VMT_SHAPE(dim), "%snorm_k.weight", inner);
}

enum vmt_status vmt_tensor_list_dit(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_dit_config *c)
{
    struct builder b = {ctx, list, VMT_OK};
    const int64_t dim = c->dim;

    weight_and_bias(&b, 1, VMT_SHAPE(dim, c->in_dim, c->patch[0], c->patch[1], c->patch[2]), "",
                    "patch_embedding");
    linear(&b, dim, c->text_dim, "", "text_embedding.0");
    linear(&b, dim, dim, "", "text_embedding.2");
    linear(&b, dim, c->freq_dim, "", "time_embedding.0");
    linear(&b, dim, dim, "", "time_embedding.2");
    linear(&b, 6 * dim, dim, "", "time_projection.1");
    for (int64_t i = 0; i < c->layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%d.", (int)i);
        add(&b, 0, 0.3f, VMT_SHAPE(1, 6, dim), "%smodulation", prefix);
        if (b.status == VMT_OK)
            list->items[list->count - 1].gates = true;
        dit_attention(&b, prefix, "self_attn", dim);
        add(&b, 1, 0.2f, VMT_SHAPE(dim), "%snorm3.weight", prefix);
        add(&b, 0, 0.2f, VMT_SHAPE(dim), "%snorm3.bias", prefix);
        dit_attention(&b, prefix, "cross_attn", dim);
        linear(&b, c->ffn_dim, dim, prefix, "ffn.0");
        linear(&b, dim, c->ffn_dim, prefix, "ffn.2");
    }
    add(&b, 0, 0.3f, VMT_SHAPE(1, 2, dim), "head.modulation");
    linear(&b, c->patch[0] * c->patch[1] * c->patch[2] * c->out_dim, dim, "", "head.head");
    return b.status;
}

/* ---------------------------------------------------------------- autoencoder */

static void gamma_of(struct builder *b, int64_t channels, int rank, const char *prefix,
                     const char *name)
{
    add(b, 1, 0.2f, rank, (const int64_t[]){channels, 1, 1, 1}, "%s%s", prefix, name);
}

static void conv3(struct builder *b, float gain, int64_t out, int64_t in, const char *prefix,
                  const char *name)
{
    weight_and_bias(b, gain, VMT_SHAPE(out, in, 3, 3, 3), prefix, name);
}

static void res_block(struct builder *b, const char *prefix, int64_t in, int64_t out)
{
    gamma_of(b, in, 4, prefix, ".residual.0.gamma");
    conv3(b, 1, out, in, prefix, ".residual.2");
    gamma_of(b, out, 4, prefix, ".residual.3.gamma");
    conv3(b, 1, out, out, prefix, ".residual.6");
    if (in != out)
        weight_and_bias(b, 1, VMT_SHAPE(out, in, 1, 1, 1), prefix, ".shortcut");
}

static void vae_middle(struct builder *b, const char *half, int64_t channels)
{
    char prefix[64];

    snprintf(prefix, sizeof prefix, "%s.middle.0", half);
    res_block(b, prefix, channels, channels);
    snprintf(prefix, sizeof prefix, "%s.middle.1", half);
    gamma_of(b, channels, 3, prefix, ".norm.gamma");
    weight_and_bias(b, 1, VMT_SHAPE(3 * channels, channels, 1, 1), prefix, ".to_qkv");
    weight_and_bias(b, 1, VMT_SHAPE(channels, channels, 1, 1), prefix, ".proj");
    snprintf(prefix, sizeof prefix, "%s.middle.2", half);
    res_block(b, prefix, channels, channels);
}

static void vae_head(struct builder *b, const char *half, int64_t in, int64_t out)
{
    char prefix[64];

    snprintf(prefix, sizeof prefix, "%s.head", half);
    gamma_of(b, in, 4, prefix, ".0.gamma");
    conv3(b, 1.5f, out, in, prefix, ".2");
}

static void vae_encoder(struct builder *b, const vmt_vae_config *c)
{
    int64_t in = c->dim;
    char prefix[64];
    int n = 0;

    conv3(b, 1, c->dim, 3, "", "encoder.conv1");
    for (int level = 0; level < VMT_VAE_LEVELS; level++) {
        const int64_t out = c->dim * c->mult[level];
        for (int64_t i = 0; i < c->res_blocks; i++, in = out) {
            snprintf(prefix, sizeof prefix, "encoder.downsamples.%d", n++);
            res_block(b, prefix, in, out);
        }
        if (level == VMT_VAE_LEVELS - 1)
            break;
        snprintf(prefix, sizeof prefix, "encoder.downsamples.%d", n++);
        weight_and_bias(b, 1, VMT_SHAPE(out, out, 3, 3), prefix, ".resample.1");
        if (c->time_down[level])
            weight_and_bias(b, 1, VMT_SHAPE(out, out, 3, 1, 1), prefix, ".time_conv");
    }
    vae_middle(b, "encoder", in);
    vae_head(b, "encoder", in, 2 * c->z_dim);
}

/* The encoder's levels backwards; each upsampler halves the channels. */
static void vae_decoder(struct builder *b, const vmt_vae_config *c)
{
    int64_t in = c->dim * c->mult[VMT_VAE_LEVELS - 1];
    char prefix[64];
    int n = 0;

    conv3(b, 1, in, c->z_dim, "", "decoder.conv1");
    vae_middle(b, "decoder", in);
    for (int level = VMT_VAE_LEVELS - 1; level >= 0; level--) {
        const int64_t out = c->dim * c->mult[level];
        for (int64_t i = 0; i < c->res_blocks + 1; i++, in = out) {
            snprintf(prefix, sizeof prefix, "decoder.upsamples.%d", n++);
            res_block(b, prefix, in, out);
        }
        if (level == 0)
            break;
        snprintf(prefix, sizeof prefix, "decoder.upsamples.%d", n++);
        weight_and_bias(b, 1, VMT_SHAPE(out / 2, out, 3, 3), prefix, ".resample.1");
        if (c->time_down[level - 1])
            weight_and_bias(b, 1, VMT_SHAPE(2 * out, out, 3, 1, 1), prefix, ".time_conv");
        in = out / 2;
    }
    vae_head(b, "decoder", in, 3);
}

enum vmt_status vmt_tensor_list_vae(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_vae_config *c)
{
    struct builder b = {ctx, list, VMT_OK};

    vae_encoder(&b, c);
    weight_and_bias(&b, 1.5f, VMT_SHAPE(2 * c->z_dim, 2 * c->z_dim, 1, 1, 1), "", "conv1");
    weight_and_bias(&b, 1, VMT_SHAPE(c->z_dim, c->z_dim, 1, 1, 1), "", "conv2");
    vae_decoder(&b, c);
    return b.status;
}

/* ---------------------------------------------------------------- text encoder */

static void matrix(struct builder *b, float scale, int64_t out, int64_t in, const char *prefix,
                   const char *name)
{
    add(b, 0, scale, VMT_SHAPE(out, in), "%s%s.weight", prefix, name);
}

enum vmt_status vmt_tensor_list_text(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_text_config *c)
{
    struct builder b = {ctx, list, VMT_OK};
    const int64_t dim = c->dim, inner = c->dim_attn, ffn = c->dim_ffn;
    const float from_dim = (float)(1 / sqrt((double)dim));
    /* logits are not divided by the head's width: the query's weights are */
    const int64_t head_dim = inner / c->heads;
    const float query = 1.5f * from_dim / (float)sqrt((double)head_dim);

    matrix(&b, 1, c->vocab, dim, "", "token_embedding");
    for (int64_t i = 0; i < c->layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%d.", (int)i);
        add(&b, 1, 0.2f, VMT_SHAPE(dim), "%snorm1.weight", prefix);
        matrix(&b, query, inner, dim, prefix, "attn.q");
        matrix(&b, from_dim, inner, dim, prefix, "attn.k");
        matrix(&b, from_dim, inner, dim, prefix, "attn.v");
        matrix(&b, (float)(1 / sqrt((double)inner)), dim, inner, prefix, "attn.o");
        add(&b, 1, 0.2f, VMT_SHAPE(dim), "%snorm2.weight", prefix);
        matrix(&b, from_dim, ffn, dim, prefix, "ffn.gate.0");
        matrix(&b, from_dim, ffn, dim, prefix, "ffn.fc1");
        matrix(&b, (float)(1 / sqrt((double)ffn)), dim, ffn, prefix, "ffn.fc2");
        matrix(&b, 1, c->buckets, c->heads, prefix, "pos_embedding.embedding");
    }
    add(&b, 1, 0.2f, VMT_SHAPE(dim), "norm.weight");
    return b.status;
}

void vmt_tensor_list_free(vmt_tensor_list *list)
{
    free(list->items);
    *list = (vmt_tensor_list){0};
}
