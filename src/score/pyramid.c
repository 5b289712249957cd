/* SPDX-License-Identifier: MIT */
#include "score/pyramid.h"

#include <string.h>

/* Sizes of a clip's levels; returns how many. */
static int level_sizes(int64_t width, int64_t height, int64_t sizes[SCORE_LEVELS][2])
{
    int levels = 0;

    for (; levels < SCORE_LEVELS; levels++) {
        if (levels && (width < SCORE_COARSEST_SIDE || height < SCORE_COARSEST_SIDE))
            break;
        sizes[levels][0] = width;
        sizes[levels][1] = height;
        width = (width + 1) / 2;
        height = (height + 1) / 2;
    }
    return levels;
}

/* BT.601 luma of full-range RGB. */
static void take_luma(float *to, const uint8_t *rgb, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = 0.299f * rgb[3 * i] + 0.587f * rgb[3 * i + 1] + 0.114f * rgb[3 * i + 2];
}

static int64_t clamp(int64_t at, int64_t size)
{
    return at < 0 ? 0 : at < size ? at : size - 1;
}

/* 1-3-3-1 across rows or columns: an even number of taps, so that a pixel of the smaller picture
 * lies between two and mirroring a clip mirrors its pyramid (but for an odd side's last pixel). */
static float blend(float a, float b, float c, float d)
{
    return (a + d) * 0.125f + (b + c) * 0.375f;
}

static void halve(float *to, const score_plane *from)
{
    const int64_t width = (from->width + 1) / 2, height = (from->height + 1) / 2;

    for (int64_t y = 0; y < height; y++) {
        const float *row[4];
        for (int64_t i = 0; i < 4; i++)
            row[i] = from->pixels + clamp(2 * y - 1 + i, from->height) * from->width;
        for (int64_t x = 0; x < width; x++) {
            float column[4];
            for (int64_t i = 0; i < 4; i++) {
                const int64_t at = clamp(2 * x - 1 + i, from->width);
                column[i] = blend(row[0][at], row[1][at], row[2][at], row[3][at]);
            }
            to[y * width + x] = blend(column[0], column[1], column[2], column[3]);
        }
    }
}

enum vmt_status score_pyramids_make(vmt_ctx *ctx, score_pyramids *p, const vmt_clip *clip)
{
    int64_t sizes[SCORE_LEVELS][2], pixels = 0;
    const int levels = level_sizes(clip->width, clip->height, sizes);

    *p = (score_pyramids){.frames = clip->frames};
    for (int l = 0; l < levels; l++)
        pixels += sizes[l][0] * sizes[l][1];
    VMT_TRY(vmt_alloc(ctx, (void **)&p->frame, (size_t)clip->frames, sizeof *p->frame));
    if (vmt_alloc(ctx, (void **)&p->memory, (size_t)clip->frames,
                  (size_t)pixels * sizeof *p->memory) != VMT_OK) {
        score_pyramids_free(p);
        return VMT_E_MEMORY;
    }
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t t = 0; t < clip->frames; t++) {
        float *at = p->memory + t * pixels;
        score_pyramid *pyramid = &p->frame[t];
        pyramid->levels = levels;
        for (int l = 0; l < levels; l++) {
            const int64_t count = sizes[l][0] * sizes[l][1];
            pyramid->level[l] = (score_plane){at, sizes[l][0], sizes[l][1]};
            if (l)
                halve(at, &pyramid->level[l - 1]);
            else
                take_luma(at, clip->pixels + 3 * t * count, count);
            at += count;
        }
    }
    return VMT_OK;
}

void score_pyramids_free(score_pyramids *p)
{
    vmt_free(p->memory);
    vmt_free(p->frame);
    *p = (score_pyramids){0};
}
