/* SPDX-License-Identifier: MIT
 *
 * The text encoder, the guided loop (losses, gradients, latents of every inner step) and the whole
 * pipeline from frames to frames, against the official implementation; both variants.
 */
#include "conformance.h"

static void check_on(const char *backend)
{
    vmt_ctx *ctx = test_ctx_open(backend, "auto");

    conformance_check(ctx, "umt5_a", vmt_probe_umt5, "out.", 1);
    conformance_check_guided(ctx, "guided_a_paper", vmt_probe_guided, 1);
    conformance_check_guided(ctx, "guided_a_released", vmt_probe_guided, 1);
    conformance_check_guided(ctx, "pipeline_a", vmt_probe_pipeline, 1);
    test_ctx_close(ctx);
}

static void run_on_ref(void **state)
{
    (void)state;
    check_on("ref");
}

static void run_on_ref64(void **state)
{
    (void)state;
    check_on("ref64");
}

static void run_on_cpu(void **state)
{
    (void)state;
#ifdef FASTVMT_HAVE_DNNL
    check_on("cpu");
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_on_ref),
        cmocka_unit_test(run_on_ref64),
        cmocka_unit_test(run_on_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
