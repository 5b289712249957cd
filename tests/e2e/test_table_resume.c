/* SPDX-License-Identifier: MIT
 *
 * What a table makes of a run that was cut short: results of killed runs, shards, a full disk; and
 * that a case is the transfer of its settings.
 */
#include "cli_run.h"
#include "clips.h"

#include <cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL SOURCE_ROOT "/models/tiny"
#define FOLDER "table_resume"
#define RESULTS FOLDER "/out/results.jsonl"

enum { TIMEOUT = 300 };

#define SHORT "--backend", "cpu", "--steps", "2", "--threads", "1"
#define TABLE(...)                                                                                 \
    CLI(TIMEOUT, "bench", "table", FOLDER "/cases.jsonl", "-m", MODEL, "-o", FOLDER "/out", SHORT, \
        __VA_ARGS__)

static const char cases[] =
    "# two arms\n"
    "{\"clip\":\"ref.y4m\",\"prompt\":\"a fox on snow\",\"seed\":1,"
    "\"method\":\"fastvmt\",\"settings\":{\"guided-steps\":1,\"inner-steps\":2}}\n"
    "{\"clip\":\"ref.y4m\",\"prompt\":\"a fox on snow\",\"seed\":1,"
    "\"method\":\"none\"}\n";

static void expect(cli_result r, int code, const char *output)
{
    if (r.code != code)
        fail_msg("exit code %d, wanted %d: %s%s", r.code, code, r.output, r.errors);
    assert_non_null(r.output);
    if (*output && !strstr(r.output, output))
        fail_msg("no \"%s\" in %s", output, r.output);
    cli_free(&r);
}

static char *read_text(const char *path)
{
    size_t length;
    unsigned char *bytes = file_read(path, &length);
    char *text = calloc(length + 1, 1);

    assert_non_null(bytes);
    assert_non_null(text);
    memcpy(text, bytes, length);
    free(bytes);
    return text;
}

/* The value of a key in the line at `text`. */
static cJSON *take(const char *text, const char *key)
{
    cJSON *root = cJSON_ParseWithLength(text, strcspn(text, "\n"));
    cJSON *item = cJSON_DetachItemFromObject(root, key);

    cJSON_Delete(root);
    assert_non_null(item);
    return item;
}

static void case_is_the_transfer(void **state)
{
    char path[512];
    size_t lengths[2];

    (void)state;
    expect(TABLE("--videos", "y4m"), 0, "2 cases run, 0 were there, 0 failed");
    expect(CLI(TIMEOUT, "transfer", "-m", MODEL, "-r", FOLDER "/ref.y4m", "-p", "a fox on snow",
               "-o", FOLDER "/one.y4m", "--method", "fastvmt", "--seed", "1", SHORT,
               "--guided-steps", "1", "--inner-steps", "2", "-q"),
           0, "");
    char *text = read_text(RESULTS);
    cJSON *video = take(text, "video");
    snprintf(path, sizeof path, FOLDER "/out/%s", video->valuestring);
    unsigned char *one = file_read(FOLDER "/one.y4m", &lengths[0]);
    unsigned char *two = file_read(path, &lengths[1]);
    assert_non_null(one);
    assert_non_null(two);
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(one, two, lengths[0]);
    free(one);
    free(two);
    cJSON_Delete(video);
    free(text);
}

static void cut_line_is_done_anew(void **state)
{
    char *before = read_text(RESULTS), *second = strchr(before, '\n') + 1;

    (void)state;
    file_write(RESULTS, before, (size_t)(second - before) + 40); /* killed while it wrote */
    expect(TABLE("--list"), 0, "1 cases to do");
    expect(TABLE("--videos", "none"), 0, "1 cases run, 1 were there, 0 failed");
    char *after = read_text(RESULTS);
    assert_int_equal(strncmp(before, after, (size_t)(second - before)), 0);
    const char *again = strchr(strchr(after, '\n') + 1, '\n') + 1; /* behind what was cut */
    cJSON *was = take(second, "scores"), *is = take(again, "scores");
    assert_true(cJSON_Compare(was, is, 1));
    cJSON_Delete(was);
    cJSON_Delete(is);
    expect(TABLE("--videos", "none"), 0, "0 cases run, 2 were there, 0 failed");
    free(before);
    free(after);
}

static void deleted_line_is_done_anew(void **state)
{
    char *before = read_text(RESULTS), *second = strchr(before, '\n') + 1;

    (void)state;
    file_write(RESULTS, second, strlen(second));
    expect(TABLE("--list"), 0, "to do  line 2: fastvmt");
    expect(TABLE("--videos", "none"), 0, "1 cases run, 1 were there, 0 failed");
    free(before);
}

static void shards_are_one_table(void **state)
{
    (void)state;
    folder_remove(FOLDER "/out");
    expect(TABLE("--videos", "none", "--shard", "2/2"), 0, "1 cases run, 0 were there");
    assert_false(file_exists(RESULTS));
    expect(TABLE("--list"), 0, "to do  line 2: fastvmt");
    expect(TABLE("--list"), 0, "done  line 3: none");
    expect(TABLE("--videos", "none", "--shard", "1/2"), 0, "1 cases run, 0 were there");
    expect(TABLE("--videos", "none"), 0, "0 cases run, 2 were there");
    char *report = read_text(FOLDER "/out/report.md");
    assert_non_null(strstr(report, "fastvmt"));
    assert_non_null(strstr(report, "none"));
    free(report);
}

/* Later cases would be lost, too: the table stops at the first. */
static void full_disk_stops(void **state)
{
    static const char command[] =
        "set -o pipefail; (ulimit -f 0; exec " FASTVMT_PROGRAM " bench table " FOLDER
        "/cases.jsonl -m " MODEL " -o " FOLDER "/out --videos none --backend cpu --steps 2 "
        "--threads 1) 2>&1 | cat";

    (void)state;
    folder_remove(FOLDER "/out");
    cli_result r = COMMAND(TIMEOUT, "bash", "-c", command);
    if (r.code != 4 || !strstr(r.output, "case of line 2 (fastvmt): ") ||
        !strstr(r.output, "results.jsonl: cannot be written: ") || strstr(r.output, "line 3"))
        fail_msg("exit code %d: %s", r.code, r.output);
    cli_free(&r);
    folder_remove(FOLDER "/out");
}

static int start(void **state)
{
    (void)state;
    folder_new(FOLDER);
    test_write_square(FOLDER "/ref.y4m");
    file_write(FOLDER "/cases.jsonl", cases, strlen(cases));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    folder_remove(FOLDER);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_is_the_transfer),      cmocka_unit_test(cut_line_is_done_anew),
        cmocka_unit_test(deleted_line_is_done_anew), cmocka_unit_test(shards_are_one_table),
        cmocka_unit_test(full_disk_stops),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
