/* SPDX-License-Identifier: MIT
 *
 * Animated GIF: one palette for the clip, unchanged pixels transparent, repeated for ever.
 * Source: the GIF89a specification (CompuServe, 1990), with LZW as in its appendix F.
 */
#include "base/atomic_file.h"
#include "media/palette.h"
#include "media/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLEAR = 256,
    END = 257,
    FIRST_CODE = 258,
    MOST_CODES = 4096,
    SLOTS = 8192,
    TRANSPARENT = MEDIA_PALETTE_COLOURS,
    LEAST_DELAY = 2 /* hundredths; players take less for "as it likes" */
};

typedef struct gif {
    vmt_ctx *ctx;
    vmt_atomic_file file;
    enum vmt_status status; /* of the first failed write */
    uint8_t block[256];     /* its length, then at most 255 bytes */
    uint32_t bits;          /* not yet in the block */
    int bit_count;
    uint32_t slots[SLOTS]; /* (prefix << 8 | byte) << 12 | code, plus 1; 0: empty */
} gif;

static void put(gif *g, const void *bytes, size_t count)
{
    if (g->status == VMT_OK)
        g->status = vmt_atomic_file_write(g->ctx, &g->file, bytes, count);
}

static void put_block(gif *g)
{
    if (g->block[0])
        put(g, g->block, (size_t)g->block[0] + 1);
    g->block[0] = 0;
}

static void put_byte(gif *g, uint8_t byte)
{
    g->block[++g->block[0]] = byte;
    if (g->block[0] == 255)
        put_block(g);
}

static void put_code(gif *g, uint32_t code, int width)
{
    g->bits |= code << g->bit_count;
    g->bit_count += width;
    for (; g->bit_count >= 8; g->bit_count -= 8, g->bits >>= 8)
        put_byte(g, (uint8_t)g->bits);
}

static void put_indices(gif *g, const uint8_t *indices, int64_t count)
{
    const uint8_t least_size = 8, none = 0;
    uint32_t prefix = indices[0], next = FIRST_CODE;
    int width = 9;

    put(g, &least_size, 1);
    memset(g->slots, 0, sizeof g->slots);
    put_code(g, CLEAR, width);
    for (int64_t i = 1; i < count; i++) {
        const uint32_t pair = prefix << 8 | indices[i];
        uint32_t at = pair * 2654435761u >> 19;
        while (g->slots[at] && (g->slots[at] - 1) >> 12 != pair)
            at = (at + 1) % SLOTS;
        if (g->slots[at]) {
            prefix = (g->slots[at] - 1) & 0xfff;
            continue;
        }
        put_code(g, prefix, width);
        prefix = indices[i];
        if (next < MOST_CODES) {
            g->slots[at] = (pair << 12 | next) + 1;
            width += next == 1u << width; /* the reader learns a code one step later */
            next++;
        } else {
            put_code(g, CLEAR, width);
            memset(g->slots, 0, sizeof g->slots);
            next = FIRST_CODE;
            width = 9;
        }
    }
    put_code(g, prefix, width);
    width += next == 1u << width && width < 12;
    put_code(g, END, width);
    if (g->bit_count)
        put_byte(g, (uint8_t)g->bits);
    g->bits = 0;
    g->bit_count = 0;
    put_block(g);
    put(g, &none, 1);
}

static void put_head(gif *g, const vmt_clip *clip, const media_palette *palette,
                     const char *comment)
{
    const uint8_t screen[7] = {(uint8_t)clip->width,
                               (uint8_t)(clip->width >> 8),
                               (uint8_t)clip->height,
                               (uint8_t)(clip->height >> 8),
                               0xf7, /* 256 colours, 8 bits each */
                               0,
                               0};

    put(g, "GIF89a", 6);
    put(g, screen, sizeof screen);
    for (int i = 0; i < 256; i++)
        put(g, media_palette_colour(palette, i), 3);
    put(g, "!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0", 19); /* repeat for ever */
    if (!comment)
        return;
    put(g, "!\xfe", 2);
    for (; *comment; comment++)
        put_byte(g, (uint8_t)*comment);
    put_block(g);
    put(g, "", 1);
}

static void put_picture(gif *g, const vmt_clip *clip, const uint8_t *indices, int64_t delay)
{
    const uint8_t control[8] = {'!',
                                0xf9,
                                4,
                                0x05, /* stays; has a transparent index */
                                (uint8_t)delay,
                                (uint8_t)(delay >> 8),
                                TRANSPARENT,
                                0};
    const uint8_t place[10] = {',',
                               0,
                               0,
                               0,
                               0,
                               (uint8_t)clip->width,
                               (uint8_t)(clip->width >> 8),
                               (uint8_t)clip->height,
                               (uint8_t)(clip->height >> 8),
                               0};

    put(g, control, sizeof control);
    put(g, place, sizeof place);
    put_indices(g, indices, clip->width * clip->height);
}

/* In hundredths of a second, rounded frame by frame so that the whole keeps its length. */
static int64_t time_of(const vmt_clip *clip, int64_t frame)
{
    return llrint(100 * (double)frame / clip->fps);
}

/* `indices`: the frame, what is shown so far, and what changes; area bytes each. */
static enum vmt_status put_frames(gif *g, const vmt_clip *clip, media_palette *palette,
                                  uint8_t *indices)
{
    const int64_t area = clip->width * clip->height;
    uint8_t *frame = indices, *shown = indices + area, *change = indices + 2 * area;

    for (int64_t t = 0, next; t < clip->frames && g->status == VMT_OK; t = next) {
        for (next = t + 1; next < clip->frames;) { /* above 50 fps some frames have no room */
            if (time_of(clip, next) - time_of(clip, t) >= LEAST_DELAY)
                break;
            next++;
        }
        int64_t delay = time_of(clip, next) - time_of(clip, t);
        delay = delay < LEAST_DELAY ? LEAST_DELAY : delay > 65535 ? 65535 : delay;
        VMT_TRY(vmt_check_cancelled(g->ctx));
        media_palette_apply(palette, frame, clip->pixels + 3 * t * area, clip->width, clip->height);
        for (int64_t i = 0; i < area; i++) {
            change[i] = t && frame[i] == shown[i] ? TRANSPARENT : frame[i];
            shown[i] = frame[i];
        }
        put_picture(g, clip, change, delay);
    }
    put(g, ";", 1);
    return g->status;
}

static enum vmt_status write_parts(gif *g, const vmt_clip *clip, media_palette *palette,
                                   const char *comment)
{
    void *indices;

    VMT_TRY(vmt_alloc(g->ctx, &indices, (size_t)(clip->width * clip->height), 3));
    put_head(g, clip, palette, comment);
    const enum vmt_status status = put_frames(g, clip, palette, indices);
    vmt_free(indices);
    return status;
}

enum vmt_status media_write_gif(vmt_ctx *ctx, const vmt_clip *clip, const char *path,
                                const char *comment)
{
    media_palette *palette = NULL;
    void *memory;

    if (clip->width > 65535 || clip->height > 65535)
        return vmt_fail(ctx, VMT_E_ARG, "%s: GIF holds at most 65535 pixels in each direction",
                        path);
    VMT_TRY(media_palette_make(ctx, &palette, clip));
    enum vmt_status status = vmt_alloc(ctx, &memory, 1, sizeof(gif));
    if (status == VMT_OK) {
        gif *g = memory;
        g->ctx = ctx;
        status = vmt_atomic_file_open(ctx, &g->file, path);
        if (status == VMT_OK) {
            status = write_parts(g, clip, palette, comment);
            if (status == VMT_OK)
                status = vmt_atomic_file_commit(ctx, &g->file);
            else
                vmt_atomic_file_abort(&g->file);
        }
        vmt_free(g);
    }
    vmt_free(palette);
    return status;
}
