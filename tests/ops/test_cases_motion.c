/* SPDX-License-Identifier: MIT
 *
 * The motion ops of every backend against ref64.
 */
#include "op_case.h"

/* ---- sizes: N, n, d, kind: 0 heads, 1 released; dq R */
static void run_qk_reduce(op_run *r)
{
    const int64_t *s = r->size;
    const enum vmt_qk_reduction reduction = s[3] ? VMT_REDUCE_RELEASED : VMT_REDUCE_HEADS;
    vmt_tensor *q = op_in(r, 'A', VMT_SHAPE(s[0], s[1], s[2]));
    vmt_tensor *dQ = op_in(r, 'R', VMT_SHAPE(s[0], s[2]));
    vmt_tensor *Q = op_out(r, "Q", 'R', VMT_SHAPE(s[0], s[2]));
    vmt_tensor *dq = op_out(r, "dq", s[4] ? 'R' : 'A', VMT_SHAPE(s[0], s[1], s[2]));
    OP(r, qk_reduce, Q, q, reduction);
    OP(r, qk_reduce_bwd, dq, dQ, reduction);
}

/* ---- flows.  sizes: grid h, w, tile h, w, window h, w, d, kind: 0 frame, 1 released */
static vmt_flow_geometry geometry_of(const op_run *r)
{
    const int64_t *s = r->size;
    return (vmt_flow_geometry){.grid_h = s[0],
                               .grid_w = s[1],
                               .tile_h = s[2],
                               .tile_w = s[3],
                               .window_h = s[4],
                               .window_w = s[5],
                               .positions = s[7] ? VMT_POSITIONS_RELEASED : VMT_POSITIONS_FRAME};
}

static void run_flow_full(op_run *r)
{
    const int64_t tokens = r->size[0] * r->size[1], d = r->size[6];
    const vmt_flow_geometry g = geometry_of(r);
    vmt_tensor *q = op_in(r, 'R', VMT_SHAPE(tokens, d)), *k = op_in(r, 'R', VMT_SHAPE(tokens, d));
    r->gain = 1;
    vmt_tensor *dflow = op_in(r, 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *flow = op_out(r, "flow", 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *dq = op_acc(r, "dq", 'R', VMT_SHAPE(tokens, d));
    vmt_tensor *dk = op_acc(r, "dk", 'R', VMT_SHAPE(tokens, d));
    r->scale = (double)(r->size[0] + r->size[1]);
    OP(r, flow_full, flow, q, k, &g, 1.5);
    OP(r, flow_full_bwd_acc, dq, dk, dflow, flow, q, k, &g, 1.5);
}

/* Of integers, that the same keys are kept in float and double. */
static void run_flow_top(op_run *r)
{
    const int64_t tokens = r->size[0] * r->size[1], d = r->size[6];
    const vmt_flow_geometry g = geometry_of(r);
    vmt_tensor *q = op_in(r, 'R', VMT_SHAPE(tokens, d)), *k = op_in(r, 'R', VMT_SHAPE(tokens, d));
    r->fill = FILL_UNIFORM;
    r->gain = 1;
    vmt_tensor *dflow = op_in(r, 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *flow = op_out(r, "flow", 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *dq = op_acc(r, "dq", 'R', VMT_SHAPE(tokens, d));
    vmt_tensor *dk = op_acc(r, "dk", 'R', VMT_SHAPE(tokens, d));
    r->scale = 4 * (double)(r->size[0] + r->size[1]);
    OP(r, flow_top, flow, q, k, &g, 0.5, r->size[7]);
    OP(r, flow_top_bwd_acc, dq, dk, dflow, flow, q, k, &g, 0.5, r->size[7]);
}

/* Predicted places must not lie on the edge between two integers: the same numbers in float and
 * double would then choose other windows. */
static void run_flow_windows(op_run *r)
{
    const int64_t tokens = r->size[0] * r->size[1], d = r->size[6];
    const vmt_flow_geometry g = geometry_of(r);
    const int64_t tiles = vmt_flow_tiles(&g);
    vmt_tensor *q = op_in(r, 'R', VMT_SHAPE(tokens, d)), *k = op_in(r, 'R', VMT_SHAPE(tokens, d));
    vmt_tensor *rows = op_out_ints(r, "rows", VMT_SHAPE(tiles, g.window_h));
    vmt_tensor *cols = op_out_ints(r, "cols", VMT_SHAPE(tiles, g.window_w));
    OP(r, flow_windows, rows, cols, q, k, &g, 1.5);
}

/* Windows of random entries: repeated, and in any order. */
static void run_flow_windowed(op_run *r)
{
    const int64_t tokens = r->size[0] * r->size[1], d = r->size[6];
    const vmt_flow_geometry g = geometry_of(r);
    const int64_t tiles = vmt_flow_tiles(&g);
    const bool released = g.positions == VMT_POSITIONS_RELEASED;
    const int64_t mean_size = released ? g.window_h * g.window_w : d;
    vmt_tensor *q = op_in(r, 'R', VMT_SHAPE(tokens, d)), *k = op_in(r, 'R', VMT_SHAPE(tokens, d));
    r->gain = 1;
    vmt_tensor *dflow = op_in(r, 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *dmean = op_in(r, 'R', VMT_SHAPE(tiles, mean_size));
    vmt_tensor *rows = op_ids(r, g.grid_h, VMT_SHAPE(tiles, g.window_h));
    vmt_tensor *cols = op_ids(r, g.grid_w, VMT_SHAPE(tiles, g.window_w));
    vmt_tensor *flow = op_out(r, "flow", 'R', VMT_SHAPE(tokens, 2));
    vmt_tensor *dq = op_acc(r, "dq", 'R', VMT_SHAPE(tokens, d));
    vmt_tensor *dk = op_acc(r, "dk", 'R', VMT_SHAPE(tokens, d));
    vmt_tensor *mean = op_out(r, "mean", 'R', VMT_SHAPE(tiles, mean_size));
    vmt_tensor *dk_mean = op_acc(r, "dk of mean", 'R', VMT_SHAPE(tokens, d));
    r->scale = (double)(r->size[0] + r->size[1]);
    OP(r, flow_windowed, flow, q, k, rows, cols, &g, 1.5);
    OP(r, flow_windowed_bwd_acc, dq, dk, dflow, flow, q, k, rows, cols, &g, 1.5);
    OP(r, window_mean, mean, k, rows, cols, &g);
    OP(r, window_mean_bwd_acc, dk_mean, dmean, rows, cols, &g);
}

/* ---- losses.  sizes: rows, columns (track), kind: 0 without, 1 with weights; 2 loss only; columns
 * (flow) */

static void run_flow_loss(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = 3 * r->gain * r->gain; /* the largest square and more */
    const int64_t width = s[3] ? s[3] : 2;
    vmt_tensor *flow = op_in(r, 'R', VMT_SHAPE(s[0], width));
    vmt_tensor *ref = op_in(r, 'R', VMT_SHAPE(s[0], width));
    vmt_tensor *m = s[2] == 1 ? op_in(r, 'R', VMT_SHAPE(s[0])) : NULL;
    vmt_tensor *loss = op_acc(r, "loss", 'R', VMT_SHAPE(1));
    vmt_tensor *dflow = s[2] == 2 ? NULL : op_out(r, "dflow", 'R', VMT_SHAPE(s[0], width));
    OP(r, flow_loss, loss, dflow, flow, ref, m, 0.3, 5);
}

static void run_track_loss(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = 3 * r->gain * r->gain; /* the largest square and more */
    vmt_tensor *a = op_in(r, 'R', VMT_SHAPE(s[0], s[1])), *b = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM;
    vmt_tensor *m = s[2] == 1 ? op_in(r, 'R', VMT_SHAPE(s[0])) : NULL;
    vmt_tensor *loss = op_acc(r, "loss", 'R', VMT_SHAPE(1));
    vmt_tensor *da = s[2] == 2 ? NULL : op_acc(r, "da", 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *db = s[2] == 2 ? NULL : op_acc(r, "db", 'R', VMT_SHAPE(s[0], s[1]));
    OP(r, track_loss, loss, da, db, a, b, m, 0.3, 5);
}

/* ---- features of hidden states.  sizes: frames, grid h, w, cells h, w, channels, kind: 0 without,
 * 1 with a mask */

static void run_pool(op_run *r)
{
    const int64_t *s = r->size;
    const vmt_pooling p = {.grid_h = s[1], .grid_w = s[2], .cells_h = s[3], .cells_w = s[4]};
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1] * s[2], s[5]));
    vmt_tensor *dy = op_in(r, 'R', VMT_SHAPE(s[0], s[3] * s[4], s[5]));
    vmt_tensor *y = op_out(r, "y", 'R', VMT_SHAPE(s[0], s[3] * s[4], s[5]));
    vmt_tensor *dx = op_out(r, "dx", 'R', VMT_SHAPE(s[0], s[1] * s[2], s[5]));
    OP(r, pool, y, x, &p);
    OP(r, pool_bwd, dx, dy, &p);
}

static void run_centre(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1], s[5]));
    vmt_tensor *y = op_out(r, "y", 'R', VMT_SHAPE(s[0], s[1], s[5]));
    vmt_tensor *z = op_acc(r, "in place", 'R', VMT_SHAPE(s[0], s[1], s[5]));
    OP(r, centre, y, x);
    OP(r, centre, z, z);
}

static void run_unit_rows(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain; /* the gradient of a row of one element is 0, by a difference */
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[5]));
    r->fill = FILL_UNIFORM;
    vmt_tensor *dy = op_in(r, 'R', VMT_SHAPE(s[0], s[5]));
    vmt_tensor *m = s[6] ? op_in(r, 'R', VMT_SHAPE(s[5])) : NULL;
    vmt_tensor *y = op_out(r, "y", 'R', VMT_SHAPE(s[0], s[5]));
    vmt_tensor *dx = op_out(r, "dx", 'R', VMT_SHAPE(s[0], s[5]));
    OP(r, unit_rows, y, x, m);
    OP(r, unit_rows_bwd, dx, dy, x, m);
}

/* sizes: count, step */
static void run_adamw(op_run *r)
{
    const int64_t *s = r->size;
    const vmt_adamw adamw = {
        .lr = 0.003, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .step = s[1]};
    vmt_tensor *g = op_in(r, 'R', VMT_SHAPE(s[0]));
    vmt_tensor *x = op_acc(r, "x", 'R', VMT_SHAPE(s[0]));
    vmt_tensor *m = op_acc(r, "m", 'R', VMT_SHAPE(s[0]));
    vmt_tensor *v = op_out(r, "v", 'R', VMT_SHAPE(s[0]));
    OP(r, zero, v);
    if (s[1] == 1)
        OP(r, zero, m);
    OP(r, adamw_step, x, m, v, g, &adamw);
}

#define CASE(op, name, run, tol, ...)                                                              \
    {                                                                                              \
        op, name, run, {__VA_ARGS__}, FILL_UNIFORM, 2, tol, tol / 32768.0                          \
    }

static const op_case cases[] = {
    CASE("qk_reduce", "one", run_qk_reduce, 4, 1, 1, 1),
    CASE("qk_reduce", "heads", run_qk_reduce, 4, 12, 3, 17),
    CASE("qk_reduce", "to R", run_qk_reduce, 4, 12, 3, 17, 0, 1),
    CASE("qk_reduce", "released", run_qk_reduce, 4, 12, 3, 17, 1),
    CASE("qk_reduce", "released, 12 heads", run_qk_reduce, 4, 60, 12, 128, 1, 1),
    CASE("flow_full", "one", run_flow_full, 64, 1, 1, 1, 1, 1, 1, 1),
    CASE("flow_full", "odd", run_flow_full, 64, 3, 5, 1, 1, 1, 1, 7),
    CASE("flow_full", "aligned", run_flow_full, 64, 6, 8, 3, 4, 5, 5, 32),
    CASE("flow_full", "tails of 48 queries and 192 keys", run_flow_full, 64, 7, 28, 3, 4, 5, 5, 17),
    CASE("flow_full", "blocks of 48 queries and 192 keys", run_flow_full, 64, 12, 32, 3, 4, 5, 5,
         64),
    {"flow_full",
     "large logits",
     run_flow_full,
     {6, 8, 3, 4, 5, 5, 8},
     FILL_UNIFORM,
     20,
     1000,
     0.05},
    {"flow_full", "zero rows", run_flow_full, {4, 5, 3, 4, 3, 3, 8}, FILL_ZERO_ROWS, 1, 64, 0.005},
#define TOP(note, ...)                                                                             \
    {                                                                                              \
        "flow_top", note, run_flow_top, {__VA_ARGS__}, FILL_INTEGERS, 1, 64, 0.005                 \
    }
    TOP("one", 1, 1, 1, 1, 1, 1, 1, 1),
    TOP("arg-max", 5, 7, 1, 1, 1, 1, 11, 1),
    TOP("eight, many ties", 6, 9, 1, 1, 1, 1, 2, 8),
    TOP("all but one", 4, 5, 1, 1, 1, 1, 8, 19),
    TOP("more than there are", 4, 5, 1, 1, 1, 1, 8, 99),
    TOP("wide", 12, 32, 1, 1, 1, 1, 64, 8),
    CASE("flow_windows", "frame", run_flow_windows, 0, 7, 9, 3, 4, 5, 5, 8, 0),
    CASE("flow_windows", "frame, even window", run_flow_windows, 0, 7, 9, 2, 4, 4, 6, 8, 0),
    CASE("flow_windows", "frame, whole window", run_flow_windows, 0, 5, 6, 3, 4, 5, 6, 8, 0),
    CASE("flow_windows", "frame, more than 48 tiles", run_flow_windows, 0, 15, 17, 2, 2, 5, 5, 24,
         0),
    CASE("flow_windows", "released", run_flow_windows, 0, 6, 8, 3, 4, 5, 5, 8, 1),
    CASE("flow_windows", "released, collapsed", run_flow_windows, 0, 12, 12, 3, 4, 21, 21, 8, 1),
    CASE("flow_windowed", "one", run_flow_windowed, 64, 1, 1, 1, 1, 1, 1, 1, 0),
    CASE("flow_windowed", "frame", run_flow_windowed, 64, 7, 9, 3, 4, 5, 5, 11, 0),
    CASE("flow_windowed", "frame, aligned", run_flow_windowed, 64, 6, 8, 3, 4, 4, 6, 32, 0),
    CASE("flow_windowed", "tiles of more than 16", run_flow_windowed, 64, 9, 11, 4, 5, 3, 7, 20, 0),
    CASE("flow_windowed", "released", run_flow_windowed, 64, 6, 8, 3, 4, 5, 5, 11, 1),
    CASE("flow_windowed", "released, wide", run_flow_windowed, 64, 6, 8, 3, 4, 9, 9, 16, 1),
    {"flow_windowed",
     "large logits",
     run_flow_windowed,
     {6, 8, 3, 4, 5, 5, 8, 0},
     FILL_UNIFORM,
     20,
     1000,
     0.05},
    CASE("flow_loss", "one", run_flow_loss, 4, 1, 1),
    CASE("flow_loss", "odd", run_flow_loss, 4, 37, 1),
    CASE("flow_loss", "weights", run_flow_loss, 4, 37, 1, 1),
    CASE("flow_loss", "loss only", run_flow_loss, 4, 37, 1, 2),
    CASE("flow_loss", "wide rows", run_flow_loss, 4, 7, 1, 1, 33),
    CASE("track_loss", "one", run_track_loss, 8, 1, 1),
    CASE("track_loss", "odd", run_track_loss, 8, 7, 25),
    CASE("track_loss", "weights", run_track_loss, 8, 7, 25, 1),
    CASE("track_loss", "loss only", run_track_loss, 8, 7, 25, 2),
    {"track_loss", "zero rows", run_track_loss, {9, 25}, FILL_ZERO_ROWS, 1, 8, 0.001},
    CASE("pool", "one", run_pool, 4, 1, 1, 1, 1, 1, 1),
    CASE("pool", "whole frame", run_pool, 4, 3, 6, 7, 1, 1, 37),
    CASE("pool", "cells that share rows", run_pool, 4, 2, 6, 7, 4, 4, 300),
    CASE("pool", "more cells than tokens", run_pool, 4, 2, 2, 3, 4, 4, 5),
    CASE("centre", "one", run_centre, 4, 1, 1, 1, 1, 1, 1),
    CASE("centre", "odd", run_centre, 4, 3, 16, 1, 1, 1, 37),
    CASE("unit_rows", "one", run_unit_rows, 8, 1, 1, 1, 1, 1, 1),
    CASE("unit_rows", "odd", run_unit_rows, 8, 5, 1, 1, 1, 1, 333),
    CASE("unit_rows", "mask", run_unit_rows, 8, 5, 1, 1, 1, 1, 333, 1),
    {"unit_rows", "zero rows", run_unit_rows, {4, 1, 1, 1, 1, 21}, FILL_ZERO_ROWS, 1, 8, 0.001},
    CASE("adamw_step", "one", run_adamw, 8, 1, 1),
    CASE("adamw_step", "first", run_adamw, 8, 1031, 1),
    CASE("adamw_step", "later", run_adamw, 8, 1031, 7),
};

OP_MAIN(cases)
