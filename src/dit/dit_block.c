/* SPDX-License-Identifier: MIT
 *
 * One block of the DiT, both directions.  The backward is the forward's call list read upwards.
 *
 *   h1 = LN(x) (1 + scale1) + shift1
 *   x1 = x  + gate1 ⊙ Wo attention(rope(rms(Wq h1)), rope(rms(Wk h1)), Wv h1)
 *   x2 = x1 + Wo' attention(rms(Wq' norm3(x1)), k', v')                k', v' of the prompt
 *   y  = x2 + gate2 ⊙ W2 gelu(W1 (LN(x2) (1 + scale2) + shift2))
 *
 * Source: Wan-Video/Wan2.1 wan/modules/model.py, WanAttentionBlock.
 */
#include "dit/dit_internal.h"

#include <math.h>

enum { SHIFT1, SCALE1, GATE1, SHIFT2, SCALE2, GATE2 };

/* Row `which` of block i's modulation, [D]. */
static vmt_tensor modulation(const vmt_dit_run *run, int i, int which)
{
    const vmt_tensor rows = vmt_index(&run->modulation, i);
    return vmt_index(&rows, which);
}

static double attention_scale(const vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    return 1.0 / sqrt((double)c->dim / (double)c->heads);
}

/* [N, n, d] as [N, n·d] */
static vmt_tensor rows(const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(t->shape[0], t->shape[1] * t->shape[2]));
}

/* y = epilogue(x Wᵀ + b), on numbers of 8 bits where the pass at hand asks for them. */
static enum vmt_status product(vmt_ctx *ctx, const vmt_dit_run *run, vmt_tensor *y,
                               const vmt_tensor *x, const vmt_weight *w, enum vmt_epilogue epilogue)
{
    return dit_linear(ctx, run->dit, &run->lora, run->is_fp8 ? vmt_linear_fp8 : vmt_linear, y, x, w,
                      epilogue);
}

/* ---- self-attention */

/* The boxes that block i sees; NULL: everything. */
static const vmt_local_geometry *boxes(const vmt_dit_run *run, int i)
{
    const vmt_dit_local *local = &run->plan.local;
    return run->is_local && i >= local->first && i <= local->last ? &local->geometry : NULL;
}

static enum vmt_status attend(vmt_ctx *ctx, const vmt_dit_run *run, int i, dit_saved *s)
{
    const vmt_local_geometry *g = boxes(run, i);
    const double scale = attention_scale(run);

    if (g)
        return vmt_attention_local(ctx, &s->att, &s->lse, &s->q, &s->k, &s->v, g, scale);
    return vmt_attention(ctx, &s->att, &s->lse, &s->q, &s->k, &s->v, NULL, scale);
}

/* run->dq, dk, dv from the gradient at s->att. */
static enum vmt_status attend_backward(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s,
                                       const vmt_tensor *datt)
{
    const vmt_local_geometry *g = boxes(run, i);
    const double scale = attention_scale(run);

    if (g)
        return vmt_attention_local_bwd(ctx, &run->dq, &run->dk, &run->dv, datt, &s->q, &s->k, &s->v,
                                       &s->att, &s->lse, g, scale);
    return vmt_attention_bwd(ctx, &run->dq, &run->dk, &run->dv, datt, &s->q, &s->k, &s->v, &s->att,
                             &s->lse, scale);
}

enum vmt_status dit_block_qk(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s)
{
    const dit_attention_weights *w = &run->dit->blocks[i].self_attn;
    const double eps = run->dit->config.eps;

    if (run->normed_for != i) {
        const vmt_tensor shift = modulation(run, i, SHIFT1);
        const vmt_tensor scale = modulation(run, i, SCALE1);
        VMT_TRY(vmt_norm_modulate(ctx, &run->normed, &s->x, &shift, &scale, eps));
    }
    run->normed_for = -1;
    VMT_TRY(product(ctx, run, &s->q_lin, &run->normed, &w->q, VMT_EPILOGUE_NONE));
    VMT_TRY(
        vmt_rms_norm_rope(ctx, &s->q, &s->q_lin, &w->norm_q, &run->rope_cos, &run->rope_sin, eps));
    VMT_TRY(product(ctx, run, &s->k_lin, &run->normed, &w->k, VMT_EPILOGUE_NONE));
    return vmt_rms_norm_rope(ctx, &s->k, &s->k_lin, &w->norm_k, &run->rope_cos, &run->rope_sin,
                             eps);
}

/* run->dnormed = gradient at h1 by way of q and k. */
static enum vmt_status qk_to_dnormed(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s,
                                     const vmt_tensor *dq, const vmt_tensor *dk)
{
    const dit_attention_weights *w = &run->dit->blocks[i].self_attn;
    const double eps = run->dit->config.eps;

    VMT_TRY(vmt_rms_norm_rope_bwd(ctx, &run->dlin, dq, &s->q_lin, &w->norm_q, &run->rope_cos,
                                  &run->rope_sin, eps));
    VMT_TRY(dit_linear_bwd(ctx, run->dit, &run->lora, &run->dnormed, &run->dlin, &w->q));
    VMT_TRY(vmt_rms_norm_rope_bwd(ctx, &run->dlin, dk, &s->k_lin, &w->norm_k, &run->rope_cos,
                                  &run->rope_sin, eps));
    return dit_linear_bwd_acc(ctx, run->dit, &run->lora, &run->dnormed, &run->dlin, &w->k);
}

enum vmt_status dit_block_qk_backward(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s,
                                      const vmt_tensor *dq, const vmt_tensor *dk)
{
    const vmt_tensor scale = modulation(run, i, SCALE1);
    VMT_TRY(qk_to_dnormed(ctx, run, i, s, dq, dk));
    VMT_TRY(vmt_zero(ctx, &run->dx));
    return vmt_norm_modulate_bwd_acc(ctx, &run->dx, &run->dnormed, &s->x, &scale,
                                     run->dit->config.eps);
}

/* Ends with the norm that cross-attention begins with, in run->normed. */
static enum vmt_status self_attention(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s,
                                      bool attention_kept)
{
    const dit_block_weights *block = &run->dit->blocks[i];
    const dit_attention_weights *w = &block->self_attn;
    const vmt_tensor att = rows(&s->att);
    vmt_tensor v = rows(&s->v);

    VMT_TRY(dit_block_qk(ctx, run, i, s));
    VMT_TRY(product(ctx, run, &v, &run->normed, &w->v, VMT_EPILOGUE_NONE));
    if (!attention_kept)
        VMT_TRY(attend(ctx, run, i, s));
    VMT_TRY(product(ctx, run, &run->branch, &att, &w->o, VMT_EPILOGUE_NONE));
    const vmt_tensor gate = modulation(run, i, GATE1);
    return vmt_residual_layer_norm(ctx, &s->x1, &run->normed, &s->x, &gate, &run->branch,
                                   &block->norm3_weight, &block->norm3_bias, run->dit->config.eps);
}

/* dx: at x1 on entry, at x on return. */
static enum vmt_status self_attention_backward(vmt_ctx *ctx, vmt_dit_run *run, int i,
                                               const dit_saved *s)
{
    const dit_attention_weights *w = &run->dit->blocks[i].self_attn;
    const vmt_tensor gate = modulation(run, i, GATE1);
    const vmt_tensor scale = modulation(run, i, SCALE1);
    const vmt_tensor datt = vmt_reshape(&run->dlin, s->q.rank, s->q.shape);
    const vmt_tensor dv = rows(&run->dv);

    VMT_TRY(vmt_gate_residual_bwd(ctx, &run->dbranch, &gate, &run->dx));
    VMT_TRY(dit_linear_bwd(ctx, run->dit, &run->lora, &run->dlin, &run->dbranch, &w->o));
    VMT_TRY(attend_backward(ctx, run, i, s, &datt));
    VMT_TRY(qk_to_dnormed(ctx, run, i, s, &run->dq, &run->dk));
    VMT_TRY(dit_linear_bwd_acc(ctx, run->dit, &run->lora, &run->dnormed, &dv, &w->v));
    return vmt_norm_modulate_bwd_acc(ctx, &run->dx, &run->dnormed, &s->x, &scale,
                                     run->dit->config.eps);
}

/* ---- cross-attention */

/* Ends with the norm that the feed-forward begins with, in run->normed. */
static enum vmt_status cross_attention(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s)
{
    const dit_block_weights *w = &run->dit->blocks[i];
    const double eps = run->dit->config.eps;
    const vmt_tensor att = rows(&s->cross_att);

    VMT_TRY(product(ctx, run, &s->cross_q_lin, &run->normed, &w->cross_attn.q, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_rms_norm_rope(ctx, &s->cross_q, &s->cross_q_lin, &w->cross_attn.norm_q, NULL, NULL,
                              eps));
    VMT_TRY(vmt_attention(ctx, &s->cross_att, &s->cross_lse, &s->cross_q, &run->text->k[i],
                          &run->text->v[i], NULL, attention_scale(run)));
    VMT_TRY(product(ctx, run, &run->branch, &att, &w->cross_attn.o, VMT_EPILOGUE_NONE));
    const vmt_tensor shift = modulation(run, i, SHIFT2);
    const vmt_tensor scale = modulation(run, i, SCALE2);
    return vmt_residual_norm_modulate(ctx, &s->x2, &run->normed, &s->x1, NULL, &run->branch, &shift,
                                      &scale, eps);
}

/* Only the query side: the text is constant.  dx: at x2 on entry, at x1 on return. */
static enum vmt_status cross_attention_backward(vmt_ctx *ctx, vmt_dit_run *run, int i,
                                                const dit_saved *s)
{
    const dit_block_weights *w = &run->dit->blocks[i];
    const double eps = run->dit->config.eps;
    const vmt_tensor datt = vmt_reshape(&run->dlin, s->q.rank, s->q.shape);

    VMT_TRY(vmt_gate_residual_bwd(ctx, &run->dbranch, NULL, &run->dx));
    VMT_TRY(dit_linear_bwd(ctx, run->dit, &run->lora, &run->dlin, &run->dbranch, &w->cross_attn.o));
    VMT_TRY(vmt_attention_bwd(ctx, &run->dq, NULL, NULL, &datt, &s->cross_q, &run->text->k[i],
                              &run->text->v[i], &s->cross_att, &s->cross_lse,
                              attention_scale(run)));
    VMT_TRY(vmt_rms_norm_rope_bwd(ctx, &run->dlin, &run->dq, &s->cross_q_lin, &w->cross_attn.norm_q,
                                  NULL, NULL, eps));
    VMT_TRY(dit_linear_bwd(ctx, run->dit, &run->lora, &run->dnormed, &run->dlin, &w->cross_attn.q));
    return vmt_layer_norm_bwd_acc(ctx, &run->dx, &run->dnormed, &s->x1, &w->norm3_weight, eps);
}

/* ---- feed-forward */

/* Tokens first..first+count-1 of the feed-forward, which holds as many of its wide rows at a time
 * as plan.ffn_rows says. */
typedef struct ffn_part {
    vmt_tensor normed, hidden, branch, u; /* u.data NULL: not wanted */
} ffn_part;

static bool has_whole_u(const vmt_dit_run *run, const dit_saved *s)
{
    return s->u.data && s->u.shape[0] == run->tokens;
}

static ffn_part part_of(const vmt_dit_run *run, const dit_saved *s, int64_t first, int64_t count)
{
    return (ffn_part){.normed = vmt_slice(&run->normed, first, count),
                      .hidden = vmt_slice(&run->hidden, 0, count),
                      .branch = vmt_slice(&run->branch, first, count),
                      .u = s->u.data ? vmt_slice(&s->u, has_whole_u(run, s) ? first : 0, count)
                                     : s->u};
}

static int64_t part_length(const vmt_dit_run *run, int64_t first)
{
    const int64_t rest = run->tokens - first;
    return rest < run->plan.ffn_rows ? rest : run->plan.ffn_rows;
}

static enum vmt_status feed_forward_rows(vmt_ctx *ctx, vmt_dit_run *run, const dit_block_weights *w,
                                         ffn_part *p, bool whole)
{
    if (p->u.data && !run->is_fp8)
        VMT_TRY(
            dit_linear_gelu(ctx, run->dit, &run->lora, &p->hidden, &p->u, &p->normed, &w->ffn_in));
    else
        VMT_TRY(product(ctx, run, &p->hidden, &p->normed, &w->ffn_in, VMT_EPILOGUE_GELU));
    return whole ? product(ctx, run, &p->branch, &p->hidden, &w->ffn_out, VMT_EPILOGUE_NONE)
                 : VMT_OK;
}

/* Ends with the norm that the next block begins with, in run->normed. */
static enum vmt_status feed_forward(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s,
                                    vmt_tensor *y)
{
    const dit_block_weights *w = &run->dit->blocks[i];
    const vmt_tensor gate = modulation(run, i, GATE2);

    if (!y && !has_whole_u(run, s))
        return VMT_OK; /* the backward makes u from run->normed, some rows at a time */
    for (int64_t first = 0; first < run->tokens; first += run->plan.ffn_rows) {
        ffn_part part = part_of(run, s, first, part_length(run, first));
        VMT_TRY(feed_forward_rows(ctx, run, w, &part, y != NULL));
    }
    if (!y)
        return VMT_OK;
    VMT_TRY(dit_spill_wait(ctx, run, i + 1)); /* y is in the slot of the block before */
    if (i + 1 == run->dit->config.layers)
        return vmt_gate_residual(ctx, y, &s->x2, &gate, &run->branch);
    const vmt_tensor shift = modulation(run, i + 1, SHIFT1);
    const vmt_tensor scale = modulation(run, i + 1, SCALE1);
    run->normed_for = i + 1;
    return vmt_residual_norm_modulate(ctx, y, &run->normed, &s->x2, &gate, &run->branch, &shift,
                                      &scale, run->dit->config.eps);
}

/* dx: at y on entry, at x2 on return. */
static enum vmt_status feed_forward_backward(vmt_ctx *ctx, vmt_dit_run *run, int i,
                                             const dit_saved *s)
{
    const dit_block_weights *w = &run->dit->blocks[i];
    const vmt_tensor scale = modulation(run, i, SCALE2);
    const vmt_tensor gate = modulation(run, i, GATE2);

    VMT_TRY(vmt_gate_residual_bwd(ctx, &run->dbranch, &gate, &run->dx));
    for (int64_t first = 0; first < run->tokens; first += run->plan.ffn_rows) {
        const int64_t count = part_length(run, first);
        ffn_part part = part_of(run, s, first, count);
        vmt_tensor du = vmt_slice(&run->du, 0, count);
        vmt_tensor dnormed = vmt_slice(&run->dnormed, first, count);
        const vmt_tensor dbranch = vmt_slice(&run->dbranch, first, count);
        if (!has_whole_u(run, s))
            VMT_TRY(feed_forward_rows(ctx, run, w, &part, false));
        VMT_TRY(
            dit_linear_bwd_gelu(ctx, run->dit, &run->lora, &du, &dbranch, &w->ffn_out, &part.u));
        VMT_TRY(dit_linear_bwd(ctx, run->dit, &run->lora, &dnormed, &du, &w->ffn_in));
    }
    return vmt_norm_modulate_bwd_acc(ctx, &run->dx, &run->dnormed, &s->x2, &scale,
                                     run->dit->config.eps);
}

/* ---- the whole block */

enum vmt_status dit_block_forward(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s,
                                  bool attention_kept, vmt_tensor *y)
{
    VMT_TRY(vmt_check_cancelled(ctx));
    VMT_TRY(self_attention(ctx, run, i, s, attention_kept));
    VMT_TRY(cross_attention(ctx, run, i, s));
    return feed_forward(ctx, run, i, s, y);
}

enum vmt_status dit_block_backward(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s)
{
    VMT_TRY(vmt_check_cancelled(ctx));
    VMT_TRY(feed_forward_backward(ctx, run, i, s));
    VMT_TRY(cross_attention_backward(ctx, run, i, s));
    return self_attention_backward(ctx, run, i, s);
}
