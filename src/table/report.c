/* SPDX-License-Identifier: MIT */
#include "table/report.h"

#include "base/atomic_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a result has beside those of score.h. */
static const score_kind own_scores[] = {
    {"path_correlation", "", SCORE_HIGHER, "the object's path and the one it should take", 3},
    {"path_distance", "px", SCORE_LOWER, "mean distance of both", 1},
    {"subject_found", "", SCORE_HIGHER, "share in which the named subject is the nearest", 3},
    {"subject_likeness", "", SCORE_HIGHER, "to the named subject, less that to all others", 3},
};

enum { OWN_SCORES = sizeof own_scores / sizeof *own_scores };

const score_kind *report_score_at(int at)
{
    if (at < OWN_SCORES)
        return &own_scores[at];
    return at < OWN_SCORES + SCORE_COUNT ? score_kind_of((enum score_id)(at - OWN_SCORES)) : NULL;
}

const score_kind *report_score_of(const char *name)
{
    const score_kind *score;

    for (int i = 0; (score = report_score_at(i)); i++)
        if (!strcmp(score->name, name))
            return score;
    return NULL;
}

double report_goodness(const score_kind *score, double value)
{
    switch (score->better) {
    case SCORE_LOWER:
        return -value;
    case SCORE_NEAR_ONE:
        return -fabs(value - 1);
    case SCORE_HIGHER:
    case SCORE_NEAR_REFERENCE:
        break;
    }
    return value;
}

/* ---- arms */

/* The arm of that name, a new one if need be; NULL: there are too many. */
static report_arm *take_arm(table_report *r, const char *name)
{
    int at = 0;

    while (at < r->arm_count && strcmp(r->arms[at].name, name) != 0)
        at++;
    if (at == REPORT_MOST_ARMS)
        return NULL;
    if (at == r->arm_count)
        r->arms[r->arm_count++] = (report_arm){.name = name};
    return &r->arms[at];
}

static bool has_results(const table_report *r, const char *arm)
{
    for (int64_t i = 0; i < r->results->count; i++)
        if (!strcmp(r->results->rows[i].arm, arm))
            return true;
    return false;
}

/* In the order of the manifest, then those that it does not name. */
static enum vmt_status find_arms(table_report *r)
{
    const char *last = "";

    for (int64_t i = 0; i < r->manifest->count; i++) {
        const char *name = r->manifest->cases[i].arm;
        if (strcmp(name, last) != 0 && has_results(r, name) && !take_arm(r, name))
            break;
        last = name;
    }
    for (int64_t i = 0; i < r->results->count; i++) {
        const table_row *row = &r->results->rows[i];
        report_arm *arm = take_arm(r, row->arm);
        if (!arm)
            return vmt_fail(r->ctx, VMT_E_ARG, "results of more than %d arms",
                            (int)REPORT_MOST_ARMS);
        if (row->error) {
            arm->failed++;
            continue;
        }
        arm->count++;
        arm->seconds += row->all_seconds;
        arm->loop_seconds += row->loop_seconds;
        arm->gradients += row->gradients;
        arm->memory = row->memory_peak > arm->memory ? row->memory_peak : arm->memory;
        for (int p = 0; p < VMT_PHASE_COUNT; p++)
            arm->phases[p] += row->seconds[p];
    }
    for (int i = 0; i < r->arm_count; i++) {
        report_arm *arm = &r->arms[i];
        const double count = arm->count ? (double)arm->count : 1;
        arm->seconds /= count;
        arm->loop_seconds /= count;
        arm->gradients /= count;
        for (int p = 0; p < VMT_PHASE_COUNT; p++)
            arm->phases[p] /= count;
    }
    return VMT_OK;
}

int64_t report_mean(const table_report *r, const char *arm, const char *score, double *mean,
                    double *error)
{
    double sum = 0, squares = 0, value;
    int64_t count = 0;

    for (int64_t i = 0; i < r->results->count; i++) {
        const table_row *row = &r->results->rows[i];
        if (row->error || strcmp(row->arm, arm) != 0 || !table_row_score(row, score, &value))
            continue;
        sum += value;
        squares += value * value;
        count++;
    }
    const double n = count ? (double)count : 1, of = sum / n;
    const double variance = count > 1 ? (squares - n * of * of) / (n - 1) : 0;
    *mean = of;
    *error = variance > 0 ? sqrt(variance / n) : 0;
    return count;
}

static bool is_known(const table_report *r, const score_kind *score)
{
    double mean, error;

    for (int i = 0; i < r->arm_count; i++)
        if (report_mean(r, r->arms[i].name, score->name, &mean, &error))
            return true;
    return false;
}

/* ---- tables */

static void write_costs(table_report *r)
{
    static const char *const head[] = {"arm",     "cases",  "failed",    "whole, s",
                                       "loop, s", "text",   "encode",    "extract",
                                       "sample",  "decode", "gradients", "peak, MB"};

    report_heading(&r->doc, "Time and memory");
    report_text(
        &r->doc,
        "Means of all cases that succeeded, seconds; loop: extract and sample, "
        "which is what papers time. Cases that ran at the same time shared the "
        "machine: these times compare arms of one table, no more. Peak: the "
        "largest case's arenas and converted weights. Gradients: computed, mean of a case.");
    report_table_begin(&r->doc, head, 12);
    for (int i = 0; i < r->arm_count; i++) {
        const report_arm *a = &r->arms[i];
        char cells[12][64];
        const char *row[12];
        snprintf(cells[0], 64, "%.60s", a->name);
        snprintf(cells[1], 64, "%lld", (long long)a->count);
        snprintf(cells[2], 64, "%lld", (long long)a->failed);
        snprintf(cells[3], 64, "%.3f", a->seconds);
        snprintf(cells[4], 64, "%.3f", a->loop_seconds);
        for (int p = VMT_PHASE_TEXT; p <= VMT_PHASE_DECODE; p++)
            snprintf(cells[4 + p], 64, "%.3f", a->phases[p]);
        snprintf(cells[10], 64, "%.4g", a->gradients);
        snprintf(cells[11], 64, "%.1f", a->memory * 1e-6);
        for (int c = 0; c < 12; c++)
            row[c] = cells[c];
        report_table_row(&r->doc, row, 12);
    }
    report_table_end(&r->doc);
}

enum { COLUMNS = 7 }; /* scores of one table */

/* "0.61 ± 0.02", in brackets of how many cases if not of all. */
static void write_mean(const table_report *r, const report_arm *arm, const score_kind *score,
                       char cell[64])
{
    double mean, error;
    const int64_t count = report_mean(r, arm->name, score->name, &mean, &error);
    int used =
        snprintf(cell, 64, count ? "%.*f ± %.*f" : "-", score->digits, mean, score->digits, error);

    if (count && count < arm->count && used > 0 && used < 64)
        snprintf(cell + used, 64 - (size_t)used, " (%lld)", (long long)count);
}

static void write_scores(table_report *r, const score_kind *const *scores, int count)
{
    const char *head[COLUMNS + 1] = {"arm"};
    char titles[COLUMNS][64];

    for (int c = 0; c < count; c++) {
        snprintf(titles[c], 64, "%s%s%s", scores[c]->name, scores[c]->unit[0] ? ", " : "",
                 scores[c]->unit);
        head[c + 1] = titles[c];
    }
    report_table_begin(&r->doc, head, count + 1);
    for (int i = 0; i < r->arm_count; i++) {
        char cells[COLUMNS][64];
        const char *row[COLUMNS + 1] = {r->arms[i].name};
        for (int c = 0; c < count; c++) {
            write_mean(r, &r->arms[i], scores[c], cells[c]);
            row[c + 1] = cells[c];
        }
        report_table_row(&r->doc, row, count + 1);
    }
    report_table_end(&r->doc);
}

static void write_all_scores(table_report *r)
{
    const score_kind *some[COLUMNS], *score;
    int count = 0;

    report_heading(&r->doc, "Scores");
    report_text(&r->doc,
                "Mean ± standard error over an arm's cases. What they mean: docs/scores.md "
                "and docs/table.md. In brackets: how many cases have the score, where it is "
                "undefined in others, as a direction is of a result in which nothing moves.");
    for (int i = 0; (score = report_score_at(i)); i++) {
        if (is_known(r, score))
            some[count++] = score;
        if (count == COLUMNS || (count && !report_score_at(i + 1))) {
            write_scores(r, some, count);
            count = 0;
        }
    }
}

static void write_clips(table_report *r)
{
    const score_kind *score = report_score_of("path_correlation");
    const char *head[REPORT_MOST_ARMS + 1] = {"clip"};

    if (!is_known(r, score))
        score = report_score_of("fidelity");
    report_heading(&r->doc, "Each clip");
    report_text(&r->doc, "Means of the score \"%s\".", score->name);
    for (int i = 0; i < r->arm_count; i++)
        head[i + 1] = r->arms[i].name;
    report_table_begin(&r->doc, head, r->arm_count + 1);
    for (int64_t k = 0; k < r->results->count; k++) {
        const char *clip = r->results->rows[k].clip;
        char cells[REPORT_MOST_ARMS][24];
        const char *row[REPORT_MOST_ARMS + 1] = {clip};
        bool seen = false;
        for (int64_t i = 0; i < k && !seen; i++)
            seen = !strcmp(r->results->rows[i].clip, clip);
        if (seen)
            continue;
        for (int a = 0; a < r->arm_count; a++) {
            double sum = 0, value;
            int64_t count = 0;
            for (int64_t i = 0; i < r->results->count; i++) {
                const table_row *of = &r->results->rows[i];
                if (of->error || strcmp(of->arm, r->arms[a].name) != 0 ||
                    strcmp(of->clip, clip) != 0 || !table_row_score(of, score->name, &value))
                    continue;
                sum += value;
                count++;
            }
            snprintf(cells[a], 24, count ? "%.*f" : "-", score->digits,
                     count ? sum / (double)count : 0);
            row[a + 1] = cells[a];
        }
        report_table_row(&r->doc, row, r->arm_count + 1);
    }
    report_table_end(&r->doc);
}

static void write_head(table_report *r)
{
    const table_row *first = NULL;
    int64_t failed = 0, good = 0;
    char backend[64] = "?", version[64] = "?";

    for (int64_t i = 0; i < r->results->count; i++) {
        failed += r->results->rows[i].error != NULL;
        good += !r->results->rows[i].error;
        if (!first && !r->results->rows[i].error)
            first = &r->results->rows[i];
    }
    if (first) {
        const cJSON *b = cJSON_GetObjectItemCaseSensitive(first->root, "backend");
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(first->root, "version");
        snprintf(backend, sizeof backend, "%.60s", cJSON_IsString(b) ? b->valuestring : "?");
        snprintf(version, sizeof version, "%.60s", cJSON_IsString(v) ? v->valuestring : "?");
    }
    fputs("# Table of runs\n\n", r->doc.markdown);
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Table of "
          "runs</title>\n<style>:root{color-scheme:light dark}svg{fill:currentColor}"
          "body{font:15px sans-serif;margin:2em;max-width:1400px}"
          "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #bbb;padding:2px "
          "8px;text-align:right}td:first-child,th:first-child{text-align:left}"
          "td img,td video{display:block}</style></head><body>\n<h1>Table of runs</h1>\n",
          r->doc.html);
    report_text(&r->doc,
                "%lld cases of %d arms; %lld failed, %lld lines of results could not be read. "
                "fastvmt %s, backend %s (of the first case).",
                (long long)good, r->arm_count, (long long)failed, (long long)r->results->unread,
                version, backend);
    if (r->replaced)
        report_text(
            &r->doc,
            "%lld older results are left out: a case of the same arm, clip, prompt and seed "
            "was run again with other settings, or by another version or backend.",
            (long long)r->replaced);
}

/* ---- both files */

static enum vmt_status write_parts(table_report *r)
{
    VMT_TRY(find_arms(r));
    write_head(r);
    report_plot_scatter(r);
    write_costs(r);
    report_plot_phases(r);
    write_all_scores(r);
    VMT_TRY(report_pairs(r));
    write_clips(r);
    VMT_TRY(report_plot_losses(r));
    VMT_TRY(report_videos(r));
    fputs("</body></html>\n", r->doc.html);
    return VMT_OK;
}

static enum vmt_status write_file(vmt_ctx *ctx, const char *folder, const char *name,
                                  const char *text, size_t length)
{
    vmt_atomic_file file;
    char path[4300];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    VMT_TRY(vmt_atomic_file_open(ctx, &file, path));
    const enum vmt_status status = vmt_atomic_file_write(ctx, &file, text, length);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(ctx, &file);
    vmt_atomic_file_abort(&file);
    return status;
}

static bool any_success(const table_results *results)
{
    for (int64_t i = 0; i < results->count; i++)
        if (!results->rows[i].error)
            return true;
    return false;
}

/* The rows that no later one replaces; they still belong to `results`. */
static enum vmt_status keep_latest(vmt_ctx *ctx, table_results *latest,
                                   const table_results *results)
{
    void *rows;

    VMT_TRY(vmt_alloc(ctx, &rows, (size_t)results->count, sizeof *results->rows));
    *latest = (table_results){.rows = rows, .unread = results->unread};
    for (int64_t i = 0; i < results->count; i++)
        if (!table_results_replaced(results, i))
            latest->rows[latest->count++] = results->rows[i];
    return VMT_OK;
}

/* Closes both; what could not be written is memory that was not there. */
static enum vmt_status close_doc(vmt_ctx *ctx, report_doc *doc, enum vmt_status status)
{
    FILE *files[] = {doc->markdown, doc->html};

    for (int i = 0; i < 2; i++) {
        const bool good = !files[i] || !ferror(files[i]);
        if (files[i] && (fclose(files[i]) || !good) && status == VMT_OK)
            status = vmt_fail(ctx, VMT_E_MEMORY, "out of memory for a report");
    }
    return status;
}

enum vmt_status table_report_render(vmt_ctx *ctx, const table_results *results,
                                    const table_manifest *manifest, const char *folder,
                                    table_report_texts *texts)
{
    table_results latest;
    table_report *r = NULL;

    *texts = (table_report_texts){0};
    if (!any_success(results))
        return vmt_fail(ctx, VMT_E_ARG, "%s: no results to report", folder);
    VMT_TRY(vmt_alloc(ctx, (void **)&r, 1, sizeof *r));
    enum vmt_status status = keep_latest(ctx, &latest, results);
    if (status != VMT_OK) {
        vmt_free(r);
        return status;
    }
    *r = (table_report){.ctx = ctx,
                        .results = &latest,
                        .replaced = results->count - latest.count,
                        .manifest = manifest,
                        .folder = folder};
    r->doc.markdown = open_memstream(&texts->markdown, &texts->markdown_length);
    r->doc.html = r->doc.markdown ? open_memstream(&texts->html, &texts->html_length) : NULL;
    status =
        r->doc.html ? write_parts(r) : vmt_fail(ctx, VMT_E_MEMORY, "out of memory for a report");
    status = close_doc(ctx, &r->doc, status);
    vmt_free(latest.rows);
    vmt_free(r);
    if (status != VMT_OK)
        table_report_texts_free(texts);
    return status;
}

void table_report_texts_free(table_report_texts *texts)
{
    free(texts->markdown);
    free(texts->html);
    *texts = (table_report_texts){0};
}

enum vmt_status table_report_write(vmt_ctx *ctx, const table_results *results,
                                   const table_manifest *manifest, const char *folder)
{
    table_report_texts texts;

    VMT_TRY(table_report_render(ctx, results, manifest, folder, &texts));
    enum vmt_status status =
        write_file(ctx, folder, "report.md", texts.markdown, texts.markdown_length);
    if (status == VMT_OK)
        status = write_file(ctx, folder, "report.html", texts.html, texts.html_length);
    table_report_texts_free(&texts);
    return status;
}
