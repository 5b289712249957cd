/* SPDX-License-Identifier: MIT
 *
 * What the planner decides for a device that is only pretended: the released shapes at 832x480, 81
 * frames, BF16, under limits of its memory.  Nothing is computed; weights are files full of holes.
 */
#include "testing.h"

#include "bench/bench.h"
#include "model/random_model.h"
#include "pipeline/sample.h"

#include <stdio.h>
#include <string.h>

static const uint64_t GIB = (uint64_t)1 << 30;

static struct {
    vmt_ops ops;
    const vmt_ops *real;
    size_t free;
} device;

static size_t free_bytes(vmt_ctx *ctx)
{
    (void)ctx;
    return device.free;
}

static size_t fixed_bytes(vmt_ctx *ctx, size_t *later)
{
    (void)ctx;
    *later = (size_t)512 << 20;
    return (size_t)1088 << 20;
}

/* cuDNN's backward in a fixed order: dS of a head. */
static size_t attention_bytes(vmt_ctx *ctx, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                              bool backward)
{
    (void)ctx, (void)heads, (void)d;
    return backward ? (size_t)(2 * nq * nk) : 0;
}

static size_t prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    (void)use;
    return vmt_dtype_bytes(ctx->act) * (size_t)vmt_numel(&weight->w) +
           6 * (size_t)weight->w.shape[0];
}

/* cuda_conv.c's: cuDNN's workspace or the unrolled input, and channels filled up. */
static size_t conv_bytes(vmt_ctx *ctx)
{
    return (size_t)(ctx->act == VMT_BF16 ? 288 : 160) << 20;
}

static enum vmt_status wait_nothing(vmt_ctx *ctx)
{
    (void)ctx;
    return VMT_OK;
}

static enum vmt_status no_spill_wait(vmt_ctx *ctx, int ticket)
{
    (void)ctx, (void)ticket;
    return VMT_OK;
}

/* A backend whose memory is not the host's. */
static void pretend(vmt_ctx *ctx, size_t free)
{
    device.real = ctx->ops;
    device.ops = *ctx->ops;
    device.free = free;
    device.ops.name = "pretended";
    device.ops.free_bytes = free_bytes;
    device.ops.fixed_bytes = fixed_bytes;
    device.ops.attention_bytes = attention_bytes;
    device.ops.conv_bytes = conv_bytes;
    device.ops.weight_prepare_bytes = prepare_bytes;
    device.ops.wait = wait_nothing;
    device.ops.spill_wait = no_spill_wait;
    ctx->ops = &device.ops;
    ctx->act = VMT_BF16;
}

static void open_model(vmt_ctx *ctx, vmt_model *m, const char *shape)
{
    const vmt_random_model model = {.shape = shape, .text_shape = "xxl", .vae_shape = "wan"};
    vmt_tensor_list list = {0};

    memset(m, 0, sizeof *m);
    CHECK_OK(ctx, vmt_random_model_configs(ctx, &model, &m->dit_config, &m->vae_config,
                                           &m->text_config));
    CHECK_OK(ctx, vmt_tensor_list_dit(ctx, &list, &m->dit_config));
    CHECK_OK(ctx, bench_weights_file(ctx, &m->files[VMT_PART_DIT], &list, VMT_BF16, BENCH_UNDRAWN));
    CHECK_OK(ctx, vmt_dit_open(ctx, &m->dit, m->files[VMT_PART_DIT], &m->dit_config));
    list = (vmt_tensor_list){0};
    CHECK_OK(ctx, vmt_tensor_list_vae(ctx, &list, &m->vae_config));
    CHECK_OK(ctx, bench_weights_file(ctx, &m->files[VMT_PART_VAE], &list, VMT_F32, BENCH_UNDRAWN));
    CHECK_OK(ctx, vmt_vae_open(ctx, &m->vae, m->files[VMT_PART_VAE], &m->vae_config));
}

static void close_model(vmt_ctx *ctx, vmt_model *m)
{
    vmt_dit_close(ctx, m->dit);
    vmt_vae_close(ctx, m->vae);
    for (int part = 0; part < VMT_PART_COUNT; part++)
        vmt_tensor_file_close(m->files[part]);
}

static vmt_plan plan_size(vmt_ctx *ctx, const vmt_model *m, uint64_t limit, int64_t frames,
                          int64_t width, int64_t height)
{
    const vmt_clip reference = {.frames = frames, .height = height, .width = width, .fps = 16};
    const vmt_transfer_io io = {.reference = &reference};
    const double gib = (double)GIB;
    vmt_settings settings;
    vmt_plan p;

    ctx->max_vram = limit;
    CHECK_OK(ctx, vmt_settings_init(ctx, &settings, NULL, NULL));
    CHECK_OK(ctx, vmt_plan_make(ctx, m, &settings, &io, &p));
    print_message("limit %5.1f GiB, %d frames: %s, level %d, %2d of %d blocks stay, %s, by %d "
                  "tokens, %.3f x; encode %.2f, sample %.2f, decode %.2f, total %.2f, least %.2f\n",
                  (double)limit / gib, (int)frames, p.fits ? "fits" : "does not fit", p.recompute,
                  p.resident_blocks, p.blocks, p.spills ? "spilled" : "kept", (int)p.ffn_tokens,
                  p.slowdown, (double)p.phase_bytes[VMT_PHASE_ENCODE] / gib,
                  (double)p.phase_bytes[VMT_PHASE_SAMPLE] / gib,
                  (double)p.phase_bytes[VMT_PHASE_DECODE] / gib,
                  (double)(p.peak_bytes + p.fixed_bytes) / gib, (double)p.least_bytes / gib);
    if (limit)
        assert_int_equal(p.fits, p.peak_bytes + p.fixed_bytes <= limit);
    return p;
}

static vmt_plan plan_at(vmt_ctx *ctx, const vmt_model *m, uint64_t limit, int64_t frames)
{
    return plan_size(ctx, m, limit, frames, 832, 480);
}

/* The same bits: no part of it depends on the limit. */
static bool is_whole(const vmt_plan *p)
{
    return p->ffn_tokens == p->grid_f * p->grid_h * p->grid_w && !p->vae_tile[0][0] &&
           !p->vae_tile[1][0];
}

/* The size that is named instead fits, and one column of tokens more does not. */
static void check_smaller(vmt_ctx *ctx, const vmt_model *m, uint64_t limit, const vmt_plan *refused)
{
    const int64_t width = refused->fitting_width, height = refused->fitting_height;

    assert_true(width > 0 && width < 832 && width % 16 == 0 && height % 16 == 0);
    assert_true(width * 480 >= height * 832 && width * 480 < (height + 16) * 832);
    assert_true(plan_size(ctx, m, limit, 81, width, height).fits);
    assert_false(plan_size(ctx, m, limit, 81, width + 16, (width + 16) * 480 / 832 / 16 * 16).fits);
}

static void check_shape(vmt_ctx *ctx, const char *shape, uint64_t target, double slowest,
                        uint64_t lower)
{
    vmt_model m;

    pretend(ctx, (size_t)(140 * GIB));
    open_model(ctx, &m, shape);
    const vmt_plan all = plan_at(ctx, &m, 0, 81);
    assert_true(all.fits && is_whole(&all) && all.recompute == 0 && !all.spills);
    assert_true(all.resident_blocks == all.blocks && all.slowdown == 1);
    /* the limit that the project has set itself */
    const vmt_plan aim = plan_at(ctx, &m, target, 81);
    assert_true(aim.fits && is_whole(&aim) && aim.slowdown > 1 && aim.slowdown <= slowest);
    assert_true(aim.resident_blocks < aim.blocks && aim.streamed_bytes > 0);
    assert_true(plan_at(ctx, &m, lower, 81).fits);
    /* the autoencoder within 3 GiB besides the context, once the DiT is out of its way */
    assert_true(aim.phase_bytes[VMT_PHASE_ENCODE] < 3 * GIB);
    assert_true(aim.phase_bytes[VMT_PHASE_DECODE] + aim.fixed_bytes <= target);
    double last = 0;
    for (uint64_t limit = 120; limit >= 8; limit = limit * 4 / 5) { /* less is never faster */
        const vmt_plan p = plan_at(ctx, &m, limit * GIB, 81);
        if (!p.fits)
            continue;
        assert_true(p.slowdown >= last * 0.999);
        last = p.slowdown;
    }
    /* the least is the least */
    const vmt_plan least = plan_at(ctx, &m, all.least_bytes, 81);
    assert_true(least.fits);
    const vmt_plan less = plan_at(ctx, &m, all.least_bytes - (1 << 20), 81);
    assert_true(!less.fits && less.fitting_frames > 0 && less.fitting_frames < 81);
    assert_true(plan_at(ctx, &m, all.least_bytes - (1 << 20), less.fitting_frames).fits);
    assert_false(plan_at(ctx, &m, all.least_bytes - (1 << 20), less.fitting_frames + 4).fits);
    check_smaller(ctx, &m, all.least_bytes - (1 << 20), &less);
    /* without a limit it is what is free, less a margin */
    device.free = (size_t)target;
    const vmt_plan middle = plan_at(ctx, &m, 0, 81);
    assert_true(middle.fits && is_whole(&middle) && middle.resident_blocks < middle.blocks);
    assert_true(middle.peak_bytes < middle.free_bytes - middle.free_bytes / 40);
    /* and what may change last bits only where nothing else fits */
    device.free = (size_t)(all.least_bytes + all.least_bytes / 16);
    const vmt_plan small = plan_at(ctx, &m, 0, 81);
    assert_true(small.fits && !is_whole(&small));
    device.free = (size_t)(all.least_bytes - all.fixed_bytes);
    assert_false(plan_at(ctx, &m, 0, 81).fits);
    close_model(ctx, &m);
    ctx->ops = device.real;
}

static void shapes(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", "f32");

    (void)state;
    check_shape(ctx, "1.3b", 8 * GIB, 1.25, 7 * GIB);
    check_shape(ctx, "14b", 24 * GIB, 1.25, 16 * GIB);
    ctx->max_vram = 0;
    ctx->act = VMT_F32;
    test_ctx_close(ctx);
}

/* Of the host as much as is named: saved tensors stay where they do not fit there. */
static void host_limit(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", "f32");
    vmt_model m;

    (void)state;
    pretend(ctx, (size_t)(140 * GIB));
    open_model(ctx, &m, "14b");
    assert_true(plan_at(ctx, &m, 24 * GIB, 81).spills);
    ctx->max_ram = 4 * GIB;
    const vmt_plan p = plan_at(ctx, &m, 28 * GIB, 81);
    assert_true(p.fits && !p.spills && p.host_bytes <= 4 * GIB);
    close_model(ctx, &m);
    ctx->ops = device.real;
    ctx->max_vram = ctx->max_ram = 0;
    ctx->act = VMT_F32;
    test_ctx_close(ctx);
}

/* Both directions of Wan's autoencoder on whole frames of 832x480, 81 of them: all that the process
 * takes beside its context or, on the host, what it takes in any case. */
static void check_autoencoder(vmt_ctx *ctx, uint64_t most)
{
    const vmt_geometry g = {.model_frames = 81,
                            .model_height = 480,
                            .model_width = 832,
                            .channels = 16,
                            .latent_f = 21,
                            .latent_h = 60,
                            .latent_w = 104};
    const size_t clip = 3 * (size_t)(g.model_frames * g.model_height * g.model_width);
    vmt_model m;

    open_model(ctx, &m, "1.3b");
    for (int decodes = 0; decodes < 2; decodes++) {
        vmt_vae_options options = {0};
        /* on the host with the clip that is read and padded, or the result and its crop */
        const size_t beside = ctx->ops->free_bytes ? 0 : 2 * clip;
        size_t bytes;
        CHECK_OK(ctx, vmt_vae_fit(ctx, &m, &g, decodes ? VMT_VAE_DECODE : VMT_VAE_ENCODE,
                                  (size_t)most - beside, &options, &bytes));
        print_message("%s %s: %s %.2f GiB of %.2f\n", ctx->ops->name, vmt_dtype_name(ctx->act),
                      decodes ? "decode" : "encode", (double)(bytes + beside) / (double)GIB,
                      (double)most / (double)GIB);
        assert_true(bytes + beside <= most);
        assert_true(!options.tile[0]); /* so with the bits of a run that has no limit */
    }
    close_model(ctx, &m);
}

static void autoencoder(void **state)
{
    static const struct {
        const char *dtype;
        uint64_t most;
    } cases[] = {{"bf16", (uint64_t)3 << 30}, {"f32", 5500000000u}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        vmt_ctx *ctx = test_ctx_open("ref", "f32");
        const enum vmt_dtype act = i ? VMT_F32 : VMT_BF16;
        pretend(ctx, (size_t)(140 * GIB));
        ctx->act = act;
        check_autoencoder(ctx, cases[i].most);
        ctx->ops = device.real;
        ctx->act = VMT_F32;
        test_ctx_close(ctx);
        ctx = test_ctx_open("cpu", cases[i].dtype);
        check_autoencoder(ctx, cases[i].most);
        test_ctx_close(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(host_limit),
                                       cmocka_unit_test(autoencoder)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
