/* SPDX-License-Identifier: MIT */
#include "sweep.h"

#include "cli_run.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
enum { LEAK_CHECK_EVERY = 20 }; /* it takes as long as all the rest */
#else
#define LEAKS() 0
enum { LEAK_CHECK_EVERY = 1 };
#endif

enum {
    JOBS = 2,
    MOST_ARGUMENTS = 64,
    TEXT_BYTES = 8192,
    CHILD_SECONDS = 120,
    FAILED = 100,
    OUR_STDERR = 200
};

typedef struct child {
    pid_t pid;
    int errors; /* its stderr, a file in memory */
    int number; /* of the allocation */
    const void *address;
    size_t bytes;
} child;

static struct {
    const sweep *s;
    enum caller caller;
    int every, count; /* count: allocations of that caller so far */
    int only;         /* the one that fails (anew), or -1 */
    child children[JOBS];
    int running, tried, refused, died, bad;
    bool in_child;
    child self;          /* in a child */
    unsigned char *good; /* what the output is when nothing fails */
    size_t good_bytes;
    int first;  /* allocation to fail */
    int before; /* entries of the folder before the run */
} now;

/* ---- reports */

static void print_address(const void *address)
{
    Dl_info info = {0};

    if (dladdr(address, &info) && info.dli_fname)
        fprintf(stderr, " (%s+0x%zx %s)", info.dli_fname,
                (size_t)((const char *)address - (const char *)info.dli_fbase),
                info.dli_sname ? info.dli_sname : "");
}

static void read_text(int fd, char text[TEXT_BYTES])
{
    const ssize_t length = pread(fd, text, TEXT_BYTES - 1, 0);
    text[length > 0 ? length : 0] = '\0';
}

static void report(const child *c, const char *what, const char *text)
{
    fprintf(stderr, "%s: allocation %d, %zu bytes", now.s->name, c->number, c->bytes);
    print_address(c->address);
    fprintf(stderr, ": %s\n%s", what, text);
}

/* ---- a child's own folder */

/* An open file is the child's own from here on: its place in it, and what it writes. */
static void take_over(int fd, const char *old, const char *folder)
{
    char link[64], path[4096], copy[8192];
    struct stat info;
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &info) || !S_ISREG(info.st_mode) || !info.st_nlink)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if ((flags & O_ACCMODE) == O_RDONLY) {
        const int again = open(link, O_RDONLY | O_CLOEXEC);
        lseek(again, lseek(fd, 0, SEEK_CUR), SEEK_SET);
        dup2(again, fd);
        close(again);
        return;
    }
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        abort();
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    if (!slash || strncmp(path, old, strlen(old)) || strlen(old) != (size_t)(slash - path))
        return; /* not of this folder */
    snprintf(copy, sizeof copy, "%s%s", folder, slash);
    unlink(copy);
    const int to = open(copy, O_RDWR | O_CREAT | O_CLOEXEC, info.st_mode & 0777);
    const int from = open(path, O_RDONLY | O_CLOEXEC);
    if (to < 0 || from < 0)
        abort();
    for (ssize_t n; (n = read(from, path, sizeof path)) > 0;)
        if (write(to, path, (size_t)n) != n)
            abort();
    lseek(to, lseek(fd, 0, SEEK_CUR), SEEK_SET);
    dup2(to, fd);
    close(to);
    close(from);
}

/* The same files under other names; folders are made anew. */
static void link_tree(const char *from, const char *to)
{
    char old[4096], new[4096];
    DIR *entries = opendir(from);

    if (!entries || mkdir(to, 0755))
        abort();
    for (struct dirent *e = readdir(entries); e; e = readdir(entries)) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(old, sizeof old, "%s/%s", from, e->d_name);
        snprintf(new, sizeof new, "%s/%s", to, e->d_name);
        if (e->d_type == DT_DIR)
            link_tree(old, new);
        else if (link(old, new))
            abort();
    }
    closedir(entries);
}

static void move_to_own_folder(void)
{
    char folder[64], old[4096];

    snprintf(folder, sizeof folder, "../child-%ld", (long)getpid());
    if (!getcwd(old, sizeof old))
        abort();
    link_tree(".", folder);
    for (int fd = 3; fd < 64; fd++)
        take_over(fd, old, folder);
    if (chdir(folder))
        abort();
}

static void leave_own_folder(void)
{
    char folder[64];

    snprintf(folder, sizeof folder, "child-%ld", (long)getpid());
    if (chdir("..") == 0)
        folder_remove(folder);
}

/* ---- a child's end */

static bool same_output(void)
{
    size_t bytes;

    if (!now.s->output)
        return true;
    unsigned char *got = file_read(now.s->output, &bytes);
    const bool same = bytes == now.good_bytes && !memcmp(got, now.good, bytes);
    free(got);
    return same;
}

/* What the run had before, what it says it kept, and what it had finished. */
static bool folder_in_order(bool kept)
{
    int allowed = now.before + kept;

    for (int i = 0; now.s->kept[i]; i++)
        allowed += file_exists(now.s->kept[i]);
    if (now.s->output && file_exists(now.s->output)) {
        if (!same_output())
            return false;
        allowed++;
    }
    return folder_count(".") == allowed;
}

/* "fastvmt: …" alone, or followed by the command that goes on from what was kept. */
static bool is_one_error(const char *text, bool *kept)
{
    const char *end = strchr(text, '\n');

    *kept = end && !strncmp(end + 1, "go on with:\n", 12);
    return end && !strncmp(text, "fastvmt: ", 9) && (*kept || !end[1]);
}

static const char *judge(int code, const char *text)
{
    static char what[256];
    bool kept = false;
    size_t bytes;
    const void *caller;

    if (code == 0)
        return text[0]          ? "done, but with words on stderr"
               : !same_output() ? "done, but the result is another one"
                                : NULL;
    if (code != VMT_E_MEMORY)
        snprintf(what, sizeof what, "exit code %d", code);
    else if (!is_one_error(text, &kept))
        return "not one line of error";
    else if (!folder_in_order(kept))
        snprintf(what, sizeof what, "%d entries in the folder, %d before", folder_count("."),
                 now.before);
    else if (allocator_find_live(&bytes, &caller)) {
        print_address(caller);
        snprintf(what, sizeof what, "%d blocks are left, one of %zu bytes", allocator_live(),
                 bytes);
    } else
        return NULL;
    return what;
}

static void end_child(int code)
{
    char text[TEXT_BYTES];
    const int errors = now.self.errors;

    fflush(NULL);
    read_text(errors, text);
    const char *what = judge(code, text);
    leave_own_folder();
    if (!what && now.self.number / now.every % LEAK_CHECK_EVERY == 0 && LEAKS()) {
        what = "LeakSanitizer";
        read_text(errors, text);
    }
    if (what) {
        dup2(OUR_STDERR, 2);
        report(&now.self, what, text);
        _exit(FAILED);
    }
    _exit(code == 0 ? 0 : 1);
}

/* ---- the parent */

static void wait_for_one(void)
{
    char text[TEXT_BYTES];
    int status, i = 0;
    const pid_t pid = waitpid(-1, &status, 0);

    while (i < now.running && now.children[i].pid != pid)
        i++;
    if (pid < 0 || i == now.running)
        abort();
    child c = now.children[i];
    now.children[i] = now.children[--now.running];
    read_text(c.errors, text);
    close(c.errors);
    if (WIFEXITED(status) && WEXITSTATUS(status) < 2 && strncmp(text, "\nlibgomp: ", 10)) {
        now.refused += WEXITSTATUS(status);
    } else if ((WIFEXITED(status) && WEXITSTATUS(status) == 1) ||
               (WIFSIGNALED(status) && now.caller == CALLER_LIB)) {
        now.died++; /* libgomp ends the process, oneDNN follows the null pointer */
    } else {
        now.bad++;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != FAILED)
            report(&c, WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "ended by itself", text);
    }
}

/* True in the child. */
static bool fork_child(const child *wanted)
{
    child c = *wanted;
    int moved[2];
    char byte;

    while (now.running >= JOBS)
        wait_for_one();
    fflush(stdout);
    c.errors = memfd_create("stderr", 0);
    if (c.errors < 0 || pipe(moved))
        abort();
    c.pid = fork();
    if (c.pid < 0)
        abort();
    close(moved[c.pid > 0]);
    if (c.pid > 0) {
        while (read(moved[0], &byte, 1) < 0 && errno == EINTR)
            ; /* its copy of the folder must be that of this moment */
        close(moved[0]);
        now.children[now.running++] = c;
        now.tried++;
        return false;
    }
    now.in_child = true;
    now.self = c;
    dup2(2, OUR_STDERR);
    dup2(c.errors, 2);
    alarm(CHILD_SECONDS);
    move_to_own_folder();
    close(moved[1]);
    return true;
}

static bool count(enum caller caller, const void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    now.count += caller == now.caller;
    return true;
}

static bool fail_in_child(enum caller caller, const void *address, size_t bytes)
{
    if (caller != now.caller || now.in_child)
        return true;
    const child c = {.number = now.count++, .address = address, .bytes = bytes};
    return c.number < now.first || c.number % now.every != 0 || !fork_child(&c);
}

static bool fail_only(enum caller caller, const void *address, size_t bytes)
{
    if (caller != now.caller || now.count++ != now.only)
        return true;
    now.self.address = address;
    now.self.bytes = bytes;
    return false;
}

static int run_program(allocator_hook *hook)
{
    static char program[] = "fastvmt";
    char *argv[MOST_ARGUMENTS + 2] = {program};
    int argc = 1;

    for (; now.s->arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)now.s->arguments[argc - 1];
    now.count = 0;
    fflush(stdout);
    const int output = dup(1), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 1);
    allocator_set(hook);
    const int code = fastvmt_main(argc, argv);
    fflush(stdout);
    allocator_set(NULL);
    dup2(output, 1);
    close(output);
    close(null);
    return code;
}

/* Each in a child that runs the whole command. */
static void run_anew(int allocations)
{
    for (now.only = now.first; now.only < allocations; now.only += now.every) {
        const child c = {.number = now.only};
        if (fork_child(&c))
            end_child(run_program(fail_only));
    }
}

/* An undisturbed run: what it writes, how often it allocates, that it frees all of it. */
static int measure(void)
{
    size_t bytes;
    const void *caller;
    const int code = run_program(count);

    if (code) {
        fprintf(stderr, "%s: exit code %d without any failure\n", now.s->name, code);
        return -1;
    }
    if (allocator_find_live(&bytes, &caller)) {
        fprintf(stderr, "%s: %d blocks are left, one of %zu bytes", now.s->name, allocator_live(),
                bytes);
        print_address(caller);
        fputc('\n', stderr);
        return -1;
    }
    if (now.s->output)
        now.good = file_read(now.s->output, &now.good_bytes);
    return now.count;
}

/* What the run wrote goes, what was there before stays. */
static void tidy(void)
{
    DIR *entries = opendir(".");

    for (struct dirent *e = readdir(entries); e; e = readdir(entries))
        if (!strncmp(e->d_name, "out", 3))
            folder_remove(e->d_name);
    closedir(entries);
}

static void begin(const sweep *s, enum caller caller)
{
    memset(&now, 0, sizeof now);
    now.s = s;
    now.caller = caller;
    now.before = folder_count(".");
}

int sweep_measure(const sweep *s, enum caller caller)
{
    begin(s, caller);
    const int allocations = measure();
    free(now.good);
    tidy();
    return allocations;
}

int sweep_run(const sweep *s, enum caller caller, int first, int every)
{
    static const char *const names[CALLER_COUNT] = {"own", "C library's", "libraries'", "loader's"};

    begin(s, caller);
    now.first = first;
    now.every = every;
    const int allocations = measure();
    if (allocations < 0)
        return 1;
    tidy();
    if (s->anew)
        run_anew(allocations);
    else {
        const int code = run_program(fail_in_child);
        if (now.in_child)
            end_child(code);
        if (code)
            return 1 + fprintf(stderr, "%s: disturbed by its children\n", s->name);
    }
    while (now.running)
        wait_for_one();
    tidy();
    printf("%s: %d %s allocations, %d failed once: %d refused, %d did without, %d ended by the "
           "library, "
           "%d wrong\n",
           s->name, allocations, names[caller], now.tried, now.refused,
           now.tried - now.refused - now.bad - now.died, now.died, now.bad);
    fflush(stdout);
    free(now.good);
    return now.bad;
}
