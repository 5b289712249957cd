/* SPDX-License-Identifier: MIT
 *
 * Case kind "dit": forward, q and k of a block, and both gradients at the latent.
 *   in.x [1, in_dim, F, H, W], in.t [1], in.text [1, rows, text_dim]; cotangents in.r_out, in.r_q,
 * in.r_k (optional: without them the gradients are left out)
 */
#include "probe/probe.h"

#include "dit/dit.h"

typedef struct dit_case {
    vmt_probe_case *c;
    vmt_ctx *ctx;
    vmt_tensor_file *weights;
    vmt_dit *dit;
    vmt_dit_text *text;
    vmt_dit_run *run;
    vmt_arena arena;
    vmt_tensor latent, velocity, dlatent, dvelocity, dq, dk;
    float timestep;
    int block;
} dit_case;

static enum vmt_status emit_trace(void *user, const char *what, int block, const vmt_tensor *t)
{
    dit_case *d = user;

    if (block >= 0)
        return vmt_probe_emit(d->ctx, d->c, t, VMT_SHAPE(1, t->shape[0], t->shape[1]),
                              "out.block%d", block);
    if (t->rank == 1)
        return vmt_probe_emit(d->ctx, d->c, t, VMT_SHAPE(1, t->shape[0]), "out.%s", what);
    return vmt_probe_emit(d->ctx, d->c, t, VMT_SHAPE(1, t->shape[0], t->shape[1]), "out.%s", what);
}

/* The latent of the case without its batch axis of 1. */
static enum vmt_status latent_input(vmt_ctx *ctx, dit_case *d, const char *name,
                                    const vmt_tensor **whole, vmt_tensor *host)
{
    VMT_TRY(vmt_probe_input(ctx, d->c, name, VMT_F32, 5, whole));
    *host = vmt_index(*whole, 0);
    return VMT_OK;
}

static enum vmt_status layout(vmt_ctx *ctx, dit_case *d, const vmt_tensor *x, const vmt_tensor *v,
                              const int64_t head[3])
{
    vmt_arena *a = &d->arena;

    VMT_TRY(vmt_take(ctx, a, &d->latent, ctx->real, x->rank, x->shape));
    VMT_TRY(vmt_take(ctx, a, &d->dlatent, ctx->real, x->rank, x->shape));
    VMT_TRY(vmt_take(ctx, a, &d->velocity, ctx->real, v->rank, v->shape));
    VMT_TRY(vmt_take(ctx, a, &d->dvelocity, ctx->real, v->rank, v->shape));
    VMT_TRY(vmt_take(ctx, a, &d->dq, ctx->real, 3, head));
    return vmt_take(ctx, a, &d->dk, ctx->real, 3, head);
}

static enum vmt_status forward_and_gradient(vmt_ctx *ctx, dit_case *d)
{
    const vmt_tensor *v = &d->velocity, *x = &d->latent, *r;
    const int64_t shape[5] = {1, v->shape[0], v->shape[1], v->shape[2], v->shape[3]};
    const int64_t dshape[5] = {1, x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    const bool backward = vmt_probe_has(d->c, "r_out");
    vmt_tensor host;

    vmt_dit_run_trace(d->run, emit_trace, d);
    VMT_TRY(vmt_dit_forward(ctx, d->run, &d->velocity, &d->latent, d->timestep, d->text, backward));
    vmt_dit_run_trace(d->run, NULL, NULL);
    VMT_TRY(vmt_probe_emit(ctx, d->c, v, 5, shape, "out.velocity"));
    if (!backward)
        return VMT_OK;
    VMT_TRY(latent_input(ctx, d, "r_out", &r, &host));
    VMT_TRY(vmt_upload(ctx, &d->dvelocity, &host));
    VMT_TRY(vmt_dit_backward(ctx, d->run, &d->dlatent, &d->dvelocity));
    return vmt_probe_emit(ctx, d->c, &d->dlatent, 5, dshape, "out.grad_velocity");
}

static enum vmt_status tap_and_gradient(vmt_ctx *ctx, dit_case *d)
{
    const vmt_tensor *x = &d->latent, *q, *k, *r;
    const int64_t dshape[5] = {1, x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    const bool backward = vmt_probe_has(d->c, "r_q") && vmt_probe_has(d->c, "r_k");
    vmt_tensor host;

    VMT_TRY(vmt_dit_tap_qk(ctx, d->run, &q, &k, x, d->timestep, d->text, d->block, backward));
    const int64_t shape[4] = {1, q->shape[0], q->shape[1], q->shape[2]};
    VMT_TRY(vmt_probe_emit(ctx, d->c, q, 4, shape, "out.q"));
    VMT_TRY(vmt_probe_emit(ctx, d->c, k, 4, shape, "out.k"));
    if (!backward)
        return VMT_OK;
    VMT_TRY(vmt_probe_input(ctx, d->c, "r_q", VMT_F32, 4, &r));
    host = vmt_index(r, 0);
    VMT_TRY(vmt_upload(ctx, &d->dq, &host));
    VMT_TRY(vmt_probe_input(ctx, d->c, "r_k", VMT_F32, 4, &r));
    host = vmt_index(r, 0);
    VMT_TRY(vmt_upload(ctx, &d->dk, &host));
    VMT_TRY(vmt_dit_tap_qk_bwd(ctx, d->run, &d->dlatent, &d->dq, &d->dk));
    return vmt_probe_emit(ctx, d->c, &d->dlatent, 5, dshape, "out.grad_qk");
}

/* A case with a LoRA names its file and says its weight. */
static enum vmt_status add_lora(vmt_ctx *ctx, dit_case *d)
{
    const double once = 1.0;
    vmt_tensor_file *file;
    double weight;

    if (!vmt_tensor_file_meta(d->c->file, "lora"))
        return VMT_OK;
    VMT_TRY(vmt_tensor_file_meta_real(ctx, d->c->file, "lora_weight", &once, &weight));
    VMT_TRY(vmt_probe_weights(ctx, d->c, "lora", &file));
    const enum vmt_status status = vmt_dit_add_lora(ctx, d->dit, file, weight);
    vmt_tensor_file_close(file);
    return status;
}

static enum vmt_status open_case(vmt_ctx *ctx, dit_case *d)
{
    const vmt_tensor *x, *t, *text;
    vmt_config_file *file;
    vmt_dit_config config;
    vmt_tensor host, velocity;
    int64_t block;

    VMT_TRY(vmt_probe_weights(ctx, d->c, "weights", &d->weights));
    VMT_TRY(vmt_probe_config(ctx, d->c, &file));
    const enum vmt_status status = vmt_dit_config_read(ctx, &config, file, d->weights);
    vmt_config_file_close(file);
    VMT_TRY(status);
    VMT_TRY(vmt_dit_open(ctx, &d->dit, d->weights, &config));
    VMT_TRY(add_lora(ctx, d));
    VMT_TRY(vmt_dit_prepare(ctx, d->dit));
    VMT_TRY(latent_input(ctx, d, "x", &x, &host));
    VMT_TRY(vmt_probe_input(ctx, d->c, "t", VMT_F32, 1, &t));
    VMT_TRY(vmt_probe_input(ctx, d->c, "text", VMT_F32, 3, &text));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, d->c->file, "block", NULL, &block));
    if (x->shape[0] != 1 || text->shape[2] != config.text_dim || x->shape[1] != config.in_dim ||
        block < 0 || block >= config.layers)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.x, in.text or block do not fit the weights");
    d->block = (int)block;
    d->timestep = *(const float *)t->data;
    velocity = host;
    velocity.shape[0] = config.out_dim;
    const vmt_dit_plan plan = {.grid_f = x->shape[2] / config.patch[0],
                               .grid_h = x->shape[3] / config.patch[1],
                               .grid_w = x->shape[4] / config.patch[2],
                               .timesteps = &d->timestep,
                               .timestep_count = 1,
                               .keep_blocks = (int)config.layers};
    const int64_t head[3] = {plan.grid_f * plan.grid_h * plan.grid_w, config.heads,
                             config.dim / config.heads};
    VMT_TRY(vmt_dit_text_open(ctx, &d->text, d->dit, text->data, text->shape[1]));
    VMT_TRY(vmt_dit_run_open(ctx, &d->run, d->dit, &plan));
    d->arena = vmt_arena_measure();
    VMT_TRY(layout(ctx, d, &host, &velocity, head));
    VMT_TRY(vmt_arena_open(ctx, &d->arena, d->arena.peak));
    VMT_TRY(layout(ctx, d, &host, &velocity, head));
    return vmt_upload(ctx, &d->latent, &host);
}

enum vmt_status vmt_probe_dit(vmt_ctx *ctx, vmt_probe_case *c)
{
    dit_case d = {.c = c, .ctx = ctx};
    enum vmt_status status = open_case(ctx, &d);

    if (status == VMT_OK) {
        const vmt_tensor *context = vmt_dit_text_context(d.text);
        status = vmt_probe_emit(ctx, c, context, VMT_SHAPE(1, context->shape[0], context->shape[1]),
                                "out.ctx");
    }
    if (status == VMT_OK)
        status = forward_and_gradient(ctx, &d);
    if (status == VMT_OK)
        status = tap_and_gradient(ctx, &d);
    vmt_arena_close(ctx, &d.arena);
    vmt_dit_run_close(ctx, d.run);
    vmt_dit_text_close(ctx, d.text);
    vmt_dit_close(ctx, d.dit);
    vmt_tensor_file_close(d.weights);
    return status;
}
