/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The context a signal stops.  A handler gets no argument, hence this one variable. */
static vmt_ctx *volatile running;

static void on_signal(int number)
{
    if (running)
        vmt_cancel(running);
    signal(number, SIG_DFL); /* the second time ends the program at once */
}

static void print_log(void *user, enum vmt_log_level level, const char *line)
{
    const cli_options *options = user;

    if (options->quiet && level != VMT_LOG_ERROR)
        return;
    if (level == VMT_LOG_DEBUG && !options->verbose)
        return;
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr); /* over the progress bar, which comes again below */
    fprintf(stderr, "%s%s\n", level == VMT_LOG_WARNING ? "warning: " : "", line);
}

static int exit_code(enum vmt_status status)
{
    return status == VMT_E_CANCELLED ? 130 : (int)status;
}

int cli_fail(const cli_session *session, enum vmt_status status)
{
    fprintf(stderr, "fastvmt: %s\n", vmt_message(session->ctx));
    return exit_code(status);
}

int cli_fail_text(enum vmt_status status, const char *format, ...)
{
    va_list args;

    fputs("fastvmt: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return exit_code(status);
}

enum vmt_status cli_fill_settings(cli_session *s, const char *method)
{
    const cli_options *o = s->options;
    enum vmt_status status;
    const char *preset = o->preset;

    /* plain text-to-video by a model without settings of its own: the official ones */
    status = vmt_settings_init(s->ctx, &s->settings, s->model, preset);
    if (status == VMT_OK && !preset && !strcmp(o->command, "generate") &&
        !strcmp(s->settings.preset, "paper"))
        status = vmt_settings_init(s->ctx, &s->settings, s->model, "wan");
    /* the method gives a schedule, the mode its switches; the other options change them, wherever
     * the two stand among them */
    for (int i = 0; !method && i < o->setting_count; i++)
        if (!strcmp(o->settings[i].name, "method"))
            method = o->settings[i].value;
    if (status == VMT_OK && method)
        status = vmt_settings_set(s->ctx, &s->settings, "method", method);
    for (int rest = 0; rest < 2; rest++)
        for (int i = 0; status == VMT_OK && i < o->setting_count; i++) {
            const cli_setting *given = &o->settings[i];
            if (strcmp(given->name, "method") != 0 && (strcmp(given->name, "mode") != 0) == rest)
                status = vmt_settings_set(s->ctx, &s->settings, given->name, given->value);
        }
    return status;
}

/* Where encoded prompts are kept: as asked, else the user's folder for such things; NULL: nowhere,
 * which is also for a user without a home. */
static const char *cache_folder(const cli_options *o, char *place, size_t size)
{
    const char *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (!o->keeps_prompts || !o->cache_bytes)
        return NULL;
    if (o->cache_dir)
        return strcmp(o->cache_dir, "none") ? o->cache_dir : NULL;
    if (caches && caches[0] == '/')
        snprintf(place, size, "%s/fastvmt", caches);
    else if (home && home[0] == '/')
        snprintf(place, size, "%s/.cache/fastvmt", home);
    else
        return NULL;
    return place;
}

#ifdef __GLIBC__
/* By the shell (ulimit): address space, or memory that can be written. */
static bool is_limited(void)
{
    const __rlimit_resource_t kinds[] = {RLIMIT_AS, RLIMIT_DATA};
    struct rlimit limit;

    for (int i = 0; i < 2; i++)
        if (!getrlimit(kinds[i], &limit) && limit.rlim_cur != RLIM_INFINITY)
            return true;
    return false;
}
#endif

int cli_session_open(cli_session *s, cli_options *options, bool with_model)
{
    char place[4096];
    const vmt_config config = {.backend = options->backend,
                               .dtype = options->dtype,
                               .threads = (int)options->threads,
                               .device = (int)options->device,
                               .nondeterministic = options->nondeterministic,
                               .max_vram = (uint64_t)options->max_vram,
                               .max_ram = (uint64_t)options->max_ram,
                               .log = print_log,
                               .log_user = options,
                               .cache_dir = cache_folder(options, place, sizeof place),
                               .cache_bytes =
                                   options->cache_bytes > 0 ? (uint64_t)options->cache_bytes : 0};

    *s = (cli_session){.options = options};
#ifdef __GLIBC__
    if (options->max_ram || is_limited()) { /* what is freed goes back to the system, which the C
                               library would else keep for speed, up to twice 32 MiB at each end */
        mallopt(M_MMAP_THRESHOLD, 256 << 10);
        mallopt(M_TRIM_THRESHOLD, 128 << 10);
    }
#endif
    if (options->fit && strcmp(options->fit, "crop") && strcmp(options->fit, "pad") &&
        strcmp(options->fit, "stretch"))
        return cli_fail_text(VMT_E_ARG, "--fit %s: one of crop|pad|stretch", options->fit);
    if (options->damaged && strcmp(options->damaged, "error") &&
        strcmp(options->damaged, "conceal"))
        return cli_fail_text(VMT_E_ARG, "--damaged %s: one of error|conceal", options->damaged);
    enum vmt_status status = vmt_ctx_open(&s->ctx, &config);
    if (status != VMT_OK)
        return cli_fail(s, status);
    running = s->ctx;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGXFSZ, SIG_IGN); /* a file limit is a write error, not a death */
    signal(SIGPIPE, SIG_IGN);
    if (!with_model)
        return 0;
    status = vmt_model_open(s->ctx, &s->model, &options->paths);
    if (status == VMT_OK)
        status = cli_fill_settings(s, NULL);
    return status == VMT_OK ? 0 : cli_fail(s, status);
}

int cli_check_output(const cli_options *options, const char *path, bool (*there)(const char *))
{
    if (!path)
        return cli_fail_text(VMT_E_ARG, "%s needs an output: -o FILE", options->command);
    if (!options->overwrite && there(path))
        return cli_fail_text(VMT_E_ARG, "%s exists; -y overwrites it", path);
    return 0;
}

int cli_check_place(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct stat info;
    char folder[4096];

    if (!stat(path, &info) && S_ISDIR(info.st_mode))
        return cli_fail_text(VMT_E_IO, "%s: is a folder, expected the name of a file", path);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    if (access(folder, W_OK | X_OK))
        return cli_fail_text(VMT_E_IO, "%s: cannot be written: folder %s: %s", path, folder,
                             strerror(errno));
    return 0;
}

void cli_session_close(cli_session *s)
{
    running = NULL;
    if (s->model)
        vmt_model_close(s->ctx, s->model);
    vmt_ctx_close(s->ctx);
}

static media_read_options where(cli_session *s)
{
    const cli_options *o = s->options;
    const bool conceal = o->damaged && !strcmp(o->damaged, "conceal");

    return (media_read_options){.start_frame = o->start,
                                .start_seconds = o->start_seconds,
                                .start_time = &s->reference_start,
                                .damaged = conceal ? MEDIA_DAMAGED_CONCEAL : MEDIA_DAMAGED_ERROR};
}

enum media_fit cli_fit(const cli_options *o)
{
    return !o->fit                   ? MEDIA_FIT_CROP
           : !strcmp(o->fit, "pad")  ? MEDIA_FIT_PAD
           : !strcmp(o->fit, "crop") ? MEDIA_FIT_CROP
                                     : MEDIA_FIT_STRETCH;
}

media_read_options cli_reference_options(cli_session *s)
{
    media_read_options options = where(s);

    options.stride = s->options->stride;
    options.fit = cli_fit(s->options);
    return options;
}

enum vmt_status cli_read_reference(cli_session *s, vmt_clip *clip, bool limited)
{
    const vmt_settings *settings = &s->settings;
    media_read_options options = cli_reference_options(s);
    vmt_clip native;

    options.fps = settings->fps;
    options.frames = settings->frames;
    options.width = settings->width;
    options.height = settings->height;
    if (limited) {
        vmt_model_native(s->model, &native);
        options.most_frames = native.frames;
        options.most_width = native.width;
        options.most_height = native.height;
    }
    return media_read(s->ctx, clip, s->options->reference, &options);
}

enum vmt_status cli_find_start(cli_session *s)
{
    media_read_options options = where(s);
    vmt_clip first;

    options.frames = 1;
    const enum vmt_status status = media_read(s->ctx, &first, s->options->reference, &options);
    vmt_clip_free(&first);
    return status;
}

media_write_options cli_write_options(const cli_session *s)
{
    const cli_options *o = s->options;

    return (media_write_options){.codec = o->codec,
                                 .crf = (int)o->crf,
                                 .sound = o->no_audio ? NULL : o->reference,
                                 .sound_start = s->reference_start};
}
