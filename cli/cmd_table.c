/* SPDX-License-Identifier: MIT
 *
 * bench table: runs the cases of a manifest, in several processes if asked for, and writes the
 * report.
 */
#include "table_run.h"

#include "table/report.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct table_job {
    const cli_options *o;
    vmt_ctx ctx; /* for messages alone: a process that forks opens no device */
    table_manifest manifest;
    table_results results;
    table_run run;
    table_shared *shared;
    int64_t shard, shards;
    char file[4200];
} table_job;

/* ---- arguments */

static int check_options(const cli_options *o)
{
    if (o->operand_count != 2 && !(o->report && o->operand_count == 1))
        return cli_fail_text(VMT_E_ARG, "bench table takes one manifest: bench table FILE.jsonl");
    if (!o->output)
        return cli_fail_text(VMT_E_ARG, "bench table needs a folder for its results: -o DIR");
    if (strlen(o->output) > 3800)
        return cli_fail_text(VMT_E_ARG, "the output's path is too long");
    if (!o->report && !o->paths.dir && !o->paths.dit)
        return cli_fail_text(VMT_E_ARG, "bench table needs a model: -m DIR");
    if (o->report && o->list)
        return cli_fail_text(VMT_E_ARG, "--report and --list: one of both");
    if (o->parts || o->op || o->full || o->shape || o->runs || o->json)
        return cli_fail_text(VMT_E_ARG,
                             "bench table takes no --parts, --op, --full, --shape, --runs, --json");
    return 0;
}

static int parse_shard(table_job *j)
{
    const char *text = j->o->shard;
    long long i = 1, n = 1;
    int end = 0;

    if (text && (sscanf(text, "%lld/%lld%n", &i, &n, &end) != 2 || text[end] || i < 1 || i > n ||
                 n > 100000))
        return cli_fail_text(VMT_E_ARG, "--shard %s: expected I/N with 1 <= I <= N", text);
    j->shard = i - 1;
    j->shards = n;
    if (n > 1)
        snprintf(j->file, sizeof j->file, "%s/results-%lld-of-%lld.jsonl", j->o->output, i, n);
    else
        snprintf(j->file, sizeof j->file, "%s/results.jsonl", j->o->output);
    return 0;
}

/* Ending of the videos that are kept; NULL: none. */
static int choose_videos(const cli_options *o, const char **ending)
{
    static const char *const known[] = {"mp4", "gif", "y4m"};

    *ending = media_has_libav() ? "mp4" : "gif";
    if (!o->videos)
        return 0;
    *ending = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(o->videos, known[i]))
            *ending = known[i];
    if (!*ending && strcmp(o->videos, "none") != 0)
        return cli_fail_text(VMT_E_ARG, "--videos %s: one of mp4|gif|y4m|none", o->videos);
    if (!strcmp(o->videos, "mp4") && !media_has_libav())
        return cli_fail_text(VMT_E_UNSUPPORTED, "--videos mp4 needs libav: take gif or y4m");
    return 0;
}

static int make_folder(const char *path)
{
    struct stat info;

    if (mkdir(path, 0777) && (errno != EEXIST || stat(path, &info) || !S_ISDIR(info.st_mode)))
        return cli_fail_text(VMT_E_IO, "%s: cannot be made: %s", path,
                             errno == EEXIST ? "is no folder" : strerror(errno));
    return 0;
}

static int make_folders(const cli_options *o, bool videos)
{
    char path[4200];
    int code = make_folder(o->output);

    snprintf(path, sizeof path, "%s/videos", o->output);
    return code || !videos ? code : make_folder(path);
}

/* ---- processes */

enum { MOST_JOBS = 1024 };

/* Those to be stopped; a handler gets no argument. */
static volatile pid_t children[MOST_JOBS];
static volatile sig_atomic_t stopped;

static void stop_children(int number)
{
    stopped = number;
    for (int i = 0; i < MOST_JOBS; i++)
        if (children[i] > 0)
            kill(children[i], SIGTERM);
}

static int64_t share_of_cores(int64_t jobs)
{
    cpu_set_t set;
    const int cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

    return cores / jobs > 1 ? cores / jobs : 1;
}

static int run_here(table_job *j, const cli_options *o)
{
    int code = table_run_open(&j->run, o);

    if (!code)
        code = o->list ? table_run_list(&j->run) : table_run_cases(&j->run);
    table_run_close(&j->run);
    return code;
}

static int child(table_job *j, pid_t parent)
{
    cli_options options = *j->o;

    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return 130;
    if (!options.threads)
        options.threads = share_of_cores(options.jobs);
    return run_here(j, &options);
}

/* Cases go to whichever process is free; 0, or the exit code of a process that could not go on. */
static int run_jobs(table_job *j)
{
    const pid_t parent = getpid();
    int code = 0, count = 0;

    signal(SIGINT, stop_children);
    signal(SIGTERM, stop_children);
    fflush(NULL);
    for (; count < j->o->jobs && !stopped; count++) {
        const pid_t pid = fork();
        if (pid == 0) {
            const int own = child(j, parent);
            fflush(NULL);
            _exit(own);
        }
        if (pid < 0) {
            code = cli_fail_text(VMT_E_MEMORY, "no more processes: %s", strerror(errno));
            break;
        }
        children[count] = pid;
    }
    for (int i = 0; i < count; i++) {
        int state;
        while (waitpid(children[i], &state, 0) < 0 && errno == EINTR)
            ;
        children[i] = 0;
        const int own = WIFEXITED(state) ? WEXITSTATUS(state) : VMT_E_INTERNAL;
        if (WIFSIGNALED(state) && !stopped)
            fprintf(stderr, "fastvmt: a process was ended by signal %d; its case is not done\n",
                    WTERMSIG(state));
        code = code ? code : own;
    }
    return stopped ? 130 : code;
}

static int run_all(table_job *j)
{
    void *shared =
        mmap(NULL, sizeof *j->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return cli_fail_text(VMT_E_MEMORY, "out of memory");
    j->shared = shared;
    j->run.manifest = &j->manifest;
    j->run.results = &j->results;
    j->run.file = j->file;
    j->run.folder = j->o->output;
    j->run.shard = j->shard;
    j->run.shards = j->shards;
    j->run.shared = j->shared;
    int code = j->o->jobs > 1 && !j->o->list ? run_jobs(j) : run_here(j, j->o);
    if (!code)
        code = (int)(atomic_load(&j->shared->first_failure) % 256);
    if (!j->o->list && !j->o->quiet)
        printf("%lld cases run, %lld were there, %lld failed\n",
               (long long)atomic_load(&j->shared->finished),
               (long long)atomic_load(&j->shared->had), (long long)atomic_load(&j->shared->failed));
    munmap(shared, sizeof *j->shared);
    return code;
}

/* ---- command */

static void print_error(void *user, enum vmt_log_level level, const char *line)
{
    (void)user;
    if (level == VMT_LOG_ERROR)
        fprintf(stderr, "%s\n", line);
}

static int write_report(table_job *j)
{
    table_results_free(&j->results);
    enum vmt_status status = table_results_read(&j->ctx, &j->results, j->o->output);
    if (status == VMT_OK && j->results.count == 0 && !j->o->report)
        return 0; /* nothing ran */
    if (status == VMT_OK)
        status = table_report_write(&j->ctx, &j->results, &j->manifest, j->o->output);
    if (status != VMT_OK)
        return cli_fail_text(status, "%s", vmt_message(&j->ctx));
    if (!j->o->quiet)
        printf("wrote %s/report.md and report.html\n", j->o->output);
    return 0;
}

static int run(table_job *j)
{
    const cli_options *o = j->o;
    enum vmt_status status = VMT_OK;
    int code = 0;

    if (o->operand_count == 2)
        status = table_manifest_read(&j->ctx, &j->manifest, o->operands[1]);
    if (status == VMT_OK)
        code = o->report || o->list ? 0 : make_folders(o, j->run.videos != NULL);
    if (status == VMT_OK && !code && !(o->list && access(o->output, F_OK)))
        status = table_results_read(&j->ctx, &j->results, o->output);
    if (status != VMT_OK)
        return cli_fail_text(status, "%s", vmt_message(&j->ctx));
    if (!code && !o->report)
        code = run_all(j);
    if (!o->list && code != 130) {
        const int own = write_report(j);
        code = code ? code : own;
    }
    return code ? code : j->manifest.broken ? (int)VMT_E_FORMAT : 0;
}

int cli_table(cli_options *o)
{
    table_job *j = calloc(1, sizeof *j);
    int code = check_options(o);

    if (!j)
        return cli_fail_text(VMT_E_MEMORY, "out of memory");
    j->o = o;
    vmt_ctx_init(&j->ctx);
    j->ctx.log = print_error;
    if (!code)
        code = parse_shard(j);
    if (!code)
        code = choose_videos(o, &j->run.videos);
    if (!code)
        code = run(j);
    table_manifest_free(&j->manifest);
    table_results_free(&j->results);
    free(j);
    return code;
}
