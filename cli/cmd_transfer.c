/* SPDX-License-Identifier: MIT
 *
 * transfer and generate: read the reference, show the plan, run, write the result.
 */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct job {
    cli_session s;
    cli_options *o;
    cli_reporter reporter;
    vmt_clip reference, result;
    vmt_motion_field field;
    char latent[4096], state[4096], json[4096], preview[4096];
    bool preview_failed;
    double seconds;   /* of the library's run */
    uint64_t planned; /* bytes where it computes, the process's own included */
} job;

static int job_tell(void *user, const vmt_progress *progress)
{
    job *j = user;

    j->seconds = progress->seconds;
    return cli_reporter_tell(&j->reporter, progress);
}

/* One strip, replaced each time: what is there is whole whenever somebody looks.  A disk that is
 * full now need not be at the end: the run goes on without previews. */
static int write_preview(void *user, int64_t steps, const vmt_clip *frames)
{
    job *j = user;
    vmt_clip strip = {0};

    (void)steps;
    if (j->preview_failed)
        return 0;
    enum vmt_status status = media_strip(j->s.ctx, &strip, frames);
    if (status == VMT_OK)
        status = media_write_picture(j->s.ctx, &strip, j->preview);
    vmt_clip_free(&strip);
    j->preview_failed = status != VMT_OK;
    if (j->preview_failed && !j->o->quiet)
        fprintf(stderr, "warning: no more previews: %s\n", vmt_message(j->s.ctx));
    return 0;
}

/* The name asked for, else one beside the output: OUTPUT.ending; for "-" in this folder. */
static void name_beside(char *name, size_t size, const char *asked, const char *output,
                        const char *ending)
{
    const char *base = strcmp(output, "-") ? output : "fastvmt";
    size_t length = strlen(base);

    while (length > 1 && base[length - 1] == '/') /* a folder of pictures */
        length--;
    if (asked)
        snprintf(name, size, "%s", asked);
    else
        snprintf(name, size, "%.*s.%s", (int)length, base, ending);
}

/* Where things go, and that nothing is overwritten unasked. */
static int check_paths(job *j)
{
    const cli_options *o = j->o;
    const char *outputs[4] = {o->output, o->compare, o->latent,
                              o->preview ? o->preview_path : NULL};

    if (!o->output)
        return o->plan ? 0 : cli_check_output(o, NULL, media_would_replace);
    if (strlen(o->output) > 4000)
        return cli_fail_text(VMT_E_ARG, "the output's path is too long");
    name_beside(j->latent, sizeof j->latent, o->latent, o->output, "latent.safetensors");
    name_beside(j->state, sizeof j->state, o->checkpoint_file, o->output, "state.safetensors");
    name_beside(j->json, sizeof j->json, NULL, o->output, "json");
    name_beside(j->preview, sizeof j->preview, o->preview_path, o->output, "preview.png");
    int code = 0;
    for (int i = 0; i < 4 && !code; i++)
        code = outputs[i] ? cli_check_output(o, outputs[i], media_would_replace) : 0;
    if (code)
        return code;
    const media_write_options options = cli_write_options(&j->s);
    enum vmt_status status = media_check_output(j->s.ctx, o->output, &options);
    if (status == VMT_OK && o->compare)
        status = media_check_output(j->s.ctx, o->compare, NULL);
    if (status == VMT_OK && o->preview)
        status = media_check_picture(j->s.ctx, j->preview);
    if (status != VMT_OK)
        return cli_fail(&j->s, status);
    code = o->latent ? cli_check_place(o->latent) : 0;
    return !code && o->checkpoint_file ? cli_check_place(o->checkpoint_file) : code;
}

static void print_bytes(const char *what, uint64_t bytes)
{
    fprintf(stderr, "  %-8s %8.1f MiB\n", what, (double)bytes / (1 << 20));
}

static void print_local(const job *j, const vmt_plan *p)
{
    const int64_t *t = p->local_tile, *b = p->local_box;
    const double share = (double)(b[0] * b[1] * b[2]) / (double)(p->grid_f * p->grid_h * p->grid_w);
    char phases[64] = "", blocks[32] = "";

    if (vmt_settings_get(j->s.ctx, &j->s.settings, "local-phases", phases, sizeof phases) ||
        vmt_settings_get(j->s.ctx, &j->s.settings, "local-blocks", blocks, sizeof blocks))
        return;
    fprintf(stderr,
            "  local attention: %" PRId64 "x%" PRId64 "x%" PRId64 " queries see %" PRId64
            "x%" PRId64 "x%" PRId64 " keys (%.0f %%); %s, blocks %s\n",
            t[0], t[1], t[2], b[0], b[1], b[2], 100 * share, phases, blocks);
}

/* Whether last bits depend on the memory there is. */
static bool is_cut(const vmt_plan *p)
{
    return p->ffn_tokens < p->grid_f * p->grid_h * p->grid_w || p->vae_tile[0][0] ||
           p->vae_tile[1][0];
}

/* How it lies in memory, where it is not all there at once. */
static void print_holding(const vmt_plan *p)
{
    if (p->resident_blocks < p->blocks)
        fprintf(stderr, "  %d of %d blocks stay, %.1f MiB are copied for each forward\n",
                p->resident_blocks, p->blocks, (double)p->streamed_bytes / (1 << 20));
    if (p->spills)
        fputs("  what a gradient keeps of its blocks goes to memory of the host\n", stderr);
    if (p->ffn_tokens < p->grid_f * p->grid_h * p->grid_w)
        fprintf(stderr, "  feed-forwards by %" PRId64 " tokens\n", p->ffn_tokens);
    for (int i = 0; i < 2; i++)
        if (p->vae_tile[i][0])
            fprintf(stderr, "  %s in tiles of %dx%d\n", i ? "decode" : "encode", p->vae_tile[i][0],
                    p->vae_tile[i][1]);
    if (!p->limit_bytes && p->fits && is_cut(p))
        fprintf(stderr, "  so that it lies in what is usable now: %s %.0fM makes the same again\n",
                p->host_bytes ? "--max-vram" : "--max-ram",
                ceil((double)(p->usable_bytes + p->fixed_bytes) / (1 << 20)));
    if (p->limit_bytes || p->slowdown > 1.005)
        fprintf(stderr, "  estimated %.2f x the time that all the memory it wants would take\n",
                p->slowdown);
}

static void print_plan(const job *j, const vmt_plan *p)
{
    const vmt_settings *s = &j->s.settings;

    fprintf(stderr, "plan: %" PRId64 "x%" PRId64 ", %" PRId64 " frames", p->width, p->height,
            p->frames);
    if (p->model_width != p->width || p->model_height != p->height || p->model_frames != p->frames)
        fprintf(stderr, " (inside %" PRId64 "x%" PRId64 ", %" PRId64 ")", p->model_width,
                p->model_height, p->model_frames);
    fprintf(stderr, ", tokens %" PRId64 "x%" PRId64 "x%" PRId64 "\n", p->grid_f, p->grid_h,
            p->grid_w);
    fprintf(stderr, "  %d steps, %s%d forwards", p->steps, s->cache > 0 ? "at most " : "",
            p->forwards);
    if (p->guided_steps)
        fprintf(stderr,
                ", %d guided: %d inner steps each, %d gradients in all, recomputation level %d",
                p->guided_steps, s->motion.inner_steps, p->gradients, p->recompute);
    const vmt_method_row *method = vmt_method_at((size_t)s->motion.method);
    fprintf(stderr, "; method %s, preset %s, backend %s\n", method ? method->name : "", s->preset,
            vmt_backend_name(j->s.ctx));
    if (p->local_box[0])
        print_local(j, p);
    print_holding(p);
    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        if (p->phase_bytes[i])
            print_bytes(vmt_phase_name((enum vmt_phase)i), p->phase_bytes[i]);
    if (p->mapped_bytes)
        print_bytes("mapped", p->mapped_bytes);
    print_bytes("peak", p->peak_bytes);
    print_bytes(p->host_bytes ? "context" : "process", p->fixed_bytes);
    print_bytes("total", p->peak_bytes + p->fixed_bytes);
    if (p->limit_bytes)
        print_bytes("limit", p->limit_bytes);
    print_bytes("free", p->free_bytes);
    if (!p->limit_bytes)
        print_bytes("usable", p->usable_bytes);
    if (p->host_bytes)
        print_bytes("host", p->host_bytes);
    if (p->host_limit_bytes)
        print_bytes("host max", p->host_limit_bytes);
}

/* "--size 640x368 or --frames 33 fits"; of a stored motion or run neither can be another. */
static void name_fitting(const job *j, const vmt_plan *p, char *text, size_t size)
{
    char frames[64] = "", sides[96] = "";

    if (p->fitting_frames)
        snprintf(frames, sizeof frames, "--frames %" PRId64, p->fitting_frames);
    if (p->fitting_width)
        snprintf(sides, sizeof sides, "--size %" PRId64 "x%" PRId64, p->fitting_width,
                 p->fitting_height);
    if (j->o->resume || j->o->motion)
        snprintf(text, size, "what is stored has its size");
    else if (*sides || *frames)
        snprintf(text, size, "%s%s%s fits", sides, *sides && *frames ? " or " : "", frames);
    else
        snprintf(text, size, "no smaller --size fits, nor fewer --frames");
}

/* What the run would need, and what would fit. */
static int refuse(const job *j, const vmt_plan *p)
{
    const double mib = 1 << 20;
    const char *option = p->host_bytes ? "--max-vram" : "--max-ram";
    const char *phase = vmt_phase_name(p->least_phase);
    const uint64_t least = p->least_bytes - p->fixed_bytes;
    const uint64_t usable = p->usable_bytes < p->free_bytes ? p->usable_bytes : p->free_bytes;
    char fits[192];

    name_fitting(j, p, fits, sizeof fits);
    if (p->host_limit_bytes && p->host_bytes > p->host_limit_bytes)
        return cli_fail_text(
            VMT_E_MEMORY, "needs %.0f MiB of the host, --max-ram allows %.0f: raise it; %s",
            ceil((double)p->host_bytes / mib), (double)p->host_limit_bytes / mib, fits);
    if (p->limit_bytes && p->least_bytes > p->limit_bytes)
        return cli_fail_text(
            VMT_E_MEMORY, "%s needs %.0f MiB at least, %s allows %.0f: raise it; %s", phase,
            ceil((double)p->least_bytes / mib), option, (double)p->limit_bytes / mib, fits);
    if (p->limit_bytes && least <= p->free_bytes)
        return cli_fail_text(VMT_E_MEMORY, "%s allows %.0f MiB, free are %.0f: %s %.0fM fits",
                             option, (double)p->limit_bytes / mib, (double)p->free_bytes / mib,
                             option, floor((double)(p->free_bytes + p->fixed_bytes) / mib));
    return cli_fail_text(VMT_E_MEMORY, "%s needs %.0f MiB at least, usable are %.0f: %s", phase,
                         ceil((double)least / mib), floor((double)usable / mib), fits);
}

/* Of this reference, whose pixels need not be there. */
static int plan(job *j, const vmt_clip *reference, bool show)
{
    vmt_plan p;
    const vmt_transfer_io io = {.reference = reference->frames ? reference : NULL,
                                .motion = j->o->motion,
                                .embeddings = j->o->embeddings,
                                .resume = j->o->resume,
                                .preview = j->o->preview ? write_preview : NULL,
                                .preview_steps = j->o->preview};
    const enum vmt_status status = vmt_plan_make(j->s.ctx, j->s.model, &j->s.settings, &io, &p);

    if (status != VMT_OK)
        return cli_fail(&j->s, status);
    j->planned = p.peak_bytes + p.fixed_bytes;
    if ((show || !p.fits) && (j->o->plan || !j->o->quiet))
        print_plan(j, &p);
    return p.fits ? 0 : refuse(j, &p);
}

/* A size that cannot fit is refused before the reference is read at that size.  A number of frames
 * that only the reference tells: two are the fewest. */
static int plan_asked(job *j)
{
    const vmt_settings *s = &j->s.settings;
    const vmt_clip shape = {.width = s->width,
                            .height = s->height,
                            .frames = s->frames ? s->frames : 2,
                            .fps = s->fps > 0 ? s->fps : 16};

    return s->width && s->height ? plan(j, &shape, false) : 0;
}

static void print_option(const char *name, const char *value)
{
    if (!value)
        return;
    fprintf(stderr, " %s ", name);
    cli_print_word(value, stderr);
}

/* Where the result's sound comes from. */
static void print_sound(const cli_options *o)
{
    print_option("-r", o->reference);
    if (o->start)
        fprintf(stderr, " --start %" PRId64, o->start);
    if (o->start_seconds > 0)
        fprintf(stderr, " --start-seconds %.15g", o->start_seconds);
    print_option("--damaged", o->damaged);
}

/* The command that makes the result of the latent on disk. */
static void print_decode(const job *j)
{
    const cli_options *o = j->o;

    fputs("go on with:\n  ", stderr);
    cli_print_word(o->argv[0], stderr);
    print_option("decode -m", o->paths.dir);
    if (!o->paths.dir)
        fputs(" decode", stderr);
    print_option("--vae", o->paths.vae);
    print_option("-o", o->output);
    print_option("--codec", o->codec);
    if (o->crf != MEDIA_DEFAULT_CRF)
        fprintf(stderr, " --crf %" PRId64, o->crf);
    if (!o->no_audio)
        print_sound(o);
    fputc(' ', stderr);
    cli_print_word(j->latent, stderr);
    fputc('\n', stderr);
}

/* The same command, --resume instead of any it had. */
static void print_resume(const job *j)
{
    const cli_options *o = j->o;

    fputs("go on with:\n ", stderr);
    for (int i = 0; i < o->argc; i++) {
        if (!strcmp(o->argv[i], "--resume"))
            i++;
        else if (strncmp(o->argv[i], "--resume=", 9)) {
            fputc(' ', stderr);
            cli_print_word(o->argv[i], stderr);
        }
    }
    print_option("--resume", j->state);
    fputc('\n', stderr);
}

static enum vmt_status write_compare(job *j)
{
    vmt_clip picture = {0}, shown = j->reference;

    shown.frames = j->result.frames;
    enum vmt_status status = media_compare(j->s.ctx, &picture, &shown, &j->result, &j->field);
    if (status == VMT_OK)
        status = media_write(j->s.ctx, &picture, j->o->compare, NULL);
    vmt_clip_free(&picture);
    return status;
}

static int write_results(job *j)
{
    vmt_settings *made = &j->s.settings; /* what "the reference's" and "the model's" came to */
    made->width = j->result.width;
    made->height = j->result.height;
    made->frames = j->result.frames;
    made->fps = j->result.fps;
    char *json = cli_result_json(&j->s, &j->reporter);
    media_write_options options = cli_write_options(&j->s);
    options.comment = json;
    int code = json ? 0 : cli_fail_text(VMT_E_MEMORY, "out of memory");
    enum vmt_status status =
        code ? VMT_OK : media_write(j->s.ctx, &j->result, j->o->output, &options);

    if (!code && status == VMT_OK && j->o->compare && j->reference.frames)
        status = write_compare(j);
    if (!code && status != VMT_OK)
        code = cli_fail(&j->s, status);
    if (!code && strcmp(j->o->output, "-"))
        code = cli_write_text(&j->s, j->json, json);
    free(json);
    return code;
}

static void print_summary(const job *j)
{
    double all = 0;

    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        all += j->reporter.phase_seconds[i];
    fprintf(stderr, "wrote %s", j->o->output);
    if (j->o->compare && j->reference.frames)
        fprintf(stderr, " and %s", j->o->compare);
    fprintf(stderr, "\n ");
    for (int i = 0; i < VMT_PHASE_COUNT; i++)
        if (j->reporter.phase_seconds[i] > 0)
            fprintf(stderr, " %s %.2f s,", vmt_phase_name((enum vmt_phase)i),
                    j->reporter.phase_seconds[i]);
    fprintf(stderr, " in all %.2f s", all);
    cli_print_memory(j->planned, j->reporter.memory_taken);
    fputc('\n', stderr);
    if (j->reporter.reused_forwards)
        fprintf(stderr, "  %" PRId64 " forwards computed, %" PRId64 " reused\n",
                j->reporter.forwards, j->reporter.reused_forwards);
}

static int run(job *j)
{
    const cli_options *o = j->o;
    const bool transfer = !strcmp(o->command, "transfer");
    const vmt_transfer_io io = {.reference = j->reference.frames ? &j->reference : NULL,
                                .motion = o->motion,
                                .result = &j->result,
                                .field = o->compare ? &j->field : NULL,
                                .embeddings = o->embeddings,
                                .latent_path = j->latent,
                                .checkpoint_path = j->state,
                                .checkpoint_steps = o->checkpoint,
                                .resume = o->resume,
                                .progress = job_tell,
                                .progress_user = j,
                                .preview = o->preview ? write_preview : NULL,
                                .preview_user = j,
                                .preview_steps = o->preview};

    cli_reporter_init(&j->reporter, o);
    const enum vmt_status status = transfer
                                       ? vmt_transfer(j->s.ctx, j->s.model, &j->s.settings, &io)
                                       : vmt_generate(j->s.ctx, j->s.model, &j->s.settings, &io);
    cli_reporter_finish(&j->reporter, j->seconds);
    if (status != VMT_OK) {
        const int code = cli_fail(&j->s, status);
        if (j->reporter.phase == VMT_PHASE_DECODE && !access(j->latent, R_OK))
            print_decode(j);
        else if (status == VMT_E_CANCELLED && !access(j->state, R_OK))
            print_resume(j);
        return code;
    }
    const int code = write_results(j);
    if (code) {
        print_decode(j);
        return code;
    }
    if (!o->latent)
        unlink(j->latent);
    if (!o->checkpoint_file)
        unlink(j->state);
    if (!o->quiet)
        print_summary(j);
    return 0;
}

static int check_sources(const job *j)
{
    const cli_options *o = j->o;
    const bool transfer = !strcmp(o->command, "transfer");

    if (transfer && !o->reference && !o->motion && !o->resume)
        return cli_fail_text(VMT_E_ARG, "transfer needs a reference: -r VIDEO, or --motion FILE");
    if (o->motion && o->resume)
        return cli_fail_text(VMT_E_ARG, "--resume holds its motion: leave out --motion");
    if (o->motion && o->reference && !o->compare)
        return cli_fail_text(VMT_E_ARG, "-r and --motion: one of the two");
    if (o->compare && !o->reference)
        return cli_fail_text(VMT_E_ARG, "--compare shows the reference: give it with -r");
    if (o->preview_path && !o->preview)
        return cli_fail_text(VMT_E_ARG, "--preview-path: say how often with --preview N");
    if (!transfer && o->motion)
        return cli_fail_text(VMT_E_ARG, "generate takes no motion: that is transfer");
    return 0;
}

int cli_transfer(cli_options *o)
{
    job j = {.o = o};
    int code = check_sources(&j);

    if (code)
        return code;
    code = cli_session_open(&j.s, o, true);
    if (!code && !o->embeddings && !j.s.settings.prompt)
        code = cli_fail_text(VMT_E_ARG, "%s needs a prompt: -p TEXT", o->command);
    if (!code)
        code = check_paths(&j);
    if (!code && o->reference && !o->resume && !o->motion)
        code = plan_asked(&j);
    if (!code && o->reference && (!o->resume || o->compare)) {
        const enum vmt_status status = cli_read_reference(&j.s, &j.reference, true);
        code = status == VMT_OK ? 0 : cli_fail(&j.s, status);
    } else if (!code && o->reference && !o->no_audio) {
        const enum vmt_status status = cli_find_start(&j.s);
        code = status == VMT_OK ? 0 : cli_fail(&j.s, status);
    }
    if (!code)
        code = plan(&j, &j.reference, true);
    if (!code && !o->plan)
        code = run(&j);
    vmt_clip_free(&j.reference);
    vmt_clip_free(&j.result);
    vmt_motion_field_free(&j.field);
    cli_session_close(&j.s);
    return code;
}
