/* SPDX-License-Identifier: MIT */
#include "pipeline/holding.h"

#include "pipeline/sample.h"

#include <string.h>

/*
 * The estimate.  Rates were measured (docs/performance.md): products of a block of the 14B shape on
 * an H100; bytes of UMT5's layers through pinned memory to it, from a file in the page cache; a
 * block's products for each core of a Zen 4; a file's F32 weights converted there.  They order the
 * choices; what a run takes on another machine they do not tell.
 */
static const double DEVICE_FLOP = 600e12, DEVICE_COPY = 14e9;
static const double CORE_FLOP_BF16 = 200e9, CORE_FLOP_F32 = 100e9, HOST_CONVERT = 9.6e9;

typedef struct pace {
    double linear, attention; /* seconds of a block's products, forward; ffn_out is a part */
    double ffn_out;
    double copy; /* bytes per second */
    bool overlaps;
    double block_bytes; /* copied each time a block comes */
    double spill_bytes; /* of a block's saved tensors */
} pace;

/* A way and what it costs. */
typedef struct candidate {
    vmt_held held;
    double seconds;
} candidate;

static pace make_pace(vmt_ctx *ctx, const vmt_sample *s)
{
    const vmt_dit_config *c = &s->spec.model->dit_config;
    const vmt_geometry *g = &s->spec.geometry;
    const bool device = ctx->ops->wait != NULL;
    const double n = (double)(g->grid_f * g->grid_h * g->grid_w), d = (double)c->dim;
    const double f = (double)c->ffn_dim;
    const double core = ctx->act == VMT_BF16 ? CORE_FLOP_BF16 : CORE_FLOP_F32;
    const double rate = device ? DEVICE_FLOP : core * ctx->threads;

    return (pace){.linear =
                      (12 * n * d * d + 4 * n * d * f + 4 * n * (double)c->text_len * d) / rate,
                  .attention = 4 * n * n * d / rate,
                  .ffn_out = 2 * n * d * f / rate,
                  .copy = device ? DEVICE_COPY : HOST_CONVERT,
                  .overlaps = device};
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Seconds for computing and copying side by side, or one after the other. */
static double both(const pace *p, double computing, double bytes)
{
    return p->overlaps ? larger(computing, bytes / p->copy) : computing + bytes / p->copy;
}

/* Of the steps and their gradients: a forward, and a backward of products as many, attention's 2.5
 * times, and what a level computes again. */
static double estimate(const pace *p, const vmt_sample *s, const vmt_holding *how, int64_t forwards)
{
    const double layers = (double)s->spec.model->dit_config.layers;
    const double comes = (layers - how->resident) / layers * p->block_bytes; /* of a block */
    const double forward = p->linear + p->attention;
    const double again = how->recompute == 0   ? 0
                         : how->recompute == 1 ? p->linear - p->ffn_out
                                               : forward - p->ffn_out;
    const double kept = how->spills ? p->spill_bytes : 0;
    const int64_t gradients = vmt_reuse_gradients(&s->spec.settings->motion, s->guided);
    double seconds = (double)forwards * layers * both(p, forward, comes);

    if (!s->guided)
        return seconds;
    const double through = vmt_sample_forward_blocks(s), back = vmt_sample_backward_blocks(s);
    /* weights come while saved tensors go; on the way back both come */
    seconds += (double)gradients * through * both(p, forward, larger(comes, kept));
    return seconds +
           (double)gradients * back * both(p, p->linear + 2.5 * p->attention + again, comes + kept);
}

/* The most blocks that stay within `room` beside `bytes`; -1: not even none. */
static int fitting(const size_t *held, int layers, size_t bytes, size_t room)
{
    for (int resident = layers; resident >= 0; resident--)
        if (bytes <= room && held[resident] <= room - bytes)
            return resident;
    return -1;
}

typedef struct search {
    vmt_ctx *ctx;
    vmt_sample *s;
    pace pace;
    size_t *held; /* bytes of the DiT's weights with 0..layers blocks that stay */
    int layers;
    int64_t forwards;
    size_t room, host_room;
    double whole; /* seconds with all the memory a run wants */
} search;

/* A way with as many resident blocks as fit; without any that does, with none. */
static enum vmt_status try_way(search *f, vmt_holding how, candidate *c)
{
    vmt_held *held = &c->held;

    VMT_TRY(vmt_sample_bytes(f->ctx, f->s, &how, &held->bytes, &held->host));
    const int resident = fitting(f->held, f->layers, held->bytes, f->room);
    const bool streams = f->held[0] < f->held[f->layers];
    held->fits = resident >= 0 && held->host <= f->host_room;
    how.resident = resident >= 0 ? resident : streams ? 0 : f->layers;
    held->how = how;
    held->weights = f->held[how.resident];
    const int64_t kept = vmt_sample_backward_blocks(f->s) - 2;
    f->pace.spill_bytes = held->host && kept > 0 ? (double)held->host / (double)kept : 0;
    c->seconds = estimate(&f->pace, f->s, &how, f->forwards);
    held->streamed = (size_t)((f->layers - how.resident) * f->pace.block_bytes);
    held->slowdown = f->whole > 0 ? c->seconds / f->whole : 1;
    return VMT_OK;
}

static size_t taken(const candidate *c)
{
    return c->held.bytes + c->held.weights;
}

/* Whether a is to be taken instead of b. */
static bool is_better(const candidate *a, const candidate *b)
{
    if (a->held.fits != b->held.fits)
        return a->held.fits;
    if (!a->held.fits)
        return taken(a) < taken(b);
    return a->seconds < b->seconds * (1 - 1e-9);
}

static size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The best of all levels, with and without spilling, at one length of the feed-forward's parts. */
static enum vmt_status best_of(search *f, int64_t ffn_rows, candidate *best, size_t *least)
{
    const int32_t asked = f->s->spec.settings->recompute;
    const bool backward =
        f->s->guided && f->s->spec.samples && vmt_sample_backward_blocks(f->s) > 0;
    const bool spills = f->ctx->ops->spill_wait && backward;
    const int32_t first = asked >= 0 ? asked : 0, last = asked >= 0 ? asked : backward ? 2 : 0;
    bool any = false;

    for (int32_t level = first; level <= last; level++)
        for (int spill = 0; spill < (spills && level > 0 ? 2 : 1); spill++) {
            candidate c = {0};
            const vmt_holding how = {
                .recompute = level, .ffn_rows = ffn_rows, .spills = spill != 0};
            VMT_TRY(try_way(f, how, &c));
            *least = minimum(*least, c.held.bytes + minimum(f->held[0], f->held[f->layers]));
            if (!any || is_better(&c, best))
                *best = c;
            any = true;
        }
    return VMT_OK;
}

/* On the host, unless the user names a limit, only half of what is free is taken for speed: other
 * programs, and the pages of mapped weights, live there too.  The fastest level within it whose
 * blocks all stay; else the last. */
static enum vmt_status within_half(search *f, candidate *best, size_t *least)
{
    const int32_t asked = f->s->spec.settings->recompute;
    const size_t left = vmt_left_of(f->room, f->held[f->layers]);

    for (int32_t level = asked >= 0 ? asked : 0;; level++) {
        const vmt_holding how = {.recompute = level};
        VMT_TRY(try_way(f, how, best));
        *least = minimum(*least, best->held.bytes + minimum(f->held[0], f->held[f->layers]));
        if (asked >= 0 || best->held.bytes <= left / 2 || level == 2)
            return VMT_OK;
    }
}

static enum vmt_status search_all(search *f, const vmt_budget *budget, candidate *best,
                                  size_t *least)
{
    enum { PARTS = 5 };  /* all tokens, a half, …, a sixteenth */
    enum { ROWS = 128 }; /* a multiple of what products count in */
    const vmt_geometry *g = &f->s->spec.geometry;
    const int64_t tokens = g->grid_f * g->grid_h * g->grid_w;
    const bool half = !budget->named && !f->ctx->ops->free_bytes;

    if (half)
        VMT_TRY(within_half(f, best, least));
    const bool decided = half && best->held.fits;
    for (int part = 0; part < PARTS; part++) {
        const int64_t rows = part ? ((tokens >> part) + ROWS - 1) / ROWS * ROWS : tokens;
        candidate c = {0};
        if (part && rows >= tokens)
            break;
        VMT_TRY(best_of(f, rows, &c, least));
        if (decided)
            continue; /* for the least alone */
        const bool first = !part && !half;
        const bool may_cut = !part || budget->named || !best->held.fits;
        const bool gains =
            is_better(&c, best) && !(best->held.fits && c.seconds > best->seconds * 0.98);
        if (first || (may_cut && gains))
            *best = c;
    }
    return VMT_OK;
}

enum vmt_status vmt_holding_choose(vmt_ctx *ctx, vmt_sample *s, const vmt_budget *budget,
                                   size_t always, vmt_held *result)
{
    const vmt_dit *const both[2] = {s->spec.model->dit, s->spec.model->dit_low};
    const bool fp8 = s->spec.samples && s->spec.settings->fp8;
    const vmt_holding all = {.resident = (int32_t)s->spec.model->dit_config.layers};
    search f = {.ctx = ctx,
                .s = s,
                .pace = make_pace(ctx, s),
                .layers = (int)s->spec.model->dit_config.layers,
                .room = vmt_left_of(budget->room, always),
                .host_room = ctx->ops->free_bytes ? budget->host_room : SIZE_MAX};
    size_t least = SIZE_MAX;
    candidate best = {0};
    void *held = NULL;

    for (int64_t i = 0; s->spec.samples && i < s->sampler.steps; i++)
        f.forwards += vmt_sample_passes(s, i);
    for (int k = 0; k < 2; k++) /* of two transformers one is there at a time */
        if (both[k])
            f.pace.block_bytes =
                larger(f.pace.block_bytes, (double)vmt_dit_block_bytes(ctx, both[k], fp8));
    f.whole = estimate(&f.pace, s, &all, f.forwards);
    VMT_TRY(vmt_alloc(ctx, &held, (size_t)f.layers + 1, sizeof *f.held));
    f.held = held;
    for (int k = 0; k < 2; k++)
        for (int i = 0; both[k] && i <= f.layers; i++) {
            const size_t bytes = vmt_dit_held_bytes(ctx, both[k], i, fp8);
            f.held[i] = bytes > f.held[i] ? bytes : f.held[i];
        }
    const enum vmt_status status = search_all(&f, budget, &best, &least);
    vmt_free(held);
    *result = best.held;
    result->least = least;
    return status;
}
