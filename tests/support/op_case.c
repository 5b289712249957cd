/* SPDX-License-Identifier: MIT */
#include "op_case.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, GUARD_BYTE = 0xa5, MAX_BUFFERS = 32 };

/* A tensor with canaries before and after; a weight if `is_weight`. */
struct op_buffer {
    unsigned char *memory;
    vmt_tensor tensor;
    vmt_weight weight;
    float *weight_data, *bias_data;
    const char *name; /* of an output, else NULL */
    bool is_weight;
};

/* One backend the cases run on. */
struct target {
    const op_case *cases;
    size_t count;
    const char *backend, *dtype;
};

/* ---------------------------------------------------------------- drawing */

static double round_to(enum vmt_dtype dtype, double x)
{
    switch (dtype) {
    case VMT_BF16:
        return (double)vmt_f32_of_bf16(vmt_bf16_of_f32((float)x));
    case VMT_F16:
        return (double)vmt_f32_of_f16(vmt_f16_of_f32((float)x));
    case VMT_F32:
        return (double)(float)x;
    case VMT_F64:
    case VMT_I32:
    case VMT_I64:
    case VMT_U8:
    case VMT_F8_E4M3:
    case VMT_Q8_0:
    case VMT_Q4_0:
    case VMT_Q4_K:
    case VMT_Q5_K:
    case VMT_Q6_K:
        break;
    }
    return x;
}

static void draw(op_run *run, double *values, int64_t count, int64_t row, enum vmt_dtype dtype)
{
    for (int64_t i = 0; i < count; i++) {
        const double u = test_uniform(&run->rng);
        values[i] = run->fill == FILL_INTEGERS                          ? floor(u * 4.5 + 0.5)
                    : run->fill == FILL_ZERO_ROWS && (i / row) % 3 == 0 ? 0
                                                                        : u * run->gain;
        values[i] = round_to(dtype, values[i]);
    }
}

static enum vmt_dtype dtype_of(const op_run *run, char letter)
{
    return letter == 'R' ? run->ctx->real : run->ctx->act;
}

/* ---------------------------------------------------------------- tensors of a run */

static struct op_buffer *add_buffer(op_run *run, enum vmt_dtype dtype, int rank,
                                    const int64_t *shape)
{
    assert_true(run->count < MAX_BUFFERS);
    struct op_buffer *b = &run->buffers[run->count++];
    memset(b, 0, sizeof *b);
    b->tensor = vmt_tensor_over(NULL, dtype, rank, shape);
    const size_t bytes = vmt_tensor_bytes(&b->tensor);
    const int64_t all = (int64_t)bytes + 2 * GUARD;
    b->memory = run->ctx->ops->alloc(run->ctx, (size_t)all);
    assert_non_null(b->memory);
    b->tensor.data = b->memory + GUARD;

    unsigned char *host = malloc((size_t)all);
    assert_non_null(host);
    memset(host, GUARD_BYTE, (size_t)all);
    memset(host + GUARD, 0xff, bytes); /* NaN in every dtype, -1 in I32 */
    const vmt_tensor from = vmt_tensor_over(host, VMT_U8, VMT_SHAPE(all));
    vmt_tensor to = vmt_tensor_over(b->memory, VMT_U8, VMT_SHAPE(all));
    CHECK_OK(run->ctx, vmt_upload(run->ctx, &to, &from));
    free(host);
    return b;
}

static void fill_buffer(op_run *run, struct op_buffer *b, char letter)
{
    const int64_t count = vmt_numel(&b->tensor);
    double *values = malloc((size_t)count * sizeof *values);
    vmt_tensor host = b->tensor;

    assert_non_null(values);
    draw(run, values, count, b->tensor.shape[b->tensor.rank - 1],
         letter == 'R' ? run->round_real : run->round_act);
    host.data = values;
    host.dtype = VMT_F64;
    CHECK_OK(run->ctx, vmt_upload(run->ctx, &b->tensor, &host));
    free(values);
}

vmt_tensor *op_in(op_run *run, char letter, int rank, const int64_t *shape)
{
    struct op_buffer *b = add_buffer(run, dtype_of(run, letter), rank, shape);
    fill_buffer(run, b, letter);
    return &b->tensor;
}

vmt_tensor *op_ints(op_run *run, const int32_t *values, int rank, const int64_t *shape)
{
    struct op_buffer *b = add_buffer(run, VMT_I32, rank, shape);
    int32_t *copy = malloc(vmt_tensor_bytes(&b->tensor));
    vmt_tensor host = b->tensor;

    assert_non_null(copy);
    memcpy(copy, values, vmt_tensor_bytes(&b->tensor));
    host.data = copy;
    CHECK_OK(run->ctx, vmt_upload(run->ctx, &b->tensor, &host));
    free(copy);
    return &b->tensor;
}

vmt_tensor *op_ids(op_run *run, int64_t limit, int rank, const int64_t *shape)
{
    const vmt_tensor like = vmt_tensor_over(NULL, VMT_I32, rank, shape);
    const int64_t count = vmt_numel(&like);
    int32_t *values = malloc((size_t)count * sizeof *values);

    assert_non_null(values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (int32_t)((test_uniform(&run->rng) + 1) / 2 * (double)limit);
    vmt_tensor *ids = op_ints(run, values, rank, shape);
    free(values);
    return ids;
}

vmt_tensor *op_out(op_run *run, const char *name, char letter, int rank, const int64_t *shape)
{
    struct op_buffer *b = add_buffer(run, dtype_of(run, letter), rank, shape);
    b->name = name;
    return &b->tensor;
}

vmt_tensor *op_acc(op_run *run, const char *name, char letter, int rank, const int64_t *shape)
{
    struct op_buffer *b = add_buffer(run, dtype_of(run, letter), rank, shape);
    b->name = name;
    fill_buffer(run, b, letter);
    return &b->tensor;
}

vmt_tensor *op_out_ints(op_run *run, const char *name, int rank, const int64_t *shape)
{
    struct op_buffer *b = add_buffer(run, VMT_I32, rank, shape);
    b->name = name;
    return &b->tensor;
}

/* Values narrowed in place to the weight's dtype; `data` holds floats first. */
static void narrow(float *data, int64_t count, enum vmt_dtype dtype)
{
    uint16_t *half = (uint16_t *)(void *)data;
    for (int64_t i = 0; i < count && dtype != VMT_F32; i++) {
        float x;
        memcpy(&x, data + i, sizeof x);
        const uint16_t h = dtype == VMT_BF16 ? vmt_bf16_of_f32(x) : vmt_f16_of_f32(x);
        memcpy(half + i, &h, sizeof h);
    }
}

static float *draw_floats(op_run *run, int64_t count, int64_t row, enum vmt_dtype dtype)
{
    double *values = malloc((size_t)count * sizeof *values);
    float *data = malloc((size_t)count * sizeof *data);

    assert_non_null(values);
    assert_non_null(data);
    /* Twice rounded: what the file stores must also be what the backend may pack. */
    draw(run, values, count, row, run->round_act);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)round_to(run->round_act, round_to(dtype, values[i]));
    narrow(data, count, dtype);
    free(values);
    return data;
}

vmt_weight *op_weight(op_run *run, unsigned use, enum vmt_dtype dtype, bool bias, int rank,
                      const int64_t *shape)
{
    assert_true(run->count < MAX_BUFFERS);
    struct op_buffer *b = &run->buffers[run->count++];
    memset(b, 0, sizeof *b);
    b->is_weight = true;
    b->weight.w = vmt_tensor_over(NULL, dtype, rank, shape);
    const int64_t count = vmt_numel(&b->weight.w);
    b->weight_data = draw_floats(run, count, count / shape[0], dtype);
    b->weight.w.data = b->weight_data;
    if (bias) {
        b->bias_data = draw_floats(run, shape[0], shape[0], dtype);
        b->weight.bias = vmt_tensor_over(b->bias_data, dtype, VMT_SHAPE(shape[0]));
    }
    if (use)
        CHECK_OK(run->ctx, vmt_weight_prepare(run->ctx, &b->weight, use));
    return &b->weight;
}

/* ---------------------------------------------------------------- one run */

static void open_run(op_run *run, const op_case *c, const char *backend, const char *dtype,
                     int threads, uint64_t seed)
{
    memset(run, 0, sizeof *run);
    run->ctx = test_ctx_open(backend, dtype);
    run->ctx->threads = threads;
    run->round_real = run->ctx->real;
    run->round_act = run->ctx->act;
    run->rng.state = seed;
    run->fill = c->fill;
    run->gain = c->gain > 0 ? c->gain : 1;
    run->size = c->size;
    run->buffers = calloc(MAX_BUFFERS, sizeof *run->buffers);
    assert_non_null(run->buffers);
}

static void close_run(op_run *run)
{
    for (int i = 0; i < run->count; i++) {
        struct op_buffer *b = &run->buffers[i];
        if (b->is_weight)
            run->ctx->ops->weight_release(run->ctx, &b->weight);
        else
            run->ctx->ops->release(run->ctx, b->memory);
        free(b->weight_data);
        free(b->bias_data);
    }
    free(run->buffers);
    test_ctx_close(run->ctx);
}

/* The output's bytes on the host, canaries checked. */
static unsigned char *fetch(op_run *run, const struct op_buffer *b, const char *what)
{
    const size_t bytes = vmt_tensor_bytes(&b->tensor);
    const int64_t all = (int64_t)bytes + 2 * GUARD;
    unsigned char *host = malloc((size_t)all);
    vmt_tensor to = vmt_tensor_over(host, VMT_U8, VMT_SHAPE(all));
    const vmt_tensor from = vmt_tensor_over(b->memory, VMT_U8, VMT_SHAPE(all));

    assert_non_null(host);
    CHECK_OK(run->ctx, vmt_download(run->ctx, &to, &from));
    for (size_t i = 0; i < GUARD; i++)
        if (host[i] != GUARD_BYTE || host[GUARD + bytes + i] != GUARD_BYTE)
            fail_msg("%s: wrote outside a tensor (%s, canary %zu)", what,
                     b->name ? b->name : "an input", i);
    memmove(host, host + GUARD, bytes);
    return host;
}

static double *fetch_doubles(op_run *run, const struct op_buffer *b)
{
    double *values = malloc((size_t)vmt_numel(&b->tensor) * sizeof *values);
    vmt_tensor host = b->tensor;

    assert_non_null(values);
    if (b->tensor.dtype == VMT_I32) {
        int32_t *ints = malloc(vmt_tensor_bytes(&b->tensor));
        assert_non_null(ints);
        host.data = ints;
        CHECK_OK(run->ctx, vmt_download(run->ctx, &host, &b->tensor));
        for (int64_t i = 0; i < vmt_numel(&b->tensor); i++)
            values[i] = ints[i];
        free(ints);
        return values;
    }
    host.data = values;
    host.dtype = VMT_F64;
    CHECK_OK(run->ctx, vmt_download(run->ctx, &host, &b->tensor));
    return values;
}

/* ---------------------------------------------------------------- comparison */

static void same_bits(op_run *a, op_run *b, const char *what, const char *why)
{
    for (int i = 0; i < a->count; i++) {
        if (a->buffers[i].is_weight)
            continue;
        unsigned char *x = fetch(a, &a->buffers[i], what), *y = fetch(b, &b->buffers[i], what);
        const int differ = memcmp(x, y, vmt_tensor_bytes(&a->buffers[i].tensor));
        free(x);
        free(y);
        if (differ)
            fail_msg("%s: %s differs %s", what,
                     a->buffers[i].name ? a->buffers[i].name : "an input", why);
    }
}

/* Size of an output's largest element. */
static double largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

/* Half a step of the output's own dtype, relative. */
static double half_step(enum vmt_dtype dtype)
{
    return dtype == VMT_BF16 ? 0x1p-8 : dtype == VMT_F16 ? 0x1p-11 : dtype == VMT_F32 ? 0x1p-24 : 0;
}

/* Returns the largest error in units of the case's tolerance. */
static double compare(op_run *run, op_run *exact, const op_case *c, const char *what)
{
    double worst = 0;

    for (int i = 0; i < run->count; i++) {
        const struct op_buffer *b = &run->buffers[i];
        if (!b->name)
            continue;
        const enum vmt_dtype dtype = b->tensor.dtype;
        const int64_t count = vmt_numel(&b->tensor);
        double *got = fetch_doubles(run, b);
        double *want = fetch_doubles(exact, &exact->buffers[i]);
        const bool is_bf16 = run->ctx->act == VMT_BF16;
        const double ulps = is_bf16 ? c->ulps_bf16 : c->ulps,
                     scale = fmax(largest(want, count), run->scale);
        const double slack = ulps * (run->ctx->act == VMT_F64 ? 0x1p-52
                                     : is_bf16                ? 0x1p-8
                                                              : 0x1p-23);

        for (int64_t e = 0; e < count; e++) {
            const double limit = slack * scale + half_step(dtype) * fabs(want[e]) * (ulps > 0);
            const double expected = ulps > 0 ? want[e] : round_to(dtype, want[e]);
            const double error = fabs(got[e] - expected);
            if (!(error <= limit))
                fail_msg("%s: %s[%" PRId64 "] of %" PRId64
                         " is %.9g, wanted %.9g: error %.3g, allowed %.3g",
                         what, b->name, e, count, got[e], expected, error, limit);
            if (limit > 0)
                worst = fmax(worst, error / limit);
        }
        free(got);
        free(want);
    }
    return worst;
}

static double run_case(const op_case *c, const struct target *t, uint64_t seed, const char *what)
{
    op_run first, second, third, exact;

    open_run(&first, c, t->backend, t->dtype, 1, seed);
    c->run(&first);
    open_run(&second, c, t->backend, t->dtype, 1, seed);
    c->run(&second);
    same_bits(&first, &second, what, "between two runs");
    close_run(&second);
    open_run(&second, c, t->backend, t->dtype, 3, seed);
    c->run(&second);
    open_run(&third, c, t->backend, t->dtype, 3, seed);
    c->run(&third);
    same_bits(&second, &third, what, "between two runs of three threads");
    close_run(&third);
    if (strncmp(t->backend, "ref", 3) == 0)
        same_bits(&first, &second, what, "with the number of threads");
    open_run(&exact, c, "ref64", NULL, 1, seed);
    exact.round_real = first.round_real;
    exact.round_act = first.round_act;
    c->run(&exact);
    const double worst = fmax(compare(&first, &exact, c, what), compare(&second, &exact, c, what));
    close_run(&exact);
    close_run(&second);
    close_run(&first);
    return worst;
}

static void run_target(void **state)
{
    const struct target *t = *state;
    const char *only = getenv("VMT_OP"), *seed_text = getenv("VMT_SEED");
    const uint64_t base = seed_text ? strtoull(seed_text, NULL, 10) : 1;
    double worst = 0;
    char what[256], worst_what[256] = "none";

    for (size_t i = 0; i < t->count; i++) {
        const op_case *c = &t->cases[i];
        const uint64_t seed = base * 0x9e3779b97f4a7c15u + i;
        char shape[128] = "";
        if (only && strcmp(only, c->op) != 0)
            continue;
        for (int s = 0, used = 0; s < OP_SIZES && c->size[s]; s++)
            used += snprintf(shape + used, sizeof shape - (size_t)used, " %" PRId64, c->size[s]);
        snprintf(what, sizeof what,
                 "op %s (%s), sizes%s, backend %s %s, VMT_SEED=%" PRIu64 " VMT_OP=%s", c->op,
                 c->note, shape, t->backend, t->dtype ? t->dtype : "", base, c->op);
        const double error = run_case(c, t, seed, what);
        if (error > worst) {
            worst = error;
            memcpy(worst_what, what, sizeof what);
        }
    }
    print_message("largest error %.2f of its tolerance: %s\n", worst, worst_what);
}

int op_cases_main(const op_case *cases, size_t count)
{
    static const char *const names[][2] = {{"ref", "f32"},  {"ref", "bf16"}, {"ref64", NULL},
                                           {"cpu", "f32"},  {"cpu", "bf16"}, {"cuda", "f32"},
                                           {"cuda", "bf16"}};
    enum { TARGETS = sizeof names / sizeof names[0] };
    struct target targets[TARGETS];
    struct CMUnitTest tests[TARGETS];
    char labels[TARGETS][32];
    const char *only = getenv("VMT_BACKEND");
    size_t used = 0;

    for (size_t i = 0; i < TARGETS; i++) {
        if (only && strcmp(only, names[i][0]) != 0)
            continue;
        if (!test_backend_built(names[i][0], names[i][1]))
            continue;
        targets[used] = (struct target){cases, count, names[i][0], names[i][1]};
        snprintf(labels[used], sizeof labels[used], "%s %s", names[i][0],
                 names[i][1] ? names[i][1] : "f64");
        tests[used] = (struct CMUnitTest){
            .name = labels[used], .test_func = run_target, .initial_state = &targets[used]};
        used++;
    }
    return _cmocka_run_group_tests("op cases", tests, used, NULL, NULL);
}
