/* SPDX-License-Identifier: MIT */
#include "golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCKS = 256 };

struct golden {
    vmt_ctx *ctx;
    vmt_tensor_file *file;
    char name[64];
    void *blocks[MAX_BLOCKS];
    int count;
};

golden *golden_open(vmt_ctx *ctx, const char *name)
{
    golden *g = calloc(1, sizeof *g);
    char path[4096];

    assert_non_null(g);
    g->ctx = ctx;
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", TEST_DATA, name);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &g->file, path));
    return g;
}

void golden_close(golden *g)
{
    for (int i = 0; i < g->count; i++)
        g->ctx->ops->release(g->ctx, g->blocks[i]);
    vmt_tensor_file_close(g->file);
    free(g);
}

const vmt_tensor_file *golden_file(const golden *g)
{
    return g->file;
}

int64_t golden_int(const golden *g, const char *key)
{
    int64_t value = 0;
    CHECK_OK(g->ctx, vmt_tensor_file_meta_int(g->ctx, g->file, key, NULL, &value));
    return value;
}

void golden_sizes(const golden *g, const char *key, int64_t *sizes, int count)
{
    const char *text = vmt_tensor_file_meta(g->file, key);

    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        char *end;
        sizes[i] = strtoll(text, &end, 10);
        assert_true(end != text && *end == (i + 1 < count ? 'x' : '\0'));
        text = end + 1;
    }
}

static const vmt_tensor *find(const golden *g, const char *name)
{
    const vmt_tensor *t = vmt_tensor_file_find(g->file, name);
    if (!t)
        fail_msg("%s holds no tensor %s", g->name, name);
    return t;
}

vmt_tensor golden_new(golden *g, enum vmt_dtype dtype, int rank, const int64_t *shape)
{
    vmt_tensor t = vmt_tensor_over(NULL, dtype, rank, shape);
    const size_t bytes = vmt_tensor_bytes(&t);

    assert_true(g->count < MAX_BLOCKS);
    t.data = g->blocks[g->count++] = g->ctx->ops->alloc(g->ctx, bytes);
    assert_non_null(t.data);
    vmt_tensor as_bytes = vmt_tensor_over(t.data, VMT_U8, VMT_SHAPE((int64_t)bytes));
    vmt_tensor nans = as_bytes;
    nans.data = malloc(bytes);
    assert_non_null(nans.data);
    memset(nans.data, 0xff, bytes);
    CHECK_OK(g->ctx, vmt_upload(g->ctx, &as_bytes, &nans));
    free(nans.data);
    return t;
}

vmt_tensor golden_zeros(golden *g, enum vmt_dtype dtype, int rank, const int64_t *shape)
{
    vmt_tensor t = golden_new(g, dtype, rank, shape);
    CHECK_OK(g->ctx, vmt_zero(g->ctx, &t));
    return t;
}

static vmt_tensor load(golden *g, const char *name, enum vmt_dtype dtype, int rank,
                       const int64_t *shape)
{
    const vmt_tensor *stored = find(g, name);
    vmt_tensor t = golden_new(g, dtype, rank, shape);

    assert_int_equal(vmt_numel(stored), vmt_numel(&t));
    const vmt_tensor host = vmt_reshape(stored, rank, shape);
    CHECK_OK(g->ctx, vmt_upload(g->ctx, &t, &host));
    return t;
}

vmt_tensor golden_real(golden *g, const char *name, int rank, const int64_t *shape)
{
    return load(g, name, g->ctx->real, rank, shape);
}

vmt_tensor golden_act(golden *g, const char *name, int rank, const int64_t *shape)
{
    return load(g, name, g->ctx->act, rank, shape);
}

vmt_weight golden_weight(golden *g, const char *name)
{
    vmt_weight w = {0};
    char full[256];
    const vmt_tensor *bias;

    snprintf(full, sizeof full, "%s.weight", name);
    w.w = *find(g, full);
    snprintf(full, sizeof full, "%s.bias", name);
    bias = vmt_tensor_file_find(g->file, full);
    if (bias)
        w.bias = *bias;
    return w;
}

void golden_check(golden *g, const char *name, const vmt_tensor *got, double tolerance)
{
    const vmt_tensor *want = find(g, name);
    const int64_t count = vmt_numel(want);
    double *values = malloc((size_t)count * sizeof *values), worst = 0, most = 0;
    const float *expected = want->data;
    int64_t at = 0;

    assert_non_null(values);
    assert_int_equal(want->dtype, VMT_F32);
    if (vmt_numel(got) != count)
        fail_msg("%s %s: %" PRId64 " elements, wanted %" PRId64, g->name, name, vmt_numel(got),
                 count);
    vmt_tensor host = vmt_tensor_over(values, VMT_F64, got->rank, got->shape);
    CHECK_OK(g->ctx, vmt_download(g->ctx, &host, got));
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs(values[i] - (double)expected[i]);
        most = fmax(most, fabs((double)expected[i]));
        if (!(error <= worst)) {
            worst = error;
            at = i;
        }
    }
    if (g->ctx->real == VMT_F64)
        tolerance = most * 0x1p-22 + 1e-12;
    if (!(worst <= tolerance))
        fail_msg("%s %s on %s: [%" PRId64 "] is %.9g, wanted %.9g: error %.3g, allowed %.3g",
                 g->name, name, g->ctx->ops->name, at, values[at], (double)expected[at], worst,
                 tolerance);
    print_message("%-12s %-22s %-6s error %.2g of %.2g\n", g->name, name, g->ctx->ops->name, worst,
                  tolerance);
    free(values);
}

/* Backend and dtype, as the state of a test. */
struct target {
    const char *backend, *dtype;
};

vmt_ctx *golden_ctx(void **state)
{
    const struct target *target = *state;
    return test_ctx_open(target->backend, target->dtype);
}

static int run_on(struct target *targets, size_t target_count, const struct CMUnitTest *tests,
                  size_t count)
{
    enum { MAX_TESTS = 16 };
    int failed = 0;

    for (size_t i = 0; i < target_count; i++) {
        struct CMUnitTest own[MAX_TESTS];
        if (count > MAX_TESTS || !test_backend_built(targets[i].backend, targets[i].dtype))
            continue;
        for (size_t t = 0; t < count; t++) {
            own[t] = tests[t];
            own[t].initial_state = &targets[i];
        }
        failed += _cmocka_run_group_tests(targets[i].backend, own, count, NULL, NULL);
    }
    return failed;
}

int golden_backends_main(const struct CMUnitTest *tests, size_t count)
{
    struct target targets[] = {{"ref", "f32"}, {"ref64", NULL}, {"cpu", "f32"}, {"cuda", "f32"}};

    return run_on(targets, sizeof targets / sizeof *targets, tests, count);
}

int golden_dtypes_main(const struct CMUnitTest *tests, size_t count)
{
    struct target targets[] = {
        {"ref", "f32"}, {"cpu", "f32"}, {"cpu", "bf16"}, {"cuda", "f32"}, {"cuda", "bf16"}};

    return run_on(targets, sizeof targets / sizeof *targets, tests, count);
}
