/* SPDX-License-Identifier: MIT
 *
 * What a method of motion transfer costs, part by part: a short run (some guided steps, as many
 * plain ones) whose progress is timed, and the whole schedule summed from it.
 */
#include "bench/bench.h"

#include "pipeline/pipeline.h"

#include <stdlib.h>

enum { MOST_STEPS = 64, MOST_INNER = 4096 };

/* Seconds of one kind of part, call by call. */
typedef struct part_times {
    double *seconds;
    int count, most;
} part_times;

enum { REFERENCE, COMPUTED, REUSED, PLAIN, PARTS };

typedef struct method_clock {
    vmt_ctx *ctx;
    int64_t gradients; /* computed so far */
    part_times parts[PARTS];
    double phases[VMT_PHASE_COUNT];
    size_t most; /* memory */
    enum vmt_phase phase;
    int64_t step, inner_step;  /* as last told */
    double since, phase_since; /* when the part and the phase at hand began */
    enum vmt_status status;    /* of waiting for a device */
} method_clock;

static void end_part(method_clock *c, int part, double now)
{
    part_times *p = &c->parts[part];

    if (p->count < p->most)
        p->seconds[p->count++] = now - c->since;
    c->since = now;
}

static void change_phase(method_clock *c, enum vmt_phase phase, double now)
{
    c->phases[c->phase] += now - c->phase_since;
    c->phase_since = now;
    c->phase = phase;
    c->step = c->inner_step = 0;
    c->since = now;
}

static int on_progress(void *user, const vmt_progress *p)
{
    method_clock *c = user;

    c->status = bench_wait(c->ctx);
    const double now = bench_now();
    const size_t memory = bench_used(c->ctx);
    c->most = memory > c->most ? memory : c->most;
    if (p->phase != c->phase) {
        change_phase(c, p->phase, now);
    } else if (p->phase == VMT_PHASE_EXTRACT) {
        if (p->step == c->step) /* the phase begins once more when the weights are there */
            c->since = now;
        else
            end_part(c, REFERENCE, now);
        c->step = p->step;
    } else if (p->phase == VMT_PHASE_SAMPLE) {
        if (p->inner_step > c->inner_step)
            end_part(c, p->gradients > c->gradients ? COMPUTED : REUSED, now);
        else if (p->step > c->step)
            end_part(c, PLAIN, now);
        c->inner_step = p->inner_step;
        c->step = p->step;
    }
    c->gradients = p->gradients;
    return c->status != VMT_OK;
}

static double median_of(part_times *p)
{
    double median = 0, least, most;

    if (p->count)
        bench_sort(p->seconds, p->count, &median, &least, &most);
    return median;
}

static enum vmt_status open_clock(vmt_ctx *ctx, method_clock *c)
{
    *c = (method_clock){.ctx = ctx, .phase = VMT_PHASE_LOAD, .phase_since = bench_now()};
    for (int i = 0; i < PARTS; i++) {
        c->parts[i].most = i == COMPUTED || i == REUSED ? MOST_INNER : 2 * MOST_STEPS;
        VMT_TRY(vmt_alloc(ctx, (void **)&c->parts[i].seconds, (size_t)c->parts[i].most,
                          sizeof(double)));
    }
    return VMT_OK;
}

static void close_clock(method_clock *c)
{
    for (int i = 0; i < PARTS; i++)
        vmt_free(c->parts[i].seconds);
}

typedef struct method_bench {
    const vmt_model *model;
    const char *embeddings; /* or NULL */
    vmt_clip reference;
} method_bench;

static enum vmt_status run(vmt_ctx *ctx, const method_bench *b, const vmt_settings *settings,
                           method_clock *clock)
{
    vmt_clip result = {0};
    const vmt_transfer_io io = {.reference = &b->reference,
                                .embeddings = b->embeddings,
                                .result = &result,
                                .progress = on_progress,
                                .progress_user = clock};
    const enum vmt_status status = vmt_transfer(ctx, b->model, settings, &io);

    change_phase(clock, VMT_PHASE_LOAD, bench_now());
    vmt_clip_free(&result);
    return clock->status != VMT_OK ? clock->status : status;
}

/* `guided` guided steps and as many plain ones; where nothing is guided, `guided` plain ones. */
static vmt_settings short_run(const vmt_settings *settings, bool guides, int32_t guided)
{
    vmt_settings s = *settings;

    s.motion.guide_until = 0;
    s.motion.guided_steps = guides ? guided : 0;
    s.steps = guides ? 2 * guided : guided;
    return s;
}

/* guided: as short_run takes it, or 0 for the whole schedule. */
static enum vmt_status measure(vmt_ctx *ctx, const method_bench *b, const vmt_settings *settings,
                               int32_t guided, vmt_method_cost *cost)
{
    const vmt_settings s = guided ? short_run(settings, cost->guided_steps > 0, guided) : *settings;
    method_clock clock;
    const size_t before = bench_used(ctx);

    enum vmt_status status = open_clock(ctx, &clock);
    if (status == VMT_OK)
        status = run(ctx, b, &s, &clock);
    cost->reference = median_of(&clock.parts[REFERENCE]);
    cost->computed = median_of(&clock.parts[COMPUTED]);
    cost->reused = median_of(&clock.parts[REUSED]);
    cost->plain = median_of(&clock.parts[PLAIN]);
    cost->encode = clock.phases[VMT_PHASE_ENCODE];
    cost->decode = clock.phases[VMT_PHASE_DECODE];
    cost->loop_ran = clock.phases[VMT_PHASE_EXTRACT] + clock.phases[VMT_PHASE_SAMPLE];
    cost->taken = clock.most > before ? clock.most - before : 0;
    close_clock(&clock);
    return status;
}

/* What has to come from disk or to be compiled does so before anything is timed. */
static enum vmt_status warm_up(vmt_ctx *ctx, const method_bench *b, const vmt_settings *settings,
                               bool guides)
{
    vmt_settings s = short_run(settings, guides, 1);
    method_clock clock;

    s.steps = 1;
    s.motion.inner_steps = 1;
    enum vmt_status status = open_clock(ctx, &clock);
    if (status == VMT_OK)
        status = run(ctx, b, &s, &clock);
    close_clock(&clock);
    return status;
}

static void sum_up(vmt_method_cost *cost, const vmt_settings *settings)
{
    const int32_t reused = cost->guided_steps * settings->motion.inner_steps - cost->gradients;

    cost->guidance = cost->guided_steps * cost->reference + cost->gradients * cost->computed +
                     reused * cost->reused;
    if (cost->guided_steps)
        cost->guided_step = cost->guidance / cost->guided_steps;
    cost->loop = cost->guidance + cost->steps * cost->plain;
    cost->whole = cost->encode + cost->loop + cost->decode;
}

static enum vmt_status fill_plan(vmt_ctx *ctx, const method_bench *b, const vmt_settings *settings,
                                 vmt_method_cost *cost)
{
    const vmt_transfer_io io = {.reference = &b->reference, .embeddings = b->embeddings};
    vmt_plan plan;

    VMT_TRY(vmt_plan_make(ctx, b->model, settings, &io, &plan));
    cost->tokens = plan.grid_f * plan.grid_h * plan.grid_w;
    cost->steps = plan.steps;
    cost->guided_steps = plan.guided_steps;
    cost->gradients = plan.gradients;
    cost->planned = plan.peak_bytes;
    return VMT_OK;
}

enum vmt_status vmt_bench_method(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                 const char *embeddings, int32_t guided, int32_t warm,
                                 vmt_method_cost *cost)
{
    method_bench b = {.model = model, .embeddings = embeddings};
    vmt_settings own = *settings;

    *cost = (vmt_method_cost){0};
    if (guided < 0 || guided > MOST_STEPS)
        return vmt_fail(ctx, VMT_E_ARG,
                        "bench of %d guided steps; possible are 1 to %d, or 0 for all", (int)guided,
                        MOST_STEPS);
    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_DIT));
    if (!own.prompt)
        own.prompt = BENCH_PROMPT;
    VMT_TRY(bench_reference(ctx, model, &own, &b.reference));
    enum vmt_status status = fill_plan(ctx, &b, &own, cost);
    if (status == VMT_OK && !warm)
        status = warm_up(ctx, &b, &own, cost->guided_steps > 0);
    if (status == VMT_OK)
        status = measure(ctx, &b, &own, guided, cost);
    sum_up(cost, &own);
    vmt_clip_free(&b.reference);
    return status;
}
