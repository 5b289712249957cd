/* SPDX-License-Identifier: MIT
 *
 * Arms against each other, over the cases that both have: same clip, prompt and seed.
 */
#include "table/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- pairs */

static const table_row *find_twin(const table_report *r, const char *arm, const table_row *of)
{
    for (int64_t i = 0; i < r->results->count; i++) {
        const table_row *row = &r->results->rows[i];
        if (!row->error && row->seed == of->seed && !strcmp(row->arm, arm) &&
            !strcmp(row->clip, of->clip) && !strcmp(row->prompt, of->prompt))
            return row;
    }
    return NULL;
}

/* Number of the clip among those of the pairs so far. */
static int32_t group_of(const table_row **rows, table_pairs *pairs, const table_row *row)
{
    for (int64_t i = 0; i < pairs->count; i++)
        if (!strcmp(rows[i]->clip, row->clip))
            return pairs->group[i];
    return pairs->groups++;
}

/* baseline NULL: none. */
static enum vmt_status collect(const table_report *r, table_pairs *pairs, const char *a,
                               const char *b, const char *baseline, const score_kind *score)
{
    const size_t most = (size_t)r->results->count + 1;
    const table_row **rows;

    *pairs = (table_pairs){0};
    VMT_TRY(vmt_alloc(r->ctx, (void **)&rows, most, sizeof *rows));
    enum vmt_status status =
        vmt_alloc(r->ctx, (void **)&pairs->difference, most, sizeof *pairs->difference);
    if (status == VMT_OK)
        status = vmt_alloc(r->ctx, (void **)&pairs->gain, most, sizeof *pairs->gain);
    if (status == VMT_OK)
        status = vmt_alloc(r->ctx, (void **)&pairs->group, most, sizeof *pairs->group);
    for (int64_t i = 0; status == VMT_OK && i < r->results->count; i++) {
        const table_row *x = &r->results->rows[i];
        double of_a, of_b, of_none = 0;
        if (x->error || strcmp(x->arm, a) != 0)
            continue;
        const table_row *y = find_twin(r, b, x), *z = baseline ? find_twin(r, baseline, x) : NULL;
        if (!y || (baseline && !z) || !table_row_score(x, score->name, &of_a) ||
            !table_row_score(y, score->name, &of_b) ||
            (z && !table_row_score(z, score->name, &of_none)))
            continue;
        const double good_b = report_goodness(score, of_b);
        pairs->difference[pairs->count] = report_goodness(score, of_a) - good_b;
        pairs->gain[pairs->count] = good_b - report_goodness(score, of_none);
        pairs->group[pairs->count] = group_of(rows, pairs, x);
        rows[pairs->count++] = x;
    }
    vmt_free(rows);
    if (status != VMT_OK)
        table_pairs_free(pairs);
    return status;
}

static const char *turned(const score_kind *score)
{
    return score->better == SCORE_LOWER      ? " (sign turned)"
           : score->better == SCORE_NEAR_ONE ? " (minus distance from 1)"
                                             : "";
}

static double share_won(const table_pairs *pairs)
{
    int64_t won = 0;

    for (int64_t i = 0; i < pairs->count; i++)
        won += pairs->difference[i] > 0;
    return pairs->count ? (double)won / (double)pairs->count : 0;
}

/* ---- every arm against one */

static enum vmt_status compare_row(table_report *r, const char *a, const char *b,
                                   const score_kind *score)
{
    char cells[7][128];
    table_interval pairs_at, clips_at = {0};
    table_pairs pairs;

    VMT_TRY(collect(r, &pairs, a, b, NULL, score));
    enum vmt_status status = table_bootstrap(r->ctx, &pairs_at, pairs.difference, pairs.count);
    if (status == VMT_OK)
        status = table_bootstrap_groups(r->ctx, &clips_at, pairs.difference, pairs.group,
                                        pairs.count, pairs.groups);
    const double mean = table_mean(pairs.difference, pairs.count);
    snprintf(cells[0], 128, "%.50s - %.50s", a, b);
    snprintf(cells[1], 128, "%s%s", score->name, turned(score));
    snprintf(cells[2], 128, "%lld", (long long)pairs.count);
    snprintf(cells[3], 128, "%+.4g", mean);
    snprintf(cells[4], 128, "%+.4g to %+.4g", pairs_at.low, pairs_at.high);
    if (pairs.groups > 1)
        snprintf(cells[5], 128, "%+.4g to %+.4g", clips_at.low, clips_at.high);
    else
        snprintf(cells[5], 128, "one clip");
    snprintf(cells[6], 128, "%.0f%%", 100 * share_won(&pairs));
    if (status == VMT_OK && pairs.count > 1)
        report_table_row(&r->doc,
                         (const char *const[]){cells[0], cells[1], cells[2], cells[3], cells[4],
                                               cells[5], cells[6]},
                         7);
    table_pairs_free(&pairs);
    return status;
}

static enum vmt_status compare_all(table_report *r)
{
    static const char *const main_scores[] = {"path_correlation", "fidelity", "subject_likeness",
                                              "smoothness"};
    static const char *const head[] = {
        "difference",          "score",    "pairs", "mean", "95% interval, pairs",
        "95% interval, clips", "pairs won"};
    const char *base = r->manifest->claim_count ? r->manifest->claims[0].b : r->arms[0].name;

    report_heading(&r->doc, "Paired differences");
    report_text(
        &r->doc,
        "Every arm minus %s, over the cases with the same clip, prompt and seed; more is "
        "better. Intervals: percentile bootstrap of the mean, %d draws, over the pairs and, "
        "as the seeds of a clip are not independent, over the clips' means.",
        base, (int)TABLE_DRAWS);
    report_table_begin(&r->doc, head, 7);
    for (int i = 0; i < r->arm_count; i++)
        for (size_t k = 0; k < sizeof main_scores / sizeof *main_scores; k++)
            if (strcmp(r->arms[i].name, base) != 0)
                VMT_TRY(compare_row(r, r->arms[i].name, base, report_score_of(main_scores[k])));
    report_table_end(&r->doc);
    return VMT_OK;
}

/* ---- claims */

static const char *verdict_text(enum table_verdict verdict)
{
    static const char *const words[] = {"not worse", "worse", "undecided",
                                        "no margin: the other gains nothing"};

    return words[verdict];
}

/* Lower end of the interval of difference + margin * gain, whose chance is then that of both. */
static enum vmt_status joint_interval(const table_report *r, const table_pairs *pairs,
                                      double margin, table_interval *interval)
{
    double *sum;

    VMT_TRY(vmt_alloc(r->ctx, (void **)&sum, (size_t)pairs->count + 1, sizeof *sum));
    for (int64_t i = 0; i < pairs->count; i++)
        sum[i] = pairs->difference[i] + margin * pairs->gain[i];
    const enum vmt_status status = table_bootstrap(r->ctx, interval, sum, pairs->count);
    vmt_free(sum);
    return status;
}

typedef struct claim_numbers {
    table_interval pairs, clips, joint;
    double mean, gain, deviation;
} claim_numbers;

static enum vmt_status count_claim(const table_report *r, const table_pairs *p, double margin,
                                   claim_numbers *n)
{
    *n = (claim_numbers){.mean = table_mean(p->difference, p->count),
                         .gain = table_mean(p->gain, p->count),
                         .deviation = table_deviation(p->difference, p->count)};
    VMT_TRY(table_bootstrap(r->ctx, &n->pairs, p->difference, p->count));
    VMT_TRY(
        table_bootstrap_groups(r->ctx, &n->clips, p->difference, p->group, p->count, p->groups));
    return joint_interval(r, p, margin, &n->joint);
}

/* A score of a claim that cannot be judged, and why. */
static void fill_row(report_doc *doc, const char *score, const char *why)
{
    report_table_row(doc, (const char *const[]){score, why, "", "", "", "", "", "", ""}, 9);
}

static enum vmt_status claim_row(table_report *r, const table_claim *claim, const score_kind *score)
{
    char cells[9][128];
    const char *row[9];
    claim_numbers n;
    table_pairs p;

    VMT_TRY(collect(r, &p, claim->a, claim->b, claim->baseline, score));
    if (p.count < 2) {
        fill_row(&r->doc, score->name, "fewer than two pairs");
        table_pairs_free(&p);
        return VMT_OK;
    }
    const enum vmt_status status = count_claim(r, &p, claim->margin, &n);
    const double margin = claim->margin * n.gain;
    snprintf(cells[0], 128, "%s%s", score->name, turned(score));
    snprintf(cells[1], 128, "%lld on %d clips", (long long)p.count, (int)p.groups);
    snprintf(cells[2], 128, "%+.4g", n.gain);
    snprintf(cells[3], 128, "%+.4g", -margin);
    snprintf(cells[4], 128, "%+.4g", n.mean);
    snprintf(cells[5], 128, "%+.4g to %+.4g: %s", n.pairs.low, n.pairs.high,
             verdict_text(table_judge(n.pairs, n.gain, claim->margin)));
    if (p.groups > 1)
        snprintf(cells[6], 128, "%+.4g to %+.4g: %s", n.clips.low, n.clips.high,
                 verdict_text(table_judge(n.clips, n.gain, claim->margin)));
    else
        snprintf(cells[6], 128, "one clip: %s", verdict_text(TABLE_UNDECIDED));
    snprintf(cells[7], 128, "%+.4g to %+.4g", n.joint.low, n.joint.high);
    snprintf(cells[8], 128, "sd %.4g: %.0f, for power 0.8 %.0f", n.deviation,
             table_pairs_needed(n.deviation, margin, false),
             table_pairs_needed(n.deviation, margin, true));
    for (int i = 0; i < 9; i++)
        row[i] = cells[i];
    if (status == VMT_OK)
        report_table_row(&r->doc, row, 9);
    table_pairs_free(&p);
    return status;
}

static enum vmt_status claim(table_report *r, const table_claim *c)
{
    static const char *const head[] = {"score",
                                       "pairs",
                                       "gain",
                                       "-margin",
                                       "difference",
                                       "95% interval, pairs",
                                       "95% interval, clips",
                                       "difference + margin, pairs",
                                       "pairs needed"};
    const cJSON *name;

    report_text(
        &r->doc,
        "Claim: %s is not worse than %s by more than %.3g%% of what %s gains over %s. "
        "Shown when the 95%% interval of the paired difference lies wholly above -margin; "
        "an interval that holds -margin is undecided. The last interval but one takes the "
        "margin's own chance in: shown where it lies above 0. Pairs needed: for half of the "
        "interval to be as wide as the margin, and for a power of 0.8 if both are equal.",
        c->a, c->b, 100 * c->margin, c->b, c->baseline);
    report_table_begin(&r->doc, head, 9);
    cJSON_ArrayForEach(name, c->scores)
    {
        const score_kind *score = report_score_of(name->valuestring);
        if (score)
            VMT_TRY(claim_row(r, c, score));
        else
            fill_row(&r->doc, name->valuestring, "no score of this name");
    }
    report_table_end(&r->doc);
    return VMT_OK;
}

enum vmt_status report_pairs(table_report *r)
{
    if (r->arm_count < 2)
        return VMT_OK;
    VMT_TRY(compare_all(r));
    if (r->manifest->claim_count)
        report_heading(&r->doc, "Claims");
    for (int64_t i = 0; i < r->manifest->claim_count; i++)
        VMT_TRY(claim(r, &r->manifest->claims[i]));
    return VMT_OK;
}
