/* SPDX-License-Identifier: MIT */
#include "table/plot.h"

#include "table/report.h"

#include <math.h>

static const char *const colours[] = {"#1b6ca8", "#c8453b", "#2f8f4e", "#8d5bb5", "#d98a1f",
                                      "#777777", "#0f9aa6", "#b5577d", "#7a7a2a", "#96603a"};

const char *plot_colour(int arm)
{
    return colours[arm % (int)(sizeof colours / sizeof *colours)];
}

double plot_x(const plot_axes *a, double x)
{
    return PLOT_LEFT + PLOT_WIDE * (x - a->low_x) / (a->high_x - a->low_x);
}

double plot_y(const plot_axes *a, double y)
{
    return PLOT_TOP + PLOT_HIGH * (1 - (y - a->low_y) / (a->high_y - a->low_y));
}

void plot_begin(FILE *html, int height)
{
    fprintf(html,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n",
            PLOT_LEFT + PLOT_WIDE + 240, height);
}

/* A distance of ticks, 1, 2 or 5 times a power of ten, that makes some five. */
static double tick_of(double span)
{
    const double power = pow(10, floor(log10(span / 5))), rest = span / 5 / power;

    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

void plot_widen(double *low, double *high)
{
    const double span = *high > *low ? *high - *low : fabs(*high) > 0 ? fabs(*high) : 1;

    *low -= 0.06 * span;
    *high += 0.06 * span;
}

enum { MOST_TICKS = 32 }; /* numbers too large to be told apart end, too */

void plot_draw_axes(FILE *html, const plot_axes *a, const char *x, const char *y)
{
    const double step_x = tick_of(a->high_x - a->low_x), step_y = tick_of(a->high_y - a->low_y);

    fprintf(html,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
            "stroke=\"#888\"/>\n",
            PLOT_LEFT, PLOT_TOP, PLOT_WIDE, PLOT_HIGH);
    for (int k = 0; k < MOST_TICKS; k++) {
        const double v = (ceil(a->low_x / step_x) + k) * step_x;
        if (!(v <= a->high_x))
            break;
        fprintf(html, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n",
                plot_x(a, v), PLOT_TOP + PLOT_HIGH + 16, fabs(v) < 1e-9 * step_x ? 0 : v);
    }
    for (int k = 0; k < MOST_TICKS; k++) {
        const double v = (ceil(a->low_y / step_y) + k) * step_y;
        if (!(v <= a->high_y))
            break;
        fprintf(html, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", PLOT_LEFT - 6,
                plot_y(a, v) + 4, fabs(v) < 1e-9 * step_y ? 0 : v);
    }
    fprintf(html, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", PLOT_LEFT + PLOT_WIDE / 2,
            PLOT_TOP + PLOT_HIGH + 36);
    report_escape(html, x);
    fprintf(html,
            "</text>\n<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">",
            PLOT_TOP + PLOT_HIGH / 2);
    report_escape(html, y);
    fputs("</text>\n", html);
}

void plot_label(FILE *html, double x, double y, const char *name, const char *colour)
{
    fprintf(html, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">", x, y, colour);
    report_escape(html, name);
    fputs("</text>\n", html);
}

void plot_grow(double value, bool first, double *low, double *high)
{
    *low = first || value < *low ? value : *low;
    *high = first || value > *high ? value : *high;
}
