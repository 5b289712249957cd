/* SPDX-License-Identifier: MIT
 *
 * Report of a table: report.md, and report.html with the same tables, plots and videos in one file.
 * The same results give the same bytes.
 */
#ifndef VMT_TABLE_REPORT_H
#define VMT_TABLE_REPORT_H

#include "score/score.h"
#include "table/table.h"

/**
 * Writes report.md and report.html into a folder, whole or not at all.  The manifest's claims are
 * judged; without any, every arm is compared with the first.
 * Errors: VMT_E_ARG (no case succeeded), VMT_E_IO, VMT_E_MEMORY.
 */
enum vmt_status table_report_write(vmt_ctx *ctx, const table_results *results,
                                   const table_manifest *manifest, const char *folder);

/* Both texts, free with table_report_texts_free. */
typedef struct table_report_texts {
    char *markdown, *html;
    size_t markdown_length, html_length;
} table_report_texts;

/** The same into memory; videos are read from `folder`.  Errors: VMT_E_ARG, VMT_E_MEMORY. */
enum vmt_status table_report_render(vmt_ctx *ctx, const table_results *results,
                                    const table_manifest *manifest, const char *folder,
                                    table_report_texts *texts);
void table_report_texts_free(table_report_texts *texts);

/* ---- for the files of the report */

enum { REPORT_MOST_ARMS = 64 };

/* Both texts, written side by side. */
typedef struct report_doc {
    FILE *markdown, *html;
} report_doc;

typedef struct report_arm {
    const char *name;
    int64_t count, failed;
    double seconds, loop_seconds, gradients, memory; /* means; the largest */
    double phases[VMT_PHASE_COUNT];                  /* means */
} report_arm;

typedef struct table_report {
    vmt_ctx *ctx;
    const table_results *results;
    int64_t replaced; /* results that later ones of the same case stand for */
    const table_manifest *manifest;
    const char *folder;
    report_doc doc;
    report_arm arms[REPORT_MOST_ARMS]; /* in the order of the results */
    int arm_count;
} table_report;

/* Scores in the order of the tables: those of a path and a subject, then all of score.h.  NULL:
 * beyond the last; no score of this name. */
const score_kind *report_score_at(int at);
const score_kind *report_score_of(const char *name);
/* What of two values is better has more of: the value, turned where less or 1 is wanted. */
double report_goodness(const score_kind *score, double value);

/* report_doc.c */
void report_heading(report_doc *doc, const char *text);
void report_text(report_doc *doc, const char *format, ...) VMT_PRINTF(2, 3);
void report_table_begin(report_doc *doc, const char *const *cells, int count);
void report_table_row(report_doc *doc, const char *const *cells, int count);
void report_table_end(report_doc *doc);
void report_escape(FILE *html, const char *text); /* for HTML and SVG */

/* report_pairs.c: paired differences, claims, power. */
enum vmt_status report_pairs(table_report *r);

/* report_plot.c: into the HTML alone. */
void report_plot_scatter(table_report *r);
void report_plot_phases(table_report *r);
enum vmt_status report_plot_losses(table_report *r);

/* report_video.c: into the HTML alone. */
enum vmt_status report_videos(table_report *r);

/* Mean and standard error of a score over an arm's cases; returns how many have it. */
int64_t report_mean(const table_report *r, const char *arm, const char *score, double *mean,
                    double *error);

#endif
