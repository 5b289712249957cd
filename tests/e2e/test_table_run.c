/* SPDX-License-Identifier: MIT
 *
 * `fastvmt bench table` as a user runs it, with the tiny model and few steps: what runs, what is
 * kept, what a second run does, and what a broken line does.
 */
#include "cli_run.h"
#include "clips.h"
#include "motion_clips.h"

#include "media/media.h"

#include <cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT = 300 };

#define MODEL SOURCE_ROOT "/models/tiny"
#define TABLE(...)                                                                                 \
    CLI(TIMEOUT, "bench", "table", "table_run_in/table_run.jsonl", "-m", MODEL, "-o", "table_run", \
        "--backend", "cpu", "--steps", "2", "--inner-steps", "2", __VA_ARGS__)

/* A manifest and its clip, in a folder of their own. */
static void write_manifest(const char *more)
{
    char text[2048];

    folder_new("table_run_in");
    test_write_square("table_run_in/table_run.y4m");
    snprintf(
        text, sizeof text,
        "{\"arm\":\"guided\",\"clip\":\"table_run.y4m\",\"prompt\":\"a fox on snow\",\"seed\":1,"
        "\"settings\":{\"guided-steps\":1},\"path\":[[1,1],[40,1],[1,1],[40,1]]}\n"
        "{\"arm\":\"bare\",\"method\":\"none\",\"clip\":\"table_run.y4m\","
        "\"prompt\":\"a fox on snow\",\"seed\":1}\n%s",
        more);
    file_write("table_run_in/table_run.jsonl", text, strlen(text));
}

static void expect(cli_result r, int code, const char *output, const char *error)
{
    if (r.code != code)
        fail_msg("exit code %d, wanted %d: %s%s", r.code, code, r.output, r.errors);
    if (!strstr(r.output, output))
        fail_msg("no \"%s\" in %s", output, r.output);
    if (*error ? !strstr(r.errors, error) : r.errors[0] != 0)
        fail_msg("no \"%s\" in errors: %s", error, r.errors);
    cli_free(&r);
}

/* Line `at` of the results. */
static cJSON *result_at(int at)
{
    size_t length;
    char *text = (char *)file_read("table_run/results.jsonl", &length), *line = text;

    for (int i = 0; i < at; i++) {
        line = memchr(line, '\n', length - (size_t)(line - text));
        assert_non_null(line);
        line++;
    }
    cJSON *root = cJSON_ParseWithLength(line, length - (size_t)(line - text));
    free(text);
    assert_non_null(root);
    return root;
}

static void cases_run_once(void **state)
{
    (void)state;
    folder_remove("table_run");
    write_manifest("{\"clip\":\"table_run.y4m\"}\n");
    expect(TABLE("--list"), 5, "2 cases to do; no times", "table_run.jsonl line 3: no \"prompt\"");
    assert_false(file_exists("table_run"));
    expect(TABLE("--videos", "gif"), 5, "2 cases run, 0 were there, 0 failed", "line 3");
    cJSON *first = result_at(0);
    const cJSON *scores = cJSON_GetObjectItem(first, "scores");
    const cJSON *losses = cJSON_GetObjectItem(first, "losses");
    assert_string_equal(cJSON_GetObjectItem(first, "arm")->valuestring, "guided");
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(scores, "path_correlation")));
    assert_true(cJSON_HasObjectItem(scores, "fidelity"));
    assert_int_equal(cJSON_GetArraySize(losses), 1);
    assert_int_equal(cJSON_GetArraySize(losses->child), 2);
    assert_int_equal(cJSON_GetObjectItem(first, "gradients")->valueint, 1);
    assert_int_equal(cJSON_GetObjectItem(first, "inner_steps")->valueint, 2);
    assert_true(cJSON_GetObjectItem(cJSON_GetObjectItem(first, "seconds"), "sample")->valuedouble >
                0);
    cJSON_Delete(first);
    assert_int_equal(folder_count("table_run/videos"), 2);
    assert_true(file_exists("table_run/report.md"));
    assert_true(file_exists("table_run/report.html"));

    expect(TABLE("--videos", "none"), 5, "0 cases run, 2 were there, 0 failed", "line 3");
    expect(TABLE("--list"), 5, "0 cases to do", "line 3");
    expect(CLI(TIMEOUT, "bench", "table", "-o", "table_run", "--report"), 0, "wrote table_run", "");
    /* the page's references are read from where the manifest lies, too */
    expect(TABLE("--report"), 5, "wrote table_run", "line 3");
    size_t length;
    char *page = (char *)file_read("table_run/report.html", &length);
    assert_non_null(memmem(page, length, "data:image/gif", 14));
    assert_null(memmem(page, length, "(cannot be read)", 16));
    free(page);
}

static void failures_leave_the_rest(void **state)
{
    (void)state;
    folder_remove("table_run");
    write_manifest("{\"arm\":\"gone\",\"clip\":\"absent.y4m\",\"prompt\":\"a fox\"}\n"
                   "{\"arm\":\"odd\",\"clip\":\"table_run.y4m\",\"prompt\":\"a fox\","
                   "\"settings\":{\"steps\":\"many\"}}\n");
    expect(TABLE("--jobs", "2", "--videos", "none"), 4, "2 cases run, 0 were there, 2 failed",
           "case of line 3 (gone): table_run_in/absent.y4m");
    /* other settings are other cases */
    expect(TABLE("--videos", "none", "--cfg", "2", "--shard", "1/4"), 0,
           "1 cases run, 0 were there, 0 failed", "");
    assert_true(file_exists("table_run/results-1-of-4.jsonl"));
    assert_false(file_exists("table_run/videos"));
}

/* Scores of attention and CLIP, for the cases that ask for them. */
static void scores_that_are_asked_for(void **state)
{
    const char text[] =
        "{\"method\":\"none\",\"clip\":\"../table_run_wide.y4m\",\"prompt\":\"a fox\","
        "\"subject\":\"fox\",\"scores\":[\"attention\",\"clip\"]}\n";
    const motion_clip m = {MOTION_SHIFT, 2, 1, 0, 1, 0};
    vmt_ctx ctx;
    (void)state;

    vmt_ctx_init(&ctx);
    vmt_clip clip = motion_clip_make(&ctx, &m, 5, 64, 48);
    CHECK_OK(&ctx, media_write(&ctx, &clip, "table_run_wide.y4m", NULL));
    vmt_clip_free(&clip);
    folder_remove("table_run");
    folder_new("table_run_in");
    file_write("table_run_in/table_run.jsonl", text, strlen(text));
    expect(TABLE("--videos", "none"), 2, "1 failed", "scores of CLIP need weights: --clip DIR");
    expect(TABLE("--videos", "none", "--clip", TEST_DATA "/clip"), 0, "1 cases run, 0 were there",
           "");
    cJSON *line = result_at(0);
    const cJSON *scores = cJSON_GetObjectItem(line, "scores");
    static const char *const names[] = {"attention_error", "clip_text", "clip_frames"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!cJSON_IsNumber(cJSON_GetObjectItem(scores, names[i])))
            fail_msg("no %s", names[i]);
    assert_true(cJSON_HasObjectItem(scores, "attention_cosine"));
    assert_true(cJSON_IsString(cJSON_GetObjectItem(line, "subject_seen")));
    cJSON_Delete(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_run_once),
        cmocka_unit_test(failures_leave_the_rest),
        cmocka_unit_test(scores_that_are_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
