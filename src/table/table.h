/* SPDX-License-Identifier: MIT
 *
 * A comparison of many runs: the manifest that names them, one line of results for each, scores
 * that need the manifest's knowledge (where the object went, what it is), and the report.  What
 * runs the cases is the program (cli/table_run.c).  Formats: docs/table.md.
 */
#ifndef VMT_TABLE_H
#define VMT_TABLE_H

#include "base/json.h"

#include <stdio.h>

/* ---- manifest */

/* One case; strings point into its JSON. */
typedef struct table_case {
    cJSON *root;
    int64_t line; /* of the manifest, from 1 */
    const char *arm, *clip, *prompt;
    const char *method, *subject, *embeddings; /* NULL: not given */
    char *clip_file, *embeddings_file;         /* where they lie: beside the manifest */
    const cJSON *settings;                     /* object of texts, or NULL */
    bool attention, clip_scores;               /* scores beside the usual ones */
    int64_t seed, frames;                      /* frames 0: the clip's */
    double (*path)[2];                         /* x, y of each frame, pixels; NULL: not known */
    int64_t path_count;
} table_case;

/* What is to be shown: arm a is not worse than arm b by more than `margin` of what b gains over
 * `baseline`. */
typedef struct table_claim {
    cJSON *root;
    const char *a, *b, *baseline;
    const cJSON *scores; /* array of names */
    double margin;
} table_claim;

typedef struct table_manifest {
    table_case *cases;
    int64_t count;
    table_claim *claims;
    int64_t claim_count;
    int64_t broken; /* lines that are none of both */
} table_manifest;

/* Reads a manifest.  A broken line is told as an error in the context's log, with file and line,
 * and counted; the rest is read.  Errors: VMT_E_IO, VMT_E_FORMAT (empty), VMT_E_MEMORY. */
enum vmt_status table_manifest_read(vmt_ctx *ctx, table_manifest *manifest, const char *path);
void table_manifest_free(table_manifest *manifest);

/* ---- results */

/* One line of results; texts point into its JSON. */
typedef struct table_row {
    cJSON *root;
    const char *hash, *arm, *clip, *prompt, *video;             /* video "": none was kept */
    const char *error;                                          /* NULL: the case succeeded */
    double seed, memory_peak, gradients;                        /* computed; 0: not said */
    int64_t line;                                               /* how many were read before it */
    double seconds[VMT_PHASE_COUNT], all_seconds, loop_seconds; /* loop: extract and sample */
    const cJSON *scores, *losses;
} table_row;

typedef struct table_results {
    table_row *rows; /* of one hash the last that succeeded, else the last; by arm, clip, prompt,
                        seed, then as they were read */
    int64_t count;
    int64_t lines;  /* that were results */
    int64_t unread; /* lines that were no results: cut off while being written */
} table_results;

/* All files results*.jsonl of a folder, in order of their names; none is no error.
 * Errors: VMT_E_IO, VMT_E_MEMORY. */
enum vmt_status table_results_read(vmt_ctx *ctx, table_results *results, const char *folder);
void table_results_free(table_results *results);
/* Whether a later row has the same arm, clip, prompt and seed, run with other settings or by
 * another program: both in one mean would count one case twice.  A failure replaces no success. */
bool table_results_replaced(const table_results *results, int64_t i);
/* The row of a case that succeeded, or NULL. */
const table_row *table_results_find(const table_results *results, const char *hash);
/* False when the row has no such score, or it is undefined. */
bool table_row_score(const table_row *row, const char *name, double *value);
/* Appends one line, whole: others may append to the same file at the same time, and a line that
 * was cut off before stays alone.  Errors: VMT_E_IO. */
enum vmt_status table_results_append(vmt_ctx *ctx, const char *path, const char *line);

/* ---- scores */

/* The clip's temporal median, [height, width, 3]; the mean of the middle two for an even count. */
void table_still(double *still, const vmt_clip *clip);

/* Where the strongest mover is in each frame: the centroid of the strongest differences from the
 * clip's temporal median.  path: [frames][2], x and y in pixels. */
enum vmt_status table_track(vmt_ctx *ctx, const vmt_clip *clip, double (*path)[2]);

/* Agreement of two paths of `count` places: correlation (x and y weighted by the variance of
 * `want`, axes that move less than 4 px left out) and mean distance in pixels.  False: one of both
 * does not move, or there are fewer than two places.  Where `seen` does not move nothing was seen,
 * and the distance is NaN, too. */
bool table_path_agreement(double *correlation, double *distance, double (*seen)[2],
                          double (*want)[2], int64_t count);

/* ---- statistics */

typedef struct table_interval {
    double low, high;
} table_interval;

enum { TABLE_DRAWS = 10000 };

/* Pairs of runs that differ in the arm alone. */
typedef struct table_pairs {
    double *difference; /* arm a - arm b, more is better */
    double *gain;       /* arm b - baseline; NULL: no baseline */
    int32_t *group;     /* which clip, from 0 */
    int64_t count;
    int32_t groups;
} table_pairs;

void table_pairs_free(table_pairs *pairs);
double table_mean(const double *values, int64_t count);
/* Standard deviation, divided by count - 1; 0 for fewer than two. */
double table_deviation(const double *values, int64_t count);
/* 95% percentile bootstrap of the mean, over single values. */
enum vmt_status table_bootstrap(vmt_ctx *ctx, table_interval *interval, const double *values,
                                int64_t count);
/* The same over whole groups: means of groups are drawn. */
enum vmt_status table_bootstrap_groups(vmt_ctx *ctx, table_interval *interval, const double *values,
                                       const int32_t *group, int64_t count, int32_t groups);

enum table_verdict {
    TABLE_SHOWN,     /* not worse: the interval lies wholly above -margin */
    TABLE_REFUTED,   /* worse: the interval lies wholly below -margin */
    TABLE_UNDECIDED, /* the interval holds -margin */
    TABLE_NO_GAIN    /* b gains nothing over the baseline: a share of it is no margin */
};
enum table_verdict table_judge(table_interval difference, double gain, double margin);

/* Pairs that are needed for half of a 95% interval to be as wide as the margin; with `power` 0.8
 * for the test to come out, if both are equal. 0: not to be told. */
double table_pairs_needed(double deviation, double margin, bool power);

#endif
