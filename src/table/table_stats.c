/* SPDX-License-Identifier: MIT
 *
 * Bootstrap, the test against a margin, and how many pairs it takes.
 */
#include "table/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Draws are the same in every run: splitmix64 from a fixed start. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Below `count`; the bias of the product is below count / 2^32. */
static int64_t draw_below(uint64_t *state, int64_t count)
{
    return (int64_t)(((next_random(state) >> 32) * (uint64_t)count) >> 32);
}

void table_pairs_free(table_pairs *pairs)
{
    vmt_free(pairs->difference);
    vmt_free(pairs->gain);
    vmt_free(pairs->group);
    *pairs = (table_pairs){0};
}

double table_mean(const double *values, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / (double)count : 0;
}

double table_deviation(const double *values, int64_t count)
{
    const double mean = table_mean(values, count);
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return count > 1 ? sqrt(sum / (double)(count - 1)) : 0;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Between the two neighbours, linearly. */
static double quantile(const double *sorted, int64_t count, double share)
{
    const double at = share * (double)(count - 1);
    const int64_t below = (int64_t)at, above = below + 1 < count ? below + 1 : below;

    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

enum vmt_status table_bootstrap(vmt_ctx *ctx, table_interval *interval, const double *values,
                                int64_t count)
{
    double *means;
    uint64_t state = 2026;

    *interval = (table_interval){0};
    if (!count)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, (void **)&means, TABLE_DRAWS, sizeof *means));
    for (int draw = 0; draw < TABLE_DRAWS; draw++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += values[draw_below(&state, count)];
        means[draw] = sum / (double)count;
    }
    qsort(means, TABLE_DRAWS, sizeof *means, compare);
    *interval =
        (table_interval){quantile(means, TABLE_DRAWS, 0.025), quantile(means, TABLE_DRAWS, 0.975)};
    vmt_free(means);
    return VMT_OK;
}

enum vmt_status table_bootstrap_groups(vmt_ctx *ctx, table_interval *interval, const double *values,
                                       const int32_t *group, int64_t count, int32_t groups)
{
    double *sums;
    int32_t used = 0;

    *interval = (table_interval){0};
    if (!count || groups < 1)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, (void **)&sums, 2 * (size_t)groups, sizeof *sums));
    double *counts = sums + groups;
    for (int64_t i = 0; i < count; i++) {
        sums[group[i]] += values[i];
        counts[group[i]] += 1;
    }
    for (int32_t g = 0; g < groups; g++)
        if (counts[g] > 0)
            sums[used++] = sums[g] / counts[g];
    const enum vmt_status status = table_bootstrap(ctx, interval, sums, used);
    vmt_free(sums);
    return status;
}

enum table_verdict table_judge(table_interval difference, double gain, double margin)
{
    if (!(gain > 0))
        return TABLE_NO_GAIN;
    return difference.low > -margin * gain    ? TABLE_SHOWN
           : difference.high < -margin * gain ? TABLE_REFUTED
                                              : TABLE_UNDECIDED;
}

double table_pairs_needed(double deviation, double margin, bool power)
{
    const double widths = power ? 1.959964 + 0.841621 : 1.959964;

    if (!(margin > 0) || !(deviation > 0))
        return 0;
    const double root = widths * deviation / margin;
    return ceil(root * root);
}
