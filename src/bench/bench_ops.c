/* SPDX-License-Identifier: MIT
 *
 * Each op that matters by itself: on the host with the shapes of the tiny model and of a block of
 * the 1.3B model at 1950 tokens, on a device at 32760 tokens and with the autoencoder's frames of
 * 832x480.
 */
#include "base/half.h"
#include "bench/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TENSORS = 12 };

typedef struct op_bench {
    vmt_ctx *ctx;
    enum vmt_status status; /* first failure while it was made */
    vmt_tensor tensors[MAX_TENSORS];
    int count;
    vmt_weight weight; /* on the host, as a file's */
    float *weight_data;
    double flop; /* of one call; 0: elements count */
    const int64_t *size;
    char *detail; /* of BENCH_TEXT_BYTES: in place of the sizes, where an op says more */
    enum vmt_status (*call)(struct op_bench *b);
} op_bench;

typedef enum vmt_status op_call(op_bench *b);

static void note(op_bench *b, enum vmt_status status)
{
    if (b->status == VMT_OK)
        b->status = status;
}

/* A tensor of small numbers; letter 'R' or 'A'. */
static vmt_tensor *make(op_bench *b, char letter, int rank, const int64_t *shape)
{
    vmt_ctx *ctx = b->ctx;
    vmt_tensor *t = &b->tensors[b->count++];

    if (b->status == VMT_OK)
        note(b, bench_tensor(ctx, t, letter == 'R' ? ctx->real : ctx->act, rank, shape));
    return t;
}

/* The weight [out, in..], prepared, with its bias. */
static void make_weight(op_bench *b, unsigned use, int rank, const int64_t *shape)
{
    const vmt_tensor w = vmt_tensor_over(NULL, VMT_F32, rank, shape);
    const int64_t count = vmt_numel(&w);
    void *memory = NULL;

    note(b, vmt_alloc(b->ctx, &memory, (size_t)(count + shape[0]), sizeof(float)));
    if (b->status != VMT_OK)
        return;
    b->weight_data = memory;
    bench_fill(b->weight_data, count + shape[0]);
    b->weight.w = w;
    b->weight.w.data = b->weight_data;
    if (b->ctx->act == VMT_BF16) { /* as the file of such a model has it; narrowed in place */
        for (int64_t i = 0; i < count; i++) {
            const uint16_t narrow = vmt_bf16_of_f32(b->weight_data[i]);
            memcpy((unsigned char *)memory + (size_t)i * sizeof narrow, &narrow, sizeof narrow);
        }
        b->weight.w.dtype = VMT_BF16;
    }
    b->weight.bias = vmt_tensor_over(b->weight_data + count, VMT_F32, VMT_SHAPE(shape[0]));
    note(b, vmt_weight_prepare(b->ctx, &b->weight, use));
}

/* ---- the ops; sizes as the comment at each says */

/* N, in, out, epilogue */
static void make_linear(op_bench *b)
{
    const int64_t *s = b->size;
    make(b, 'A', VMT_SHAPE(s[0], s[1]));
    make(b, 'A', VMT_SHAPE(s[0], s[2]));
    make_weight(b, VMT_USE_LINEAR | VMT_USE_BACKWARD, VMT_SHAPE(s[2], s[1]));
    b->flop = 2.0 * (double)(s[0] * s[1] * s[2]);
}

static enum vmt_status call_linear(op_bench *b)
{
    return vmt_linear(b->ctx, &b->tensors[1], &b->tensors[0], &b->weight,
                      (enum vmt_epilogue)b->size[3]);
}

static void make_linear_fp8(op_bench *b)
{
    make_linear(b);
    if (b->ctx->ops->linear_fp8)
        note(b, vmt_weight_prepare(b->ctx, &b->weight,
                                   VMT_USE_LINEAR | VMT_USE_BACKWARD | VMT_USE_FP8));
}

static enum vmt_status call_linear_fp8(op_bench *b)
{
    return vmt_linear_fp8(b->ctx, &b->tensors[1], &b->tensors[0], &b->weight,
                          (enum vmt_epilogue)b->size[3]);
}

static enum vmt_status call_linear_bwd(op_bench *b)
{
    return vmt_linear_bwd(b->ctx, &b->tensors[0], &b->tensors[1], &b->weight);
}

/* N, in, out: a feed-forward's first product with what its backward needs */
static void make_linear_gelu(op_bench *b)
{
    make_linear(b);
    make(b, 'A', VMT_SHAPE(b->size[0], b->size[2]));
}

static enum vmt_status call_linear_gelu(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_linear_gelu(b->ctx, &t[1], &t[2], &t[0], &b->weight);
}

/* N, in, out: the gradient behind GELU, through a product [out, in] */
static void make_linear_bwd_gelu(op_bench *b)
{
    make_linear(b);
    make(b, 'A', VMT_SHAPE(b->size[0], b->size[1]));
}

static enum vmt_status call_linear_bwd_gelu(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_linear_bwd_gelu(b->ctx, &t[0], &t[1], &b->weight, &t[2]);
}

/* Nq, Nk, heads, head_dim */
static void make_attention(op_bench *b)
{
    const int64_t *s = b->size;
    for (int i = 0; i < 4; i++) /* q, o, dout, dq */
        make(b, 'A', VMT_SHAPE(s[0], s[2], s[3]));
    for (int i = 0; i < 4; i++) /* k, v, dk, dv */
        make(b, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    make(b, 'R', VMT_SHAPE(s[2], s[0])); /* lse */
    b->flop = 4.0 * (double)(s[0] * s[1] * s[2] * s[3]);
}

static enum vmt_status call_attention(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_attention(b->ctx, &t[1], &t[8], &t[0], &t[4], &t[5], NULL,
                         1 / sqrt((double)b->size[3]));
}

static void make_attention_bwd(op_bench *b)
{
    make_attention(b);
    note(b, call_attention(b));
    b->flop *= 2.5;
}

static enum vmt_status call_attention_bwd(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_attention_bwd(b->ctx, &t[3], &t[6], &t[7], &t[2], &t[0], &t[4], &t[5], &t[1], &t[8],
                             1 / sqrt((double)b->size[3]));
}

/* grid, tile, box, heads, head_dim */
static vmt_local_geometry local_geometry(const op_bench *b)
{
    const int64_t *s = b->size;
    return (vmt_local_geometry){{s[0], s[1], s[2]}, {s[3], s[4], s[5]}, {s[6], s[7], s[8]}};
}

/* Useful operations: of the queries and the keys they see. */
static void make_attention_local(op_bench *b)
{
    const int64_t *s = b->size, n = s[0] * s[1] * s[2], keys = s[6] * s[7] * s[8];
    for (int i = 0; i < 8; i++) /* q, o, dout, dq, k, v, dk, dv */
        make(b, 'A', VMT_SHAPE(n, s[9], s[10]));
    make(b, 'R', VMT_SHAPE(s[9], n)); /* lse */
    b->flop = 4.0 * (double)(n * keys * s[9] * s[10]);
    snprintf(b->detail, BENCH_TEXT_BYTES,
             "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ", tiles %" PRId64
             "x%" PRId64 "x%" PRId64 ", keys %" PRId64 "x%" PRId64 "x%" PRId64,
             s[0], s[1], s[2], s[9], s[10], s[3], s[4], s[5], s[6], s[7], s[8]);
}

static enum vmt_status call_attention_local(op_bench *b)
{
    const vmt_local_geometry g = local_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_attention_local(b->ctx, &t[1], &t[8], &t[0], &t[4], &t[5], &g,
                               1 / sqrt((double)b->size[10]));
}

static void make_attention_local_bwd(op_bench *b)
{
    make_attention_local(b);
    note(b, b->status == VMT_OK ? call_attention_local(b) : b->status);
    b->flop *= 2.5;
}

static enum vmt_status call_attention_local_bwd(op_bench *b)
{
    const vmt_local_geometry g = local_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_attention_local_bwd(b->ctx, &t[3], &t[6], &t[7], &t[2], &t[0], &t[4], &t[5], &t[1],
                                   &t[8], &g, 1 / sqrt((double)b->size[10]));
}

/* T, H, W, Ci, Co, kt, k */
static void make_conv3d(op_bench *b)
{
    const int64_t *s = b->size, frames = s[0] - s[5] + 1;
    make(b, 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    make(b, 'A', VMT_SHAPE(frames, s[1], s[2], s[4]));
    make_weight(b, VMT_USE_CONV, VMT_SHAPE(s[4], s[3], s[5], s[6], s[6]));
    b->flop = 2.0 * (double)(frames * s[1] * s[2] * s[3] * s[4] * s[5] * s[6] * s[6]);
}

static enum vmt_status call_conv3d(op_bench *b)
{
    const int64_t pad = b->size[6] / 2;
    const vmt_conv_geometry geometry = {1, 1, 1, pad, pad, pad, pad};
    return vmt_conv3d(b->ctx, &b->tensors[1], &b->tensors[0], &b->weight, &geometry);
}

/* N, D */
static void make_norm(op_bench *b)
{
    const int64_t *s = b->size;
    make(b, 'R', VMT_SHAPE(s[0], s[1]));
    make(b, 'A', VMT_SHAPE(s[0], s[1]));
    make(b, 'R', VMT_SHAPE(s[1]));
    make(b, 'R', VMT_SHAPE(s[1]));
}

static enum vmt_status call_norm_modulate(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_norm_modulate(b->ctx, &t[1], &t[0], &t[2], &t[3], 1e-6);
}

static enum vmt_status call_norm_modulate_bwd(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_norm_modulate_bwd_acc(b->ctx, &t[0], &t[1], &t[0], &t[2], 1e-6);
}

static enum vmt_status call_gate_residual(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_gate_residual(b->ctx, &t[0], &t[0], &t[2], &t[1]);
}

static void make_residual_norm(op_bench *b)
{
    make_norm(b);
    make(b, 'A', VMT_SHAPE(b->size[0], b->size[1]));
}

static enum vmt_status call_residual_norm(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_residual_norm_modulate(b->ctx, &t[0], &t[4], &t[0], &t[2], &t[1], &t[2], &t[3],
                                      1e-6);
}

/* N, heads, head_dim */
static void make_rope(op_bench *b)
{
    const int64_t *s = b->size;
    make(b, 'A', VMT_SHAPE(s[0], s[1], s[2]));
    make(b, 'A', VMT_SHAPE(s[0], s[1] * s[2]));
    make(b, 'R', VMT_SHAPE(s[1] * s[2]));
    make(b, 'R', VMT_SHAPE(s[0], s[2] / 2));
    make(b, 'R', VMT_SHAPE(s[0], s[2] / 2));
    make(b, 'A', VMT_SHAPE(s[0], s[1] * s[2]));
}

static enum vmt_status call_rope(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_rms_norm_rope(b->ctx, &t[0], &t[1], &t[2], &t[3], &t[4], 1e-6);
}

static enum vmt_status call_rope_bwd(op_bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_rms_norm_rope_bwd(b->ctx, &t[5], &t[0], &t[1], &t[2], &t[3], &t[4], 1e-6);
}

/* N, D */
static void make_rows(op_bench *b)
{
    for (int i = 0; i < 3; i++)
        make(b, 'A', VMT_SHAPE(b->size[0], b->size[1]));
    make(b, 'R', VMT_SHAPE(b->size[1]));
}

static enum vmt_status call_gelu(op_bench *b)
{
    return vmt_gelu(b->ctx, &b->tensors[1], &b->tensors[0]);
}

static enum vmt_status call_gelu_bwd(op_bench *b)
{
    return vmt_gelu_bwd(b->ctx, &b->tensors[2], &b->tensors[1], &b->tensors[0]);
}

static enum vmt_status call_channel(op_bench *b)
{
    return vmt_rms_norm_channel(b->ctx, &b->tensors[1], &b->tensors[0], &b->tensors[3], true);
}

/* grid_h, grid_w, head_dim, window */
static vmt_flow_geometry flow_geometry(const op_bench *b)
{
    const int64_t *s = b->size;
    return (vmt_flow_geometry){s[0],
                               s[1],
                               3,
                               4,
                               s[3] < s[0] ? s[3] : s[0],
                               s[3] < s[1] ? s[3] : s[1],
                               VMT_POSITIONS_FRAME};
}

/* A tensor of indices, not filled. */
static void make_indices(op_bench *b, int64_t tiles, int64_t entries)
{
    vmt_tensor *t = &b->tensors[b->count++];

    *t = vmt_tensor_over(NULL, VMT_I32, VMT_SHAPE(tiles, entries));
    t->data = b->ctx->ops->alloc(b->ctx, vmt_tensor_bytes(t));
    if (!t->data)
        note(b, vmt_fail(b->ctx, VMT_E_MEMORY, "out of memory: %zu bytes", vmt_tensor_bytes(t)));
}

static void make_flow(op_bench *b)
{
    const int64_t *s = b->size, tokens = s[0] * s[1];
    const vmt_flow_geometry g = flow_geometry(b);

    for (int i = 0; i < 4; i++) /* q, k, dq, dk */
        make(b, 'R', VMT_SHAPE(tokens, s[2]));
    make(b, 'R', VMT_SHAPE(tokens, 2));              /* flow */
    make(b, 'R', VMT_SHAPE(tokens, 2));              /* dflow */
    make_indices(b, vmt_flow_tiles(&g), g.window_h); /* rows */
    make_indices(b, vmt_flow_tiles(&g), g.window_w); /* columns */
    if (b->status != VMT_OK)
        return;
    b->flop = 2.0 * (double)(tokens * tokens * s[2]); /* logits of all pairs, computed or not */
    note(b, vmt_flow_windows(b->ctx, &b->tensors[6], &b->tensors[7], &b->tensors[0], &b->tensors[1],
                             &g, 4));
}

static enum vmt_status call_flow_full(op_bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_full(b->ctx, &t[4], &t[0], &t[1], &g, 4);
}

static enum vmt_status call_flow_full_bwd(op_bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_full_bwd_acc(b->ctx, &t[2], &t[3], &t[5], &t[4], &t[0], &t[1], &g, 4);
}

static enum vmt_status call_flow_windowed(op_bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_windowed(b->ctx, &t[4], &t[0], &t[1], &t[6], &t[7], &g, 4);
}

static enum vmt_status call_flow_windowed_bwd(op_bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_windowed_bwd_acc(b->ctx, &t[2], &t[3], &t[5], &t[4], &t[0], &t[1], &t[6], &t[7],
                                     &g, 4);
}

typedef struct op_row {
    const char *op;
    void (*make)(op_bench *b);
    op_call *call;
    int64_t size[12];
} op_row;

/* Grid, tiles, boxes and heads of 32,760 tokens: a third of the keys, a seventh. */
#define THIRD                                                                                      \
    {                                                                                              \
        21, 30, 52, 21, 10, 13, 21, 20, 26, 12, 128                                                \
    }
#define SEVENTH                                                                                    \
    {                                                                                              \
        21, 30, 52, 7, 10, 13, 13, 14, 25, 12, 128                                                 \
    }

static const op_row rows[] = {
    {"linear", make_linear, call_linear, {540, 256, 256}},
    {"linear", make_linear, call_linear, {540, 256, 640}},
    {"linear", make_linear, call_linear, {540, 640, 256}},
    {"linear+gelu", make_linear, call_linear, {540, 256, 640, VMT_EPILOGUE_GELU}},
    {"linear_fp8", make_linear_fp8, call_linear_fp8, {540, 256, 640}},
    {"linear_bwd", make_linear, call_linear_bwd, {540, 256, 640}},
    {"linear_gelu", make_linear_gelu, call_linear_gelu, {540, 256, 640}},
    {"linear_bwd_gelu", make_linear_bwd_gelu, call_linear_bwd_gelu, {540, 640, 256}},
    {"attention", make_attention, call_attention, {540, 540, 4, 64}},
    {"attention", make_attention, call_attention, {540, 64, 4, 64}},
    {"attention_bwd", make_attention_bwd, call_attention_bwd, {540, 540, 4, 64}},
    {"attention_local",
     make_attention_local,
     call_attention_local,
     {9, 6, 10, 9, 2, 3, 9, 4, 5, 4, 64}},
    {"attention_local_bwd",
     make_attention_local_bwd,
     call_attention_local_bwd,
     {9, 6, 10, 9, 2, 3, 9, 4, 5, 4, 64}},
    {"norm_modulate", make_norm, call_norm_modulate, {540, 256}},
    {"norm_modulate_bwd", make_norm, call_norm_modulate_bwd, {540, 256}},
    {"gate_residual", make_norm, call_gate_residual, {540, 256}},
    {"residual_norm", make_residual_norm, call_residual_norm, {540, 256}},
    {"rms_norm_rope", make_rope, call_rope, {540, 4, 64}},
    {"rms_norm_rope_bwd", make_rope, call_rope_bwd, {540, 4, 64}},
    {"gelu", make_rows, call_gelu, {540, 640}},
    {"gelu_bwd", make_rows, call_gelu_bwd, {540, 640}},
    {"conv3d", make_conv3d, call_conv3d, {3, 96, 160, 16, 16, 3, 3}},
    {"conv3d", make_conv3d, call_conv3d, {3, 48, 80, 32, 32, 3, 3}},
    {"conv3d", make_conv3d, call_conv3d, {3, 24, 40, 64, 64, 3, 3}},
    {"rms_norm_channel", make_rows, call_channel, {15360, 16}},
    {"flow_full", make_flow, call_flow_full, {6, 10, 64, 5}},
    {"flow_full_bwd", make_flow, call_flow_full_bwd, {6, 10, 64, 5}},
    {"linear", make_linear, call_linear, {1950, 1536, 1536}},
    {"linear", make_linear, call_linear, {1950, 1536, 8960}},
    {"linear", make_linear, call_linear, {1950, 8960, 1536}},
    {"linear+gelu", make_linear, call_linear, {1950, 1536, 8960, VMT_EPILOGUE_GELU}},
    {"linear_bwd", make_linear, call_linear_bwd, {1950, 1536, 8960}},
    {"attention", make_attention, call_attention, {1950, 1950, 12, 128}},
    {"attention", make_attention, call_attention, {1950, 512, 12, 128}},
    {"attention_bwd", make_attention_bwd, call_attention_bwd, {1950, 1950, 12, 128}},
    {"attention_local",
     make_attention_local,
     call_attention_local,
     {5, 15, 26, 5, 5, 7, 5, 10, 13, 12, 128}},
    {"attention_local_bwd",
     make_attention_local_bwd,
     call_attention_local_bwd,
     {5, 15, 26, 5, 5, 7, 5, 10, 13, 12, 128}},
    {"norm_modulate", make_norm, call_norm_modulate, {1950, 1536}},
    {"norm_modulate_bwd", make_norm, call_norm_modulate_bwd, {1950, 1536}},
    {"gate_residual", make_norm, call_gate_residual, {1950, 1536}},
    {"rms_norm_rope", make_rope, call_rope, {1950, 12, 128}},
    {"rms_norm_rope_bwd", make_rope, call_rope_bwd, {1950, 12, 128}},
    {"gelu", make_rows, call_gelu, {1950, 8960}},
    {"gelu_bwd", make_rows, call_gelu_bwd, {1950, 8960}},
    {"conv3d", make_conv3d, call_conv3d, {6, 60, 104, 96, 96, 3, 3}},
    {"rms_norm_channel", make_rows, call_channel, {99840, 96}},
    {"flow_full", make_flow, call_flow_full, {30, 52, 128, 21}},
    {"flow_full_bwd", make_flow, call_flow_full_bwd, {30, 52, 128, 21}},
    {"flow_windowed", make_flow, call_flow_windowed, {30, 52, 128, 21}},
    {"flow_windowed_bwd", make_flow, call_flow_windowed_bwd, {30, 52, 128, 21}},
};

static const op_row device_rows[] = {
    {"linear", make_linear, call_linear, {32760, 1536, 1536}},
    {"linear", make_linear, call_linear, {32760, 1536, 8960}},
    {"linear", make_linear, call_linear, {32760, 8960, 1536}},
    {"linear+gelu", make_linear, call_linear, {32760, 1536, 8960, VMT_EPILOGUE_GELU}},
    {"linear_fp8", make_linear_fp8, call_linear_fp8, {32760, 1536, 1536}},
    {"linear_fp8", make_linear_fp8, call_linear_fp8, {32760, 1536, 8960, VMT_EPILOGUE_GELU}},
    {"linear_fp8", make_linear_fp8, call_linear_fp8, {32760, 8960, 1536}},
    {"linear_bwd", make_linear, call_linear_bwd, {32760, 1536, 1536}},
    {"linear_bwd", make_linear, call_linear_bwd, {32760, 1536, 8960}},
    {"linear_bwd", make_linear, call_linear_bwd, {32760, 8960, 1536}},
    {"linear_gelu", make_linear_gelu, call_linear_gelu, {32760, 1536, 8960}},
    {"linear_bwd_gelu", make_linear_bwd_gelu, call_linear_bwd_gelu, {32760, 8960, 1536}},
    {"attention", make_attention, call_attention, {32760, 32760, 12, 128}},
    {"attention", make_attention, call_attention, {32760, 512, 12, 128}},
    {"attention_bwd", make_attention_bwd, call_attention_bwd, {32760, 32760, 12, 128}},
    {"attention_local", make_attention_local, call_attention_local, THIRD},
    {"attention_local_bwd", make_attention_local_bwd, call_attention_local_bwd, THIRD},
    {"attention_local", make_attention_local, call_attention_local, SEVENTH},
    {"attention_local_bwd", make_attention_local_bwd, call_attention_local_bwd, SEVENTH},
    {"attention_bwd", make_attention_bwd, call_attention_bwd, {32760, 512, 12, 128}},
    {"norm_modulate", make_norm, call_norm_modulate, {32760, 1536}},
    {"norm_modulate_bwd", make_norm, call_norm_modulate_bwd, {32760, 1536}},
    {"gate_residual", make_norm, call_gate_residual, {32760, 1536}},
    {"residual_norm", make_residual_norm, call_residual_norm, {32760, 1536}},
    {"rms_norm_rope", make_rope, call_rope, {32760, 12, 128}},
    {"rms_norm_rope_bwd", make_rope, call_rope_bwd, {32760, 12, 128}},
    {"gelu", make_rows, call_gelu, {32760, 8960}},
    {"gelu_bwd", make_rows, call_gelu_bwd, {32760, 8960}},
    {"flow_full", make_flow, call_flow_full, {30, 52, 128, 21}},
    {"flow_full_bwd", make_flow, call_flow_full_bwd, {30, 52, 128, 21}},
    {"flow_windowed", make_flow, call_flow_windowed, {30, 52, 128, 21}},
    {"flow_windowed_bwd", make_flow, call_flow_windowed_bwd, {30, 52, 128, 21}},
    {"conv3d", make_conv3d, call_conv3d, {3, 60, 104, 384, 384, 3, 3}},
    {"conv3d", make_conv3d, call_conv3d, {3, 120, 208, 384, 384, 3, 3}},
    {"conv3d", make_conv3d, call_conv3d, {3, 240, 416, 192, 192, 3, 3}},
    {"conv3d", make_conv3d, call_conv3d, {3, 480, 832, 96, 96, 3, 3}},
    {"rms_norm_channel", make_rows, call_channel, {6240, 384}},
    {"rms_norm_channel", make_rows, call_channel, {99840, 192}},
    {"rms_norm_channel", make_rows, call_channel, {399360, 96}},
};

static enum vmt_status call_op(vmt_ctx *ctx, void *user)
{
    op_bench *o = user;

    (void)ctx;
    return o->call(o);
}

static void release(op_bench *o)
{
    for (int t = 0; t < o->count; t++)
        o->ctx->ops->release(o->ctx, o->tensors[t].data);
    o->ctx->ops->weight_release(o->ctx, &o->weight);
    vmt_free(o->weight_data);
}

static enum vmt_status measure_op(bench *b, const op_row *measured)
{
    char detail[BENCH_TEXT_BYTES] = "";
    op_bench o = {.ctx = b->ctx, .size = measured->size, .detail = detail, .call = measured->call};
    vmt_bench_row row = {.part = "ops", .what = measured->op, .detail = detail};

    for (int s = 0, used = 0; s < 7 && measured->size[s]; s++)
        used += snprintf(detail + used, sizeof detail - (size_t)used, "%s%" PRId64, s ? "x" : "",
                         measured->size[s]);
    measured->make(&o);
    if (o.status == VMT_OK) {
        bench_mark_memory(b);
        o.status = bench_measure(b, &row, call_op, &o);
    }
    row.flop = o.flop;
    if (o.status == VMT_OK && o.flop <= 0)
        row.elements = (double)vmt_numel(&o.tensors[0]);
    const enum vmt_status status = o.status;
    release(&o);
    VMT_TRY(status);
    return bench_tell(b, &row);
}

/* Whether `op` is one of the names in `list`. */
static bool is_named(const char *list, const char *op)
{
    const size_t length = strlen(op);

    for (; list; list = strchr(list, ','), list += list != NULL)
        if (strncmp(list, op, length) == 0 && (list[length] == ',' || list[length] == '\0'))
            return true;
    return false;
}

bool bench_has_ops(const char *list)
{
    size_t asked = 1, found = 0;

    for (const char *c = list; *c; c++)
        asked += *c == ',';
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool first = true; /* row of its name */
        for (size_t j = 0; j < i && first; j++)
            first = strcmp(rows[j].op, rows[i].op) != 0;
        found += first && is_named(list, rows[i].op);
    }
    return found == asked;
}

enum vmt_status bench_ops(bench *b)
{
    const bool on_device = b->ctx->ops->wait != NULL;
    const op_row *const all = on_device ? device_rows : rows;
    const size_t count = on_device ? sizeof device_rows / sizeof *rows : sizeof rows / sizeof *rows;
    const char *only = b->options.op;

    for (size_t i = 0; i < count; i++)
        if (!only || is_named(only, all[i].op))
            VMT_TRY(measure_op(b, &all[i]));
    return VMT_OK;
}
