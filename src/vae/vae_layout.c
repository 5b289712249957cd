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

    grow(&size[VMT_VAE_STREAM], h, w, part->in);
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

enum vmt_status vmt_vae_net_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                   const vmt_vae *vae, enum vmt_vae_direction direction,
                                   int64_t height, int64_t width)
{
    int64_t size[VMT_VAE_REGIONS] = {1, 1, 1};
    int64_t level = 0;

    net->parts = direction == VMT_VAE_ENCODE ? vae->encoder : vae->decoder;
    net->count = direction == VMT_VAE_ENCODE ? vae->encoder_count : vae->decoder_count;
    net->histories = 0;
    for (int64_t i = 0; i < net->count; i++) {
        const vmt_vae_part *part = &net->parts[i];
        vmt_vae_place *place = &net->place[i];
        const bool down = part->kind == VMT_VAE_DOWN, up = part->kind == VMT_VAE_UP;
        *place = (vmt_vae_place){.height = height, .width = width, .history = {-1, -1}};
        height = place->out_height = down ? height / 2 : up ? height * 2 : height;
        width = place->out_width = down ? width / 2 : up ? width * 2 : width;
        place_part(net, i, level, size);
        level += down || up;
        if (part->time)
            VMT_TRY(vmt_take(ctx, arena, &place->frames, ctx->act,
                             VMT_SHAPE(down ? 3 : 2, down ? height : place->height,
                                       down ? width : place->width, part->in)));
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
