/* SPDX-License-Identifier: MIT
 *
 * A run of the DiT on one grid: memory, forward to the velocity or a tap, backward to the latent.
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
    return vmt_take(ctx, a, &s->u, ctx->act, VMT_SHAPE(run->tokens, c->ffn_dim));
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
    VMT_TRY(vmt_take(ctx, a, &run->hidden, ctx->act, VMT_SHAPE(run->tokens, c->ffn_dim)));
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
    run->arena = vmt_arena_measure();
    run->kept = run->tapped = -1;
    run->pass = VMT_DIT_SAMPLING;
    if (plan->keep_blocks > dit->config.layers)
        run->plan.keep_blocks = (int)dit->config.layers;
    VMT_TRY(vmt_alloc(ctx, (void **)&run->timesteps, times, sizeof *run->timesteps));
    memcpy(run->timesteps, plan->timesteps, times * sizeof *run->timesteps);
    run->plan.timesteps = run->timesteps;
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

enum vmt_status vmt_dit_run_bytes(vmt_ctx *ctx, const vmt_dit *dit, const vmt_dit_plan *plan,
                                  size_t *bytes)
{
    vmt_dit_run *run = NULL;
    enum vmt_status status = new_run(ctx, &run, dit, plan);

    if (status == VMT_OK)
        status = run_layout(ctx, run);
    *bytes = status == VMT_OK ? run->arena.peak + attention_bytes(ctx, run) : 0;
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
            status = dit_tables_fill(ctx, run);
        if (status != VMT_OK)
            vmt_arena_close(ctx, &run->arena);
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
    vmt_arena_close(ctx, &run->arena);
    free_run(run);
}

void vmt_dit_run_pass(vmt_dit_run *run, enum vmt_dit_pass pass)
{
    run->pass = pass;
}

void vmt_dit_run_trace(vmt_dit_run *run, vmt_dit_trace_fn *trace, void *user)
{
    run->trace = trace;
    run->trace_user = user;
}

/* ---- forward */

static enum vmt_status trace(vmt_dit_run *run, const char *what, int block,
                             const vmt_tensor *tensor)
{
    return run->trace ? run->trace(run->trace_user, what, block, tensor) : VMT_OK;
}

static enum vmt_status find_timestep(vmt_ctx *ctx, vmt_dit_run *run, float timestep)
{
    for (int64_t i = 0; i < run->plan.timestep_count; i++)
        if (run->timesteps[i] == timestep) {
            run->time_index = i;
            return VMT_OK;
        }
    return vmt_fail(ctx, VMT_E_INTERNAL, "timestep %g is not in the plan", (double)timestep);
}

/* [N, channels·cells] at the start of a buffer that is as wide or wider. */
static vmt_tensor patch_rows(const vmt_dit_run *run, const vmt_tensor *buffer, int64_t channels)
{
    const int64_t *p = run->dit->config.patch;
    return vmt_tensor_over(buffer->data, buffer->dtype,
                           VMT_SHAPE(run->tokens, channels * p[0] * p[1] * p[2]));
}

static enum vmt_status patch_embed(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *x,
                                   const vmt_tensor *latent)
{
    const vmt_dit *dit = run->dit;
    vmt_tensor patches = patch_rows(run, &run->patches, dit->config.in_dim);

    VMT_TRY(vmt_patchify(ctx, &patches, latent, dit->config.patch));
    return vmt_linear(ctx, x, &patches, &dit->patch_embedding, VMT_EPILOGUE_NONE);
}

/* The tensors that block i of a forward fills.  Kept: its own, or the shared ones around what the
 * recompute level keeps. */
static dit_saved block_memory(const vmt_dit_run *run, int i, bool keep)
{
    dit_saved s = run->scratch;

    if (!keep)
        return s;
    if (run->plan.recompute == 0)
        return run->saved[i];
    s.x = run->saved[i].x;
    s.u = run->recompute.u; /* as the recomputation will do it: the same bits at each level */
    if (run->plan.recompute == 1) {
        s.att = run->saved[i].att;
        s.lse = run->saved[i].lse;
    }
    return s;
}

static vmt_tensor *block_input(vmt_dit_run *run, int i, int count, bool keep)
{
    return keep && i < count ? &run->saved[i].x : &run->x;
}

/* run->modulation = each block's own + the timestep's, of the blocks that a pass of `count` reads.
 */
static enum vmt_status load_modulation(vmt_ctx *ctx, vmt_dit_run *run, int count)
{
    const vmt_tensor e0 = vmt_index(&run->time_e0, run->time_index);

    for (int i = 0; i <= count && i < run->dit->config.layers; i++) {
        vmt_tensor rows = vmt_index(&run->modulation, i);
        VMT_TRY(vmt_lincomb(ctx, &rows, &run->dit->blocks[i].modulation, &e0, 1.0, 1.0));
    }
    return VMT_OK;
}

/* One way through the first `count` blocks. */
typedef struct blocks_pass {
    const vmt_tensor *latent;
    float timestep;
    const vmt_dit_text *text;
    int count, last; /* last: the last block it reads, of which a tap at q and k computes a part */
    bool keep, marks_all; /* marks_all: every stage is searched for NaN, not the last alone */
    vmt_tensor *residual; /* [N, D] R, output - input of the blocks; NULL: not wanted */
} blocks_pass;

/* Leaves the hidden state in run->x. */
static enum vmt_status run_blocks(vmt_ctx *ctx, vmt_dit_run *run, const blocks_pass *pass)
{
    const int count = pass->count;
    const bool keep = pass->keep;

    run->kept = run->tapped = -1;
    run->is_local = run->plan.local.passes[run->pass];
    run->is_fp8 = run->plan.fp8 && run->pass == VMT_DIT_SAMPLING && !keep;
    if (keep && count > run->plan.keep_blocks)
        return vmt_fail(ctx, VMT_E_INTERNAL, "%d blocks to keep, planned %d", count,
                        run->plan.keep_blocks);
    VMT_TRY(find_timestep(ctx, run, pass->timestep));
    VMT_TRY(load_modulation(ctx, run, count));
    run->normed_for = -1;
    VMT_TRY(vmt_zero(ctx, &run->bad));
    run->text = pass->text;
    if (run->trace) {
        const vmt_tensor e = vmt_index(&run->time_e, run->time_index);
        const vmt_tensor e0 = vmt_index(&run->time_e0, run->time_index);
        VMT_TRY(trace(run, "e", -1, &e));
        VMT_TRY(trace(run, "e0", -1, &e0));
    }
    VMT_TRY(patch_embed(ctx, run, block_input(run, 0, count, keep), pass->latent));
    if (count == 0 || pass->marks_all)
        VMT_TRY(vmt_mark_stage(ctx, &run->bad, 0, block_input(run, 0, count, keep)));
    VMT_TRY(trace(run, "tokens", -1, block_input(run, 0, count, keep)));
    if (pass->residual)
        VMT_TRY(vmt_copy(ctx, pass->residual, block_input(run, 0, count, keep)));
    for (int i = 0; i < count; i++) {
        dit_saved s = block_memory(run, i, keep);
        vmt_tensor *y = block_input(run, i + 1, count, keep);
        VMT_TRY(dit_stream_use(ctx, run->dit, i, run->is_fp8));
        VMT_TRY(vmt_prefix(ctx, dit_block_forward(ctx, run, i, &s, false, y), "DiT block %d", i));
        if (i + 1 == count || pass->marks_all)
            VMT_TRY(vmt_mark_stage(ctx, &run->bad, i + 1, y));
        VMT_TRY(trace(run, "block", i, y));
        VMT_TRY(dit_stream_done(ctx, run->dit, i, dit_stream_next(run->dit, i, 1, pass->last, keep),
                                run->is_fp8));
    }
    if (keep)
        run->kept = count;
    return pass->residual ? vmt_lincomb(ctx, pass->residual, &run->x, pass->residual, 1.0, -1.0)
                          : VMT_OK;
}

/* What is not finite stays so in the residual stream, so its last stage tells; the same pass again,
 * every stage searched, tells where it came from: stage 0 is the embedding, i + 1 block i.  The
 * only place of a forward that waits for the device. */
static enum vmt_status require_finite_stages(vmt_ctx *ctx, vmt_dit_run *run,
                                             const blocks_pass *pass)
{
    blocks_pass search = *pass;
    int64_t stage = 0;

    VMT_TRY(vmt_first_marked(ctx, &run->bad, &stage));
    if (stage == run->bad.shape[0])
        return VMT_OK;
    search.keep = false;
    search.marks_all = true;
    search.residual = NULL;
    VMT_TRY(run_blocks(ctx, run, &search));
    VMT_TRY(vmt_first_marked(ctx, &run->bad, &stage));
    if (stage == 0)
        return vmt_fail(ctx, VMT_E_NUMERIC,
                        "DiT patch embedding: NaN or infinity (is the latent finite?)");
    if (stage == run->bad.shape[0]) /* the device erred once */
        stage = pass->count;
    return vmt_fail(ctx, VMT_E_NUMERIC, "DiT block %" PRId64 ": hidden state: NaN or infinity",
                    stage - 1);
}

static enum vmt_status load_head_modulation(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_tensor e = vmt_index(&run->time_e, run->time_index);

    for (int i = 0; i < 2; i++) {
        vmt_tensor row = vmt_index(&run->head_modulation, i);
        const vmt_tensor own = vmt_index(&run->dit->head_modulation, i);
        VMT_TRY(vmt_lincomb(ctx, &row, &own, &e, 1.0, 1.0));
    }
    return VMT_OK;
}

/* run->x to the velocity. */
static enum vmt_status run_head(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity)
{
    const vmt_dit *dit = run->dit;
    vmt_tensor patches = patch_rows(run, &run->patches, dit->config.out_dim);

    VMT_TRY(load_head_modulation(ctx, run));
    const vmt_tensor shift = vmt_index(&run->head_modulation, 0);
    const vmt_tensor scale = vmt_index(&run->head_modulation, 1);
    VMT_TRY(vmt_norm_modulate(ctx, &run->normed, &run->x, &shift, &scale, dit->config.eps));
    VMT_TRY(vmt_linear(ctx, &patches, &run->normed, &dit->head, VMT_EPILOGUE_NONE));
    return vmt_unpatchify(ctx, velocity, &patches, dit->config.patch);
}

static enum vmt_status whole_forward(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                     const blocks_pass *pass)
{
    VMT_TRY(run_blocks(ctx, run, pass));
    VMT_TRY(run_head(ctx, run, velocity));
    VMT_TRY(require_finite_stages(ctx, run, pass));
    return vmt_require_finite(ctx, velocity, "DiT head");
}

enum vmt_status vmt_dit_forward(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                const vmt_tensor *latent, float timestep, const vmt_dit_text *text,
                                bool keep)
{
    const int layers = (int)run->dit->config.layers;
    const blocks_pass pass = {latent, timestep, text, layers, layers - 1, keep, false, NULL};

    return whole_forward(ctx, run, velocity, &pass);
}

enum vmt_status vmt_dit_forward_hold(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                     const vmt_tensor *latent, float timestep,
                                     const vmt_dit_text *text, int slot)
{
    const int layers = (int)run->dit->config.layers;
    const blocks_pass pass = {latent,     timestep, text,  layers,
                              layers - 1, false,    false, &run->residuals[slot]};

    return whole_forward(ctx, run, velocity, &pass);
}

enum vmt_status vmt_dit_forward_held(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                     const vmt_tensor *latent, float timestep, int slot)
{
    run->kept = run->tapped = -1;
    VMT_TRY(find_timestep(ctx, run, timestep));
    VMT_TRY(patch_embed(ctx, run, &run->x, latent));
    VMT_TRY(vmt_lincomb(ctx, &run->x, &run->x, &run->residuals[slot], 1.0, 1.0));
    VMT_TRY(run_head(ctx, run, velocity));
    return vmt_require_finite(ctx, velocity, "DiT head");
}

enum vmt_status vmt_dit_tap_qk(vmt_ctx *ctx, vmt_dit_run *run, const vmt_tensor **q,
                               const vmt_tensor **k, const vmt_tensor *latent, float timestep,
                               const vmt_dit_text *text, int block, bool keep)
{
    const blocks_pass pass = {latent, timestep, text, block, block, keep, false, NULL};

    if (block < 0 || block >= run->dit->config.layers)
        return vmt_fail(ctx, VMT_E_ARG, "block %d: the model has blocks 0 to %" PRId64, block,
                        run->dit->config.layers - 1);
    VMT_TRY(run_blocks(ctx, run, &pass));
    VMT_TRY(dit_stream_use(ctx, run->dit, block, run->is_fp8));
    VMT_TRY(vmt_prefix(ctx, dit_block_qk(ctx, run, block, &run->scratch), "DiT block %d", block));
    VMT_TRY(dit_stream_done(ctx, run->dit, block, dit_stream_next(run->dit, block, 1, block, keep),
                            run->is_fp8));
    VMT_TRY(require_finite_stages(ctx, run, &pass));
    run->tapped = block;
    *q = &run->scratch.q;
    *k = &run->scratch.k;
    return VMT_OK;
}

enum vmt_status vmt_dit_tap_hidden(vmt_ctx *ctx, vmt_dit_run *run, const vmt_tensor **hidden,
                                   const vmt_tensor *latent, float timestep,
                                   const vmt_dit_text *text, int block, bool keep)
{
    const blocks_pass pass = {latent, timestep, text, block + 1, block, keep, false, NULL};

    if (block < 0 || block >= run->dit->config.layers)
        return vmt_fail(ctx, VMT_E_ARG, "block %d: the model has blocks 0 to %" PRId64, block,
                        run->dit->config.layers - 1);
    VMT_TRY(run_blocks(ctx, run, &pass));
    VMT_TRY(require_finite_stages(ctx, run, &pass));
    *hidden = &run->x;
    return VMT_OK;
}

/* ---- backward */

/* From run->dx at the last kept block's output to the latent. */
static enum vmt_status backward_blocks(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent)
{
    vmt_tensor dpatches = patch_rows(run, &run->patches, run->dit->config.in_dim);

    for (int i = run->kept - 1; i >= 0; i--) {
        dit_saved s = run->saved[i];
        VMT_TRY(dit_stream_use(ctx, run->dit, i, false));
        if (run->plan.recompute > 0) {
            s = run->recompute;
            s.x = run->saved[i].x;
            if (run->plan.recompute == 1) {
                s.att = run->saved[i].att;
                s.lse = run->saved[i].lse;
            }
            VMT_TRY(vmt_prefix(ctx,
                               dit_block_forward(ctx, run, i, &s, run->plan.recompute == 1, NULL),
                               "DiT block %d, recomputed", i));
        }
        VMT_TRY(vmt_prefix(ctx, dit_block_backward(ctx, run, i, &s), "DiT block %d, backward", i));
        VMT_TRY(dit_stream_done(ctx, run->dit, i,
                                dit_stream_next(run->dit, i, -1, run->kept - 1, false), false));
    }
    VMT_TRY(vmt_linear_bwd(ctx, &dpatches, &run->dx, &run->dit->patch_embedding));
    VMT_TRY(vmt_patchify_bwd(ctx, dlatent, &dpatches, run->dit->config.patch));
    return vmt_require_finite(ctx, dlatent, "gradient at the latent");
}

static enum vmt_status require_kept(vmt_ctx *ctx, const vmt_dit_run *run, bool enough)
{
    if (run->kept < 0 || !enough)
        return vmt_fail(ctx, VMT_E_INTERNAL, "backward without its kept forward");
    return VMT_OK;
}

enum vmt_status vmt_dit_backward(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                 const vmt_tensor *dvelocity)
{
    const vmt_dit *dit = run->dit;
    vmt_tensor dpatches = patch_rows(run, &run->patches, dit->config.out_dim);
    const vmt_tensor scale = vmt_index(&run->head_modulation, 1);

    VMT_TRY(require_kept(ctx, run, run->kept == dit->config.layers));
    VMT_TRY(vmt_unpatchify_bwd(ctx, &dpatches, dvelocity, dit->config.patch));
    VMT_TRY(vmt_linear_bwd(ctx, &run->dnormed, &dpatches, &dit->head));
    VMT_TRY(vmt_zero(ctx, &run->dx));
    VMT_TRY(
        vmt_norm_modulate_bwd_acc(ctx, &run->dx, &run->dnormed, &run->x, &scale, dit->config.eps));
    return backward_blocks(ctx, run, dlatent);
}

enum vmt_status vmt_dit_tap_qk_bwd(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                   const vmt_tensor *dq, const vmt_tensor *dk)
{
    const int block = run->tapped;

    VMT_TRY(require_kept(ctx, run, block >= 0));
    VMT_TRY(dit_stream_use(ctx, run->dit, block, false));
    VMT_TRY(dit_block_qk_backward(ctx, run, block, &run->scratch, dq, dk));
    VMT_TRY(dit_stream_done(ctx, run->dit, block,
                            dit_stream_next(run->dit, block, -1, block, false), false));
    return backward_blocks(ctx, run, dlatent);
}

enum vmt_status vmt_dit_tap_hidden_bwd(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                       const vmt_tensor *dhidden)
{
    VMT_TRY(require_kept(ctx, run, run->kept > 0));
    VMT_TRY(vmt_copy(ctx, &run->dx, dhidden));
    return backward_blocks(ctx, run, dlatent);
}
