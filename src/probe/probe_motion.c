/* SPDX-License-Identifier: MIT
 *
 * Case kinds "amf", "shift" and "adamw".
 *   amf    in.q, in.k [1, N, heads, head_dim], in.ref [pairs, tokens, 2]: reduction, flow, windows,
 *          losses and gradients of both variants (released where its arithmetic takes the grid).
 *          Reduced features are multiplied by √heads.
 *   shift  in.qk [f, h, w, d] is Q and K; in.want, in.counted: the true flow and where it counts
 *   adamw  in.x [n], in.g [steps, n]
 */
#include "probe/probe.h"

#include "motion/flow.h"
#include "motion/track.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Weight of the flow distance in these cases' total loss; the window loss has weight 1. */
static const double AMF_WEIGHT = 5.0;

typedef struct motion_case {
    vmt_probe_case *c;
    const char *variant; /* "paper" */
    vmt_flow_plan plan;
    vmt_arena arena;
    vmt_tensor q, k;                         /* [N, heads, head_dim] A */
    vmt_tensor dq, dk;                       /* [N, heads, head_dim] R */
    vmt_tensor Q, K, dQ, dK, dK_track;       /* [frames, tokens, head_dim] R */
    vmt_tensor flow, dflow, scratch, ref;    /* as in motion/flow.h */
    vmt_tensor amf_loss, track_loss, weight; /* [1], [1], [pairs] R */
    vmt_window_set windows;
    vmt_track_means means;
} motion_case;

static const struct {
    const char *name;
    enum vmt_variant variant;
} variants[] = {{"released", VMT_VARIANT_RELEASED}, {"paper", VMT_VARIANT_PAPER}};

enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

/* The constants of the case's metadata. */
static enum vmt_status read_settings(vmt_ctx *ctx, const vmt_probe_case *c, vmt_motion_settings *m,
                                     int64_t grid[3])
{
    const double last_weight = 0.8;
    double logit_scale, last;
    int64_t tile[2], window, span;

    VMT_TRY(vmt_probe_meta_sizes(ctx, c, "grid", grid, 3));
    VMT_TRY(vmt_probe_meta_sizes(ctx, c, "tile", tile, 2));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, c->file, "window", NULL, &window));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, c->file, "span", NULL, &span));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "tau", NULL, &logit_scale));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "weight_last", &last_weight, &last));
    for (int i = 0; i < 3; i++)
        if (grid[i] < 1 || grid[i] > 1 << 16)
            return vmt_fail(ctx, VMT_E_FORMAT, "metadata \"grid\": sizes must be 1 to 65536");
    if (tile[0] > INT32_MAX || tile[1] > INT32_MAX || window < 1 || window > 1 << 16 || span < 1 ||
        span > INT32_MAX)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "metadata \"tile\", \"window\" or \"span\" out of range");
    *m = (vmt_motion_settings){.amf_window = (int32_t)window,
                               .amf_tile = {(int32_t)tile[0], (int32_t)tile[1]},
                               .max_frame_gap = (int32_t)span,
                               .logit_scale = (float)logit_scale,
                               .last_pair_weight = (float)last};
    return VMT_OK;
}

static enum vmt_status layout(vmt_ctx *ctx, motion_case *m)
{
    const vmt_flow_plan *p = &m->plan;
    const enum vmt_dtype real = ctx->real;
    vmt_arena *a = &m->arena;
    vmt_tensor *const heads[] = {&m->q, &m->k, &m->dq, &m->dk};
    vmt_tensor *const features[] = {&m->Q, &m->K, &m->dQ, &m->dK, &m->dK_track};

    for (int i = 0; i < 4; i++)
        VMT_TRY(vmt_take(ctx, a, heads[i], i < 2 ? ctx->act : real,
                         VMT_SHAPE(p->frames * p->tokens, p->heads, p->head_dim)));
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        VMT_TRY(vmt_take(ctx, a, features[i], real, VMT_SHAPE(p->frames, p->tokens, p->head_dim)));
    VMT_TRY(vmt_take(ctx, a, &m->flow, real, VMT_SHAPE(p->pairs, p->tokens, 2)));
    VMT_TRY(vmt_take(ctx, a, &m->dflow, real, VMT_SHAPE(p->pairs, p->tokens, 2)));
    VMT_TRY(vmt_take(ctx, a, &m->ref, real, VMT_SHAPE(p->pairs, p->tokens, 2)));
    VMT_TRY(vmt_take(ctx, a, &m->scratch, real, VMT_SHAPE(p->tokens, 2)));
    VMT_TRY(vmt_take(ctx, a, &m->amf_loss, real, VMT_SHAPE(1)));
    VMT_TRY(vmt_take(ctx, a, &m->track_loss, real, VMT_SHAPE(1)));
    VMT_TRY(vmt_take(ctx, a, &m->weight, real, VMT_SHAPE(p->pairs)));
    VMT_TRY(vmt_windows_layout(ctx, a, p, &m->windows));
    return vmt_track_layout(ctx, a, p, &m->means);
}

static enum vmt_status open_layout(vmt_ctx *ctx, motion_case *m)
{
    m->arena = vmt_arena_measure();
    VMT_TRY(layout(ctx, m));
    VMT_TRY(vmt_arena_open(ctx, &m->arena, m->arena.peak));
    return layout(ctx, m);
}

/* ---------------------------------------------------------------- amf */

/* [N, d] view of [frames, tokens, d]. */
static vmt_tensor rows_of(const motion_case *m, const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(m->plan.frames * m->plan.tokens, m->plan.head_dim));
}

static enum vmt_status load_features(vmt_ctx *ctx, motion_case *m)
{
    const double scale = sqrt((double)m->plan.heads);
    const char *const names[] = {"q", "k"};
    vmt_tensor *const from[] = {&m->q, &m->k}, *const to[] = {&m->Q, &m->K};

    for (int i = 0; i < 2; i++) {
        vmt_tensor out = rows_of(m, to[i]), host;
        const vmt_tensor *in;

        VMT_TRY(vmt_probe_input(ctx, m->c, names[i], VMT_F32, 4, &in));
        if (in->shape[0] != 1 || in->shape[1] != m->plan.frames * m->plan.tokens ||
            in->shape[2] != m->plan.heads || in->shape[3] != m->plan.head_dim)
            return vmt_fail(ctx, VMT_E_FORMAT, "in.%s does not fit grid, heads, head_dim",
                            names[i]);
        host = vmt_index(in, 0);
        VMT_TRY(vmt_upload(ctx, from[i], &host));
        VMT_TRY(vmt_qk_reduce(ctx, &out, from[i], m->plan.reduction));
        VMT_TRY(vmt_lincomb(ctx, to[i], to[i], to[i], scale, 0.0));
    }
    return VMT_OK;
}

static enum vmt_status emit_pair_weights(vmt_ctx *ctx, motion_case *m)
{
    void *memory;
    enum vmt_status status;

    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)m->plan.pairs, sizeof(double)));
    for (vmt_frame_pair pair = vmt_frame_pair_first(&m->plan);
         vmt_frame_pair_valid(&m->plan, &pair); vmt_frame_pair_next(&m->plan, &pair))
        ((double *)memory)[pair.index] = pair.weight;
    const vmt_tensor host = vmt_tensor_over(memory, VMT_F64, VMT_SHAPE(m->plan.pairs));
    status = vmt_upload(ctx, &m->weight, &host);
    vmt_free(memory);
    if (status != VMT_OK)
        return status;
    return vmt_probe_emit(ctx, m->c, &m->weight, VMT_SHAPE(m->plan.pairs), "out.weights");
}

/* Token indices of the windows' entries, [windowed pairs, tiles, window_h · window_w]. */
static enum vmt_status emit_windows(vmt_ctx *ctx, motion_case *m)
{
    const vmt_flow_geometry *g = &m->plan.geometry;
    const int64_t windows = m->plan.windowed_pairs * m->plan.tiles;
    const int64_t entries = g->window_h * g->window_w;
    void *rows = NULL, *cols = NULL, *indices = NULL;
    enum vmt_status status;

    status = vmt_alloc(ctx, &rows, (size_t)(windows * g->window_h), sizeof(int32_t));
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &cols, (size_t)(windows * g->window_w), sizeof(int32_t));
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &indices, (size_t)(windows * entries), sizeof(int64_t));
    if (status == VMT_OK) {
        vmt_tensor host = vmt_tensor_over(rows, VMT_I32, 3, m->windows.rows.shape);
        status = vmt_download(ctx, &host, &m->windows.rows);
    }
    if (status == VMT_OK) {
        vmt_tensor host = vmt_tensor_over(cols, VMT_I32, 3, m->windows.cols.shape);
        status = vmt_download(ctx, &host, &m->windows.cols);
    }
    if (status == VMT_OK) {
        for (int64_t i = 0; i < windows * entries; i++) {
            const int64_t window = i / entries, p = i % entries;
            const int32_t row = ((const int32_t *)rows)[window * g->window_h + p / g->window_w];
            const int32_t col = ((const int32_t *)cols)[window * g->window_w + p % g->window_w];
            ((int64_t *)indices)[i] = row * g->grid_w + col;
        }
        const vmt_tensor host = vmt_tensor_over(
            indices, VMT_I64, VMT_SHAPE(m->plan.windowed_pairs, m->plan.tiles, entries));
        status = vmt_probe_emit(ctx, m->c, &host, 3, host.shape, "out.%s.windows", m->variant);
    }
    vmt_free(rows);
    vmt_free(cols);
    vmt_free(indices);
    return status;
}

static enum vmt_status emit_features(vmt_ctx *ctx, motion_case *m, const vmt_tensor *t,
                                     const char *name)
{
    const vmt_flow_geometry *g = &m->plan.geometry;

    return vmt_probe_emit(ctx, m->c, t,
                          VMT_SHAPE(m->plan.frames, g->grid_h, g->grid_w, m->plan.head_dim),
                          "out.%s.%s", m->variant, name);
}

static enum vmt_status forward_and_losses(vmt_ctx *ctx, motion_case *m)
{
    const vmt_motion_reference reference = {.features = &m->ref, .weight = 1.0};
    const vmt_tensor *ref;

    VMT_TRY(vmt_probe_input(ctx, m->c, "ref", VMT_F32, 3, &ref));
    if (!vmt_same_shape(ref, &m->ref))
        return vmt_fail(ctx, VMT_E_FORMAT, "in.ref must be [pairs, tokens, 2]");
    VMT_TRY(vmt_upload(ctx, &m->ref, ref));
    VMT_TRY(vmt_windows_choose(ctx, &m->plan, &m->windows, &m->Q, &m->K));
    VMT_TRY(vmt_flow_forward(ctx, &m->plan, &m->flow, &m->windows, &m->Q, &m->K));
    VMT_TRY(vmt_zero(ctx, &m->amf_loss));
    VMT_TRY(vmt_zero(ctx, &m->track_loss));
    VMT_TRY(vmt_zero(ctx, &m->dK_track));
    VMT_TRY(vmt_flow_distance(ctx, &m->plan, &m->amf_loss, &m->dflow, &m->scratch, &m->flow,
                              &reference, 1, AMF_WEIGHT));
    return vmt_track_loss_acc(ctx, &m->plan, &m->track_loss, &m->dK_track, &m->means, &m->K,
                              &m->windows, NULL, 1.0);
}

static enum vmt_status gradients(vmt_ctx *ctx, motion_case *m)
{
    const double scale = sqrt((double)m->plan.heads);
    vmt_tensor *const of[] = {&m->dQ, &m->dK}, *const to[] = {&m->dq, &m->dk};
    const int64_t shape[] = {1, m->q.shape[0], m->q.shape[1], m->q.shape[2]};
    const char *const names[] = {"grad_q", "grad_k"};

    VMT_TRY(vmt_zero(ctx, &m->dQ));
    VMT_TRY(vmt_copy(ctx, &m->dK, &m->dK_track));
    VMT_TRY(vmt_flow_backward_acc(ctx, &m->plan, &m->dQ, &m->dK, &m->dflow, &m->flow, &m->windows,
                                  &m->Q, &m->K));
    VMT_TRY(emit_features(ctx, m, &m->dQ, "grad_Q"));
    VMT_TRY(emit_features(ctx, m, &m->dK, "grad_K"));
    if (m->plan.frame_span >= 3 && m->plan.frames >= 3) /* else no frame has two windows */
        VMT_TRY(emit_features(ctx, m, &m->dK_track, "grad_K_track"));
    for (int i = 0; i < 2; i++) {
        const vmt_tensor reduced = rows_of(m, of[i]);

        VMT_TRY(vmt_lincomb(ctx, of[i], of[i], of[i], scale, 0.0));
        VMT_TRY(vmt_qk_reduce_bwd(ctx, to[i], &reduced, m->plan.reduction));
        VMT_TRY(vmt_probe_emit(ctx, m->c, to[i], 4, shape, "out.%s.%s", m->variant, names[i]));
    }
    return VMT_OK;
}

static enum vmt_status run_amf(vmt_ctx *ctx, motion_case *m, bool first)
{
    VMT_TRY(open_layout(ctx, m));
    if (first)
        VMT_TRY(emit_pair_weights(ctx, m));
    VMT_TRY(load_features(ctx, m));
    VMT_TRY(emit_features(ctx, m, &m->Q, "Q"));
    VMT_TRY(emit_features(ctx, m, &m->K, "K"));
    VMT_TRY(forward_and_losses(ctx, m));
    VMT_TRY(vmt_probe_emit(ctx, m->c, &m->flow, 3, m->flow.shape, "out.%s.flow", m->variant));
    VMT_TRY(vmt_probe_emit(ctx, m->c, &m->track_loss, 0, NULL, "out.%s.track", m->variant));
    VMT_TRY(vmt_probe_emit(ctx, m->c, &m->amf_loss, 0, NULL, "out.%s.amf_loss", m->variant));
    if (m->plan.windowed_pairs > 0)
        VMT_TRY(emit_windows(ctx, m));
    return gradients(ctx, m);
}

enum vmt_status vmt_probe_amf(vmt_ctx *ctx, vmt_probe_case *c)
{
    vmt_motion_settings settings;
    int64_t grid[3], heads, head_dim;
    bool first = true;

    VMT_TRY(read_settings(ctx, c, &settings, grid));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, c->file, "heads", NULL, &heads));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, c->file, "head_dim", NULL, &head_dim));
    if (heads < 1 || heads > 1 << 16 || head_dim < 1 || head_dim > 1 << 16)
        return vmt_fail(ctx, VMT_E_FORMAT, "metadata \"heads\" or \"head_dim\" out of range");
    for (int i = 0; i < VARIANTS; i++) {
        motion_case m = {.c = c, .variant = variants[i].name};
        enum vmt_status status;

        settings.variant = (int32_t)variants[i].variant;
        status = vmt_flow_plan_make(ctx, &m.plan, &settings, grid, heads, head_dim);
        if (status == VMT_E_ARG && variants[i].variant == VMT_VARIANT_RELEASED)
            continue; /* a grid that this arithmetic has no answer for */
        if (status == VMT_OK)
            status = run_amf(ctx, &m, first);
        vmt_arena_close(ctx, &m.arena);
        VMT_TRY(vmt_prefix(ctx, status, "%s", variants[i].name));
        first = false;
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- shift */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static enum vmt_status emit_scalar(vmt_ctx *ctx, motion_case *m, double value, const char *name)
{
    const vmt_tensor host = vmt_tensor_over(&value, VMT_F64, VMT_SHAPE(1));

    VMT_TRY(vmt_upload(ctx, &m->amf_loss, &host));
    return vmt_probe_emit(ctx, m->c, &m->amf_loss, 0, NULL, "out.%s.%s", m->variant, name);
}

/* Distances of the flow from the truth over the counted tokens: median (the lower one of an even
 * number) and share below 0.1 tokens. */
static enum vmt_status measure(vmt_ctx *ctx, motion_case *m, const vmt_tensor *want,
                               const vmt_tensor *counted, double *flow, double *error)
{
    const int64_t *truth = want->data, *counts = counted->data;
    vmt_tensor host = vmt_tensor_over(flow, VMT_F64, 3, m->flow.shape);
    int64_t count = 0, within = 0;

    VMT_TRY(vmt_download(ctx, &host, &m->flow));
    for (int64_t i = 0; i < vmt_numel(counted); i++)
        if (counts[i]) {
            error[count] = hypot(flow[2 * i] - (double)truth[2 * i],
                                 flow[2 * i + 1] - (double)truth[2 * i + 1]);
            within += error[count] < 0.1;
            count++;
        }
    if (count == 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.counted counts no token");
    qsort(error, (size_t)count, sizeof(*error), ascending);
    VMT_TRY(emit_scalar(ctx, m, error[(count - 1) / 2], "median_error"));
    return emit_scalar(ctx, m, (double)within / (double)count, "within_0.1");
}

static enum vmt_status run_shift(vmt_ctx *ctx, motion_case *m, const vmt_tensor *qk,
                                 const vmt_tensor *want, const vmt_tensor *counted)
{
    const size_t tokens = (size_t)(m->plan.pairs * m->plan.tokens);
    vmt_tensor host;
    void *flow, *error;
    enum vmt_status status;

    if (!vmt_same_shape(want,
                        &(vmt_tensor){.rank = 3, .shape = {m->plan.pairs, m->plan.tokens, 2}}) ||
        !vmt_same_shape(counted,
                        &(vmt_tensor){.rank = 2, .shape = {m->plan.pairs, m->plan.tokens}}))
        return vmt_fail(ctx, VMT_E_FORMAT, "in.want, in.counted must be [pairs, tokens(, 2)]");
    VMT_TRY(open_layout(ctx, m));
    host = vmt_reshape(qk, 3, m->Q.shape);
    VMT_TRY(vmt_upload(ctx, &m->Q, &host));
    VMT_TRY(vmt_windows_choose(ctx, &m->plan, &m->windows, &m->Q, &m->Q));
    VMT_TRY(vmt_flow_forward(ctx, &m->plan, &m->flow, &m->windows, &m->Q, &m->Q));
    VMT_TRY(vmt_probe_emit(ctx, m->c, &m->flow, 3, m->flow.shape, "out.%s.flow", m->variant));
    VMT_TRY(vmt_alloc(ctx, &flow, 2 * tokens, sizeof(double)));
    status = vmt_alloc(ctx, &error, tokens, sizeof(double));
    if (status == VMT_OK) {
        status = measure(ctx, m, want, counted, flow, error);
        vmt_free(error);
    }
    vmt_free(flow);
    return status;
}

enum vmt_status vmt_probe_shift(vmt_ctx *ctx, vmt_probe_case *c)
{
    vmt_motion_settings settings;
    const vmt_tensor *qk, *want, *counted;
    int64_t grid[3];

    VMT_TRY(read_settings(ctx, c, &settings, grid));
    VMT_TRY(vmt_probe_input(ctx, c, "qk", VMT_F32, 4, &qk));
    VMT_TRY(vmt_probe_input(ctx, c, "want", VMT_I64, 3, &want));
    VMT_TRY(vmt_probe_input(ctx, c, "counted", VMT_I64, 2, &counted));
    if (memcmp(qk->shape, grid, sizeof(grid)) != 0 || qk->shape[3] < 1)
        return vmt_fail(ctx, VMT_E_FORMAT, "in.qk must be [grid, head_dim]");
    for (int i = 0; i < VARIANTS; i++) {
        motion_case m = {.c = c, .variant = variants[i].name};
        enum vmt_status status;

        settings.variant = (int32_t)variants[i].variant;
        status = vmt_flow_plan_make(ctx, &m.plan, &settings, grid, 1, qk->shape[3]);
        if (status == VMT_E_ARG && variants[i].variant == VMT_VARIANT_RELEASED)
            continue; /* a grid that this arithmetic has no answer for */
        if (status == VMT_OK)
            status = run_shift(ctx, &m, qk, want, counted);
        vmt_arena_close(ctx, &m.arena);
        VMT_TRY(vmt_prefix(ctx, status, "%s", variants[i].name));
    }
    return VMT_OK;
}

/* ---------------------------------------------------------------- adamw */

typedef struct adamw_case {
    vmt_arena arena;
    vmt_tensor x, m, v, g, all;
} adamw_case;

static enum vmt_status adamw_layout(vmt_ctx *ctx, adamw_case *a, const vmt_tensor *x,
                                    const vmt_tensor *g)
{
    vmt_tensor *const vectors[] = {&a->x, &a->m, &a->v, &a->g};

    for (int i = 0; i < 4; i++)
        VMT_TRY(vmt_take(ctx, &a->arena, vectors[i], ctx->real, 1, x->shape));
    return vmt_take(ctx, &a->arena, &a->all, ctx->real, 2, g->shape);
}

static enum vmt_status run_adamw(vmt_ctx *ctx, vmt_probe_case *c, adamw_case *a,
                                 const vmt_tensor *x, const vmt_tensor *g)
{
    const int64_t steps = g->shape[0];
    vmt_adamw adamw = {0};
    double first, last;

    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "lr_first", NULL, &first));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "lr_last", NULL, &last));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "beta1", NULL, &adamw.beta1));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "beta2", NULL, &adamw.beta2));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "eps", NULL, &adamw.eps));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, c->file, "weight_decay", NULL, &adamw.weight_decay));
    a->arena = vmt_arena_measure();
    VMT_TRY(adamw_layout(ctx, a, x, g));
    VMT_TRY(vmt_arena_open(ctx, &a->arena, a->arena.peak));
    VMT_TRY(adamw_layout(ctx, a, x, g));
    VMT_TRY(vmt_upload(ctx, &a->x, x));
    VMT_TRY(vmt_zero(ctx, &a->m));
    VMT_TRY(vmt_zero(ctx, &a->v));
    for (int64_t j = 0; j < steps; j++) {
        const vmt_tensor host = vmt_index(g, j);
        vmt_tensor out = vmt_index(&a->all, j);

        adamw.step = j + 1;
        adamw.lr = first - (first - last) * ((double)j / (double)steps);
        VMT_TRY(vmt_upload(ctx, &a->g, &host));
        VMT_TRY(vmt_adamw_step(ctx, &a->x, &a->m, &a->v, &a->g, &adamw));
        VMT_TRY(vmt_copy(ctx, &out, &a->x));
    }
    VMT_TRY(vmt_probe_emit(ctx, c, &a->all, 2, a->all.shape, "out.x"));
    VMT_TRY(vmt_probe_emit(ctx, c, &a->m, 1, a->m.shape, "out.m"));
    return vmt_probe_emit(ctx, c, &a->v, 1, a->v.shape, "out.v");
}

enum vmt_status vmt_probe_adamw(vmt_ctx *ctx, vmt_probe_case *c)
{
    adamw_case a = {0};
    const vmt_tensor *x, *g;
    enum vmt_status status;

    VMT_TRY(vmt_probe_input(ctx, c, "x", VMT_F32, 1, &x));
    VMT_TRY(vmt_probe_input(ctx, c, "g", VMT_F32, 2, &g));
    if (g->shape[1] != x->shape[0])
        return vmt_fail(ctx, VMT_E_FORMAT, "in.g must be [steps, n], in.x [n]");
    status = run_adamw(ctx, c, &a, x, g);
    vmt_arena_close(ctx, &a.arena);
    return status;
}
