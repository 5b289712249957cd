/* SPDX-License-Identifier: MIT */
#include "cli_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A file without a name: a pipe would have to be drained while the program runs. */
static int open_sink(void)
{
    const int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0)
        return fd;
    char name[] = "cli_run.XXXXXX";
    const int named = mkstemp(name);
    assert_true(named >= 0);
    unlink(name);
    return named;
}

static char *read_sink(int fd)
{
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    char *text = malloc((size_t)info.st_size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)info.st_size, 0), info.st_size);
    text[info.st_size] = 0;
    close(fd);
    return text;
}

static void wait_for(pid_t pid, int timeout, cli_result *result)
{
    const double start = now();
    struct rusage usage = {0};
    int status = 0;

    while (wait4(pid, &status, WNOHANG, &usage) == 0) {
        if (!result->timed_out && now() - start > timeout) {
            result->timed_out = true;
            kill(pid, SIGKILL);
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    result->seconds = now() - start;
    result->max_rss_kib = usage.ru_maxrss;
    result->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    result->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

cli_result command_run(const char *const *argv, int timeout)
{
    const int output = open_sink(), errors = open_sink();
    cli_result result = {0};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, errors, 2);
    unsetenv("HOME"); /* nothing of the user's, and nothing kept from an earlier test */
    unsetenv("XDG_CACHE_HOME");
    union {
        const char *const *in;
        char *const *out;
    } arguments = {.in = argv}; /* posix_spawn leaves them alone, its type says otherwise */
    if (posix_spawnp(&pid, argv[0], &actions, NULL, arguments.out, environ)) {
        result.code = 127;
    } else {
        wait_for(pid, timeout, &result);
    }
    posix_spawn_file_actions_destroy(&actions);
    result.output = read_sink(output);
    result.errors = read_sink(errors);
    return result;
}

cli_result cli_run(const char *const *arguments, int timeout)
{
    enum { MOST = 64 };
    const char *argv[MOST + 2] = {FASTVMT_PROGRAM};
    size_t count = 0;

    while (arguments[count]) {
        assert_true(count < MOST);
        argv[count + 1] = arguments[count];
        count++;
    }
    argv[count + 1] = NULL;
    return command_run(argv, timeout);
}

void cli_free(cli_result *result)
{
    free(result->output);
    free(result->errors);
    result->output = result->errors = NULL;
}

void cli_check_refused(const char *label, cli_result *result, int code, const char *text)
{
    const char *newline = strchr(result->errors, '\n');

    if (result->timed_out || result->signal)
        fail_msg("%s: %s (signal %d): %s", label, result->timed_out ? "timed out" : "killed",
                 result->signal, result->errors);
    if (result->code != code)
        fail_msg("%s: exit code %d, expected %d: %s%s", label, result->code, code, result->errors,
                 result->output);
    if (!newline || newline[1] || strncmp(result->errors, "fastvmt: ", 9) != 0)
        fail_msg("%s: expected one line 'fastvmt: …' on stderr, got:\n%s", label, result->errors);
    if (text && !strstr(result->errors, text))
        fail_msg("%s: '%s' is not in: %s", label, text, result->errors);
    if (result->output[0])
        fail_msg("%s: stdout should be empty: %s", label, result->output);
    cli_free(result);
}

void file_write(const char *path, const void *bytes, size_t length)
{
    unlink(path); /* a link must not lead to what the repository holds */
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file))
        fail_msg("cannot write %s", path);
}

unsigned char *file_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info))
        fail_msg("cannot read %s", path);
    *length = (size_t)info.st_size;
    unsigned char *bytes = malloc(*length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *length, file), *length);
    bytes[*length] = 0;
    fclose(file);
    return bytes;
}

void file_copy(const char *to, const char *from)
{
    size_t length;
    unsigned char *bytes = file_read(from, &length);
    file_write(to, bytes, length);
    free(bytes);
}

bool file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

void folder_remove(const char *path)
{
    char name[4096];

    if (unlink(path) == 0)
        return;
    DIR *folder = opendir(path);
    if (!folder)
        return;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_in_range(snprintf(name, sizeof name, "%s/%s", path, entry->d_name), 1,
                        sizeof name - 1);
        folder_remove(name);
    }
    closedir(folder);
    rmdir(path);
}

void folder_new(const char *path)
{
    folder_remove(path);
    if (mkdir(path, 0755))
        fail_msg("cannot make the folder %s", path);
}

int folder_count(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count;
}
