/* SPDX-License-Identifier: MIT
 *
 * The transformer: a whole forward pass; one block forward, and forward and backward at each
 * recompute level; attention by itself.
 */
#include "bench/bench.h"

#include "dit/dit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { FEW_BLOCKS = 4 }; /* more than any cache holds at the real shapes */

static const float TIMESTEP = 500;

typedef struct dit_bench {
    int64_t all; /* blocks that the shape has */
    vmt_tensor_file *file;
    vmt_dit *dit;
    vmt_dit_text *text;
    vmt_dit_run *run;
    vmt_tensor latent, velocity, dhidden;
    size_t planned;    /* of text, run and converted weights */
    size_t weights[2]; /* converted, mapped */
} dit_bench;

static enum vmt_status open_text(vmt_ctx *ctx, dit_bench *d)
{
    const vmt_dit_config *c = vmt_dit_get_config(d->dit);
    void *rows;

    VMT_TRY(vmt_alloc(ctx, &rows, (size_t)(c->text_len * c->text_dim), sizeof(float)));
    bench_fill(rows, c->text_len * c->text_dim);
    const enum vmt_status status = vmt_dit_text_open(ctx, &d->text, d->dit, rows, c->text_len);
    vmt_free(rows);
    return status;
}

static enum vmt_status open_dit(bench *b, dit_bench *d)
{
    vmt_ctx *ctx = b->ctx;
    vmt_dit_config config = b->dit;
    vmt_tensor_list list = {0};

    d->all = config.layers;
    if (!b->options.full && config.layers > FEW_BLOCKS)
        config.layers = FEW_BLOCKS;
    VMT_TRY(vmt_tensor_list_dit(ctx, &list, &config));
    VMT_TRY(bench_weights_file(ctx, &d->file, &list, ctx->act == VMT_BF16 ? VMT_BF16 : VMT_F32,
                               BENCH_MEMORY));
    bench_mark_memory(b);
    VMT_TRY(vmt_dit_open(ctx, &d->dit, d->file, &config));
    VMT_TRY(vmt_dit_prepare(ctx, d->dit));
    vmt_dit_weight_bytes(ctx, d->dit, &d->weights[0], &d->weights[1]);
    VMT_TRY(vmt_dit_text_bytes(ctx, d->dit, &d->planned));
    d->planned += d->weights[0];
    const int64_t tokens = b->head.tokens;
    const int64_t shape[4] = {config.in_dim, b->latent_f, b->latent_h, b->latent_w};
    VMT_TRY(bench_tensor(ctx, &d->latent, ctx->real, 4, shape));
    VMT_TRY(bench_tensor(ctx, &d->velocity, ctx->real, 4, shape));
    VMT_TRY(bench_tensor(ctx, &d->dhidden, ctx->real, VMT_SHAPE(tokens, config.dim)));
    return open_text(ctx, d);
}

static void close_dit(bench *b, dit_bench *d)
{
    vmt_ctx *ctx = b->ctx;

    vmt_dit_run_close(ctx, d->run);
    vmt_dit_text_close(ctx, d->text);
    ctx->ops->release(ctx, d->latent.data);
    ctx->ops->release(ctx, d->velocity.data);
    ctx->ops->release(ctx, d->dhidden.data);
    vmt_dit_close(ctx, d->dit);
    vmt_tensor_file_close(d->file);
}

static int blocks_of(const dit_bench *d)
{
    return (int)vmt_dit_get_config(d->dit)->layers;
}

/* keep: blocks of a backward, -1: none. */
static enum vmt_status open_run(bench *b, dit_bench *d, int keep, int recompute, size_t *planned)
{
    const vmt_dit_plan plan = {.grid_f = b->latent_f / b->dit.patch[0],
                               .grid_h = b->latent_h / b->dit.patch[1],
                               .grid_w = b->latent_w / b->dit.patch[2],
                               .timesteps = &TIMESTEP,
                               .timestep_count = 1,
                               .keep_blocks = keep,
                               .recompute = recompute,
                               .local = b->local};

    vmt_dit_run_close(b->ctx, d->run);
    d->run = NULL;
    VMT_TRY(vmt_dit_run_bytes(b->ctx, d->dit, &plan, planned));
    *planned += d->planned;
    VMT_TRY(vmt_dit_run_open(b->ctx, &d->run, d->dit, &plan));
    vmt_dit_run_pass(d->run, keep < 0 ? VMT_DIT_SAMPLING : VMT_DIT_GUIDANCE);
    return VMT_OK;
}

static enum vmt_status forward(vmt_ctx *ctx, void *user)
{
    dit_bench *d = user;

    return vmt_dit_forward(ctx, d->run, &d->velocity, &d->latent, TIMESTEP, d->text, false);
}

static enum vmt_status blocks_forward(vmt_ctx *ctx, void *user)
{
    dit_bench *d = user;
    const vmt_tensor *hidden;

    return vmt_dit_tap_hidden(ctx, d->run, &hidden, &d->latent, TIMESTEP, d->text, blocks_of(d) - 1,
                              false);
}

static enum vmt_status blocks_both(vmt_ctx *ctx, void *user)
{
    dit_bench *d = user;
    const vmt_tensor *hidden;

    VMT_TRY(vmt_dit_tap_hidden(ctx, d->run, &hidden, &d->latent, TIMESTEP, d->text,
                               blocks_of(d) - 1, true));
    return vmt_dit_tap_hidden_bwd(ctx, d->run, &d->latent, &d->dhidden);
}

static enum vmt_status measure_forward(bench *b, dit_bench *d)
{
    char detail[BENCH_TEXT_BYTES];
    size_t planned;

    VMT_TRY(open_run(b, d, -1, 0, &planned));
    vmt_bench_row row = {.part = "dit",
                         .what = "forward",
                         .detail = detail,
                         .planned = planned,
                         .converted = d->weights[0],
                         .mapped = d->weights[1]};
    snprintf(detail, sizeof detail, "%d of %" PRId64 " blocks, %" PRId64 " tokens", blocks_of(d),
             d->all, b->head.tokens);
    VMT_TRY(bench_measure(b, &row, forward, d));
    return bench_tell(b, &row);
}

enum vmt_status bench_dit(bench *b)
{
    dit_bench d = {0};
    enum vmt_status status = open_dit(b, &d);

    if (status == VMT_OK)
        status = measure_forward(b, &d);
    close_dit(b, &d);
    return status;
}

/* Some blocks one after another, so that no weight waits in a cache; per block. */
static enum vmt_status measure_block(bench *b, dit_bench *d, const char *what, bench_call *call,
                                     int recompute, double *forward_seconds)
{
    const double blocks = blocks_of(d);
    char detail[BENCH_TEXT_BYTES];
    size_t planned;

    VMT_TRY(open_run(b, d, call == blocks_both ? blocks_of(d) : -1, recompute, &planned));
    vmt_bench_row row = {.part = "block",
                         .what = what,
                         .detail = detail,
                         .planned = planned,
                         .converted = d->weights[0],
                         .mapped = d->weights[1]};
    snprintf(detail, sizeof detail, "one of %d, %" PRId64 " tokens", blocks_of(d), b->head.tokens);
    VMT_TRY(bench_measure(b, &row, call, d));
    row.median /= blocks;
    row.least /= blocks;
    row.most /= blocks;
    row.processor /= blocks;
    row.flop /= blocks;
    if (call == blocks_both) {
        row.ratio = row.median / *forward_seconds;
        row.ratio_to = "forward";
    } else {
        *forward_seconds = row.median;
    }
    return bench_tell(b, &row);
}

enum vmt_status bench_block(bench *b)
{
    static const char *const levels[] = {"forward + backward, all saved",
                                         "forward + backward, attention saved",
                                         "forward + backward, recomputed"};
    dit_bench d = {0};
    double seconds;
    enum vmt_status status = open_dit(b, &d);

    if (status == VMT_OK)
        status = measure_block(b, &d, "forward", blocks_forward, 0, &seconds);
    for (int level = 0; level < 3 && status == VMT_OK; level++)
        status = measure_block(b, &d, levels[level], blocks_both, level, &seconds);
    close_dit(b, &d);
    return status;
}

/* ---- attention */

typedef struct attention_bench {
    vmt_tensor q, k, v, o, lse, dout, dq, dk, dv;
    bool cross;
    const vmt_local_geometry *boxes; /* NULL: full */
    double scale;
} attention_bench;

static enum vmt_status attend(vmt_ctx *ctx, void *user)
{
    attention_bench *a = user;
    if (a->boxes)
        return vmt_attention_local(ctx, &a->o, &a->lse, &a->q, &a->k, &a->v, a->boxes, a->scale);
    return vmt_attention(ctx, &a->o, &a->lse, &a->q, &a->k, &a->v, NULL, a->scale);
}

static enum vmt_status attend_back(vmt_ctx *ctx, void *user)
{
    attention_bench *a = user;
    if (a->boxes)
        return vmt_attention_local_bwd(ctx, &a->dq, &a->dk, &a->dv, &a->dout, &a->q, &a->k, &a->v,
                                       &a->o, &a->lse, a->boxes, a->scale);
    return vmt_attention_bwd(ctx, &a->dq, a->cross ? NULL : &a->dk, a->cross ? NULL : &a->dv,
                             &a->dout, &a->q, &a->k, &a->v, &a->o, &a->lse, a->scale);
}

/* Forward and backward of what `a` holds.  full: seconds of full attention on the same tokens,
 * which those of boxes are told in; becomes the seconds of these. */
static enum vmt_status measure_both(bench *b, attention_bench *a, const char *const what[2],
                                    const char *detail, double *full)
{
    vmt_bench_row row = {.part = "attention", .what = what[0], .detail = detail};
    vmt_bench_row back = {.part = "attention", .what = what[1], .detail = detail};

    bench_mark_memory(b);
    VMT_TRY(bench_measure(b, &row, attend, a));
    if (a->boxes) {
        row.ratio = row.median / full[0];
        row.ratio_to = "self, forward";
    }
    VMT_TRY(bench_tell(b, &row));
    VMT_TRY(bench_measure(b, &back, attend_back, a));
    back.ratio = back.median / (a->boxes ? full[1] : row.median);
    back.ratio_to = a->boxes ? "self, backward" : what[0];
    full[0] = row.median;
    full[1] = back.median;
    return bench_tell(b, &back);
}

/* The same tokens with boxes of keys. */
static enum vmt_status measure_local(bench *b, attention_bench *a, double *full)
{
    static const char *const what[2] = {"local, forward", "local, backward"};
    const vmt_local_geometry *g = &b->local.geometry;
    char detail[BENCH_TEXT_BYTES];

    snprintf(detail, sizeof detail,
             "%" PRId64 " queries, tiles %" PRId64 "x%" PRId64 "x%" PRId64 ", keys %" PRId64
             "x%" PRId64 "x%" PRId64,
             b->head.tokens, g->tile[0], g->tile[1], g->tile[2], g->box[0], g->box[1], g->box[2]);
    a->boxes = g;
    return measure_both(b, a, what, detail, full);
}

static enum vmt_status measure_attention(bench *b, attention_bench *a, bool cross)
{
    vmt_ctx *ctx = b->ctx;
    const vmt_dit_config *c = &b->dit;
    const int64_t queries = b->head.tokens, keys = cross ? c->text_len : queries;
    const int64_t d = c->dim / c->heads;
    vmt_tensor *const by_query[] = {&a->q, &a->o, &a->dout, &a->dq};
    vmt_tensor *const by_key[] = {&a->k, &a->v, &a->dk, &a->dv};
    static const char *const self[2] = {"self, forward", "self, backward"};
    static const char *const text[2] = {"text, forward", "text, backward"};
    char detail[BENCH_TEXT_BYTES];
    double seconds[2] = {0, 0};

    a->cross = cross;
    a->scale = 1 / sqrt((double)d);
    for (int i = 0; i < 4; i++) {
        VMT_TRY(bench_tensor(ctx, by_query[i], ctx->act, VMT_SHAPE(queries, c->heads, d)));
        VMT_TRY(bench_tensor(ctx, by_key[i], ctx->act, VMT_SHAPE(keys, c->heads, d)));
    }
    VMT_TRY(bench_tensor(ctx, &a->lse, ctx->real, VMT_SHAPE(c->heads, queries)));
    snprintf(detail, sizeof detail, "%" PRId64 " queries, %" PRId64 " keys, %d heads of %d",
             queries, keys, (int)c->heads, (int)d);
    VMT_TRY(measure_both(b, a, cross ? text : self, detail, seconds));
    return !cross && b->local.geometry.box[0] ? measure_local(b, a, seconds) : VMT_OK;
}

enum vmt_status bench_attention(bench *b)
{
    enum vmt_status status = VMT_OK;

    for (int cross = 0; cross < 2 && status == VMT_OK; cross++) {
        attention_bench a = {0};
        vmt_tensor *const all[] = {&a.q, &a.k, &a.v, &a.o, &a.lse, &a.dout, &a.dq, &a.dk, &a.dv};
        status = measure_attention(b, &a, cross);
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            b->ctx->ops->release(b->ctx, all[i]->data);
    }
    return status;
}
