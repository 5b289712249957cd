/* SPDX-License-Identifier: MIT */
#include "vae/vae_colour.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

/*
 * The chart: still frames of one latent frame each way (the first alone, and one of a whole group),
 * random colours in patches of PATCH x PATCH cells, of which half fade into their neighbours, as
 * both occur in pictures.
 */
enum { CELLS = 16, PATCH = 2, SIDE = CELLS * VMT_VAE_CELL, PATCHES = CELLS / PATCH };

static int64_t chart_frames(const vmt_vae *vae)
{
    return 1 + vmt_vae_time_factor(vae);
}

/* Colour of a pixel between the patches' centres: their bilinear mix, or the nearest one. */
static double chart_colour(double colours[PATCHES][PATCHES][3], int64_t y, int64_t x, int channel)
{
    const double patch = PATCH * VMT_VAE_CELL, last = PATCHES - 1;
    const double v = fmin(fmax(((double)y + 0.5) / patch - 0.5, 0), last);
    const double u = fmin(fmax(((double)x + 0.5) / patch - 0.5, 0), last);

    if (y < SIDE / 2)
        return colours[y / (PATCH * VMT_VAE_CELL)][x / (PATCH * VMT_VAE_CELL)][channel];
    const int i = (int)fmin(v, last - 1), j = (int)fmin(u, last - 1);
    const double down = v - i, right = u - j;
    const double top = colours[i][j][channel] * (1 - right) + colours[i][j + 1][channel] * right;
    const double bottom =
        colours[i + 1][j][channel] * (1 - right) + colours[i + 1][j + 1][channel] * right;
    return top * (1 - down) + bottom * down;
}

static void draw_chart(uint8_t *pixels, int64_t frames)
{
    double colours[PATCHES][PATCHES][3];
    vmt_rng rng;

    vmt_rng_seed(&rng, 0);
    for (int i = 0; i < PATCHES; i++)
        for (int j = 0; j < PATCHES; j++)
            for (int c = 0; c < 3; c++)
                colours[i][j][c] = (double)(vmt_rng_bits(&rng) >> 24);
    for (int64_t y = 0; y < SIDE; y++)
        for (int64_t x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                pixels[(y * SIDE + x) * 3 + c] = (uint8_t)lrint(chart_colour(colours, y, x, c));
    for (int64_t t = 1; t < frames; t++)
        memcpy(pixels + t * SIDE * SIDE * 3, pixels, SIDE * SIDE * 3);
}

/* ---- least squares */

enum { MOST = VMT_VAE_MAX_Z + 1 };

typedef struct equations {
    double left[MOST][MOST], right[3][MOST]; /* Σ x xᵀ, Σ x colour */
    int64_t count;                           /* unknowns: channels and 1 */
} equations;

static void mean_of_cell(const uint8_t *pixels, int64_t row, int64_t col, double mean[3])
{
    mean[0] = mean[1] = mean[2] = 0;
    for (int64_t y = row * VMT_VAE_CELL; y < (row + 1) * VMT_VAE_CELL; y++)
        for (int64_t x = col * VMT_VAE_CELL; x < (col + 1) * VMT_VAE_CELL; x++)
            for (int c = 0; c < 3; c++)
                mean[c] += pixels[(y * SIDE + x) * 3 + c] / (double)(VMT_VAE_CELL * VMT_VAE_CELL);
}

/* The equations of latent frame f of the chart's two. */
static void gather(equations *e, const float *latent, int64_t f, const uint8_t *pixels)
{
    const int64_t cells = CELLS * CELLS, channels = e->count - 1;
    double x[MOST], colour[3];

    for (int64_t i = 0; i < cells; i++) {
        mean_of_cell(pixels, i / CELLS, i % CELLS, colour);
        for (int64_t c = 0; c < channels; c++)
            x[c] = (double)latent[(c * 2 + f) * cells + i];
        x[channels] = 1;
        for (int64_t a = 0; a <= channels; a++) {
            for (int64_t b = 0; b <= channels; b++)
                e->left[a][b] += x[a] * x[b];
            for (int c = 0; c < 3; c++)
                e->right[c][a] += x[a] * colour[c];
        }
    }
}

/* Cholesky; a little of the mean diagonal is added, so that channels that say nothing (all zero,
 * or twice the same) get no weight instead of no answer. */
static void solve(equations *e, double weight[3][MOST])
{
    const int64_t n = e->count;
    double ridge = 0;

    for (int64_t i = 0; i < n; i++)
        ridge += 1e-6 * e->left[i][i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        e->left[i][i] += ridge;
        for (int64_t j = 0; j <= i; j++) {
            double sum = e->left[i][j];
            for (int64_t k = 0; k < j; k++)
                sum -= e->left[i][k] * e->left[j][k];
            e->left[i][j] = i == j ? sqrt(fmax(sum, ridge)) : sum / e->left[j][j];
        }
    }
    for (int c = 0; c < 3; c++) {
        double *x = weight[c];
        for (int64_t i = 0; i < n; i++) {
            x[i] = e->right[c][i];
            for (int64_t k = 0; k < i; k++)
                x[i] -= e->left[i][k] * x[k];
            x[i] /= e->left[i][i];
        }
        for (int64_t i = n - 1; i >= 0; i--) {
            for (int64_t k = i + 1; k < n; k++)
                x[i] -= e->left[k][i] * x[k];
            x[i] /= e->left[i][i];
        }
    }
}

/* ---- interface */

/* Pixels, latent and equations, in that order, for one allocation. */
static size_t own_bytes(const vmt_vae *vae, int64_t channels)
{
    return (size_t)(chart_frames(vae) * SIDE * SIDE * 3) +
           sizeof(float) * (size_t)(channels * 2 * CELLS * CELLS) + sizeof(equations) + 64;
}

enum vmt_status vmt_vae_colour_bytes(vmt_ctx *ctx, const vmt_vae *vae, size_t *bytes)
{
    VMT_TRY(vmt_vae_encode_bytes(ctx, vae, chart_frames(vae), SIDE, SIDE, NULL, bytes));
    *bytes += own_bytes(vae, vmt_vae_channels(vae));
    return VMT_OK;
}

static enum vmt_status fit(vmt_ctx *ctx, vmt_vae_colour *map, vmt_vae *vae,
                           const vmt_vae_options *options, uint8_t *pixels, float *latent,
                           equations *e)
{
    const vmt_vae_options plain = {.progress = options ? options->progress : NULL,
                                   .user = options ? options->user : NULL};
    const vmt_vae_clip clip = {
        .bytes = pixels, .frames = chart_frames(vae), .height = SIDE, .width = SIDE};

    draw_chart(pixels, clip.frames);
    VMT_TRY(vmt_vae_encode(ctx, vae, latent, &clip, &plain));
    *map = (vmt_vae_colour){.channels = vmt_vae_channels(vae)};
    for (int f = 0; f < 2; f++) {
        *e = (equations){.count = map->channels + 1};
        gather(e, latent, f, pixels);
        solve(e, map->weight[f]);
    }
    return VMT_OK;
}

enum vmt_status vmt_vae_colour_fit(vmt_ctx *ctx, vmt_vae_colour *map, vmt_vae *vae,
                                   const vmt_vae_options *options)
{
    uint8_t *pixels = NULL;
    float *latent = NULL;
    equations *e = NULL;
    enum vmt_status status =
        vmt_alloc(ctx, (void **)&pixels, (size_t)(chart_frames(vae) * SIDE * SIDE), 3);

    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&latent,
                           (size_t)(vmt_vae_channels(vae) * 2 * CELLS * CELLS), sizeof *latent);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&e, 1, sizeof *e);
    if (status == VMT_OK)
        status = fit(ctx, map, vae, options, pixels, latent, e);
    vmt_free(pixels);
    vmt_free(latent);
    vmt_free(e);
    return status;
}

void vmt_vae_colour_apply(const vmt_vae_colour *map, vmt_clip *clip, const float *latent,
                          int64_t frames, int64_t rows, int64_t cols)
{
    const int64_t plane = rows * cols;
    uint8_t *rgb = clip->pixels;

    for (int64_t t = 0; t < clip->frames; t++)
        for (int64_t y = 0; y < clip->height; y++)
            for (int64_t x = 0; x < clip->width; x++)
                for (int i = 0; i < 3; i++) {
                    const double *weight = map->weight[t > 0][i];
                    double level = weight[map->channels];
                    for (int64_t c = 0; c < map->channels; c++)
                        level +=
                            weight[c] * (double)latent[(c * frames + t) * plane + y * cols + x];
                    *rgb++ = (uint8_t)lrint(fmin(fmax(level, 0), 255)); /* NaN: 0 */
                }
}
