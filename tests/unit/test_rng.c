/* SPDX-License-Identifier: MIT
 *
 * The generator's state: a saved one goes on with the same bits, a corrupt one is refused.  That
 * the values are PyTorch's is tests/golden/test_golden_sampler.c.
 */
#include "testing.h"

#include "base/rng.h"

#include <string.h>

enum { COUNT = 700 };

static void test_goes_on(void **state)
{
    /* after a small odd draw (a value is cached), and in the middle of a round of words */
    const int64_t before[] = {0, 3, 100, 629};
    unsigned char bytes[VMT_RNG_BYTES];
    vmt_rng a, b;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        float x[COUNT], y[COUNT];

        vmt_rng_seed(&a, 7 + i);
        vmt_rng_normal(&a, x, before[i]);
        vmt_rng_save(&a, bytes);
        vmt_rng_seed(&b, 99);
        CHECK_OK(&ctx, vmt_rng_load(&ctx, &b, bytes));
        for (int64_t n = 1; n <= COUNT; n = 3 * n + 2) {
            vmt_rng_normal(&a, x, n);
            vmt_rng_normal(&b, y, n);
            assert_memory_equal(x, y, (size_t)n * sizeof(float));
        }
    }
}

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

static void test_corrupt_state(void **state)
{
    unsigned char good[VMT_RNG_BYTES], bad[VMT_RNG_BYTES];
    /* position past the words, flag neither 0 nor 1, cached value NaN */
    const struct {
        int at;
        unsigned char value;
    } faults[] = {{4 * VMT_MT_WORDS + 1, 3}, {4 * VMT_MT_WORDS + 4, 2}, {VMT_RNG_BYTES - 1, 0x7f}};
    vmt_rng rng, before;
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    vmt_rng_seed(&rng, 1);
    vmt_rng_save(&rng, good);
    before = rng;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        memcpy(bad, good, sizeof(bad));
        bad[faults[i].at] = faults[i].value;
        if (faults[i].value == 0x7f)
            bad[faults[i].at - 1] = 0xf8;
        assert_int_equal(vmt_rng_load(&ctx, &rng, bad), VMT_E_FORMAT);
        assert_memory_equal(rng.words, before.words, sizeof(rng.words));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_low_bits_of_seed),
        cmocka_unit_test(test_corrupt_state),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
