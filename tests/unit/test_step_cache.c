/* SPDX-License-Identifier: MIT
 *
 * Which steps are computed, by the published polynomial and by what a run measures.
 */
#include "testing.h"

#include "sampler/step_cache.h"

#include <math.h>

enum { STEPS = 12 };

/* One digit a step: '1' computed, '0' reused.  change: what each computed step measures, per step
 * that it is from the last. */
static void run(vmt_step_cache *c, double change, char pattern[STEPS + 1])
{
    for (int64_t i = 0; i < STEPS; i++) {
        const bool reuses = vmt_step_cache_reuses(c, i);
        pattern[i] = reuses ? '0' : '1';
        if (reuses)
            vmt_step_cache_reused(c, i);
        else
            vmt_step_cache_computed(c, i, change * (double)(i - c->computed));
    }
    pattern[STEPS] = 0;
}

static vmt_step_cache made(double threshold, const double *changes, int64_t guided, int64_t turn)
{
    vmt_step_cache c = {.threshold = threshold, .changes = changes};

    vmt_step_cache_begin(&c, guided, STEPS, turn, STEPS);
    return c;
}

static void published_values(void **state)
{
    const double *small = vmt_step_cache_published(1536, 30, 16);
    const double *large = vmt_step_cache_published(5120, 40, 16);
    double changes[STEPS] = {0};

    (void)state;
    assert_non_null(small);
    assert_non_null(large);
    assert_null(vmt_step_cache_published(1536, 30, 36)); /* image to video */
    assert_null(vmt_step_cache_published(128, 8, 16));
    for (int i = 1; i < STEPS; i++)
        changes[i] = 0.1;
    /* 0.239676752 - 1.31110545 + 2.01331979 - 0.829855975 + 0.137887774 = 0.249922891 a step */
    vmt_step_cache c = made(1.0, changes, 0, STEPS);
    c.polynomial = small;
    vmt_step_cache_computed(&c, 0, (double)NAN);
    assert_true(vmt_step_cache_reuses(&c, 1));
    vmt_step_cache_reused(&c, 1);
    assert_true(fabs(c.drift - 0.249922891) < 1e-8);
    /* below zero at 0.1: no change expected, but never more than so many in a row */
    char pattern[STEPS + 1];
    c = made(0.5, changes, 0, STEPS);
    c.polynomial = large;
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "100001000011");
}

static void measured_pattern(void **state)
{
    double changes[STEPS] = {0};
    char pattern[STEPS + 1];

    (void)state;
    for (int i = 1; i < STEPS; i++)
        changes[i] = 0.05;
    vmt_step_cache c = made(0, changes, 0, STEPS);
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "111111111111"); /* off */
    c = made(1e-9, changes, 0, STEPS);
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "111111111111");
    c = made(0.07, changes, 0, STEPS); /* two steps of 0.03 stay below, three do not */
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "110010010011");
    assert_true(fabs(c.rate - 0.6) < 1e-12);
    c = made(0.07, changes, 4, STEPS); /* step 3 to 4 is the first that guidance did not move */
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "111110010011");
    c = made(0.07, changes, 4, 6); /* step 6 is of fewer passes */
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "111110100101");
    c = made(100, changes, 0, STEPS);
    run(&c, 0.03, pattern);
    assert_string_equal(pattern, "110000100001");
}

static void lines(void **state)
{
    const double changes[STEPS] = {0};
    const vmt_step_cache c = made(1, changes, 3, 8);

    (void)state;
    assert_false(vmt_step_cache_in_line(&c, -1, 3));
    assert_false(vmt_step_cache_in_line(&c, 1, 2)); /* guidance moved the latent between */
    assert_true(vmt_step_cache_in_line(&c, 2, 3));
    assert_true(vmt_step_cache_in_line(&c, 5, 7));
    assert_false(vmt_step_cache_in_line(&c, 7, 8));
    assert_true(vmt_step_cache_in_line(&c, 8, 10));
}

/* The first step of another network is computed, and no line goes across. */
static void another_network(void **state)
{
    const double changes[STEPS] = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    vmt_step_cache c = {.threshold = 100, .changes = changes, .rate = 1};

    (void)state;
    vmt_step_cache_begin(&c, 0, STEPS, STEPS, 5);
    c.rate = 0.01;
    vmt_step_cache_computed(&c, 3, (double)NAN);
    assert_true(vmt_step_cache_reuses(&c, 4));
    assert_false(vmt_step_cache_reuses(&c, 5));
    assert_false(vmt_step_cache_may_serve(&c, 4));
    assert_false(vmt_step_cache_in_line(&c, 4, 5));
    assert_true(vmt_step_cache_in_line(&c, 5, 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_values),
                                       cmocka_unit_test(measured_pattern), cmocka_unit_test(lines),
                                       cmocka_unit_test(another_network)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
