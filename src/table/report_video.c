/* SPDX-License-Identifier: MIT
 *
 * Videos within the page: of some clips, one seed, the reference and every arm.
 */
#include "table/report.h"

#include "base/mapped_file.h"
#include "media/media.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIPS = 8, MOST_PAGE_BYTES = 24 << 20 };

static void write_base64(FILE *to, const unsigned char *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < length; i += 3) {
        const size_t left = length - i;
        const unsigned value = (unsigned)bytes[i] << 16 |
                               (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[value >> 18], to);
        fputc(digits[value >> 12 & 63], to);
        fputc(left > 1 ? digits[value >> 6 & 63] : '=', to);
        fputc(left > 2 ? digits[value & 63] : '=', to);
    }
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t length = strlen(text), of = strlen(ending);

    return length >= of && !strcmp(text + length - of, ending);
}

/* A file that browsers show, into a cell; VMT_E_IO when it is not there. */
static enum vmt_status embed(table_report *r, const char *path, size_t *bytes)
{
    const bool video = ends_with(path, ".mp4");
    FILE *html = r->doc.html;
    vmt_mapped_file file;

    VMT_TRY(vmt_mapped_file_open(r->ctx, &file, path));
    *bytes += file.length;
    if (*bytes > MOST_PAGE_BYTES) {
        fputs("(left out: the page is large)", html);
    } else {
        fputs(video ? "<video autoplay loop muted playsinline src=\"data:video/mp4;base64,"
                    : "<img alt=\"\" src=\"data:image/gif;base64,",
              html);
        write_base64(html, file.bytes, file.length);
        fputs(video ? "\"></video>" : "\">", html);
    }
    vmt_mapped_file_close(&file);
    return VMT_OK;
}

/* Any other video by way of a GIF. */
static enum vmt_status embed_as_gif(table_report *r, const char *path, size_t *bytes)
{
    vmt_clip clip = {0};
    char gif[4300];

    snprintf(gif, sizeof gif, "%s/.report-%ld.gif", r->folder, (long)getpid());
    VMT_TRY(media_read(r->ctx, &clip, path, NULL));
    enum vmt_status status = media_write(r->ctx, &clip, gif, NULL);
    vmt_clip_free(&clip);
    if (status == VMT_OK)
        status = embed(r, gif, bytes);
    unlink(gif);
    return status;
}

/* What cannot be shown is said: a report of results alone has no videos. */
static enum vmt_status show(table_report *r, const char *path, size_t *bytes)
{
    const bool shown = ends_with(path, ".mp4") || ends_with(path, ".gif");
    const enum vmt_status status = shown ? embed(r, path, bytes) : embed_as_gif(r, path, bytes);

    if (status != VMT_OK && status != VMT_E_MEMORY && status != VMT_E_CANCELLED) {
        fputs("(cannot be read)", r->doc.html);
        return VMT_OK;
    }
    return status;
}

static const table_row *find_video(const table_report *r, const table_row *of, const char *arm)
{
    for (int64_t i = 0; i < r->results->count; i++) {
        const table_row *row = &r->results->rows[i];
        if (!row->error && row->video[0] && row->seed == of->seed && !strcmp(row->arm, arm) &&
            !strcmp(row->clip, of->clip) && !strcmp(row->prompt, of->prompt))
            return row;
    }
    return NULL;
}

/* Results may come from anywhere: which file is read for the page, the manifest says. */
static const char *reference_of(const table_report *r, const char *clip)
{
    for (int64_t i = 0; i < r->manifest->count; i++)
        if (!strcmp(r->manifest->cases[i].clip, clip))
            return r->manifest->cases[i].clip_file;
    return NULL;
}

static enum vmt_status clip_row(table_report *r, const table_row *of, size_t *bytes)
{
    const char *reference = reference_of(r, of->clip);
    FILE *html = r->doc.html;

    fputs("<tr><td>", html);
    report_escape(html, of->clip);
    fputs("<br>", html);
    report_escape(html, of->prompt);
    fprintf(html, "<br>seed %.0f</td><td>", of->seed);
    if (reference)
        VMT_TRY(show(r, reference, bytes));
    else
        fputs("(not in the manifest)", html);
    fputs("</td>", html);
    for (int i = 0; i < r->arm_count; i++) {
        const table_row *row = find_video(r, of, r->arms[i].name);
        double path;
        char file[8300];
        fputs("<td>", html);
        if (row && row->video[0] != '/' && !strstr(row->video, "..")) {
            snprintf(file, sizeof file, "%s/%s", r->folder, row->video);
            VMT_TRY(show(r, file, bytes));
            if (table_row_score(row, "path_correlation", &path))
                fprintf(html, "path %+.2f", path);
        }
        fputs("</td>", html);
    }
    fputs("</tr>\n", html);
    return VMT_OK;
}

static bool is_new(const table_report *r, int64_t at)
{
    for (int64_t i = 0; i < at; i++)
        if (r->results->rows[i].video[0] && !r->results->rows[i].error &&
            !strcmp(r->results->rows[i].clip, r->results->rows[at].clip))
            return false;
    return true;
}

enum vmt_status report_videos(table_report *r)
{
    FILE *html = r->doc.html;
    size_t bytes = 0;
    int shown = 0;

    for (int64_t i = 0; i < r->results->count && shown < CLIPS; i++) {
        const table_row *row = &r->results->rows[i];
        if (row->error || !row->video[0] || !is_new(r, i))
            continue;
        if (!shown++) {
            fputs("<h2>Videos</h2>\n<table><tr><th>clip</th><th>reference</th>", html);
            for (int a = 0; a < r->arm_count; a++) {
                fputs("<th>", html);
                report_escape(html, r->arms[a].name);
                fputs("</th>", html);
            }
            fputs("</tr>\n", html);
        }
        VMT_TRY(clip_row(r, row, &bytes));
    }
    if (shown)
        fputs("</table>\n", html);
    return VMT_OK;
}
