/* SPDX-License-Identifier: MIT
 *
 * A device that fails in the middle of a run (out of memory, gone): the run ends with one line, the
 * state after its last whole step is kept, and from there it comes to the same end.  The device is
 * backend cpu under a table that says it is one and fails at a given product.
 */
#include "testing.h"

#include "fastvmt/fastvmt.h"
#include "tensor/tensor.h"

#include <string.h>
#include <unistd.h>

enum { FRAMES = 9, HEIGHT = 48, WIDTH = 80, STEPS = 3 };

#define STATE "device_loss.state.safetensors"

static vmt_ops table;
static const vmt_ops *below;
static int64_t products, failing; /* counted; the one that fails, 0: none */

static enum vmt_status linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                              enum vmt_epilogue epilogue)
{
    if (++products == failing)
        return vmt_fail(ctx, VMT_E_MEMORY, "out of device memory");
    return below->linear(ctx, y, x, w, epilogue);
}

static enum vmt_status wait(vmt_ctx *ctx)
{
    (void)ctx;
    return VMT_OK;
}

static void pretend_device(vmt_ctx *ctx, int64_t fails_at)
{
    below = ctx->ops;
    table = *below;
    table.linear = linear;
    table.wait = wait;
    ctx->ops = &table;
    products = 0;
    failing = fails_at;
}

static void check(vmt_ctx *ctx, enum vmt_status status)
{
    if (status != VMT_OK)
        fail_msg("%s", vmt_message(ctx));
}

/* Runs on a pretended device; the products of the whole run if none fails. */
static enum vmt_status run(vmt_clip *result, int64_t fails_at, const char *resume, char *message,
                           size_t size)
{
    const vmt_config config = {.backend = "cpu", .threads = 1};
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_settings settings;
    vmt_clip reference;

    check(NULL, vmt_ctx_open(&ctx, &config));
    check(ctx, vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    check(ctx, vmt_settings_init(ctx, &settings, model, NULL));
    settings.steps = STEPS;
    settings.motion.guided_steps = 1;
    settings.motion.inner_steps = 1;
    check(ctx, vmt_clip_new(ctx, &reference, FRAMES, HEIGHT, WIDTH, 8));
    for (int64_t i = 0; i < FRAMES * HEIGHT * WIDTH * 3; i++)
        reference.pixels[i] = (uint8_t)(i / 7);
    const vmt_transfer_io io = {.reference = &reference,
                                .result = result,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .checkpoint_path = STATE,
                                .resume = resume};
    pretend_device(ctx, fails_at);
    const enum vmt_status status = vmt_transfer(ctx, model, &settings, &io);
    ctx->ops = below;
    strncpy(message, vmt_message(ctx), size - 1);
    message[size - 1] = '\0';
    vmt_clip_free(&reference);
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
    return status;
}

static void the_last_whole_step_is_kept(void **state)
{
    vmt_clip whole = {0}, resumed = {0}, none = {0};
    char message[1024];

    (void)state;
    unlink(STATE);
    assert_int_equal(run(&whole, 0, NULL, message, sizeof message), VMT_OK);
    const int64_t all = products;
    assert_int_not_equal(access(STATE, F_OK), 0);

    /* in the first step, long before its end: nothing to keep */
    assert_int_equal(run(&none, all / 8, NULL, message, sizeof message), VMT_E_MEMORY);
    assert_null(strstr(message, "--resume"));
    assert_int_not_equal(access(STATE, F_OK), 0);

    /* in the last step */
    assert_int_equal(run(&none, all - 20, NULL, message, sizeof message), VMT_E_MEMORY);
    assert_non_null(strstr(message, "out of device memory"));
    assert_non_null(strstr(message, "the run up to step 2 is kept: --resume " STATE));
    assert_int_equal(access(STATE, F_OK), 0);

    assert_int_equal(run(&resumed, 0, STATE, message, sizeof message), VMT_OK);
    assert_true(products < all / 2);
    assert_memory_equal(whole.pixels, resumed.pixels, (size_t)(FRAMES * HEIGHT * WIDTH * 3));
    unlink(STATE);
    vmt_clip_free(&whole);
    vmt_clip_free(&resumed);
    vmt_clip_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_last_whole_step_is_kept)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
