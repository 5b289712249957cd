/* SPDX-License-Identifier: MIT
 *
 * Every backward op of ref64 against central differences of its forward: L = Σ y ⊙ r with random r,
 * dL/dx by the op with dy = r, and (L(x + h) - L(x - h)) / 2h.  With h = 1e-5 the difference is off
 * by about h² L''' + 1e-16 L / h, far below the 2e-9 (of the largest gradient) allowed.
 */
#include "testing.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_TENSORS = 24, MAX_INPUTS = 4 };

struct problem {
    vmt_ctx *ctx;
    test_rng rng;
    const char *op;
    void *blocks[MAX_TENSORS];
    int count;
    vmt_tensor *x[MAX_INPUTS], *dx[MAX_INPUTS]; /* differentiated inputs, their gradients */
    int inputs;
    vmt_tensor tensors[MAX_TENSORS]; /* what `loss` needs; each test numbers them */
    vmt_weight weight;
    float *weight_data;
    vmt_flow_geometry geometry;
    vmt_local_geometry local;
    int64_t patch[3];
    int kind;
    double (*loss)(struct problem *p);
};

static vmt_tensor fresh(struct problem *p, double low, double high, int rank, const int64_t *shape)
{
    vmt_tensor t = vmt_tensor_over(NULL, VMT_F64, rank, shape);
    double *values = malloc(vmt_tensor_bytes(&t));

    assert_non_null(values);
    assert_true(p->count < MAX_TENSORS);
    p->blocks[p->count++] = values;
    for (int64_t i = 0; i < vmt_numel(&t); i++)
        values[i] = low + (high - low) * (test_uniform(&p->rng) + 1) / 2;
    t.data = values;
    return t;
}

static vmt_tensor draw(struct problem *p, int rank, const int64_t *shape)
{
    return fresh(p, -1, 1, rank, shape);
}

static vmt_tensor zeros(struct problem *p, int rank, const int64_t *shape)
{
    return fresh(p, 0, 0, rank, shape);
}

static struct problem open_problem(const char *op, uint64_t seed)
{
    return (struct problem){.ctx = test_ctx_open("ref64", NULL), .rng = {seed}, .op = op};
}

static void differentiate(struct problem *p, vmt_tensor *x, vmt_tensor *dx)
{
    p->x[p->inputs] = x;
    p->dx[p->inputs++] = dx;
}

static double dot(const vmt_tensor *a, const vmt_tensor *b)
{
    const double *x = a->data, *y = b->data;
    double sum = 0;
    for (int64_t i = 0; i < vmt_numel(a); i++)
        sum += x[i] * y[i];
    return sum;
}

/* Compares, then frees everything. */
static void check_problem(struct problem *p)
{
    const double h = 1e-5;
    double worst = 0;

    for (int n = 0; n < p->inputs; n++) {
        double *x = p->x[n]->data, most = 0;
        const double *dx = p->dx[n]->data;
        for (int64_t i = 0; i < vmt_numel(p->x[n]); i++)
            most = fmax(most, fabs(dx[i]));
        assert_true(most > 0);
        for (int64_t i = 0; i < vmt_numel(p->x[n]); i++) {
            const double saved = x[i];
            x[i] = saved + h;
            const double above = p->loss(p);
            x[i] = saved - h;
            const double below = p->loss(p);
            x[i] = saved;
            const double error = fabs((above - below) / (2 * h) - dx[i]) / most;
            if (!(error <= 2e-9))
                fail_msg("%s: input %d [%" PRId64 "]: gradient %.12g, difference %.12g", p->op, n,
                         i, dx[i], (above - below) / (2 * h));
            worst = fmax(worst, error);
        }
    }
    print_message("%-24s error %.1e of 2e-09\n", p->op, worst);
    for (int i = 0; i < p->count; i++)
        free(p->blocks[i]);
    free(p->weight_data);
    test_ctx_close(p->ctx);
}

/* ---------------------------------------------------------------- linear: tensors x, r, y */

static double linear_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_linear(p->ctx, &t[2], &t[0], &p->weight, VMT_EPILOGUE_NONE));
    return dot(&t[2], &t[1]);
}

static void linear_gradient(void **state)
{
    (void)state;
    for (int add = 0; add < 2; add++) {
        struct problem p = open_problem(add ? "linear_bwd_acc" : "linear_bwd", 11);
        vmt_tensor *t = p.tensors;
        const int64_t rows = 19, in = 7, out = 37;
        t[0] = draw(&p, VMT_SHAPE(rows, in));
        t[1] = draw(&p, VMT_SHAPE(rows, out));
        t[2] = zeros(&p, VMT_SHAPE(rows, out));
        t[3] = zeros(&p, VMT_SHAPE(rows, in));
        p.weight_data = calloc((size_t)(in * out), sizeof(float));
        assert_non_null(p.weight_data);
        for (int64_t i = 0; i < in * out; i++)
            p.weight_data[i] = (float)test_uniform(&p.rng);
        p.weight.w = vmt_tensor_over(p.weight_data, VMT_F32, VMT_SHAPE(out, in));
        CHECK_OK(p.ctx,
                 (add ? vmt_linear_bwd_acc : vmt_linear_bwd)(p.ctx, &t[3], &t[1], &p.weight));
        differentiate(&p, &t[0], &t[3]);
        p.loss = linear_loss;
        check_problem(&p);
    }
}

/* ---------------------------------------------------------------- elementwise */

static double gelu_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_gelu(p->ctx, &t[2], &t[0]));
    return dot(&t[2], &t[1]);
}

static void gelu_gradient(void **state)
{
    struct problem p = open_problem("gelu_bwd", 12);
    vmt_tensor *t = p.tensors;
    (void)state;
    t[0] = fresh(&p, -5, 5, VMT_SHAPE(7, 9));
    t[1] = draw(&p, VMT_SHAPE(7, 9));
    t[2] = zeros(&p, VMT_SHAPE(7, 9));
    t[3] = zeros(&p, VMT_SHAPE(7, 9));
    CHECK_OK(p.ctx, vmt_gelu_bwd(p.ctx, &t[3], &t[1], &t[0]));
    differentiate(&p, &t[0], &t[3]);
    p.loss = gelu_loss;
    check_problem(&p);
}

/* tensors: branch, r, y, dbranch, x, gate */
static double gate_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_gate_residual(p->ctx, &t[2], &t[4], &t[5], &t[0]));
    return dot(&t[2], &t[1]);
}

static void gate_gradient(void **state)
{
    struct problem p = open_problem("gate_residual_bwd", 13);
    vmt_tensor *t = p.tensors;
    (void)state;
    for (int i = 0; i < 5; i++)
        t[i] = draw(&p, VMT_SHAPE(3, 11));
    t[5] = draw(&p, VMT_SHAPE(11));
    CHECK_OK(p.ctx, vmt_gate_residual_bwd(p.ctx, &t[3], &t[5], &t[1]));
    differentiate(&p, &t[0], &t[3]);
    p.loss = gate_loss;
    check_problem(&p);
}

/* ---------------------------------------------------------------- norms */

/* tensors: x, r, y, dx, factor, offset */
static double norm_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    if (p->kind == 0)
        CHECK_OK(p->ctx, vmt_norm_modulate(p->ctx, &t[2], &t[0], &t[5], &t[4], 1e-3));
    else
        CHECK_OK(p->ctx, vmt_layer_norm(p->ctx, &t[2], &t[0], &t[4], &t[5], 1e-3));
    return dot(&t[2], &t[1]);
}

static void norm_gradient(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem(kind ? "layer_norm_bwd_acc" : "norm_modulate_bwd_acc", 14);
        vmt_tensor *t = p.tensors;
        for (int i = 0; i < 3; i++)
            t[i] = draw(&p, VMT_SHAPE(5, 13));
        t[3] = zeros(&p, VMT_SHAPE(5, 13));
        t[4] = draw(&p, VMT_SHAPE(13));
        t[5] = draw(&p, VMT_SHAPE(13));
        if (kind)
            CHECK_OK(p.ctx, vmt_layer_norm_bwd_acc(p.ctx, &t[3], &t[1], &t[0], &t[4], 1e-3));
        else
            CHECK_OK(p.ctx, vmt_norm_modulate_bwd_acc(p.ctx, &t[3], &t[1], &t[0], &t[4], 1e-3));
        differentiate(&p, &t[0], &t[3]);
        p.kind = kind;
        p.loss = norm_loss;
        check_problem(&p);
    }
}

/* tensors: x, r, y, dx, weight, cos, sin; kind 1: without angles */
static double rms_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_rms_norm_rope(p->ctx, &t[2], &t[0], &t[4], p->kind ? NULL : &t[5],
                                       p->kind ? NULL : &t[6], 1e-3));
    return dot(&t[2], &t[1]);
}

static void rms_gradient(void **state)
{
    const int64_t tokens = 5, heads = 3, d = 6;
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem(kind ? "rms_norm_bwd" : "rms_norm_rope_bwd", 15);
        vmt_tensor *t = p.tensors;
        t[0] = draw(&p, VMT_SHAPE(tokens, heads * d));
        t[1] = draw(&p, VMT_SHAPE(tokens, heads, d));
        t[2] = draw(&p, VMT_SHAPE(tokens, heads, d));
        t[3] = draw(&p, VMT_SHAPE(tokens, heads * d));
        t[4] = draw(&p, VMT_SHAPE(heads * d));
        t[5] = zeros(&p, VMT_SHAPE(tokens, d / 2));
        t[6] = zeros(&p, VMT_SHAPE(tokens, d / 2));
        for (int64_t i = 0; i < tokens * d / 2; i++) { /* the backward needs cos² + sin² = 1 */
            const double angle = 3 * test_uniform(&p.rng);
            ((double *)t[5].data)[i] = cos(angle);
            ((double *)t[6].data)[i] = sin(angle);
        }
        CHECK_OK(p.ctx, vmt_rms_norm_rope_bwd(p.ctx, &t[3], &t[1], &t[0], &t[4],
                                              kind ? NULL : &t[5], kind ? NULL : &t[6], 1e-3));
        differentiate(&p, &t[0], &t[3]);
        p.kind = kind;
        p.loss = rms_loss;
        check_problem(&p);
    }
}

/* ---------------------------------------------------------------- attention */

/* tensors: q, k, v, r, o, lse, dq, dk, dv */
static double attention_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_attention(p->ctx, &t[4], NULL, &t[0], &t[1], &t[2], NULL, 0.7));
    return dot(&t[4], &t[3]);
}

static void attention_gradient(void **state)
{
    const int64_t nq = 5, nk = 9, heads = 2, d = 7;
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem(kind ? "attention_bwd, dq only" : "attention_bwd", 16);
        vmt_tensor *t = p.tensors;
        t[0] = draw(&p, VMT_SHAPE(nq, heads, d));
        t[1] = draw(&p, VMT_SHAPE(nk, heads, d));
        t[2] = draw(&p, VMT_SHAPE(nk, heads, d));
        t[3] = draw(&p, VMT_SHAPE(nq, heads, d));
        t[4] = zeros(&p, VMT_SHAPE(nq, heads, d));
        t[5] = zeros(&p, VMT_SHAPE(heads, nq));
        t[6] = zeros(&p, VMT_SHAPE(nq, heads, d));
        t[7] = zeros(&p, VMT_SHAPE(nk, heads, d));
        t[8] = zeros(&p, VMT_SHAPE(nk, heads, d));
        CHECK_OK(p.ctx, vmt_attention(p.ctx, &t[4], &t[5], &t[0], &t[1], &t[2], NULL, 0.7));
        CHECK_OK(p.ctx, vmt_attention_bwd(p.ctx, &t[6], kind ? NULL : &t[7], kind ? NULL : &t[8],
                                          &t[3], &t[0], &t[1], &t[2], &t[4], &t[5], 0.7));
        differentiate(&p, &t[0], &t[6]);
        if (!kind) {
            differentiate(&p, &t[1], &t[7]);
            differentiate(&p, &t[2], &t[8]);
        }
        p.loss = attention_loss;
        check_problem(&p);
    }
}

/* tensors: as attention's, all of the grid */
static double attention_local_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_attention_local(p->ctx, &t[4], NULL, &t[0], &t[1], &t[2], &p->local, 0.7));
    return dot(&t[4], &t[3]);
}

/* Ragged tiles on every axis, boxes that differ by an odd number, one that is the whole axis. */
static void attention_local_gradient(void **state)
{
    const int64_t heads = 2, d = 3;
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem("attention_local_bwd", 26);
        vmt_tensor *t = p.tensors;
        p.local = kind ? (vmt_local_geometry){{3, 5, 3}, {2, 2, 1}, {2, 3, 2}}
                       : (vmt_local_geometry){{2, 3, 7}, {2, 1, 3}, {2, 2, 4}};
        const int64_t n = p.local.grid[0] * p.local.grid[1] * p.local.grid[2];
        for (int i = 0; i < 4; i++)
            t[i] = draw(&p, VMT_SHAPE(n, heads, d));
        t[4] = zeros(&p, VMT_SHAPE(n, heads, d));
        t[5] = zeros(&p, VMT_SHAPE(heads, n));
        for (int i = 6; i < 9; i++)
            t[i] = zeros(&p, VMT_SHAPE(n, heads, d));
        CHECK_OK(p.ctx,
                 vmt_attention_local(p.ctx, &t[4], &t[5], &t[0], &t[1], &t[2], &p.local, 0.7));
        CHECK_OK(p.ctx, vmt_attention_local_bwd(p.ctx, &t[6], &t[7], &t[8], &t[3], &t[0], &t[1],
                                                &t[2], &t[4], &t[5], &p.local, 0.7));
        for (int i = 0; i < 3; i++)
            differentiate(&p, &t[i], &t[6 + i]);
        p.loss = attention_local_loss;
        check_problem(&p);
    }
}

/* ---------------------------------------------------------------- rearrangements */

/* tensors: x, r, y, dx */
static double patches_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    if (p->kind)
        CHECK_OK(p->ctx, vmt_unpatchify(p->ctx, &t[2], &t[0], p->patch));
    else
        CHECK_OK(p->ctx, vmt_patchify(p->ctx, &t[2], &t[0], p->patch));
    return dot(&t[2], &t[1]);
}

static void patches_gradient(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem(kind ? "unpatchify_bwd" : "patchify_bwd", 17);
        vmt_tensor *t = p.tensors;
        const vmt_tensor latent = draw(&p, VMT_SHAPE(3, 2, 4, 6)),
                         tokens = draw(&p, VMT_SHAPE(12, 12));
        t[0] = kind ? tokens : latent;
        t[1] = kind ? draw(&p, VMT_SHAPE(3, 2, 4, 6)) : draw(&p, VMT_SHAPE(12, 12));
        t[2] = kind ? draw(&p, VMT_SHAPE(3, 2, 4, 6)) : draw(&p, VMT_SHAPE(12, 12));
        t[3] = kind ? draw(&p, VMT_SHAPE(12, 12)) : draw(&p, VMT_SHAPE(3, 2, 4, 6));
        p.patch[0] = 1, p.patch[1] = 2, p.patch[2] = 2;
        if (kind)
            CHECK_OK(p.ctx, vmt_unpatchify_bwd(p.ctx, &t[3], &t[1], p.patch));
        else
            CHECK_OK(p.ctx, vmt_patchify_bwd(p.ctx, &t[3], &t[1], p.patch));
        differentiate(&p, &t[0], &t[3]);
        p.kind = kind;
        p.loss = patches_loss;
        check_problem(&p);
    }
}

/* ---------------------------------------------------------------- motion */

/* tensors: q, r, Q, dq */
static double reduce_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_qk_reduce(p->ctx, &t[2], &t[0], (enum vmt_qk_reduction)p->kind));
    return dot(&t[2], &t[1]);
}

static void reduce_gradient(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = open_problem(kind ? "qk_reduce_bwd released" : "qk_reduce_bwd", 18);
        vmt_tensor *t = p.tensors;
        t[0] = draw(&p, VMT_SHAPE(9, 3, 5));
        t[1] = draw(&p, VMT_SHAPE(9, 5));
        t[2] = draw(&p, VMT_SHAPE(9, 5));
        t[3] = draw(&p, VMT_SHAPE(9, 3, 5));
        CHECK_OK(p.ctx, vmt_qk_reduce_bwd(p.ctx, &t[3], &t[1], (enum vmt_qk_reduction)kind));
        differentiate(&p, &t[0], &t[3]);
        p.kind = kind;
        p.loss = reduce_loss;
        check_problem(&p);
    }
}

/* tensors: q, k, r, flow, dq, dk, rows, cols */
static double flow_loss_of(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    if (p->kind == 0)
        CHECK_OK(p->ctx, vmt_flow_full(p->ctx, &t[3], &t[0], &t[1], &p->geometry, 1.3));
    else if (p->kind == 3)
        CHECK_OK(p->ctx, vmt_flow_top(p->ctx, &t[3], &t[0], &t[1], &p->geometry, 1.3, 5));
    else
        CHECK_OK(p->ctx,
                 vmt_flow_windowed(p->ctx, &t[3], &t[0], &t[1], &t[6], &t[7], &p->geometry, 1.3));
    return dot(&t[3], &t[2]);
}

/* I32 in [0, limit). */
static vmt_tensor indices(struct problem *p, int64_t limit, int64_t tiles, int64_t count)
{
    vmt_tensor t = zeros(p, VMT_SHAPE(tiles, count));
    int32_t *values = t.data;
    t.dtype = VMT_I32;
    for (int64_t i = 0; i < tiles * count; i++)
        values[i] = (int32_t)((test_uniform(&p->rng) + 1) / 2 * (double)limit);
    return t;
}

/* kind 0: flow_full; 1: windowed, frame, ragged tiles; 2: windowed, released; 3: flow_top */
static struct problem flow_problem(const char *op, int kind)
{
    struct problem p = open_problem(op, 19);
    vmt_tensor *t = p.tensors;
    const int64_t height = kind == 2 ? 6 : 5, width = kind == 2 ? 4 : 7, d = 3;

    p.kind = kind;
    p.geometry =
        (vmt_flow_geometry){.grid_h = height,
                            .grid_w = width,
                            .tile_h = 3,
                            .tile_w = 2,
                            .window_h = 3,
                            .window_w = kind == 2 ? 5 : 4,
                            .positions = kind == 2 ? VMT_POSITIONS_RELEASED : VMT_POSITIONS_FRAME};
    const int64_t tiles = vmt_flow_tiles(&p.geometry);
    t[0] = fresh(&p, -2, 2, VMT_SHAPE(height * width, d));
    t[1] = fresh(&p, -2, 2, VMT_SHAPE(height * width, d));
    t[2] = draw(&p, VMT_SHAPE(height * width, 2));
    t[3] = draw(&p, VMT_SHAPE(height * width, 2));
    t[4] = zeros(&p, VMT_SHAPE(height * width, d));
    t[5] = zeros(&p, VMT_SHAPE(height * width, d));
    t[6] = indices(&p, height, tiles, p.geometry.window_h);
    t[7] = indices(&p, width, tiles, p.geometry.window_w);
    return p;
}

static void flow_gradient(void **state)
{
    static const char *const names[] = {"flow_full_bwd_acc", "flow_windowed_bwd_acc",
                                        "flow_windowed released", "flow_top_bwd_acc"};
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct problem p = flow_problem(names[kind], kind);
        vmt_tensor *t = p.tensors;
        p.loss = flow_loss_of;
        p.loss(&p);
        if (kind == 0)
            CHECK_OK(p.ctx, vmt_flow_full_bwd_acc(p.ctx, &t[4], &t[5], &t[2], &t[3], &t[0], &t[1],
                                                  &p.geometry, 1.3));
        else if (kind == 3)
            CHECK_OK(p.ctx, vmt_flow_top_bwd_acc(p.ctx, &t[4], &t[5], &t[2], &t[3], &t[0], &t[1],
                                                 &p.geometry, 1.3, 5));
        else
            CHECK_OK(p.ctx, vmt_flow_windowed_bwd_acc(p.ctx, &t[4], &t[5], &t[2], &t[3], &t[0],
                                                      &t[1], &t[6], &t[7], &p.geometry, 1.3));
        differentiate(&p, &t[0], &t[4]);
        differentiate(&p, &t[1], &t[5]);
        check_problem(&p);
    }
}

/* tensors: k = t[1], rows, cols as above; r = t[8], mean = t[9] */
static double mean_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    CHECK_OK(p->ctx, vmt_window_mean(p->ctx, &t[9], &t[1], &t[6], &t[7], &p->geometry));
    return dot(&t[9], &t[8]);
}

static void mean_gradient(void **state)
{
    (void)state;
    for (int kind = 1; kind < 3; kind++) {
        struct problem p =
            flow_problem(kind == 2 ? "window_mean released" : "window_mean_bwd_acc", kind);
        vmt_tensor *t = p.tensors;
        const int64_t columns = kind == 2 ? p.geometry.window_h * p.geometry.window_w : 3;
        t[8] = draw(&p, VMT_SHAPE(vmt_flow_tiles(&p.geometry), columns));
        t[9] = draw(&p, VMT_SHAPE(vmt_flow_tiles(&p.geometry), columns));
        CHECK_OK(p.ctx, vmt_window_mean_bwd_acc(p.ctx, &t[5], &t[8], &t[6], &t[7], &p.geometry));
        differentiate(&p, &t[1], &t[5]);
        p.loss = mean_loss;
        check_problem(&p);
    }
}

/* tensors: flow, ref, dflow, m, loss */
static double square_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    *(double *)t[4].data = 0;
    CHECK_OK(p->ctx, vmt_flow_loss(p->ctx, &t[4], NULL, &t[0], &t[1], &t[3], 0.7, 1));
    return 3 * *(double *)t[4].data;
}

static void flow_loss_gradient(void **state)
{
    struct problem p = open_problem("flow_loss", 20);
    vmt_tensor *t = p.tensors;
    (void)state;
    for (int i = 0; i < 3; i++)
        t[i] = draw(&p, VMT_SHAPE(11, 2));
    t[3] = fresh(&p, 0, 1, VMT_SHAPE(11));
    t[4] = zeros(&p, VMT_SHAPE(1));
    CHECK_OK(p.ctx, vmt_flow_loss(p.ctx, &t[4], &t[2], &t[0], &t[1], &t[3], 0.7, 3));
    differentiate(&p, &t[0], &t[2]);
    p.loss = square_loss;
    check_problem(&p);
}

/* tensors: a, b, da, db, m, loss */
static double norm_distance(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    *(double *)t[5].data = 0;
    CHECK_OK(p->ctx, vmt_track_loss(p->ctx, &t[5], NULL, NULL, &t[0], &t[1], &t[4], 0.7, 1));
    return 3 * *(double *)t[5].data;
}

static void track_loss_gradient(void **state)
{
    struct problem p = open_problem("track_loss", 21);
    vmt_tensor *t = p.tensors;
    (void)state;
    t[0] = draw(&p, VMT_SHAPE(4, 9));
    t[1] = draw(&p, VMT_SHAPE(4, 9));
    t[2] = zeros(&p, VMT_SHAPE(4, 9));
    t[3] = zeros(&p, VMT_SHAPE(4, 9));
    t[4] = fresh(&p, 0, 1, VMT_SHAPE(4));
    t[5] = zeros(&p, VMT_SHAPE(1));
    CHECK_OK(p.ctx, vmt_track_loss(p.ctx, &t[5], &t[2], &t[3], &t[0], &t[1], &t[4], 0.7, 3));
    differentiate(&p, &t[0], &t[2]);
    differentiate(&p, &t[1], &t[3]);
    p.loss = norm_distance;
    check_problem(&p);
}

/* ---------------------------------------------------------------- features of hidden states */

static const vmt_pooling POOLING = {.grid_h = 3, .grid_w = 5, .cells_h = 2, .cells_w = 3};

/* tensors: x, r, y, dx, mask; kind 0: pool; 1: centre; 2: unit_rows; 3: with a mask */
static double feature_loss(struct problem *p)
{
    vmt_tensor *t = p->tensors;
    if (p->kind == 0)
        CHECK_OK(p->ctx, vmt_pool(p->ctx, &t[2], &t[0], &POOLING));
    else if (p->kind == 1)
        CHECK_OK(p->ctx, vmt_centre(p->ctx, &t[2], &t[0]));
    else
        CHECK_OK(p->ctx, vmt_unit_rows(p->ctx, &t[2], &t[0], p->kind == 3 ? &t[4] : NULL));
    return dot(&t[2], &t[1]);
}

static void feature_gradient(void **state)
{
    static const char *const names[] = {"pool_bwd", "centre", "unit_rows_bwd",
                                        "unit_rows_bwd mask"};
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct problem p = open_problem(names[kind], 22);
        vmt_tensor *t = p.tensors;
        const int rank = kind < 2 ? 3 : 2;
        const int64_t in[][3] = {{2, 15, 4}, {2, 7, 4}, {5, 9}, {5, 9}};
        const int64_t out[][3] = {{2, 6, 4}, {2, 7, 4}, {5, 9}, {5, 9}};
        t[0] = draw(&p, rank, in[kind]);
        t[1] = draw(&p, rank, out[kind]);
        t[2] = draw(&p, rank, out[kind]);
        t[3] = draw(&p, rank, in[kind]);
        t[4] = fresh(&p, 0.1, 1, VMT_SHAPE(9));
        if (kind == 0)
            CHECK_OK(p.ctx, vmt_pool_bwd(p.ctx, &t[3], &t[1], &POOLING));
        else if (kind == 1)
            CHECK_OK(p.ctx, vmt_centre(p.ctx, &t[3], &t[1]));
        else
            CHECK_OK(p.ctx,
                     vmt_unit_rows_bwd(p.ctx, &t[3], &t[1], &t[0], kind == 3 ? &t[4] : NULL));
        differentiate(&p, &t[0], &t[3]);
        p.kind = kind;
        p.loss = feature_loss;
        check_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_gradient),    cmocka_unit_test(gelu_gradient),
        cmocka_unit_test(gate_gradient),      cmocka_unit_test(norm_gradient),
        cmocka_unit_test(rms_gradient),       cmocka_unit_test(attention_gradient),
        cmocka_unit_test(patches_gradient),   cmocka_unit_test(reduce_gradient),
        cmocka_unit_test(flow_gradient),      cmocka_unit_test(mean_gradient),
        cmocka_unit_test(flow_loss_gradient), cmocka_unit_test(track_loss_gradient),
        cmocka_unit_test(feature_gradient),   cmocka_unit_test(attention_local_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
