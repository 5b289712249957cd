/* SPDX-License-Identifier: MIT
 *
 * Runs the program as a user does and looks at what it leaves behind.
 */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "testing.h"

typedef struct cli_result {
    int code;       /* exit code, or -1 when it was killed */
    int signal;     /* that killed it, or 0 */
    bool timed_out; /* killed by us */
    char *output;   /* NUL-terminated; cli_free */
    char *errors;
    double seconds;
    long max_rss_kib; /* peak memory of the process */
} cli_result;

/* Runs the program with these arguments (NULL-terminated, without the program's name) in the
 * current folder; killed after `timeout` seconds. */
cli_result cli_run(const char *const *arguments, int timeout);

/* The same for any program on PATH. */
cli_result command_run(const char *const *argv, int timeout);

void cli_free(cli_result *result);

#define CLI(timeout, ...) cli_run((const char *const[]){__VA_ARGS__, NULL}, timeout)
#define COMMAND(timeout, ...) command_run((const char *const[]){__VA_ARGS__, NULL}, timeout)

/* Fails the test unless the program refused: exit code `code`, stdout empty, exactly one line on
 * stderr that begins with "fastvmt: " and holds `text`.  Frees the result. */
void cli_check_refused(const char *label, cli_result *result, int code, const char *text);

/* Whole small files, and whether something of that name exists. */
void file_write(const char *path, const void *bytes, size_t length);
unsigned char *file_read(const char *path, size_t *length);
void file_copy(const char *to, const char *from);
bool file_exists(const char *path);

/* A fresh empty folder below the current one, named after the test; deleted first if it is there.
 */
void folder_new(const char *path);

/* A file, or a folder with all that is in it; nothing happens when it is not there. */
void folder_remove(const char *path);

/* Number of entries of a folder. */
int folder_count(const char *path);

#endif
