/* SPDX-License-Identifier: MIT
 *
 * Bytes and latents into a network and out of it.
 */
#include "vae/vae_run.h"

#include <inttypes.h>
#include <math.h>

int64_t vmt_vae_out_rows(const vmt_vae_run *run)
{
    return run->rows.cells * run->out_scale;
}

int64_t vmt_vae_out_cols(const vmt_vae_run *run)
{
    return run->cols.cells * run->out_scale;
}

/* ---------------------------------------------------------------- numbers */

/* byte * float32(2/255) - 1, each operation rounded: the product is exact in double, so no
 * contraction can change it. */
static float from_byte(uint8_t byte)
{
    const float step = (float)(2.0 / 255.0);
    const float scaled = (float)((double)byte * (double)step);

    return scaled - 1.0f;
}

void vmt_vae_to_bytes(uint8_t *bytes, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const float level = (x[i] + 1.0f) * 127.5f;
        bytes[i] = (uint8_t)(level > 0 ? level < 255 ? level : 255.0f : 0.0f);
    }
}

/* 1 / std, rounded to float32: decode divides by it. */
static double inverse_std(const vmt_vae *vae, int64_t channel)
{
    return (double)(1.0f / (float)vae->config.std[channel]);
}

static double mean_of(const vmt_vae *vae, int64_t channel)
{
    return (double)(float)vae->config.mean[channel];
}

float vmt_vae_tile_weight(const vmt_vae_run *run, int64_t i, int64_t j)
{
    const float row = ((const float *)run->row_ramp.data)[i];
    const float col = ((const float *)run->col_ramp.data)[j];

    return row < col ? row : col;
}

/* ---------------------------------------------------------------- encode */

/* The tile's part of frame t into run->input. */
static void read_pixels(const vmt_vae_run *run, float *input, int64_t t)
{
    const vmt_vae_clip *clip = run->clip;
    const int64_t height = run->in.height, width = run->in.width;
    const int64_t top = run->in.top, left = run->in.left;
    const int64_t plane = clip->height * clip->width;
    float level[256];

    for (int b = 0; b < 256; b++)
        level[b] = from_byte((uint8_t)b);
    for (int64_t i = 0; i < height; i++) {
        const int64_t first = t * plane + (top + i) * clip->width + left;
        float *row = input + i * width * 3;
        if (clip->bytes)
            for (int64_t j = 0; j < width * 3; j++)
                row[j] = level[clip->bytes[first * 3 + j]];
        else
            for (int64_t j = 0; j < width; j++)
                for (int64_t c = 0; c < 3; c++)
                    row[j * 3 + c] = clip->planes[c * clip->frames * plane + first + j];
    }
}

/* latent = (mean of the code - MEAN) * s. */
enum vmt_status vmt_vae_take_latent(vmt_ctx *ctx, vmt_vae_run *run, int64_t f,
                                    const vmt_tensor *host)
{
    const double *code = host->data;
    const int64_t channels = run->out_channels;

    for (int64_t c = 0; c < channels; c++) {
        const double mean = mean_of(run->vae, c), s = inverse_std(run->vae, c);
        float *plane =
            run->latent + (c * run->out_frames + f) * vmt_vae_out_rows(run) * vmt_vae_out_cols(run);
        for (int64_t i = 0; i < run->out.height; i++)
            for (int64_t j = 0; j < run->out.width; j++) {
                const float x = (float)((code[(i * run->out.width + j) * channels + c] - mean) * s);
                float *to = &plane[(run->out.top + i) * vmt_vae_out_cols(run) + run->out.left + j];
                if (!isfinite(x))
                    return vmt_fail(ctx, VMT_E_NUMERIC,
                                    "VAE encode: latent frame %" PRId64 " has a value that is not "
                                    "finite (channel %" PRId64 ", row %" PRId64 ", column %" PRId64
                                    ")",
                                    f, c, run->out.top + i, run->out.left + j);
                *to = run->weighted ? *to + x * vmt_vae_tile_weight(run, i, j) : x;
            }
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- decode */

/* The tile's part of latent frame f as z / s + MEAN into run->input. */
static void read_latent(const vmt_vae_run *run, double *input, int64_t f)
{
    const int64_t channels = run->in_channels;
    const int64_t height = run->in.height, width = run->in.width;
    const int64_t top = run->in.top, left = run->in.left;
    const int64_t plane = run->rows.cells * run->cols.cells;

    for (int64_t c = 0; c < channels; c++) {
        const double mean = mean_of(run->vae, c), s = inverse_std(run->vae, c);
        const float *from = run->encoded + (c * run->in_frames + f) * plane;
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++)
                input[(i * width + j) * channels + c] =
                    (double)from[(top + i) * run->cols.cells + left + j] / s + mean;
    }
}

enum vmt_status vmt_vae_not_finite(vmt_ctx *ctx, int64_t f, int64_t row, int64_t col)
{
    return vmt_fail(ctx, VMT_E_NUMERIC,
                    "VAE decode: frame %" PRId64 " has a value that is not finite (row %" PRId64
                    ", column %" PRId64 ")",
                    f, row, col);
}

enum vmt_status vmt_vae_deliver(vmt_ctx *ctx, const vmt_vae_run *run, int64_t f, const float *rgb)
{
    const vmt_vae_sink *sink = run->sink;
    const int64_t count = vmt_vae_out_rows(run) * vmt_vae_out_cols(run) * 3;

    for (int64_t i = 0; i < count; i++)
        if (!isfinite(rgb[i]))
            return vmt_vae_not_finite(ctx, f, i / 3 / vmt_vae_out_cols(run),
                                      i / 3 % vmt_vae_out_cols(run));
    if (sink->bytes)
        vmt_vae_to_bytes(sink->bytes + f * count, rgb, count);
    return sink->frame ? sink->frame(ctx, sink->user, f, rgb) : VMT_OK;
}

enum vmt_status vmt_vae_take_pixels(vmt_ctx *ctx, vmt_vae_run *run, int64_t f,
                                    const vmt_tensor *host)
{
    const float *rgb = host->data;

    if (!run->weighted)
        return vmt_vae_deliver(ctx, run, f, rgb);
    float *sum = (float *)run->sum.data + f * vmt_vae_out_rows(run) * vmt_vae_out_cols(run) * 3;
    for (int64_t i = 0; i < run->out.height; i++)
        for (int64_t j = 0; j < run->out.width; j++) {
            const float weight = vmt_vae_tile_weight(run, i, j);
            float *to = sum + ((run->out.top + i) * vmt_vae_out_cols(run) + run->out.left + j) * 3;
            for (int64_t c = 0; c < 3; c++)
                to[c] += weight * rgb[(i * run->out.width + j) * 3 + c];
        }
    return VMT_OK;
}

/* ---------------------------------------------------------------- both */

enum vmt_status vmt_vae_fetch_last(vmt_ctx *ctx, vmt_vae_run *run)
{
    vmt_tensor host = run->coming;

    if (!host.data)
        return VMT_OK;
    run->coming.data = NULL;
    VMT_TRY(vmt_download_end(ctx, &host));
    return run->take(ctx, run, run->taken++, &host);
}

enum vmt_status vmt_vae_fetch(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    vmt_vae_run *run = user;
    const vmt_tensor place = vmt_index(&run->output, run->index++ % 2);
    vmt_tensor host = vmt_tensor_over(place.data, place.dtype, 4, frame->shape);

    VMT_TRY(vmt_download_begin(ctx, &host, frame));
    VMT_TRY(vmt_vae_fetch_last(ctx, run));
    run->coming = host;
    return VMT_OK;
}

void vmt_vae_read_frame(const vmt_vae_run *run, int64_t t)
{
    if (run->direction == VMT_VAE_ENCODE)
        read_pixels(run, run->input.data, t);
    else
        read_latent(run, run->input.data, t);
}
