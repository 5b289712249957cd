/* SPDX-License-Identifier: MIT
 *
 * Plots of the report, within the page.
 */
#include "table/plot.h"
#include "table/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CURVE_POINTS = 4096 };

/* What an arm costs. */
static double cost_of(const report_arm *arm, bool gradients)
{
    return gradients ? arm->gradients : arm->loop_seconds;
}

/* One score against the cost, a point for each arm with its 95% by the standard error. */
static void scatter(table_report *r, const score_kind *score, bool gradients)
{
    FILE *html = r->doc.html;
    double mean, error;
    plot_axes a = {0};
    bool first = true;

    for (int i = 0; i < r->arm_count; i++) {
        if (!report_mean(r, r->arms[i].name, score->name, &mean, &error))
            continue;
        plot_grow(cost_of(&r->arms[i], gradients), first, &a.low_x, &a.high_x);
        plot_grow(mean - 2 * error, first, &a.low_y, &a.high_y);
        plot_grow(mean + 2 * error, false, &a.low_y, &a.high_y);
        first = false;
    }
    if (first)
        return;
    plot_widen(&a.low_x, &a.high_x);
    plot_widen(&a.low_y, &a.high_y);
    plot_begin(html, PLOT_TOP + PLOT_HIGH + 50);
    plot_draw_axes(html, &a, gradients ? "gradients computed, mean" : "seconds of the loop, mean",
                   score->name);
    for (int i = 0; i < r->arm_count; i++) {
        if (!report_mean(r, r->arms[i].name, score->name, &mean, &error))
            continue;
        const double x = plot_x(&a, cost_of(&r->arms[i], gradients)), y = plot_y(&a, mean);
        fprintf(html,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>"
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
                x, x, plot_y(&a, mean - 1.96 * error), plot_y(&a, mean + 1.96 * error),
                plot_colour(i), x, y, plot_colour(i));
        plot_label(html, x + 7, y - 5, r->arms[i].name, plot_colour(i));
    }
    fputs("</svg>\n", html);
}

void report_plot_scatter(table_report *r)
{
    static const char *const names[] = {"path_correlation", "fidelity"};

    bool counted = false;

    for (int i = 0; i < r->arm_count; i++)
        counted |= r->arms[i].gradients > 0;
    fputs("<h2>Fidelity against time</h2>\n", r->doc.html);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        scatter(r, report_score_of(names[i]), false);
    if (!counted)
        return;
    fputs("<h2>Fidelity against gradients</h2>\n", r->doc.html);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        scatter(r, report_score_of(names[i]), true);
}

/* Bars of the phases' mean times. */
void report_plot_phases(table_report *r)
{
    FILE *html = r->doc.html;
    double most = 1e-9;

    for (int i = 0; i < r->arm_count; i++)
        most = r->arms[i].seconds > most ? r->arms[i].seconds : most;
    plot_begin(html, PLOT_TOP + 22 * r->arm_count + 40);
    for (int i = 0; i < r->arm_count; i++) {
        double x = 160;
        plot_label(html, 0, PLOT_TOP + 22 * i + 13, r->arms[i].name, "currentColor");
        for (int p = 0; p < VMT_PHASE_COUNT; p++) {
            const double wide = 560 * r->arms[i].phases[p] / most;
            fprintf(html, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n",
                    x, PLOT_TOP + 22 * i, wide, plot_colour(p));
            x += wide;
        }
        fprintf(html, "<text x=\"%.1f\" y=\"%d\">%.2f s</text>\n", x + 6, PLOT_TOP + 22 * i + 13,
                r->arms[i].seconds);
    }
    for (int p = VMT_PHASE_TEXT; p < VMT_PHASE_COUNT; p++)
        plot_label(html, 160 + 80 * (p - 1), PLOT_TOP + 22 * r->arm_count + 20,
                   vmt_phase_name((enum vmt_phase)p), plot_colour(p));
    fputs("</svg>\n", html);
}

/* ---- losses */

typedef struct curve {
    double low, median, high; /* quartiles */
    bool known;
} curve;

/* Losses of an arm's cases, each over its first one: [point][case]. */
typedef struct loss_table {
    float *values;
    int64_t cases;
    int64_t *counts; /* of each point */
    int points;
} loss_table;

static int count_points(const cJSON *losses)
{
    const cJSON *step;
    int count = 0;

    cJSON_ArrayForEach(step, losses)
    {
        count += cJSON_GetArraySize(step);
        if (count > CURVE_POINTS)
            return CURVE_POINTS;
    }
    return count;
}

/* Adds one case's losses over the first of them, inner step after inner step. */
static void add_losses(loss_table *t, const cJSON *losses)
{
    const cJSON *step, *inner;
    double first = 0;
    int at = 0;

    cJSON_ArrayForEach(step, losses)
    {
        cJSON_ArrayForEach(inner, step)
        {
            if (at == t->points)
                return;
            if (cJSON_IsNumber(inner) && isfinite(inner->valuedouble)) {
                first = first > 0 ? first : inner->valuedouble;
                const float share = first > 0 ? (float)(inner->valuedouble / first) : INFINITY;
                if (isfinite(share))
                    t->values[at * t->cases + t->counts[at]++] = share;
            }
            at++;
        }
    }
}

static bool is_of(const table_row *row, const char *arm)
{
    return !row->error && row->losses && !strcmp(row->arm, arm);
}

static enum vmt_status take_losses(const table_report *r, const char *arm, loss_table *t)
{
    const table_results *all = r->results;

    *t = (loss_table){0};
    for (int64_t i = 0; i < all->count; i++) {
        if (!is_of(&all->rows[i], arm))
            continue;
        const int points = count_points(all->rows[i].losses);
        t->points = points > t->points ? points : t->points;
        t->cases++;
    }
    if (!t->points)
        return VMT_OK;
    VMT_TRY(vmt_alloc(r->ctx, (void **)&t->counts, (size_t)t->points, sizeof *t->counts));
    VMT_TRY(vmt_alloc(r->ctx, (void **)&t->values, (size_t)t->points,
                      (size_t)t->cases * sizeof *t->values));
    for (int64_t i = 0; i < all->count; i++)
        if (is_of(&all->rows[i], arm))
            add_losses(t, all->rows[i].losses);
    return VMT_OK;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Linear between neighbours of sorted values. */
static double quantile(const float *sorted, int64_t count, double share)
{
    const double at = share * (double)(count - 1);
    const int64_t first = (int64_t)at, next = first + 1 < count ? first + 1 : first;
    const double low = (double)sorted[first], high = (double)sorted[next];

    return low + (at - (double)first) * (high - low);
}

/* points: CURVE_POINTS; *length of them are the arm's. */
static enum vmt_status fill_curve(const table_report *r, const char *arm, curve *points,
                                  int *length)
{
    loss_table t;
    const enum vmt_status status = take_losses(r, arm, &t);

    *length = status == VMT_OK ? t.points : 0;
    for (int i = 0; i < *length; i++) {
        float *values = t.values + i * t.cases;
        points[i].known = t.counts[i] > 0;
        if (!points[i].known)
            continue;
        qsort(values, (size_t)t.counts[i], sizeof *values, compare_floats);
        points[i].low = quantile(values, t.counts[i], 0.25);
        points[i].median = quantile(values, t.counts[i], 0.5);
        points[i].high = quantile(values, t.counts[i], 0.75);
    }
    vmt_free(t.values);
    vmt_free(t.counts);
    return status;
}

static void draw_curve(FILE *html, const plot_axes *a, const curve *points, int length, int arm)
{
    fprintf(html, "<polygon fill=\"%s\" fill-opacity=\"0.15\" points=\"", plot_colour(arm));
    for (int i = 0; i < length; i++)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", plot_x(a, i), plot_y(a, points[i].high));
    for (int i = length - 1; i >= 0; i--)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", plot_x(a, i), plot_y(a, points[i].low));
    fprintf(html, "\"/>\n<polyline fill=\"none\" stroke=\"%s\" points=\"", plot_colour(arm));
    for (int i = 0; i < length; i++)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", plot_x(a, i), plot_y(a, points[i].median));
    fputs("\"/>\n", html);
}

static enum vmt_status plot_losses(table_report *r, curve *points)
{
    FILE *html = r->doc.html;
    plot_axes a = {0, 1, 0, 1};
    int named = 0, length;

    for (int i = 0; i < r->arm_count; i++) {
        VMT_TRY(fill_curve(r, r->arms[i].name, points, &length));
        a.high_x = length > a.high_x ? length : a.high_x;
        for (int k = 0; k < length; k++)
            if (points[k].known) {
                plot_grow(points[k].low, false, &a.low_y, &a.high_y);
                plot_grow(points[k].high, false, &a.low_y, &a.high_y);
            }
    }
    fputs("<h2>Loss</h2>\n<p>Median over an arm's cases of the loss over its first value, at each "
          "inner step of each guided step; the band is from the lower to the upper quartile. "
          "Methods' losses are different things.</p>\n",
          html);
    plot_begin(html, PLOT_TOP + PLOT_HIGH + 50);
    plot_draw_axes(html, &a, "inner steps, all guided steps one after another",
                   "loss / first loss");
    for (int i = 0; i < r->arm_count; i++) {
        VMT_TRY(fill_curve(r, r->arms[i].name, points, &length));
        if (!length)
            continue;
        draw_curve(html, &a, points, length, i);
        plot_label(html, PLOT_LEFT + PLOT_WIDE + 10, PLOT_TOP + 14 + 16 * named++, r->arms[i].name,
                   plot_colour(i));
    }
    fputs("</svg>\n", html);
    return VMT_OK;
}

enum vmt_status report_plot_losses(table_report *r)
{
    curve *points;

    VMT_TRY(vmt_alloc(r->ctx, (void **)&points, CURVE_POINTS, sizeof *points));
    const enum vmt_status status = plot_losses(r, points);
    vmt_free(points);
    return status;
}
