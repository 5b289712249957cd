/* SPDX-License-Identifier: MIT
 *
 * The text encoder, the guided loop (losses, gradients, latents of every inner step) and the whole
 * pipeline from frames to frames, against the official implementation; both variants.
 */
#include "conformance.h"

/* The loop of each other method. */
static void check_methods_on(const char *backend, const char *dtype, const char *prefix)
{
    static const char *const cases[] = {"guided_ditflow",     "guided_ditflow_10",
                                        "guided_moft",        "guided_smm",
                                        "guided_motionclone", "guided_flowmotion"};
    vmt_ctx *ctx = test_ctx_open(backend, dtype);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        conformance_check_guided(ctx, cases[i], vmt_probe_guided, prefix, 1);
    test_ctx_close(ctx);
}

/* released: what of that case is compared.  Its windows are truncated positions and its optimiser
 * follows signs, so two right float programs may part after some steps: on cpu they do in step 1.
 */
static void check_on(const char *backend, const char *dtype, const char *released)
{
    vmt_ctx *ctx = test_ctx_open(backend, dtype);

    conformance_check(ctx, "umt5_a", vmt_probe_umt5, "out.", 1);
    conformance_check_guided(ctx, "guided_a_paper", vmt_probe_guided, "out.", 1);
    conformance_check_guided(ctx, "guided_a_released", vmt_probe_guided, released, 1);
    conformance_check_guided(ctx, "pipeline_a", vmt_probe_pipeline, "out.", 1);
    test_ctx_close(ctx);
}

static void run_on_ref(void **state)
{
    (void)state;
    check_on("ref", "f32", "out.");
    check_methods_on("ref", "f32", "out.");
}

static void run_on_ref64(void **state)
{
    (void)state;
    check_on("ref64", NULL, "out.");
    check_methods_on("ref64", NULL, "out.");
}

static void run_on_cpu(void **state)
{
    (void)state;
#ifdef FASTVMT_HAVE_DNNL
    check_on("cpu", "f32", "out.step0.");
    check_methods_on("cpu", "f32", "out.step0.");
#else
    skip();
#endif
}

static void run_on_cuda(void **state)
{
    (void)state;
    if (!test_backend_built("cuda", "f32"))
        skip();
    check_on("cuda", "f32", "out.step0.");
    check_methods_on("cuda", "f32", "out.step0.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_on_ref),
        cmocka_unit_test(run_on_ref64),
        cmocka_unit_test(run_on_cpu),
        cmocka_unit_test(run_on_cuda),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
