/* SPDX-License-Identifier: MIT
 *
 * Noise and schedules against PyTorch's generator, FastVMT's and Wan2.1's schedulers.
 * Proven killers: `octant & 4` -> `octant & 2` in rng.c; LANES 8 -> 16 in sampler.c (one unit in
 * the last place); rho0 / r -> rho0; the order of UniPC's last step.
 */
#include "conformance.h"

static void test_noise(void **state)
{
    vmt_ctx *ctx = test_ctx_open("ref", NULL);

    (void)state;
    conformance_check(ctx, "rng_a", vmt_probe_rng, "", 0.0); /* factor 0: equal to the bit */
    test_ctx_close(ctx);
}

static void test_samplers(void **state)
{
    const char *const backends[][2] = {
        {"ref", "f32"}, {"ref64", "auto"}, {"cpu", "f32"}, {"cuda", "f32"}};

    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (!test_backend_built(backends[i][0], backends[i][1]))
            continue;
        vmt_ctx *ctx = test_ctx_open(backends[i][0], backends[i][1]);
        conformance_check(ctx, "samplers_a", vmt_probe_samplers, "out.", 1.0);
        conformance_check(ctx, "samplers_a", vmt_probe_samplers, "out.flow", 0.0);
        test_ctx_close(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_samplers),
    };
    return cmocka_run_group_tests_name("golden_sampler", tests, NULL, NULL);
}
