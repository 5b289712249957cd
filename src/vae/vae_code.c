/* SPDX-License-Identifier: MIT
 *
 * Whole clips, frame by frame, whole frames or weighted tiles; and the interface.
 */
#include "vae/vae_run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_FRAMES = 1 << 20 };

bool vmt_vae_is_tiled(const vmt_vae_run *run)
{
    return run->rows.tiles * run->cols.tiles > 1;
}

/* ---------------------------------------------------------------- tiles */

static void add_weights(vmt_vae_run *run)
{
    float *weight = run->weight.data;

    for (int64_t i = 0; i < run->out.height; i++)
        for (int64_t j = 0; j < run->out.width; j++)
            weight[(run->out.top + i) * vmt_vae_out_cols(run) + run->out.left + j] +=
                vmt_vae_tile_weight(run, i, j);
}

/* ---------------------------------------------------------------- both */

/* Sizes of the run, tiles included. */
static enum vmt_status set_up(vmt_ctx *ctx, vmt_vae_run *run, const vmt_vae *vae,
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
    const int64_t *tile = run->options->tile;
    const int64_t *stride = run->options->blend ? run->options->stride : tile;
    if (stride == tile && (run->options->stride[0] || run->options->stride[1]))
        return vmt_fail(ctx, VMT_E_ARG,
                        "VAE tile stride %" PRId64 "x%" PRId64
                        ": exact tiles have none, tiling blend has",
                        run->options->stride[0], run->options->stride[1]);
    VMT_TRY(vmt_vae_axis_init(ctx, &run->rows, "rows", rows, tile[0], stride[0]));
    VMT_TRY(vmt_vae_axis_init(ctx, &run->cols, "columns", cols, tile[1], stride[1]));
    run->weighted = run->options->blend && vmt_vae_is_tiled(run);
    run->latent_frames = latent_frames;
    run->in_frames = encode ? pixel_frames : latent_frames;
    run->out_frames = encode ? latent_frames : pixel_frames;
    run->in_scale = encode ? VMT_VAE_CELL : 1;
    run->out_scale = encode ? 1 : VMT_VAE_CELL;
    run->in_channels = encode ? 3 : vae->config.z_dim;
    run->out_channels = encode ? vae->config.z_dim : 3;
    run->net.user = run;
    run->net.emit = vmt_vae_fetch;
    run->take = encode ? vmt_vae_take_latent : vmt_vae_take_pixels;
    return VMT_OK;
}

/* All memory of a run, for its largest tile. */
static enum vmt_status lay_out(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device, vmt_arena *host)
{
    const bool encode = run->direction == VMT_VAE_ENCODE;
    const int64_t in_h = run->rows.size * run->in_scale, in_w = run->cols.size * run->in_scale;
    const int64_t out_h = run->rows.size * run->out_scale, out_w = run->cols.size * run->out_scale;

    if (vmt_vae_is_tiled(run) && !run->weighted)
        return vmt_vae_exact_layout(ctx, run, device, host);
    VMT_TRY(vmt_vae_net_layout(ctx, device, &run->net, run->vae, run->direction, in_h, in_w));
    VMT_TRY(vmt_take(ctx, host, &run->input, encode ? VMT_F32 : VMT_F64,
                     VMT_SHAPE(in_h, in_w, run->in_channels)));
    VMT_TRY(vmt_take(ctx, host, &run->output, encode ? VMT_F64 : VMT_F32,
                     VMT_SHAPE(2, out_h, out_w, run->out_channels)));
    if (!vmt_vae_is_tiled(run))
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, host, &run->row_ramp, VMT_F32, VMT_SHAPE(out_h)));
    VMT_TRY(vmt_take(ctx, host, &run->col_ramp, VMT_F32, VMT_SHAPE(out_w)));
    VMT_TRY(vmt_take(ctx, host, &run->weight, VMT_F32,
                     VMT_SHAPE(vmt_vae_out_rows(run), vmt_vae_out_cols(run))));
    if (encode)
        return VMT_OK;
    return vmt_take(ctx, host, &run->sum, VMT_F32,
                    VMT_SHAPE(run->out_frames, vmt_vae_out_rows(run), vmt_vae_out_cols(run), 3));
}

enum vmt_status vmt_vae_tell(vmt_ctx *ctx, vmt_vae_run *run, int64_t tiles)
{
    run->done++;
    return run->options->progress ? run->options->progress(ctx, run->options->user, run->done,
                                                           tiles * run->latent_frames)
                                  : VMT_OK;
}

static enum vmt_status run_tile(vmt_ctx *ctx, vmt_vae_run *run, int64_t row, int64_t col)
{
    const int64_t cell_rows = vmt_vae_axis_count(&run->rows, row);
    const int64_t cell_cols = vmt_vae_axis_count(&run->cols, col);
    const int64_t tiles = run->rows.tiles * run->cols.tiles;
    const vmt_tensor input = vmt_tensor_over(
        run->input.data, run->input.dtype,
        VMT_SHAPE(1, cell_rows * run->in_scale, cell_cols * run->in_scale, run->in_channels));

    run->out.top = vmt_vae_axis_first(&run->rows, row) * run->out_scale;
    run->out.left = vmt_vae_axis_first(&run->cols, col) * run->out_scale;
    run->out.height = cell_rows * run->out_scale;
    run->out.width = cell_cols * run->out_scale;
    run->in = (vmt_vae_box){vmt_vae_axis_first(&run->rows, row) * run->in_scale,
                            vmt_vae_axis_first(&run->cols, col) * run->in_scale,
                            cell_rows * run->in_scale, cell_cols * run->in_scale};
    run->index = run->taken = 0;
    if (run->weighted) {
        vmt_vae_axis_ramp(&run->rows, row, run->out_scale, run->row_ramp.data);
        vmt_vae_axis_ramp(&run->cols, col, run->out_scale, run->col_ramp.data);
        add_weights(run);
    }
    VMT_TRY(vmt_vae_net_reset(ctx, &run->net));
    for (int64_t t = 0; t < run->in_frames; t++) {
        const int64_t before = run->index;
        VMT_TRY(vmt_check_cancelled(ctx));
        vmt_vae_read_frame(run, t);
        VMT_TRY(vmt_vae_net_push(ctx, &run->net, &input));
        if (run->index == before)
            continue;
        VMT_TRY(vmt_vae_tell(ctx, run, tiles));
    }
    return vmt_vae_fetch_last(ctx, run);
}

/* Σ weight y / Σ weight. */
static enum vmt_status blend(vmt_ctx *ctx, vmt_vae_run *run)
{
    const float *weight = run->weight.data;
    const int64_t plane = vmt_vae_out_rows(run) * vmt_vae_out_cols(run);

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
        VMT_TRY(vmt_vae_deliver(ctx, run, f, rgb));
    }
    return VMT_OK;
}

static enum vmt_status run_tiles(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device)
{
    for (int64_t row = 0; row < run->rows.tiles; row++)
        for (int64_t col = 0; col < run->cols.tiles; col++) {
            vmt_arena_reset(device, 0); /* tiles at the end may be smaller */
            VMT_TRY(vmt_vae_net_layout(ctx, device, &run->net, run->vae, run->direction,
                                       vmt_vae_axis_count(&run->rows, row) * run->in_scale,
                                       vmt_vae_axis_count(&run->cols, col) * run->in_scale));
            VMT_TRY(run_tile(ctx, run, row, col));
        }
    return run->weighted ? blend(ctx, run) : VMT_OK;
}

static enum vmt_status run_all(vmt_ctx *ctx, vmt_vae *vae, vmt_vae_run *run)
{
    vmt_arena device = vmt_arena_measure(), host = vmt_arena_measure();
    void *memory = NULL;

    VMT_TRY(vmt_vae_prepare(ctx, vae, run->direction));
    VMT_TRY(lay_out(ctx, run, &device, &host));
    VMT_TRY(vmt_alloc(ctx, &memory, host.peak, 1));
    host = (vmt_arena){.base = memory, .capacity = host.peak};
    enum vmt_status status = vmt_arena_open(ctx, &device, device.peak);
    if (status == VMT_OK) {
        if (vmt_vae_is_tiled(run) && !run->weighted)
            status = vmt_vae_exact_run(ctx, run, &device, &host);
        else if ((status = lay_out(ctx, run, &device, &host)) == VMT_OK)
            status = run_tiles(ctx, run, &device);
        vmt_arena_close(ctx, &device);
    }
    vmt_arena_reset(&host, 0);
    vmt_free(memory);
    return status;
}

static enum vmt_status measure(vmt_ctx *ctx, vmt_vae_run *run, size_t *bytes)
{
    vmt_arena device = vmt_arena_measure(), host = vmt_arena_measure();

    VMT_TRY(lay_out(ctx, run, &device, &host));
    if (!vmt_add_size(device.peak, host.peak, bytes))
        return vmt_fail(ctx, VMT_E_MEMORY, "VAE: more memory than a size can say");
    return VMT_OK;
}

/* ---------------------------------------------------------------- interface */

static enum vmt_status set_up_encode(vmt_ctx *ctx, vmt_vae_run *run, const vmt_vae *vae,
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
    vmt_vae_run run = {.clip = clip, .latent = latent};

    VMT_TRY(set_up_encode(ctx, &run, vae, clip->frames, clip->height, clip->width, options));
    memset(latent, 0,
           sizeof *latent * (size_t)(run.out_channels * run.out_frames * vmt_vae_out_rows(&run) *
                                     vmt_vae_out_cols(&run)));
    return run_all(ctx, vae, &run);
}

enum vmt_status vmt_vae_decode(vmt_ctx *ctx, vmt_vae *vae, const vmt_vae_sink *sink,
                               const float *latent, int64_t frames, int64_t rows, int64_t cols,
                               const vmt_vae_options *options)
{
    vmt_vae_run run = {.sink = sink, .encoded = latent};

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
    vmt_vae_run run = {0};

    VMT_TRY(set_up_encode(ctx, &run, vae, frames, height, width, options));
    return measure(ctx, &run, bytes);
}

enum vmt_status vmt_vae_decode_bytes(vmt_ctx *ctx, const vmt_vae *vae, int64_t frames, int64_t rows,
                                     int64_t cols, const vmt_vae_options *options, size_t *bytes)
{
    vmt_vae_run run = {0};

    VMT_TRY(set_up(ctx, &run, vae, VMT_VAE_DECODE, frames, rows, cols, options));
    return measure(ctx, &run, bytes);
}
