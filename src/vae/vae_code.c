/* SPDX-License-Identifier: MIT
 *
 * Whole clips: bytes and latents in and out, tile by tile, frame by frame.
 */
#include "vae/vae_net.h"
#include "vae/vae_tile.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_FRAMES = 1 << 20 };

/* One call of encode or decode. */
typedef struct code_run {
    const vmt_vae *vae;
    const vmt_vae_options *options;
    enum vmt_vae_direction direction;
    vmt_vae_axis rows, cols;     /* tiles in latent cells */
    int64_t in_scale, out_scale; /* entries per latent cell: 8 for pixels, 1 for latents */
    int64_t in_channels, out_channels;
    int64_t in_frames, out_frames, latent_frames;
    vmt_tensor input, output; /* host frames of the largest tile; latents F64, pixels F32 */
    vmt_tensor row_ramp, col_ramp;
    vmt_tensor weight; /* [rows, cols] of the output: Σ of the tiles' weights */
    vmt_tensor sum;    /* decode: [frames, rows, cols, 3]: Σ weight y; encode: the latent */
    vmt_vae_net net;
    int64_t top, left, height, width; /* of this tile's output */
    int64_t index;                    /* output frames of this tile so far */
    int64_t done;                     /* latent frames of all tiles so far */
    const vmt_vae_clip *clip;         /* encode */
    float *latent;                    /* encode */
    const vmt_vae_sink *sink;         /* decode */
    const float *encoded;             /* decode */
} code_run;

static bool is_tiled(const code_run *run)
{
    return run->rows.tiles * run->cols.tiles > 1;
}

static int64_t out_rows(const code_run *run)
{
    return run->rows.cells * run->out_scale;
}

static int64_t out_cols(const code_run *run)
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

/* ---------------------------------------------------------------- tiles */

static float tile_weight(const code_run *run, int64_t i, int64_t j)
{
    const float row = ((const float *)run->row_ramp.data)[i];
    const float col = ((const float *)run->col_ramp.data)[j];

    return row < col ? row : col;
}

static void add_weights(code_run *run)
{
    float *weight = run->weight.data;

    for (int64_t i = 0; i < run->height; i++)
        for (int64_t j = 0; j < run->width; j++)
            weight[(run->top + i) * out_cols(run) + run->left + j] += tile_weight(run, i, j);
}

/* ---------------------------------------------------------------- encode */

/* The tile's part of frame t into run->input. */
static void read_pixels(const code_run *run, float *input, int64_t t)
{
    const vmt_vae_clip *clip = run->clip;
    const int64_t height = run->height * run->in_scale, width = run->width * run->in_scale;
    const int64_t top = run->top * run->in_scale, left = run->left * run->in_scale;
    const int64_t plane = clip->height * clip->width;

    for (int64_t i = 0; i < height; i++) {
        const int64_t first = t * plane + (top + i) * clip->width + left;
        float *row = input + i * width * 3;
        if (clip->bytes)
            for (int64_t j = 0; j < width * 3; j++)
                row[j] = from_byte(clip->bytes[first * 3 + j]);
        else
            for (int64_t j = 0; j < width; j++)
                for (int64_t c = 0; c < 3; c++)
                    row[j * 3 + c] = clip->planes[c * clip->frames * plane + first + j];
    }
}

/* latent = (mean of the code - MEAN) * s. */
static enum vmt_status take_latent(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    code_run *run = user;
    vmt_tensor host = vmt_tensor_over(run->output.data, VMT_F64, 4, frame->shape);
    const double *code = host.data;
    const int64_t channels = run->out_channels;
    const int64_t f = run->index++;

    VMT_TRY(vmt_download(ctx, &host, frame));
    for (int64_t c = 0; c < channels; c++) {
        const double mean = mean_of(run->vae, c), s = inverse_std(run->vae, c);
        float *plane = run->latent + (c * run->out_frames + f) * out_rows(run) * out_cols(run);
        for (int64_t i = 0; i < run->height; i++)
            for (int64_t j = 0; j < run->width; j++) {
                const float x = (float)((code[(i * run->width + j) * channels + c] - mean) * s);
                float *to = &plane[(run->top + i) * out_cols(run) + run->left + j];
                if (!isfinite(x))
                    return vmt_fail(ctx, VMT_E_NUMERIC,
                                    "VAE encode: latent frame %" PRId64 " has a value that is not "
                                    "finite (channel %" PRId64 ", row %" PRId64 ", column %" PRId64
                                    ")",
                                    f, c, run->top + i, run->left + j);
                *to = is_tiled(run) ? *to + x * tile_weight(run, i, j) : x;
            }
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- decode */

/* The tile's part of latent frame f as z / s + MEAN into run->input. */
static void read_latent(const code_run *run, double *input, int64_t f)
{
    const int64_t channels = run->in_channels;
    const int64_t height = run->height / run->out_scale, width = run->width / run->out_scale;
    const int64_t top = run->top / run->out_scale, left = run->left / run->out_scale;
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

static enum vmt_status deliver(vmt_ctx *ctx, const code_run *run, int64_t f, const float *rgb)
{
    const vmt_vae_sink *sink = run->sink;
    const int64_t count = out_rows(run) * out_cols(run) * 3;

    for (int64_t i = 0; i < count; i++)
        if (!isfinite(rgb[i]))
            return vmt_fail(ctx, VMT_E_NUMERIC,
                            "VAE decode: frame %" PRId64 " has a value that is not finite (row "
                            "%" PRId64 ", column %" PRId64 ")",
                            f, i / 3 / out_cols(run), i / 3 % out_cols(run));
    if (sink->bytes)
        vmt_vae_to_bytes(sink->bytes + f * count, rgb, count);
    return sink->frame ? sink->frame(ctx, sink->user, f, rgb) : VMT_OK;
}

static enum vmt_status take_pixels(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    code_run *run = user;
    vmt_tensor host = vmt_tensor_over(run->output.data, VMT_F32, 4, frame->shape);
    const float *rgb = host.data;
    const int64_t f = run->index++;

    VMT_TRY(vmt_download(ctx, &host, frame));
    if (!is_tiled(run))
        return deliver(ctx, run, f, rgb);
    float *sum = (float *)run->sum.data + f * out_rows(run) * out_cols(run) * 3;
    for (int64_t i = 0; i < run->height; i++)
        for (int64_t j = 0; j < run->width; j++) {
            const float weight = tile_weight(run, i, j);
            float *to = sum + ((run->top + i) * out_cols(run) + run->left + j) * 3;
            for (int64_t c = 0; c < 3; c++)
                to[c] += weight * rgb[(i * run->width + j) * 3 + c];
        }
    return VMT_OK;
}

/* ---------------------------------------------------------------- both */

/* Sizes of the run, tiles included. */
static enum vmt_status set_up(vmt_ctx *ctx, code_run *run, const vmt_vae *vae,
                              enum vmt_vae_direction direction, int64_t latent_frames, int64_t rows,
                              int64_t cols, const vmt_vae_options *options)
{
    static const vmt_vae_options none = {0};
    const bool encode = direction == VMT_VAE_ENCODE;
    const int64_t pixel_frames = 1 + (latent_frames - 1) * vmt_vae_time_factor(vae);

    run->vae = vae;
    run->direction = direction;
    run->options = options ? options : &none;
    if (latent_frames < 1 || latent_frames > MAX_FRAMES || rows < 1 || cols < 1 ||
        rows > MAX_SIDE / VMT_VAE_CELL || cols > MAX_SIDE / VMT_VAE_CELL)
        return vmt_fail(ctx, VMT_E_ARG,
                        "VAE %s: %" PRId64 " latent frames of %" PRId64 "x%" PRId64
                        " cells; possible are 1 to %d frames and sides of 1 to %d cells",
                        encode ? "encode" : "decode", latent_frames, rows, cols, MAX_FRAMES,
                        MAX_SIDE / VMT_VAE_CELL);
    VMT_TRY(vmt_vae_axis_init(ctx, &run->rows, "rows", rows, run->options->tile[0],
                              run->options->stride[0]));
    VMT_TRY(vmt_vae_axis_init(ctx, &run->cols, "columns", cols, run->options->tile[1],
                              run->options->stride[1]));
    run->latent_frames = latent_frames;
    run->in_frames = encode ? pixel_frames : latent_frames;
    run->out_frames = encode ? latent_frames : pixel_frames;
    run->in_scale = encode ? VMT_VAE_CELL : 1;
    run->out_scale = encode ? 1 : VMT_VAE_CELL;
    run->in_channels = encode ? 3 : vae->config.z_dim;
    run->out_channels = encode ? vae->config.z_dim : 3;
    run->net.user = run;
    run->net.emit = encode ? take_latent : take_pixels;
    return VMT_OK;
}

/* All memory of a run, for its largest tile. */
static enum vmt_status lay_out(vmt_ctx *ctx, code_run *run, vmt_arena *device, vmt_arena *host)
{
    const bool encode = run->direction == VMT_VAE_ENCODE;
    const int64_t in_h = run->rows.size * run->in_scale, in_w = run->cols.size * run->in_scale;
    const int64_t out_h = run->rows.size * run->out_scale, out_w = run->cols.size * run->out_scale;

    VMT_TRY(vmt_vae_net_layout(ctx, device, &run->net, run->vae, run->direction, in_h, in_w));
    VMT_TRY(vmt_take(ctx, host, &run->input, encode ? VMT_F32 : VMT_F64,
                     VMT_SHAPE(in_h, in_w, run->in_channels)));
    VMT_TRY(vmt_take(ctx, host, &run->output, encode ? VMT_F64 : VMT_F32,
                     VMT_SHAPE(out_h, out_w, run->out_channels)));
    if (!is_tiled(run))
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, host, &run->row_ramp, VMT_F32, VMT_SHAPE(out_h)));
    VMT_TRY(vmt_take(ctx, host, &run->col_ramp, VMT_F32, VMT_SHAPE(out_w)));
    VMT_TRY(vmt_take(ctx, host, &run->weight, VMT_F32, VMT_SHAPE(out_rows(run), out_cols(run))));
    if (encode)
        return VMT_OK;
    return vmt_take(ctx, host, &run->sum, VMT_F32,
                    VMT_SHAPE(run->out_frames, out_rows(run), out_cols(run), 3));
}

static enum vmt_status run_tile(vmt_ctx *ctx, code_run *run, int64_t row, int64_t col)
{
    const int64_t cell_rows = vmt_vae_axis_count(&run->rows, row);
    const int64_t cell_cols = vmt_vae_axis_count(&run->cols, col);
    const int64_t tiles = run->rows.tiles * run->cols.tiles;
    const vmt_tensor input = vmt_tensor_over(
        run->input.data, run->input.dtype,
        VMT_SHAPE(1, cell_rows * run->in_scale, cell_cols * run->in_scale, run->in_channels));

    run->top = vmt_vae_axis_first(&run->rows, row) * run->out_scale;
    run->left = vmt_vae_axis_first(&run->cols, col) * run->out_scale;
    run->height = cell_rows * run->out_scale;
    run->width = cell_cols * run->out_scale;
    run->index = 0;
    if (is_tiled(run)) {
        vmt_vae_axis_ramp(&run->rows, row, run->out_scale, run->row_ramp.data);
        vmt_vae_axis_ramp(&run->cols, col, run->out_scale, run->col_ramp.data);
        add_weights(run);
    }
    VMT_TRY(vmt_vae_net_reset(ctx, &run->net));
    for (int64_t t = 0; t < run->in_frames; t++) {
        const int64_t before = run->index;
        VMT_TRY(vmt_check_cancelled(ctx));
        if (run->direction == VMT_VAE_ENCODE)
            read_pixels(run, input.data, t);
        else
            read_latent(run, input.data, t);
        VMT_TRY(vmt_vae_net_push(ctx, &run->net, &input));
        if (run->index == before)
            continue;
        run->done++;
        if (run->options->progress)
            VMT_TRY(run->options->progress(ctx, run->options->user, run->done,
                                           tiles * run->latent_frames));
    }
    return VMT_OK;
}

/* Σ weight y / Σ weight. */
static enum vmt_status blend(vmt_ctx *ctx, code_run *run)
{
    const float *weight = run->weight.data;
    const int64_t plane = out_rows(run) * out_cols(run);

    if (run->direction == VMT_VAE_ENCODE) {
        for (int64_t c = 0; c < run->out_channels * run->out_frames; c++)
            for (int64_t i = 0; i < plane; i++)
                run->latent[c * plane + i] /= weight[i];
        return VMT_OK;
    }
    for (int64_t f = 0; f < run->out_frames; f++) {
        float *rgb = (float *)run->sum.data + f * plane * 3;
        for (int64_t i = 0; i < plane * 3; i++)
            rgb[i] /= weight[i / 3];
        VMT_TRY(deliver(ctx, run, f, rgb));
    }
    return VMT_OK;
}

static enum vmt_status run_tiles(vmt_ctx *ctx, code_run *run, vmt_arena *device)
{
    for (int64_t row = 0; row < run->rows.tiles; row++)
        for (int64_t col = 0; col < run->cols.tiles; col++) {
            vmt_arena_reset(device, 0); /* tiles at the end may be smaller */
            VMT_TRY(vmt_vae_net_layout(ctx, device, &run->net, run->vae, run->direction,
                                       vmt_vae_axis_count(&run->rows, row) * run->in_scale,
                                       vmt_vae_axis_count(&run->cols, col) * run->in_scale));
            VMT_TRY(run_tile(ctx, run, row, col));
        }
    return is_tiled(run) ? blend(ctx, run) : VMT_OK;
}

static enum vmt_status run_all(vmt_ctx *ctx, vmt_vae *vae, code_run *run)
{
    vmt_arena device = vmt_arena_measure(), host = vmt_arena_measure();
    void *memory = NULL;

    VMT_TRY(vmt_vae_prepare(ctx, vae, run->direction));
    VMT_TRY(lay_out(ctx, run, &device, &host));
    VMT_TRY(vmt_alloc(ctx, &memory, host.peak, 1));
    host = (vmt_arena){.base = memory, .capacity = host.peak};
    enum vmt_status status = vmt_arena_open(ctx, &device, device.peak);
    if (status == VMT_OK) {
        status = lay_out(ctx, run, &device, &host);
        if (status == VMT_OK)
            status = run_tiles(ctx, run, &device);
        vmt_arena_close(ctx, &device);
    }
    vmt_arena_reset(&host, 0);
    vmt_free(memory);
    return status;
}

static enum vmt_status measure(vmt_ctx *ctx, code_run *run, size_t *bytes)
{
    vmt_arena device = vmt_arena_measure(), host = vmt_arena_measure();

    VMT_TRY(lay_out(ctx, run, &device, &host));
    if (!vmt_add_size(device.peak, host.peak, bytes))
        return vmt_fail(ctx, VMT_E_MEMORY, "VAE: more memory than a size can say");
    return VMT_OK;
}

/* ---------------------------------------------------------------- interface */

static enum vmt_status set_up_encode(vmt_ctx *ctx, code_run *run, const vmt_vae *vae,
                                     int64_t frames, int64_t height, int64_t width,
                                     const vmt_vae_options *options)
{
    if (frames < 1 || height < 1 || width < 1 || height % VMT_VAE_CELL || width % VMT_VAE_CELL)
        return vmt_fail(ctx, VMT_E_ARG,
                        "VAE encode: %" PRId64 " frames of %" PRId64 "x%" PRId64
                        " pixels; at least one frame and sides that are multiples of %d are needed",
                        frames, width, height, VMT_VAE_CELL);
    return set_up(ctx, run, vae, VMT_VAE_ENCODE, 1 + (frames - 1) / vmt_vae_time_factor(vae),
                  height / VMT_VAE_CELL, width / VMT_VAE_CELL, options);
}

enum vmt_status vmt_vae_encode(vmt_ctx *ctx, vmt_vae *vae, float *latent, const vmt_vae_clip *clip,
                               const vmt_vae_options *options)
{
    code_run run = {.clip = clip, .latent = latent};

    VMT_TRY(set_up_encode(ctx, &run, vae, clip->frames, clip->height, clip->width, options));
    memset(latent, 0,
           sizeof *latent *
               (size_t)(run.out_channels * run.out_frames * out_rows(&run) * out_cols(&run)));
    return run_all(ctx, vae, &run);
}

enum vmt_status vmt_vae_decode(vmt_ctx *ctx, vmt_vae *vae, const vmt_vae_sink *sink,
                               const float *latent, int64_t frames, int64_t rows, int64_t cols,
                               const vmt_vae_options *options)
{
    code_run run = {.sink = sink, .encoded = latent};

    VMT_TRY(set_up(ctx, &run, vae, VMT_VAE_DECODE, frames, rows, cols, options));
    for (int64_t i = 0; i < run.in_channels * frames * rows * cols; i++)
        if (!isfinite(latent[i]))
            return vmt_fail(ctx, VMT_E_NUMERIC,
                            "VAE decode: latent frame %" PRId64 " has a value that is not finite "
                            "(channel %" PRId64 ")",
                            i / (rows * cols) % frames, i / (rows * cols) / frames);
    return run_all(ctx, vae, &run);
}

enum vmt_status vmt_vae_encode_bytes(vmt_ctx *ctx, const vmt_vae *vae, int64_t frames,
                                     int64_t height, int64_t width, const vmt_vae_options *options,
                                     size_t *bytes)
{
    code_run run = {0};

    VMT_TRY(set_up_encode(ctx, &run, vae, frames, height, width, options));
    return measure(ctx, &run, bytes);
}

enum vmt_status vmt_vae_decode_bytes(vmt_ctx *ctx, const vmt_vae *vae, int64_t frames, int64_t rows,
                                     int64_t cols, const vmt_vae_options *options, size_t *bytes)
{
    code_run run = {0};

    VMT_TRY(set_up(ctx, &run, vae, VMT_VAE_DECODE, frames, rows, cols, options));
    return measure(ctx, &run, bytes);
}
