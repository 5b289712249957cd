/* SPDX-License-Identifier: MIT
 *
 * score: how results move like their reference, as a table or as JSON, and as a picture.
 */
#include "cli.h"

#include "clip_model/clip_model.h"
#include "score/score.h"

#include <cJSON.h>

#include <stdlib.h>
#include <string.h>

typedef struct score_job {
    cli_session s;
    cli_reporter reporter;
    vmt_clip reference, result, picture;
    score_side *reference_side, *result_side;
    vmt_motion_field reference_field, result_field;
    vmt_clip_model *clip_model;
    int64_t asked_frames; /* for which the reference was read */
    score_report *reports;
    vmt_clip *shapes; /* of the results, without pixels */
    double seconds;
} score_job;

/* ---- what is printed */

static const char *better_text(enum score_better better)
{
    static const char *const words[] = {"higher", "lower", "near 1", "-"};

    return words[better];
}

static const char *short_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* "-" stands for undefined. */
static void print_number(bool defined, double value, int width)
{
    if (defined)
        printf(" %*.4g", width, value);
    else
        printf(" %*s", width, "-");
}

/* Scores that were computed, or could have been. */
static bool is_asked(const score_job *j, enum score_id id)
{
    if (id == SCORE_CLIP_TEXT || id == SCORE_CLIP_FRAMES)
        return j->clip_model;
    return j->s.model || (id != SCORE_ATTENTION_COSINE && id != SCORE_ATTENTION_ERROR);
}

static bool same_reason(const score_job *j, const cli_options *o, int id)
{
    for (int i = 1; i + 1 < o->operand_count; i++)
        if (j->reports[i].values[id].defined ||
            j->reports[i].values[id].why != j->reports[0].values[id].why)
            return false;
    return !j->reports[0].values[id].defined;
}

static void print_reasons(const score_job *j, const cli_options *o)
{
    for (int id = 0; id < SCORE_COUNT; id++) {
        const bool same = same_reason(j, o, id);
        for (int i = 0; i + 1 < o->operand_count && is_asked(j, (enum score_id)id); i++) {
            const score_value *v = &j->reports[i].values[id];
            if (v->defined || (same && i))
                continue;
            printf("%s undefined", score_kind_of((enum score_id)id)->name);
            if (!same)
                printf(" for %s", o->operands[i + 1]);
            printf(": %s\n", v->why);
        }
    }
}

static void print_table(const score_job *j, const cli_options *o)
{
    const int results = o->operand_count - 1;

    printf("reference %s\n", o->operands[0]);
    for (int i = 0; i < results; i++)
        printf("result %s: %lld frames of %lldx%lld compared; tracklets that move: %lld of %lld, "
               "in the reference %lld of %lld\n",
               o->operands[i + 1], (long long)j->reports[i].frames, (long long)j->shapes[i].width,
               (long long)j->shapes[i].height, (long long)j->reports[i].result_moving,
               (long long)j->reports[i].result_tracks, (long long)j->reports[i].reference_moving,
               (long long)j->reports[i].reference_tracks);
    printf("\n%-20s", "score");
    for (int i = 0; i < results; i++)
        printf(" %12.12s", short_name(o->operands[i + 1]));
    printf(" %10s  %-11s %-7s %s\n", "reference", "unit", "better", "");
    for (int id = 0; id < SCORE_COUNT; id++) {
        const score_kind *kind = score_kind_of((enum score_id)id);
        if (!is_asked(j, (enum score_id)id))
            continue;
        printf("%-20s", kind->name);
        for (int i = 0; i < results; i++)
            print_number(j->reports[i].values[id].defined, j->reports[i].values[id].value, 12);
        print_number(j->reports[0].values[id].has_reference, j->reports[0].values[id].reference,
                     10);
        printf("  %-11s %-7s %s\n", kind->unit, better_text(kind->better), kind->about);
    }
    print_reasons(j, o);
}

static bool add_score(cJSON *scores, enum score_id id, const score_value *v)
{
    const score_kind *kind = score_kind_of(id);
    cJSON *score = cJSON_AddObjectToObject(scores, kind->name);
    bool good = score != NULL;

    if (v->defined)
        good = good && cJSON_AddNumberToObject(score, "value", v->value);
    else
        good = good && cJSON_AddNullToObject(score, "value") &&
               cJSON_AddStringToObject(score, "undefined", v->why);
    if (v->has_reference)
        good = good && cJSON_AddNumberToObject(score, "reference", v->reference);
    if (kind->unit[0])
        good = good && cJSON_AddStringToObject(score, "unit", kind->unit);
    if (kind->better != SCORE_NEAR_REFERENCE)
        good = good && cJSON_AddStringToObject(score, "better", better_text(kind->better));
    return good;
}

static bool add_result(cJSON *results, const score_job *j, const char *path, int i)
{
    const score_report *r = &j->reports[i];
    cJSON *result = cJSON_CreateObject();

    bool good = result && cJSON_AddItemToArray(results, result) &&
                cJSON_AddStringToObject(result, "result", path) &&
                cJSON_AddNumberToObject(result, "width", (double)j->shapes[i].width) &&
                cJSON_AddNumberToObject(result, "height", (double)j->shapes[i].height) &&
                cJSON_AddNumberToObject(result, "fps", j->shapes[i].fps) &&
                cJSON_AddNumberToObject(result, "frames", (double)r->frames) &&
                cJSON_AddNumberToObject(result, "reference_tracks", (double)r->reference_tracks) &&
                cJSON_AddNumberToObject(result, "reference_moving", (double)r->reference_moving) &&
                cJSON_AddNumberToObject(result, "result_tracks", (double)r->result_tracks) &&
                cJSON_AddNumberToObject(result, "result_moving", (double)r->result_moving);
    cJSON *scores = good ? cJSON_AddObjectToObject(result, "scores") : NULL;
    for (int id = 0; scores && good && id < SCORE_COUNT; id++)
        if (is_asked(j, (enum score_id)id))
            good = add_score(scores, (enum score_id)id, &r->values[id]);
    return good && scores;
}

static int print_json(const score_job *j, const cli_options *o)
{
    cJSON *root = cJSON_CreateObject(), *results = NULL;
    char *text = NULL;

    bool good = root && cJSON_AddStringToObject(root, "version", vmt_version()) &&
                cJSON_AddStringToObject(root, "reference", o->operands[0]) &&
                (results = cJSON_AddArrayToObject(root, "results"));
    for (int i = 0; good && i + 1 < o->operand_count; i++)
        good = add_result(results, j, o->operands[i + 1], i);
    if (good)
        text = cJSON_Print(root);
    cJSON_Delete(root);
    return cli_print_json(text);
}

/* ---- the work */

static int tell(void *user, const vmt_progress *progress)
{
    score_job *j = user;

    j->seconds = progress->seconds;
    return cli_reporter_tell(&j->reporter, progress);
}

static enum vmt_status find_field(score_job *j, const vmt_clip *clip, vmt_motion_field *field)
{
    const vmt_transfer_io io = {
        .reference = clip, .field = field, .progress = tell, .progress_user = j};

    return vmt_extract(j->s.ctx, j->s.model, &j->s.settings, &io, NULL);
}

static void forget_reference(score_job *j)
{
    score_side_free(j->reference_side);
    j->reference_side = NULL;
    vmt_clip_free(&j->reference);
    vmt_motion_field_free(&j->reference_field);
}

static void forget_result(score_job *j)
{
    score_side_free(j->result_side);
    j->result_side = NULL;
    vmt_clip_free(&j->result);
    vmt_motion_field_free(&j->result_field);
}

/* The result as it is, but for what was asked for. */
static enum vmt_status take_result(score_job *j, const char *path)
{
    const vmt_settings *s = &j->s.settings;
    const media_read_options options = {.frames = s->frames,
                                        .fps = s->fps,
                                        .width = s->width,
                                        .height = s->height,
                                        .fit = cli_fit(j->s.options)};
    enum vmt_status status = media_read(j->s.ctx, &j->result, path, &options);

    if (status == VMT_OK)
        status = score_analyse(j->s.ctx, &j->result_side, &j->result);
    if (status == VMT_OK && j->s.model)
        status = find_field(j, &j->result, &j->result_field);
    return status;
}

/* The reference at the result's size and rate, up to its length; kept while these are the same. */
static enum vmt_status take_reference(score_job *j, const char *path)
{
    const vmt_clip *r = &j->result, *had = &j->reference;

    if (j->reference_side && had->width == r->width && had->height == r->height &&
        had->fps == r->fps && j->asked_frames == r->frames)
        return VMT_OK;
    forget_reference(j);
    j->asked_frames = r->frames;
    media_read_options options = cli_reference_options(&j->s);
    options.fps = r->fps;
    options.width = r->width;
    options.height = r->height;
    options.most_frames = r->frames;
    enum vmt_status status = media_read(j->s.ctx, &j->reference, path, &options);
    if (status == VMT_OK)
        status = score_analyse(j->s.ctx, &j->reference_side, &j->reference);
    if (status == VMT_OK && j->s.model)
        status = find_field(j, &j->reference, &j->reference_field);
    return status;
}

static enum vmt_status draw(score_job *j, const cli_options *o)
{
    const score_side *a = j->reference_side, *b = j->result_side;
    enum vmt_status status = VMT_OK;

    if (o->picture) {
        status = score_picture(j->s.ctx, &j->picture, a, b, score_picture_frame(a, b), 1);
        if (status == VMT_OK)
            status = media_write_picture(j->s.ctx, &j->picture, o->picture);
        vmt_clip_free(&j->picture);
    }
    if (status == VMT_OK && o->video) {
        status = score_picture(j->s.ctx, &j->picture, a, b, 0, j->reports[0].frames);
        if (status == VMT_OK)
            status = media_write(j->s.ctx, &j->picture, o->video, NULL);
        vmt_clip_free(&j->picture);
    }
    return status;
}

static enum vmt_status score_all(score_job *j, const cli_options *o)
{
    for (int i = 0; i + 1 < o->operand_count; i++) {
        enum vmt_status status = take_result(j, o->operands[i + 1]);
        if (status == VMT_OK)
            status = take_reference(j, o->operands[0]);
        if (status == VMT_OK)
            status = score_compare(j->s.ctx, &j->reports[i], j->reference_side, j->result_side);
        if (status == VMT_OK && j->s.model)
            status =
                score_attention(j->s.ctx, &j->reports[i], &j->reference_field, &j->result_field);
        if (status == VMT_OK && j->clip_model)
            status = score_clip_model(j->s.ctx, &j->reports[i], j->clip_model, &j->result,
                                      j->s.settings.prompt);
        if (status == VMT_OK)
            status = draw(j, o);
        if (status != VMT_OK)
            return status;
        j->shapes[i] = j->result;
        j->shapes[i].pixels = NULL;
        forget_result(j);
    }
    return VMT_OK;
}

/* ---- command */

static int check_options(const cli_options *o)
{
    static const char *const free_settings[] = {"size", "frames", "fps"};
    int code = 0;

    if (o->operand_count < 2)
        return cli_fail_text(VMT_E_ARG, "score takes a reference and at least one result");
    if (o->operand_count > 2 && (o->picture || o->video))
        return cli_fail_text(VMT_E_ARG, "--%s shows one result; score the others without it",
                             o->picture ? "picture" : "video");
    if (o->picture)
        code = cli_check_output(o, o->picture, media_would_replace);
    if (!code && o->video)
        code = cli_check_output(o, o->video, media_would_replace);
    if (code || o->paths.dir || o->paths.dit)
        return code;
    if (o->preset)
        return cli_fail_text(VMT_E_ARG, "--preset needs a model: -m DIR");
    for (int i = 0; i < o->setting_count; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof free_settings / sizeof *free_settings; k++)
            known |= !strcmp(o->settings[i].name, free_settings[k]);
        known |= o->clip && !strcmp(o->settings[i].name, "prompt");
        if (!known && !strcmp(o->settings[i].name, "prompt"))
            return cli_fail_text(VMT_E_ARG,
                                 "--prompt needs weights to compare it with: --clip DIR");
        if (!known)
            return cli_fail_text(VMT_E_ARG, "--%s needs a model: -m DIR", o->settings[i].name);
    }
    return 0;
}

static enum vmt_status check_outputs(const score_job *j, const cli_options *o)
{
    enum vmt_status status = VMT_OK;

    if (o->picture)
        status = media_check_picture(j->s.ctx, o->picture);
    if (status == VMT_OK && o->video)
        status = media_check_output(j->s.ctx, o->video, NULL);
    return status;
}

static int run(score_job *j, const cli_options *o)
{
    enum vmt_status status = j->s.model ? VMT_OK : cli_fill_settings(&j->s, NULL);

    cli_reporter_init(&j->reporter, o);
    if (status == VMT_OK)
        status = check_outputs(j, o);
    if (status == VMT_OK && o->clip)
        status = vmt_clip_model_open(j->s.ctx, &j->clip_model, o->clip);
    if (status == VMT_OK)
        status = score_all(j, o);
    cli_reporter_finish(&j->reporter, j->seconds);
    if (status != VMT_OK)
        return cli_fail(&j->s, status);
    if (o->json)
        return print_json(j, o);
    print_table(j, o);
    return 0;
}

int cli_score(cli_options *o)
{
    score_job j = {0};
    int code = check_options(o);

    if (code)
        return code;
    code = cli_session_open(&j.s, o, o->paths.dir || o->paths.dit);
    j.reports = calloc((size_t)o->operand_count, sizeof *j.reports);
    j.shapes = calloc((size_t)o->operand_count, sizeof *j.shapes);
    if (!code && (!j.reports || !j.shapes))
        code = cli_fail_text(VMT_E_MEMORY, "out of memory");
    if (!code)
        code = run(&j, o);
    forget_result(&j);
    forget_reference(&j);
    vmt_clip_model_close(j.s.ctx, j.clip_model);
    free(j.reports);
    free(j.shapes);
    cli_session_close(&j.s);
    return code;
}
