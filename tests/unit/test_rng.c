/* SPDX-License-Identifier: MIT
 *
 * The generator's seed.  That the values are PyTorch's is tests/golden/test_golden_sampler.c.
 */
#include "testing.h"

#include "base/rng.h"

static void test_low_bits_of_seed(void **state)
{
    vmt_rng a, b;

    (void)state;
    vmt_rng_seed(&a, 5);
    vmt_rng_seed(&b, 5 + (UINT64_C(1) << 32));
    assert_int_equal(vmt_rng_bits(&a), vmt_rng_bits(&b));
    vmt_rng_seed(&b, 6);
    assert_int_not_equal(vmt_rng_bits(&a), vmt_rng_bits(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_bits_of_seed),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
