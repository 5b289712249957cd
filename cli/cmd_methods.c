/* SPDX-License-Identifier: MIT
 *
 * methods: what can be done with a reference's motion, and what each takes.
 */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

/* What the plan of a run with this method says; sizes as asked, else the model's. */
static enum vmt_status plan_method(cli_session *s, vmt_plan *plan)
{
    vmt_clip shape;

    vmt_model_native(s->model, &shape);
    if (s->settings.width)
        shape.width = s->settings.width;
    if (s->settings.height)
        shape.height = s->settings.height;
    if (s->settings.frames)
        shape.frames = s->settings.frames;
    const vmt_transfer_io io = {.reference = &shape};
    return vmt_plan_make(s->ctx, s->model, &s->settings, &io, plan);
}

static void print_head(bool with_model)
{
    printf("%-12s %-9s %6s %6s %9s", "method", "reads", "guided", "inner", "gradients");
    if (with_model)
        printf(" %8s %8s %10s", "forward", "backward", "memory");
    printf("  paper\n");
    printf("%-12s %-9s %6s %6s %9s", "", "", "steps", "steps", "a step");
    if (with_model)
        printf(" %8s %8s %10s", "blocks", "blocks", "MiB");
    printf("\n");
}

static void print_row(const vmt_method_row *row, const vmt_settings *settings, const vmt_plan *plan)
{
    const vmt_motion_settings *m = &settings->motion;
    const int32_t guided = plan ? plan->guided_steps : m->guided_steps;
    const bool guides = *row->taps;
    const bool all = m->reuse == VMT_REUSE_NONE || m->reuse == VMT_REUSE_ADAPTIVE;
    const int32_t interval = all ? 1 : m->grad_reuse_interval;

    printf("%-12s %-9s", row->name, guides ? row->taps : "-");
    if (guides)
        printf(" %6" PRId32 " %6" PRId32 " %9" PRId32, guided, m->inner_steps,
               (m->inner_steps + interval - 1) / interval);
    else
        printf(" %6s %6s %9s", "-", "-", "-");
    if (plan && guides)
        printf(" %8" PRId32 " %8" PRId32, plan->forward_blocks, plan->backward_blocks);
    else if (plan)
        printf(" %8s %8s", "-", "-");
    if (plan)
        printf(" %10.1f", (double)plan->phase_bytes[VMT_PHASE_SAMPLE] / (1 << 20));
    printf("  %s\n", *row->paper ? row->paper : "-");
}

static enum vmt_status print_all(cli_session *s, const char *only)
{
    const bool with_model = s->model != NULL;
    const vmt_method_row *row;

    print_head(with_model);
    for (size_t i = 0; (row = vmt_method_at(i)); i++) {
        vmt_plan plan;
        if (only && strcmp(only, row->name) != 0)
            continue;
        enum vmt_status status = cli_fill_settings(s, row->name);
        if (status == VMT_OK && with_model)
            status = plan_method(s, &plan);
        if (status != VMT_OK)
            return status;
        print_row(row, &s->settings, with_model ? &plan : NULL);
    }
    printf("\n");
    for (size_t i = 0; (row = vmt_method_at(i)); i++)
        if (!only || !strcmp(only, row->name))
            printf("%-12s %s\n", row->name, row->about);
    return VMT_OK;
}

int cli_methods(cli_options *o)
{
    const bool with_model = o->paths.dir || o->paths.dit || o->paths.dit_low || o->paths.vae ||
                            o->paths.text || o->paths.tokenizer;
    const char *only = NULL;
    cli_session s;
    int code = cli_session_open(&s, o, with_model);

    for (int i = 0; i < o->setting_count; i++)
        if (!strcmp(o->settings[i].name, "method"))
            only = o->settings[i].value;
    if (!code && only) { /* a mistyped one is refused */
        const enum vmt_status status = cli_fill_settings(&s, only);
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    if (!code) {
        const enum vmt_status status = print_all(&s, only);
        code = status == VMT_OK ? 0 : cli_fail(&s, status);
    }
    cli_session_close(&s);
    return code;
}
