/* SPDX-License-Identifier: MIT
 *
 * The DiT against the official implementation: every block's output, q and k of a block, velocity,
 * and both gradients at the latent.
 */
#include "conformance.h"

static void check_on(const char *backend, const char *dtype, double factor)
{
    vmt_ctx *ctx = test_ctx_open(backend, dtype);

    conformance_check(ctx, "dit_a", vmt_probe_dit, "out.", factor);
    conformance_check(ctx, "dit_b", vmt_probe_dit, "out.", factor);
    test_ctx_close(ctx);
}

static void dit_on_ref(void **state)
{
    (void)state;
    check_on("ref", "f32", 1);
}

/* The recorded values are rounded to float32: a tenth of the tolerance is float32's own deviation.
 */
static void dit_on_ref64(void **state)
{
    (void)state;
    check_on("ref64", NULL, 0.1);
}

static void dit_on_cpu(void **state)
{
    (void)state;
#ifdef FASTVMT_HAVE_DNNL
    check_on("cpu", "f32", 1);
#else
    skip();
#endif
}

static void dit_on_cuda(void **state)
{
    (void)state;
    if (!test_backend_built("cuda", "f32"))
        skip();
    check_on("cuda", "f32", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dit_on_ref),
        cmocka_unit_test(dit_on_ref64),
        cmocka_unit_test(dit_on_cpu),
        cmocka_unit_test(dit_on_cuda),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
