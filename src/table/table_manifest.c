/* SPDX-License-Identifier: MIT */
#include "table/table.h"

#include "base/mapped_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CASES = 1000000, MOST_LINE = 1 << 20, MOST_PLACES = 100000 };

static const char *const case_keys[] = {"arm",      "clip",   "prompt", "method",
                                        "subject",  "frames", "seed",   "embeddings",
                                        "settings", "path",   "scores", NULL};
static const char *const claim_keys[] = {"a", "b", "baseline", "scores", "margin", NULL};

/* ---- checks of one line */

static enum vmt_status check_keys(vmt_ctx *ctx, const cJSON *object, const char *const *known,
                                  const char *label)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, object)
    {
        int i = 0;
        while (known[i] && strcmp(known[i], item->string) != 0)
            i++;
        if (!known[i])
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: unknown key \"%.60s\"", label, item->string);
        if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: key \"%s\" stands twice", label, item->string);
    }
    return VMT_OK;
}

/* A text, or NULL where it may be missing. */
static enum vmt_status take_text(vmt_ctx *ctx, const char **text, const cJSON *object,
                                 const char *key, bool needed, const char *label)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    *text = cJSON_GetStringValue(item);
    if (item ? !*text || !**text : needed)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %s \"%s\", expected a text", label,
                        item ? "wrong value of" : "no", key);
    return VMT_OK;
}

static enum vmt_status take_whole(vmt_ctx *ctx, int64_t *value, const cJSON *object,
                                  const char *key, const char *label)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    *value = 0;
    if (item && (!vmt_json_int(item, value) || *value < 0))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: wrong value of \"%s\", expected a whole number",
                        label, key);
    return VMT_OK;
}

/* Settings are texts, as on the command line. */
static enum vmt_status number_to_text(vmt_ctx *ctx, cJSON *settings, cJSON *item)
{
    char number[32];

    snprintf(number, sizeof number, "%.15g", item->valuedouble);
    cJSON *text = cJSON_CreateString(number);
    char *name = text ? strdup(item->string) : NULL;
    const bool good = name && cJSON_ReplaceItemInObjectCaseSensitive(settings, name, text);
    if (!good)
        cJSON_Delete(text);
    free(name);
    return good ? VMT_OK : vmt_fail(ctx, VMT_E_MEMORY, "out of memory for a manifest");
}

static enum vmt_status take_settings(vmt_ctx *ctx, table_case *c, const char *label)
{
    cJSON *settings = cJSON_GetObjectItemCaseSensitive(c->root, "settings"), *item, *next;

    c->settings = settings;
    if (settings && !cJSON_IsObject(settings))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"settings\" is no object", label);
    for (item = settings ? settings->child : NULL; item; item = next) {
        static const char *const own[] = {"prompt", "seed", "frames", "method"};
        next = item->next;
        if (!cJSON_IsString(item) && !cJSON_IsNumber(item))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: setting \"%.60s\" is no text or number", label,
                            item->string);
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            if (!strcmp(item->string, own[i]))
                return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"%s\" stands beside settings, not in them",
                                label, own[i]);
        if (cJSON_IsNumber(item))
            VMT_TRY(number_to_text(ctx, settings, item));
    }
    return VMT_OK;
}

/* Scores that take more than the clips: of attention, of CLIP. */
static enum vmt_status take_scores(vmt_ctx *ctx, table_case *c, const char *label)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->root, "scores"), *name;

    if (list && !cJSON_IsArray(list))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"scores\" is no list", label);
    cJSON_ArrayForEach(name, list)
    {
        const char *text = cJSON_GetStringValue(name);
        if (text && !strcmp(text, "attention"))
            c->attention = true;
        else if (text && !strcmp(text, "clip"))
            c->clip_scores = true;
        else
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"scores\": expected \"attention\", \"clip\"",
                            label);
    }
    return VMT_OK;
}

static enum vmt_status copy_path(vmt_ctx *ctx, table_case *c, const cJSON *array, const char *label)
{
    const int count = cJSON_GetArraySize(array);
    const cJSON *place;
    int64_t i = 0;

    if (!cJSON_IsArray(array) || count < 2 || count > MOST_PLACES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: path: expected a list of 2 to %d places [x, y]",
                        label, (int)MOST_PLACES);
    VMT_TRY(vmt_alloc(ctx, (void **)&c->path, (size_t)count, sizeof *c->path));
    cJSON_ArrayForEach(place, array)
    {
        const cJSON *x = place->child, *y = x ? x->next : NULL;
        if (!cJSON_IsArray(place) || !cJSON_IsNumber(x) || !cJSON_IsNumber(y) || y->next ||
            !(fabs(x->valuedouble) < 1e6) || !(fabs(y->valuedouble) < 1e6))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: path: place %d is no [x, y]", label, (int)i);
        c->path[i][0] = x->valuedouble;
        c->path[i++][1] = y->valuedouble;
    }
    c->path_count = count;
    return VMT_OK;
}

/* A file that a manifest names lies beside it, unless its path is absolute; "-" is standard
 * input. */
static enum vmt_status find_file(vmt_ctx *ctx, char **file, const char *manifest, const char *name)
{
    const char *slash = strrchr(manifest, '/');
    const bool as_it_is = !slash || *name == '/' || !strcmp(name, "-");
    const size_t folder = as_it_is ? 0 : (size_t)(slash - manifest) + 1, length = strlen(name) + 1;

    VMT_TRY(vmt_alloc(ctx, (void **)file, folder + length, 1));
    memcpy(*file, manifest, folder);
    memcpy(*file + folder, name, length);
    return VMT_OK;
}

/* {"path": [...]} */
static enum vmt_status read_path(vmt_ctx *ctx, table_case *c, const char *name, const char *label)
{
    vmt_mapped_file file;
    cJSON *root = NULL;

    VMT_TRY(vmt_prefix(ctx, vmt_mapped_file_open(ctx, &file, name), "%s", label));
    enum vmt_status status = vmt_json_parse(ctx, &root, file.bytes, file.length, name);
    vmt_mapped_file_close(&file);
    if (status == VMT_OK)
        status = copy_path(ctx, c, cJSON_GetObjectItemCaseSensitive(root, "path"), name);
    cJSON_Delete(root);
    return vmt_prefix(ctx, status, "%s", label);
}

/* In the line, or in a file. */
static enum vmt_status take_path(vmt_ctx *ctx, table_case *c, const char *manifest,
                                 const char *label)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->root, "path");
    char *name;

    if (!item || !cJSON_IsString(item))
        return item ? copy_path(ctx, c, item, label) : VMT_OK;
    VMT_TRY(find_file(ctx, &name, manifest, item->valuestring));
    const enum vmt_status status = read_path(ctx, c, name, label);
    vmt_free(name);
    return status;
}

static enum vmt_status take_case(vmt_ctx *ctx, table_case *c, const char *manifest,
                                 const char *label)
{
    VMT_TRY(check_keys(ctx, c->root, case_keys, label));
    VMT_TRY(take_text(ctx, &c->clip, c->root, "clip", true, label));
    VMT_TRY(take_text(ctx, &c->prompt, c->root, "prompt", true, label));
    VMT_TRY(take_text(ctx, &c->method, c->root, "method", false, label));
    VMT_TRY(take_text(ctx, &c->arm, c->root, "arm", false, label));
    VMT_TRY(take_text(ctx, &c->subject, c->root, "subject", false, label));
    VMT_TRY(take_text(ctx, &c->embeddings, c->root, "embeddings", false, label));
    VMT_TRY(take_whole(ctx, &c->seed, c->root, "seed", label));
    VMT_TRY(take_whole(ctx, &c->frames, c->root, "frames", label));
    VMT_TRY(take_settings(ctx, c, label));
    VMT_TRY(take_scores(ctx, c, label));
    if (!c->arm)
        c->arm = c->method ? c->method : "default";
    VMT_TRY(find_file(ctx, &c->clip_file, manifest, c->clip));
    if (c->embeddings)
        VMT_TRY(find_file(ctx, &c->embeddings_file, manifest, c->embeddings));
    return take_path(ctx, c, manifest, label);
}

static enum vmt_status take_claim(vmt_ctx *ctx, table_claim *claim, const cJSON *object,
                                  const char *label)
{
    const cJSON *margin = cJSON_GetObjectItemCaseSensitive(object, "margin"), *name;

    if (!cJSON_IsObject(object))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"claim\" is no object", label);
    VMT_TRY(check_keys(ctx, object, claim_keys, label));
    VMT_TRY(take_text(ctx, &claim->a, object, "a", true, label));
    VMT_TRY(take_text(ctx, &claim->b, object, "b", true, label));
    VMT_TRY(take_text(ctx, &claim->baseline, object, "baseline", true, label));
    claim->scores = cJSON_GetObjectItemCaseSensitive(object, "scores");
    claim->margin = margin ? margin->valuedouble : 0.05;
    if (margin && (!cJSON_IsNumber(margin) || !(claim->margin > 0) || !(claim->margin < 1)))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"margin\": expected a share between 0 and 1",
                        label);
    if (!cJSON_IsArray(claim->scores) || !claim->scores->child)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"scores\": expected a list of names", label);
    cJSON_ArrayForEach(name, claim->scores)
    {
        if (!cJSON_IsString(name))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"scores\": expected a list of names", label);
    }
    return VMT_OK;
}

/* ---- the file */

static void free_case(table_case *c)
{
    vmt_free(c->path);
    vmt_free(c->clip_file);
    vmt_free(c->embeddings_file);
    cJSON_Delete(c->root);
}

static enum vmt_status take_line(vmt_ctx *ctx, table_manifest *m, const unsigned char *bytes,
                                 size_t length, int64_t number, const char *path)
{
    char label[320];
    cJSON *root = NULL;

    snprintf(label, sizeof label, "%.255s line %lld", path, (long long)number);
    if (length > MOST_LINE)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: longer than %d bytes", label, (int)MOST_LINE);
    VMT_TRY(vmt_json_parse(ctx, &root, bytes, length, label));
    const cJSON *claim = cJSON_GetObjectItemCaseSensitive(root, "claim");
    if (claim) {
        table_claim *to = &m->claims[m->claim_count++];
        to->root = root;
        const enum vmt_status status = take_claim(ctx, to, claim, label);
        m->claim_count -= status != VMT_OK;
        if (status != VMT_OK)
            cJSON_Delete(root);
        return status;
    }
    table_case *to = &m->cases[m->count];
    *to = (table_case){.root = root, .line = number};
    const enum vmt_status status = take_case(ctx, to, path, label);
    if (status == VMT_OK)
        m->count++;
    else
        free_case(to);
    return status;
}

/* Blank, or a comment. */
static bool is_skipped(const unsigned char *bytes, size_t length)
{
    if (length > 0 && *bytes == '#')
        return true;
    for (size_t i = 0; i < length; i++)
        if (!strchr(" \t\r", bytes[i]) || !bytes[i])
            return false;
    return true;
}

static enum vmt_status take_lines(vmt_ctx *ctx, table_manifest *m, const vmt_mapped_file *file,
                                  const char *path)
{
    int64_t number = 0;

    for (size_t at = 0; at < file->length;) {
        const unsigned char *from = file->bytes + at, *end = memchr(from, '\n', file->length - at);
        const size_t length = end ? (size_t)(end - from) : file->length - at;
        at += length + 1;
        number++;
        if (is_skipped(from, length))
            continue;
        const enum vmt_status status = take_line(ctx, m, from, length, number, path);
        if (status == VMT_E_MEMORY)
            return status;
        if (status == VMT_OK)
            continue;
        vmt_log(ctx, VMT_LOG_ERROR, "fastvmt: %s", vmt_message(ctx));
        m->broken++;
    }
    return VMT_OK;
}

enum vmt_status table_manifest_read(vmt_ctx *ctx, table_manifest *m, const char *path)
{
    vmt_mapped_file file;
    size_t lines = 1;

    *m = (table_manifest){0};
    VMT_TRY(vmt_mapped_file_open(ctx, &file, path));
    for (size_t i = 0; i < file.length; i++)
        lines += file.bytes[i] == '\n';
    enum vmt_status status = VMT_OK;
    if (lines > MOST_CASES)
        status = vmt_fail(ctx, VMT_E_FORMAT, "%s: more than %d lines", path, (int)MOST_CASES);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&m->cases, lines, sizeof *m->cases);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&m->claims, lines, sizeof *m->claims);
    if (status == VMT_OK)
        status = take_lines(ctx, m, &file, path);
    vmt_mapped_file_close(&file);
    if (status != VMT_OK)
        table_manifest_free(m);
    return status;
}

void table_manifest_free(table_manifest *m)
{
    for (int64_t i = 0; i < m->count; i++)
        free_case(&m->cases[i]);
    for (int64_t i = 0; i < m->claim_count; i++)
        cJSON_Delete(m->claims[i].root);
    vmt_free(m->cases);
    vmt_free(m->claims);
    *m = (table_manifest){0};
}
