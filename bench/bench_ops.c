/* SPDX-License-Identifier: MIT
 *
 * Time of each op that matters, on the shapes of the tiny model and of a block of the 1.3B model
 * (1950 tokens), beside the best product oneDNN gives on this machine in the same run.
 *
 *     bench_ops [backend] [dtype] [threads] [op]
 *
 * Prints the median of RUNS runs, each long enough to be timed, with the fastest and slowest; then
 * the rate by the clock on the wall, and the rate per second of processor time of all threads,
 * which other programs on the machine disturb less.
 */
#include "tensor/tensor.h"

#ifdef FASTVMT_HAVE_DNNL
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#endif

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 7, MAX_TENSORS = 12 };
static const double MIN_SECONDS = 0.02; /* of one run */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Processor time of all threads. */
static double processor(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- timing */

typedef struct bench {
    vmt_ctx *ctx;
    vmt_tensor tensors[MAX_TENSORS];
    int count;
    vmt_weight weight;
    double flop; /* of one call */
    const int64_t *size;
} bench;

typedef enum vmt_status call_fn(bench *b);

static void check(const vmt_ctx *ctx, enum vmt_status status)
{
    if (status == VMT_OK)
        return;
    fprintf(stderr, "bench_ops: %s\n", ctx->message);
    exit(1);
}

/* Seconds of one call: median, least and most of RUNS; median of processor time. */
static void measure(bench *b, call_fn *call, double seconds[4])
{
    double all[RUNS], used[RUNS];
    int64_t repeats = 1;

    check(b->ctx, call(b)); /* makes primitives and scratch */
    for (;;) {
        const double start = now();
        for (int64_t i = 0; i < repeats; i++)
            check(b->ctx, call(b));
        if (now() - start > MIN_SECONDS)
            break;
        repeats *= 2;
    }
    for (int r = 0; r < RUNS; r++) {
        const double start = now(), spent = processor();
        for (int64_t i = 0; i < repeats; i++)
            check(b->ctx, call(b));
        all[r] = (now() - start) / (double)repeats;
        used[r] = (processor() - spent) / (double)repeats;
    }
    qsort(all, RUNS, sizeof all[0], compare);
    qsort(used, RUNS, sizeof used[0], compare);
    seconds[3] = used[RUNS / 2];
    seconds[0] = all[RUNS / 2];
    seconds[1] = all[0];
    seconds[2] = all[RUNS - 1];
}

/* A tensor of small numbers; letter 'R' or 'A'. */
static vmt_tensor *make(bench *b, char letter, int rank, const int64_t *shape)
{
    const enum vmt_dtype dtype = letter == 'R' ? b->ctx->real : b->ctx->act;
    vmt_tensor *t = &b->tensors[b->count++];
    vmt_tensor host = vmt_tensor_over(NULL, VMT_F32, rank, shape);
    const int64_t count = vmt_numel(&host);
    float *values = malloc((size_t)count * sizeof *values);

    *t = vmt_tensor_over(NULL, dtype, rank, shape);
    t->data = b->ctx->ops->alloc(b->ctx, vmt_tensor_bytes(t));
    host.data = values;
    if (!values || !t->data) {
        fprintf(stderr, "bench_ops: out of memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((i * 2654435761u >> 8) % 2048) / 1024 - 1;
    check(b->ctx, vmt_upload(b->ctx, t, &host));
    free(values);
    return t;
}

/* ---- the ops; sizes as the comment at each says */

/* N, in, out, epilogue */
static void make_linear(bench *b)
{
    const int64_t *s = b->size;
    make(b, 'A', VMT_SHAPE(s[0], s[1]));
    make(b, 'A', VMT_SHAPE(s[0], s[2]));
    b->weight.w = *make(b, 'A', VMT_SHAPE(s[2], s[1]));
    b->weight.bias = *make(b, 'R', VMT_SHAPE(s[2]));
    check(b->ctx, vmt_weight_prepare(b->ctx, &b->weight, VMT_USE_LINEAR | VMT_USE_BACKWARD));
    b->flop = 2.0 * (double)(s[0] * s[1] * s[2]);
}

static enum vmt_status call_linear(bench *b)
{
    return vmt_linear(b->ctx, &b->tensors[1], &b->tensors[0], &b->weight,
                      (enum vmt_epilogue)b->size[3]);
}

static enum vmt_status call_linear_bwd(bench *b)
{
    return vmt_linear_bwd(b->ctx, &b->tensors[0], &b->tensors[1], &b->weight);
}

/* Nq, Nk, heads, head_dim */
static void make_attention(bench *b)
{
    const int64_t *s = b->size;
    for (int i = 0; i < 4; i++) /* q, o, dout, dq */
        make(b, 'A', VMT_SHAPE(s[0], s[2], s[3]));
    for (int i = 0; i < 4; i++) /* k, v, dk, dv */
        make(b, 'A', VMT_SHAPE(s[1], s[2], s[3]));
    make(b, 'R', VMT_SHAPE(s[2], s[0])); /* lse */
    b->flop = 4.0 * (double)(s[0] * s[1] * s[2] * s[3]);
}

static enum vmt_status call_attention(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_attention(b->ctx, &t[1], &t[8], &t[0], &t[4], &t[5], NULL,
                         1 / sqrt((double)b->size[3]));
}

static void make_attention_bwd(bench *b)
{
    make_attention(b);
    check(b->ctx, call_attention(b));
    b->flop *= 2.5;
}

static enum vmt_status call_attention_bwd(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_attention_bwd(b->ctx, &t[3], &t[6], &t[7], &t[2], &t[0], &t[4], &t[5], &t[1], &t[8],
                             1 / sqrt((double)b->size[3]));
}

/* T, H, W, Ci, Co, kt, k */
static void make_conv3d(bench *b)
{
    const int64_t *s = b->size, frames = s[0] - s[5] + 1;
    make(b, 'A', VMT_SHAPE(s[0], s[1], s[2], s[3]));
    make(b, 'A', VMT_SHAPE(frames, s[1], s[2], s[4]));
    b->weight.w = *make(b, 'A', VMT_SHAPE(s[4], s[3], s[5], s[6], s[6]));
    b->weight.bias = *make(b, 'R', VMT_SHAPE(s[4]));
    check(b->ctx, vmt_weight_prepare(b->ctx, &b->weight, VMT_USE_CONV));
    b->flop = 2.0 * (double)(frames * s[1] * s[2] * s[3] * s[4] * s[5] * s[6] * s[6]);
}

static enum vmt_status call_conv3d(bench *b)
{
    const int64_t pad = b->size[6] / 2;
    const vmt_conv_geometry geometry = {1, 1, 1, pad, pad, pad, pad};
    return vmt_conv3d(b->ctx, &b->tensors[1], &b->tensors[0], &b->weight, &geometry);
}

/* N, D */
static void make_norm(bench *b)
{
    const int64_t *s = b->size;
    make(b, 'R', VMT_SHAPE(s[0], s[1]));
    make(b, 'A', VMT_SHAPE(s[0], s[1]));
    make(b, 'R', VMT_SHAPE(s[1]));
    make(b, 'R', VMT_SHAPE(s[1]));
}

static enum vmt_status call_norm_modulate(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_norm_modulate(b->ctx, &t[1], &t[0], &t[2], &t[3], 1e-6);
}

static enum vmt_status call_norm_modulate_bwd(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_norm_modulate_bwd_acc(b->ctx, &t[0], &t[1], &t[0], &t[2], 1e-6);
}

static enum vmt_status call_gate_residual(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_gate_residual(b->ctx, &t[0], &t[0], &t[2], &t[1]);
}

/* N, heads, head_dim */
static void make_rope(bench *b)
{
    const int64_t *s = b->size;
    make(b, 'A', VMT_SHAPE(s[0], s[1], s[2]));
    make(b, 'A', VMT_SHAPE(s[0], s[1] * s[2]));
    make(b, 'R', VMT_SHAPE(s[1] * s[2]));
    make(b, 'R', VMT_SHAPE(s[0], s[2] / 2));
    make(b, 'R', VMT_SHAPE(s[0], s[2] / 2));
    make(b, 'A', VMT_SHAPE(s[0], s[1] * s[2]));
}

static enum vmt_status call_rope(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_rms_norm_rope(b->ctx, &t[0], &t[1], &t[2], &t[3], &t[4], 1e-6);
}

static enum vmt_status call_rope_bwd(bench *b)
{
    vmt_tensor *t = b->tensors;
    return vmt_rms_norm_rope_bwd(b->ctx, &t[5], &t[0], &t[1], &t[2], &t[3], &t[4], 1e-6);
}

/* N, D */
static void make_rows(bench *b)
{
    for (int i = 0; i < 3; i++)
        make(b, 'A', VMT_SHAPE(b->size[0], b->size[1]));
    make(b, 'R', VMT_SHAPE(b->size[1]));
}

static enum vmt_status call_gelu(bench *b)
{
    return vmt_gelu(b->ctx, &b->tensors[1], &b->tensors[0]);
}

static enum vmt_status call_gelu_bwd(bench *b)
{
    return vmt_gelu_bwd(b->ctx, &b->tensors[2], &b->tensors[1], &b->tensors[0]);
}

static enum vmt_status call_channel(bench *b)
{
    return vmt_rms_norm_channel(b->ctx, &b->tensors[1], &b->tensors[0], &b->tensors[3], true);
}

/* grid_h, grid_w, head_dim, window */
static vmt_flow_geometry flow_geometry(const bench *b)
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

static void make_flow(bench *b)
{
    const int64_t *s = b->size, tokens = s[0] * s[1];
    const vmt_flow_geometry g = flow_geometry(b);
    static int32_t rows[1 << 16], cols[1 << 16];
    for (int i = 0; i < 4; i++) /* q, k, dq, dk */
        make(b, 'R', VMT_SHAPE(tokens, s[2]));
    make(b, 'R', VMT_SHAPE(tokens, 2)); /* flow */
    make(b, 'R', VMT_SHAPE(tokens, 2)); /* dflow */
    b->tensors[6] = vmt_tensor_over(rows, VMT_I32, VMT_SHAPE(vmt_flow_tiles(&g), g.window_h));
    b->tensors[7] = vmt_tensor_over(cols, VMT_I32, VMT_SHAPE(vmt_flow_tiles(&g), g.window_w));
    b->flop = 2.0 * (double)(tokens * tokens * s[2]);
    check(b->ctx, vmt_flow_windows(b->ctx, &b->tensors[6], &b->tensors[7], &b->tensors[0],
                                   &b->tensors[1], &g, 4));
}

static enum vmt_status call_flow_full(bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_full(b->ctx, &t[4], &t[0], &t[1], &g, 4);
}

static enum vmt_status call_flow_full_bwd(bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_full_bwd_acc(b->ctx, &t[2], &t[3], &t[5], &t[4], &t[0], &t[1], &g, 4);
}

static enum vmt_status call_flow_windowed(bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_windowed(b->ctx, &t[4], &t[0], &t[1], &t[6], &t[7], &g, 4);
}

static enum vmt_status call_flow_windowed_bwd(bench *b)
{
    const vmt_flow_geometry g = flow_geometry(b);
    vmt_tensor *t = b->tensors;
    return vmt_flow_windowed_bwd_acc(b->ctx, &t[2], &t[3], &t[5], &t[4], &t[0], &t[1], &t[6], &t[7],
                                     &g, 4);
}

static const struct {
    const char *op;
    void (*make)(bench *b);
    call_fn *call;
    int64_t size[8];
} rows[] = {
    {"linear", make_linear, call_linear, {540, 256, 256}},
    {"linear", make_linear, call_linear, {540, 256, 640}},
    {"linear", make_linear, call_linear, {540, 640, 256}},
    {"linear+gelu", make_linear, call_linear, {540, 256, 640, VMT_EPILOGUE_GELU}},
    {"linear_bwd", make_linear, call_linear_bwd, {540, 256, 640}},
    {"attention", make_attention, call_attention, {540, 540, 4, 64}},
    {"attention", make_attention, call_attention, {540, 64, 4, 64}},
    {"attention_bwd", make_attention_bwd, call_attention_bwd, {540, 540, 4, 64}},
    {"norm_modulate", make_norm, call_norm_modulate, {540, 256}},
    {"norm_modulate_bwd", make_norm, call_norm_modulate_bwd, {540, 256}},
    {"gate_residual", make_norm, call_gate_residual, {540, 256}},
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

static void bench_row(vmt_ctx *ctx, size_t i)
{
    bench b = {.ctx = ctx, .size = rows[i].size};
    char shape[96] = "";
    double seconds[4];

    rows[i].make(&b);
    measure(&b, rows[i].call, seconds);
    for (int s = 0, used = 0; s < 7 && rows[i].size[s]; s++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%" PRId64, s ? "x" : "",
                         rows[i].size[s]);
    printf("%-18s %-22s %10.3f ms  (%.3f to %.3f)", rows[i].op, shape, seconds[0] * 1e3,
           seconds[1] * 1e3, seconds[2] * 1e3);
    if (b.flop > 0)
        printf("  %7.1f GFLOP/s wall, %7.1f processor\n", b.flop / seconds[0] * 1e-9,
               b.flop / seconds[3] * 1e-9);
    else
        printf("  %7.2f ns/element wall, %7.2f processor\n",
               seconds[0] * 1e9 / (double)vmt_numel(&b.tensors[0]),
               seconds[3] * 1e9 / (double)vmt_numel(&b.tensors[0]));
    for (int t = 0; t < b.count; t++)
        ctx->ops->release(ctx, b.tensors[t].data);
    ctx->ops->weight_release(ctx, &b.weight);
}

/* ---- the yardstick: oneDNN's product on a weight in its own order */

#ifdef FASTVMT_HAVE_DNNL
typedef struct yardstick {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_exec_arg_t args[3];
} yardstick;

static void check_dnnl(dnnl_status_t status)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "bench_ops: oneDNN status %d\n", (int)status);
    exit(1);
}

static void print_yardstick(const vmt_ctx *ctx, int64_t m, int64_t k, int64_t n)
{
    const dnnl_data_type_t type = ctx->act == VMT_BF16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_dims_t dims[3] = {{m, k}, {k, n}, {m, n}};
    const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_memory_desc_t descs[3];
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t desc;
    dnnl_engine_t engine;
    yardstick y;
    double best = INFINITY, least = INFINITY;

    omp_set_num_threads(ctx->threads);
    check_dnnl(dnnl_engine_create(&engine, dnnl_cpu, 0));
    check_dnnl(dnnl_stream_create(&y.stream, engine, dnnl_stream_default_flags));
    for (int i = 0; i < 3; i++)
        check_dnnl(dnnl_memory_desc_init_by_tag(&descs[i], 2, dims[i], type,
                                                i == 1 ? dnnl_format_tag_any : dnnl_ab));
    check_dnnl(dnnl_matmul_desc_init(&operation, &descs[0], &descs[1], NULL, &descs[2]));
    check_dnnl(dnnl_primitive_desc_create(&desc, &operation, NULL, engine, NULL));
    descs[1] = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    check_dnnl(dnnl_primitive_create(&y.primitive, desc));
    for (int i = 0; i < 3; i++) {
        y.args[i].arg = names[i];
        check_dnnl(dnnl_memory_create(&y.args[i].memory, &descs[i], engine, DNNL_MEMORY_ALLOCATE));
        void *data = NULL;
        check_dnnl(dnnl_memory_get_data_handle(y.args[i].memory, &data));
        memset(data, 0, dnnl_memory_desc_get_size(&descs[i]));
    }
    for (int r = 0; r < 5 * RUNS; r++) {
        const double start = now(), spent = processor();
        check_dnnl(dnnl_primitive_execute(y.primitive, y.stream, 3, y.args));
        check_dnnl(dnnl_stream_wait(y.stream));
        best = fmin(best, now() - start);
        least = fmin(least, processor() - spent);
    }
    printf("oneDNN matmul      %" PRId64 "x%" PRId64 "x%" PRId64
           ", best: %.1f GFLOP/s wall, %.1f processor\n",
           m, k, n, 2e-9 * (double)(m * k * n) / best, 2e-9 * (double)(m * k * n) / least);
    for (int i = 0; i < 3; i++)
        dnnl_memory_destroy(y.args[i].memory);
    dnnl_primitive_destroy(y.primitive);
    dnnl_primitive_desc_destroy(desc);
    dnnl_stream_destroy(y.stream);
    dnnl_engine_destroy(engine);
}
#endif

int main(int argc, char **argv)
{
    const char *only = argc > 4 ? argv[4] : NULL;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    ctx.threads = argc > 3 ? atoi(argv[3]) : 0;
    check(&ctx, vmt_backend_open(&ctx, argc > 1 ? argv[1] : "auto", argc > 2 ? argv[2] : "auto"));
    printf("backend %s, %s, %d threads\n", ctx.ops->name, vmt_dtype_name(ctx.act), ctx.threads);
#ifdef FASTVMT_HAVE_DNNL
    print_yardstick(&ctx, 1950, 1536, 1536);
#endif
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!only || strcmp(only, rows[i].op) == 0)
            bench_row(&ctx, i);
    ctx.ops->close(&ctx);
    return 0;
}
