/* SPDX-License-Identifier: MIT
 *
 * Memory of a run of the DiT: the same layout code counts it and takes it.
 */
#include "dit/dit_internal.h"

#include <string.h>

/* ---- memory */

/* One block's tensors, none shared; but not what a level of recomputation keeps apart: from level 1
 * on the block's input, at level 1 attention too. */
static enum vmt_status take_saved(vmt_ctx *ctx, vmt_dit_run *run, dit_saved *s)
{
    const vmt_dit_config *c = &run->dit->config;
    const int level = run->plan.recompute;
    const int64_t row[2] = {run->tokens, c->dim};
    const int64_t head[3] = {run->tokens, c->heads, c->dim / c->heads};
    const int64_t lse[2] = {c->heads, run->tokens};
    vmt_tensor *const act_rows[] = {&s->q_lin, &s->k_lin, &s->cross_q_lin};
    vmt_tensor *const act_heads[] = {&s->q, &s->k, &s->v, &s->cross_q, &s->cross_att};
    vmt_arena *a = &run->arena;

    if (level == 0)
        VMT_TRY(vmt_take(ctx, a, &s->x, ctx->real, 2, row));
    VMT_TRY(vmt_take(ctx, a, &s->x1, ctx->real, 2, row));
    VMT_TRY(vmt_take(ctx, a, &s->x2, ctx->real, 2, row));
    for (size_t i = 0; i < sizeof act_rows / sizeof *act_rows; i++)
        VMT_TRY(vmt_take(ctx, a, act_rows[i], ctx->act, 2, row));
    for (size_t i = 0; i < sizeof act_heads / sizeof *act_heads; i++)
        VMT_TRY(vmt_take(ctx, a, act_heads[i], ctx->act, 3, head));
    if (level != 1) {
        VMT_TRY(vmt_take(ctx, a, &s->att, ctx->act, 3, head));
        VMT_TRY(vmt_take(ctx, a, &s->lse, ctx->real, 2, lse));
    }
    VMT_TRY(vmt_take(ctx, a, &s->cross_lse, ctx->real, 2, lse));
    return vmt_take(ctx, a, &s->u, ctx->act,
                    VMT_SHAPE(level == 0 ? run->tokens : run->plan.ffn_rows, c->ffn_dim));
}

/* What a forward alone needs: x, x1, x2 are one stream; cross-attention reuses self-attention's
 * memory; the branch overwrites the projection that led to q.  q_lin and k_lin stay apart when a
 * tap keeps them. */
static enum vmt_status take_scratch(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const int64_t head[3] = {run->tokens, c->heads, c->dim / c->heads};
    dit_saved *s = &run->scratch;
    vmt_arena *a = &run->arena;

    s->x = s->x1 = s->x2 = run->x;
    VMT_TRY(vmt_take(ctx, a, &s->q_lin, ctx->act, VMT_SHAPE(run->tokens, c->dim)));
    s->k_lin = s->q_lin;
    if (run->plan.keep_blocks >= 0)
        VMT_TRY(vmt_take(ctx, a, &s->k_lin, ctx->act, VMT_SHAPE(run->tokens, c->dim)));
    s->cross_q_lin = run->branch = s->q_lin;
    VMT_TRY(vmt_take(ctx, a, &s->q, ctx->act, 3, head));
    VMT_TRY(vmt_take(ctx, a, &s->k, ctx->act, 3, head));
    VMT_TRY(vmt_take(ctx, a, &s->v, ctx->act, 3, head));
    VMT_TRY(vmt_take(ctx, a, &s->att, ctx->act, 3, head));
    VMT_TRY(vmt_take(ctx, a, &s->lse, ctx->real, VMT_SHAPE(c->heads, run->tokens)));
    s->cross_q = s->q;
    s->cross_att = s->att;
    s->cross_lse = s->lse;
    return VMT_OK;
}

static enum vmt_status take_kept(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const int64_t head[3] = {run->tokens, c->heads, c->dim / c->heads};
    vmt_arena *a = &run->arena;

    for (int i = 0; i < run->plan.keep_blocks; i++) {
        dit_saved *s = &run->saved[i];
        if (run->plan.recompute == 0) {
            VMT_TRY(take_saved(ctx, run, s));
            continue;
        }
        if (run->plan.spills && i >= DIT_SPILL_SLOTS) {
            *s = run->saved[i - DIT_SPILL_SLOTS];
            continue;
        }
        VMT_TRY(vmt_take(ctx, a, &s->x, ctx->real, VMT_SHAPE(run->tokens, c->dim)));
        if (run->plan.recompute == 1) {
            VMT_TRY(vmt_take(ctx, a, &s->att, ctx->act, 3, head));
            VMT_TRY(vmt_take(ctx, a, &s->lse, ctx->real, VMT_SHAPE(c->heads, run->tokens)));
        }
    }
    if (run->plan.recompute > 0 && run->plan.keep_blocks > 0)
        VMT_TRY(take_saved(ctx, run, &run->recompute));
    return VMT_OK;
}

/* Gradients: two rows of their own; the others lie where the forward's scratch is done with when
 * the backward begins (the tapped block reads q_lin and k_lin before dbranch is written). */
static enum vmt_status take_gradients(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const int64_t row[2] = {run->tokens, c->dim};
    const dit_saved *s = &run->scratch;
    vmt_arena *a = &run->arena;

    VMT_TRY(vmt_take(ctx, a, &run->dx, ctx->real, 2, row));
    VMT_TRY(vmt_take(ctx, a, &run->dnormed, ctx->real, 2, row));
    run->dbranch = run->branch;
    run->dlin = vmt_reshape(&s->att, 2, row);
    run->dq = s->q;
    run->dk = s->k;
    run->dv = s->v;
    run->du = run->hidden;
    return VMT_OK;
}

/* Memory of a run, all of it; counts only while run->arena measures. */
static enum vmt_status run_layout(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const int64_t half = c->dim / c->heads / 2, times = run->plan.timestep_count;
    const int64_t channels = c->in_dim > c->out_dim ? c->in_dim : c->out_dim;
    vmt_arena *a = &run->arena;

    VMT_TRY(vmt_take(ctx, a, &run->rope_cos, ctx->real, VMT_SHAPE(run->tokens, half)));
    VMT_TRY(vmt_take(ctx, a, &run->rope_sin, ctx->real, VMT_SHAPE(run->tokens, half)));
    VMT_TRY(vmt_take(ctx, a, &run->time_e, ctx->real, VMT_SHAPE(times, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->time_e0, ctx->real, VMT_SHAPE(times, 6, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->bad, VMT_I32, VMT_SHAPE(1 + c->layers)));
    VMT_TRY(vmt_take(ctx, a, &run->modulation, ctx->real, VMT_SHAPE(c->layers, 6, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->head_modulation, ctx->real, VMT_SHAPE(2, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->x, ctx->real, VMT_SHAPE(run->tokens, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->patches, ctx->act,
                     VMT_SHAPE(run->tokens, channels * c->patch[0] * c->patch[1] * c->patch[2])));
    VMT_TRY(vmt_take(ctx, a, &run->normed, ctx->act, VMT_SHAPE(run->tokens, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &run->hidden, ctx->act, VMT_SHAPE(run->plan.ffn_rows, c->ffn_dim)));
    if (dit_lora_rank(run->dit))
        VMT_TRY(vmt_take(ctx, a, &run->lora, ctx->act,
                         VMT_SHAPE(run->tokens, dit_lora_rank(run->dit))));
    VMT_TRY(take_scratch(ctx, run));
    for (int i = 0; i < run->plan.residuals; i++)
        VMT_TRY(vmt_take(ctx, a, &run->residuals[i], ctx->real, VMT_SHAPE(run->tokens, c->dim)));
    if (run->plan.keep_blocks < 0)
        return VMT_OK;
    VMT_TRY(take_kept(ctx, run));
    return take_gradients(ctx, run);
}

/* The struct with its host memory, arena still measuring. */
static enum vmt_status new_run(vmt_ctx *ctx, vmt_dit_run **result, const vmt_dit *dit,
                               const vmt_dit_plan *plan)
{
    const size_t times = (size_t)plan->timestep_count;
    vmt_dit_run *run;

    VMT_TRY(vmt_alloc(ctx, (void **)&run, 1, sizeof *run));
    *result = run;
    run->dit = dit;
    run->plan = *plan;
    run->tokens = plan->grid_f * plan->grid_h * plan->grid_w;
    if (plan->ffn_rows < 1 || plan->ffn_rows > run->tokens)
        run->plan.ffn_rows = run->tokens;
    run->arena = vmt_arena_measure();
    run->kept = run->tapped = -1;
    run->pass = VMT_DIT_SAMPLING;
    if (plan->keep_blocks > dit->config.layers)
        run->plan.keep_blocks = (int)dit->config.layers;
    VMT_TRY(vmt_alloc(ctx, (void **)&run->timesteps, times, sizeof *run->timesteps));
    memcpy(run->timesteps, plan->timesteps, times * sizeof *run->timesteps);
    run->plan.timesteps = run->timesteps;
    run->plan.spills = plan->spills && plan->recompute > 0 && plan->keep_blocks > DIT_SPILL_SLOTS;
    if (run->plan.keep_blocks > 0)
        VMT_TRY(vmt_alloc(ctx, (void **)&run->saved, (size_t)run->plan.keep_blocks,
                          sizeof *run->saved));
    return VMT_OK;
}

static void free_run(vmt_dit_run *run)
{
    if (!run)
        return;
    vmt_free(run->timesteps);
    vmt_free(run->saved);
    vmt_free(run);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whether blocks 0..count-1 have full attention in a pass. */
static bool has_full(const vmt_dit_local *local, int pass, int64_t count)
{
    return count > 0 && (!local->passes[pass] || local->first > 0 || local->last < count - 1);
}

/* Beside the arena: what full attention takes of some pass, or of its backward. */
static size_t full_bytes(vmt_ctx *ctx, const vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const vmt_dit_local *local = &run->plan.local;
    const int64_t d = c->dim / c->heads;
    const bool back = has_full(local, VMT_DIT_GUIDANCE, run->plan.keep_blocks);
    bool forward = false;

    if (!ctx->ops->attention_bytes)
        return 0;
    for (int pass = 0; pass < VMT_DIT_PASSES; pass++)
        forward = forward || has_full(local, pass, c->layers);
    if (forward || back)
        return ctx->ops->attention_bytes(ctx, run->tokens, run->tokens, c->heads, d, back);
    return ctx->ops->attention_bytes(ctx, run->tokens, c->text_len, c->heads, d,
                                     run->plan.keep_blocks > 0);
}

/* What the backend takes beside the arena: most for attention among all tokens. */
static size_t attention_bytes(vmt_ctx *ctx, const vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const vmt_dit_local *local = &run->plan.local;
    const bool back = local->passes[VMT_DIT_GUIDANCE] && local->first < run->plan.keep_blocks;
    size_t scratch = 0, tiles = 0;

    if (ctx->ops->attention_local_bytes &&
        (local->passes[VMT_DIT_REFERENCE] || local->passes[VMT_DIT_GUIDANCE] ||
         local->passes[VMT_DIT_SAMPLING]))
        tiles = ctx->ops->attention_local_bytes(ctx, &local->geometry, c->heads, c->dim / c->heads,
                                                back, &scratch);
    return tiles + larger(scratch, full_bytes(ctx, run));
}

/* Attention's; before that, the widened matrix of the timesteps. */
static size_t scratch_bytes(vmt_ctx *ctx, const vmt_dit_run *run)
{
    const size_t attention = attention_bytes(ctx, run);

    if (!ctx->ops->wide_bytes)
        return attention;
    return larger(attention, ctx->ops->wide_bytes(ctx, &run->dit->time_projection));
}

enum vmt_status vmt_dit_run_bytes(vmt_ctx *ctx, const vmt_dit *dit, const vmt_dit_plan *plan,
                                  size_t *bytes)
{
    vmt_dit_run *run = NULL;
    enum vmt_status status = new_run(ctx, &run, dit, plan);

    if (status == VMT_OK)
        status = run_layout(ctx, run);
    *bytes = status == VMT_OK ? run->arena.peak + scratch_bytes(ctx, run) : 0;
    free_run(run);
    return status;
}

enum vmt_status vmt_dit_run_spill_bytes(vmt_ctx *ctx, const vmt_dit *dit, const vmt_dit_plan *plan,
                                        size_t *bytes)
{
    vmt_dit_run *run = NULL;
    enum vmt_status status = new_run(ctx, &run, dit, plan);

    if (status == VMT_OK)
        status = run_layout(ctx, run);
    *bytes = status == VMT_OK ? dit_spill_bytes(run) : 0;
    free_run(run);
    return status;
}

enum vmt_status vmt_dit_run_open(vmt_ctx *ctx, vmt_dit_run **result, const vmt_dit *dit,
                                 const vmt_dit_plan *plan)
{
    vmt_dit_run *run = NULL;
    enum vmt_status status = new_run(ctx, &run, dit, plan);

    *result = NULL;
    if (status == VMT_OK)
        status = run_layout(ctx, run);
    if (status == VMT_OK)
        status = vmt_arena_open(ctx, &run->arena, run->arena.peak);
    if (status == VMT_OK) {
        status = run_layout(ctx, run);
        if (status == VMT_OK)
            status = dit_spill_open(ctx, run);
        if (status == VMT_OK)
            status = dit_tables_fill(ctx, run);
        if (status != VMT_OK) {
            vmt_dit_run_close(ctx, run);
            return status;
        }
    }
    if (status != VMT_OK) {
        free_run(run);
        return status;
    }
    *result = run;
    return VMT_OK;
}

void vmt_dit_run_close(vmt_ctx *ctx, vmt_dit_run *run)
{
    if (!run)
        return;
    dit_stream_drop(ctx, run->dit);
    dit_spill_close(ctx, run);
    vmt_arena_close(ctx, &run->arena);
    free_run(run);
}
