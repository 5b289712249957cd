/* SPDX-License-Identifier: MIT
 *
 * What plots are drawn with: SVG, alone or within a page.
 */
#ifndef VMT_TABLE_PLOT_H
#define VMT_TABLE_PLOT_H

#include <stdbool.h>
#include <stdio.h>

enum { PLOT_LEFT = 70, PLOT_TOP = 20, PLOT_WIDE = 640, PLOT_HIGH = 360 };

/* Places of a plot's values. */
typedef struct plot_axes {
    double low_x, high_x, low_y, high_y;
} plot_axes;

double plot_x(const plot_axes *a, double x);
double plot_y(const plot_axes *a, double y);

/* Takes a value in; `first`: there was none before. */
void plot_grow(double value, bool first, double *low, double *high);
/* Leaves some room on both sides. */
void plot_widen(double *low, double *high);

const char *plot_colour(int number);
void plot_begin(FILE *to, int height); /* ended by </svg> */
void plot_draw_axes(FILE *to, const plot_axes *a, const char *x, const char *y);
void plot_label(FILE *to, double x, double y, const char *text, const char *colour);

#endif
