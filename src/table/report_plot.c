/* SPDX-License-Identifier: MIT
 *
 * Plots as SVG within the page.
 */
#include "table/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEFT = 70, TOP = 20, WIDE = 640, HIGH = 360, CURVE_POINTS = 4096 };

static const char *const colours[] = {"#1b6ca8", "#c8453b", "#2f8f4e", "#8d5bb5", "#d98a1f",
                                      "#777777", "#0f9aa6", "#b5577d", "#7a7a2a", "#96603a"};

static const char *colour_of(int arm)
{
    return colours[arm % (int)(sizeof colours / sizeof *colours)];
}

/* Places of a plot's values. */
typedef struct axes {
    double low_x, high_x, low_y, high_y;
} axes;

static double at_x(const axes *a, double x)
{
    return LEFT + WIDE * (x - a->low_x) / (a->high_x - a->low_x);
}

static double at_y(const axes *a, double y)
{
    return TOP + HIGH * (1 - (y - a->low_y) / (a->high_y - a->low_y));
}

static void begin(FILE *html, int height)
{
    fprintf(html,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n",
            LEFT + WIDE + 240, height);
}

/* A distance of ticks, 1, 2 or 5 times a power of ten, that makes some five. */
static double tick_of(double span)
{
    const double power = pow(10, floor(log10(span / 5))), rest = span / 5 / power;

    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

static void widen(double *low, double *high)
{
    const double span = *high > *low ? *high - *low : fabs(*high) > 0 ? fabs(*high) : 1;

    *low -= 0.06 * span;
    *high += 0.06 * span;
}

enum { MOST_TICKS = 32 }; /* numbers too large to be told apart end, too */

static void draw_axes(FILE *html, const axes *a, const char *x, const char *y)
{
    const double step_x = tick_of(a->high_x - a->low_x), step_y = tick_of(a->high_y - a->low_y);

    fprintf(html,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
            "stroke=\"#888\"/>\n",
            LEFT, TOP, WIDE, HIGH);
    for (int k = 0; k < MOST_TICKS; k++) {
        const double v = (ceil(a->low_x / step_x) + k) * step_x;
        if (!(v <= a->high_x))
            break;
        fprintf(html, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n", at_x(a, v),
                TOP + HIGH + 16, fabs(v) < 1e-9 * step_x ? 0 : v);
    }
    for (int k = 0; k < MOST_TICKS; k++) {
        const double v = (ceil(a->low_y / step_y) + k) * step_y;
        if (!(v <= a->high_y))
            break;
        fprintf(html, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 6,
                at_y(a, v) + 4, fabs(v) < 1e-9 * step_y ? 0 : v);
    }
    fprintf(html, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT + WIDE / 2,
            TOP + HIGH + 36);
    report_escape(html, x);
    fprintf(html,
            "</text>\n<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">",
            TOP + HIGH / 2);
    report_escape(html, y);
    fputs("</text>\n", html);
}

static void draw_name(FILE *html, double x, double y, const char *name, const char *colour)
{
    fprintf(html, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">", x, y, colour);
    report_escape(html, name);
    fputs("</text>\n", html);
}

static void grow(double value, bool first, double *low, double *high)
{
    *low = first || value < *low ? value : *low;
    *high = first || value > *high ? value : *high;
}

/* One score against the time of the loop, a point for each arm with its 95% by the standard
 * error. */
static void scatter(table_report *r, const score_kind *score)
{
    FILE *html = r->doc.html;
    double mean, error;
    axes a = {0};
    bool first = true;

    for (int i = 0; i < r->arm_count; i++) {
        if (!report_mean(r, r->arms[i].name, score->name, &mean, &error))
            continue;
        grow(r->arms[i].loop_seconds, first, &a.low_x, &a.high_x);
        grow(mean - 2 * error, first, &a.low_y, &a.high_y);
        grow(mean + 2 * error, false, &a.low_y, &a.high_y);
        first = false;
    }
    if (first)
        return;
    widen(&a.low_x, &a.high_x);
    widen(&a.low_y, &a.high_y);
    begin(html, TOP + HIGH + 50);
    draw_axes(html, &a, "seconds of the loop, mean", score->name);
    for (int i = 0; i < r->arm_count; i++) {
        if (!report_mean(r, r->arms[i].name, score->name, &mean, &error))
            continue;
        const double x = at_x(&a, r->arms[i].loop_seconds), y = at_y(&a, mean);
        fprintf(html,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>"
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
                x, x, at_y(&a, mean - 1.96 * error), at_y(&a, mean + 1.96 * error), colour_of(i), x,
                y, colour_of(i));
        draw_name(html, x + 7, y - 5, r->arms[i].name, colour_of(i));
    }
    fputs("</svg>\n", html);
}

void report_plot_scatter(table_report *r)
{
    static const char *const names[] = {"path_correlation", "fidelity"};

    fputs("<h2>Fidelity against time</h2>\n", r->doc.html);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        scatter(r, report_score_of(names[i]));
}

/* Bars of the phases' mean times. */
void report_plot_phases(table_report *r)
{
    FILE *html = r->doc.html;
    double most = 1e-9;

    for (int i = 0; i < r->arm_count; i++)
        most = r->arms[i].seconds > most ? r->arms[i].seconds : most;
    begin(html, TOP + 22 * r->arm_count + 40);
    for (int i = 0; i < r->arm_count; i++) {
        double x = 160;
        draw_name(html, 0, TOP + 22 * i + 13, r->arms[i].name, "currentColor");
        for (int p = 0; p < VMT_PHASE_COUNT; p++) {
            const double wide = 560 * r->arms[i].phases[p] / most;
            fprintf(html, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n",
                    x, TOP + 22 * i, wide, colour_of(p));
            x += wide;
        }
        fprintf(html, "<text x=\"%.1f\" y=\"%d\">%.2f s</text>\n", x + 6, TOP + 22 * i + 13,
                r->arms[i].seconds);
    }
    for (int p = VMT_PHASE_TEXT; p < VMT_PHASE_COUNT; p++)
        draw_name(html, 160 + 80 * (p - 1), TOP + 22 * r->arm_count + 20,
                  vmt_phase_name((enum vmt_phase)p), colour_of(p));
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

static void draw_curve(FILE *html, const axes *a, const curve *points, int length, int arm)
{
    fprintf(html, "<polygon fill=\"%s\" fill-opacity=\"0.15\" points=\"", colour_of(arm));
    for (int i = 0; i < length; i++)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", at_x(a, i), at_y(a, points[i].high));
    for (int i = length - 1; i >= 0; i--)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", at_x(a, i), at_y(a, points[i].low));
    fprintf(html, "\"/>\n<polyline fill=\"none\" stroke=\"%s\" points=\"", colour_of(arm));
    for (int i = 0; i < length; i++)
        if (points[i].known)
            fprintf(html, "%.1f,%.1f ", at_x(a, i), at_y(a, points[i].median));
    fputs("\"/>\n", html);
}

static enum vmt_status plot_losses(table_report *r, curve *points)
{
    FILE *html = r->doc.html;
    axes a = {0, 1, 0, 1};
    int named = 0, length;

    for (int i = 0; i < r->arm_count; i++) {
        VMT_TRY(fill_curve(r, r->arms[i].name, points, &length));
        a.high_x = length > a.high_x ? length : a.high_x;
        for (int k = 0; k < length; k++)
            if (points[k].known) {
                grow(points[k].low, false, &a.low_y, &a.high_y);
                grow(points[k].high, false, &a.low_y, &a.high_y);
            }
    }
    fputs("<h2>Loss</h2>\n<p>Median over an arm's cases of the loss over its first value, at each "
          "inner step of each guided step; the band is from the lower to the upper quartile. "
          "Methods' losses are different things.</p>\n",
          html);
    begin(html, TOP + HIGH + 50);
    draw_axes(html, &a, "inner steps, all guided steps one after another", "loss / first loss");
    for (int i = 0; i < r->arm_count; i++) {
        VMT_TRY(fill_curve(r, r->arms[i].name, points, &length));
        if (!length)
            continue;
        draw_curve(html, &a, points, length, i);
        draw_name(html, LEFT + WIDE + 10, TOP + 14 + 16 * named++, r->arms[i].name, colour_of(i));
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
