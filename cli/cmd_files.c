/* SPDX-License-Identifier: MIT
 *
 * extract, encode, decode, embed: one phase of a run, to or from a file.
 */
#include "cli.h"

#include <string.h>
#include <unistd.h>

typedef struct file_job {
    cli_session s;
    cli_reporter reporter;
    vmt_clip clip;
    double seconds;
} file_job;

static int tell(void *user, const vmt_progress *progress)
{
    file_job *j = user;

    j->seconds = progress->seconds;
    return cli_reporter_tell(&j->reporter, progress);
}

static bool is_there(const char *path)
{
    return !access(path, F_OK);
}

/* A file that is no picture. */
static int check_file(const cli_options *o)
{
    const int code = cli_check_output(o, o->output, is_there);
    return code ? code : cli_check_place(o->output);
}

static void print_done(const file_job *j, const cli_options *o)
{
    fprintf(stderr, "wrote %s in %.2f s", o->output, j->seconds);
    if (j->reporter.memory_planned && j->reporter.memory_taken)
        cli_print_memory(j->reporter.memory_planned, j->reporter.memory_taken);
    fputc('\n', stderr);
}

static int finish(file_job *j, enum vmt_status status, const cli_options *o)
{
    cli_reporter_finish(&j->reporter, j->seconds);
    const int code = status == VMT_OK ? 0 : cli_fail(&j->s, status);
    if (!code && !o->quiet)
        print_done(j, o);
    vmt_clip_free(&j->clip);
    cli_session_close(&j->s);
    return code;
}

/* extract and encode read a clip; they differ in the call alone. */
static int from_clip(cli_options *o,
                     enum vmt_status (*call)(vmt_ctx *, const vmt_model *, const vmt_settings *,
                                             const vmt_transfer_io *, const char *))
{
    file_job j = {0};
    int code = check_file(o);

    if (!code && !o->reference)
        code = cli_fail_text(VMT_E_ARG, "%s needs a video: -r VIDEO", o->command);
    if (code)
        return code;
    code = cli_session_open(&j.s, o, true);
    if (code) {
        cli_session_close(&j.s);
        return code;
    }
    cli_reporter_init(&j.reporter, o);
    /* a motion file must see what transfer sees; encode takes the clip as it is */
    enum vmt_status status = cli_read_reference(&j.s, &j.clip, call == vmt_extract);
    const vmt_transfer_io io = {
        .reference = &j.clip, .embeddings = o->embeddings, .progress = tell, .progress_user = &j};
    if (status == VMT_OK)
        status = call(j.s.ctx, j.s.model, &j.s.settings, &io, o->output);
    return finish(&j, status, o);
}

int cli_extract(cli_options *o)
{
    return from_clip(o, vmt_extract);
}

int cli_encode(cli_options *o)
{
    return from_clip(o, vmt_encode);
}

int cli_embed(cli_options *o)
{
    file_job j = {0};
    int code = check_file(o);

    if (code)
        return code;
    code = cli_session_open(&j.s, o, true);
    if (!code && !j.s.settings.prompt)
        code = cli_fail_text(VMT_E_ARG, "embed needs a prompt: -p TEXT");
    if (code) {
        cli_session_close(&j.s);
        return code;
    }
    cli_reporter_init(&j.reporter, o);
    const vmt_transfer_io io = {.progress = tell, .progress_user = &j};
    return finish(&j, vmt_embed_prompts(j.s.ctx, j.s.model, &j.s.settings, &io, o->output), o);
}

int cli_decode(cli_options *o)
{
    file_job j = {0};
    int code;

    if (o->operand_count != 1)
        return cli_fail_text(VMT_E_ARG, "decode needs one latent file");
    code = cli_check_output(o, o->output, media_would_replace);
    if (code)
        return code;
    code = cli_session_open(&j.s, o, true);
    if (code) {
        cli_session_close(&j.s);
        return code;
    }
    cli_reporter_init(&j.reporter, o);
    const vmt_transfer_io io = {.result = &j.clip, .progress = tell, .progress_user = &j};
    media_write_options options = cli_write_options(&j.s);
    enum vmt_status status = media_check_output(j.s.ctx, o->output, &options);
    if (status == VMT_OK)
        status = o->reference ? cli_find_start(&j.s) : VMT_OK;
    options.sound_start = j.s.reference_start;
    if (status == VMT_OK)
        status = vmt_decode(j.s.ctx, j.s.model, &j.s.settings, o->operands[0], &io);
    if (status == VMT_OK)
        status = media_write(j.s.ctx, &j.clip, o->output, &options);
    return finish(&j, status, o);
}
