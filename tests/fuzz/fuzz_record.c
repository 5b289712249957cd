/* SPDX-License-Identifier: MIT
 *
 * Latent files, motion files, run states and embeddings, each by what reads it in a run.  The run
 * is stopped where computing begins.
 */
#include "input.h"

static vmt_ctx *ctx;
static vmt_model *model;
static vmt_settings settings, sized; /* sized: a run without a reference */

static void open_once(void)
{
    const vmt_model_paths paths = {.dit = FUZZ_DATA "/golden/guided_a.weights.safetensors",
                                   .vae = FUZZ_DATA "/golden/vae_a.weights.safetensors",
                                   .text = FUZZ_DATA "/golden/umt5_a.weights.safetensors"};

    if (model)
        return;
    if (vmt_ctx_open(&ctx, &(vmt_config){.backend = "ref", .threads = 1}) != VMT_OK ||
        vmt_model_open(ctx, &model, &paths) != VMT_OK ||
        vmt_settings_init(ctx, &settings, model, "tiny") != VMT_OK ||
        vmt_settings_set(ctx, &settings, "steps", "2") != VMT_OK ||
        vmt_settings_set(ctx, &settings, "guided-steps", "1") != VMT_OK ||
        vmt_settings_set(ctx, &settings, "inner-steps", "2") != VMT_OK ||
        vmt_settings_set(ctx, &settings, "block", "2") != VMT_OK)
        abort();
    sized = settings;
    if (vmt_settings_set(ctx, &sized, "size", "16x16") != VMT_OK ||
        vmt_settings_set(ctx, &sized, "frames", "5") != VMT_OK)
        abort();
}

/* The second report of phase "sample" is the loop's: the state has been read. */
static int stop(void *user, const vmt_progress *progress)
{
    int *seen = user;

    if (progress->phase == VMT_PHASE_DECODE)
        return 1;
    return progress->phase == VMT_PHASE_SAMPLE && ++*seen == 2;
}

static void expect_refusal(enum vmt_status status, vmt_clip *result, int *seen)
{
    if (status != VMT_OK)
        FUZZ_REFUSED(*ctx);
    ctx->message[0] = '\0';
    *seen = 0;
    vmt_clip_free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    vmt_clip result = {0};
    int seen = 0;

    if (length > 0 && bytes[0] == '{') /* an index would open files of this machine */
        return 0;
    open_once();
    const char *path = fuzz_file(bytes, length);
    const char *texts = FUZZ_SEEDS "/record/embeddings";
    vmt_transfer_io io = {
        .result = &result, .embeddings = texts, .progress = stop, .progress_user = &seen};

    io.motion = path;
    expect_refusal(vmt_transfer(ctx, model, &settings, &io), &result, &seen);
    io.motion = NULL;
    io.resume = path;
    expect_refusal(vmt_transfer(ctx, model, &settings, &io), &result, &seen);
    expect_refusal(vmt_generate(ctx, model, &sized, &io), &result, &seen);
    io.resume = NULL;
    expect_refusal(vmt_decode(ctx, model, &settings, path, &io), &result, &seen);
    io.embeddings = path;
    expect_refusal(vmt_generate(ctx, model, &sized, &io), &result, &seen);
    return 0;
}
