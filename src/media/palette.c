/* SPDX-License-Identifier: MIT
 *
 * Sources: X. Wu, "Efficient statistical computations for optimal color quantization" (1991), for
 * the criterion of the splits; S. Lloyd (1982) for the rounds after them; B. Bayer (1973) for the
 * dither's matrix.
 */
#include "media/palette.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BINS = 1 << 15, /* 5 bits a channel */
    ROUNDS = 6,
    CACHE = 1 << 16,
    EXACT_SLOTS = 1024 /* of a hash table for at most 255 colours */
};

struct media_palette {
    uint8_t colours[MEDIA_PALETTE_COLOURS + 1][3];
    int count;
    double spread;          /* of the dither, in steps of colour */
    uint32_t cached[CACHE]; /* colour and its index: (rgb + 1) << 8 | index; 0: empty */
};

/* Pixels of one bin: how many, their sum. */
typedef struct bin {
    double count, sum[3];
} bin;

/* A run of bins that one colour stands for. */
typedef struct box {
    int begin, end;
    double count, mean[3], error[3]; /* error: summed squares around the mean, per channel */
} box;

const uint8_t *media_palette_colour(const media_palette *palette, int index)
{
    return palette->colours[index];
}

static uint32_t key_of(const uint8_t *rgb)
{
    return (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
}

static uint32_t mixed(uint32_t key)
{
    return key * 2654435761u >> 16;
}

/* Takes the clip's colours as they are; false when there are too many. */
static bool take_exact(media_palette *p, const vmt_clip *clip)
{
    const int64_t pixels = clip->frames * clip->height * clip->width;
    uint32_t slots[EXACT_SLOTS] = {0}; /* key + 1 */
    uint32_t last = 0;

    for (int64_t i = 0; i < pixels; i++) {
        const uint32_t key = key_of(clip->pixels + 3 * i) + 1;
        if (key == last)
            continue;
        last = key;
        uint32_t at = mixed(key) % EXACT_SLOTS;
        while (slots[at] && slots[at] != key)
            at = (at + 1) % EXACT_SLOTS;
        if (slots[at])
            continue;
        if (p->count == MEDIA_PALETTE_COLOURS)
            return false;
        slots[at] = key;
        memcpy(p->colours[p->count++], clip->pixels + 3 * i, 3);
    }
    return true;
}

/* Fills `bins` and moves those in use to the front; their number. */
static int count_bins(bin *bins, const vmt_clip *clip)
{
    const int64_t pixels = clip->frames * clip->height * clip->width;
    int used = 0;

    for (int64_t i = 0; i < pixels; i++) {
        const uint8_t *rgb = clip->pixels + 3 * i;
        bin *b = &bins[(rgb[0] >> 3) << 10 | (rgb[1] >> 3) << 5 | rgb[2] >> 3];
        b->count++;
        for (int c = 0; c < 3; c++)
            b->sum[c] += rgb[c];
    }
    for (int i = 0; i < BINS; i++)
        if (bins[i].count > 0)
            bins[used++] = bins[i];
    return used;
}

static void measure(box *b, const bin *bins)
{
    double squares[3] = {0};

    b->count = 0;
    memset(b->mean, 0, sizeof b->mean);
    for (int i = b->begin; i < b->end; i++) {
        b->count += bins[i].count;
        for (int c = 0; c < 3; c++) {
            b->mean[c] += bins[i].sum[c];
            squares[c] += bins[i].sum[c] * bins[i].sum[c] / bins[i].count;
        }
    }
    for (int c = 0; c < 3; c++) {
        b->error[c] = squares[c] - b->mean[c] * b->mean[c] / b->count;
        b->mean[c] /= b->count;
    }
}

static int widest(const box *b)
{
    const int first = b->error[1] > b->error[0] ? 1 : 0;
    return b->error[2] > b->error[first] ? 2 : first;
}

/* Splits the box of the largest error at its mean; false when none has two bins apart. */
static bool split_worst(box *boxes, int *count, bin *bins)
{
    box *worst = NULL;

    for (int i = 0; i < *count; i++)
        if (boxes[i].end - boxes[i].begin > 1 &&
            (!worst || boxes[i].error[widest(&boxes[i])] > worst->error[widest(worst)]))
            worst = &boxes[i];
    if (!worst)
        return false;
    const int c = widest(worst);
    int middle = worst->begin;
    for (int i = worst->begin; i < worst->end; i++)
        if (bins[i].sum[c] / bins[i].count < worst->mean[c]) {
            const bin moved = bins[i];
            bins[i] = bins[middle];
            bins[middle++] = moved;
        }
    if (middle == worst->begin || middle == worst->end)
        middle = (worst->begin + worst->end) / 2; /* all alike */
    boxes[*count] = (box){.begin = middle, .end = worst->end};
    worst->end = middle;
    measure(worst, bins);
    measure(&boxes[(*count)++], bins);
    return true;
}

/* One round of Lloyd's: each bin to its nearest colour, each colour to its bins' mean.  Returns the
 * mean squared distance, all channels together. */
static double move_colours(double means[][3], int count, const bin *bins, int used)
{
    double sum[MEDIA_PALETTE_COLOURS][4] = {{0}};
    double error = 0, pixels = 0;

    for (int i = 0; i < used; i++) {
        double mean[3], least = 1e300;
        int nearest = 0;
        for (int c = 0; c < 3; c++)
            mean[c] = bins[i].sum[c] / bins[i].count;
        for (int k = 0; k < count; k++) {
            const double r = mean[0] - means[k][0], g = mean[1] - means[k][1];
            const double b = mean[2] - means[k][2], d = r * r + g * g + b * b;
            if (d < least) {
                least = d;
                nearest = k;
            }
        }
        error += bins[i].count * least;
        pixels += bins[i].count;
        for (int c = 0; c < 3; c++)
            sum[nearest][c] += bins[i].sum[c];
        sum[nearest][3] += bins[i].count;
    }
    for (int k = 0; k < count; k++)
        for (int c = 0; c < 3 && sum[k][3] > 0; c++)
            means[k][c] = sum[k][c] / sum[k][3];
    return error / pixels;
}

static enum vmt_status take_means(vmt_ctx *ctx, media_palette *p, bin *bins, int used)
{
    box boxes[MEDIA_PALETTE_COLOURS] = {{.begin = 0, .end = used}};
    double means[MEDIA_PALETTE_COLOURS][3], error = 0;

    p->count = 1;
    measure(&boxes[0], bins);
    while (p->count < MEDIA_PALETTE_COLOURS && split_worst(boxes, &p->count, bins))
        continue;
    for (int k = 0; k < p->count; k++)
        memcpy(means[k], boxes[k].mean, sizeof means[k]);
    for (int round = 0; round < ROUNDS; round++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        error = move_colours(means, p->count, bins, used);
    }
    for (int k = 0; k < p->count; k++)
        for (int c = 0; c < 3; c++)
            p->colours[k][c] = (uint8_t)lrint(means[k][c]);
    p->spread = 2 * sqrt(error / 3);
    return VMT_OK;
}

enum vmt_status media_palette_make(vmt_ctx *ctx, media_palette **palette, const vmt_clip *clip)
{
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof **palette));
    *palette = memory;
    if (take_exact(*palette, clip))
        return VMT_OK;
    enum vmt_status status = vmt_alloc(ctx, &memory, BINS, sizeof(bin));
    if (status == VMT_OK) {
        bin *bins = memory;
        status = take_means(ctx, *palette, bins, count_bins(bins, clip));
        vmt_free(bins);
    }
    if (status != VMT_OK) {
        vmt_free(*palette);
        *palette = NULL;
    }
    return status;
}

static uint8_t nearest_index(media_palette *p, const uint8_t *rgb)
{
    const uint32_t key = key_of(rgb);
    uint32_t *cached = &p->cached[mixed(key)];
    int least = 1 << 30, nearest = 0;

    if (*cached && (*cached >> 8) == ((key + 1) & 0xffffff))
        return (uint8_t)*cached;
    for (int k = 0; k < p->count; k++) {
        const int r = rgb[0] - p->colours[k][0], g = rgb[1] - p->colours[k][1];
        const int b = rgb[2] - p->colours[k][2], d = r * r + g * g + b * b;
        if (d < least) {
            least = d;
            nearest = k;
        }
    }
    *cached = ((key + 1) & 0xffffff) << 8 | (uint32_t)nearest;
    return (uint8_t)nearest;
}

/* Bayer's 8x8 matrix: the bits of x ^ y and y, interleaved from the lowest on. */
static int threshold(int64_t x, int64_t y)
{
    const int64_t a = x ^ y;
    int value = 0;

    for (int bit = 0; bit < 3; bit++)
        value = value << 2 | (int)(a >> bit & 1) << 1 | (int)(y >> bit & 1);
    return value;
}

void media_palette_apply(media_palette *p, uint8_t *indices, const uint8_t *pixels, int64_t width,
                         int64_t height)
{
    int shift[64];

    for (int i = 0; i < 64; i++)
        shift[i] = (int)lrint(p->spread * ((threshold(i % 8, i / 8) + 0.5) / 64 - 0.5));
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++, pixels += 3) {
            const int by = shift[8 * (y & 7) + (x & 7)];
            uint8_t rgb[3];
            for (int c = 0; c < 3; c++) {
                const int value = pixels[c] + by;
                rgb[c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
            *indices++ = nearest_index(p, rgb);
        }
}
