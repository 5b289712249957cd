/* SPDX-License-Identifier: MIT
 *
 * Elementwise ops, norms and rearrangements of every backend against ref64.
 */
#include "op_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- elementwise.  sizes: N, D, kind: 0 A -> A, 1 R -> R, 2 A -> R, 3 R -> A, 4 in place A */

static char letter_in(const op_run *r)
{
    return r->size[2] == 1 || r->size[2] == 3 ? 'R' : 'A';
}

static char letter_out(const op_run *r)
{
    return r->size[2] == 1 || r->size[2] == 2 ? 'R' : 'A';
}

/* x and y of a unary op; the same tensor in place. */
static vmt_tensor *pair(op_run *r, vmt_tensor **y)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    if (s[2] == 4)
        return *y = op_acc(r, "y", 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *x = op_in(r, letter_in(r), VMT_SHAPE(s[0], s[1]));
    *y = op_out(r, "y", letter_out(r), VMT_SHAPE(s[0], s[1]));
    return x;
}

static void run_gelu(op_run *r)
{
    vmt_tensor *y, *x = pair(r, &y);
    OP(r, gelu, y, x);
}

static void run_silu(op_run *r)
{
    vmt_tensor *y, *x = pair(r, &y);
    OP(r, silu, y, x);
}

static void run_gelu_bwd(op_run *r)
{
    vmt_tensor *dx, *dy = pair(r, &dx);
    r->gain = 5;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(r->size[0], r->size[1]));
    OP(r, gelu_bwd, dx, dy, x);
}

static void run_gelu_gate(op_run *r)
{
    vmt_tensor *y, *x = pair(r, &y);
    vmt_tensor *gate = op_in(r, letter_in(r), VMT_SHAPE(r->size[0], r->size[1]));
    OP(r, gelu_gate, y, x, gate);
}

static void run_add(op_run *r)
{
    vmt_tensor *y, *x = pair(r, &y);
    vmt_tensor *z = op_in(r, 'A', VMT_SHAPE(r->size[0], r->size[1]));
    OP(r, add, y, x, z);
}

/* sizes: N, D, kind: 0 apart, 1 y is x, 2 y is z, 3 b = 0 with z = x */
static void run_lincomb(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *x = s[2] == 1 ? op_acc(r, "y", 'R', VMT_SHAPE(s[0], s[1]))
                              : op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *z = s[2] == 3   ? x
                    : s[2] == 2 ? op_acc(r, "y", 'R', VMT_SHAPE(s[0], s[1]))
                                : op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *y = s[2] == 1 ? x : s[2] == 2 ? z : op_out(r, "y", 'R', VMT_SHAPE(s[0], s[1]));
    OP(r, lincomb, y, x, z, 0.75, s[2] == 3 ? 0 : -1.375);
}

/* sizes: N, D, kind: 0 branch A, 1 branch R, 2 y is x, 3 no gate */
static void run_gate_residual(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *x = s[2] == 2 ? op_acc(r, "y", 'R', VMT_SHAPE(s[0], s[1]))
                              : op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *gate = s[2] == 3 ? NULL : op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *branch = op_in(r, s[2] == 1 ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *y = s[2] == 2 ? x : op_out(r, "y", 'R', VMT_SHAPE(s[0], s[1]));
    OP(r, gate_residual, y, x, gate, branch);
}

/* sizes: N, D, kind: 0 dbranch A, 1 dbranch R, 3 no gate */
static void run_gate_residual_bwd(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *gate = s[2] == 3 ? NULL : op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *dy = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *dbranch = op_out(r, "dbranch", s[2] == 1 ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    OP(r, gate_residual_bwd, dbranch, gate, dy);
}

/* ---- norms.  sizes: N, D, kind: 0 dy A, 1 dy R */

static void run_norm_modulate(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *shift = op_in(r, 'R', VMT_SHAPE(s[1])), *scale = op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *y = op_out(r, "y", 'A', VMT_SHAPE(s[0], s[1]));
    OP(r, norm_modulate, y, x, shift, scale, 1e-6);
}

static void run_norm_modulate_bwd(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *scale = op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *dy = op_in(r, s[2] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *dx = op_acc(r, "dx", 'R', VMT_SHAPE(s[0], s[1]));
    OP(r, norm_modulate_bwd_acc, dx, dy, x, scale, 1e-6);
}

static void run_layer_norm(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *weight = op_in(r, 'R', VMT_SHAPE(s[1])), *bias = op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *y = op_out(r, "y", 'A', VMT_SHAPE(s[0], s[1]));
    OP(r, layer_norm, y, x, weight, bias, 1e-6);
}

static void run_layer_norm_bwd(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *weight = op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *dy = op_in(r, s[2] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *dx = op_acc(r, "dx", 'R', VMT_SHAPE(s[0], s[1]));
    OP(r, layer_norm_bwd_acc, dx, dy, x, weight, 1e-6);
}

/* sizes: N, D, kind: 0 branch A, 1 branch R, 2 y is x, 3 no gate; layer norm */
static void run_residual_norm(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *x = s[2] == 2 ? op_acc(r, "y", 'R', VMT_SHAPE(s[0], s[1]))
                              : op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *gate = s[2] == 3 ? NULL : op_in(r, 'R', VMT_SHAPE(s[1]));
    vmt_tensor *branch = op_in(r, s[2] == 1 ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *y = s[2] == 2 ? x : op_out(r, "y", 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *normed = op_out(r, "normed", 'A', VMT_SHAPE(s[0], s[1]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *a = op_in(r, 'R', VMT_SHAPE(s[1])), *b = op_in(r, 'R', VMT_SHAPE(s[1]));
    if (s[3])
        OP(r, residual_layer_norm, y, normed, x, gate, branch, a, b, 1e-6);
    else
        OP(r, residual_norm_modulate, y, normed, x, gate, branch, a, b, 1e-6);
}

/* sizes: N, n, d, kind: 0 A -> A, 1 R -> R, 2 A -> R, 3 R -> A; angles */
static void run_rms_norm_rope(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, letter_in(&(op_run){.size = s + 1}), VMT_SHAPE(s[0], s[1] * s[2]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *weight = op_in(r, 'R', VMT_SHAPE(s[1] * s[2]));
    vmt_tensor *cosines = s[4] ? op_in(r, 'R', VMT_SHAPE(s[0], s[2] / 2)) : NULL;
    vmt_tensor *sines = s[4] ? op_in(r, 'R', VMT_SHAPE(s[0], s[2] / 2)) : NULL;
    vmt_tensor *y =
        op_out(r, "y", letter_out(&(op_run){.size = s + 1}), VMT_SHAPE(s[0], s[1], s[2]));
    OP(r, rms_norm_rope, y, x, weight, cosines, sines, 1e-6);
}

static void run_rms_norm_rope_bwd(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(s[0], s[1] * s[2]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *weight = op_in(r, 'R', VMT_SHAPE(s[1] * s[2]));
    vmt_tensor *cosines = s[4] ? op_in(r, 'R', VMT_SHAPE(s[0], s[2] / 2)) : NULL;
    vmt_tensor *sines = s[4] ? op_in(r, 'R', VMT_SHAPE(s[0], s[2] / 2)) : NULL;
    vmt_tensor *dy = op_in(r, letter_in(&(op_run){.size = s + 1}), VMT_SHAPE(s[0], s[1], s[2]));
    vmt_tensor *dx =
        op_out(r, "dx", letter_out(&(op_run){.size = s + 1}), VMT_SHAPE(s[0], s[1] * s[2]));
    OP(r, rms_norm_rope_bwd, dx, dy, x, weight, cosines, sines, 1e-6);
}

/* sizes: T, H, W, C, silu */
static void run_rms_norm_channel(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    r->fill = FILL_UNIFORM, r->gain = 1;
    vmt_tensor *gamma = op_in(r, 'R', VMT_SHAPE(s[3]));
    vmt_tensor *y = op_out(r, "y", 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    OP(r, rms_norm_channel, y, x, gamma, s[4] != 0);
}

/* ---- rearrangements: exact.  sizes: C, F, H, W, tokens R, patch as digits */

static void run_patches(op_run *r)
{
    const int64_t *s = r->size, patch[3] = {s[5] / 100, s[5] / 10 % 10, s[5] % 10};
    const int64_t cells = patch[0] * patch[1] * patch[2], row = s[0] * cells;
    const int64_t tokens = s[1] * s[2] * s[3] / cells;
    const char letter = s[4] ? 'R' : 'A';
    vmt_tensor *latent = op_in(r, 'R', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    vmt_tensor *rows = op_in(r, letter, VMT_SHAPE(tokens, row));
    vmt_tensor *y = op_out(r, "patchify", letter, VMT_SHAPE(tokens, row));
    vmt_tensor *dx = op_out(r, "patchify_bwd", 'R', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    vmt_tensor *z = op_out(r, "unpatchify", 'R', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    vmt_tensor *dz = op_out(r, "unpatchify_bwd", letter, VMT_SHAPE(tokens, row));
    OP(r, patchify, y, latent, patch);
    OP(r, patchify_bwd, dx, rows, patch);
    OP(r, unpatchify, z, rows, patch);
    OP(r, unpatchify_bwd, dz, latent, patch);
}

/* sizes: tokens, rows of the table, D, dtype of the table */
static void run_embed(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *ids = op_ids(r, s[1], VMT_SHAPE(s[0]));
    vmt_weight *table = op_weight(r, 0, (enum vmt_dtype)s[3], false, VMT_SHAPE(s[1], s[2]));
    vmt_tensor *y = op_out(r, "y", 'R', VMT_SHAPE(s[0], s[2]));
    OP(r, embed, y, ids, table);
}

/* sizes: T, H, W, C */
static void run_upsample2(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    vmt_tensor *y = op_out(r, "y", 'A', VMT_SHAPE(s[0], 2 * s[1], 2 * s[2], s[3]));
    OP(r, upsample2, y, x);
}

static void run_split_frames(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(s[0], s[1], s[2], 2 * s[3]));
    vmt_tensor *y = op_out(r, "y", 'A', VMT_SHAPE(2 * s[0], s[1], s[2], s[3]));
    OP(r, split_frames, y, x);
}

/* sizes: N, D, kind: 0 A, 1 R.  zero, copies between dtypes, all_finite, mark_bad. */
static void run_memory(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *a = op_in(r, 'A', VMT_SHAPE(s[0], s[1])), *x = op_in(r, 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *to_r = op_out(r, "copy A to R", 'R', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *to_a = op_out(r, "copy R to A", 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *zeros = op_out(r, "zero", s[2] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *nans = op_out(r, "nothing", s[2] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    bool finite = true;
    OP(r, copy, to_r, a);
    OP(r, copy, to_a, x);
    OP(r, zero, zeros);
    OP(r, all_finite, &finite, nans);
    assert_false(finite);
    OP(r, copy, nans, zeros);
    OP(r, all_finite, &finite, x);
    assert_true(finite);
    vmt_tensor last = vmt_tensor_over((char *)nans->data +
                                          (s[0] * s[1] - 1) * (int64_t)vmt_dtype_bytes(nans->dtype),
                                      nans->dtype, VMT_SHAPE(1));
    vmt_tensor infinity = vmt_tensor_over(&(double){HUGE_VAL}, VMT_F64, VMT_SHAPE(1));
    OP(r, upload, &last, &infinity);
    OP(r, all_finite, &finite, nans);
    assert_false(finite);
    vmt_tensor *flags = op_out_ints(r, "flags", VMT_SHAPE(2, 1));
    vmt_tensor of_good = vmt_index(flags, 0), of_bad = vmt_index(flags, 1);
    OP(r, zero, flags);
    OP(r, mark_bad, &of_good, x);
    OP(r, mark_bad, &of_bad, nans);
    OP(r, mark_bad, &of_bad, x); /* stays */
    OP(r, zero, nans);
}

/* sizes: N, D.  As many downloads as may be begun, each of what x was then; before them one that is
 * never ended. */
static void run_downloads(op_run *r)
{
    const int64_t *s = r->size, count = s[0] * s[1];
    vmt_tensor *x = op_acc(r, "x", 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *sums[VMT_DOWNLOADS], host[VMT_DOWNLOADS];
    double *memory = malloc(sizeof *memory * (size_t)(count * VMT_DOWNLOADS));

    assert_non_null(memory);
    for (int i = 0; i < VMT_DOWNLOADS; i++) {
        sums[i] = op_out(r, "fetched", 'R', VMT_SHAPE(s[0], s[1]));
        host[i] =
            vmt_tensor_over(memory + i * count, i % 2 ? VMT_F64 : x->dtype, VMT_SHAPE(s[0], s[1]));
    }
    OP(r, download_begin, &host[0], x);
    for (int i = 0; i < VMT_DOWNLOADS; i++) {
        OP(r, add, x, x, x);
        OP(r, download_begin, &host[i], x);
    }
    OP(r, zero, x);
    for (int i = 0; i < VMT_DOWNLOADS; i++) {
        OP(r, download_end, &host[i]);
        OP(r, upload, sums[i], &host[i]);
        memset(host[i].data, 0xff, vmt_tensor_bytes(&host[i])); /* the upload has its copy */
    }
    free(memory);
}

#define CASE(op, name, run, tol, tol_bf16, ...)                                                    \
    {                                                                                              \
        op, name, run, {__VA_ARGS__}, FILL_UNIFORM, 5, tol, tol_bf16                               \
    }
#define UNARY(op, run)                                                                             \
    CASE(op, "one", run, 4, 0.01, 1, 1), CASE(op, "tail", run, 4, 0.01, 7, 67),                    \
        CASE(op, "aligned", run, 4, 0.01, 16, 128), CASE(op, "R to R", run, 4, 0.01, 5, 33, 1),    \
        CASE(op, "A to R", run, 4, 0.01, 5, 33, 2), CASE(op, "R to A", run, 4, 0.01, 5, 33, 3),    \
        CASE(op, "in place", run, 4, 0.01, 9, 1031, 4)

static const op_case cases[] = {
    UNARY("gelu", run_gelu),
    UNARY("silu", run_silu),
    UNARY("gelu_bwd", run_gelu_bwd),
    UNARY("gelu_gate", run_gelu_gate),
    {"gelu", "large", run_gelu, {3, 50}, FILL_UNIFORM, 300, 4, 0.01},
    {"silu", "large", run_silu, {3, 50}, FILL_UNIFORM, 300, 4, 0.01},
    {"gelu_bwd", "zero rows", run_gelu_bwd, {6, 50}, FILL_ZERO_ROWS, 1, 4, 0.01},
    CASE("add", "one", run_add, 1, 0.01, 1, 1),
    CASE("add", "tail", run_add, 1, 0.01, 7, 67),
    CASE("add", "in place", run_add, 1, 0.01, 9, 1031, 4),
    CASE("lincomb", "one", run_lincomb, 2, 0.01, 1, 1),
    CASE("lincomb", "tail", run_lincomb, 2, 0.01, 7, 67),
    CASE("lincomb", "y is x", run_lincomb, 2, 0.01, 7, 67, 1),
    CASE("lincomb", "y is z", run_lincomb, 2, 0.01, 7, 67, 2),
    CASE("lincomb", "b = 0", run_lincomb, 2, 0.01, 7, 67, 3),
    CASE("gate_residual", "one", run_gate_residual, 2, 0.01, 1, 1),
    CASE("gate_residual", "tail", run_gate_residual, 2, 0.01, 7, 67),
    CASE("gate_residual", "branch R", run_gate_residual, 2, 0.01, 7, 67, 1),
    CASE("gate_residual", "in place", run_gate_residual, 2, 0.01, 33, 128, 2),
    CASE("gate_residual", "no gate", run_gate_residual, 2, 0.01, 5, 60, 3),
    CASE("gate_residual_bwd", "one", run_gate_residual_bwd, 2, 0.01, 1, 1),
    CASE("gate_residual_bwd", "tail", run_gate_residual_bwd, 2, 0.01, 7, 67),
    CASE("gate_residual_bwd", "to R", run_gate_residual_bwd, 2, 0.01, 7, 67, 1),
    CASE("gate_residual_bwd", "no gate", run_gate_residual_bwd, 2, 0.01, 5, 60, 3),
    CASE("norm_modulate", "eight", run_norm_modulate, 8, 0.01, 1, 8),
    CASE("norm_modulate", "tail", run_norm_modulate, 8, 0.01, 7, 67),
    CASE("norm_modulate", "wide", run_norm_modulate, 8, 0.01, 4, 1536),
    {"norm_modulate", "zero rows", run_norm_modulate, {7, 64}, FILL_ZERO_ROWS, 1, 8, 0.01},
    {"norm_modulate", "large", run_norm_modulate, {7, 64}, FILL_UNIFORM, 1e5, 8, 0.01},
    CASE("norm_modulate_bwd", "tail", run_norm_modulate_bwd, 16, 0.01, 7, 67),
    CASE("norm_modulate_bwd", "dy R", run_norm_modulate_bwd, 16, 0.01, 7, 67, 1),
    CASE("norm_modulate_bwd", "wide", run_norm_modulate_bwd, 16, 0.01, 4, 1536),
    {"norm_modulate_bwd", "zero rows", run_norm_modulate_bwd, {7, 64}, FILL_ZERO_ROWS, 1, 16, 0.01},
    CASE("layer_norm", "eight", run_layer_norm, 8, 0.01, 1, 8),
    CASE("layer_norm", "tail", run_layer_norm, 8, 0.01, 7, 67),
    CASE("layer_norm", "wide", run_layer_norm, 8, 0.01, 4, 1536),
    CASE("layer_norm_bwd", "tail", run_layer_norm_bwd, 16, 0.01, 7, 67),
    CASE("layer_norm_bwd", "dy R", run_layer_norm_bwd, 16, 0.01, 7, 67, 1),
    CASE("residual_norm", "one", run_residual_norm, 8, 0.01, 1, 8),
    CASE("residual_norm", "tail", run_residual_norm, 8, 0.01, 7, 67),
    CASE("residual_norm", "branch R", run_residual_norm, 8, 0.01, 7, 67, 1),
    CASE("residual_norm", "in place", run_residual_norm, 8, 0.01, 33, 128, 2),
    CASE("residual_norm", "no gate", run_residual_norm, 8, 0.01, 4, 1536, 3),
    CASE("residual_norm", "layer norm, tail", run_residual_norm, 8, 0.01, 7, 67, 0, 1),
    CASE("residual_norm", "layer norm, in place", run_residual_norm, 8, 0.01, 4, 1536, 2, 1),
    CASE("rms_norm_rope", "plain", run_rms_norm_rope, 8, 0.01, 7, 1, 67),
    CASE("rms_norm_rope", "heads", run_rms_norm_rope, 8, 0.01, 7, 5, 12, 0, 1),
    CASE("rms_norm_rope", "head dim 128", run_rms_norm_rope, 8, 0.01, 5, 3, 128, 0, 1),
    CASE("rms_norm_rope", "a warp a row", run_rms_norm_rope, 8, 0.01, 5, 12, 128, 0, 1),
    CASE("rms_norm_rope", "a warp a row, short", run_rms_norm_rope, 8, 0.01, 9, 4, 64, 0, 1),
    CASE("rms_norm_rope", "a warp a row, plain", run_rms_norm_rope, 8, 0.01, 6, 12, 128),
    CASE("rms_norm_rope", "four warps a row", run_rms_norm_rope, 8, 0.01, 3, 40, 128, 0, 1),
    CASE("rms_norm_rope", "R to R", run_rms_norm_rope, 8, 0.01, 7, 5, 12, 1, 1),
    CASE("rms_norm_rope", "R to A", run_rms_norm_rope, 8, 0.01, 7, 4, 16, 3),
    {"rms_norm_rope", "zero rows", run_rms_norm_rope, {7, 2, 10, 0, 1}, FILL_ZERO_ROWS, 1, 8, 0.01},
    CASE("rms_norm_rope_bwd", "plain", run_rms_norm_rope_bwd, 16, 0.01, 7, 1, 67),
    CASE("rms_norm_rope_bwd", "heads", run_rms_norm_rope_bwd, 16, 0.01, 7, 5, 12, 0, 1),
    CASE("rms_norm_rope_bwd", "head dim 128", run_rms_norm_rope_bwd, 16, 0.01, 5, 3, 128, 0, 1),
    CASE("rms_norm_rope_bwd", "a warp a row", run_rms_norm_rope_bwd, 16, 0.01, 5, 12, 128, 0, 1),
    CASE("rms_norm_rope_bwd", "a warp a row, plain", run_rms_norm_rope_bwd, 16, 0.01, 6, 4, 64),
    CASE("rms_norm_rope_bwd", "four warps a row", run_rms_norm_rope_bwd, 16, 0.01, 3, 40, 128, 0,
         1),
    CASE("rms_norm_rope_bwd", "R to A", run_rms_norm_rope_bwd, 16, 0.01, 7, 5, 12, 3, 1),
    CASE("rms_norm_rope_bwd", "R to R", run_rms_norm_rope_bwd, 16, 0.01, 7, 5, 12, 1, 1),
    {"rms_norm_rope_bwd",
     "zero rows",
     run_rms_norm_rope_bwd,
     {7, 2, 10, 0, 1},
     FILL_ZERO_ROWS,
     1,
     16,
     0.01},
    CASE("rms_norm_channel", "one", run_rms_norm_channel, 8, 0.01, 1, 1, 1, 1),
    CASE("rms_norm_channel", "tail", run_rms_norm_channel, 8, 0.01, 2, 3, 5, 19),
    CASE("rms_norm_channel", "silu", run_rms_norm_channel, 8, 0.01, 2, 3, 5, 96, 1),
    CASE("rms_norm_channel", "many cells", run_rms_norm_channel, 8, 0.01, 3, 7, 13, 96, 1),
    CASE("rms_norm_channel", "192", run_rms_norm_channel, 8, 0.01, 2, 5, 9, 192, 0),
    CASE("rms_norm_channel", "384", run_rms_norm_channel, 8, 0.01, 1, 5, 9, 384, 1),
    {"rms_norm_channel",
     "zero rows",
     run_rms_norm_channel,
     {1, 3, 3, 12, 1},
     FILL_ZERO_ROWS,
     1,
     8,
     0.01},
    CASE("patchify", "one", run_patches, 0, 0, 1, 1, 1, 1, 0, 111),
    CASE("patchify", "1x2x2", run_patches, 0, 0, 5, 3, 6, 10, 0, 122),
    CASE("patchify", "R", run_patches, 0, 0, 16, 2, 4, 6, 1, 122),
    CASE("patchify", "2x3x1", run_patches, 0, 0, 3, 4, 6, 5, 0, 231),
    CASE("embed", "f32", run_embed, 0, 0, 9, 13, 37, VMT_F32),
    CASE("embed", "bf16", run_embed, 0, 0, 9, 13, 37, VMT_BF16),
    CASE("embed", "f16", run_embed, 0, 0, 1, 1, 1, VMT_F16),
    CASE("upsample2", "one", run_upsample2, 0, 0, 1, 1, 1, 1),
    CASE("upsample2", "odd", run_upsample2, 0, 0, 3, 3, 5, 7),
    CASE("split_frames", "one", run_split_frames, 0, 0, 1, 1, 1, 1),
    CASE("split_frames", "odd", run_split_frames, 0, 0, 3, 3, 5, 7),
    CASE("memory", "A", run_memory, 0, 0, 5, 333, 0),
    CASE("memory", "R", run_memory, 0, 0, 1, 3, 1),
    CASE("download_begin", "one", run_downloads, 0, 0, 1, 1),
    CASE("download_begin", "more than a megabyte", run_downloads, 0, 0, 5, 77777),
};

OP_MAIN(cases)
