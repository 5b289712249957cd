/* SPDX-License-Identifier: MIT
 *
 * The scores of one case of a table.
 */
#include "table_run.h"

#include "table/subject.h"

#include <math.h>
#include <string.h>

/* null stands for undefined. */
static bool add_score(cJSON *scores, const char *name, bool defined, double value)
{
    return defined && isfinite(value) ? cJSON_AddNumberToObject(scores, name, value) != NULL
                                      : cJSON_AddNullToObject(scores, name) != NULL;
}

static enum vmt_status score_path(table_run *r, const table_case *c, const vmt_clip *result,
                                  cJSON *scores)
{
    const int64_t count = c->path_count < result->frames ? c->path_count : result->frames;
    double(*seen)[2] = NULL, correlation = 0, distance = 0;

    VMT_TRY(vmt_alloc(r->s.ctx, (void **)&seen, (size_t)result->frames, sizeof *seen));
    enum vmt_status status = table_track(r->s.ctx, result, seen);
    if (status == VMT_OK) {
        const bool moves = table_path_agreement(&correlation, &distance, seen, c->path, count);
        if (!add_score(scores, "path_correlation", moves, correlation) ||
            !add_score(scores, "path_distance", true, distance))
            status = vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the scores");
    }
    vmt_free(seen);
    return status;
}

static enum vmt_status score_subject(table_run *r, const table_case *c, const vmt_clip *result,
                                     cJSON *line, cJSON *scores)
{
    table_subject_answer s;

    VMT_TRY(table_subject(r->s.ctx, result, c->subject, &s));
    return add_score(scores, "subject_found", s.defined, s.seen && !strcmp(s.seen, c->subject)) &&
                   add_score(scores, "subject_likeness", s.defined, s.likeness) &&
                   (!s.seen || cJSON_AddStringToObject(line, "subject_seen", s.seen))
               ? VMT_OK
               : vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the scores");
}

/* The field that the model's own settings find with method fastvmt, the same for every arm. */
static enum vmt_status find_field(table_run *r, const vmt_clip *clip, vmt_motion_field *field)
{
    const vmt_transfer_io io = {.reference = clip, .field = field};
    const vmt_settings own = r->s.settings;
    enum vmt_status status = cli_fill_settings(&r->s, "fastvmt");

    if (status == VMT_OK)
        status = vmt_extract(r->s.ctx, r->s.model, &r->s.settings, &io, NULL);
    r->s.settings = own;
    return status;
}

/* The reference's field is found once for all cases that ask. */
static enum vmt_status attention(table_run *r, table_clip *clip, const vmt_clip *result,
                                 score_report *report)
{
    vmt_motion_field field = {0};
    enum vmt_status status = VMT_OK;

    if (!clip->field.flow)
        status = find_field(r, &clip->clip, &clip->field);
    if (status == VMT_OK)
        status = find_field(r, result, &field);
    if (status == VMT_OK)
        status = score_attention(r->s.ctx, report, &clip->field, &field);
    vmt_motion_field_free(&field);
    return status;
}

static bool is_asked(const table_case *c, enum score_id id)
{
    if (id == SCORE_CLIP_TEXT || id == SCORE_CLIP_FRAMES)
        return c->clip_scores;
    return c->attention || (id != SCORE_ATTENTION_COSINE && id != SCORE_ATTENTION_ERROR);
}

static enum vmt_status score_motion(table_run *r, const table_case *c, table_clip *clip,
                                    const vmt_clip *result, cJSON *scores)
{
    score_side *side = NULL;
    score_report report;
    bool good = true;

    if (!clip->side)
        VMT_TRY(score_analyse(r->s.ctx, &clip->side, &clip->clip));
    enum vmt_status status = score_analyse(r->s.ctx, &side, result);
    if (status == VMT_OK)
        status = score_compare(r->s.ctx, &report, clip->side, side);
    score_side_free(side);
    if (status == VMT_OK && c->attention)
        status = attention(r, clip, result, &report);
    if (status == VMT_OK && c->clip_scores)
        status = score_clip_model(r->s.ctx, &report, r->clip_model, result, c->prompt);
    for (int id = 0; status == VMT_OK && good && id < SCORE_COUNT; id++)
        if (is_asked(c, (enum score_id)id))
            good = add_score(scores, score_kind_of((enum score_id)id)->name,
                             report.values[id].defined, report.values[id].value);
    return good ? status : vmt_fail(r->s.ctx, VMT_E_MEMORY, "out of memory for the scores");
}

enum vmt_status table_score(table_run *r, const table_case *c, table_clip *clip,
                            const vmt_clip *result, cJSON *line)
{
    const bool small = result->width < SCORE_LEAST_SIDE || result->height < SCORE_LEAST_SIDE;
    cJSON *scores = cJSON_GetObjectItem(line, "scores");

    if (c->path)
        VMT_TRY(score_path(r, c, result, scores));
    if (c->subject && table_subject_known(c->subject))
        VMT_TRY(score_subject(r, c, result, line, scores));
    return small || result->frames < 2 ? VMT_OK : score_motion(r, c, clip, result, scores);
}
