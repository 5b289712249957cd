/* SPDX-License-Identifier: MIT
 *
 * Tiles that give what the whole frame gives.  What runs at the latent's resolution (attention
 * among it) is small and runs on whole frames; the rest, convolutions in space and time, runs tile
 * by tile, each with as much of its surroundings as its result depends on:
 *
 *     decode   latent -> whole frames -> border -> tiles, up to pixels
 *     encode   pixels -> tiles, down to the border -> whole frames -> latent
 *
 * Where a tile ends inside the frame, convolutions pad it with zeros that are not there in truth;
 * what they spoil is in the surroundings and cut away (vmt_vae_window_make).
 */
#include "vae/vae_run.h"

#include <math.h>
#include <string.h>

/* A stretch of the parts, and the size of the frames that go in. */
typedef struct stretch {
    const vmt_vae_part *parts;
    int64_t count, height, width;
} stretch;

static bool encodes(const vmt_vae_run *run)
{
    return run->direction == VMT_VAE_ENCODE;
}

/* Parts before the first UP, or up to the last DOWN. */
static int64_t split(const vmt_vae_run *run)
{
    int64_t i;

    if (!encodes(run)) {
        for (i = 0; run->vae->decoder[i].kind != VMT_VAE_UP; i++) {
        }
        return i;
    }
    for (i = run->vae->encoder_count; run->vae->encoder[i - 1].kind != VMT_VAE_DOWN; i--) {
    }
    return i;
}

static stretch tiled_part(const vmt_vae_run *run)
{
    const int64_t rows = run->rows.cells, cols = run->cols.cells, at = split(run);

    return encodes(run)
               ? (stretch){run->vae->encoder, at, rows * VMT_VAE_CELL, cols * VMT_VAE_CELL}
               : (stretch){run->vae->decoder + at, run->vae->decoder_count - at, rows, cols};
}

static stretch whole_part(const vmt_vae_run *run)
{
    const int64_t rows = run->rows.cells, cols = run->cols.cells, at = split(run);

    return encodes(run)
               ? (stretch){run->vae->encoder + at, run->vae->encoder_count - at, rows, cols}
               : (stretch){run->vae->decoder, at, rows, cols};
}

/* ---------------------------------------------------------------- memory */

static enum vmt_status take_shared(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                   vmt_arena *host)
{
    const int64_t channels =
        encodes(run) ? whole_part(run).parts[0].in : tiled_part(run).parts[0].in;

    VMT_TRY(vmt_take(ctx, device, &run->border, ctx->act,
                     VMT_SHAPE(run->latent_frames, run->rows.cells, run->cols.cells, channels)));
    if (!encodes(run) && run->sink && run->sink->frame)
        return vmt_take(
            ctx, host, &run->sum, VMT_F32,
            VMT_SHAPE(run->out_frames, vmt_vae_out_rows(run), vmt_vae_out_cols(run), 3));
    return VMT_OK;
}

/* Whole frames between latent and border. */
static enum vmt_status lay_out_whole(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                     vmt_arena *host)
{
    const stretch s = whole_part(run);
    const int64_t channels = run->vae->config.z_dim;

    VMT_TRY(
        vmt_vae_stretch_layout(ctx, device, &run->net, s.parts, s.count, s.height, s.width, NULL));
    if (encodes(run))
        return vmt_take(ctx, host, &run->output, VMT_F64,
                        VMT_SHAPE(2, s.height, s.width, channels));
    return vmt_take(ctx, host, &run->input, VMT_F64, VMT_SHAPE(s.height, s.width, channels));
}

/* One tile between border and pixels; sets run->in and run->out. */
static enum vmt_status lay_out_tile(vmt_ctx *ctx, vmt_vae_run *run, int64_t row, int64_t col,
                                    vmt_arena *device, vmt_arena *host)
{
    const stretch s = tiled_part(run);
    const int64_t scale = run->out_scale;
    const int64_t top = vmt_vae_axis_first(&run->rows, row) * scale;
    const int64_t left = vmt_vae_axis_first(&run->cols, col) * scale;
    const vmt_vae_range out[2] = {{top, top + vmt_vae_axis_count(&run->rows, row) * scale},
                                  {left, left + vmt_vae_axis_count(&run->cols, col) * scale}};
    vmt_vae_window window;

    /* Halving begins at even rows: so does all of it at multiples of a cell. */
    vmt_vae_window_make(&window, s.parts, s.count, s.height, s.width, out, run->in_scale);
    VMT_TRY(vmt_vae_stretch_layout(ctx, device, &run->net, s.parts, s.count, s.height, s.width,
                                   &window));
    const vmt_vae_place *last = &run->net.place[s.count - 1];
    const vmt_vae_range *need = window.need[0];
    run->in = (vmt_vae_box){need[0].first, need[1].first, need[0].end - need[0].first,
                            need[1].end - need[1].first};
    run->out = (vmt_vae_box){top, left, out[0].end - top, out[1].end - left};
    if (encodes(run))
        return vmt_take(ctx, host, &run->input, VMT_F32,
                        VMT_SHAPE(run->in.height, run->in.width, 3));
    return vmt_take(ctx, host, &run->output, VMT_F32,
                    VMT_SHAPE(2, last->out_height, last->out_width, 3));
}

enum vmt_status vmt_vae_exact_layout(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                     vmt_arena *host)
{
    VMT_TRY(take_shared(ctx, run, device, host));
    const size_t device_mark = device->used, host_mark = host->used;
    VMT_TRY(lay_out_whole(ctx, run, device, host));
    for (int64_t row = 0; row < run->rows.tiles; row++)
        for (int64_t col = 0; col < run->cols.tiles; col++) {
            vmt_arena_reset(device, device_mark);
            vmt_arena_reset(host, host_mark);
            VMT_TRY(lay_out_tile(ctx, run, row, col, device, host));
        }
    vmt_arena_reset(device, device_mark);
    vmt_arena_reset(host, host_mark);
    return VMT_OK;
}

/* ---------------------------------------------------------------- what comes out */

/* Whole frames of a decode: onto the border. */
static enum vmt_status take_border(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    vmt_vae_run *run = user;
    vmt_tensor to = vmt_slice(&run->border, run->index++, 1);

    return vmt_copy(ctx, &to, frame);
}

/* Tiles of an encode: their place on the border. */
static enum vmt_status take_border_box(vmt_ctx *ctx, void *user, const vmt_tensor *frame)
{
    vmt_vae_run *run = user;
    const vmt_tensor to = vmt_slice(&run->border, run->index++, 1);

    return vmt_vae_copy_box(ctx, &to, run->out.top, run->out.left, frame, run->net.skip[0],
                            run->net.skip[1], run->out.height, run->out.width);
}

/* Tiles of a decode: their pixels. */
static enum vmt_status take_pixel_box(vmt_ctx *ctx, vmt_vae_run *run, int64_t f,
                                      const vmt_tensor *host)
{
    const vmt_vae_box *out = &run->out;
    const int64_t width = host->shape[2];

    for (int64_t i = 0; i < out->height; i++) {
        const float *rgb =
            (const float *)host->data + ((run->net.skip[0] + i) * width + run->net.skip[1]) * 3;
        const int64_t at =
            ((f * vmt_vae_out_rows(run) + out->top + i) * vmt_vae_out_cols(run) + out->left) * 3;
        for (int64_t j = 0; j < out->width * 3; j++)
            if (!isfinite(rgb[j]))
                return vmt_vae_not_finite(ctx, f, out->top + i, out->left + j / 3);
        if (run->sink->frame)
            memcpy((float *)run->sum.data + at, rgb, sizeof *rgb * (size_t)(out->width * 3));
        else if (run->sink->bytes)
            vmt_vae_to_bytes(run->sink->bytes + at, rgb, out->width * 3);
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- the run */

/* All frames through the stretch that is laid out: from pixels or latents, or from the border. */
static enum vmt_status run_stretch(vmt_ctx *ctx, vmt_vae_run *run, bool from_border)
{
    const int64_t frames = from_border ? run->latent_frames : run->in_frames;
    const vmt_tensor input =
        vmt_tensor_over(run->input.data, run->input.dtype,
                        VMT_SHAPE(1, run->in.height, run->in.width, run->in_channels));

    run->index = run->taken = 0;
    VMT_TRY(vmt_vae_net_reset(ctx, &run->net));
    for (int64_t t = 0; t < frames; t++) {
        const int64_t before = run->index;
        VMT_TRY(vmt_check_cancelled(ctx));
        if (from_border) {
            const vmt_tensor frame = vmt_slice(&run->border, t, 1);
            VMT_TRY(vmt_vae_net_pass(ctx, &run->net, &frame, run->in.top, run->in.left));
        } else {
            vmt_vae_read_frame(run, t);
            VMT_TRY(vmt_vae_net_push(ctx, &run->net, &input));
        }
        if (run->index > before)
            VMT_TRY(vmt_vae_tell(ctx, run, run->rows.tiles * run->cols.tiles + 1));
    }
    return vmt_vae_fetch_last(ctx, run);
}

static enum vmt_status run_whole(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device, vmt_arena *host)
{
    VMT_TRY(lay_out_whole(ctx, run, device, host));
    run->in = run->out = (vmt_vae_box){.height = run->rows.cells, .width = run->cols.cells};
    run->net.emit = encodes(run) ? vmt_vae_fetch : take_border;
    run->take = vmt_vae_take_latent;
    return run_stretch(ctx, run, encodes(run));
}

static enum vmt_status run_tiles(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device, vmt_arena *host)
{
    const size_t device_mark = device->used, host_mark = host->used;

    run->net.emit = encodes(run) ? take_border_box : vmt_vae_fetch;
    run->take = take_pixel_box;
    for (int64_t row = 0; row < run->rows.tiles; row++)
        for (int64_t col = 0; col < run->cols.tiles; col++) {
            VMT_TRY(lay_out_tile(ctx, run, row, col, device, host));
            VMT_TRY(run_stretch(ctx, run, !encodes(run)));
            vmt_arena_reset(device, device_mark);
            vmt_arena_reset(host, host_mark);
        }
    return VMT_OK;
}

enum vmt_status vmt_vae_exact_run(vmt_ctx *ctx, vmt_vae_run *run, vmt_arena *device,
                                  vmt_arena *host)
{
    VMT_TRY(take_shared(ctx, run, device, host));
    const size_t device_mark = device->used, host_mark = host->used;
    VMT_TRY(encodes(run) ? run_tiles(ctx, run, device, host) : run_whole(ctx, run, device, host));
    vmt_arena_reset(device, device_mark);
    vmt_arena_reset(host, host_mark);
    VMT_TRY(encodes(run) ? run_whole(ctx, run, device, host) : run_tiles(ctx, run, device, host));
    for (int64_t f = 0; !encodes(run) && run->sink->frame && f < run->out_frames; f++) {
        const vmt_tensor rgb = vmt_index(&run->sum, f);
        VMT_TRY(vmt_vae_deliver(ctx, run, f, rgb.data));
    }
    return VMT_OK;
}
