/* SPDX-License-Identifier: MIT
 *
 * Tables of runs: what manifests and results may hold, the path of an object, and the statistics on
 * numbers whose answers are known.
 */
#include "testing.h"

#include "cli_run.h"
#include "table/report.h"
#include "table/subject.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmt_ctx ctx;
static char last_error[512];
static int errors;

static void on_log(void *user, enum vmt_log_level level, const char *line)
{
    (void)user;
    if (level != VMT_LOG_ERROR)
        return;
    snprintf(last_error, sizeof last_error, "%s", line);
    errors++;
}

static void write_text(const char *path, const char *text)
{
    file_write(path, text, strlen(text));
}

/* ---- manifest */

static void manifest_is_read(void **state)
{
    table_manifest m;
    (void)state;

    write_text("table.path.json", "{\"path\": [[1, 2], [3, 4.5]]}");
    write_text("table.jsonl",
               "{\"clip\": \"a.y4m\", \"prompt\": \"a fox\"}\n"
               "\n  \r\n"
               "# a comment\n"
               "{\"arm\": \"x\", \"clip\": \"b.y4m\", \"prompt\": \"p\", \"method\": \"none\", "
               "\"scores\": [\"clip\"], \"seed\": 7, \"frames\": 9, \"subject\": \"fox\", "
               "\"path\": \"table.path.json\", "
               "\"settings\": {\"steps\": 10, \"cfg\": \"4.5\", \"lr-first\": 0.25}}\n"
               "{\"claim\": {\"a\": \"x\", \"b\": \"y\", \"baseline\": \"z\", \"scores\": "
               "[\"fidelity\"], \"margin\": 0.1}}");
    CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.jsonl"));
    assert_int_equal(m.count, 2);
    assert_int_equal(m.broken, 0);
    assert_int_equal(m.claim_count, 1);
    assert_true(fabs(m.claims[0].margin - 0.1) < 1e-12);
    assert_string_equal(m.cases[0].arm, "default");
    assert_string_equal(m.cases[0].clip_file, "a.y4m");
    assert_null(m.cases[0].embeddings_file);
    assert_int_equal(m.cases[1].line, 5);
    assert_true(m.cases[1].clip_scores && !m.cases[1].attention && !m.cases[0].clip_scores);
    assert_int_equal(m.cases[1].seed, 7);
    assert_int_equal(m.cases[1].path_count, 2);
    assert_true(m.cases[1].path[1][1] == 4.5);
    assert_string_equal(cJSON_GetObjectItem(m.cases[1].settings, "steps")->valuestring, "10");
    assert_string_equal(cJSON_GetObjectItem(m.cases[1].settings, "cfg")->valuestring, "4.5");
    assert_string_equal(cJSON_GetObjectItem(m.cases[1].settings, "lr-first")->valuestring, "0.25");
    table_manifest_free(&m);
}

/* A manifest can be moved with its clips, and read from anywhere. */
static void files_lie_beside_the_manifest(void **state)
{
    static const struct {
        const char *clip, *file;
    } rows[] = {{"a.y4m", "table.beside/a.y4m"},
                {"../b/%04d.png", "table.beside/../b/%04d.png"},
                {"/c.mp4", "/c.mp4"},
                {"-", "-"}};
    char line[256];
    table_manifest m;
    (void)state;

    folder_new("table.beside");
    write_text("table.beside/path.json", "{\"path\": [[1, 2], [3, 4]]}");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(line, sizeof line,
                 "{\"clip\": \"%s\", \"prompt\": \"p\", \"embeddings\": \"%s\", \"path\": "
                 "\"path.json\"}",
                 rows[i].clip, rows[i].clip);
        write_text("table.beside/m.jsonl", line);
        CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.beside/m.jsonl"));
        assert_int_equal(m.count, 1);
        assert_string_equal(m.cases[0].clip, rows[i].clip); /* the name that results go by */
        assert_string_equal(m.cases[0].clip_file, rows[i].file);
        assert_string_equal(m.cases[0].embeddings_file, rows[i].file);
        assert_int_equal(m.cases[0].path_count, 2);
        table_manifest_free(&m);
    }
}

static void broken_lines_are_named(void **state)
{
    static const struct {
        const char *line, *text;
    } rows[] = {
        {"{\"clip\": \"a\"", "not valid JSON"},
        {"[1]", "expected one JSON object"},
        {"{\"clip\": \"a\"}", "no \"prompt\""},
        {"{\"prompt\": \"a\"}", "no \"clip\""},
        {"{\"clip\": \"\", \"prompt\": \"a\"}", "wrong value of \"clip\""},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"sed\": 1}", "unknown key \"sed\""},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"clip\": \"b\"}", "stands twice"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"seed\": -1}", "wrong value of \"seed\""},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"seed\": 1.5}", "wrong value of \"seed\""},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"settings\": [1]}", "\"settings\" is no object"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"settings\": {\"steps\": null}}", "no text"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"settings\": {\"seed\": 1}}", "beside settings"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"path\": [[1, 2]]}", "expected a list"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"path\": [[1, 2], [3]]}", "place 1 is no [x, y]"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"path\": [[1, 2], [3, 1e99]]}", "place 1"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"path\": \"absent.json\"}", "absent.json"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"scores\": 1}", "\"scores\" is no list"},
        {"{\"clip\": \"a\", \"prompt\": \"a\", \"scores\": [\"flow\"]}", "expected \"attention\""},
        {"{\"claim\": 3}", "\"claim\" is no object"},
        {"{\"claim\": {\"a\": \"x\", \"b\": \"y\"}}", "no \"baseline\""},
        {"{\"claim\": {\"a\": \"x\", \"b\": \"y\", \"baseline\": \"z\"}}", "\"scores\""},
        {"{\"claim\": {\"a\": \"x\", \"b\": \"y\", \"baseline\": \"z\", \"scores\": [1]}}",
         "\"scores\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        table_manifest m;
        snprintf(text, sizeof text,
                 "{\"clip\": \"a\", \"prompt\": \"a\"}\n%s\n{\"clip\": \"b\", \"prompt\": \"a\"}\n",
                 rows[i].line);
        write_text("table.broken.jsonl", text);
        errors = 0;
        CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.broken.jsonl"));
        if (m.count != 2 || m.broken != 1 || errors != 1 || m.claim_count != 0)
            fail_msg("%s: %d cases, %d broken, %d errors", rows[i].line, (int)m.count,
                     (int)m.broken, errors);
        if (!strstr(last_error, rows[i].text) || !strstr(last_error, "table.broken.jsonl line 2"))
            fail_msg("%s: says %s", rows[i].line, last_error);
        table_manifest_free(&m);
    }
}

/* One line that is none between two that are. */
static void check_hostile(const char *bytes, size_t length, const char *text)
{
    static const char good[] = "{\"clip\": \"a\", \"prompt\": \"a\"}";
    const size_t around = sizeof good - 1;
    char *all = malloc(length + 2 * around + 2);
    table_manifest m;

    assert_non_null(all);
    memcpy(all, good, around);
    all[around] = '\n';
    memcpy(all + around + 1, bytes, length);
    all[around + 1 + length] = '\n';
    memcpy(all + around + length + 2, good, around);
    file_write("table.hostile.jsonl", all, length + 2 * around + 2);
    free(all);
    errors = 0;
    CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.hostile.jsonl"));
    if (m.count != 2 || m.broken != 1 || errors != 1 || !strstr(last_error, text))
        fail_msg("%d cases, %d broken, %d errors, says %s", (int)m.count, (int)m.broken, errors,
                 last_error);
    table_manifest_free(&m);
}

static void hostile_lines_are_survived(void **state)
{
    enum { LONG = (1 << 20) + 1, DEEP = 300000 };
    char *line = malloc(LONG);

    (void)state;
    assert_non_null(line);
    memset(line, ' ', LONG); /* good JSON, too much of it */
    memcpy(line, "{\"clip\": \"a\", \"prompt\": \"a\"}", 28);
    check_hostile(line, LONG, "line 2: longer than 1048576 bytes");
    memcpy(line, "{\"path\":", 8);
    memset(line + 8, '[', DEEP);
    check_hostile(line, 8 + DEEP, "line 2: not valid JSON");
    memset(line, 0, 64);
    check_hostile(line, 64, "line 2: not valid JSON");
    memset(line, 0xff, 64);
    check_hostile(line, 64, "line 2: not valid JSON");
    free(line);
    remove("table.hostile.jsonl");
}

/* ---- results */

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LINE(hash, more)                                                                           \
    "{\"hash\": \"" hash "\", \"arm\": \"x\", \"clip\": \"c\", \"prompt\": \"p\", \"seed\": 1, "   \
    "\"seconds\": {\"sample\": 2, \"extract\": 1, \"decode\": 3}" more "}"

static void results_come_back(void **state)
{
    table_results r;
    double value;
    (void)state;

    folder_new("table.results");
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.results"));
    assert_int_equal(r.count, 0);
    table_results_free(&r);

    const char *file = "table.results/results.jsonl";
    CHECK_OK(&ctx, table_results_append(&ctx, file, LINE(HASH_A, ", \"error\": \"no\"")));
    CHECK_OK(&ctx, table_results_append(&ctx, file, LINE(HASH_A, ", \"scores\": {\"s\": 0.5}")));
    CHECK_OK(&ctx, table_results_append(&ctx, file, LINE(HASH_A, ", \"error\": \"late\"")));
    /* cut off by a crash: the next line stays alone */
    FILE *f = fopen(file, "a");
    fputs("{\"hash\": \"" HASH_B, f);
    fclose(f);
    CHECK_OK(&ctx, table_results_append(&ctx, file, LINE(HASH_B, ", \"error\": \"no\"")));
    CHECK_OK(&ctx, table_results_append(&ctx, "table.results/results-1-of-2.jsonl",
                                        LINE(HASH_B, ", \"scores\": {\"s\": null, \"t\": 2}")));
    write_text("table.results/results-2-of-2.jsonl", "{\"hash\": \"short\"}\n{}\n");
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.results"));
    assert_int_equal(r.count, 2);
    assert_int_equal(r.unread, 3);
    const table_row *a = table_results_find(&r, HASH_A), *b = table_results_find(&r, HASH_B);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(table_row_score(a, "s", &value) && value == 0.5);
    assert_true(a->loop_seconds == 3 && a->all_seconds == 6);
    assert_false(table_row_score(b, "s", &value));
    assert_true(table_row_score(b, "t", &value) && value == 2);
    table_results_free(&r);
}

/* ---- subject */

/* A mover of one colour on a grey ground: a disc, or a square. */
static void draw_mover(vmt_clip *clip, bool square, const uint8_t rgb[3])
{
    const int64_t pixels = clip->height * clip->width;

    memset(clip->pixels, 120, (size_t)(clip->frames * pixels * 3));
    for (int64_t i = 0; i < clip->frames * pixels; i++) {
        const double x = (double)(i % clip->width) - 24 - 6.5 * (double)(i / pixels);
        const double y = (double)(i / clip->width % clip->height) - 40;
        if (square ? fabs(x) < 18 && fabs(y) < 18 : hypot(x, y) < 20)
            memcpy(clip->pixels + 3 * i, rgb, 3);
    }
}

/* Colours tell an orange disc from a frog, shape from a square; a still clip has no subject. */
static void subject_is_told_by_colour_and_shape(void **state)
{
    static const uint8_t orange[] = {245, 130, 30}, blue[] = {36, 100, 225};
    table_subject_answer frog, disc, square;
    vmt_clip clip;
    (void)state;

    assert_true(table_subject_known("red balloon"));
    assert_false(table_subject_known("balloon"));
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, 12, 80, 120, 16));
    memset(clip.pixels, 120, 12 * 80 * 120 * 3);
    CHECK_OK(&ctx, table_subject(&ctx, &clip, "frog", &frog));
    assert_true(!frog.defined && !frog.seen);
    draw_mover(&clip, false, orange);
    CHECK_OK(&ctx, table_subject(&ctx, &clip, "orange circle", &disc));
    CHECK_OK(&ctx, table_subject(&ctx, &clip, "orange square", &square));
    CHECK_OK(&ctx, table_subject(&ctx, &clip, "frog", &frog));
    assert_true(disc.defined);
    assert_string_equal(disc.seen, "orange circle");
    print_message("disc %.3f, square %.3f, frog %.3f\n", disc.likeness, square.likeness,
                  frog.likeness);
    assert_true(disc.likeness > frog.likeness + 0.2 && disc.likeness > square.likeness);
    draw_mover(&clip, true, blue);
    CHECK_OK(&ctx, table_subject(&ctx, &clip, "blue circle", &disc));
    assert_string_equal(disc.seen, "blue square");
    vmt_clip_free(&clip);
}

/* ---- statistics */

static void intervals_hold_what_they_should(void **state)
{
    enum { N = 400 };
    double values[N];
    int32_t group[N];
    table_interval interval, groups;
    test_rng rng = {.state = 7};
    (void)state;

    for (int i = 0; i < N; i++) {
        group[i] = i % 20;
        values[i] = 1 + test_uniform(&rng);
    }
    const double mean = table_mean(values, N), half = 1.96 * table_deviation(values, N) / sqrt(N);
    CHECK_OK(&ctx, table_bootstrap(&ctx, &interval, values, N));
    assert_true(fabs(interval.low - (mean - half)) < 0.1 * half);
    assert_true(fabs(interval.high - (mean + half)) < 0.1 * half);
    /* what all of a clip's seeds share widens the interval over clips, not the other */
    for (int i = 0; i < N; i++)
        values[i] = (group[i] < 10 ? -1 : 1) + 0.01 * test_uniform(&rng);
    CHECK_OK(&ctx, table_bootstrap(&ctx, &interval, values, N));
    CHECK_OK(&ctx, table_bootstrap_groups(&ctx, &groups, values, group, N, 20));
    assert_true(groups.high - groups.low > 3 * (interval.high - interval.low));
}

static void claims_are_judged(void **state)
{
    (void)state;
    assert_int_equal(table_judge((table_interval){-0.03, 0.2}, 0.8, 0.05), TABLE_SHOWN);
    assert_int_equal(table_judge((table_interval){-0.05, 0.2}, 0.8, 0.05), TABLE_UNDECIDED);
    assert_int_equal(table_judge((table_interval){-0.2, -0.05}, 0.8, 0.05), TABLE_REFUTED);
    assert_int_equal(table_judge((table_interval){0.1, 0.2}, -0.1, 0.05), TABLE_NO_GAIN);
    /* sd 0.3 in pairs, margin 0.05 * 0.7 */
    assert_int_equal((int)table_pairs_needed(0.3, 0.035, false), 283);
    assert_int_equal((int)table_pairs_needed(0.3, 0.035, true), 577);
    assert_int_equal((int)table_pairs_needed(0.3, 0, true), 0);
}

/* ---- report */

static void fill_results(const char *folder)
{
    static const char *const arms[] = {"good", "same", "bare <&|>"};
    char path[256], line[1024];

    folder_new(folder);
    snprintf(path, sizeof path, "%s/results.jsonl", folder);
    for (int arm = 0; arm < 3; arm++)
        for (int clip = 0; clip < 5; clip++)
            for (int seed = 0; seed < 4; seed++) {
                const double noise = 0.01 * ((clip * 7 + seed * 3 + arm * 5) % 11 - 5);
                snprintf(line, sizeof line,
                         "{\"hash\":\"%062d%02d\",\"arm\":\"%s\",\"clip\":\"clip%d\","
                         "\"prompt\":\"p\",\"seed\":%d,\"seconds\":{\"sample\":%d},\"losses\":[[3,"
                         "2],[1,null]],\"scores\":{\"path_correlation\":%.4f,\"fidelity\":%.4f}}",
                         arm, clip * 10 + seed, arms[arm], clip, seed, 1 + arm,
                         (arm == 2 ? 0.1 : 0.8) + noise, (arm == 2 ? 0.4 : 0.6) + noise);
                CHECK_OK(&ctx, table_results_append(&ctx, path, line));
            }
}

static void report_says_what_is_there(void **state)
{
    table_manifest m;
    table_results r;
    size_t length[2];
    (void)state;

    fill_results("table.report");
    write_text("table.claim.jsonl",
               "{\"claim\": {\"a\": \"good\", \"b\": \"same\", \"baseline\": \"bare <&|>\", "
               "\"scores\": [\"path_correlation\", \"nothing\"]}}\n");
    CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.claim.jsonl"));
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.report"));
    CHECK_OK(&ctx, table_report_write(&ctx, &r, &m, "table.report"));
    char *first = (char *)file_read("table.report/report.md", &length[0]);
    char *page = (char *)file_read("table.report/report.html", &length[1]);
    assert_non_null(memmem(first, length[0], "| good | 20 | 0 |", 17));
    assert_non_null(memmem(first, length[0], ": not worse |", 13));
    assert_non_null(memmem(first, length[0], "| 20 on 5 clips |", 17));
    assert_non_null(memmem(page, length[1], "bare &lt;&amp;|&gt;", 19));
    assert_null(memmem(page, length[1], "bare <", 6));
    assert_null(memmem(first, length[0], "nan", 3));
    assert_non_null(memmem(first, length[0], "| nothing | no score of this name |", 35));
    assert_non_null(memmem(page, length[1], "<polyline", 9));
    assert_non_null(memmem(page, length[1], "<polygon", 8));
    CHECK_OK(&ctx, table_report_write(&ctx, &r, &m, "table.report"));
    size_t again_length;
    char *again = (char *)file_read("table.report/report.html", &again_length);
    assert_int_equal(again_length, length[1]);
    assert_memory_equal(page, again, again_length);
    free(first);
    free(page);
    free(again);
    table_results_free(&r);
    table_manifest_free(&m);
}

/* Of three cases: the second loss over the first is 0.25, 0.5, 1. */
static void loss_band_is_the_quartiles(void **state)
{
    static const char *const losses[] = {"[[2,1]]", "[[4],[1]]", "[[3,null,3],[],[3]]"};
    const table_manifest none = {0};
    table_report_texts texts;
    table_results r;
    char line[512];
    (void)state;

    folder_new("table.losses");
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof line,
                 "{\"hash\":\"%064d\",\"arm\":\"a\",\"clip\":\"c\",\"prompt\":\"p\",\"seed\":%d,"
                 "\"seconds\":{\"sample\":1},\"losses\":%s,\"scores\":{}}",
                 i, i, losses[i]);
        CHECK_OK(&ctx, table_results_append(&ctx, "table.losses/results.jsonl", line));
    }
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.losses"));
    CHECK_OK(&ctx, table_report_render(&ctx, &r, &none, "table.losses", &texts));
    /* 640 by 360 from (70, 20): 4 points, 0 to 1; the second has two cases, quartiles 0.3125 and
     * 0.4375 */
    if (!strstr(texts.html, "<polygon fill=\"#1b6ca8\" fill-opacity=\"0.15\" "
                            "points=\"70.0,20.0 230.0,222.5 390.0,20.0 550.0,20.0 550.0,20.0 "
                            "390.0,20.0 230.0,267.5 70.0,20.0 \"/>") ||
        !strstr(texts.html, "points=\"70.0,20.0 230.0,245.0 390.0,20.0 550.0,20.0 \"/>"))
        fail_msg("%s", strstr(texts.html, "<polygon"));
    table_report_texts_free(&texts);
    table_results_free(&r);
}

/* A score that a case has not is no number in a mean; how many have it is said.  What should be
 * near 1 is compared by its distance from it. */
static void undefined_scores_are_counted(void **state)
{
    static const char *const speeds[2][3] = {{"1.5", "null", "0.5"}, {"1", "1", "0.9"}};
    table_manifest m;
    table_report_texts texts;
    table_results r;
    char line[512];
    (void)state;

    folder_new("table.undefined");
    for (int i = 0; i < 6; i++) {
        snprintf(line, sizeof line,
                 "{\"hash\":\"%064d\",\"arm\":\"%c\",\"clip\":\"c%d\",\"prompt\":\"p\",\"seed\":1,"
                 "\"seconds\":{\"sample\":1},\"scores\":{\"speed_ratio\":%s}}",
                 i, "ab"[i / 3], i % 3, speeds[i / 3][i % 3]);
        CHECK_OK(&ctx, table_results_append(&ctx, "table.undefined/results.jsonl", line));
    }
    write_text("table.undefined.jsonl", "{\"claim\": {\"a\": \"a\", \"b\": \"b\", \"baseline\": "
                                        "\"a\", \"scores\": [\"speed_ratio\"]}}\n");
    CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.undefined.jsonl"));
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.undefined"));
    CHECK_OK(&ctx, table_report_render(&ctx, &r, &m, "table.undefined", &texts));
    assert_non_null(strstr(texts.markdown, "| a | 1.000 ± 0.500 (2) |"));
    assert_non_null(strstr(texts.markdown, "| b | 0.967 ± 0.033 |"));
    /* -0.5 and -0.4; the second clip is no pair */
    assert_non_null(strstr(texts.markdown, "| speed\\_ratio (minus distance from 1) | 2 on 2 clips "
                                           "| +0.45 |"));
    table_report_texts_free(&texts);
    table_results_free(&r);
    table_manifest_free(&m);
}

/* A case that was run again counts once, a verdict over one clip is none, numbers beyond what an
 * axis can tell apart end. */
static void report_is_not_fooled(void **state)
{
    static const char *const scores[] = {"0.5", "0.9", "1e16", "10000000000000002"};
    char path[] = "table.fooled/results.jsonl", line[512];
    table_manifest m;
    table_results r;
    size_t length;
    (void)state;

    folder_new("table.fooled");
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof line,
                 "{\"hash\":\"%064d\",\"arm\":\"%s\",\"clip\":\"c\",\"prompt\":\"p\",\"seed\":%d,"
                 "\"seconds\":{\"sample\":1},\"losses\":[],\"scores\":{\"fidelity\":%s}}",
                 i, i < 3 ? "a" : "b", i < 2 ? 1 : 2, scores[i]);
        CHECK_OK(&ctx, table_results_append(&ctx, path, line));
    }
    for (int arm = 0; arm < 3; arm++)
        for (int seed = 3; seed < 7; seed++) {
            snprintf(
                line, sizeof line,
                "{\"hash\":\"%063d%d\",\"arm\":\"%c\",\"clip\":\"c\",\"prompt\":\"p\",\"seed\":%d,"
                "\"seconds\":{\"sample\":1},\"losses\":[],\"scores\":{\"smoothness\":%d}}",
                arm + 1, seed, "abn"[arm], seed, "\3\4\1"[arm] + seed % 2);
            CHECK_OK(&ctx, table_results_append(&ctx, path, line));
        }
    write_text("table.fooled.jsonl",
               "{\"claim\": {\"a\": \"a\", \"b\": \"b\", \"baseline\": \"n\", "
               "\"scores\": [\"smoothness\", \"fidelity\"]}}\n");
    CHECK_OK(&ctx, table_manifest_read(&ctx, &m, "table.fooled.jsonl"));
    CHECK_OK(&ctx, table_results_read(&ctx, &r, "table.fooled"));
    assert_int_equal(r.count, 16);
    assert_true(table_results_replaced(&r, 0) && !table_results_replaced(&r, 1));
    CHECK_OK(&ctx, table_report_write(&ctx, &r, &m, "table.fooled"));
    char *text = (char *)file_read("table.fooled/report.md", &length);
    assert_non_null(memmem(text, length, "1 older results are left out", 28));
    assert_non_null(memmem(text, length, "| one clip: undecided |", 23));
    assert_non_null(memmem(text, length, "| fidelity | fewer than two pairs |", 35));
    free(text);
    table_results_free(&r);
    table_manifest_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest_is_read),
        cmocka_unit_test(files_lie_beside_the_manifest),
        cmocka_unit_test(broken_lines_are_named),
        cmocka_unit_test(hostile_lines_are_survived),
        cmocka_unit_test(results_come_back),
        cmocka_unit_test(claims_are_judged),
        cmocka_unit_test(report_is_not_fooled),
        cmocka_unit_test(loss_band_is_the_quartiles),
        cmocka_unit_test(undefined_scores_are_counted),
        cmocka_unit_test(intervals_hold_what_they_should),
        cmocka_unit_test(report_says_what_is_there),
        cmocka_unit_test(subject_is_told_by_colour_and_shape),
    };

    vmt_ctx_init(&ctx);
    ctx.log = on_log;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
