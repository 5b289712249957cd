/* SPDX-License-Identifier: MIT
 *
 * Attention of many query blocks on several threads at once: each needs scratch of its own. Against
 * ref, and the same bits every time.
 */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 240, KEYS = 240, HEADS = 1, HEAD_DIM = 64, ROUNDS = 1000, THREADS = 2 };

static vmt_tensor random_tensor(vmt_ctx *ctx, test_rng *rng, int64_t rows)
{
    const int64_t count = rows * HEADS * HEAD_DIM;
    float *host = malloc((size_t)count * sizeof *host);
    void *data = ctx->ops->alloc(ctx, (size_t)count * vmt_dtype_bytes(ctx->act));

    assert_non_null(host);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        host[i] = (float)test_uniform(rng);
    vmt_tensor t = vmt_tensor_over(data, ctx->act, VMT_SHAPE(rows, HEADS, HEAD_DIM));
    const vmt_tensor source = vmt_tensor_over(host, VMT_F32, VMT_SHAPE(rows, HEADS, HEAD_DIM));
    CHECK_OK(ctx, vmt_upload(ctx, &t, &source));
    free(host);
    return t;
}

/* One attention into `out`, float on the host. */
static void attend(const char *backend, const char *dtype, int threads, float *out, int rounds)
{
    vmt_ctx *ctx = test_ctx_open_threads(backend, dtype, threads);
    test_rng rng = {.state = 11};
    const vmt_tensor q = random_tensor(ctx, &rng, QUERIES), k = random_tensor(ctx, &rng, KEYS),
                     v = random_tensor(ctx, &rng, KEYS);
    vmt_tensor o = random_tensor(ctx, &rng, QUERIES);
    float *again = malloc(sizeof(float) * QUERIES * HEADS * HEAD_DIM);

    for (int i = 0; i < rounds; i++) {
        vmt_tensor host =
            vmt_tensor_over(i ? again : out, VMT_F32, VMT_SHAPE(QUERIES, HEADS, HEAD_DIM));
        CHECK_OK(ctx, vmt_attention(ctx, &o, NULL, &q, &k, &v, NULL, 1.0 / sqrt(HEAD_DIM)));
        CHECK_OK(ctx, vmt_download(ctx, &host, &o));
        if (i)
            assert_memory_equal(out, again, sizeof(float) * QUERIES * HEADS * HEAD_DIM);
    }
    free(again);
    for (int i = 0; i < 4; i++)
        ctx->ops->release(ctx, ((const vmt_tensor *const[]){&q, &k, &v, &o})[i]->data);
    test_ctx_close(ctx);
}

static void compare(const char *dtype, double tolerance)
{
    static float want[QUERIES * HEADS * HEAD_DIM], got[QUERIES * HEADS * HEAD_DIM];
    double largest = 0;

    attend("ref", dtype, 1, want, 1);
    attend("cpu", dtype, THREADS, got, ROUNDS);
    for (int i = 0; i < QUERIES * HEADS * HEAD_DIM; i++)
        largest = fmax(largest, fabs((double)got[i] - (double)want[i]));
    print_message("%s: largest difference %.3g of %.3g\n", dtype, largest, tolerance);
    assert_true(largest <= tolerance);
}

/* Values up to 1: float sums of 240 terms; bf16 rounds the result and the probabilities to 2^-9
 * each. */
static void many_blocks_f32(void **state)
{
    (void)state;
    compare("f32", 2e-6);
}

static void many_blocks_bf16(void **state)
{
    (void)state;
    compare("bf16", 4.0 / 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_blocks_f32),
        cmocka_unit_test(many_blocks_bf16),
    };
#ifndef FASTVMT_HAVE_DNNL
    return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
