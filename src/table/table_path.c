/* SPDX-License-Identifier: MIT
 *
 * Path of the strongest mover before a still background, and how two paths agree.
 */
#include "table/table.h"

#include <math.h>
#include <string.h>

enum { REACH = 4 }; /* the mean is over 9 x 9 pixels */

#define SHARE 0.6 /* of a frame's largest difference: less does not count */
#define MOVES 4.0 /* standard deviation, pixels, of an axis that moves */

/* ---- still background */

/* Median of each value over time; the mean of the middle two for an even count. */
void table_still(double *still, const vmt_clip *clip)
{
    const int64_t values = clip->height * clip->width * 3, frames = clip->frames;

    for (int64_t i = 0; i < values; i++) {
        int32_t counts[256] = {0};
        int64_t below = 0;
        int low = -1, high = -1;
        for (int64_t f = 0; f < frames; f++)
            counts[clip->pixels[f * values + i]]++;
        for (int v = 0; v < 256 && high < 0; v++) {
            below += counts[v];
            if (low < 0 && below > (frames - 1) / 2)
                low = v;
            if (below > frames / 2)
                high = v;
        }
        still[i] = 0.5 * (low + high);
    }
}

/* ---- place in one frame */

/* Sums over windows of 9 along one axis; beyond the ends is nothing. */
static void sum_windows(double *sums, const double *values, int64_t count, int64_t stride)
{
    double sum = 0;

    for (int64_t i = 0; i < count + REACH; i++) {
        sum += i < count ? values[i * stride] : 0;
        if (i > 2 * REACH)
            sum -= values[(i - 2 * REACH - 1) * stride];
        if (i >= REACH)
            sums[(i - REACH) * stride] = sum;
    }
}

static void find_place(double place[2], const uint8_t *pixels, const double *still, int64_t height,
                       int64_t width, double *a, double *b)
{
    double most = 0, total = 1e-9, x = 0, y = 0;

    for (int64_t i = 0; i < height * width; i++)
        a[i] = fabs(pixels[3 * i] - still[3 * i]) + fabs(pixels[3 * i + 1] - still[3 * i + 1]) +
               fabs(pixels[3 * i + 2] - still[3 * i + 2]);
    for (int64_t row = 0; row < height; row++)
        sum_windows(b + row * width, a + row * width, width, 1);
    for (int64_t column = 0; column < width; column++)
        sum_windows(a + column, b + column, height, width);
    for (int64_t i = 0; i < height * width; i++)
        most = a[i] > most ? a[i] : most;
    for (int64_t i = 0; i < height * width; i++) {
        const double weight = (a[i] - SHARE * most) / 81;
        if (!(weight > 0))
            continue;
        total += weight;
        x += weight * (double)(i % width);
        y += weight * (double)(i / width);
    }
    place[0] = x / total + 0.5;
    place[1] = y / total + 0.5;
}

static double median3(double a, double b, double c)
{
    return a > b ? (b > c ? b : a > c ? c : a) : a > c ? a : b > c ? c : b;
}

enum vmt_status table_track(vmt_ctx *ctx, const vmt_clip *clip, double (*path)[2])
{
    const size_t pixels = (size_t)(clip->height * clip->width);
    double *memory;

    VMT_TRY(
        vmt_alloc(ctx, (void **)&memory, 5 * pixels + 2 * (size_t)clip->frames, sizeof *memory));
    double *still = memory, *a = still + 3 * pixels, *b = a + pixels, *raw = b + pixels;
    table_still(still, clip);
    for (int64_t f = 0; f < clip->frames; f++)
        find_place(raw + 2 * f, clip->pixels + (size_t)f * pixels * 3, still, clip->height,
                   clip->width, a, b);
    for (int64_t f = 0; f < clip->frames; f++) {
        const int64_t before = f ? f - 1 : 0, after = f + 1 < clip->frames ? f + 1 : f;
        for (int axis = 0; axis < 2; axis++)
            path[f][axis] =
                median3(raw[2 * before + axis], raw[2 * f + axis], raw[2 * after + axis]);
    }
    vmt_free(memory);
    return VMT_OK;
}

/* ---- two paths */

bool table_path_agreement(double *correlation, double *distance, double (*seen)[2],
                          double (*want)[2], int64_t count)
{
    double corr = 0, weights = 0, moved = 0;

    *distance = (double)NAN;
    if (count < 2)
        return false;
    *distance = 0;
    for (int64_t i = 0; i < count; i++)
        *distance += hypot(seen[i][0] - want[i][0], seen[i][1] - want[i][1]) / (double)count;
    for (int axis = 0; axis < 2; axis++) {
        double mean_seen = 0, mean_want = 0, ab = 0, aa = 0, bb = 0;
        for (int64_t i = 0; i < count; i++) {
            mean_seen += seen[i][axis] / (double)count;
            mean_want += want[i][axis] / (double)count;
        }
        for (int64_t i = 0; i < count; i++) {
            const double a = seen[i][axis] - mean_seen, b = want[i][axis] - mean_want;
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        moved += aa;
        if (!(sqrt(bb / (double)(count - 1)) > MOVES))
            continue;
        corr += bb * ab / (sqrt(aa * bb) + 1e-6);
        weights += bb;
    }
    const bool still = !(moved > 1e-9); /* rounding of the means */
    *correlation = weights > 0 ? corr / weights : 0;
    if (still)
        *distance = (double)NAN;
    return weights > 0 && !still;
}
