/* SPDX-License-Identifier: MIT
 *
 * Whole transfers of a made clip, so that no decoder is needed: time, products and memory of each
 * phase.
 */
#include "bench/bench.h"

#include "pipeline/pipeline.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a phase took in one run. */
typedef struct phase_cost {
    double wall, processor, flop, seconds[BENCH_KINDS];
    size_t most; /* memory */
} phase_cost;

typedef struct transfer_bench {
    vmt_ctx *ctx;
    bench_counter counter;
    int phase; /* at hand */
    double wall, processor;
    phase_cost *costs; /* of this run: [VMT_PHASE_COUNT] */
} transfer_bench;

/* Adds what passed since the last call to the phase at hand. */
static void book(transfer_bench *t)
{
    phase_cost *cost = &t->costs[t->phase];
    const double wall = bench_now(), processor = bench_processor();

    cost->wall += wall - t->wall;
    cost->processor += processor - t->processor;
    t->wall = wall;
    t->processor = processor;
    for (int k = 0; k < BENCH_KINDS; k++) {
        cost->flop += t->counter.flop[k];
        cost->seconds[k] += t->counter.seconds[k];
        t->counter.flop[k] = t->counter.seconds[k] = 0;
    }
}

static int on_progress(void *user, const vmt_progress *progress)
{
    transfer_bench *t = user;
    phase_cost *cost = &t->costs[progress->phase];
    const size_t now = bench_used(t->ctx);

    if ((int)progress->phase != t->phase)
        book(t);
    t->phase = (int)progress->phase;
    cost->most = now > cost->most ? now : cost->most;
    return 0;
}

/* A square on an ellipse. */
static void draw(vmt_clip *clip)
{
    const int64_t side = clip->height / 4;

    for (int64_t f = 0; f < clip->frames; f++) {
        const double angle = 6.283185307 * (double)f / (double)clip->frames;
        const int64_t top = (int64_t)((double)(clip->height - side) * (0.5 + 0.4 * sin(angle)));
        const int64_t left = (int64_t)((double)(clip->width - side) * (0.5 + 0.4 * cos(angle)));
        for (int64_t y = 0; y < clip->height; y++)
            for (int64_t x = 0; x < clip->width; x++) {
                const bool inside = y >= top && y < top + side && x >= left && x < left + side;
                uint8_t *pixel = clip->pixels + ((f * clip->height + y) * clip->width + x) * 3;
                pixel[0] = (uint8_t)(inside ? 220 : 60);
                pixel[1] = (uint8_t)(inside ? 80 : 100 + y % 100);
                pixel[2] = (uint8_t)(inside ? 40 : 160);
            }
    }
}

enum vmt_status bench_reference(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                vmt_clip *clip)
{
    vmt_clip native;

    vmt_model_native(model, &native);
    VMT_TRY(vmt_clip_new(ctx, clip, settings->frames ? settings->frames : native.frames,
                         settings->height ? settings->height : native.height,
                         settings->width ? settings->width : native.width, 16));
    draw(clip);
    return VMT_OK;
}

static enum vmt_status run_once(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                const vmt_clip *reference, phase_cost costs[VMT_PHASE_COUNT])
{
    vmt_clip result = {0};
    transfer_bench t = {
        .ctx = ctx, .costs = costs, .wall = bench_now(), .processor = bench_processor()};
    const vmt_transfer_io io = {
        .reference = reference, .result = &result, .progress = on_progress, .progress_user = &t};

    bench_counter_begin(ctx, &t.counter);
    const enum vmt_status status = vmt_transfer(ctx, model, settings, &io);
    bench_counter_end(ctx, &t.counter);
    book(&t);
    vmt_clip_free(&result);
    return status;
}

/* The median run of one phase as a row; phase -1: all of them. */
static void fill_row(vmt_bench_row *row, const phase_cost *costs, int runs, int phase,
                     double *scratch)
{
    double used, least, most, seconds[BENCH_KINDS] = {0}, all = 0;

    for (int what = 0; what < 2; what++) {
        for (int r = 0; r < runs; r++) {
            scratch[r] = 0;
            for (int i = 0; i < VMT_PHASE_COUNT; i++) {
                const phase_cost *c = &costs[r * VMT_PHASE_COUNT + i];
                if (phase >= 0 && phase != i)
                    continue;
                scratch[r] += what ? c->processor : c->wall;
                if (what)
                    continue;
                all += c->wall;
                row->flop += c->flop / runs;
                row->taken = c->most > row->taken ? c->most : row->taken;
                for (int k = 0; k < BENCH_KINDS; k++)
                    seconds[k] += c->seconds[k];
            }
        }
        if (what)
            bench_sort(scratch, runs, &used, &least, &most);
        else
            bench_sort(scratch, runs, &row->median, &row->least, &row->most);
    }
    row->processor = used;
    row->linear = all > 0 ? seconds[BENCH_LINEAR] / all : 0;
    row->attention = all > 0 ? seconds[BENCH_ATTENTION] / all : 0;
    row->conv = all > 0 ? seconds[BENCH_CONV] / all : 0;
}

/* Rows of all phases that took time, then of the whole. */
static enum vmt_status tell_rows(bench *b, const vmt_model *model, const vmt_plan *plan,
                                 const phase_cost *costs, size_t before, double *scratch)
{
    char detail[BENCH_TEXT_BYTES];
    size_t converted = 0, mapped = 0;

    snprintf(detail, sizeof detail, "%d steps, %d guided, %d gradients, recompute level %d",
             (int)plan->steps, (int)plan->guided_steps, (int)plan->gradients, (int)plan->recompute);
    vmt_dit_weight_bytes(b->ctx, model->dit, &converted, &mapped);
    for (int i = 0; i <= VMT_PHASE_COUNT; i++) {
        const bool whole = i == VMT_PHASE_COUNT, has_dit = i >= VMT_PHASE_EXTRACT;
        vmt_bench_row row = {.part = "transfer",
                             .what = whole ? "all" : vmt_phase_name((enum vmt_phase)i),
                             .detail = detail,
                             .planned = whole ? plan->peak_bytes : plan->phase_bytes[i],
                             .converted = has_dit ? converted : 0,
                             .mapped = whole     ? plan->mapped_bytes
                                       : has_dit ? mapped
                                                 : 0};
        fill_row(&row, costs, b->head.runs, whole ? -1 : i, scratch);
        row.taken = row.taken > before ? row.taken - before : 0;
        if (row.flop > 0 || whole)
            VMT_TRY(bench_tell(b, &row));
    }
    return VMT_OK;
}

static enum vmt_status run_all(bench *b, const vmt_model *model, const vmt_settings *settings,
                               vmt_clip *reference, phase_cost *costs, double *scratch)
{
    const size_t before = bench_used(b->ctx);
    const vmt_transfer_io io = {.reference = reference};
    vmt_plan plan;

    VMT_TRY(bench_reference(b->ctx, model, settings, reference));
    b->head.width = reference->width;
    b->head.height = reference->height;
    b->head.frames = reference->frames;
    VMT_TRY(vmt_plan_make(b->ctx, model, settings, &io, &plan));
    b->head.tokens = plan.grid_f * plan.grid_h * plan.grid_w;
    bench_counter_begin(b->ctx, &b->counter);
    const enum vmt_status status = bench_ceiling(b);
    bench_counter_end(b->ctx, &b->counter);
    VMT_TRY(status);
    for (int r = 0; r < b->head.runs; r++)
        VMT_TRY(run_once(b->ctx, model, settings, reference, costs + r * VMT_PHASE_COUNT));
    return tell_rows(b, model, &plan, costs, before, scratch);
}

enum vmt_status vmt_bench_transfer(vmt_ctx *ctx, const vmt_model *model,
                                   const vmt_settings *settings, int32_t runs, vmt_bench_fn *row,
                                   void *user)
{
    bench b = {.ctx = ctx, .options = {.runs = BENCH_RUNS, .row = row, .user = user}};
    vmt_clip reference = {0};
    vmt_settings own = *settings;
    void *costs = NULL, *scratch = NULL;

    VMT_TRY(vmt_model_require(ctx, model, VMT_PART_DIT));
    if (!own.prompt)
        own.prompt = BENCH_PROMPT;
    b.head = (vmt_bench_head){.backend = ctx->ops->name,
                              .dtype = bench_dtype(ctx),
                              .shape = "model",
                              .threads = ctx->threads,
                              .runs = runs > 0 ? runs : 1};
    const size_t count = (size_t)b.head.runs;
    enum vmt_status status = vmt_alloc(ctx, &costs, count * VMT_PHASE_COUNT, sizeof(phase_cost));
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &scratch, count, sizeof(double));
    if (status == VMT_OK)
        status = run_all(&b, model, &own, &reference, costs, scratch);
    vmt_clip_free(&reference);
    vmt_free(costs);
    vmt_free(scratch);
    return status;
}
