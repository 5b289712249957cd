/* SPDX-License-Identifier: MIT */
#include "table/table.h"

#include "base/mapped_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MOST_ROWS = 30000, MOST_BYTES = 1 << 20 };

/* ---- one line */

static const char *text_of(const cJSON *root, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
}

static double number_of(const cJSON *root, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);

    return cJSON_IsNumber(item) && isfinite(item->valuedouble) ? item->valuedouble : 0;
}

/* False when the object is no line of results. */
static bool fill_row(table_row *row, cJSON *root)
{
    const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(root, "seconds");

    *row = (table_row){.root = root,
                       .hash = text_of(root, "hash"),
                       .arm = text_of(root, "arm"),
                       .clip = text_of(root, "clip"),
                       .prompt = text_of(root, "prompt"),
                       .video = text_of(root, "video"),
                       .error = text_of(root, "error"),
                       .seed = number_of(root, "seed"),
                       .memory_peak = number_of(root, "memory_peak"),
                       .gradients = number_of(root, "gradients"),
                       .scores = cJSON_GetObjectItemCaseSensitive(root, "scores"),
                       .losses = cJSON_GetObjectItemCaseSensitive(root, "losses")};
    if (!row->hash || strlen(row->hash) != 64 || !row->arm || !row->clip || !row->prompt)
        return false;
    if (!row->video)
        row->video = "";
    if (!cJSON_IsObject(row->scores))
        row->scores = NULL;
    if (!cJSON_IsArray(row->losses))
        row->losses = NULL;
    for (int i = 0; i < VMT_PHASE_COUNT && cJSON_IsObject(seconds); i++) {
        row->seconds[i] = number_of(seconds, vmt_phase_name((enum vmt_phase)i));
        row->all_seconds += row->seconds[i];
    }
    row->loop_seconds = row->seconds[VMT_PHASE_EXTRACT] + row->seconds[VMT_PHASE_SAMPLE];
    return true;
}

bool table_row_score(const table_row *row, const char *name, double *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row->scores, name);

    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return false;
    *value = item->valuedouble;
    return true;
}

/* ---- all lines */

static bool read_line(vmt_ctx *ctx, table_row *row, const unsigned char *bytes, size_t length)
{
    cJSON *root = NULL;

    if (length > MOST_BYTES || vmt_json_parse(ctx, &root, bytes, length, "results") != VMT_OK)
        return false;
    if (fill_row(row, root))
        return true;
    cJSON_Delete(root);
    return false;
}

/* Replaces what is known of the case; a success is not replaced by a failure. */
static void keep_row(table_results *r, const table_row *row)
{
    for (int64_t i = r->count - 1; i >= 0; i--) {
        table_row *known = &r->rows[i];
        if (strcmp(known->hash, row->hash) != 0 || strcmp(known->arm, row->arm) != 0)
            continue;
        const bool better = !row->error || known->error;
        cJSON_Delete(better ? known->root : row->root);
        if (better)
            *known = *row;
        return;
    }
    r->rows[r->count++] = *row;
}

static enum vmt_status make_room(vmt_ctx *ctx, table_results *r, size_t lines)
{
    table_row *rows;

    if ((size_t)r->count + lines > MOST_ROWS)
        return vmt_fail(ctx, VMT_E_FORMAT, "results of more than %d cases", (int)MOST_ROWS);
    VMT_TRY(vmt_alloc(ctx, (void **)&rows, (size_t)r->count + lines, sizeof *rows));
    if (r->count)
        memcpy(rows, r->rows, (size_t)r->count * sizeof *rows);
    vmt_free(r->rows);
    r->rows = rows;
    return VMT_OK;
}

static enum vmt_status read_file(vmt_ctx *ctx, table_results *r, const char *path)
{
    vmt_mapped_file file;
    size_t lines = 1;
    const enum vmt_status opened = vmt_mapped_file_open(ctx, &file, path);

    if (opened == VMT_E_FORMAT)
        return VMT_OK; /* nothing in it yet */
    VMT_TRY(opened);
    for (size_t i = 0; i < file.length; i++)
        lines += file.bytes[i] == '\n';
    const enum vmt_status status = make_room(ctx, r, lines);
    for (size_t at = 0; status == VMT_OK && at < file.length;) {
        const unsigned char *from = file.bytes + at, *end = memchr(from, '\n', file.length - at);
        const size_t length = end ? (size_t)(end - from) : file.length - at;
        table_row row;
        at += length + 1;
        if (!length)
            continue;
        if (read_line(ctx, &row, from, length)) {
            row.line = r->lines++;
            keep_row(r, &row);
        } else
            r->unread++;
    }
    vmt_mapped_file_close(&file);
    return status;
}

/* The order in which cases end is one of chance. */
static int compare_rows(const void *a, const void *b)
{
    const table_row *x = a, *y = b;
    int order = strcmp(x->arm, y->arm);

    order = order ? order : strcmp(x->clip, y->clip);
    order = order ? order : strcmp(x->prompt, y->prompt);
    order = order ? order : (x->seed > y->seed) - (x->seed < y->seed);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static bool same_case(const table_row *x, const table_row *y)
{
    return x->seed == y->seed && !strcmp(x->arm, y->arm) && !strcmp(x->clip, y->clip) &&
           !strcmp(x->prompt, y->prompt);
}

bool table_results_replaced(const table_results *r, int64_t i)
{
    const table_row *row = &r->rows[i];

    for (int64_t k = i + 1; k < r->count && same_case(row, &r->rows[k]); k++)
        if (row->error || !r->rows[k].error)
            return true;
    for (int64_t k = i - 1; k >= 0 && row->error && same_case(row, &r->rows[k]); k--)
        if (!r->rows[k].error)
            return true;
    return false;
}

static int is_results(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);

    return !strncmp(entry->d_name, "results", 7) && length > 6 &&
           !strcmp(entry->d_name + length - 6, ".jsonl");
}

enum vmt_status table_results_read(vmt_ctx *ctx, table_results *r, const char *folder)
{
    struct dirent **names = NULL;
    enum vmt_status status = VMT_OK;

    *r = (table_results){0};
    const int count = scandir(folder, &names, is_results, alphasort);
    if (count < 0)
        return vmt_fail(ctx, vmt_errno_status(errno), "%s: cannot be read: %s", folder,
                        strerror(errno));
    for (int i = 0; i < count; i++) {
        char path[4096];
        if (status == VMT_OK &&
            snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name) >= (int)sizeof path)
            status = vmt_fail(ctx, VMT_E_IO, "%s: the path is too long", folder);
        if (status == VMT_OK)
            status = read_file(ctx, r, path);
        free(names[i]);
    }
    free(names);
    if (status != VMT_OK)
        table_results_free(r);
    else if (r->count)
        qsort(r->rows, (size_t)r->count, sizeof *r->rows, compare_rows);
    return status;
}

void table_results_free(table_results *r)
{
    for (int64_t i = 0; i < r->count; i++)
        cJSON_Delete(r->rows[i].root);
    vmt_free(r->rows);
    *r = (table_results){0};
}

const table_row *table_results_find(const table_results *r, const char *hash)
{
    for (int64_t i = 0; i < r->count; i++)
        if (!r->rows[i].error && !strcmp(r->rows[i].hash, hash))
            return &r->rows[i];
    return NULL;
}

/* ---- writing */

static bool write_whole(int fd, const char *bytes, size_t length)
{
    while (length) {
        const ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

enum vmt_status table_results_append(vmt_ctx *ctx, const char *path, const char *line)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    char last = '\n';

    if (fd < 0)
        return vmt_fail(ctx, VMT_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    const bool locked = !flock(fd, LOCK_EX);
    const off_t end = lseek(fd, 0, SEEK_END);
    bool good = locked && end >= 0 && (end == 0 || pread(fd, &last, 1, end - 1) == 1);
    good = good && (last == '\n' || write_whole(fd, "\n", 1));
    good = good && write_whole(fd, line, strlen(line)) && write_whole(fd, "\n", 1) &&
           (!fsync(fd) || errno == EINVAL); /* a pipe has no disk */
    const int error = errno;
    if (!good && end >= 0 && ftruncate(fd, end))
        good = false; /* a part of a line is skipped when it is read */
    close(fd);
    return good ? VMT_OK
                : vmt_fail(ctx, VMT_E_IO, "%s: cannot be written: %s", path, strerror(error));
}
