/* SPDX-License-Identifier: MIT
 *
 * A run of the DiT on one grid: forward to the velocity or a tap, backward to the latent.
 */
#include "dit/dit_internal.h"

#include <string.h>

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
    return dit_linear(ctx, dit, &run->lora, vmt_linear, x, &patches, &dit->patch_embedding,
                      VMT_EPILOGUE_NONE);
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
        if (keep)
            VMT_TRY(dit_spill_out(ctx, run, i, count));
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
    VMT_TRY(dit_linear(ctx, dit, &run->lora, vmt_linear, &patches, &run->normed, &dit->head,
                       VMT_EPILOGUE_NONE));
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
        VMT_TRY(dit_spill_wait(ctx, run, i));
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
        VMT_TRY(dit_spill_back(ctx, run, i - DIT_SPILL_SLOTS));
        VMT_TRY(dit_stream_done(ctx, run->dit, i,
                                dit_stream_next(run->dit, i, -1, run->kept - 1, false), false));
    }
    if (run->plan.spills)
        run->kept = -1; /* what lies there now is of the first blocks */
    VMT_TRY(
        dit_linear_bwd(ctx, run->dit, &run->lora, &dpatches, &run->dx, &run->dit->patch_embedding));
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
    VMT_TRY(dit_linear_bwd(ctx, dit, &run->lora, &run->dnormed, &dpatches, &dit->head));
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
