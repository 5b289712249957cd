/* SPDX-License-Identifier: MIT
 *
 * Attention on several threads, again and again on the same tensors: the bits stay the same, with
 * own kernels for any number of threads.  Through oneDNN (level amx) the shapes need scratchpads of
 * different sizes, so that threads which share one by mistake disturb each other.  And the turns
 * that threads take in a sum, where most of them have to sleep: one that is not woken hangs.
 */
#include "testing.h"

#ifdef FASTVMT_HAVE_DNNL
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_turn.h"

#include <time.h>
#endif

#include <stdlib.h>
#include <string.h>

enum { TOKENS = 240, HEAD_DIM = 64, MAX_HEADS = 2, REPEATS = 400, THREADS = 3 };
enum { COUNT = TOKENS * MAX_HEADS * HEAD_DIM };
enum { Q, K, V, O, DOUT, DQ, DK, DV, TENSORS };

struct tensors {
    vmt_tensor t[TENSORS], lse;
};

static void make(vmt_ctx *ctx, struct tensors *x, int64_t heads)
{
    test_rng rng = {.state = 88172645463325252u};
    float *values = calloc(COUNT, sizeof *values);

    assert_non_null(values);
    for (int i = 0; i < TENSORS; i++) {
        x->t[i] = vmt_tensor_over(NULL, ctx->act, VMT_SHAPE(TOKENS, heads, HEAD_DIM));
        x->t[i].data = ctx->ops->alloc(ctx, vmt_tensor_bytes(&x->t[i]));
        assert_non_null(x->t[i].data);
        for (int64_t e = 0; e < vmt_numel(&x->t[i]); e++)
            values[e] = (float)test_uniform(&rng);
        const vmt_tensor host =
            vmt_tensor_over(values, VMT_F32, VMT_SHAPE(TOKENS, heads, HEAD_DIM));
        CHECK_OK(ctx, vmt_upload(ctx, &x->t[i], &host));
    }
    x->lse = vmt_tensor_over(NULL, VMT_F32, VMT_SHAPE(heads, TOKENS));
    x->lse.data = ctx->ops->alloc(ctx, vmt_tensor_bytes(&x->lse));
    assert_non_null(x->lse.data);
    free(values);
}

/* Threads of run r; oneDNN's attention splits its sums by their number. */
static int threads_of(const vmt_ctx *ctx, int r)
{
#ifdef FASTVMT_HAVE_DNNL
    static const int counts[] = {THREADS, 1, 2, 5};
    if (strcmp(vmt_backend_cpu_level(ctx), "amx") != 0)
        return counts[r % 4];
#endif
    (void)ctx, (void)r;
    return THREADS;
}

static void repeat(const char *dtype, int64_t heads)
{
    struct tensors x;
    unsigned char *first[TENSORS] = {0};

    if (!test_backend_built("cpu", dtype))
        return;
    vmt_ctx *ctx = test_ctx_open("cpu", dtype);
    make(ctx, &x, heads);
    for (int r = 0; r < REPEATS; r++) {
        ctx->threads = threads_of(ctx, r);
        CHECK_OK(ctx, vmt_attention(ctx, &x.t[O], &x.lse, &x.t[Q], &x.t[K], &x.t[V], NULL, 0.125));
        CHECK_OK(ctx, vmt_attention_bwd(ctx, &x.t[DQ], &x.t[DK], &x.t[DV], &x.t[DOUT], &x.t[Q],
                                        &x.t[K], &x.t[V], &x.t[O], &x.lse, 0.125));
        for (int i = 0; i < TENSORS; i++) {
            const size_t bytes = vmt_tensor_bytes(&x.t[i]);
            if (r == 0) {
                first[i] = malloc(bytes);
                assert_non_null(first[i]);
                memcpy(first[i], x.t[i].data, bytes);
            } else if (memcmp(first[i], x.t[i].data, bytes) != 0) {
                fail_msg("%s, %d heads: tensor %d differs in run %d", dtype, (int)heads, i, r);
            }
        }
    }
    for (int i = 0; i < TENSORS; i++) {
        ctx->ops->release(ctx, x.t[i].data);
        free(first[i]);
    }
    ctx->ops->release(ctx, x.lse.data);
    test_ctx_close(ctx);
}

static void test_one_head_bf16(void **state)
{
    (void)state;
    repeat("bf16", 1);
}

static void test_two_heads_bf16(void **state)
{
    (void)state;
    repeat("bf16", 2);
}

static void test_one_head_f32(void **state)
{
    (void)state;
    repeat("f32", 1);
}

static void test_two_heads_f32(void **state)
{
    (void)state;
    repeat("f32", 2);
}

#ifdef FASTVMT_HAVE_DNNL
enum { TAKERS = 8, TURNS = 4000, PAUSE_EVERY = 50 };

/* What the takers share; `next` and `order` are guarded by the turns alone. */
static struct turns {
    cpu_queue queue;
    atomic_int turn;
    int next, order[TURNS];
} turns;

/* Turns first, first + TAKERS, …  Now and then one keeps the others waiting for 1 ms. */
static void *take_turns(void *first)
{
    for (int t = *(const int *)first; t < TURNS; t += TAKERS) {
        cpu_turn_await(&turns.queue, &turns.turn, t);
        if (t % PAUSE_EVERY == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        turns.order[turns.next++] = t;
        cpu_turn_pass(&turns.queue, &turns.turn, t + 1);
    }
    return NULL;
}

static void test_turns(void **state)
{
    pthread_t threads[TAKERS];
    int first[TAKERS];

    (void)state;
    atomic_init(&turns.turn, 0);
    cpu_queue_open(&turns.queue);
    for (int i = 0; i < TAKERS; i++) {
        first[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &first[i]), 0);
    }
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    cpu_queue_close(&turns.queue);
    assert_int_equal(turns.next, TURNS);
    for (int t = 0; t < TURNS; t++)
        assert_int_equal(turns.order[t], t);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_head_bf16), cmocka_unit_test(test_two_heads_bf16),
        cmocka_unit_test(test_one_head_f32),  cmocka_unit_test(test_two_heads_f32),
#ifdef FASTVMT_HAVE_DNNL
        cmocka_unit_test(test_turns),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
