/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

void cli_reporter_init(cli_reporter *r, const cli_options *options)
{
    *r = (cli_reporter){.kind = options->quiet && options->progress == CLI_PROGRESS_BAR
                                    ? CLI_PROGRESS_NONE
                                    : options->progress,
                        .terminal = isatty(STDERR_FILENO) == 1,
                        .last_shown = -1e9};
}

static void print_time(double seconds)
{
    const long s = (long)(seconds + 0.5);

    if (s >= 3600)
        fprintf(stderr, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        fprintf(stderr, "%ld:%02ld", s / 60, s % 60);
}

/* "sample   7/25  inner 3/10  loss 12.3 (amf 2.4, track 0.3)  ETA 0:12  410 MiB" */
static void print_bar(const vmt_progress *p)
{
    fprintf(stderr, "%-7s %3" PRId64 "/%" PRId64, vmt_phase_name(p->phase), p->step, p->steps);
    if (p->inner_steps)
        fprintf(stderr, "  inner %2" PRId64 "/%" PRId64, p->inner_step, p->inner_steps);
    if (p->phase == VMT_PHASE_SAMPLE && isfinite(p->loss))
        fprintf(stderr, "  loss %.4g (amf %.4g, track %.4g)", p->loss, p->amf_loss, p->track_loss);
    if (isfinite(p->seconds_left)) {
        fputs("  ETA ", stderr);
        print_time(p->seconds_left);
    }
    fprintf(stderr, "  %" PRIu64 " MiB", p->memory >> 20);
}

static void print_number(const char *key, double value)
{
    if (isfinite(value))
        fprintf(stderr, ",\"%s\":%.9g", key, value);
    else
        fprintf(stderr, ",\"%s\":null", key);
}

static void print_json(const vmt_progress *p)
{
    fprintf(stderr,
            "{\"phase\":\"%s\",\"step\":%" PRId64 ",\"steps\":%" PRId64 ",\"inner_step\":%" PRId64
            ",\"inner_steps\":%" PRId64,
            vmt_phase_name(p->phase), p->step, p->steps, p->inner_step, p->inner_steps);
    fprintf(stderr, ",\"gradients\":%" PRId64 ",\"guided\":%" PRId64, p->gradients, p->guided);
    print_number("loss", p->loss);
    print_number("amf_loss", p->amf_loss);
    print_number("track_loss", p->track_loss);
    print_number("seconds", p->seconds);
    print_number("seconds_left", p->seconds_left);
    fprintf(stderr, ",\"forwards\":%" PRId64 ",\"reused_forwards\":%" PRId64, p->forwards,
            p->reused_forwards);
    fprintf(stderr,
            ",\"memory\":%" PRIu64 ",\"memory_peak\":%" PRIu64 ",\"memory_planned\":%" PRIu64
            ",\"memory_taken\":%" PRIu64 "}\n",
            p->memory, p->memory_peak, p->memory_planned, p->memory_taken);
}

static void end_phase(cli_reporter *r, double seconds)
{
    if (r->started)
        r->phase_seconds[r->phase] += seconds - r->phase_start;
    if (r->open_line)
        fputc('\n', stderr);
    r->open_line = false;
}

int cli_reporter_tell(void *user, const vmt_progress *p)
{
    cli_reporter *r = user;
    const bool new_phase = !r->started || p->phase != r->phase;

    if (new_phase) {
        end_phase(r, p->seconds);
        r->phase = p->phase;
        r->phase_start = p->seconds;
        r->started = true;
    }
    r->memory_peak = p->memory_peak;
    r->memory_planned = p->memory_planned;
    r->memory_taken = p->memory_taken;
    r->forwards = p->forwards;
    r->reused_forwards = p->reused_forwards;
    r->gradients = p->gradients;
    r->inner_steps = p->guided;
    const double pause = r->terminal ? 0.1 : 5;
    const bool last = p->step == p->steps;
    if (r->kind == CLI_PROGRESS_JSON) {
        print_json(p);
    } else if (r->kind == CLI_PROGRESS_BAR && r->terminal &&
               (new_phase || last || p->seconds - r->last_shown >= pause)) {
        fputs("\r\033[K", stderr);
        print_bar(p);
        r->open_line = true;
        r->last_shown = p->seconds;
    } else if (r->kind == CLI_PROGRESS_BAR && !r->terminal && p->seconds - r->last_shown >= pause) {
        print_bar(p);
        fputc('\n', stderr);
        r->last_shown = p->seconds;
    }
    fflush(stderr);
    return 0;
}

void cli_reporter_finish(cli_reporter *r, double seconds)
{
    end_phase(r, seconds);
    r->started = false;
}

void cli_print_memory(uint64_t planned, uint64_t taken)
{
    fprintf(stderr, "; memory: planned %.0f MiB", (double)planned / (1 << 20));
    if (taken)
        fprintf(stderr, ", taken %.0f MiB", (double)taken / (1 << 20));
}
