/* SPDX-License-Identifier: MIT
 *
 * Norms, activations, RoPE, AdamW and a whole DiT block with its backward, op by op, against
 * results of the Python reference in float64.  Tolerances: ten times the error of the reference's
 * own float32 run.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 5, DIM = 48, ARGUMENTS = 97 };
static const double EPS = 1e-6;

static void layer_norms(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);
    golden *g = golden_open(ctx, "norms_a");
    vmt_tensor x = golden_real(g, "in.x", VMT_SHAPE(ROWS, DIM));
    vmt_tensor dy = golden_real(g, "in.dy", VMT_SHAPE(ROWS, DIM));
    vmt_tensor w = golden_real(g, "in.w", VMT_SHAPE(DIM)),
               b = golden_real(g, "in.b", VMT_SHAPE(DIM));
    vmt_tensor zeros = golden_zeros(g, ctx->real, VMT_SHAPE(DIM));
    vmt_tensor y = golden_new(g, ctx->act, VMT_SHAPE(ROWS, DIM)), dx;

    CHECK_OK(ctx, vmt_norm_modulate(ctx, &y, &x, &zeros, &zeros, EPS));
    golden_check(g, "out.layer_norm", &y, 6e-6);
    CHECK_OK(ctx, vmt_layer_norm(ctx, &y, &x, &w, &b, EPS));
    golden_check(g, "out.layer_norm_affine", &y, 7e-6);
    dx = golden_zeros(g, ctx->real, VMT_SHAPE(ROWS, DIM));
    CHECK_OK(ctx, vmt_norm_modulate_bwd_acc(ctx, &dx, &dy, &x, &zeros, EPS));
    golden_check(g, "out.d_layer_norm", &dx, 5e-3);
    dx = golden_zeros(g, ctx->real, VMT_SHAPE(ROWS, DIM));
    CHECK_OK(ctx, vmt_layer_norm_bwd_acc(ctx, &dx, &dy, &x, &w, EPS));
    golden_check(g, "out.d_layer_norm_affine", &dx, 5e-3);
    golden_close(g);
    test_ctx_close(ctx);
}

static void rms_norms(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);
    golden *g = golden_open(ctx, "norms_a");
    vmt_tensor x = golden_act(g, "in.x", VMT_SHAPE(ROWS, DIM));
    vmt_tensor dy = golden_act(g, "in.dy", VMT_SHAPE(ROWS, 1, DIM));
    vmt_tensor w = golden_real(g, "in.w", VMT_SHAPE(DIM));
    vmt_tensor y = golden_new(g, ctx->act, VMT_SHAPE(ROWS, 1, DIM));
    vmt_tensor dx = golden_new(g, ctx->act, VMT_SHAPE(ROWS, DIM));
    vmt_tensor z = golden_new(g, ctx->act, VMT_SHAPE(ROWS, DIM));

    CHECK_OK(ctx, vmt_rms_norm_rope(ctx, &y, &x, &w, NULL, NULL, EPS));
    golden_check(g, "out.rms_norm", &y, 7e-6);
    CHECK_OK(ctx, vmt_rms_norm_rope_bwd(ctx, &dx, &dy, &x, &w, NULL, NULL, EPS));
    golden_check(g, "out.d_rms_norm", &dx, 5e-3);
    CHECK_OK(ctx, vmt_rms_norm_channel(ctx, &z, &x, &w, false));
    golden_check(g, "out.vae_rms", &z, 8e-6);
    golden_close(g);
    test_ctx_close(ctx);
}

static void activations(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);
    golden *g = golden_open(ctx, "norms_a");
    vmt_tensor u = golden_act(g, "in.u", VMT_SHAPE(ARGUMENTS));
    vmt_tensor y = golden_new(g, ctx->act, VMT_SHAPE(ARGUMENTS));
    double ones_data[ARGUMENTS];
    vmt_tensor ones = golden_new(g, ctx->act, VMT_SHAPE(ARGUMENTS));
    const vmt_tensor host = vmt_tensor_over(ones_data, VMT_F64, VMT_SHAPE(ARGUMENTS));

    for (int i = 0; i < ARGUMENTS; i++)
        ones_data[i] = 1;
    CHECK_OK(ctx, vmt_upload(ctx, &ones, &host));
    CHECK_OK(ctx, vmt_gelu(ctx, &y, &u));
    golden_check(g, "out.gelu", &y, 2e-5);
    CHECK_OK(ctx, vmt_gelu_bwd(ctx, &y, &ones, &u));
    golden_check(g, "out.d_gelu", &y, 7e-6);
    CHECK_OK(ctx, vmt_silu(ctx, &y, &u));
    golden_check(g, "out.silu", &y, 2e-5);
    golden_close(g);
    test_ctx_close(ctx);
}

/* Rotation alone: the op also divides each token by its root mean square, so the input is given
 * with that already 1 in every token, and the result multiplied by it. */
static void rotation(void **state)
{
    static const int64_t shapes[][3] = {{60, 2, 128}, {12, 2, 12}, {24, 2, 16}};
    vmt_ctx *ctx = golden_ctx(state);
    golden *g = golden_open(ctx, "rope_time_a");

    for (int c = 0; c < 3; c++) {
        const int64_t tokens = shapes[c][0], heads = shapes[c][1], d = shapes[c][2];
        const int64_t dim = heads * d, pairs = d / 2;
        char name[32];
        vmt_tensor tables[2], ones = golden_new(g, ctx->real, VMT_SHAPE(dim));
        double host_data[60 * 256], rms[60];
        vmt_tensor host = vmt_tensor_over(host_data, VMT_F64, VMT_SHAPE(tokens, pairs));

        snprintf(name, sizeof name, "out.angles%d", c);
        const float *angles = vmt_tensor_file_find(golden_file(g), name)->data;
        for (int which = 0; which < 2; which++) {
            for (int64_t i = 0; i < tokens * pairs; i++)
                host_data[i] = which ? sin((double)angles[i]) : cos((double)angles[i]);
            tables[which] = golden_new(g, ctx->real, VMT_SHAPE(tokens, pairs));
            CHECK_OK(ctx, vmt_upload(ctx, &tables[which], &host));
        }
        for (int64_t i = 0; i < dim; i++)
            host_data[i] = 1;
        host = vmt_tensor_over(host_data, VMT_F64, VMT_SHAPE(dim));
        CHECK_OK(ctx, vmt_upload(ctx, &ones, &host));

        snprintf(name, sizeof name, "in.v%d", c);
        const float *v = vmt_tensor_file_find(golden_file(g), name)->data;
        for (int64_t t = 0; t < tokens; t++) {
            double squares = 0;
            for (int64_t i = 0; i < dim; i++)
                squares += (double)v[t * dim + i] * (double)v[t * dim + i];
            rms[t] = sqrt(squares / (double)dim);
            for (int64_t i = 0; i < dim; i++)
                host_data[t * dim + i] = (double)v[t * dim + i] / rms[t];
        }
        vmt_tensor x = golden_new(g, ctx->act, VMT_SHAPE(tokens, dim));
        vmt_tensor y = golden_new(g, ctx->act, VMT_SHAPE(tokens, heads, d));
        host = vmt_tensor_over(host_data, VMT_F64, VMT_SHAPE(tokens, dim));
        CHECK_OK(ctx, vmt_upload(ctx, &x, &host));
        CHECK_OK(ctx, vmt_rms_norm_rope(ctx, &y, &x, &ones, &tables[0], &tables[1], 0));
        host = vmt_tensor_over(host_data, VMT_F64, VMT_SHAPE(tokens, heads, d));
        CHECK_OK(ctx, vmt_download(ctx, &host, &y));
        for (int64_t i = 0; i < tokens * dim; i++)
            host_data[i] *= rms[i / dim];
        CHECK_OK(ctx, vmt_upload(ctx, &y, &host));
        snprintf(name, sizeof name, "out.rot%d", c);
        golden_check(g, name, &y, 8e-6);
    }
    golden_close(g);
    test_ctx_close(ctx);
}

static void adamw(void **state)
{
    enum { COUNT = 400, STEPS = 6 };
    vmt_ctx *ctx = golden_ctx(state);
    golden *g = golden_open(ctx, "adamw_a");
    vmt_tensor x = golden_real(g, "in.x", VMT_SHAPE(COUNT));
    vmt_tensor gradients = golden_real(g, "in.g", VMT_SHAPE(STEPS, COUNT));
    vmt_tensor m = golden_zeros(g, ctx->real, VMT_SHAPE(COUNT));
    vmt_tensor v = golden_zeros(g, ctx->real, VMT_SHAPE(COUNT));
    vmt_tensor all = golden_new(g, ctx->real, VMT_SHAPE(STEPS, COUNT));

    for (int j = 0; j < STEPS; j++) {
        const vmt_adamw settings = {.lr = 0.003 - 0.001 * j / STEPS,
                                    .beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .eps = 1e-8,
                                    .weight_decay = 0.01,
                                    .step = j + 1};
        const vmt_tensor gradient = vmt_index(&gradients, j);
        vmt_tensor after = vmt_index(&all, j);
        CHECK_OK(ctx, vmt_adamw_step(ctx, &x, &m, &v, &gradient, &settings));
        CHECK_OK(ctx, vmt_copy(ctx, &after, &x));
    }
    golden_check(g, "out.x", &all, 7e-6);
    golden_check(g, "out.m", &m, 2e-8);
    golden_check(g, "out.v", &v, 3e-12);
    golden_close(g);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norms), cmocka_unit_test(rms_norms), cmocka_unit_test(activations),
        cmocka_unit_test(rotation),    cmocka_unit_test(adamw),
    };
    return golden_backends_main(tests, sizeof tests / sizeof tests[0]);
}
