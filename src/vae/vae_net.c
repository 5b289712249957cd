/* SPDX-License-Identifier: MIT
 *
 * One frame's way through a network.  Source of every formula: Wan2.1 wan/modules/vae.py.
 */
#include "vae/vae_net.h"

#include <math.h>

static const vmt_conv_geometry same_3x3 = {1, 1, 1, 1, 1, 1, 1};
static const vmt_conv_geometry time_only = {1, 1, 1, 0, 0, 0, 0};
/* Stride 2 in space; the one zero row and column are at the bottom and the right. */
static const vmt_conv_geometry half_3x3 = {1, 2, 2, 0, 1, 0, 1};

/* ---------------------------------------------------------------- views */

/* A frame [1, h, w, C] at the start of a region. */
static vmt_tensor frame_in(const vmt_vae_net *net, int region, int64_t height, int64_t width,
                           int64_t channels)
{
    return vmt_tensor_over(net->region[region].data, net->region[region].dtype,
                           VMT_SHAPE(1, height, width, channels));
}

/* The same elements as rows [h w, C]. */
static vmt_tensor as_rows(const vmt_tensor *frame)
{
    return vmt_reshape(frame, VMT_SHAPE(vmt_numel(frame) / frame->shape[3], frame->shape[3]));
}

/* Rows first .. first + count - 1 of a frame, again as a frame. */
static vmt_tensor frame_rows(const vmt_tensor *frame, int64_t first, int64_t count)
{
    const vmt_tensor rows = vmt_index(frame, 0);
    const vmt_tensor some = vmt_slice(&rows, first, count);

    return vmt_reshape(&some, VMT_SHAPE(1, count, some.shape[1], some.shape[2]));
}

enum vmt_status vmt_vae_copy_box(vmt_ctx *ctx, const vmt_tensor *to, int64_t to_top,
                                 int64_t to_left, const vmt_tensor *from, int64_t from_top,
                                 int64_t from_left, int64_t rows, int64_t cols)
{
    const vmt_tensor to_frame = vmt_index(to, 0), from_frame = vmt_index(from, 0);

    for (int64_t i = 0; i < rows; i++) {
        vmt_tensor y = vmt_index(&to_frame, to_top + i);
        vmt_tensor x = vmt_index(&from_frame, from_top + i);
        y = vmt_slice(&y, to_left, cols);
        x = vmt_slice(&x, from_left, cols);
        VMT_TRY(vmt_copy(ctx, &y, &x));
    }
    return VMT_OK;
}

/* The frame that UP works on, out of the one that came in. */
static enum vmt_status cut_out(vmt_ctx *ctx, const vmt_vae_place *place, vmt_tensor *y,
                               const vmt_tensor *x)
{
    if (place->height == place->in_height && place->width == place->in_width)
        return vmt_copy(ctx, y, x);
    return vmt_vae_copy_box(ctx, y, 0, 0, x, place->top, place->left, place->height, place->width);
}

/* ---------------------------------------------------------------- history */

/* Moves the row of slots back to the start, in blocks that do not overlap their source. */
static enum vmt_status move_back(vmt_ctx *ctx, vmt_vae_history *h)
{
    const int64_t used = 2 * h->convs;

    for (int64_t done = 0; done < used; done += h->at) {
        const int64_t count = used - done < h->at ? used - done : h->at;
        const vmt_tensor from = vmt_slice(&h->frames, h->at + done, count);
        vmt_tensor to = vmt_slice(&h->frames, done, count);
        VMT_TRY(vmt_copy(ctx, &to, &from));
    }
    h->at = 0;
    return VMT_OK;
}

/* Where the next convolution's new frame goes, and its window of three frames. */
static enum vmt_status next_window(vmt_ctx *ctx, vmt_vae_net *net, int index, vmt_tensor *slot,
                                   vmt_tensor *window)
{
    vmt_vae_history *h = &net->history[index];

    if (h->next == 0 && h->at + 2 * h->convs == h->slots)
        VMT_TRY(move_back(ctx, h));
    const int64_t first = h->at + 2 * (h->convs - 1 - h->next);
    *window = vmt_slice(&h->frames, first, 3);
    *slot = vmt_slice(&h->frames, first + 2, 1);
    if (++h->next == h->convs) {
        h->next = 0;
        h->at++;
    }
    return VMT_OK;
}

enum vmt_status vmt_vae_net_reset(vmt_ctx *ctx, vmt_vae_net *net)
{
    for (int i = 0; i < net->histories; i++) {
        vmt_vae_history *h = &net->history[i];
        vmt_tensor before = vmt_slice(&h->frames, 0, 2 * h->convs);
        VMT_TRY(vmt_zero(ctx, &before)); /* frames before the first are zero */
        h->at = h->next = 0;
    }
    for (int64_t i = 0; i < net->count; i++)
        net->place[i].seen = 0;
    return VMT_OK;
}

/* ---------------------------------------------------------------- parts */

/* y = causal 3x3x3 of silu(norm(x)), or of x itself without gamma.   y may be x's memory. */
static enum vmt_status causal(vmt_ctx *ctx, vmt_vae_net *net, int history, vmt_tensor *y,
                              const vmt_tensor *x, const vmt_tensor *gamma, const vmt_weight *w)
{
    vmt_tensor slot, window;

    VMT_TRY(next_window(ctx, net, history, &slot, &window));
    if (gamma)
        VMT_TRY(vmt_rms_norm_channel(ctx, &slot, x, gamma, true));
    else
        VMT_TRY(vmt_copy(ctx, &slot, x));
    return vmt_conv3d(ctx, y, &window, w, &same_3x3);
}

static enum vmt_status res(vmt_ctx *ctx, vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    const vmt_vae_place *place = &net->place[i];
    const int64_t h = place->height, w = place->width;
    vmt_tensor x = frame_in(net, VMT_VAE_STREAM, h, w, part->in);
    vmt_tensor y = frame_in(net, VMT_VAE_STREAM, h, w, part->out);
    vmt_tensor branch = frame_in(net, VMT_VAE_SCRATCH, h, w, part->out);

    VMT_TRY(causal(ctx, net, place->history[0], &branch, &x, &part->gamma[0], &part->weight[0]));
    VMT_TRY(
        causal(ctx, net, place->history[1], &branch, &branch, &part->gamma[1], &part->weight[1]));
    if (part->in == part->out)
        return vmt_add(ctx, &y, &x, &branch);
    vmt_tensor side = frame_in(net, VMT_VAE_SIDE, h, w, part->out);
    vmt_tensor side_rows = as_rows(&side);
    const vmt_tensor x_rows = as_rows(&x);
    VMT_TRY(vmt_linear(ctx, &side_rows, &x_rows, &part->weight[2], VMT_EPILOGUE_NONE));
    return vmt_add(ctx, &y, &side, &branch);
}

/* x += proj(softmax(q kᵀ / √C) v), q, k, v from the normed frame. */
static enum vmt_status attention(vmt_ctx *ctx, vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    const int64_t cells = net->place[i].height * net->place[i].width;
    const int64_t channels = part->in;
    vmt_tensor x = frame_in(net, VMT_VAE_STREAM, 1, cells, channels);
    x = as_rows(&x);
    const vmt_tensor scratch =
        vmt_tensor_over(net->region[VMT_VAE_SCRATCH].data, x.dtype, VMT_SHAPE(4, cells, channels));
    vmt_tensor normed = vmt_index(&scratch, 0);
    vmt_tensor qkv[3];

    VMT_TRY(vmt_rms_norm_channel(ctx, &normed, &x, &part->gamma[0], false));
    for (int j = 0; j < 3; j++) {
        vmt_tensor rows = vmt_index(&scratch, 1 + j);
        VMT_TRY(vmt_linear(ctx, &rows, &normed, &part->weight[j], VMT_EPILOGUE_NONE));
        qkv[j] = vmt_reshape(&rows, VMT_SHAPE(cells, 1, channels));
    }
    vmt_tensor mixed = vmt_reshape(&normed, VMT_SHAPE(cells, 1, channels));
    VMT_TRY(vmt_attention(ctx, &mixed, NULL, &qkv[0], &qkv[1], &qkv[2], NULL,
                          1 / sqrt((double)channels)));
    vmt_tensor branch = vmt_index(&scratch, 1);
    VMT_TRY(vmt_linear(ctx, &branch, &normed, &part->weight[3], VMT_EPILOGUE_NONE));
    return vmt_add(ctx, &x, &x, &branch);
}

/* Half the rows and columns.  With time: y[0] = x[0], y[k] = conv(x[2k-2], x[2k-1], x[2k]), so
 * after an odd frame nothing comes out. */
static enum vmt_status down(vmt_ctx *ctx, vmt_vae_net *net, int64_t i, bool *out)
{
    const vmt_vae_part *part = &net->parts[i];
    vmt_vae_place *place = &net->place[i];
    const int64_t h = place->out_height, w = place->out_width;
    const vmt_tensor x = frame_in(net, VMT_VAE_STREAM, place->height, place->width, part->in);
    vmt_tensor y = frame_in(net, VMT_VAE_STREAM, h, w, part->out);
    vmt_tensor small = frame_in(net, VMT_VAE_SCRATCH, h, w, part->out);

    *out = true;
    if (part->time) {
        const int64_t seen = place->seen++;
        *out = seen % 2 == 0;
        small = vmt_slice(&place->frames, seen == 0 ? 0 : seen % 2 ? 1 : 2, 1);
        VMT_TRY(vmt_conv3d(ctx, &small, &x, &part->weight[0], &half_3x3));
        if (seen > 0 && *out) {
            vmt_tensor last = vmt_slice(&place->frames, 0, 1);
            VMT_TRY(vmt_conv3d(ctx, &y, &place->frames, &part->weight[1], &time_only));
            return vmt_copy(ctx, &last, &small);
        }
        return *out ? vmt_copy(ctx, &y, &small) : VMT_OK;
    }
    VMT_TRY(vmt_conv3d(ctx, &small, &x, &part->weight[0], &half_3x3));
    return vmt_copy(ctx, &y, &small);
}

/* Twice the rows and columns of x (not in the scratch region) into the stream, then 3x3.  The
 * enlarged input exists for some rows at a time only. */
static enum vmt_status enlarge(vmt_ctx *ctx, vmt_vae_net *net, int64_t i, const vmt_tensor *x)
{
    const vmt_vae_part *part = &net->parts[i];
    const int64_t h = x->shape[1], w = x->shape[2];
    const int64_t strip = vmt_vae_up_rows(h);
    const vmt_tensor y = frame_in(net, VMT_VAE_STREAM, 2 * h, 2 * w, part->out);

    for (int64_t first = 0; first < 2 * h; first += strip) {
        const int64_t end = first + strip < 2 * h ? first + strip : 2 * h;
        const bool top = first == 0, bottom = end == 2 * h;
        /* Output rows first..end-1 read enlarged rows first-1..end; those inside the frame come
         * from source rows from..to-1. */
        const int64_t from = top ? 0 : first / 2 - 1, to = bottom ? h : end / 2 + 1;
        const vmt_tensor source = frame_rows(x, from, to - from);
        vmt_tensor big = frame_in(net, VMT_VAE_SCRATCH, 2 * (to - from), 2 * w, part->in);
        const int64_t skip = top ? 0 : 1;
        const vmt_tensor read = frame_rows(&big, skip, 2 * (to - from) - skip - (bottom ? 0 : 1));
        vmt_conv_geometry geometry = same_3x3;
        vmt_tensor rows = frame_rows(&y, first, end - first);

        geometry.pad_top = top;
        geometry.pad_bottom = bottom;
        VMT_TRY(vmt_upsample2(ctx, &big, &source));
        VMT_TRY(vmt_conv3d(ctx, &rows, &read, &part->weight[0], &geometry));
    }
    return VMT_OK;
}

/* Splits the frame in the stream into two in place->frames. */
static enum vmt_status double_frames(vmt_ctx *ctx, vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    vmt_vae_place *place = &net->place[i];
    const int64_t h = place->height, w = place->width;
    const vmt_tensor x = frame_in(net, VMT_VAE_STREAM, place->in_height, place->in_width, part->in);
    vmt_tensor both = frame_in(net, VMT_VAE_SCRATCH, h, w, 2 * part->in);
    vmt_tensor slot, window;

    VMT_TRY(next_window(ctx, net, place->history[0], &slot, &window));
    VMT_TRY(cut_out(ctx, place, &slot, &x));
    VMT_TRY(vmt_conv3d(ctx, &both, &window, &part->weight[1], &time_only));
    return vmt_split_frames(ctx, &place->frames, &both);
}

static enum vmt_status convolve(vmt_ctx *ctx, vmt_vae_net *net, int64_t i, const vmt_tensor *gamma)
{
    const vmt_vae_part *part = &net->parts[i];
    const vmt_vae_place *place = &net->place[i];
    const vmt_tensor x = frame_in(net, VMT_VAE_STREAM, place->height, place->width, part->in);
    vmt_tensor y = frame_in(net, VMT_VAE_STREAM, place->height, place->width, part->out);

    return causal(ctx, net, place->history[0], &y, &x, gamma, &part->weight[0]);
}

static enum vmt_status point(vmt_ctx *ctx, vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    const vmt_vae_place *place = &net->place[i];
    const vmt_tensor x = frame_in(net, VMT_VAE_STREAM, place->height, place->width, part->in);
    vmt_tensor y = frame_in(net, VMT_VAE_STREAM, place->height, place->width, part->out);
    const vmt_tensor z = frame_in(net, VMT_VAE_SCRATCH, place->height, place->width, part->out);
    const vmt_tensor x_rows = as_rows(&x);
    vmt_tensor z_rows = as_rows(&z);

    VMT_TRY(vmt_linear(ctx, &z_rows, &x_rows, &part->weight[0], VMT_EPILOGUE_NONE));
    return vmt_copy(ctx, &y, &z);
}

/* ---------------------------------------------------------------- the way through */

static enum vmt_status run_from(vmt_ctx *ctx, vmt_vae_net *net, int64_t first);

static enum vmt_status show(vmt_ctx *ctx, const vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    const vmt_vae_place *place = &net->place[i];

    if (!net->tap)
        return VMT_OK;
    const vmt_tensor frame =
        frame_in(net, VMT_VAE_STREAM, place->out_height, place->out_width, part->out);
    return net->tap(ctx, net->user, part->name, &frame);
}

/* Frame 0 passes unchanged in time and is no history of the others; each other frame becomes two,
 * each of which goes its way to the end before the other starts. */
static enum vmt_status up(vmt_ctx *ctx, vmt_vae_net *net, int64_t i)
{
    const vmt_vae_part *part = &net->parts[i];
    vmt_vae_place *place = &net->place[i];
    vmt_tensor x = frame_in(net, VMT_VAE_STREAM, place->in_height, place->in_width, part->in);

    if (part->time && place->seen++ > 0) {
        VMT_TRY(double_frames(ctx, net, i));
        x = vmt_slice(&place->frames, 0, 1);
        VMT_TRY(enlarge(ctx, net, i, &x));
        VMT_TRY(show(ctx, net, i));
        VMT_TRY(run_from(ctx, net, i + 1));
        x = vmt_slice(&place->frames, 1, 1);
    } else {
        /* The stream region receives the output: x must lie elsewhere. */
        vmt_tensor apart = part->time
                               ? vmt_slice(&place->frames, 0, 1)
                               : frame_in(net, VMT_VAE_SIDE, place->height, place->width, part->in);
        VMT_TRY(cut_out(ctx, place, &apart, &x));
        x = apart;
    }
    return enlarge(ctx, net, i, &x);
}

/* Runs the frame in the stream region through parts first.. to the end. */
static enum vmt_status run_from(vmt_ctx *ctx, vmt_vae_net *net, int64_t first)
{
    for (int64_t i = first; i < net->count; i++) {
        bool out = true;
        VMT_TRY(vmt_check_cancelled(ctx));
        switch (net->parts[i].kind) {
        case VMT_VAE_CONV:
            VMT_TRY(convolve(ctx, net, i, NULL));
            break;
        case VMT_VAE_RES:
            VMT_TRY(res(ctx, net, i));
            break;
        case VMT_VAE_ATTENTION:
            VMT_TRY(attention(ctx, net, i));
            break;
        case VMT_VAE_DOWN:
            VMT_TRY(down(ctx, net, i, &out));
            break;
        case VMT_VAE_UP:
            VMT_TRY(up(ctx, net, i));
            break;
        case VMT_VAE_HEAD:
            VMT_TRY(convolve(ctx, net, i, &net->parts[i].gamma[0]));
            break;
        case VMT_VAE_POINT:
            VMT_TRY(point(ctx, net, i));
            break;
        }
        if (!out)
            return VMT_OK;
        VMT_TRY(show(ctx, net, i));
    }
    const vmt_vae_part *last = &net->parts[net->count - 1];
    const vmt_vae_place *place = &net->place[net->count - 1];
    const vmt_tensor frame =
        frame_in(net, VMT_VAE_STREAM, place->out_height, place->out_width, last->out);
    return net->emit(ctx, net->user, &frame);
}

static vmt_tensor net_input(const vmt_vae_net *net)
{
    const vmt_vae_place *place = &net->place[0];

    return frame_in(net, VMT_VAE_STREAM, place->in_height, place->in_width, net->parts[0].in);
}

enum vmt_status vmt_vae_net_pass(vmt_ctx *ctx, vmt_vae_net *net, const vmt_tensor *frame,
                                 int64_t top, int64_t left)
{
    const vmt_tensor x = net_input(net);

    VMT_TRY(vmt_vae_copy_box(ctx, &x, 0, 0, frame, top, left, x.shape[1], x.shape[2]));
    return run_from(ctx, net, 0);
}

enum vmt_status vmt_vae_net_push(vmt_ctx *ctx, vmt_vae_net *net, const vmt_tensor *frame)
{
    vmt_tensor x = net_input(net);

    VMT_TRY(vmt_upload(ctx, &x, frame));
    return run_from(ctx, net, 0);
}
