/* SPDX-License-Identifier: MIT
 *
 * The autoencoder, both ways, on a clip of the asked size.
 */
#include "bench/bench.h"

#include "vae/vae.h"

#include <inttypes.h>
#include <stdio.h>

enum { FEW_FRAMES = 5 }; /* the first latent frame, which is one frame, and one of the others */

typedef struct vae_bench {
    vmt_tensor_file *file;
    vmt_vae *vae;
    uint8_t *pixels;
    float *latent;
    int64_t frames, latent_frames, rows, cols;
} vae_bench;

static enum vmt_status encode(vmt_ctx *ctx, void *user)
{
    vae_bench *v = user;
    const vmt_vae_clip clip = {.bytes = v->pixels,
                               .frames = v->frames,
                               .height = v->rows * VMT_VAE_CELL,
                               .width = v->cols * VMT_VAE_CELL};
    return vmt_vae_encode(ctx, v->vae, v->latent, &clip, NULL);
}

static enum vmt_status decode(vmt_ctx *ctx, void *user)
{
    vae_bench *v = user;
    const vmt_vae_sink sink = {.bytes = v->pixels};
    return vmt_vae_decode(ctx, v->vae, &sink, v->latent, v->latent_frames, v->rows, v->cols, NULL);
}

static enum vmt_status open_vae(bench *b, vae_bench *v)
{
    vmt_ctx *ctx = b->ctx;
    vmt_vae_config config = b->vae;
    vmt_tensor_list list = {0};
    void *memory;

    for (int64_t c = 0; c < config.z_dim; c++)
        config.std[c] = 1;
    v->frames = b->head.frames;
    if (!b->options.full && v->frames > FEW_FRAMES)
        v->frames = FEW_FRAMES;
    v->rows = b->latent_h;
    v->cols = b->latent_w;
    v->latent_frames = 1 + (v->frames - 1) / 4;
    const int64_t pixels = v->frames * b->head.height * b->head.width * 3;
    const int64_t cells = config.z_dim * v->latent_frames * v->rows * v->cols;
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)pixels, 1));
    v->pixels = memory;
    for (int64_t i = 0; i < pixels; i++)
        v->pixels[i] = (uint8_t)(i * 2654435761u >> 16);
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)cells, sizeof(float)));
    v->latent = memory;
    bench_fill(v->latent, cells);
    VMT_TRY(vmt_tensor_list_vae(ctx, &list, &config));
    VMT_TRY(bench_weights_file(ctx, &v->file, &list, ctx->act == VMT_BF16 ? VMT_BF16 : VMT_F32,
                               BENCH_MEMORY));
    bench_mark_memory(b);
    return vmt_vae_open(ctx, &v->vae, v->file, &config);
}

static enum vmt_status measure_vae(bench *b, vae_bench *v, enum vmt_vae_direction direction)
{
    const bool to_latent = direction == VMT_VAE_ENCODE;
    char detail[BENCH_TEXT_BYTES];
    const size_t converted = vmt_vae_weight_bytes(b->ctx, v->vae, direction);
    size_t planned;

    if (to_latent)
        VMT_TRY(vmt_vae_encode_bytes(b->ctx, v->vae, v->frames, b->head.height, b->head.width, NULL,
                                     &planned));
    else
        VMT_TRY(vmt_vae_decode_bytes(b->ctx, v->vae, v->latent_frames, v->rows, v->cols, NULL,
                                     &planned));
    vmt_bench_row row = {.part = to_latent ? "encode" : "decode",
                         .what = to_latent ? "VAE encode" : "VAE decode",
                         .detail = detail,
                         .planned = planned + converted,
                         .converted = converted};
    snprintf(detail, sizeof detail, "%" PRId64 " of %" PRId64 " frames %" PRId64 "x%" PRId64,
             v->frames, b->head.frames, b->head.width, b->head.height);
    VMT_TRY(bench_measure(b, &row, to_latent ? encode : decode, v));
    return bench_tell(b, &row);
}

static enum vmt_status bench_vae(bench *b, enum vmt_vae_direction direction)
{
    vae_bench v = {0};
    enum vmt_status status = open_vae(b, &v);

    if (status == VMT_OK)
        status = measure_vae(b, &v, direction);
    vmt_vae_close(b->ctx, v.vae);
    vmt_tensor_file_close(v.file);
    vmt_free(v.pixels);
    vmt_free(v.latent);
    return status;
}

enum vmt_status bench_encode(bench *b)
{
    return bench_vae(b, VMT_VAE_ENCODE);
}

enum vmt_status bench_decode(bench *b)
{
    return bench_vae(b, VMT_VAE_DECODE);
}
