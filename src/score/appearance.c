/* SPDX-License-Identifier: MIT
 *
 * What frames look like, by themselves and beside the reference's.
 */
#include "score/side.h"

#include <math.h>

enum { BLOCK = 8, BETWEEN_BLOCKS = 4, BINS = 8 /* of each channel */ };

#define BEST_PSNR 100.0 /* dB, of equal clips */

static double laplacian_variance(const score_plane *p)
{
    double sum = 0, squares = 0;
    const double count = (double)((p->width - 2) * (p->height - 2));

    for (int64_t y = 1; y + 1 < p->height; y++)
        for (int64_t x = 1; x + 1 < p->width; x++) {
            const float *at = p->pixels + y * p->width + x;
            const double l = (double)(at[-1] + at[1] + at[-p->width] + at[p->width] - 4 * at[0]);
            sum += l;
            squares += l * l;
        }
    return squares / count - sum / count * (sum / count);
}

/* Black as ffmpeg's blackdetect has it: 98 % of the pixels below a tenth of white.  Flat: the
 * frame has one brightness, as when what was decoded is not a number. */
static void measure_luma(score_side *side, int64_t t, const score_plane *p)
{
    const int64_t count = p->width * p->height;
    double sum = 0, squares = 0;
    int64_t dark = 0;

    for (int64_t i = 0; i < count; i++) {
        const double v = (double)p->pixels[i];
        sum += v;
        squares += v * v;
        dark += v < 25.5;
    }
    const double mean = sum / (double)count;
    side->mean_luma[t] = mean;
    side->black[t] = (double)dark >= 0.98 * (double)count;
    side->flat[t] = squares / (double)count - mean * mean < 1;
}

void score_measure_frames(vmt_ctx *ctx, score_side *side, const score_pyramids *pyramids)
{
    const vmt_clip *clip = side->clip;
    const int64_t bytes = 3 * clip->width * clip->height;

#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t t = 0; t < clip->frames; t++) {
        const score_plane *plane = &pyramids->frame[t].level[0];
        const uint8_t *pixels = clip->pixels + t * bytes;
        int64_t ends = 0;
        for (int64_t i = 0; i < bytes; i++)
            ends += pixels[i] == 0 || pixels[i] == 255;
        side->saturated[t] = (double)ends / (double)bytes;
        side->sharpness[t] = laplacian_variance(plane);
        measure_luma(side, t, plane);
    }
}

double score_psnr(vmt_ctx *ctx, const vmt_clip *a, const vmt_clip *b, int64_t frames)
{
    const int64_t count = 3 * a->width * a->height * frames;
    uint64_t squares = 0; /* whole numbers: the order of the sum does not matter */

#pragma omp parallel for num_threads(ctx->threads) schedule(static) reduction(+ : squares)
    for (int64_t i = 0; i < count; i++) {
        const int d = a->pixels[i] - b->pixels[i];
        squares += (uint64_t)(d * d);
    }
    if (!squares)
        return BEST_PSNR;
    return fmin(10 * log10(255.0 * 255.0 * (double)count / (double)squares), BEST_PSNR);
}

/* One block of one channel; constants of Wang et al. 2004 for sums over 64 pixels. */
static double ssim_block(const uint8_t *a, const uint8_t *b, int64_t row_bytes)
{
    const double c1 = 416, c2 = 235963; /* (0.01 255)² 64 and (0.03 255)² 64 63, rounded */
    int64_t sa = 0, sb = 0, squares = 0, products = 0;

    for (int64_t y = 0; y < BLOCK; y++)
        for (int64_t x = 0; x < BLOCK; x++) {
            const int64_t at = y * row_bytes + 3 * x, va = a[at], vb = b[at];
            sa += va;
            sb += vb;
            squares += va * va + vb * vb;
            products += va * vb;
        }
    const double variances = (double)(64 * squares - sa * sa - sb * sb);
    const double covariance = (double)(64 * products - sa * sb);
    return (2 * (double)(sa * sb) + c1) * (2 * covariance + c2) /
           (((double)(sa * sa + sb * sb) + c1) * (variances + c2));
}

static double ssim_frame(const uint8_t *a, const uint8_t *b, int64_t width, int64_t height)
{
    const int64_t across = width / BETWEEN_BLOCKS - 1, down = height / BETWEEN_BLOCKS - 1;
    double sum = 0;

    for (int64_t r = 0; r < down; r++)
        for (int64_t c = 0; c < across; c++)
            for (int64_t channel = 0; channel < 3; channel++) {
                const int64_t at = 3 * (r * BETWEEN_BLOCKS * width + c * BETWEEN_BLOCKS) + channel;
                sum += ssim_block(a + at, b + at, 3 * width);
            }
    return sum / (double)(3 * across * down);
}

enum vmt_status score_ssim(vmt_ctx *ctx, double *ssim, const vmt_clip *a, const vmt_clip *b,
                           int64_t frames)
{
    const int64_t bytes = 3 * a->width * a->height;
    double *each;

    VMT_TRY(vmt_alloc(ctx, (void **)&each, (size_t)frames, sizeof *each));
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
    for (int64_t t = 0; t < frames; t++)
        each[t] = ssim_frame(a->pixels + t * bytes, b->pixels + t * bytes, a->width, a->height);
    *ssim = 0;
    for (int64_t t = 0; t < frames; t++)
        *ssim += each[t] / (double)frames;
    vmt_free(each);
    return VMT_OK;
}

static void count_colours(int64_t *bins, const vmt_clip *clip, int64_t frames)
{
    const int64_t count = clip->width * clip->height * frames;

    for (int64_t i = 0; i < count; i++) {
        const uint8_t *rgb = clip->pixels + 3 * i;
        bins[(rgb[0] * BINS / 256 * BINS + rgb[1] * BINS / 256) * BINS + rgb[2] * BINS / 256]++;
    }
}

enum vmt_status score_colour_distance(vmt_ctx *ctx, double *distance, const vmt_clip *a,
                                      const vmt_clip *b, int64_t frames)
{
    const double count = (double)(a->width * a->height * frames);
    int64_t *bins;
    double same = 0;

    VMT_TRY(vmt_alloc(ctx, (void **)&bins, 2 * BINS * BINS * BINS, sizeof *bins));
    int64_t *others = bins + BINS * BINS * BINS;
    count_colours(bins, a, frames);
    count_colours(others, b, frames);
    for (int i = 0; i < BINS * BINS * BINS; i++)
        same += sqrt((double)bins[i] / count * ((double)others[i] / count));
    *distance = 1 - same > 1e-12 ? sqrt(1 - same) : 0; /* else rounding */
    vmt_free(bins);
    return VMT_OK;
}
