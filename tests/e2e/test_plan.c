/* SPDX-License-Identifier: MIT
 *
 * The plan against the process: what a transfer on the bundled model takes beyond what was there
 * before is what the plan said, phase by phase, up to what allocator and threads keep.  And the
 * level of recomputation that memory leaves.
 */
#include "testing.h"

#include "bench/bench.h"
#include "fastvmt/fastvmt.h"
#include "model/tensor_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { WIDTH = 320, HEIGHT = 192, FRAMES = 17, MIB = 1 << 20 };

typedef struct meter {
    vmt_ctx *ctx;
    size_t phase[VMT_PHASE_COUNT]; /* largest anonymous memory seen */
} meter;

static int measure(void *user, const vmt_progress *progress)
{
    meter *m = user;
    const size_t now = bench_used(m->ctx);

    if (now > m->phase[progress->phase])
        m->phase[progress->phase] = now;
    return 0;
}

static void fill(vmt_clip *clip)
{
    for (int64_t t = 0; t < clip->frames; t++)
        for (int64_t i = 0; i < clip->width * clip->height * 3; i++)
            clip->pixels[t * clip->width * clip->height * 3 + i] = (uint8_t)(i / 7 + 11 * t);
}

static void check(vmt_ctx *ctx, enum vmt_status status)
{
    if (status != VMT_OK)
        fail_msg("%s", vmt_message(ctx));
}

/* Memory of the process is more than the plan by at most 24 MiB (allocator, threads, libraries'
 * own), and in the phase that needs most, not less than half of it. */
static void plan_is_what_is_taken(void **state)
{
    const vmt_config config = {.threads = 1};
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    vmt_clip reference, result = {0};
    vmt_plan plan;
    meter m = {0};
    size_t most = 0;

    (void)state;
#ifdef SANITIZED
    skip(); /* freed memory stays in quarantine */
#endif
    check(NULL, vmt_ctx_open(&ctx, &config));
    check(ctx, vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    check(ctx, vmt_settings_init(ctx, &settings, model, NULL));
    settings.steps = 2;
    settings.motion.guided_steps = 1;
    settings.motion.inner_steps = 1;
    const size_t before = bench_used(ctx);
    m.ctx = ctx;
    if (!before)
        skip();
    check(ctx, vmt_clip_new(ctx, &reference, FRAMES, HEIGHT, WIDTH, 8));
    fill(&reference);
    const vmt_transfer_io io = {.reference = &reference,
                                .result = &result,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .progress = measure,
                                .progress_user = &m};
    check(ctx, vmt_plan_make(ctx, model, &settings, &io, &plan));
    check(ctx, vmt_transfer(ctx, model, &settings, &io));
    for (int i = 0; i < VMT_PHASE_COUNT; i++) {
        const size_t taken = m.phase[i] > before ? m.phase[i] - before : 0;
        print_message("%s: planned %.1f MiB, taken %.1f MiB\n", vmt_phase_name((enum vmt_phase)i),
                      (double)plan.phase_bytes[i] / MIB, (double)taken / MIB);
        most = taken > most ? taken : most;
        if (plan.phase_bytes[i])
            assert_true(taken < plan.phase_bytes[i] + (size_t)24 * MIB);
    }
    assert_true(most > plan.peak_bytes / 2);
    vmt_clip_free(&reference);
    vmt_clip_free(&result);
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
}

/* The plan of a clip of a size that is not read, with `bytes` of address space. */
static vmt_plan plan_within(vmt_ctx *ctx, const vmt_model *model, int32_t level, uint64_t bytes)
{
    const vmt_clip shape = {.frames = 81, .height = 480, .width = 832, .fps = 16};
    const vmt_transfer_io io = {.reference = &shape, .embeddings = TEST_DATA "/prompt.safetensors"};
    vmt_settings settings;
    struct rlimit before, limit;
    vmt_plan plan;

    check(ctx, vmt_settings_init(ctx, &settings, model, NULL));
    settings.recompute = level;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    const enum vmt_status status = vmt_plan_make(ctx, model, &settings, &io, &plan);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    check(ctx, status);
    return plan;
}

/* Everything is kept where that leaves half of the memory free, and less where it does not. */
static void half_of_the_memory_is_left(void **state)
{
    const vmt_config config = {.threads = 1, .backend = "ref"};
    vmt_ctx *ctx;
    vmt_model *model;

    (void)state;
#ifdef SANITIZED
    skip(); /* its own address space is beyond any limit */
#endif
    check(NULL, vmt_ctx_open(&ctx, &config));
    check(ctx, vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    const uint64_t all = plan_within(ctx, model, 0, RLIM_INFINITY).phase_bytes[VMT_PHASE_SAMPLE];
    if (plan_within(ctx, model, 0, RLIM_INFINITY).free_bytes < 3 * all)
        skip();
    assert_true(plan_within(ctx, model, 2, RLIM_INFINITY).phase_bytes[VMT_PHASE_SAMPLE] < all / 2);
    assert_int_equal(plan_within(ctx, model, -1, 2 * all + all / 8).recompute, 0);
    const vmt_plan tight = plan_within(ctx, model, -1, 2 * all - all / 2);
    assert_true(tight.recompute > 0);
    assert_true(tight.phase_bytes[VMT_PHASE_SAMPLE] < all);
    assert_int_equal(plan_within(ctx, model, -1, all / 2).recompute, 2);
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
}

/* A pair of the largest rank beside one matrix; its memory is the host's as long as the model is
 * open, and every phase's.  Wrong if the plan leaves it out. */
static void a_lora_is_in_the_plan(void **state)
{
    enum { DIM = 256, RANK = 1024, BYTES = 2 * RANK * DIM * (int)sizeof(float) };
    static float values[RANK * DIM];
    const char *const path = "plan_lora.safetensors";
    const vmt_named_tensor pair[2] = {{"lora_unet_blocks_1_self_attn_q.lora_down.weight",
                                       vmt_tensor_over(values, VMT_F32, VMT_SHAPE(RANK, DIM))},
                                      {"lora_unet_blocks_1_self_attn_q.lora_up.weight",
                                       vmt_tensor_over(values, VMT_F32, VMT_SHAPE(DIM, RANK))}};
    const vmt_config config = {.threads = 1, .backend = "cpu", .dtype = "f32"};
    vmt_plan plans[2];
    vmt_ctx *ctx;

    (void)state;
    check(NULL, vmt_ctx_open(&ctx, &config));
    check(ctx, vmt_safetensors_write(ctx, path, pair, 2, NULL));
    for (int with = 0; with < 2; with++) {
        const vmt_model_paths paths = {.dir = SOURCE_ROOT "/models/tiny",
                                       .loras = {with ? path : NULL}};
        vmt_model *model;
        check(ctx, vmt_model_open(ctx, &model, &paths));
        plans[with] = plan_within(ctx, model, 0, RLIM_INFINITY);
        vmt_model_close(ctx, model);
    }
    unlink(path);
    for (int i = VMT_PHASE_ENCODE; i < VMT_PHASE_COUNT; i++)
        assert_true(plans[1].phase_bytes[i] >= plans[0].phase_bytes[i] + BYTES);
    assert_int_equal(plans[1].phase_bytes[VMT_PHASE_DECODE],
                     plans[0].phase_bytes[VMT_PHASE_DECODE] + BYTES);
    vmt_ctx_close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plan_is_what_is_taken),
                                       cmocka_unit_test(half_of_the_memory_is_left),
                                       cmocka_unit_test(a_lora_is_in_the_plan)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
