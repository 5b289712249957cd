/* SPDX-License-Identifier: MIT
 *
 * A manifest and a file of results, lines of both in one input: each reader takes its own and
 * counts the others.  Then the report of what was read.
 */
#include "input.h"

#include "table/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/fuzz-table-XXXXXX";

static void remove_folder(void)
{
    char link[64];

    snprintf(link, sizeof link, "%s/results.jsonl", folder);
    unlink(link);
    rmdir(folder);
}

/* Results are read from a folder: its one file is the input. */
static void make_folder(const char *path)
{
    static bool made;
    char link[64];

    if (made)
        return;
    if (!mkdtemp(folder) || atexit(remove_folder))
        abort();
    snprintf(link, sizeof link, "%s/results.jsonl", folder);
    if (symlink(path, link))
        abort();
    made = true;
}

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void check_manifest(const table_manifest *m)
{
    const cJSON *item;

    for (int64_t i = 0; i < m->count; i++) {
        const table_case *c = &m->cases[i];
        require(c->arm && *c->arm && c->clip && *c->clip && c->prompt && *c->prompt);
        require(c->clip_file && !c->embeddings == !c->embeddings_file);
        require(c->line > 0 && c->seed >= 0 && c->frames >= 0 && !c->path == (c->path_count == 0));
        cJSON_ArrayForEach(item, c->settings) require(cJSON_IsString(item) && item->string);
        for (int64_t k = 0; k < c->path_count; k++)
            require(isfinite(c->path[k][0]) && isfinite(c->path[k][1]));
    }
    for (int64_t i = 0; i < m->claim_count; i++) {
        const table_claim *c = &m->claims[i];
        require(c->a && c->b && c->baseline && c->margin > 0 && c->margin < 1);
        cJSON_ArrayForEach(item, c->scores) require(cJSON_IsString(item));
    }
}

static void check_results(const table_results *r)
{
    for (int64_t i = 0; i < r->count; i++) {
        const table_row *row = &r->rows[i];
        require(row->hash && row->arm && row->clip && row->prompt && row->video);
        require(isfinite(row->seed) && isfinite(row->memory_peak));
        require(row->error || table_results_find(r, row->hash));
        (void)table_results_replaced(r, i);
    }
    require(r->count <= r->lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const char *path = fuzz_file(bytes, length);
    table_manifest manifest;
    table_results results;
    table_report_texts texts;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    make_folder(path);
    if (table_manifest_read(&ctx, &manifest, path) != VMT_OK)
        FUZZ_REFUSED(ctx);
    check_manifest(&manifest);
    ctx.message[0] = '\0';
    if (table_results_read(&ctx, &results, folder) != VMT_OK)
        FUZZ_REFUSED(ctx);
    check_results(&results);
    ctx.message[0] = '\0';
    if (table_report_render(&ctx, &results, &manifest, folder, &texts) == VMT_OK) {
        require(texts.markdown_length > 0 && texts.html_length > 0);
        require(!memmem(texts.html, texts.html_length, "<script", 7));
        table_report_texts_free(&texts);
    } else {
        FUZZ_REFUSED(ctx);
    }
    table_results_free(&results);
    table_manifest_free(&manifest);
    return 0;
}
