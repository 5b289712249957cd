/* SPDX-License-Identifier: MIT */
#include "table_run.h"

#include "base/sha256.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- references */

static void drop_clip(table_run *r, int at)
{
    table_clip *c = &r->clips[at];

    r->clip_bytes -= c->clip.frames * c->clip.height * c->clip.width * 3;
    score_side_free(c->side);
    vmt_motion_field_free(&c->field);
    vmt_clip_free(&c->clip);
    memmove(c, c + 1, (size_t)(r->clip_count - at - 1) * sizeof *c);
    r->clip_count--;
    for (int i = at; i < r->clip_count; i++) { /* a side knows where its clip lies */
        score_side_free(r->clips[i].side);
        r->clips[i].side = NULL;
    }
}

static void hash_clip(table_clip *c)
{
    const int64_t shape[] = {c->clip.frames, c->clip.height, c->clip.width};
    vmt_sha256 hash;

    vmt_sha256_init(&hash);
    vmt_sha256_add(&hash, shape, sizeof shape);
    vmt_sha256_add(&hash, &c->clip.fps, sizeof c->clip.fps);
    vmt_sha256_add(&hash, c->clip.pixels, (size_t)(shape[0] * shape[1] * shape[2] * 3));
    vmt_sha256_text(&hash, c->hash);
}

/* The case's reference, read once for all cases that ask for the same. */
static enum vmt_status take_clip(table_run *r, const table_case *c, table_clip **clip)
{
    const vmt_settings *s = &r->s.settings;

    for (int i = 0; i < r->clip_count; i++) {
        table_clip *k = &r->clips[i];
        if (!strcmp(k->path, c->clip_file) && k->frames == s->frames && k->width == s->width &&
            k->height == s->height && k->fps == s->fps) {
            *clip = k;
            return VMT_OK;
        }
    }
    while (r->clip_count == TABLE_CLIPS || (r->clip_count && r->clip_bytes > TABLE_CLIP_BYTES))
        drop_clip(r, 0);
    table_clip *k = &r->clips[r->clip_count];
    *k = (table_clip){.path = c->clip_file,
                      .frames = s->frames,
                      .width = s->width,
                      .height = s->height,
                      .fps = s->fps};
    r->options.reference = c->clip_file;
    VMT_TRY(cli_read_reference(&r->s, &k->clip, true));
    hash_clip(k);
    r->clip_bytes += k->clip.frames * k->clip.height * k->clip.width * 3;
    r->clip_count++;
    *clip = k;
    return VMT_OK;
}

/* ---- what a case is */

static enum vmt_status fill_settings(table_run *r, const table_case *c)
{
    vmt_settings *s = &r->s.settings;
    const cJSON *item;
    char frames[24];

    VMT_TRY(cli_fill_settings(&r->s, c->method));
    for (int rest = 0; rest < 2; rest++) /* the mode, then what changes it */
        cJSON_ArrayForEach(item, c->settings)
        {
            if ((strcmp(item->string, "mode") != 0) == rest)
                VMT_TRY(vmt_settings_set(r->s.ctx, s, item->string, item->valuestring));
        }
    s->prompt = c->prompt;
    s->seed = (uint64_t)c->seed;
    snprintf(frames, sizeof frames, "%" PRId64, c->frames);
    return c->frames ? vmt_settings_set(r->s.ctx, s, "frames", frames) : VMT_OK;
}

/* Everything that decides what the line of results says, times apart. */
static enum vmt_status hash_case(table_run *r, const table_case *c, const table_clip *clip,
                                 char text[65])
{
    const char *const parts[] = {"table 1", c->arm, clip->hash, c->subject ? c->subject : "",
                                 c->embeddings ? c->embeddings : ""};
    vmt_sha256 hash;
    char *settings;

    VMT_TRY(vmt_settings_json(r->s.ctx, r->s.model, &r->s.settings, &settings));
    vmt_sha256_init(&hash);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        vmt_sha256_add(&hash, parts[i], strlen(parts[i]) + 1);
    vmt_sha256_add(&hash, settings, strlen(settings) + 1);
    if (c->path)
        vmt_sha256_add(&hash, c->path, (size_t)c->path_count * sizeof *c->path);
    if (c->attention)
        vmt_sha256_add(&hash, "attention", sizeof "attention");
    if (c->clip_scores && r->options.clip)
        vmt_sha256_add(&hash, r->options.clip, strlen(r->options.clip) + 1);
    vmt_sha256_text(&hash, text);
    vmt_text_free(settings);
    return VMT_OK;
}

/* Settings, reference and hash of a case. */
static enum vmt_status prepare(table_run *r, const table_case *c, table_clip **clip, char hash[65])
{
    if (c->clip_scores && !r->clip_model)
        return vmt_fail(r->s.ctx, VMT_E_ARG, "scores of CLIP need weights: --clip DIR");
    VMT_TRY(fill_settings(r, c));
    VMT_TRY(take_clip(r, c, clip));
    return hash_case(r, c, *clip, hash);
}

/* ---- the run */

/* Losses are kept with six digits. */
static bool add_rounded(cJSON *array, double value)
{
    char text[32];

    snprintf(text, sizeof text, "%.6g", value);
    cJSON *item = cJSON_CreateRaw(isfinite(value) ? text : "null");
    return item && cJSON_AddItemToArray(array, item);
}

static int tell(void *user, const vmt_progress *p)
{
    table_run *r = user;

    r->seconds = p->seconds;
    if (p->phase == VMT_PHASE_SAMPLE && p->inner_steps > 0 && p->inner_step > 0 &&
        (p->step != r->loss_step || p->inner_step != r->loss_inner)) {
        cJSON *step = cJSON_GetArrayItem(r->losses, cJSON_GetArraySize(r->losses) - 1);
        if (p->step != r->loss_step) {
            step = cJSON_CreateArray();
            r->full |= !step || !cJSON_AddItemToArray(r->losses, step);
        }
        r->full = r->full || !add_rounded(step, p->loss);
        r->loss_step = p->step;
        r->loss_inner = p->inner_step;
    }
    return r->full || cli_reporter_tell(&r->reporter, p);
}

/* What cannot fit fails here: the system would end the process, and with it the table. */
static enum vmt_status check_memory(table_run *r, const vmt_transfer_io *io)
{
    vmt_plan plan;

    VMT_TRY(vmt_plan_make(r->s.ctx, r->s.model, &r->s.settings, io, &plan));
    if (!plan.fits)
        return vmt_fail(
            r->s.ctx, VMT_E_MEMORY,
            "needs %.1f MiB (%.1f at least), free are %.1f, the limit is %.1f (0: none)",
            (double)plan.peak_bytes / (1 << 20), (double)plan.least_bytes / (1 << 20),
            (double)plan.free_bytes / (1 << 20), (double)plan.limit_bytes / (1 << 20));
    return VMT_OK;
}

static enum vmt_status transfer(table_run *r, const table_case *c, const vmt_clip *reference,
                                vmt_clip *result)
{
    const vmt_transfer_io io = {.reference = reference,
                                .result = result,
                                .embeddings = c->embeddings_file,
                                .progress = tell,
                                .progress_user = r};

    VMT_TRY(check_memory(r, &io));
    cli_reporter_init(&r->reporter, &r->options);
    r->loss_step = r->loss_inner = -1;
    r->full = false;
    const enum vmt_status status = vmt_transfer(r->s.ctx, r->s.model, &r->s.settings, &io);
    cli_reporter_finish(&r->reporter, r->seconds);
    return r->full ? vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the losses") : status;
}

/* ---- the line of results */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* videos/ARM-CLIP-SEED-HASH.ending, of letters that every system takes. */
static void name_video(const table_run *r, const table_case *c, const char *hash, char name[256])
{
    snprintf(name, 256, "videos/%.60s-%.60s-%" PRId64 "-%.8s.%s", c->arm, base_name(c->clip),
             c->seed, hash, r->videos);
    for (char *p = name + strlen("videos/"); *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", *p))
            *p = '_';
}

static enum vmt_status keep_video(table_run *r, const table_case *c, const char *hash,
                                  const vmt_clip *result, cJSON *line)
{
    char name[256], path[4096];

    if (!r->videos)
        return VMT_OK;
    name_video(r, c, hash, name);
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    VMT_TRY(media_write(r->s.ctx, result, path, NULL));
    return cJSON_AddStringToObject(line, "video", name)
               ? VMT_OK
               : vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the results");
}

static bool add_head(const table_run *r, const table_case *c, const char *hash, cJSON *line)
{
    cJSON *settings = c->settings ? cJSON_Duplicate(c->settings, true) : cJSON_CreateObject();
    const vmt_method_row *method = vmt_method_at((size_t)r->s.settings.motion.method);

    return settings && cJSON_AddItemToObject(line, "settings", settings) &&
           cJSON_AddStringToObject(line, "hash", hash) &&
           cJSON_AddStringToObject(line, "arm", c->arm) &&
           cJSON_AddStringToObject(line, "clip", c->clip) &&
           cJSON_AddStringToObject(line, "prompt", c->prompt) &&
           (!c->subject || cJSON_AddStringToObject(line, "subject", c->subject)) &&
           cJSON_AddNumberToObject(line, "seed", (double)c->seed) &&
           (!method || cJSON_AddStringToObject(line, "method", method->name)) &&
           cJSON_AddStringToObject(line, "version", vmt_version()) &&
           cJSON_AddStringToObject(line, "backend", vmt_backend_name(r->s.ctx));
}

static bool add_run(const table_run *r, const vmt_clip *result, cJSON *line)
{
    cJSON *seconds = cJSON_AddObjectToObject(line, "seconds");
    bool good =
        seconds && cJSON_AddNumberToObject(line, "frames", (double)result->frames) &&
        cJSON_AddNumberToObject(line, "width", (double)result->width) &&
        cJSON_AddNumberToObject(line, "height", (double)result->height) &&
        cJSON_AddNumberToObject(line, "memory_peak", (double)r->reporter.memory_peak) &&
        cJSON_AddNumberToObject(line, "forwards", (double)r->reporter.forwards) &&
        cJSON_AddNumberToObject(line, "reused_forwards", (double)r->reporter.reused_forwards) &&
        cJSON_AddNumberToObject(line, "gradients", (double)r->reporter.gradients) &&
        cJSON_AddNumberToObject(line, "inner_steps", (double)r->reporter.inner_steps);

    for (int i = 0; good && i < VMT_PHASE_COUNT; i++)
        if (r->reporter.phase_seconds[i] > 0)
            good = cJSON_AddNumberToObject(seconds, vmt_phase_name((enum vmt_phase)i),
                                           round(r->reporter.phase_seconds[i] * 1e6) * 1e-6);
    return good;
}

static enum vmt_status append(table_run *r, const cJSON *line)
{
    char *text = cJSON_PrintUnformatted(line);

    if (!text)
        return vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the results");
    const enum vmt_status status = table_results_append(r->s.ctx, r->file, text);
    cJSON_free(text);
    return status;
}

/* Time until the last case, at this process's pace and as many processes as there are. */
static void print_left(const table_run *r)
{
    const int64_t jobs = r->options.jobs > 1 ? r->options.jobs : 1;
    const int64_t cases = (r->manifest->count - r->shard + r->shards - 1) / r->shards;
    const int64_t left = cases - atomic_load(&r->shared->next);

    if (left > 0)
        printf(", about %.0f s left", (double)left / (double)jobs * r->spent / (double)r->ran);
}

static void print_case(const table_run *r, const table_case *c, const cJSON *scores)
{
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(scores, "path_correlation");
    const cJSON *fidelity = cJSON_GetObjectItemCaseSensitive(scores, "fidelity");
    const long long done = atomic_load(&r->shared->finished) + atomic_load(&r->shared->failed) +
                           atomic_load(&r->shared->had);

    if (r->options.quiet)
        return;
    char text[512];
    int used =
        snprintf(text, sizeof text, "%lld of %lld: %.60s, %.60s, seed %" PRId64 ": %.2f s", done,
                 (long long)r->manifest->count, c->arm, base_name(c->clip), c->seed, r->seconds);
    if (cJSON_IsNumber(path))
        used +=
            snprintf(text + used, sizeof text - (size_t)used, ", path %+.2f", path->valuedouble);
    if (cJSON_IsNumber(fidelity))
        snprintf(text + used, sizeof text - (size_t)used, ", fidelity %.2f", fidelity->valuedouble);
    printf("%s", text);
    print_left(r);
    putchar('\n');
    fflush(stdout);
}

/* Runs and scores a case whose settings are set; its line is appended. */
static enum vmt_status run_case(table_run *r, const table_case *c, table_clip *clip,
                                const char *hash)
{
    vmt_clip result = {0};
    cJSON *line = cJSON_CreateObject();
    cJSON *scores = cJSON_AddObjectToObject(line, "scores");
    r->losses = cJSON_AddArrayToObject(line, "losses");
    enum vmt_status status = scores && r->losses && add_head(r, c, hash, line)
                                 ? VMT_OK
                                 : vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for a case");

    if (status == VMT_OK)
        status = transfer(r, c, &clip->clip, &result);
    if (status == VMT_OK && !add_run(r, &result, line))
        status = vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for a case");
    if (status == VMT_OK)
        status = table_score(r, c, clip, &result, line);
    if (status == VMT_OK)
        status = keep_video(r, c, hash, &result, line);
    if (status == VMT_OK)
        status = append(r, line);
    if (status == VMT_OK) {
        atomic_fetch_add(&r->shared->finished, 1);
        r->spent += r->seconds;
        r->ran++;
        print_case(r, c, scores);
    }
    vmt_clip_free(&result);
    cJSON_Delete(line);
    r->losses = NULL;
    return status;
}

static void keep_first(atomic_llong *first, int64_t at, enum vmt_status status)
{
    const long long own = 256 * (at + 1) + (long long)status;
    long long known = atomic_load(first);

    while ((!known || own < known) && !atomic_compare_exchange_weak(first, &known, own))
        ;
}

/* Leaves a line that says why; the case is tried again the next time.  VMT_E_IO when there is no
 * place for a line: what later cases come to would be lost. */
static enum vmt_status tell_failure(table_run *r, const table_case *c, const char *hash)
{
    enum vmt_status status = VMT_OK;
    char why[VMT_MESSAGE_BYTES];
    cJSON *line = cJSON_CreateObject();

    snprintf(why, sizeof why, "%s", vmt_message(r->s.ctx));
    fprintf(stderr, "fastvmt: case of line %" PRId64 " (%s): %s\n", c->line, c->arm, why);
    atomic_fetch_add(&r->shared->failed, 1);
    if (*hash && line && add_head(r, c, hash, line) && cJSON_AddStringToObject(line, "error", why))
        status = append(r, line);
    cJSON_Delete(line);
    return status;
}

int table_run_cases(table_run *r)
{
    for (;;) {
        const int64_t at = atomic_fetch_add(&r->shared->next, 1) * r->shards + r->shard;
        if (at >= r->manifest->count)
            return 0;
        const table_case *c = &r->manifest->cases[at];
        table_clip *clip;
        char hash[65] = "";
        enum vmt_status status = prepare(r, c, &clip, hash);
        if (status == VMT_OK && table_results_find(r->results, hash)) {
            atomic_fetch_add(&r->shared->had, 1);
            continue;
        }
        if (status == VMT_OK)
            status = run_case(r, c, clip, hash);
        if (status == VMT_OK)
            continue;
        if (status == VMT_E_CANCELLED)
            return 130;
        keep_first(&r->shared->first_failure, at, status);
        if (tell_failure(r, c, hash) == VMT_E_IO)
            return (int)VMT_E_IO;
    }
}

/* ---- list */

/* Mean seconds of the arm's cases so far, of all cases where it has none; -1: none there. */
static double expected_seconds(const table_results *results, const char *arm)
{
    double sum[2] = {0};
    int64_t count[2] = {0};

    for (int64_t i = 0; i < results->count; i++) {
        const table_row *row = &results->rows[i];
        const bool same = !strcmp(row->arm, arm);
        if (row->error)
            continue;
        sum[same] += row->all_seconds;
        count[same]++;
    }
    if (count[1])
        return sum[1] / (double)count[1];
    return count[0] ? sum[0] / (double)count[0] : -1;
}

int table_run_list(table_run *r)
{
    double all = 0;
    int64_t left = 0, unknown = 0;
    int code = 0;

    for (int64_t i = r->shard; i < r->manifest->count; i += r->shards) {
        const table_case *c = &r->manifest->cases[i];
        table_clip *clip;
        char hash[65] = "";
        const enum vmt_status status = prepare(r, c, &clip, hash);
        const double seconds = expected_seconds(r->results, c->arm);
        if (status != VMT_OK) {
            fprintf(stderr, "fastvmt: case of line %" PRId64 " (%s): %s\n", c->line, c->arm,
                    vmt_message(r->s.ctx));
            code = code ? code : (int)status;
            continue;
        }
        const bool done = table_results_find(r->results, hash) != NULL;
        printf("%s  line %" PRId64 ": %s, %s, seed %" PRId64 "\n", done ? "done" : "to do", c->line,
               c->arm, c->clip, c->seed);
        left += !done;
        unknown += !done && seconds < 0;
        all += !done && seconds > 0 ? seconds : 0;
    }
    printf("%" PRId64 " cases to do", left);
    if (left && unknown < left)
        printf(", about %.0f s of one process at the times so far", all);
    else if (left)
        printf("; no times of earlier cases to tell how long they take");
    printf("\n");
    return code;
}

/* ---- begin and end */

int table_run_open(table_run *r, const cli_options *options)
{
    r->options = *options;
    r->options.progress = CLI_PROGRESS_NONE;
    const int code = cli_session_open(&r->s, &r->options, true);
    if (code || !options->clip)
        return code;
    const enum vmt_status status = vmt_clip_model_open(r->s.ctx, &r->clip_model, options->clip);
    return status == VMT_OK ? 0 : cli_fail(&r->s, status);
}

void table_run_close(table_run *r)
{
    while (r->clip_count)
        drop_clip(r, r->clip_count - 1);
    if (r->clip_model)
        vmt_clip_model_close(r->s.ctx, r->clip_model);
    cli_session_close(&r->s);
}
