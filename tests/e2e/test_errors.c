/* SPDX-License-Identifier: MIT
 *
 * The bad-input table: each row is run, and docs/errors.md must be what this program writes.
 *
 *     test_errors           run every row, compare the document
 *     test_errors --write   run every row, write the document
 *     test_errors --show    print what each row gives now
 */
#include "bad_input.h"

#include "error_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOCUMENT SOURCE_ROOT "/docs/errors.md"

static const char head[] =
    "# Bad input, and what is said about it\n"
    "\n"
    "Whatever is wrong, the program prints one line on stderr, ends with the exit code of its kind "
    "and leaves no file behind. This\n"
    "table is written by `test_errors --write` and every row of it is run by the tests; `…` stands "
    "for what differs between machines.\n"
    "\n"
    "| exit code | kind |\n"
    "| --- | --- |\n"
    "| 1 | a fault of this program or of a library below it |\n"
    "| 2 | an argument or option is out of range, or two contradict |\n"
    "| 3 | out of memory, or the plan is larger than what is free |\n"
    "| 4 | a file cannot be opened, read or written |\n"
    "| 5 | a file is corrupt, truncated or of another kind than named |\n"
    "| 6 | well-formed files that do not make the model |\n"
    "| 7 | a motion file or stored run made with other settings or another model |\n"
    "| 8 | NaN or infinity appeared |\n"
    "| 9 | this build or backend cannot do it |\n"
    "| 130 | stopped by a signal; the line is followed by the command that goes on |\n"
    "\n"
    "In the rows `model` is the bundled tiny model, `ref.y4m` a good reference of 9 frames, 64x48; "
    "`transfer` stands for\n"
    "`transfer -m model -r ref.y4m -p \"a red car on snow\" -o out.y4m -q`, to which the row's "
    "options are added.\n";

/* ---- documents are gathered in memory */

static void say(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', to); /* else it ends the cell */
        if ((unsigned char)*text == 0xff)
            fputs("\\xff", to);
        else
            fputc(*text, to);
    }
}

static void write_row(FILE *to, const error_row *row)
{
    fprintf(to, "| ");
    say(to, row->what);
    fprintf(to, " | `");
    for (int i = 0; row->arguments[i]; i++) {
        const char *word = row->arguments[i], *quote = !*word || strchr(word, ' ') ? "\"" : "";
        fprintf(to, "%s%s", i ? " " : "", quote);
        say(to, word);
        fputs(quote, to);
    }
    fprintf(to, "` | %d | `", row->code);
    say(to, row->line);
    fprintf(to, "` |\n");
}

static char *make_document(void)
{
    char *text = NULL;
    size_t size;
    const char *group = "";
    FILE *to = open_memstream(&text, &size);

    assert_non_null(to);
    fputs(head, to);
    for (size_t i = 0; i < error_row_count; i++) {
        const error_row *row = &error_rows[i];
        if (strcmp(group, row->group))
            fprintf(to,
                    "\n## %s\n\n| what is wrong | command | exit | printed after `fastvmt: ` |\n| "
                    "--- | --- | --- | --- |\n",
                    row->group);
        group = row->group;
        write_row(to, row);
    }
    fclose(to);
    return text;
}

/* ---- running a row */

static bool matches(const char *line, const char *pattern)
{
    static const char any[] = "…";
    const size_t length = strlen(any);

    for (; *pattern; pattern++, line++) {
        if (!strncmp(pattern, any, length)) {
            for (const char *rest = line;; rest++) {
                if (matches(rest, pattern + length))
                    return true;
                if (!*rest)
                    return false;
            }
        }
        if (*line != *pattern)
            return false;
    }
    return !*line;
}

static bool is_whole(const char *const *arguments)
{
    bool output = false, prompt = false;

    for (; *arguments; arguments++) {
        output = output || !strcmp(*arguments, "-o");
        prompt = prompt || !strcmp(*arguments, "-p");
    }
    return output && prompt;
}

/* "transfer" alone stands for a whole short run. */
static void command_line(const char *const *arguments, const char **full)
{
    static const char *const transfer[] = {
        "transfer",          "-m", "model",   "-r", "ref.y4m", "-p",
        "a red car on snow", "-o", "out.y4m", "-q"};
    int count = 0, at = 0;

    if (!strcmp(arguments[0], "transfer") && !is_whole(arguments)) {
        for (size_t i = 0; i < sizeof transfer / sizeof *transfer; i++)
            full[count++] = transfer[i];
        at = 1;
    }
    for (; arguments[at]; at++)
        full[count++] = arguments[at];
    full[count] = NULL;
}

static cli_result run_row(const error_row *row)
{
    const char *full[64];

    if (row->make)
        row->make();
    command_line(row->arguments, full);
    return cli_run(full, 120);
}

static int check_row(const error_row *row)
{
    unlink("out.y4m");
    const int before = folder_count(".");
    cli_result result = run_row(row);
    char *end = strchr(result.errors, '\n');
    int wrong = 1;

    if (end)
        *end = '\0';
    const char *line = strncmp(result.errors, "fastvmt: ", 9) ? result.errors : result.errors + 9;
    const int now = folder_count(".");
    if (result.signal || result.timed_out)
        print_message("%s: signal %d%s\n", row->what, result.signal,
                      result.timed_out ? ", timed out" : "");
    else if (result.code != row->code || !matches(line, row->line))
        print_message("%s: expected %d: %s\n%*s  got %d: %s\n", row->what, row->code, row->line,
                      (int)strlen(row->what), "", result.code, result.errors);
    else if (!end || end[1] || line == result.errors || result.output[0])
        print_message("%s: not one line: %s\n%s\n", row->what, result.errors, end ? end + 1 : "");
    else if (!row->make && now != before)
        print_message("%s: %d entries in the folder, %d before\n", row->what, now, before);
    else if (file_exists("out.y4m"))
        print_message("%s: left out.y4m\n", row->what);
    else
        wrong = 0;
    cli_free(&result);
    return wrong;
}

static void every_row(void **state)
{
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < error_row_count; i++)
        wrong += check_row(&error_rows[i]);
    assert_int_equal(wrong, 0);
    assert_true(error_row_count >= 60);
    print_message("%zu rows\n", error_row_count);
}

static void document(void **state)
{
    size_t length;
    char *text = make_document();
    unsigned char *there = file_read(DOCUMENT, &length);

    (void)state;
    if (length != strlen(text) || memcmp(text, there, length) != 0)
        fail_msg("docs/errors.md is not what the rows say: run test_errors --write");
    free(there);
    free(text);
}

static int show(void)
{
    for (size_t i = 0; i < error_row_count; i++) {
        cli_result result = run_row(&error_rows[i]);
        printf("%zu\t%s\t%d\t%s", i, error_rows[i].what, result.code, result.errors);
        cli_free(&result);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(document),
    };

    if (!TEST_HAS_SENTENCEPIECE || !TEST_HAS_LIBAV) {
        puts("SKIPPED: some rows need sentencepiece and libav");
        return 77;
    }
    folder_new("errors");
    if (chdir("errors"))
        return 1;
    write_y4m("ref.y4m", "YUV4MPEG2 W64 H48 F16:1 Ip A1:1 C444", 9, 3 * 64 * 48);
    link_model("model", NULL);
    error_rows_prepare();
    if (argc > 1 && !strcmp(argv[1], "--show"))
        return show();
    if (argc > 1 && !strcmp(argv[1], "--write")) {
        char *text = make_document();
        file_write(DOCUMENT, text, strlen(text));
        free(text);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
