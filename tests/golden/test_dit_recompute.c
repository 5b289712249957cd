/* SPDX-License-Identifier: MIT
 *
 * The levels of recomputation keep less and less memory and give the same gradient: on ref to the
 * bit.  The same with local attention, whose gradient is compared with differences.
 */
#include "golden.h"

#include "dit/dit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 3 };

/* What all levels share. */
struct model {
    vmt_ctx *ctx;
    golden *g;
    vmt_tensor_file *file;
    vmt_dit *dit;
    vmt_dit_text *text;
    vmt_tensor latent, dvelocity, dq, dk;
    int64_t tokens[3];
    float timestep;
    int block;
};

static void open_model(struct model *m, vmt_ctx *ctx)
{
    vmt_dit_config config;

    memset(m, 0, sizeof *m);
    m->ctx = ctx;
    m->g = golden_open(ctx, "dit_b");
    CHECK_OK(ctx,
             vmt_tensor_file_open(ctx, &m->file, TEST_DATA "/golden/dit_b.weights.safetensors"));
    CHECK_OK(ctx, vmt_dit_config_read(ctx, &config, NULL, m->file));
    CHECK_OK(ctx, vmt_dit_open(ctx, &m->dit, m->file, &config));
    CHECK_OK(ctx, vmt_dit_prepare(ctx, m->dit));
    const vmt_tensor *x = vmt_tensor_file_find(golden_file(m->g), "in.x");
    const vmt_tensor *t = vmt_tensor_file_find(golden_file(m->g), "in.t");
    const vmt_tensor *rows = vmt_tensor_file_find(golden_file(m->g), "in.text");
    const vmt_tensor *q = vmt_tensor_file_find(golden_file(m->g), "in.r_q");
    assert_true(x && t && rows && q);
    for (int i = 0; i < 3; i++)
        m->tokens[i] = x->shape[2 + i] / config.patch[i];
    m->timestep = *(const float *)t->data;
    m->block = (int)golden_int(m->g, "block");
    m->latent = golden_real(m->g, "in.x", 4, x->shape + 1);
    m->dvelocity = golden_real(m->g, "in.r_out", 4, x->shape + 1);
    m->dq = golden_act(m->g, "in.r_q", 3, q->shape + 1);
    m->dk = golden_act(m->g, "in.r_k", 3, q->shape + 1);
    CHECK_OK(ctx, vmt_dit_text_open(ctx, &m->text, m->dit, rows->data, rows->shape[1]));
}

static void close_model(struct model *m)
{
    vmt_dit_text_close(m->ctx, m->text);
    vmt_dit_close(m->ctx, m->dit);
    vmt_tensor_file_close(m->file);
    golden_close(m->g);
}

/* Gradient of the velocity, or of q and k, into dlatent; *bytes: the run's memory. */
static void run_level(struct model *m, int recompute, bool tap, vmt_tensor *dlatent, size_t *bytes)
{
    const vmt_dit_plan plan = {.grid_f = m->tokens[0],
                               .grid_h = m->tokens[1],
                               .grid_w = m->tokens[2],
                               .timesteps = &m->timestep,
                               .timestep_count = 1,
                               .keep_blocks = (int)vmt_dit_get_config(m->dit)->layers,
                               .recompute = recompute};
    vmt_tensor velocity = golden_new(m->g, m->ctx->real, 4, m->latent.shape);
    const vmt_tensor *q, *k;
    vmt_dit_run *run;

    CHECK_OK(m->ctx, vmt_dit_run_bytes(m->ctx, m->dit, &plan, bytes));
    CHECK_OK(m->ctx, vmt_dit_run_open(m->ctx, &run, m->dit, &plan));
    if (tap) {
        CHECK_OK(m->ctx, vmt_dit_tap_qk(m->ctx, run, &q, &k, &m->latent, m->timestep, m->text,
                                        m->block, true));
        CHECK_OK(m->ctx, vmt_dit_tap_qk_bwd(m->ctx, run, dlatent, &m->dq, &m->dk));
    } else {
        CHECK_OK(m->ctx,
                 vmt_dit_forward(m->ctx, run, &velocity, &m->latent, m->timestep, m->text, true));
        CHECK_OK(m->ctx, vmt_dit_backward(m->ctx, run, dlatent, &m->dvelocity));
    }
    vmt_dit_run_close(m->ctx, run);
}

static void gradients_agree(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);
    struct model m;

    open_model(&m, ctx);
    for (int tap = 0; tap < 2; tap++) {
        vmt_tensor dlatent[LEVELS];
        size_t bytes[LEVELS];
        for (int level = 0; level < LEVELS; level++) {
            dlatent[level] = golden_new(m.g, ctx->real, 4, m.latent.shape);
            run_level(&m, level, tap != 0, &dlatent[level], &bytes[level]);
        }
        for (int level = 0; level < LEVELS; level++)
            golden_check(m.g, tap ? "out.grad_qk" : "out.grad_velocity", &dlatent[level],
                         tap ? 4e-4 : 3e-4);
        for (int level = 1; level < LEVELS; level++) {
            assert_true(bytes[level] < bytes[level - 1]);
            if (strncmp(ctx->ops->name, "ref", 3) == 0)
                assert_memory_equal(dlatent[level].data, dlatent[0].data,
                                    vmt_tensor_bytes(&dlatent[0]));
        }
    }
    close_model(&m);
    test_ctx_close(ctx);
}

/* ---- local attention */

static vmt_dit_plan local_plan(const struct model *m, int recompute)
{
    vmt_dit_plan plan = {.grid_f = m->tokens[0],
                         .grid_h = m->tokens[1],
                         .grid_w = m->tokens[2],
                         .timesteps = &m->timestep,
                         .timestep_count = 1,
                         .keep_blocks = (int)vmt_dit_get_config(m->dit)->layers,
                         .recompute = recompute};

    plan.local.passes[VMT_DIT_GUIDANCE] = true;
    plan.local.last = plan.keep_blocks - 1;
    for (int a = 0; a < 3; a++) {
        const int64_t n = m->tokens[a];
        plan.local.geometry.grid[a] = n;
        plan.local.geometry.box[a] = n > 2 ? n - 1 : n;
        plan.local.geometry.tile[a] = n > 2 ? n / 2 : n;
    }
    return plan;
}

/* Σ velocity ⊙ dvelocity in double, of ref64 alone. */
static double loss_at(struct model *m, vmt_dit_run *run, const vmt_tensor *latent, bool keep)
{
    vmt_tensor velocity = golden_new(m->g, m->ctx->real, 4, latent->shape);
    double sum = 0;

    CHECK_OK(m->ctx, vmt_dit_forward(m->ctx, run, &velocity, latent, m->timestep, m->text, keep));
    for (int64_t i = 0; i < vmt_numel(latent); i++)
        sum += ((const double *)velocity.data)[i] * ((const double *)m->dvelocity.data)[i];
    return sum;
}

/* Along the gradient itself and along another direction. */
static void check_differences(struct model *m, vmt_dit_run *run, const vmt_tensor *dlatent)
{
    const double *gradient = dlatent->data, *at = m->latent.data;
    const int64_t count = vmt_numel(dlatent);
    vmt_tensor moved = golden_new(m->g, m->ctx->real, 4, m->latent.shape);

    for (int way = 0; way < 2; way++) {
        double slope = 0, step = 1e-5, loss[2];
        for (int side = 0; side < 2; side++) {
            slope = 0;
            for (int64_t i = 0; i < count; i++) {
                const double along = way ? sin((double)i) : gradient[i];
                slope += gradient[i] * along;
                ((double *)moved.data)[i] = at[i] + (side ? -step : step) * along;
            }
            loss[side] = loss_at(m, run, &moved, false);
        }
        const double difference = (loss[0] - loss[1]) / (2 * step);
        if (!(fabs(difference - slope) <= 1e-6 * (fabs(slope) + 1e-3)))
            fail_msg("way %d: slope %.12g, difference %.12g", way, slope, difference);
    }
}

static void local_attention(void **state)
{
    vmt_ctx *ctx = golden_ctx(state);
    struct model m;
    vmt_tensor dlatent[LEVELS + 1];

    open_model(&m, ctx);
    for (int level = 0; level <= LEVELS; level++) {
        const vmt_dit_plan plan = local_plan(&m, level < LEVELS ? level : 0);
        vmt_tensor velocity = golden_new(m.g, ctx->real, 4, m.latent.shape);
        vmt_dit_run *run;
        dlatent[level] = golden_new(m.g, ctx->real, 4, m.latent.shape);
        CHECK_OK(ctx, vmt_dit_run_open(ctx, &run, m.dit, &plan));
        if (level < LEVELS) /* the last one stays in the pass that is not local */
            vmt_dit_run_pass(run, VMT_DIT_GUIDANCE);
        CHECK_OK(ctx, vmt_dit_forward(ctx, run, &velocity, &m.latent, m.timestep, m.text, true));
        CHECK_OK(ctx, vmt_dit_backward(ctx, run, &dlatent[level], &m.dvelocity));
        if (level == 0 && !strcmp(ctx->ops->name, "ref64"))
            check_differences(&m, run, &dlatent[0]);
        vmt_dit_run_close(ctx, run);
    }
    golden_check(m.g, "out.grad_velocity", &dlatent[LEVELS], 3e-4);
    if (strncmp(ctx->ops->name, "ref", 3) == 0) {
        const size_t bytes = vmt_tensor_bytes(&dlatent[0]);
        for (int level = 1; level < LEVELS; level++)
            assert_memory_equal(dlatent[level].data, dlatent[0].data, bytes);
        assert_memory_not_equal(dlatent[LEVELS].data, dlatent[0].data, bytes);
    }
    close_model(&m);
    test_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_agree),
        cmocka_unit_test(local_attention),
    };
    return golden_backends_main(tests, 2);
}
