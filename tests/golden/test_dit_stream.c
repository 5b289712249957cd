/* SPDX-License-Identifier: MIT
 *
 * Blocks of the DiT that come and go give the bits that resident ones give, at each level of
 * recomputation, and take the memory that is said; so do saved tensors that go to the host, and
 * feed-forwards of some tokens at a time.
 */
#include "golden.h"

#include "dit/dit_internal.h"

#include <math.h>
#include <string.h>

enum { LEVELS = 3, LAYERS = 3 };

/* Every weight that is packed goes through here. */
static struct {
    vmt_ops ops;
    const vmt_ops *real;
    size_t now, most;
    int64_t prepared;
} counted;

static enum vmt_status counting_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    const size_t before = weight->packed_bytes;
    const enum vmt_status status = counted.real->weight_prepare(ctx, weight, use);

    counted.prepared += weight->packed_bytes > before;
    counted.now += weight->packed_bytes - before;
    counted.most = counted.now > counted.most ? counted.now : counted.most;
    return status;
}

static void counting_release(vmt_ctx *ctx, vmt_weight *weight)
{
    counted.now -= weight->packed_bytes;
    counted.real->weight_release(ctx, weight);
}

struct model {
    vmt_ctx *ctx;
    golden *g;
    vmt_tensor_file *file;
    vmt_dit *dit;
    vmt_tensor latent, dvelocity, dq, dk, dhidden;
    int64_t tokens[3];
    float timestep;
    int block;
};

static void open_model(struct model *m, void **state)
{
    vmt_dit_config config;

    memset(m, 0, sizeof *m);
    vmt_ctx *ctx = m->ctx = golden_ctx(state);
    memset(&counted, 0, sizeof counted);
    counted.real = ctx->ops;
    counted.ops = *ctx->ops;
    counted.ops.weight_prepare = counting_prepare;
    counted.ops.weight_release = counting_release;
    ctx->ops = &counted.ops;
    m->g = golden_open(ctx, "dit_b");
    CHECK_OK(ctx,
             vmt_tensor_file_open(ctx, &m->file, TEST_DATA "/golden/dit_b.weights.safetensors"));
    CHECK_OK(ctx, vmt_dit_config_read(ctx, &config, NULL, m->file));
    CHECK_OK(ctx, vmt_dit_open(ctx, &m->dit, m->file, &config));
    assert_int_equal(config.layers, LAYERS);
    const vmt_tensor *x = vmt_tensor_file_find(golden_file(m->g), "in.x");
    const vmt_tensor *t = vmt_tensor_file_find(golden_file(m->g), "in.t");
    const vmt_tensor *q = vmt_tensor_file_find(golden_file(m->g), "in.r_q");
    assert_true(x && t && q);
    for (int i = 0; i < 3; i++)
        m->tokens[i] = x->shape[2 + i] / config.patch[i];
    m->timestep = *(const float *)t->data;
    m->block = (int)golden_int(m->g, "block");
    m->latent = golden_real(m->g, "in.x", 4, x->shape + 1);
    m->dvelocity = golden_real(m->g, "in.r_out", 4, x->shape + 1);
    m->dq = golden_act(m->g, "in.r_q", 3, q->shape + 1);
    m->dk = golden_act(m->g, "in.r_k", 3, q->shape + 1);
    m->dhidden =
        golden_real(m->g, "in.r_q", 2, (int64_t[]){q->shape[1], q->shape[2] * q->shape[3]});
}

static void close_model(struct model *m)
{
    vmt_dit_close(m->ctx, m->dit);
    assert_int_equal(counted.now, 0);
    vmt_tensor_file_close(m->file);
    golden_close(m->g);
    m->ctx->ops = counted.real;
    test_ctx_close(m->ctx);
}

enum { RESULTS = 5 };

/* What every kind of pass gives: velocity of a forward alone; gradients of a velocity, of q and k,
 * of a hidden state; then a velocity again.  Host memory, RESULTS latents one after another. */
typedef struct way {
    int resident, recompute, ffn_rows;
    bool spills;
} way;

static vmt_dit_plan plan_of(struct model *m, way w)
{
    return (vmt_dit_plan){.grid_f = m->tokens[0],
                          .grid_h = m->tokens[1],
                          .grid_w = m->tokens[2],
                          .timesteps = &m->timestep,
                          .timestep_count = 1,
                          .keep_blocks = LAYERS,
                          .recompute = w.recompute,
                          .ffn_rows = w.ffn_rows,
                          .spills = w.spills};
}

static void run_all(struct model *m, way w, float *results)
{
    const vmt_dit_plan plan = plan_of(m, w);
    const vmt_tensor *rows = vmt_tensor_file_find(golden_file(m->g), "in.text");
    const int64_t *shape = m->latent.shape, count = vmt_numel(&m->latent);
    vmt_ctx *ctx = m->ctx;
    vmt_tensor y = golden_new(m->g, ctx->real, 4, shape), got;
    const vmt_tensor *q, *k;
    vmt_dit_text *text;
    vmt_dit_run *run;

    CHECK_OK(ctx, vmt_dit_prepare_blocks(ctx, m->dit, w.resident));
    counted.most = counted.now;
    CHECK_OK(ctx, vmt_dit_text_open(ctx, &text, m->dit, rows->data, rows->shape[1]));
    CHECK_OK(ctx, vmt_dit_run_open(ctx, &run, m->dit, &plan));
    for (int i = 0; i < RESULTS; i++) {
        switch (i) {
        case 1:
            CHECK_OK(ctx, vmt_dit_forward(ctx, run, &y, &m->latent, m->timestep, text, true));
            CHECK_OK(ctx, vmt_dit_backward(ctx, run, &y, &m->dvelocity));
            break;
        case 2:
            CHECK_OK(ctx, vmt_dit_tap_qk(ctx, run, &q, &k, &m->latent, m->timestep, text, m->block,
                                         true));
            CHECK_OK(ctx, vmt_dit_tap_qk_bwd(ctx, run, &y, &m->dq, &m->dk));
            break;
        case 3:
            CHECK_OK(ctx, vmt_dit_tap_hidden(ctx, run, &q, &m->latent, m->timestep, text, m->block,
                                             true));
            CHECK_OK(ctx, vmt_dit_tap_hidden_bwd(ctx, run, &y, &m->dhidden));
            break;
        default:
            CHECK_OK(ctx, vmt_dit_forward(ctx, run, &y, &m->latent, m->timestep, text, false));
        }
        got = vmt_tensor_over(results + i * count, VMT_F32, 4, shape);
        CHECK_OK(ctx, vmt_download(ctx, &got, &y));
    }
    vmt_dit_run_close(ctx, run);
    vmt_dit_text_close(ctx, text);
}

/* Wrong if a block computes with another's weights, or with memory that its successor was copied
 * into. */
static void same_bits(void **state)
{
    struct model m;

    open_model(&m, state);
    const size_t count = RESULTS * (size_t)vmt_numel(&m.latent);
    float *all = test_calloc(count, sizeof *all), *some = test_calloc(count, sizeof *some);
    for (int level = 0; level < LEVELS; level++) {
        run_all(&m, (way){LAYERS, level, 0, false}, all);
        for (int resident = LAYERS; resident >= 0; resident--) {
            run_all(&m, (way){resident, level, 0, false}, some);
            assert_memory_equal(some, all, count * sizeof *all);
        }
    }
    test_free(all);
    test_free(some);
    close_model(&m);
}

/* Wrong if a slot is written before its copy is out, or read before it is back; if a part of the
 * feed-forward reads another's rows.  Less memory of the backend; parts of the feed-forward are
 * products of other sizes, whose sums only ref forms as before. */
static void spilled_and_in_parts(void **state)
{
    struct model m;

    open_model(&m, state);
    const size_t count = RESULTS * (size_t)vmt_numel(&m.latent);
    const bool ref = !strncmp(m.ctx->ops->name, "ref", 3);
    const double tolerance = m.ctx->act == VMT_BF16 ? 0.05 : 1e-4;
    float *all = test_calloc(count, sizeof *all), *some = test_calloc(count, sizeof *some);
    for (int level = 0; level < LEVELS; level++) {
        const way ways[] = {{0, level, 0, true}, {1, level, 7, false}, {2, level, 32, true}};
        run_all(&m, (way){LAYERS, level, 0, false}, all);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            const vmt_dit_plan plain = plan_of(&m, (way){0, level, 0, false}),
                               plan = plan_of(&m, ways[i]);
            size_t before, bytes, host;
            CHECK_OK(m.ctx, vmt_dit_run_bytes(m.ctx, m.dit, &plain, &before));
            CHECK_OK(m.ctx, vmt_dit_run_bytes(m.ctx, m.dit, &plan, &bytes));
            CHECK_OK(m.ctx, vmt_dit_run_spill_bytes(m.ctx, m.dit, &plan, &host));
            assert_true(level == 0 && ways[i].spills && !ways[i].ffn_rows ? bytes == before
                                                                          : bytes < before);
            assert_true((host > 0) == (level > 0 && ways[i].spills));
            /* under AddressSanitizer with the gaps between tensors */
            assert_true(host == 0 || ways[i].ffn_rows || before - bytes >= host);
            assert_true(host == 0 || ways[i].ffn_rows || before - bytes <= host + host / 8);
            run_all(&m, ways[i], some);
            if (ref || !ways[i].ffn_rows)
                assert_memory_equal(some, all, count * sizeof *all);
            for (size_t k = 0; k < count; k++)
                if (!(fabsf(some[k] - all[k]) <= (float)tolerance * fmaxf(1, fabsf(all[k]))))
                    fail_msg("level %d, way %zu: [%zu] %g, wanted %g", level, i, k, (double)some[k],
                             (double)all[k]);
        }
    }
    test_free(all);
    test_free(some);
    close_model(&m);
}

/* A spilled pass has one backward: its slots are used up then. */
static void one_backward_of_a_spilled_pass(void **state)
{
    struct model m;
    vmt_dit_text *text;
    vmt_dit_run *run;

    open_model(&m, state);
    const vmt_dit_plan plan = plan_of(&m, (way){0, 2, 0, true});
    const vmt_tensor *rows = vmt_tensor_file_find(golden_file(m.g), "in.text");
    vmt_tensor y = golden_new(m.g, m.ctx->real, 4, m.latent.shape);
    CHECK_OK(m.ctx, vmt_dit_prepare_blocks(m.ctx, m.dit, 0));
    CHECK_OK(m.ctx, vmt_dit_text_open(m.ctx, &text, m.dit, rows->data, rows->shape[1]));
    CHECK_OK(m.ctx, vmt_dit_run_open(m.ctx, &run, m.dit, &plan));
    CHECK_OK(m.ctx, vmt_dit_forward(m.ctx, run, &y, &m.latent, m.timestep, text, true));
    CHECK_OK(m.ctx, vmt_dit_backward(m.ctx, run, &y, &m.dvelocity));
    assert_int_equal(vmt_dit_backward(m.ctx, run, &y, &m.dvelocity), VMT_E_INTERNAL);
    vmt_dit_run_close(m.ctx, run);
    vmt_dit_text_close(m.ctx, text);
    close_model(&m);
}

/* Wrong if a block stays that should go, or the plan leaves one out. */
static void memory_as_said(void **state)
{
    struct model m;
    size_t last = SIZE_MAX;

    open_model(&m, state);
    const size_t count = RESULTS * (size_t)vmt_numel(&m.latent);
    float *results = test_calloc(count, sizeof *results);
    if (!vmt_dit_block_bytes(m.ctx, m.dit, false))
        print_message("%s uses weights where they are mapped\n", m.ctx->ops->name);
    for (int resident = LAYERS; resident >= 0; resident--) {
        const size_t said = vmt_dit_held_bytes(m.ctx, m.dit, resident, false);
        const size_t vectors = m.dit->vectors.peak;
        run_all(&m, (way){resident, 1, 0, false}, results);
        print_message("%s, %d resident: %zu bytes, said %zu, %d prepared\n", m.ctx->ops->name,
                      resident, counted.most, said - vectors, (int)counted.prepared);
        assert_true(counted.most <= said - vectors);
        if (said - vectors > 0) {
            assert_true(counted.most > (said - vectors) / 10 * 9);
            assert_true(said < last || (m.ctx->ops->wait && resident < 2));
        }
        last = said;
    }
    /* and back: all of it is packed again, once */
    const int64_t before = counted.prepared;
    CHECK_OK(m.ctx, vmt_dit_prepare(m.ctx, m.dit));
    CHECK_OK(m.ctx, vmt_dit_prepare(m.ctx, m.dit));
    if (vmt_dit_block_bytes(m.ctx, m.dit, false))
        assert_int_equal(counted.prepared - before, m.dit->matrix_count - 2);
    vmt_dit_release(m.ctx, m.dit);
    assert_int_equal(counted.now, 0);
    test_free(results);
    close_model(&m);
}

static enum vmt_status as_a_device(vmt_ctx *ctx)
{
    (void)ctx;
    return VMT_OK;
}

/* Wrong if what was copied ahead is let go before its use: a forward copies each block that comes
 * and goes once, and one alone, which is the next one, too, not at all. */
static void copied_once_a_pass(void **state)
{
    struct model m;

    open_model(&m, state);
    if (!vmt_dit_block_bytes(m.ctx, m.dit, false)) {
        print_message("%s uses weights where they are mapped\n", m.ctx->ops->name);
        close_model(&m);
        return;
    }
    if (!counted.ops.wait)
        counted.ops.wait = as_a_device;
    vmt_tensor y = golden_new(m.g, m.ctx->real, 4, m.latent.shape);
    const vmt_tensor *rows = vmt_tensor_file_find(golden_file(m.g), "in.text");
    for (int resident = 0; resident < LAYERS; resident++) {
        const vmt_dit_plan plan = plan_of(&m, (way){resident, 0, 0, false});
        const int others = LAYERS - resident;
        vmt_dit_text *text;
        vmt_dit_run *run;
        CHECK_OK(m.ctx, vmt_dit_prepare_blocks(m.ctx, m.dit, resident));
        CHECK_OK(m.ctx, vmt_dit_text_open(m.ctx, &text, m.dit, rows->data, rows->shape[1]));
        CHECK_OK(m.ctx, vmt_dit_run_open(m.ctx, &run, m.dit, &plan));
        int64_t before = 0;
        for (int i = 0; i < 3; i++) {
            before = counted.prepared;
            CHECK_OK(m.ctx, vmt_dit_forward(m.ctx, run, &y, &m.latent, m.timestep, text, false));
        }
        assert_int_equal(counted.prepared - before, others > 1 ? others * DIT_PASS_MATRICES : 0);
        vmt_dit_run_close(m.ctx, run);
        vmt_dit_text_close(m.ctx, text);
    }
    close_model(&m);
}

/* Any stretch of blocks has its share of those that come and go. */
static void spread_evenly(void **state)
{
    struct model m;

    open_model(&m, state);
    for (int resident = 0; resident <= LAYERS; resident++) {
        int stay = 0;
        CHECK_OK(m.ctx, vmt_dit_prepare_blocks(m.ctx, m.dit, resident));
        for (int i = 0; i < LAYERS; i++)
            stay += dit_stream_stays(m.dit, i);
        assert_int_equal(stay, resident);
    }
    CHECK_OK(m.ctx, vmt_dit_prepare_blocks(m.ctx, m.dit, 1)); /* block 0 stays */
    assert_int_equal(dit_stream_next(m.dit, 0, 1, 2, false), 1);
    assert_int_equal(dit_stream_next(m.dit, 1, 1, 2, false), 2);
    assert_int_equal(dit_stream_next(m.dit, 2, 1, 2, false), 1); /* the next pass */
    assert_int_equal(dit_stream_next(m.dit, 2, 1, 2, true), 2);  /* its own backward */
    assert_int_equal(dit_stream_next(m.dit, 2, -1, 2, false), 1);
    assert_int_equal(dit_stream_next(m.dit, 0, -1, 2, false), 1);
    assert_int_equal(dit_stream_next(m.dit, 0, 1, 0, true), 1);
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(spilled_and_in_parts),
        cmocka_unit_test(one_backward_of_a_spilled_pass),
        cmocka_unit_test(memory_as_said),
        cmocka_unit_test(copied_once_a_pass),
        cmocka_unit_test(spread_evenly),
    };
    return golden_dtypes_main(tests, sizeof tests / sizeof *tests);
}
