/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow, its losses and their gradient, op by op, against the Python reference in
 * float64, in both variants.  Tolerances: ten times the error of the reference's own float32 run.
 */
#include "golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRS = 16, MAX_FRAMES = 8 };

/* One variant of one golden file. */
struct amf {
    vmt_ctx *ctx;
    golden *g;
    const char *variant;
    bool released;
    int64_t frames, tokens, d, span, pairs, entries, tiles;
    vmt_flow_geometry geometry;
    int from[MAX_PAIRS], to[MAX_PAIRS];
    vmt_tensor Q, K;                             /* [frames, tokens, d] */
    vmt_tensor flow, dflow;                      /* [pairs, tokens, 2] */
    vmt_tensor rows[MAX_PAIRS], cols[MAX_PAIRS]; /* of pairs i < j */
};

/* "out.VARIANT.NAME" */
static const char *out_name(const struct amf *a, const char *name, char *text)
{
    snprintf(text, 64, "out.%s.%s", a->variant, name);
    return text;
}

static void open_amf(struct amf *a, vmt_ctx *ctx, const char *name, const char *variant)
{
    int64_t grid[3], tile[2];

    memset(a, 0, sizeof *a);
    a->ctx = ctx;
    a->g = golden_open(ctx, name);
    a->variant = variant;
    a->released = strcmp(variant, "released") == 0;
    golden_sizes(a->g, "grid", grid, 3);
    golden_sizes(a->g, "tile", tile, 2);
    a->frames = grid[0];
    a->tokens = grid[1] * grid[2];
    a->span = golden_int(a->g, "span");
    const int64_t window = golden_int(a->g, "window");
    a->geometry = (vmt_flow_geometry){
        .grid_h = grid[1],
        .grid_w = grid[2],
        .tile_h = tile[0],
        .tile_w = tile[1],
        .window_h = a->released || window < grid[1] ? window : grid[1],
        .window_w = a->released || window < grid[2] ? window : grid[2],
        .positions = a->released ? VMT_POSITIONS_RELEASED : VMT_POSITIONS_FRAME};
    a->entries = a->geometry.window_h * a->geometry.window_w;
    a->tiles = vmt_flow_tiles(&a->geometry);
    for (int i = 0; i < a->frames; i++)
        for (int j = i; j < a->frames && j < i + a->span; j++, a->pairs++) {
            assert_true(a->pairs < MAX_PAIRS);
            a->from[a->pairs] = i;
            a->to[a->pairs] = j;
        }
}

static double pair_weight(const struct amf *a, int64_t p)
{
    return 1 - 0.2 * (double)(a->to[p] - a->from[p]) / (double)(a->span - 1);
}

/* Flow and windows of every pair. */
static void run_flow(struct amf *a)
{
    a->flow = golden_new(a->g, a->ctx->real, VMT_SHAPE(a->pairs, a->tokens, 2));
    for (int64_t p = 0; p < a->pairs; p++) {
        const vmt_tensor q = vmt_index(&a->Q, a->from[p]), k = vmt_index(&a->K, a->to[p]);
        vmt_tensor flow = vmt_index(&a->flow, p);
        if (a->from[p] == a->to[p]) {
            CHECK_OK(a->ctx, vmt_flow_full(a->ctx, &flow, &q, &k, &a->geometry, 1));
            continue;
        }
        a->rows[p] = golden_new(a->g, VMT_I32, VMT_SHAPE(a->tiles, a->geometry.window_h));
        a->cols[p] = golden_new(a->g, VMT_I32, VMT_SHAPE(a->tiles, a->geometry.window_w));
        CHECK_OK(a->ctx,
                 vmt_flow_windows(a->ctx, &a->rows[p], &a->cols[p], &q, &k, &a->geometry, 1));
        CHECK_OK(a->ctx, vmt_flow_windowed(a->ctx, &flow, &q, &k, &a->rows[p], &a->cols[p],
                                           &a->geometry, 1));
    }
}

static int32_t *fetch_ints(struct amf *a, const vmt_tensor *t)
{
    vmt_tensor host = *t;
    host.data = malloc(vmt_tensor_bytes(t));
    assert_non_null(host.data);
    CHECK_OK(a->ctx, vmt_download(a->ctx, &host, t));
    return host.data;
}

/* Token indices of every window, equal. */
static void check_windows(struct amf *a)
{
    char name[64];
    const vmt_tensor *want = vmt_tensor_file_find(golden_file(a->g), out_name(a, "windows", name));
    const int64_t *index = want->data;

    assert_int_equal(want->dtype, VMT_I64);
    for (int64_t p = 0; p < a->pairs; p++) {
        if (a->from[p] == a->to[p])
            continue;
        int32_t *rows = fetch_ints(a, &a->rows[p]), *cols = fetch_ints(a, &a->cols[p]);
        for (int64_t t = 0; t < a->tiles; t++)
            for (int64_t e = 0; e < a->entries; e++, index++) {
                const int64_t row = rows[t * a->geometry.window_h + e / a->geometry.window_w];
                const int64_t col = cols[t * a->geometry.window_w + e % a->geometry.window_w];
                if (row * a->geometry.grid_w + col != *index)
                    fail_msg("%s windows: pair %" PRId64 " tile %" PRId64 " entry %" PRId64
                             " is token %" PRId64 ", wanted %" PRId64,
                             a->variant, p, t, e, row * a->geometry.grid_w + col, *index);
            }
        free(rows);
        free(cols);
    }
    assert_ptr_equal(index, (const int64_t *)want->data + vmt_numel(want));
}

/* Gradient of 5 amf at the flow, and the amf loss alone. */
static void run_flow_loss(struct amf *a, double tolerance)
{
    vmt_tensor ref = golden_real(a->g, "in.ref", VMT_SHAPE(a->pairs, a->tokens, 2));
    vmt_tensor loss = golden_zeros(a->g, a->ctx->real, VMT_SHAPE(1));
    char name[64];

    a->dflow = golden_new(a->g, a->ctx->real, VMT_SHAPE(a->pairs, a->tokens, 2));
    for (int64_t p = 0; p < a->pairs; p++) {
        const vmt_tensor flow = vmt_index(&a->flow, p), want = vmt_index(&ref, p);
        vmt_tensor dflow = vmt_index(&a->dflow, p);
        CHECK_OK(a->ctx, vmt_flow_loss(a->ctx, &loss, &dflow, &flow, &want, NULL,
                                       pair_weight(a, p) / (double)a->pairs, 5));
    }
    golden_check(a->g, out_name(a, "amf_loss", name), &loss, tolerance);
}

/* The window loss and dK += its gradient: consecutive frames j, j + 1 of one i. */
static void run_track_loss(struct amf *a, vmt_tensor *dK, double tolerance)
{
    const int64_t columns = a->released ? a->entries : a->d;
    vmt_tensor loss = golden_zeros(a->g, a->ctx->real, VMT_SHAPE(1));
    char name[64];
    int64_t groups = 0;

    for (int64_t i = 0; i < a->frames; i++)
        groups += a->span >= 3 && i + 2 < a->frames;
    for (int64_t p = 0; p < a->pairs; p++) {
        const int64_t j = a->to[p], i = a->from[p];
        const int64_t last = i + a->span - 1 < a->frames - 1 ? i + a->span - 1 : a->frames - 1;
        if (j == i || j == last || last - i < 2)
            continue;
        const double share = 1 / (double)(groups * (last - i - 1) * a->tiles);
        vmt_tensor mean[2], dmean[2];
        for (int m = 0; m < 2; m++) {
            const vmt_tensor k = vmt_index(&a->K, j + m);
            mean[m] = golden_new(a->g, a->ctx->real, VMT_SHAPE(a->tiles, columns));
            dmean[m] = golden_zeros(a->g, a->ctx->real, VMT_SHAPE(a->tiles, columns));
            CHECK_OK(a->ctx, vmt_window_mean(a->ctx, &mean[m], &k, &a->rows[p + m], &a->cols[p + m],
                                             &a->geometry));
        }
        CHECK_OK(a->ctx, vmt_track_loss(a->ctx, &loss, &dmean[0], &dmean[1], &mean[0], &mean[1],
                                        NULL, share, 1));
        for (int m = 0; m < 2; m++) {
            vmt_tensor dk = vmt_index(dK, j + m);
            CHECK_OK(a->ctx, vmt_window_mean_bwd_acc(a->ctx, &dk, &dmean[m], &a->rows[p + m],
                                                     &a->cols[p + m], &a->geometry));
        }
    }
    golden_check(a->g, out_name(a, "track", name), &loss, tolerance);
}

static void run_flow_bwd(struct amf *a, vmt_tensor *dQ, vmt_tensor *dK)
{
    for (int64_t p = 0; p < a->pairs; p++) {
        const vmt_tensor q = vmt_index(&a->Q, a->from[p]), k = vmt_index(&a->K, a->to[p]);
        const vmt_tensor flow = vmt_index(&a->flow, p), dflow = vmt_index(&a->dflow, p);
        vmt_tensor dq = vmt_index(dQ, a->from[p]), dk = vmt_index(dK, a->to[p]);
        if (a->from[p] == a->to[p])
            CHECK_OK(a->ctx, vmt_flow_full_bwd_acc(a->ctx, &dq, &dk, &dflow, &flow, &q, &k,
                                                   &a->geometry, 1));
        else
            CHECK_OK(a->ctx, vmt_flow_windowed_bwd_acc(a->ctx, &dq, &dk, &dflow, &flow, &q, &k,
                                                       &a->rows[p], &a->cols[p], &a->geometry, 1));
    }
}

struct amf_tolerance {
    const char *file, *variant;
    double flow, track, amf_loss, grad_Q, grad_K, grad_K_track, grad_q, grad_k;
};

/* q or k of the file reduced to [frames, tokens, d], times √heads as the golden data are. */
static vmt_tensor reduce(struct amf *a, const char *name, int64_t heads)
{
    const enum vmt_qk_reduction how = a->released ? VMT_REDUCE_RELEASED : VMT_REDUCE_HEADS;
    const int64_t n = a->frames * a->tokens;
    const vmt_tensor q = golden_act(a->g, name, VMT_SHAPE(n, heads, a->d));
    vmt_tensor Q = golden_new(a->g, a->ctx->real, VMT_SHAPE(n, a->d));

    CHECK_OK(a->ctx, vmt_qk_reduce(a->ctx, &Q, &q, how));
    CHECK_OK(a->ctx, vmt_lincomb(a->ctx, &Q, &Q, &Q, sqrt((double)heads), 0));
    return vmt_reshape(&Q, VMT_SHAPE(a->frames, a->tokens, a->d));
}

/* Gradient at in.q or in.k. */
static void check_reduced(struct amf *a, const vmt_tensor *dQ, const char *name, int64_t heads,
                          double tolerance)
{
    const enum vmt_qk_reduction how = a->released ? VMT_REDUCE_RELEASED : VMT_REDUCE_HEADS;
    const int64_t n = a->frames * a->tokens;
    const vmt_tensor merged = vmt_reshape(dQ, VMT_SHAPE(n, a->d));
    vmt_tensor scaled = golden_new(a->g, a->ctx->real, VMT_SHAPE(n, a->d));
    vmt_tensor dq = golden_new(a->g, a->ctx->real, VMT_SHAPE(n, heads, a->d));
    char text[64];

    CHECK_OK(a->ctx, vmt_lincomb(a->ctx, &scaled, &merged, &merged, sqrt((double)heads), 0));
    CHECK_OK(a->ctx, vmt_qk_reduce_bwd(a->ctx, &dq, &scaled, how));
    golden_check(a->g, out_name(a, name, text), &dq, tolerance);
}

static void check_amf(vmt_ctx *ctx, const struct amf_tolerance *t)
{
    struct amf a;
    char name[64];

    open_amf(&a, ctx, t->file, t->variant);
    a.d = golden_int(a.g, "head_dim");
    const int64_t heads = golden_int(a.g, "heads");
    a.Q = reduce(&a, "in.q", heads);
    a.K = reduce(&a, "in.k", heads);
    golden_check(a.g, out_name(&a, "Q", name), &a.Q, 2e-5);
    golden_check(a.g, out_name(&a, "K", name), &a.K, 2e-5);
    run_flow(&a);
    check_windows(&a);
    golden_check(a.g, out_name(&a, "flow", name), &a.flow, t->flow);
    run_flow_loss(&a, t->amf_loss);
    vmt_tensor dQ = golden_zeros(a.g, ctx->real, VMT_SHAPE(a.frames, a.tokens, a.d));
    vmt_tensor dK = golden_zeros(a.g, ctx->real, VMT_SHAPE(a.frames, a.tokens, a.d));
    run_track_loss(&a, &dK, t->track);
    if (t->grad_K_track > 0)
        golden_check(a.g, out_name(&a, "grad_K_track", name), &dK, t->grad_K_track);
    run_flow_bwd(&a, &dQ, &dK);
    golden_check(a.g, out_name(&a, "grad_Q", name), &dQ, t->grad_Q);
    golden_check(a.g, out_name(&a, "grad_K", name), &dK, t->grad_K);
    check_reduced(&a, &dQ, "grad_q", heads, t->grad_q);
    check_reduced(&a, &dK, "grad_k", heads, t->grad_k);
    golden_close(a.g);
}

static void flow_and_gradient(void **state)
{
    static const struct amf_tolerance cases[] = {
        {"amf_a1", "released", 2e-5, 8e-6, 9e-4, 2e-4, 2e-4, 3e-7, 8e-5, 8e-5},
        {"amf_a1", "paper", 3e-5, 6e-6, 2e-3, 2e-4, 2e-4, 3e-8, 7e-5, 6e-5},
        {"amf_a2", "released", 5e-5, 6e-5, 1e-2, 5e-4, 6e-3, 1e-4, 3e-4, 4e-3},
        {"amf_a2", "paper", 7e-5, 2e-6, 1e-2, 8e-4, 2e-3, 8e-9, 5e-4, 8e-4},
        {"amf_a3", "released", 2e-5, 1e-9, 3e-4, 6e-5, 6e-5, 0, 5e-5, 4e-5},
        {"amf_a3", "paper", 1e-5, 1e-9, 4e-4, 6e-5, 5e-5, 0, 4e-5, 4e-5},
        {"amf_a4", "paper", 5e-5, 4e-6, 3e-3, 5e-4, 3e-4, 4e-8, 3e-4, 2e-4}};
    vmt_ctx *ctx = golden_ctx(state);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_amf(ctx, &cases[i]);
    test_ctx_close(ctx);
}

/* Share of the counted tokens whose flow is within 0.1 of the true displacement. */
static double share_right(const struct amf *a, const double *flow)
{
    const int64_t *want = vmt_tensor_file_find(golden_file(a->g), "in.want")->data;
    const int64_t *counted = vmt_tensor_file_find(golden_file(a->g), "in.counted")->data;
    int64_t right = 0, all = 0;

    for (int64_t i = 0; i < a->pairs * a->tokens; i++) {
        if (!counted[i])
            continue;
        all++;
        right += hypot(flow[2 * i] - (double)want[2 * i],
                       flow[2 * i + 1] - (double)want[2 * i + 1]) < 0.1;
    }
    return (double)right / (double)all;
}

/* Content that moves by (1, 2) tokens a frame. */
static void known_motion(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);

    for (int paper = 0; paper < 2; paper++) {
        struct amf a;
        char name[64];
        open_amf(&a, ctx, "shift_a", paper ? "paper" : "released");
        a.d = 24;
        a.Q = a.K = golden_real(a.g, "in.qk", VMT_SHAPE(a.frames, a.tokens, a.d));
        run_flow(&a);
        golden_check(a.g, out_name(&a, "flow", name), &a.flow, paper ? 6e-5 : 5e-5);
        vmt_tensor host = a.flow;
        host.dtype = VMT_F64;
        host.data = malloc(vmt_tensor_bytes(&host));
        assert_non_null(host.data);
        CHECK_OK(ctx, vmt_download(ctx, &host, &a.flow));
        const float *want =
            vmt_tensor_file_find(golden_file(a.g), out_name(&a, "within_0.1", name))->data;
        const double share = share_right(&a, host.data);
        if (fabs(share - (double)*want) > 2e-6)
            fail_msg("%s: share of right tokens %.6f, wanted %.6f", a.variant, share,
                     (double)*want);
        free(host.data);
        golden_close(a.g);
    }
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(flow_and_gradient),
                                       cmocka_unit_test(known_motion)};
    return golden_backends_main(tests, 2);
}
