/* SPDX-License-Identifier: MIT
 *
 * bfloat16, binary16 and e4m3: every bit pattern, and every rounding boundary between two
 * neighbours.
 */
#include "testing.h"

#include "base/half.h"

#include <math.h>

/* Value of a binary16 pattern from its definition. */
static double f16_value(unsigned h)
{
    const int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    const double magnitude =
        exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void f16_widens_every_pattern(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        const float x = vmt_f32_of_f16((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true(h & 0x3ff ? isnan(x) : isinf(x));
            assert_int_equal(signbit(x) != 0, h >> 15);
        } else if (x != (float)f16_value(h) || (signbit(x) != 0) != (int)(h >> 15)) {
            fail_msg("pattern %04x gives %g", h, (double)x);
        }
    }
}

static double e4m3_value(unsigned h)
{
    const int exponent = (int)(h >> 3 & 15), fraction = (int)(h & 7);
    const double magnitude = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    return h & 0x80 ? -magnitude : magnitude;
}

/* Every pattern, and between each two neighbours the midpoint and the floats beside it. */
static void e4m3_both_ways(void **state)
{
    (void)state;
    assert_true(isnan(vmt_f32_of_e4m3(0x7f)) && isnan(vmt_f32_of_e4m3(0xff)));
    assert_int_equal(vmt_e4m3_of_f32(NAN) & 0x7f, 0x7f);
    assert_int_equal(vmt_e4m3_of_f32(INFINITY), 0x7e);
    assert_int_equal(vmt_e4m3_of_f32(-1e30F), 0xfe);
    for (unsigned h = 0; h < 0x100; h++) {
        if ((h & 0x7f) == 0x7f)
            continue;
        const float x = vmt_f32_of_e4m3((uint8_t)h);
        assert_true(x == (float)e4m3_value(h) && (signbit(x) != 0) == (int)(h >> 7));
        assert_int_equal(vmt_e4m3_of_f32(x), h);
        if ((h & 0x7f) == 0x7e)
            continue;
        const float middle = (float)((e4m3_value(h) + e4m3_value(h + 1)) / 2);
        const float outwards = h & 0x80 ? -INFINITY : INFINITY;
        assert_int_equal(vmt_e4m3_of_f32(middle), h % 2 ? h + 1 : h);
        assert_int_equal(vmt_e4m3_of_f32(nextafterf(middle, 0)), h);
        assert_int_equal(vmt_e4m3_of_f32(nextafterf(middle, outwards)), h + 1);
    }
}

static void f16_narrows_back(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        const uint16_t back = vmt_f16_of_f32(vmt_f32_of_f16((uint16_t)h));
        if ((h & 0x7c00) == 0x7c00 && h & 0x3ff)
            assert_true((back & 0x7c00) == 0x7c00 && back & 0x3ff);
        else
            assert_int_equal(back, h);
    }
}

static void bf16_narrows_back(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        const float x = vmt_f32_of_bf16((uint16_t)h);
        const uint16_t back = vmt_bf16_of_f32(x);
        if (isnan(x))
            assert_true((back & 0x7f80) == 0x7f80 && back & 0x7f);
        else
            assert_int_equal(back, h);
    }
}

/* Around the midpoint of the patterns h and h + 1: below goes to h, above to h + 1, itself to the
 * even one. */
static void check_midpoint(unsigned h, float middle, uint16_t (*narrow)(float))
{
    const unsigned even = h & 1 ? h + 1 : h;
    for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
        const float s = sign ? -1.0f : 1.0f;
        assert_int_equal(narrow(s * middle), sign | even);
        assert_int_equal(narrow(s * nextafterf(middle, 0)), sign | h);
        assert_int_equal(narrow(s * nextafterf(middle, INFINITY)), sign | (h + 1));
    }
}

static void f16_rounds_ties_to_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) /* 0x7bff: the midpoint to infinity, 65520 */
        check_midpoint(h, (float)(h == 0x7bff ? 65520 : (f16_value(h) + f16_value(h + 1)) / 2),
                       vmt_f16_of_f32);
    assert_int_equal(vmt_f16_of_f32(1e30f), 0x7c00);
    assert_int_equal(vmt_f16_of_f32(-INFINITY), 0xfc00);
    assert_int_equal(vmt_f16_of_f32(1e-30f), 0);
}

static void bf16_rounds_ties_to_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7f80; h++)
        check_midpoint(h, vmt_f32_of_bits(h << 16 | 0x8000), vmt_bf16_of_f32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_widens_every_pattern), cmocka_unit_test(f16_narrows_back),
        cmocka_unit_test(e4m3_both_ways),           cmocka_unit_test(bf16_narrows_back),
        cmocka_unit_test(f16_rounds_ties_to_even),  cmocka_unit_test(bf16_rounds_ties_to_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
