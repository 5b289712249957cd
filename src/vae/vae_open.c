/* SPDX-License-Identifier: MIT
 *
 * The parts of both networks in running order, their tensors' names and shapes, their weights.
 */
#include "vae/vae_net.h"

#include <stdio.h>

/* ---------------------------------------------------------------- parts */

typedef struct part_list {
    vmt_vae_part *parts;
    int64_t count;
    const char *net; /* "encoder" or "decoder" */
} part_list;

/* The name is net.suffix, or net.group.index. */
static vmt_vae_part *add_part(part_list *list, enum vmt_vae_kind kind, int64_t in, int64_t out,
                              const char *suffix, int64_t index)
{
    vmt_vae_part *part = &list->parts[list->count++];

    part->kind = kind;
    part->in = in;
    part->out = out;
    if (index < 0)
        snprintf(part->name, sizeof part->name, "%s.%s", list->net, suffix);
    else
        snprintf(part->name, sizeof part->name, "%s.%s.%d", list->net, suffix, (int)index);
    return part;
}

static void add_middle(part_list *list, int64_t channels)
{
    add_part(list, VMT_VAE_RES, channels, channels, "middle", 0);
    add_part(list, VMT_VAE_ATTENTION, channels, channels, "middle", 1);
    add_part(list, VMT_VAE_RES, channels, channels, "middle", 2);
}

static void list_encoder(struct vmt_vae *vae)
{
    const vmt_vae_config *c = &vae->config;
    part_list list = {.parts = vae->encoder, .net = "encoder"};
    int64_t channels = c->dim;
    int64_t index = 0;

    add_part(&list, VMT_VAE_CONV, 3, channels, "conv1", -1);
    for (int level = 0; level < VMT_VAE_LEVELS; level++) {
        const int64_t out = c->dim * c->mult[level];
        for (int64_t i = 0; i < c->res_blocks; i++) {
            add_part(&list, VMT_VAE_RES, channels, out, "downsamples", index++);
            channels = out;
        }
        if (level < VMT_VAE_LEVELS - 1)
            add_part(&list, VMT_VAE_DOWN, out, out, "downsamples", index++)->time =
                c->time_down[level];
    }
    add_middle(&list, channels);
    add_part(&list, VMT_VAE_HEAD, channels, 2 * c->z_dim, "head", -1);
    /* Of its 2z outputs the last z, the log-variance, are not used: only the mean is computed. */
    vmt_vae_part *part = add_part(&list, VMT_VAE_POINT, 2 * c->z_dim, c->z_dim, "", -1);
    snprintf(part->name, sizeof part->name, "conv1");
    vae->encoder_count = list.count;
}

static void list_decoder(struct vmt_vae *vae)
{
    const vmt_vae_config *c = &vae->config;
    part_list list = {.parts = vae->decoder, .net = "decoder"};
    int64_t channels = c->dim * c->mult[VMT_VAE_LEVELS - 1];
    int64_t index = 0;

    vmt_vae_part *part = add_part(&list, VMT_VAE_POINT, c->z_dim, c->z_dim, "", -1);
    snprintf(part->name, sizeof part->name, "conv2");
    add_part(&list, VMT_VAE_CONV, c->z_dim, channels, "conv1", -1);
    add_middle(&list, channels);
    for (int level = VMT_VAE_LEVELS - 1; level >= 0; level--) {
        const int64_t out = c->dim * c->mult[level];
        for (int64_t i = 0; i <= c->res_blocks; i++) {
            add_part(&list, VMT_VAE_RES, channels, out, "upsamples", index++);
            channels = out;
        }
        if (level > 0) {
            add_part(&list, VMT_VAE_UP, out, out / 2, "upsamples", index++)->time =
                c->time_down[level - 1];
            channels = out / 2;
        }
    }
    add_part(&list, VMT_VAE_HEAD, channels, 3, "head", -1);
    vae->decoder_count = list.count;
}

void vmt_vae_list_parts(vmt_vae *vae)
{
    list_encoder(vae);
    list_decoder(vae);
}

/* ---------------------------------------------------------------- tensors */

/* Weight and bias of a filter of the given kernel rank and sides (0: the axis is absent). */
static enum vmt_status need_filter(vmt_ctx *ctx, vmt_needs *needs, vmt_weight *weight,
                                   const vmt_vae_part *part, const char *suffix, int64_t out,
                                   int64_t in, int64_t kt, int64_t side)
{
    const int rank = kt ? 5 : 4;
    const int64_t shape[5] = {out, in, kt ? kt : side, side, side};

    VMT_TRY(vmt_needs_add(ctx, needs, &weight->w, rank, shape, "%s%s.weight", part->name, suffix));
    return vmt_needs_add(ctx, needs, &weight->bias, 1, shape, "%s%s.bias", part->name, suffix);
}

static enum vmt_status need_time_conv(vmt_ctx *ctx, vmt_needs *needs, vmt_vae_part *part)
{
    const int64_t out = part->kind == VMT_VAE_UP ? 2 * part->in : part->in;
    const int64_t shape[5] = {out, part->in, 3, 1, 1};

    VMT_TRY(
        vmt_needs_add(ctx, needs, &part->weight[1].w, 5, shape, "%s.time_conv.weight", part->name));
    return vmt_needs_add(ctx, needs, &part->weight[1].bias, 1, shape, "%s.time_conv.bias",
                         part->name);
}

static enum vmt_status need_gamma(vmt_ctx *ctx, vmt_needs *needs, vmt_vae_part *part, int i,
                                  int rank, int64_t channels, const char *suffix)
{
    const int64_t shape[4] = {channels, 1, 1, 1};

    return vmt_needs_add(ctx, needs, &part->gamma[i], rank, shape, "%s.%s.gamma", part->name,
                         suffix);
}

static enum vmt_status need_res(vmt_ctx *ctx, vmt_needs *needs, vmt_vae_part *part)
{
    VMT_TRY(need_gamma(ctx, needs, part, 0, 4, part->in, "residual.0"));
    VMT_TRY(
        need_filter(ctx, needs, &part->weight[0], part, ".residual.2", part->out, part->in, 3, 3));
    VMT_TRY(need_gamma(ctx, needs, part, 1, 4, part->out, "residual.3"));
    VMT_TRY(
        need_filter(ctx, needs, &part->weight[1], part, ".residual.6", part->out, part->out, 3, 3));
    if (part->in == part->out)
        return VMT_OK;
    return need_filter(ctx, needs, &part->weight[2], part, ".shortcut", part->out, part->in, 1, 1);
}

static enum vmt_status need_part(vmt_ctx *ctx, vmt_needs *needs, vmt_vae_part *part)
{
    switch (part->kind) {
    case VMT_VAE_CONV:
        return need_filter(ctx, needs, &part->weight[0], part, "", part->out, part->in, 3, 3);
    case VMT_VAE_RES:
        return need_res(ctx, needs, part);
    case VMT_VAE_ATTENTION:
        VMT_TRY(need_gamma(ctx, needs, part, 0, 3, part->in, "norm"));
        VMT_TRY(need_filter(ctx, needs, &part->weight[0], part, ".to_qkv", 3 * part->in, part->in,
                            0, 1));
        return need_filter(ctx, needs, &part->weight[3], part, ".proj", part->in, part->in, 0, 1);
    case VMT_VAE_DOWN:
    case VMT_VAE_UP:
        VMT_TRY(need_filter(ctx, needs, &part->weight[0], part, ".resample.1", part->out, part->in,
                            0, 3));
        return part->time ? need_time_conv(ctx, needs, part) : VMT_OK;
    case VMT_VAE_HEAD:
        VMT_TRY(need_gamma(ctx, needs, part, 0, 4, part->in, "0"));
        return need_filter(ctx, needs, &part->weight[0], part, ".2", part->out, part->in, 3, 3);
    case VMT_VAE_POINT: /* conv1, conv2: square, even where only a part of the rows is used */
        return need_filter(ctx, needs, &part->weight[0], part, "", part->in, part->in, 1, 1);
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- views */

static void make_matrix(vmt_weight *weight, int64_t first, int64_t rows)
{
    const vmt_tensor w = vmt_slice(&weight->w, first, rows);

    weight->w = vmt_reshape(&w, VMT_SHAPE(rows, w.shape[1]));
    weight->bias = vmt_slice(&weight->bias, first, rows);
}

/* From the stored shapes to those that linear and conv3d want. */
static void view_weights(vmt_vae_part *part)
{
    vmt_weight *weight = part->weight;

    if (part->kind == VMT_VAE_RES && part->in != part->out) {
        make_matrix(&weight[2], 0, part->out);
    } else if (part->kind == VMT_VAE_ATTENTION) {
        weight[1] = weight[2] = weight[0];
        for (int i = 0; i < 3; i++)
            make_matrix(&weight[i], i * part->in, part->in);
        make_matrix(&weight[3], 0, part->out);
    } else if (part->kind == VMT_VAE_POINT) {
        make_matrix(&weight[0], 0, part->out);
    } else if (part->kind == VMT_VAE_DOWN || part->kind == VMT_VAE_UP) {
        weight[0].w = vmt_reshape(&weight[0].w, VMT_SHAPE(part->out, part->in, 1, 3, 3));
    }
}

/* Copies the gammas into memory of the backend, or counts what that takes. */
static enum vmt_status copy_gammas(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_part *parts,
                                   int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < 2; j++) {
            vmt_tensor *gamma = &parts[i].gamma[j];
            vmt_tensor copy;
            if (!gamma->data)
                continue;
            const vmt_tensor stored = vmt_reshape(gamma, VMT_SHAPE(gamma->shape[0]));
            VMT_TRY(vmt_take(ctx, arena, &copy, ctx->real, 1, stored.shape));
            if (vmt_arena_measures(arena))
                continue;
            VMT_TRY(vmt_upload(ctx, &copy, &stored));
            *gamma = copy;
        }
    return VMT_OK;
}

static enum vmt_status bind(vmt_ctx *ctx, vmt_vae *vae, vmt_needs *needs,
                            const vmt_tensor_file *file)
{
    for (int64_t i = 0; i < vae->encoder_count; i++)
        VMT_TRY(need_part(ctx, needs, &vae->encoder[i]));
    for (int64_t i = 0; i < vae->decoder_count; i++)
        VMT_TRY(need_part(ctx, needs, &vae->decoder[i]));
    VMT_TRY(vmt_needs_bind(ctx, needs, file, "VAE"));
    for (int64_t i = 0; i < vae->encoder_count; i++)
        view_weights(&vae->encoder[i]);
    for (int64_t i = 0; i < vae->decoder_count; i++)
        view_weights(&vae->decoder[i]);

    vmt_arena measure = vmt_arena_measure();
    VMT_TRY(copy_gammas(ctx, &measure, vae->encoder, vae->encoder_count));
    VMT_TRY(copy_gammas(ctx, &measure, vae->decoder, vae->decoder_count));
    VMT_TRY(vmt_arena_open(ctx, &vae->gammas, measure.peak));
    VMT_TRY(copy_gammas(ctx, &vae->gammas, vae->encoder, vae->encoder_count));
    return copy_gammas(ctx, &vae->gammas, vae->decoder, vae->decoder_count);
}

/* ---------------------------------------------------------------- interface */

enum vmt_status vmt_vae_open(vmt_ctx *ctx, vmt_vae **out, const vmt_tensor_file *file,
                             const vmt_vae_config *config)
{
    void *memory = NULL;
    vmt_needs needs = {0};

    *out = NULL;
    if (config->res_blocks < 1 || config->res_blocks > VMT_VAE_MAX_BLOCKS || config->dim < 1 ||
        config->z_dim < 1 || config->z_dim > VMT_VAE_MAX_Z)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "VAE: dim %lld, z_dim %lld, %lld residual blocks; supported are z_dim up "
                        "to %d and 1 to %d blocks",
                        (long long)config->dim, (long long)config->z_dim,
                        (long long)config->res_blocks, VMT_VAE_MAX_Z, VMT_VAE_MAX_BLOCKS);
    for (int i = 1; i < VMT_VAE_LEVELS; i++)
        if (config->dim * config->mult[i] % 2)
            return vmt_fail(ctx, VMT_E_MODEL, "VAE: level %d has %lld channels, an odd number", i,
                            (long long)(config->dim * config->mult[i]));
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(vmt_vae)));
    vmt_vae *vae = memory;
    vae->config = *config;
    vae->file = file;
    vmt_vae_list_parts(vae);
    const enum vmt_status status = bind(ctx, vae, &needs, file);
    vmt_needs_free(&needs);
    if (status != VMT_OK) {
        vmt_vae_close(ctx, vae);
        return status;
    }
    *out = vae;
    return VMT_OK;
}

void vmt_vae_close(vmt_ctx *ctx, vmt_vae *vae)
{
    if (!vae)
        return;
    vmt_vae_release(ctx, vae);
    if (vae->gammas.base)
        vmt_arena_close(ctx, &vae->gammas);
    vmt_free(vae);
}

int64_t vmt_vae_channels(const vmt_vae *vae)
{
    return vae->config.z_dim;
}

int64_t vmt_vae_time_factor(const vmt_vae *vae)
{
    int64_t factor = 1;

    for (int i = 0; i < VMT_VAE_LEVELS - 1; i++)
        factor *= vae->config.time_down[i] ? 2 : 1;
    return factor;
}

/* ---------------------------------------------------------------- converted weights */

static unsigned weight_use(const vmt_vae_part *part, int i)
{
    const bool matrix = part->kind == VMT_VAE_ATTENTION || part->kind == VMT_VAE_POINT ||
                        (part->kind == VMT_VAE_RES && i == 2);

    return matrix ? VMT_USE_LINEAR : VMT_USE_CONV;
}

static enum vmt_status prepare_weight(vmt_ctx *ctx, const vmt_vae *vae, vmt_weight *weight,
                                      unsigned use)
{
    VMT_TRY(vmt_weight_prepare(ctx, weight, use));
    if (vmt_weight_is_copied(ctx, weight, use))
        vmt_tensor_file_leave(vae->file, &weight->w);
    return VMT_OK;
}

static enum vmt_status prepare_parts(vmt_ctx *ctx, const vmt_vae *vae, vmt_vae_part *parts,
                                     int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < VMT_VAE_PART_WEIGHTS; j++)
            if (parts[i].weight[j].w.data && !parts[i].weight[j].packed)
                VMT_TRY(vmt_prefix(
                    ctx, prepare_weight(ctx, vae, &parts[i].weight[j], weight_use(&parts[i], j)),
                    "VAE, %s", parts[i].name));
    return VMT_OK;
}

enum vmt_status vmt_vae_prepare(vmt_ctx *ctx, vmt_vae *vae, unsigned directions)
{
    const unsigned missing = directions & ~vae->prepared;

    if (missing & VMT_VAE_ENCODE)
        VMT_TRY(prepare_parts(ctx, vae, vae->encoder, vae->encoder_count));
    if (missing & VMT_VAE_DECODE)
        VMT_TRY(prepare_parts(ctx, vae, vae->decoder, vae->decoder_count));
    vae->prepared |= directions;
    return VMT_OK;
}

static void release_parts(vmt_ctx *ctx, vmt_vae_part *parts, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < VMT_VAE_PART_WEIGHTS; j++)
            if (parts[i].weight[j].packed)
                ctx->ops->weight_release(ctx, &parts[i].weight[j]);
}

void vmt_vae_release(vmt_ctx *ctx, vmt_vae *vae)
{
    release_parts(ctx, vae->encoder, vae->encoder_count);
    release_parts(ctx, vae->decoder, vae->decoder_count);
    vae->prepared = 0;
}

static size_t parts_bytes(vmt_ctx *ctx, const vmt_vae_part *parts, int64_t count)
{
    size_t bytes = 0;

    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < VMT_VAE_PART_WEIGHTS; j++)
            if (parts[i].weight[j].w.data)
                bytes += ctx->ops->weight_prepare_bytes(ctx, &parts[i].weight[j],
                                                        weight_use(&parts[i], j));
    return bytes;
}

size_t vmt_vae_weight_bytes(vmt_ctx *ctx, const vmt_vae *vae, unsigned directions)
{
    size_t bytes = 0;

    if (directions & VMT_VAE_ENCODE)
        bytes += parts_bytes(ctx, vae->encoder, vae->encoder_count);
    if (directions & VMT_VAE_DECODE)
        bytes += parts_bytes(ctx, vae->decoder, vae->decoder_count);
    return bytes;
}
