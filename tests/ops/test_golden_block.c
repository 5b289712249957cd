/* SPDX-License-Identifier: MIT
 *
 * One DiT block and its backward, op by op, against every intermediate of the Python reference in
 * float64.  The order of calls is the one a model has to follow; tolerances: ten times the error of
 * the reference's own float32 run.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>

enum {
    TOKENS = 48,
    DIM = 64,
    HEADS = 4,
    HEAD_DIM = 16,
    FFN = 160,
    TEXT = 9,
    GRID_H = 4,
    GRID_W = 4
};
static const double EPS = 1e-6;

/* Everything of one run: v_* values, d_* gradients, as backward.py names them. */
struct block {
    vmt_ctx *ctx;
    golden *g, *weights;
    vmt_tensor m[6]; /* shift1, scale1, gate1, shift2, scale2, gate2: [DIM] */
    vmt_tensor angle_cos, angle_sin;
    vmt_tensor x, ql, kl, q, k, v, o, lse, x1, cql, cq, ck, cv, co, clse, x2, u;
};

static vmt_weight linear_of(struct block *b, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, "blocks.1.%s", part);
    vmt_weight w = golden_weight(b->weights, name);
    CHECK_OK(b->ctx, vmt_weight_prepare(b->ctx, &w, VMT_USE_LINEAR | VMT_USE_BACKWARD));
    return w;
}

static vmt_tensor vector_of(struct block *b, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, "blocks.1.%s", part);
    return golden_real(b->weights, name, VMT_SHAPE(DIM));
}

static vmt_tensor new_act(struct block *b, int64_t rows, int64_t columns)
{
    return golden_new(b->g, b->ctx->act, VMT_SHAPE(rows, columns));
}

static vmt_tensor split(const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(t->shape[0], HEADS, HEAD_DIM));
}

static vmt_tensor flat(const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(t->shape[0], DIM));
}

/* y = x Wᵀ + b with the named weight. */
static vmt_tensor apply(struct block *b, const vmt_tensor *x, const char *part, int64_t out)
{
    vmt_weight w = linear_of(b, part);
    vmt_tensor y = new_act(b, x->shape[0], out);
    CHECK_OK(b->ctx, vmt_linear(b->ctx, &y, x, &w, VMT_EPILOGUE_NONE));
    b->ctx->ops->weight_release(b->ctx, &w);
    return y;
}

/* dx = dy W, or += . */
static void apply_bwd(struct block *b, vmt_tensor *dx, const vmt_tensor *dy, const char *part,
                      bool add)
{
    vmt_weight w = linear_of(b, part);
    CHECK_OK(b->ctx, (add ? vmt_linear_bwd_acc : vmt_linear_bwd)(b->ctx, dx, dy, &w));
    b->ctx->ops->weight_release(b->ctx, &w);
}

static void make_modulation(struct block *b)
{
    vmt_tensor e0 = golden_real(b->g, "in.e0", VMT_SHAPE(6, DIM));
    vmt_tensor own = golden_real(b->weights, "blocks.1.modulation", VMT_SHAPE(6, DIM));
    CHECK_OK(b->ctx, vmt_lincomb(b->ctx, &e0, &e0, &own, 1, 1));
    for (int i = 0; i < 6; i++)
        b->m[i] = vmt_index(&e0, i);
}

/* Pairs 0..3 turn with the frame, 4..5 with the row, 6..7 with the column. */
static void make_angles(struct block *b)
{
    double values[2][TOKENS * HEAD_DIM / 2];
    const int first[] = {0, 4, 6}, pairs[] = {4, 2, 2};

    for (int t = 0; t < TOKENS; t++) {
        const int place[] = {t / (GRID_H * GRID_W), t / GRID_W % GRID_H, t % GRID_W};
        for (int axis = 0; axis < 3; axis++)
            for (int j = 0; j < pairs[axis]; j++) {
                const double angle = place[axis] * pow(10000, -(double)j / pairs[axis]);
                values[0][t * HEAD_DIM / 2 + first[axis] + j] = cos(angle);
                values[1][t * HEAD_DIM / 2 + first[axis] + j] = sin(angle);
            }
    }
    for (int which = 0; which < 2; which++) {
        vmt_tensor *table = which ? &b->angle_sin : &b->angle_cos;
        const vmt_tensor host =
            vmt_tensor_over(values[which], VMT_F64, VMT_SHAPE(TOKENS, HEAD_DIM / 2));
        *table = golden_new(b->g, b->ctx->real, VMT_SHAPE(TOKENS, HEAD_DIM / 2));
        CHECK_OK(b->ctx, vmt_upload(b->ctx, table, &host));
    }
}

/* q or k: normed, rotated if `rope`, split into heads. */
static vmt_tensor norm_heads(struct block *b, const vmt_tensor *x, const char *weight, bool rope)
{
    const vmt_tensor w = vector_of(b, weight);
    vmt_tensor y = new_act(b, x->shape[0], DIM), heads = split(&y);
    CHECK_OK(b->ctx, vmt_rms_norm_rope(b->ctx, &heads, x, &w, rope ? &b->angle_cos : NULL,
                                       rope ? &b->angle_sin : NULL, EPS));
    return heads;
}

static vmt_tensor norm_heads_bwd(struct block *b, const vmt_tensor *dy, const vmt_tensor *x,
                                 const char *weight, bool rope)
{
    const vmt_tensor w = vector_of(b, weight);
    vmt_tensor dx = new_act(b, x->shape[0], DIM);
    CHECK_OK(b->ctx, vmt_rms_norm_rope_bwd(b->ctx, &dx, dy, x, &w, rope ? &b->angle_cos : NULL,
                                           rope ? &b->angle_sin : NULL, EPS));
    return dx;
}

/* softmax(q kᵀ / √d) v. */
static vmt_tensor attend(struct block *b, vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                         const vmt_tensor *v)
{
    vmt_tensor y = new_act(b, TOKENS, DIM), o = split(&y);
    *lse = golden_new(b->g, b->ctx->real, VMT_SHAPE(HEADS, TOKENS));
    CHECK_OK(b->ctx, vmt_attention(b->ctx, &o, lse, q, k, v, NULL, 1 / sqrt(HEAD_DIM)));
    return o;
}

/* x + gate ⊙ branch. */
static vmt_tensor add_branch(struct block *b, const vmt_tensor *x, const vmt_tensor *gate,
                             const vmt_tensor *branch)
{
    vmt_tensor y = golden_new(b->g, b->ctx->real, VMT_SHAPE(TOKENS, DIM));
    CHECK_OK(b->ctx, vmt_gate_residual(b->ctx, &y, x, gate, branch));
    return y;
}

/* x̂ (1 + scale) + shift with modulation vectors first, first + 1. */
static vmt_tensor modulate(struct block *b, const vmt_tensor *x, int first)
{
    vmt_tensor h = new_act(b, TOKENS, DIM);
    CHECK_OK(b->ctx, vmt_norm_modulate(b->ctx, &h, x, &b->m[first], &b->m[first + 1], EPS));
    return h;
}

static void forward(struct block *b)
{
    const vmt_tensor text = golden_act(b->g, "in.ctx", VMT_SHAPE(TEXT, DIM));
    vmt_tensor h, branch;

    b->x = golden_real(b->g, "in.x", VMT_SHAPE(TOKENS, DIM));
    h = modulate(b, &b->x, 0);
    golden_check(b->g, "out.h1", &h, 2e-5);
    b->ql = apply(b, &h, "self_attn.q", DIM);
    b->kl = apply(b, &h, "self_attn.k", DIM);
    branch = apply(b, &h, "self_attn.v", DIM);
    b->v = split(&branch);
    golden_check(b->g, "out.q_lin", &b->ql, 2e-5);
    golden_check(b->g, "out.k_lin", &b->kl, 2e-5);
    golden_check(b->g, "out.v_lin", &b->v, 2e-5);
    b->q = norm_heads(b, &b->ql, "self_attn.norm_q.weight", true);
    b->k = norm_heads(b, &b->kl, "self_attn.norm_k.weight", true);
    golden_check(b->g, "out.q", &b->q, 3e-5);
    golden_check(b->g, "out.k", &b->k, 3e-5);
    b->o = attend(b, &b->lse, &b->q, &b->k, &b->v);
    golden_check(b->g, "out.att", &b->o, 5e-5);
    h = flat(&b->o);
    branch = apply(b, &h, "self_attn.o", DIM);
    b->x1 = add_branch(b, &b->x, &b->m[2], &branch);
    golden_check(b->g, "out.x1", &b->x1, 5e-5);

    const vmt_tensor norm_w = vector_of(b, "norm3.weight"), norm_b = vector_of(b, "norm3.bias");
    h = new_act(b, TOKENS, DIM);
    CHECK_OK(b->ctx, vmt_layer_norm(b->ctx, &h, &b->x1, &norm_w, &norm_b, EPS));
    golden_check(b->g, "out.h3", &h, 4e-5);
    b->cql = apply(b, &h, "cross_attn.q", DIM);
    b->cq = norm_heads(b, &b->cql, "cross_attn.norm_q.weight", false);
    golden_check(b->g, "out.cq", &b->cq, 2e-5);
    branch = apply(b, &text, "cross_attn.k", DIM);
    b->ck = norm_heads(b, &branch, "cross_attn.norm_k.weight", false);
    branch = apply(b, &text, "cross_attn.v", DIM);
    b->cv = split(&branch);
    b->co = attend(b, &b->clse, &b->cq, &b->ck, &b->cv);
    h = flat(&b->co);
    branch = apply(b, &h, "cross_attn.o", DIM);
    b->x2 = add_branch(b, &b->x1, NULL, &branch);
    golden_check(b->g, "out.x2", &b->x2, 6e-5);

    h = modulate(b, &b->x2, 3);
    golden_check(b->g, "out.h2", &h, 4e-5);
    b->u = apply(b, &h, "ffn.0", FFN);
    golden_check(b->g, "out.u", &b->u, 3e-5);
    vmt_tensor activated = new_act(b, TOKENS, FFN);
    CHECK_OK(b->ctx, vmt_gelu(b->ctx, &activated, &b->u));
    branch = apply(b, &activated, "ffn.2", DIM);
    h = add_branch(b, &b->x2, &b->m[5], &branch);
    golden_check(b->g, "out.y", &h, 6e-5);
}

/* d_x, [TOKENS, DIM] R, is the gradient at the block's output and becomes that at x2, x1, x. */
static void feed_forward_bwd(struct block *b, vmt_tensor *d_x)
{
    vmt_tensor d_branch = new_act(b, TOKENS, DIM), d_u = new_act(b, TOKENS, FFN);
    vmt_tensor d_h = new_act(b, TOKENS, DIM);

    CHECK_OK(b->ctx, vmt_gate_residual_bwd(b->ctx, &d_branch, &b->m[5], d_x));
    apply_bwd(b, &d_u, &d_branch, "ffn.2", false);
    CHECK_OK(b->ctx, vmt_gelu_bwd(b->ctx, &d_u, &d_u, &b->u));
    golden_check(b->g, "out.d_u", &d_u, 2e-5);
    apply_bwd(b, &d_h, &d_u, "ffn.0", false);
    golden_check(b->g, "out.d_h2", &d_h, 2e-5);
    CHECK_OK(b->ctx, vmt_norm_modulate_bwd_acc(b->ctx, d_x, &d_h, &b->x2, &b->m[4], EPS));
    golden_check(b->g, "out.d_x2", d_x, 1e-5);
}

static void cross_attention_bwd(struct block *b, vmt_tensor *d_x)
{
    const vmt_tensor norm_w = vector_of(b, "norm3.weight");
    vmt_tensor d_o = new_act(b, TOKENS, DIM), d_q = new_act(b, TOKENS, DIM);
    vmt_tensor d_o_heads = split(&d_o), d_q_heads = split(&d_q), d_h = new_act(b, TOKENS, DIM);

    apply_bwd(b, &d_o, d_x, "cross_attn.o", false);
    CHECK_OK(b->ctx, vmt_attention_bwd(b->ctx, &d_q_heads, NULL, NULL, &d_o_heads, &b->cq, &b->ck,
                                       &b->cv, &b->co, &b->clse, 1 / sqrt(HEAD_DIM)));
    golden_check(b->g, "out.d_cq", &d_q, 3e-5);
    d_q = norm_heads_bwd(b, &d_q_heads, &b->cql, "cross_attn.norm_q.weight", false);
    apply_bwd(b, &d_h, &d_q, "cross_attn.q", false);
    golden_check(b->g, "out.d_h3", &d_h, 2e-5);
    CHECK_OK(b->ctx, vmt_layer_norm_bwd_acc(b->ctx, d_x, &d_h, &b->x1, &norm_w, EPS));
    golden_check(b->g, "out.d_x1", d_x, 2e-5);
}

static void self_attention_bwd(struct block *b, vmt_tensor *d_x)
{
    vmt_tensor d_branch = new_act(b, TOKENS, DIM), d_o = new_act(b, TOKENS, DIM);
    vmt_tensor d_o_heads = split(&d_o), d_h = new_act(b, TOKENS, DIM);
    vmt_tensor d_qkv[3], d_heads[3];

    for (int i = 0; i < 3; i++) {
        d_qkv[i] = new_act(b, TOKENS, DIM);
        d_heads[i] = split(&d_qkv[i]);
    }
    CHECK_OK(b->ctx, vmt_gate_residual_bwd(b->ctx, &d_branch, &b->m[2], d_x));
    apply_bwd(b, &d_o, &d_branch, "self_attn.o", false);
    golden_check(b->g, "out.d_att", &d_o, 2e-5);
    CHECK_OK(b->ctx, vmt_attention_bwd(b->ctx, &d_heads[0], &d_heads[1], &d_heads[2], &d_o_heads,
                                       &b->q, &b->k, &b->v, &b->o, &b->lse, 1 / sqrt(HEAD_DIM)));
    golden_check(b->g, "out.d_q", &d_qkv[0], 7e-5);
    golden_check(b->g, "out.d_k", &d_qkv[1], 6e-5);
    golden_check(b->g, "out.d_v_lin", &d_qkv[2], 3e-5);
    d_qkv[0] = norm_heads_bwd(b, &d_heads[0], &b->ql, "self_attn.norm_q.weight", true);
    d_qkv[1] = norm_heads_bwd(b, &d_heads[1], &b->kl, "self_attn.norm_k.weight", true);
    golden_check(b->g, "out.d_q_lin", &d_qkv[0], 2e-4);
    golden_check(b->g, "out.d_k_lin", &d_qkv[1], 2e-4);
    apply_bwd(b, &d_h, &d_qkv[0], "self_attn.q", false);
    apply_bwd(b, &d_h, &d_qkv[1], "self_attn.k", true);
    apply_bwd(b, &d_h, &d_qkv[2], "self_attn.v", true);
    golden_check(b->g, "out.d_h1", &d_h, 7e-5);
    CHECK_OK(b->ctx, vmt_norm_modulate_bwd_acc(b->ctx, d_x, &d_h, &b->x, &b->m[1], EPS));
    golden_check(b->g, "out.d_x", d_x, 1e-4);
}

static void block_and_gradient(void **state)
{
    struct block b = {.ctx = golden_ctx(state)};

    b.g = golden_open(b.ctx, "block_grad_a");
    b.weights = golden_open(b.ctx, "dit_a.weights");
    make_modulation(&b);
    make_angles(&b);
    forward(&b);
    vmt_tensor d_x = golden_real(b.g, "in.dy", VMT_SHAPE(TOKENS, DIM));
    feed_forward_bwd(&b, &d_x);
    cross_attention_bwd(&b, &d_x);
    self_attention_bwd(&b, &d_x);
    golden_close(b.weights);
    golden_close(b.g);
    test_ctx_close(b.ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(block_and_gradient)};
    return golden_backends_main(tests, 1);
}
