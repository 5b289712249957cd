/* SPDX-License-Identifier: MIT
 *
 * Memory of one network at one frame size: histories, and three regions that all parts share.
 */
#include "vae/vae_net.h"

int64_t vmt_vae_up_rows(int64_t height)
{
    /* Whole below 16 rows.  Above, strips whose upsampled rows (2 more on each side) take no more
     * than the part's output: [height, 2w, C] against [2 height, 2w, C / 2]. */
    return height < 16 ? 2 * height : (height - 4) / 2 * 2;
}

/* The row of slots for one more causal convolution. */
static int join_history(vmt_vae_net *net, int64_t level, const vmt_vae_place *place,
                        int64_t channels, bool own)
{
    int i = 0;

    while (i < net->histories && (own || net->history[i].own || net->history[i].level != level ||
                                  net->history[i].channels != channels))
        i++;
    if (i == net->histories)
        net->history[net->histories++] = (vmt_vae_history){.level = level,
                                                           .height = place->height,
                                                           .width = place->width,
                                                           .channels = channels,
                                                           .own = own};
    net->history[i].convs++;
    return i;
}

static void grow(int64_t *size, int64_t height, int64_t width, int64_t channels)
{
    if (height * width * channels > *size)
        *size = height * width * channels;
}

/* Regions and histories of one part.  Sizes in elements. */
static void place_part(vmt_vae_net *net, int64_t i, int64_t level, int64_t size[VMT_VAE_REGIONS])
{
    const vmt_vae_part *part = &net->parts[i];
    vmt_vae_place *place = &net->place[i];
    const int64_t h = place->height, w = place->width;

    grow(&size[VMT_VAE_STREAM], place->in_height, place->in_width, part->in);
    grow(&size[VMT_VAE_STREAM], place->out_height, place->out_width, part->out);
    switch (part->kind) {
    case VMT_VAE_RES:
        place->history[0] = join_history(net, level, place, part->in, false);
        place->history[1] = join_history(net, level, place, part->out, false);
        grow(&size[VMT_VAE_SCRATCH], h, w, part->out);
        if (part->in != part->out)
            grow(&size[VMT_VAE_SIDE], h, w, part->out);
        break;
    case VMT_VAE_CONV:
    case VMT_VAE_HEAD:
        place->history[0] = join_history(net, level, place, part->in, false);
        break;
    case VMT_VAE_ATTENTION: /* normed, q, k, v */
        grow(&size[VMT_VAE_SCRATCH], h, w, 4 * part->in);
        break;
    case VMT_VAE_DOWN:
        grow(&size[VMT_VAE_SCRATCH], place->out_height, place->out_width, part->out);
        break;
    case VMT_VAE_UP: {
        const int64_t rows = vmt_vae_up_rows(h);
        grow(&size[VMT_VAE_SCRATCH], rows + 4 < 2 * h ? rows + 4 : 2 * h, 2 * w, part->in);
        if (part->time) {
            place->history[0] = join_history(net, level, place, part->in, true);
            grow(&size[VMT_VAE_SCRATCH], h, w, 2 * part->in);
        } else {
            grow(&size[VMT_VAE_SIDE], h, w, part->in);
        }
        break;
    }
    case VMT_VAE_POINT:
        grow(&size[VMT_VAE_SCRATCH], h, w, part->out);
        break;
    }
}

static enum vmt_status take_memory(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                   const int64_t size[VMT_VAE_REGIONS])
{
    for (int64_t i = 0; i < net->count; i++) {
        const vmt_vae_part *part = &net->parts[i];
        vmt_vae_place *place = &net->place[i];
        const bool down = part->kind == VMT_VAE_DOWN;
        if (part->time)
            VMT_TRY(vmt_take(ctx, arena, &place->frames, ctx->act,
                             VMT_SHAPE(down ? 3 : 2, down ? place->out_height : place->height,
                                       down ? place->out_width : place->width, part->in)));
    }
    for (int i = 0; i < net->histories; i++) {
        vmt_vae_history *h = &net->history[i];
        /* One slot per frame, and an eighth more: moving back costs a copy of the whole row, so it
         * is not done at every frame. */
        h->slots = 2 * h->convs + 1 + 2 * h->convs / 8;
        VMT_TRY(vmt_take(ctx, arena, &h->frames, ctx->act,
                         VMT_SHAPE(h->slots, h->height, h->width, h->channels)));
    }
    for (int i = 0; i < VMT_VAE_REGIONS; i++)
        VMT_TRY(vmt_take(ctx, arena, &net->region[i], ctx->act, VMT_SHAPE(size[i])));
    return VMT_OK;
}

enum vmt_status vmt_vae_stretch_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                       const vmt_vae_part *parts, int64_t count, int64_t height,
                                       int64_t width, const vmt_vae_window *window)
{
    int64_t size[VMT_VAE_REGIONS] = {1, 1, 1};
    /* Of the frame that comes in, at its resolution: all of it, or the window's. */
    vmt_vae_range at[2] = {{0, height}, {0, width}};
    int64_t level = 0;

    net->parts = parts;
    net->count = count;
    net->histories = 0;
    for (int axis = 0; window && axis < 2; axis++)
        at[axis] = window->need[0][axis];
    for (int64_t i = 0; i < count; i++) {
        const vmt_vae_part *part = &parts[i];
        vmt_vae_place *place = &net->place[i];
        const bool down = part->kind == VMT_VAE_DOWN, up = part->kind == VMT_VAE_UP;
        *place = (vmt_vae_place){.in_height = at[0].end - at[0].first,
                                 .in_width = at[1].end - at[1].first,
                                 .history = {-1, -1}};
        if (window && up) {
            place->top = window->need[i][0].first - at[0].first;
            place->left = window->need[i][1].first - at[1].first;
            at[0] = window->need[i][0];
            at[1] = window->need[i][1];
        }
        place->height = at[0].end - at[0].first;
        place->width = at[1].end - at[1].first;
        for (int axis = 0; axis < 2; axis++)
            at[axis] = up     ? (vmt_vae_range){2 * at[axis].first, 2 * at[axis].end}
                       : down ? (vmt_vae_range){at[axis].first / 2, at[axis].end / 2}
                              : at[axis];
        place->out_height = at[0].end - at[0].first;
        place->out_width = at[1].end - at[1].first;
        place_part(net, i, level, size);
        level += down || up;
    }
    for (int axis = 0; axis < 2; axis++)
        net->skip[axis] = window ? window->need[count][axis].first - at[axis].first : 0;
    return take_memory(ctx, arena, net, size);
}

enum vmt_status vmt_vae_net_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                   const vmt_vae *vae, enum vmt_vae_direction direction,
                                   int64_t height, int64_t width)
{
    const bool encode = direction == VMT_VAE_ENCODE;

    return vmt_vae_stretch_layout(ctx, arena, net, encode ? vae->encoder : vae->decoder,
                                  encode ? vae->encoder_count : vae->decoder_count, height, width,
                                  NULL);
}

/* ---- receptive fields */

/* Rows or columns that a part reads for `out` of its output, border or not. */
static vmt_vae_range reach(const vmt_vae_part *part, vmt_vae_range out)
{
    switch (part->kind) {
    case VMT_VAE_CONV:
    case VMT_VAE_HEAD: /* 3x3 */
        return (vmt_vae_range){out.first - 1, out.end + 1};
    case VMT_VAE_RES: /* 3x3 twice */
        return (vmt_vae_range){out.first - 2, out.end + 2};
    case VMT_VAE_DOWN: /* y[i] from x[2i] .. x[2i + 2] */
        return (vmt_vae_range){2 * out.first, 2 * out.end + 1};
    case VMT_VAE_UP: /* 3x3 of the enlarged frame, whose row i is row i / 2, rounded down */
        return (vmt_vae_range){(out.first + 1) / 2 - 1, (out.end + 2) / 2};
    case VMT_VAE_POINT:
    case VMT_VAE_ATTENTION: /* of the whole frame: never in a window */
        break;
    }
    return out;
}

void vmt_vae_window_make(vmt_vae_window *window, const vmt_vae_part *parts, int64_t count,
                         int64_t height, int64_t width, const vmt_vae_range out[2], int64_t align)
{
    int64_t extent[VMT_VAE_MAX_PARTS + 1][2] = {{height, width}};

    for (int64_t i = 0; i < count; i++)
        for (int axis = 0; axis < 2; axis++)
            extent[i + 1][axis] = parts[i].kind == VMT_VAE_UP     ? extent[i][axis] * 2
                                  : parts[i].kind == VMT_VAE_DOWN ? extent[i][axis] / 2
                                                                  : extent[i][axis];
    for (int axis = 0; axis < 2; axis++) {
        window->need[count][axis] = out[axis];
        for (int64_t i = count - 1; i >= 0; i--) {
            vmt_vae_range range = reach(&parts[i], window->need[i + 1][axis]);
            if (i == 0) {
                range.first = range.first > 0 ? range.first / align * align : 0;
                range.end = (range.end + align - 1) / align * align;
            }
            window->need[i][axis] =
                (vmt_vae_range){range.first > 0 ? range.first : 0,
                                range.end < extent[i][axis] ? range.end : extent[i][axis]};
        }
    }
}
