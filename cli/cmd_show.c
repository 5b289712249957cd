/* SPDX-License-Identifier: MIT
 *
 * show: the motion field of a reference as pictures, from a motion file or by a model.
 */
#include "cli.h"

typedef struct show_job {
    cli_session s;
    cli_reporter reporter;
    vmt_clip clip, picture;
    vmt_motion_field field;
    double seconds;
} show_job;

static int tell(void *user, const vmt_progress *progress)
{
    show_job *j = user;

    j->seconds = progress->seconds;
    return cli_reporter_tell(&j->reporter, progress);
}

static int check_options(cli_options *o)
{
    if (o->operand_count > 1 || (o->operand_count && o->reference))
        return cli_fail_text(VMT_E_ARG, "show takes one video");
    if (o->operand_count)
        o->reference = o->operands[0];
    if (!o->reference)
        return cli_fail_text(VMT_E_ARG, "show needs the video whose motion to draw");
    const int code = cli_check_output(o, o->output, media_would_replace);
    if (code)
        return code;
    const bool has_model = o->paths.dir || o->paths.dit;
    if (has_model == (o->motion != NULL))
        return cli_fail_text(VMT_E_ARG, "show needs a motion file or a model: --motion FILE or -m "
                                        "DIR, one of the two");
    if (o->motion && (o->setting_count || o->preset || o->embeddings))
        return cli_fail_text(VMT_E_ARG,
                             "--motion: the settings are those of the file; leave out --%s",
                             o->setting_count ? o->settings[0].name
                             : o->preset      ? "preset"
                                              : "embeddings");
    return 0;
}

/* The video is brought to the size and length that the file was made from. */
static enum vmt_status from_file(show_job *j, const cli_options *o)
{
    vmt_settings *settings = &j->s.settings;
    vmt_clip made;
    const enum vmt_status status = vmt_motion_field_read(j->s.ctx, &j->field, &made, o->motion);

    if (status != VMT_OK)
        return status;
    settings->width = made.width;
    settings->height = made.height;
    settings->frames = made.frames;
    settings->fps = made.fps;
    return cli_read_reference(&j->s, &j->clip, false);
}

static enum vmt_status by_model(show_job *j, const cli_options *o)
{
    const vmt_transfer_io io = {.reference = &j->clip,
                                .embeddings = o->embeddings,
                                .field = &j->field,
                                .progress = tell,
                                .progress_user = j};
    const enum vmt_status status = cli_read_reference(&j->s, &j->clip, true);

    return status == VMT_OK ? vmt_extract(j->s.ctx, j->s.model, &j->s.settings, &io, NULL) : status;
}

static enum vmt_status draw(show_job *j, const cli_options *o)
{
    const media_write_options options = {.codec = o->codec, .crf = (int)o->crf};
    const enum vmt_status status = media_compare(j->s.ctx, &j->picture, &j->clip, NULL, &j->field);

    return status == VMT_OK ? media_write(j->s.ctx, &j->picture, o->output, &options) : status;
}

static int run(show_job *j, const cli_options *o)
{
    const media_write_options options = {.codec = o->codec, .crf = (int)o->crf};
    enum vmt_status status = media_check_output(j->s.ctx, o->output, &options);

    cli_reporter_init(&j->reporter, o);
    if (status == VMT_OK && !o->motion) {
        const vmt_method_row *row = vmt_method_at((size_t)j->s.settings.motion.method);
        if (row && !row->flow)
            return cli_fail_text(VMT_E_UNSUPPORTED, "method %s measures no flow to show",
                                 row->name);
    }
    if (status == VMT_OK)
        status = o->motion ? from_file(j, o) : by_model(j, o);
    cli_reporter_finish(&j->reporter, j->seconds);
    if (status == VMT_OK && !j->field.flow)
        return cli_fail_text(VMT_E_UNSUPPORTED,
                             "with these settings there is no flow from frame to "
                             "frame to show");
    if (status == VMT_OK)
        status = draw(j, o);
    if (status != VMT_OK)
        return cli_fail(&j->s, status);
    if (!o->quiet)
        fprintf(stderr, "wrote %s\n", o->output);
    return 0;
}

int cli_show(cli_options *o)
{
    show_job j = {0};
    int code = check_options(o);

    if (code)
        return code;
    code = cli_session_open(&j.s, o, !o->motion);
    if (!code)
        code = run(&j, o);
    vmt_clip_free(&j.clip);
    vmt_clip_free(&j.picture);
    vmt_motion_field_free(&j.field);
    cli_session_close(&j.s);
    return code;
}
