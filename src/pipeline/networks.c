/* SPDX-License-Identifier: MIT
 *
 * The transformer of the step at hand, with its prompts and its run: of a model's two, one is there
 * at a time.
 */
#include "pipeline/sample.h"

#include <inttypes.h>

static enum vmt_status open_text(vmt_ctx *ctx, vmt_sample *s, enum vmt_run_text which)
{
    if (!s->spec.texts[which].rows)
        return VMT_OK;
    return vmt_dit_text_open(ctx, &s->texts[which], s->network, s->spec.texts[which].rows,
                             s->spec.texts[which].count);
}

/* The reference's is empty, and goes before the loop's come. */
static enum vmt_status open_texts(vmt_ctx *ctx, vmt_sample *s)
{
    if (!s->loops)
        return open_text(ctx, s, VMT_TEXT_EMPTY);
    vmt_dit_text_close(ctx, s->texts[VMT_TEXT_EMPTY]);
    s->texts[VMT_TEXT_EMPTY] = NULL;
    if (!s->spec.samples)
        return VMT_OK;
    VMT_TRY(open_text(ctx, s, VMT_TEXT_PROMPT));
    return open_text(ctx, s, VMT_TEXT_NEGATIVE);
}

void vmt_sample_close_network(vmt_ctx *ctx, vmt_sample *s)
{
    vmt_dit_run_close(ctx, s->dit);
    s->dit = NULL;
    for (int i = 0; i < VMT_TEXT_COUNT; i++) {
        vmt_dit_text_close(ctx, s->texts[i]);
        s->texts[i] = NULL;
    }
    s->network = NULL;
}

/* The weights of s->network; those of the other transformer, which a run before may have left, go
 * first. */
static enum vmt_status take_weights(vmt_ctx *ctx, vmt_sample *s)
{
    vmt_dit *const both[2] = {s->spec.model->dit, s->spec.model->dit_low};

    for (int i = 0; i < 2; i++)
        if (both[i] && both[i] != s->network)
            vmt_dit_release(ctx, both[i]);
    VMT_TRY(vmt_dit_prepare_blocks(ctx, s->network, s->holding.resident));
    return s->spec.samples && s->spec.settings->fp8 ? vmt_dit_prepare_fp8(ctx, s->network) : VMT_OK;
}

/* Texts and run of s->network, whose residuals are none. */
static enum vmt_status open_network(vmt_ctx *ctx, vmt_sample *s)
{
    const vmt_dit_plan plan = vmt_sample_dit_plan(s, &s->holding);

    VMT_TRY(open_texts(ctx, s));
    VMT_TRY(vmt_dit_run_open(ctx, &s->dit, s->network, &plan));
    s->cache_held = false;
    return s->cache_changes ? vmt_dit_time_changes(ctx, s->dit, s->cache_changes) : VMT_OK;
}

enum vmt_status vmt_sample_use(vmt_ctx *ctx, vmt_sample *s, float timestep)
{
    vmt_dit *const wanted = vmt_model_dit_at(s->spec.model, s->spec.settings, timestep);

    if (s->network == wanted)
        return VMT_OK;
    if (s->spec.model->dit_low)
        vmt_log(ctx, VMT_LOG_DEBUG, "timestep %g: the transformer of %s noise", (double)timestep,
                wanted == s->spec.model->dit ? "high" : "low");
    vmt_sample_close_network(ctx, s);
    s->network = wanted;
    VMT_TRY(take_weights(ctx, s));
    return open_network(ctx, s);
}

enum vmt_status vmt_sample_begin_loop(vmt_ctx *ctx, vmt_sample *s)
{
    s->loops = true;
    if (!s->spec.samples ||
        s->network == vmt_model_dit_at(s->spec.model, s->spec.settings, s->timesteps[0]))
        return open_texts(ctx, s);
    return vmt_sample_use(ctx, s, s->timesteps[0]);
}

enum vmt_status vmt_sample_check_networks(vmt_ctx *ctx, const vmt_sample *s)
{
    const vmt_motion_settings *m = &s->spec.settings->motion;
    const vmt_model *model = s->spec.model;

    if (!model->dit_low || !s->guided)
        return VMT_OK;
    if (m->ref_time == VMT_REF_CLEAN)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--ref-time clean: of a model of two transformers that of "
                        "low noise would measure the reference; leave it out");
    for (int64_t i = 0; i < s->guided; i++) {
        const int64_t of = i - i % m->ref_interval;
        if (vmt_model_dit_at(model, s->spec.settings, s->sampler.timesteps[i]) !=
            vmt_model_dit_at(model, s->spec.settings, s->sampler.timesteps[of]))
            return vmt_fail(ctx, VMT_E_ARG,
                            "--ref-interval %" PRId32 ": guided step %" PRId64 " is of the second "
                            "transformer, its reference of the first; leave it out",
                            m->ref_interval, i);
    }
    return VMT_OK;
}
