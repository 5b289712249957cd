/* SPDX-License-Identifier: MIT
 *
 * Matrix products, attention and convolution of every backend against ref64.
 */
#include "op_case.h"

#include <math.h>

/* sizes: N, in, out, kind: 0 y A, 1 y R, 2 x R; weight dtype; epilogue; no bias */
static void run_linear(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *x = op_in(r, s[3] == 2 ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_weight *w =
        op_weight(r, VMT_USE_LINEAR, (enum vmt_dtype)s[4], !s[6], VMT_SHAPE(s[2], s[1]));
    vmt_tensor *y = op_out(r, "y", s[3] == 0 ? 'A' : 'R', VMT_SHAPE(s[0], s[2]));
    OP(r, linear, y, x, w, (enum vmt_epilogue)s[5]);
}

/* The same by linear_fp8. */
static void run_linear_fp8(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *x = op_in(r, s[3] == 2 ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_weight *w = op_weight(r, VMT_USE_LINEAR | VMT_USE_FP8, (enum vmt_dtype)s[4], !s[6],
                              VMT_SHAPE(s[2], s[1]));
    vmt_tensor *y = op_out(r, "y", s[3] == 0 ? 'A' : 'R', VMT_SHAPE(s[0], s[2]));
    OP(r, linear_fp8, y, x, w, (enum vmt_epilogue)s[5]);
}

/* sizes: N, in, out, kind: 0 dx A, 1 dx R, 2 both R; weight dtype */
static void run_linear_bwd(op_run *r)
{
    const int64_t *s = r->size;
    r->scale = r->gain;
    vmt_tensor *dy = op_in(r, s[3] == 2 ? 'R' : 'A', VMT_SHAPE(s[0], s[2]));
    vmt_weight *w = op_weight(r, VMT_USE_LINEAR | VMT_USE_BACKWARD, (enum vmt_dtype)s[4], true,
                              VMT_SHAPE(s[2], s[1]));
    vmt_tensor *dx = op_out(r, "dx", s[3] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    vmt_tensor *sum = op_acc(r, "dx_acc", s[3] ? 'R' : 'A', VMT_SHAPE(s[0], s[1]));
    OP(r, linear_bwd, dx, dy, w);
    OP(r, linear_bwd_acc, sum, dy, w);
}

/* sizes: N, in, out; kind: 0 A, 1 R, 2 y is u; no bias */
static void run_linear_gelu(op_run *r)
{
    const int64_t *s = r->size;
    const char letter = s[3] == 1 ? 'R' : 'A';
    vmt_tensor *x = op_in(r, letter, VMT_SHAPE(s[0], s[1]));
    vmt_weight *w = op_weight(r, VMT_USE_LINEAR, VMT_F32, !s[4], VMT_SHAPE(s[2], s[1]));
    vmt_tensor *u = op_out(r, "u", letter, VMT_SHAPE(s[0], s[2]));
    vmt_tensor *y = s[3] == 2 ? u : op_out(r, "y", letter, VMT_SHAPE(s[0], s[2]));
    OP(r, linear_gelu, y, u, x, w);
}

/* sizes: N, in, out; kind: 0 A, 1 R */
static void run_linear_bwd_gelu(op_run *r)
{
    const int64_t *s = r->size;
    const char letter = s[3] ? 'R' : 'A';
    vmt_tensor *dy = op_in(r, letter, VMT_SHAPE(s[0], s[2]));
    vmt_weight *w =
        op_weight(r, VMT_USE_LINEAR | VMT_USE_BACKWARD, VMT_F32, true, VMT_SHAPE(s[2], s[1]));
    r->gain = 4;
    vmt_tensor *u = op_in(r, letter, VMT_SHAPE(s[0], s[1]));
    vmt_tensor *du = op_out(r, "du", letter, VMT_SHAPE(s[0], s[1]));
    OP(r, linear_bwd_gelu, du, dy, w, u);
}

/* sizes: Nq, Nk, n, d, bias, lse */
static void run_attention(op_run *r)
{
    const int64_t *s = r->size;
    vmt_tensor *q = op_in(r, 'A', VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *k = op_in(r, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    r->gain = 1;
    vmt_tensor *v = op_in(r, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    vmt_tensor *bias = s[4] ? op_in(r, 'R', VMT_SHAPE(s[2], s[0] + s[1] - 1)) : NULL;
    vmt_tensor *o = op_out(r, "o", 'A', VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *lse = s[5] ? op_out(r, "lse", 'R', VMT_SHAPE(s[2], s[0])) : NULL;
    OP(r, attention, o, lse, q, k, v, bias, 1 / sqrt((double)s[3]));
}

/* sizes: Nq, Nk, n, d, kind: 0 all A, 1 all R, 2 without dk, dv.  o and lse are the op's own. */
static void run_attention_bwd(op_run *r)
{
    const int64_t *s = r->size;
    const char g = s[4] == 1 ? 'R' : 'A';
    vmt_tensor *q = op_in(r, 'A', VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *k = op_in(r, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    r->gain = 1;
    vmt_tensor *v = op_in(r, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    vmt_tensor *dout = op_in(r, 'A', VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *o = op_out(r, "o", 'A', VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *lse = op_out(r, "lse", 'R', VMT_SHAPE(s[2], s[0]));
    vmt_tensor *dq = op_out(r, "dq", g, VMT_SHAPE(s[0], s[2], s[3]));
    vmt_tensor *dk = s[4] == 2 ? NULL : op_out(r, "dk", g, VMT_SHAPE(s[1], s[2], s[3]));
    vmt_tensor *dv = s[4] == 2 ? NULL : op_out(r, "dv", g, VMT_SHAPE(s[1], s[2], s[3]));
    const double scale = 1 / sqrt((double)s[3]);
    r->scale = 0.25; /* do·v and δ, each about this size, cancel */
    OP(r, attention, o, lse, q, k, v, NULL, scale);
    OP(r, attention_bwd, dq, dk, dv, dout, q, k, v, o, lse, scale);
}

/* sizes: grid, tile, box (frames, rows, columns each), n, d, kind: 0 gradients A, 1 R.  o and lse
 * are the op's own. */
static void run_attention_local(op_run *r)
{
    const int64_t *s = r->size, n = s[0] * s[1] * s[2], heads = s[9], d = s[10];
    const vmt_local_geometry g = {{s[0], s[1], s[2]}, {s[3], s[4], s[5]}, {s[6], s[7], s[8]}};
    const char letter = s[11] ? 'R' : 'A';
    const double scale = 1 / sqrt((double)d);
    vmt_tensor *q = op_in(r, 'A', VMT_SHAPE(n, heads, d));
    vmt_tensor *k = op_in(r, 'A', VMT_SHAPE(n, heads, d));
    r->gain = 1;
    vmt_tensor *v = op_in(r, 'A', VMT_SHAPE(n, heads, d));
    vmt_tensor *dout = op_in(r, 'A', VMT_SHAPE(n, heads, d));
    vmt_tensor *bare = op_out(r, "o without lse", 'A', VMT_SHAPE(n, heads, d));
    vmt_tensor *o = op_out(r, "o", 'A', VMT_SHAPE(n, heads, d));
    vmt_tensor *lse = op_out(r, "lse", 'R', VMT_SHAPE(heads, n));
    vmt_tensor *dq = op_out(r, "dq", letter, VMT_SHAPE(n, heads, d));
    vmt_tensor *dk = op_out(r, "dk", letter, VMT_SHAPE(n, heads, d));
    vmt_tensor *dv = op_out(r, "dv", letter, VMT_SHAPE(n, heads, d));
    r->scale = 0.25; /* as in run_attention_bwd */
    OP(r, attention_local, bare, NULL, q, k, v, &g, scale);
    OP(r, attention_local, o, lse, q, k, v, &g, scale);
    OP(r, attention_local_bwd, dq, dk, dv, dout, q, k, v, o, lse, &g, scale);
}

/* sizes: T, H, W, Ci, Co, kernel (kt kh kw as digits), stride (digits), pads (top bottom left right
 * as digits + 10000), weight dtype */
static void run_conv3d(op_run *r)
{
    const int64_t *s = r->size, kernel = s[5], stride = s[6], pads = s[7];
    const int64_t kt = kernel / 100, kh = kernel / 10 % 10, kw = kernel % 10;
    const vmt_conv_geometry g = {.stride_t = stride / 100,
                                 .stride_h = stride / 10 % 10,
                                 .stride_w = stride % 10,
                                 .pad_top = pads / 1000 % 10,
                                 .pad_bottom = pads / 100 % 10,
                                 .pad_left = pads / 10 % 10,
                                 .pad_right = pads % 10};
    r->scale = r->gain;
    vmt_tensor *x = op_in(r, 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    vmt_weight *w =
        op_weight(r, VMT_USE_CONV, (enum vmt_dtype)s[8], true, VMT_SHAPE(s[4], s[3], kt, kh, kw));
    vmt_tensor *y =
        op_out(r, "y", 'A',
               VMT_SHAPE((s[0] - kt) / g.stride_t + 1,
                         (s[1] + g.pad_top + g.pad_bottom - kh) / g.stride_h + 1,
                         (s[2] + g.pad_left + g.pad_right - kw) / g.stride_w + 1, s[4]));
    OP(r, conv3d, y, x, w, &g);
}

#define LINEAR(name, ...)                                                                          \
    {                                                                                              \
        "linear", name, run_linear, {__VA_ARGS__}, .ulps = 8, .ulps_bf16 = 0.5                     \
    }
/* Weights in BF16, so that every backend rounds the same numbers; widths by sixteens, as devices
 * want them.  In BF16 a backend may round the sum before it scales it.  Tensor cores add products
 * of 8-bit numbers with fewer bits than a float has: an H100 was 2e-4 of the largest value off,
 * where rounding the operands is worth some 1e-2. */
enum { FP8_ULPS = 4096 };
#define LINEAR_FP8(name, ...)                                                                      \
    {                                                                                              \
        "linear_fp8", name, run_linear_fp8, {__VA_ARGS__}, .ulps = FP8_ULPS, .ulps_bf16 = 2        \
    }
#define LINEAR_BWD(name, ...)                                                                      \
    {                                                                                              \
        "linear_bwd", name, run_linear_bwd, {__VA_ARGS__}, .ulps = 8, .ulps_bf16 = 0.5             \
    }
/* In BF16 a backend may round the product before what it does with it. */
#define LINEAR_GELU(name, run, ...)                                                                \
    {                                                                                              \
        "linear_gelu", name, run, {__VA_ARGS__}, .ulps = 16, .ulps_bf16 = 1                        \
    }
#define ATTENTION(name, ...)                                                                       \
    {                                                                                              \
        "attention", name, run_attention, {__VA_ARGS__}, .ulps = 16, .ulps_bf16 = 1                \
    }
#define ATTENTION_BWD(name, ...)                                                                   \
    {                                                                                              \
        "attention_bwd", name, run_attention_bwd, {__VA_ARGS__}, .ulps = 64, .ulps_bf16 = 4        \
    }
/* dk and dv may be rounded for each tile before they are summed. */
#define LOCAL(name, ...)                                                                           \
    {                                                                                              \
        "attention_local", name, run_attention_local, {__VA_ARGS__}, .ulps = 32, .ulps_bf16 = 4    \
    }
/* In BF16 a backend may round twice: the sum, then the sum with the bias.  Each rounding is off by
 * half a step, 2^-8 of what is rounded: the first is ulps_bf16 = 1, the second is allowed to every
 * output (op_case.h). */
#define CONV(name, ...)                                                                            \
    {                                                                                              \
        "conv3d", name, run_conv3d, {__VA_ARGS__}, .ulps = 16, .ulps_bf16 = 1                      \
    }

/* A thousand terms and more in each sum. */
#define LONG_CONV(name, ...)                                                                       \
    {                                                                                              \
        "conv3d", name, run_conv3d, {__VA_ARGS__}, .ulps = 64, .ulps_bf16 = 1                      \
    }

static const op_case cases[] = {
    LINEAR("one", 1, 1, 1, 0, VMT_F32),
    LINEAR("odd", 3, 7, 5, 0, VMT_F32),
    LINEAR("row", 1, 64, 96, 0, VMT_F32),
    LINEAR("tails", 33, 67, 131, 0, VMT_F32),
    LINEAR("to R", 17, 48, 80, 1, VMT_F32),
    LINEAR("from R", 17, 48, 80, 2, VMT_F32),
    LINEAR("bf16 weight", 19, 70, 45, 0, VMT_BF16),
    LINEAR("f16 weight", 19, 70, 45, 0, VMT_F16),
    LINEAR("gelu", 20, 64, 100, 0, VMT_F32, VMT_EPILOGUE_GELU),
    LINEAR("silu", 20, 64, 100, 0, VMT_F32, VMT_EPILOGUE_SILU),
    LINEAR("silu, R to R", 1, 64, 100, 2, VMT_F32, VMT_EPILOGUE_SILU),
    LINEAR("no bias", 20, 64, 100, 0, VMT_F32, VMT_EPILOGUE_NONE, 1),
    LINEAR("block", 128, 256, 384, 0, VMT_F32),
    {"linear",
     "wide, in blocks",
     run_linear,
     {2, 1500, 1411, 2, VMT_BF16},
     .ulps = 32,
     .ulps_bf16 = 0.5},
    {"linear", "integers", run_linear, {37, 129, 65, 0, VMT_F32}, FILL_INTEGERS, 1, 0, 0},
    {"linear",
     "integers, bf16 weight",
     run_linear,
     {37, 129, 65, 1, VMT_BF16},
     FILL_INTEGERS,
     1,
     0,
     0},
    {"linear", "zero rows", run_linear, {9, 40, 33, 0, VMT_F32}, FILL_ZERO_ROWS, 1, 8, 0.5},
    {"linear", "large", run_linear, {9, 40, 33, 0, VMT_F32}, FILL_UNIFORM, 1e4, 8, 0.5},
    LINEAR_BWD("one", 1, 1, 1, 0, VMT_F32),
    LINEAR_BWD("odd", 3, 7, 5, 0, VMT_F32),
    LINEAR_BWD("tails", 33, 67, 131, 0, VMT_F32),
    LINEAR_BWD("to R", 17, 48, 80, 1, VMT_F32),
    LINEAR_BWD("from R", 17, 48, 80, 2, VMT_F32),
    {"linear_bwd",
     "wide, in blocks",
     run_linear_bwd,
     {2, 1500, 1411, 2, VMT_BF16},
     .ulps = 32,
     .ulps_bf16 = 0.5},
    LINEAR_BWD("bf16 weight", 19, 70, 45, 0, VMT_BF16),
    {"linear_bwd", "integers", run_linear_bwd, {37, 65, 129, 1, VMT_F32}, FILL_INTEGERS, 1, 0, 0},
    LINEAR_FP8("one token", 1, 16, 32, 0, VMT_BF16),
    LINEAR_FP8("tokens", 33, 64, 96, 0, VMT_BF16),
    LINEAR_FP8("block", 128, 256, 640, 0, VMT_BF16),
    LINEAR_FP8("to R", 17, 48, 80, 1, VMT_BF16),
    LINEAR_FP8("gelu", 20, 64, 112, 0, VMT_BF16, VMT_EPILOGUE_GELU),
    LINEAR_FP8("silu, no bias", 20, 64, 112, 0, VMT_BF16, VMT_EPILOGUE_SILU, 1),
    {"linear_fp8",
     "zero rows",
     run_linear_fp8,
     {9, 48, 32, 0, VMT_BF16},
     FILL_ZERO_ROWS,
     1,
     FP8_ULPS,
     2},
    {"linear_fp8",
     "large",
     run_linear_fp8,
     {9, 48, 32, 0, VMT_BF16},
     FILL_UNIFORM,
     1e4,
     FP8_ULPS,
     2},
    LINEAR_GELU("odd", run_linear_gelu, 3, 7, 5),
    LINEAR_GELU("by eights", run_linear_gelu, 37, 64, 136),
    LINEAR_GELU("by eights, no bias", run_linear_gelu, 64, 128, 256, 0, 1),
    LINEAR_GELU("not kept", run_linear_gelu, 37, 64, 136, 2),
    LINEAR_GELU("R", run_linear_gelu, 17, 48, 80, 1),
    LINEAR_GELU("backward, odd", run_linear_bwd_gelu, 3, 7, 5),
    LINEAR_GELU("backward, by eights", run_linear_bwd_gelu, 37, 136, 64),
    LINEAR_GELU("backward, R", run_linear_bwd_gelu, 17, 80, 48, 1),
    ATTENTION("one", 1, 1, 1, 2),
    ATTENTION("odd", 3, 5, 2, 6, 0, 1),
    ATTENTION("self", 48, 48, 4, 16, 0, 1),
    ATTENTION("tails", 67, 131, 3, 20, 0, 1),
    ATTENTION("cross", 70, 9, 2, 64, 0, 1),
    ATTENTION("head dim 128", 33, 77, 2, 128, 0, 1),
    ATTENTION("long keys", 5, 700, 1, 32, 0, 1),
    ATTENTION("blocks of queries", 301, 257, 2, 16, 1, 1),
    ATTENTION("96 queries", 96, 33, 1, 8, 0, 1),
    ATTENTION("95 queries, odd head dim", 95, 34, 2, 7, 0, 1),
    ATTENTION("97 queries", 97, 31, 1, 17, 1, 1),
    ATTENTION("a block of keys", 7, 512, 2, 16, 0, 1),
    ATTENTION("a block of keys less one", 6, 511, 1, 33, 1, 1),
    ATTENTION("a block of keys and one", 8, 513, 1, 48, 1, 1),
    ATTENTION("three blocks of keys", 13, 1100, 1, 8, 1, 1),
    ATTENTION("panels' tails", 19, 65, 1, 130, 0, 1),
    ATTENTION("head dim 384", 31, 40, 1, 384, 0, 1),
    ATTENTION("bias", 13, 13, 4, 12, 1),
    ATTENTION("bias, 16 aligned", 32, 32, 2, 64, 1),
    /* logits near 1000, each a sum of 32 products up to 900: known to 1e-4, and so are ratios of
     * probabilities */
    {"attention", "large logits", run_attention, {20, 40, 2, 32, 0, 1}, FILL_UNIFORM, 30, 2000, 12},
    {"attention", "zero rows", run_attention, {12, 21, 2, 16, 0, 1}, FILL_ZERO_ROWS, 1, 16, 1},
    ATTENTION_BWD("one", 1, 1, 1, 2),
    ATTENTION_BWD("odd", 3, 5, 2, 6),
    ATTENTION_BWD("self", 48, 48, 4, 16),
    ATTENTION_BWD("tails", 67, 131, 3, 20, 1),
    ATTENTION_BWD("cross", 70, 9, 2, 64, 2),
    ATTENTION_BWD("head dim 128", 33, 77, 2, 128, 1),
    ATTENTION_BWD("long keys", 5, 300, 1, 32),
    ATTENTION_BWD("one block", 144, 192, 1, 16),
    ATTENTION_BWD("blocks less one", 143, 191, 2, 7, 1),
    ATTENTION_BWD("blocks and one", 145, 193, 1, 17, 1),
    ATTENTION_BWD("two blocks", 288, 384, 1, 8),
    ATTENTION_BWD("two blocks and one, no dk", 289, 385, 1, 8, 2),
    ATTENTION_BWD("panels' tails", 19, 65, 1, 130),
    ATTENTION_BWD("blocks of queries", 301, 257, 2, 16, 1),
    ATTENTION_BWD("blocks of queries, no dk", 301, 257, 2, 16, 2),
    LOCAL("one token", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2),
    LOCAL("tiles that see themselves", 2, 4, 6, 1, 2, 3, 1, 2, 3, 2, 8),
    LOCAL("ragged on all axes", 3, 5, 7, 2, 2, 3, 2, 3, 5, 2, 6),
    LOCAL("ragged, R", 3, 5, 7, 2, 2, 3, 2, 3, 5, 3, 20, 1),
    LOCAL("every axis alone: time", 5, 3, 4, 2, 3, 4, 3, 3, 4, 1, 16),
    LOCAL("every axis alone: rows", 2, 7, 4, 2, 3, 4, 2, 4, 4, 1, 16),
    LOCAL("every axis alone: columns", 2, 3, 9, 2, 3, 2, 2, 3, 5, 1, 16),
    LOCAL("whole grid", 2, 3, 5, 1, 2, 2, 2, 3, 5, 2, 16),
    LOCAL("even tiles, head dim 64", 3, 6, 10, 3, 3, 5, 3, 4, 7, 4, 64),
    LOCAL("even tiles, head dim 128", 4, 8, 8, 2, 4, 4, 3, 6, 6, 3, 128),
    LOCAL("ragged, head dim 128", 3, 7, 9, 2, 3, 4, 3, 5, 6, 2, 128),
    LOCAL("one tile of many", 8, 3, 3, 1, 1, 1, 3, 3, 3, 2, 32),
    CONV("one", 1, 1, 1, 1, 1, 111, 111, 10000, VMT_F32),
    CONV("1x1x1", 2, 3, 5, 7, 4, 111, 111, 10000, VMT_F32),
    CONV("3x3x3", 4, 5, 6, 4, 8, 333, 111, 11111, VMT_F32),
    CONV("1x3x3", 2, 7, 5, 3, 5, 133, 111, 11111, VMT_F32),
    CONV("3x1x1", 5, 3, 4, 6, 12, 311, 111, 10000, VMT_F32),
    CONV("stride 2 down right", 1, 8, 6, 4, 4, 133, 122, 10101, VMT_F32),
    CONV("stride in time", 5, 3, 4, 8, 8, 311, 211, 10000, VMT_F32),
    CONV("channel tails", 3, 6, 9, 17, 35, 333, 111, 11111, VMT_F32),
    CONV("aligned channels", 3, 8, 16, 32, 32, 333, 111, 11111, VMT_F32),
    CONV("bf16 weight", 3, 6, 9, 16, 24, 333, 111, 11111, VMT_BF16),
    LONG_CONV("VAE, 96 channels", 3, 15, 13, 96, 96, 333, 111, 11111, VMT_F32),
    LONG_CONV("VAE, 96 to 192", 3, 7, 10, 96, 192, 333, 111, 11111, VMT_BF16),
    LONG_CONV("VAE, 384 channels", 3, 5, 7, 384, 384, 333, 111, 11111, VMT_F32),
    CONV("VAE, pixels in", 3, 9, 11, 3, 96, 333, 111, 11111, VMT_F32),
    LONG_CONV("VAE, pixels out", 3, 9, 11, 96, 3, 333, 111, 11111, VMT_F32),
    CONV("VAE, latent in", 3, 5, 9, 16, 384, 333, 111, 11111, VMT_F32),
    LONG_CONV("VAE, latent out", 3, 5, 9, 384, 32, 333, 111, 11111, VMT_F32),
    CONV("VAE, several frames", 5, 6, 5, 32, 40, 333, 111, 11111, VMT_F32),
    LONG_CONV("VAE, half, even", 1, 10, 8, 96, 96, 133, 122, 10101, VMT_F32),
    LONG_CONV("VAE, half, odd", 1, 11, 9, 192, 192, 133, 122, 10101, VMT_F32),
    LONG_CONV("VAE, top strip", 1, 7, 12, 192, 96, 133, 111, 11011, VMT_F32),
    LONG_CONV("VAE, bottom strip", 1, 7, 12, 384, 192, 133, 111, 10111, VMT_F32),
    LONG_CONV("VAE, twice the frames", 3, 5, 7, 384, 768, 311, 111, 10000, VMT_F32),
    LONG_CONV("VAE, half the frames", 3, 5, 7, 192, 192, 311, 211, 10000, VMT_F32),
    CONV("VAE, one column", 3, 4, 1, 16, 16, 333, 111, 11111, VMT_F32),
    {"conv3d",
     "integers",
     run_conv3d,
     {3, 6, 9, 16, 24, 333, 111, 11111, VMT_F32},
     FILL_INTEGERS,
     1,
     0,
     1},
    /* sums below 256, which BF16 has exactly */
    {"conv3d",
     "small integers",
     run_conv3d,
     {3, 6, 9, 2, 24, 333, 111, 11111, VMT_F32},
     FILL_INTEGERS,
     1,
     0,
     0},
    {"conv3d",
     "small integers, aligned",
     run_conv3d,
     {5, 6, 9, 8, 24, 311, 111, 10000, VMT_F32},
     FILL_INTEGERS,
     1,
     0,
     0},
};

OP_MAIN(cases)
