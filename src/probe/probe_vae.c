/* SPDX-License-Identifier: MIT
 *
 * Case kinds "vae" (in.videoN [1, 3, T, H, W] -> out.latentN, in.zN [1, z, F, h, w] ->
 * out.decodedN, not clamped; N = 0, 1, …) and "vae_tiled" (in.video, in.z -> out.latent_tiled,
 * _plain, out.decoded_tiled, _plain, clamped; metadata tile, stride in latent cells).
 */
#include "probe/probe.h"

#include "vae/vae.h"

#include <stdio.h>

typedef struct vae_case {
    vmt_probe_case *c;
    vmt_tensor_file *weights;
    vmt_vae_config config;
    vmt_vae *vae;
} vae_case;

static enum vmt_status open_case(vmt_ctx *ctx, vae_case *v, vmt_probe_case *c)
{
    vmt_config_file *config;

    v->c = c;
    VMT_TRY(vmt_probe_weights(ctx, c, "weights", &v->weights));
    VMT_TRY(vmt_probe_config(ctx, c, &config));
    const enum vmt_status status = vmt_vae_config_read(ctx, &v->config, config, v->weights);
    vmt_config_file_close(config);
    VMT_TRY(status);
    return vmt_vae_open(ctx, &v->vae, v->weights, &v->config);
}

static void close_case(vmt_ctx *ctx, vae_case *v)
{
    vmt_vae_close(ctx, v->vae);
    vmt_tensor_file_close(v->weights);
}

/* Host values by way of the backend, which is where outputs are taken from. */
static enum vmt_status emit(vmt_ctx *ctx, vmt_probe_case *c, float *values, const int64_t shape[5],
                            const char *name)
{
    const vmt_tensor host = vmt_tensor_over(values, VMT_F32, 5, shape);
    vmt_arena arena = vmt_arena_measure();
    vmt_tensor t;

    VMT_TRY(vmt_take(ctx, &arena, &t, VMT_F32, 5, shape));
    VMT_TRY(vmt_arena_open(ctx, &arena, arena.peak));
    enum vmt_status status = vmt_take(ctx, &arena, &t, VMT_F32, 5, shape);
    if (status == VMT_OK)
        status = vmt_upload(ctx, &t, &host);
    if (status == VMT_OK)
        status = vmt_probe_emit(ctx, c, &t, 5, shape, "%s", name);
    vmt_arena_close(ctx, &arena);
    return status;
}

static enum vmt_status encode(vmt_ctx *ctx, const vae_case *v, const char *in, const char *out,
                              const vmt_vae_options *options)
{
    const vmt_tensor *video;
    void *latent;

    VMT_TRY(vmt_probe_input(ctx, v->c, in, VMT_F32, 5, &video));
    const int64_t *s = video->shape;
    if (s[0] != 1 || s[1] != 3 || s[2] < 1)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.%s: expected shape [1, 3, T, H, W]", in);
    const vmt_vae_clip clip = {
        .planes = video->data, .frames = s[2], .height = s[3], .width = s[4]};
    const int64_t shape[5] = {1, v->config.z_dim, 1 + (s[2] - 1) / vmt_vae_time_factor(v->vae),
                              s[3] / VMT_VAE_CELL, s[4] / VMT_VAE_CELL};
    VMT_TRY(vmt_alloc(ctx, &latent, (size_t)(shape[1] * shape[2] * shape[3] * shape[4]),
                      sizeof(float)));
    enum vmt_status status = vmt_vae_encode(ctx, v->vae, latent, &clip, options);
    if (status == VMT_OK)
        status = emit(ctx, v->c, latent, shape, out);
    vmt_free(latent);
    return status;
}

/* Decoded frames gathered as planes. */
typedef struct gather {
    float *planes; /* [3, frames, pixels] */
    int64_t frames, pixels;
    bool clamp; /* to -1 .. 1 */
} gather;

static enum vmt_status gather_frame(vmt_ctx *ctx, void *user, int64_t index, const float *rgb)
{
    const gather *g = user;

    (void)ctx;
    for (int64_t i = 0; i < g->pixels; i++)
        for (int64_t c = 0; c < 3; c++) {
            const float x = rgb[i * 3 + c];
            g->planes[(c * g->frames + index) * g->pixels + i] = g->clamp && x < -1  ? -1
                                                                 : g->clamp && x > 1 ? 1
                                                                                     : x;
        }
    return VMT_OK;
}

static enum vmt_status decode(vmt_ctx *ctx, const vae_case *v, const char *in, const char *out,
                              bool clamp, const vmt_vae_options *options)
{
    const vmt_tensor *z;
    void *planes;

    VMT_TRY(vmt_probe_input(ctx, v->c, in, VMT_F32, 5, &z));
    const int64_t *s = z->shape;
    if (s[0] != 1 || s[1] != v->config.z_dim || s[2] < 1)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.%s: expected shape [1, %d, F, h, w]", in,
                        (int)v->config.z_dim);
    const int64_t shape[5] = {1, 3, 1 + (s[2] - 1) * vmt_vae_time_factor(v->vae),
                              s[3] * VMT_VAE_CELL, s[4] * VMT_VAE_CELL};
    gather g = {.frames = shape[2], .pixels = shape[3] * shape[4], .clamp = clamp};
    const vmt_vae_sink sink = {.frame = gather_frame, .user = &g};
    VMT_TRY(vmt_alloc(ctx, &planes, (size_t)(3 * g.frames * g.pixels), sizeof(float)));
    g.planes = planes;
    enum vmt_status status = vmt_vae_decode(ctx, v->vae, &sink, z->data, s[2], s[3], s[4], options);
    if (status == VMT_OK)
        status = emit(ctx, v->c, planes, shape, out);
    vmt_free(planes);
    return status;
}

static enum vmt_status run_numbered(vmt_ctx *ctx, const vae_case *v)
{
    char in[32], out[32];

    for (int i = 0;; i++) {
        bool any = false;
        snprintf(in, sizeof in, "video%d", i);
        snprintf(out, sizeof out, "out.latent%d", i);
        if (vmt_probe_has(v->c, in)) {
            VMT_TRY(encode(ctx, v, in, out, NULL));
            any = true;
        }
        snprintf(in, sizeof in, "z%d", i);
        snprintf(out, sizeof out, "out.decoded%d", i);
        if (vmt_probe_has(v->c, in)) {
            VMT_TRY(decode(ctx, v, in, out, false, NULL));
            any = true;
        }
        if (!any)
            return VMT_OK;
    }
}

enum vmt_status vmt_probe_vae(vmt_ctx *ctx, vmt_probe_case *c)
{
    vae_case v = {0};
    enum vmt_status status = open_case(ctx, &v, c);

    if (status == VMT_OK)
        status = run_numbered(ctx, &v);
    close_case(ctx, &v);
    return status;
}

static enum vmt_status run_tiled(vmt_ctx *ctx, const vae_case *v)
{
    vmt_vae_options tiles = {.blend = true};

    VMT_TRY(vmt_probe_meta_sizes(ctx, v->c, "tile", tiles.tile, 2));
    VMT_TRY(vmt_probe_meta_sizes(ctx, v->c, "stride", tiles.stride, 2));
    if (vmt_probe_has(v->c, "video")) {
        VMT_TRY(encode(ctx, v, "video", "out.latent_tiled", &tiles));
        VMT_TRY(encode(ctx, v, "video", "out.latent_plain", NULL));
    }
    if (vmt_probe_has(v->c, "z")) {
        VMT_TRY(decode(ctx, v, "z", "out.decoded_tiled", true, &tiles));
        VMT_TRY(decode(ctx, v, "z", "out.decoded_plain", true, NULL));
    }
    return VMT_OK;
}

enum vmt_status vmt_probe_vae_tiled(vmt_ctx *ctx, vmt_probe_case *c)
{
    vae_case v = {0};
    enum vmt_status status = open_case(ctx, &v, c);

    if (status == VMT_OK)
        status = run_tiled(ctx, &v);
    close_case(ctx, &v);
    return status;
}
