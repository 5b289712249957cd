/* SPDX-License-Identifier: MIT
 *
 * Where the strongest mover of a clip goes, and how two paths agree.
 */
#include "testing.h"

#include "table/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vmt_ctx ctx;

static void mover_is_found(void **state)
{
    enum { FRAMES = 20, W = 96, H = 64 };
    double seen[FRAMES][2], want[FRAMES][2], correlation, distance;
    vmt_clip clip;
    (void)state;

    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, FRAMES, H, W, 16));
    for (int f = 0; f < FRAMES; f++) {
        want[f][0] = 14 + 3.5 * f;
        want[f][1] = 32 + 18 * sin(0.5 * f);
        for (int i = 0; i < H * W; i++)
            for (int c = 0; c < 3; c++) {
                const double dx = i % W + 0.5 - want[f][0], dy = i / W + 0.5 - want[f][1];
                clip.pixels[(f * H * W + i) * 3 + c] =
                    (uint8_t)(hypot(dx, dy) < 8 ? 240 - 60 * c : 40 + i % W + 10 * c);
            }
    }
    CHECK_OK(&ctx, table_track(&ctx, &clip, seen));
    assert_true(table_path_agreement(&correlation, &distance, seen, want, FRAMES));
    if (!(correlation > 0.99) || !(distance < 2))
        fail_msg("correlation %.3f, distance %.2f", correlation, distance);
    for (int f = 0; f < FRAMES; f++) /* mirrored: x runs the other way, y as it is */
        seen[f][0] = W - seen[f][0];
    assert_true(table_path_agreement(&correlation, &distance, seen, want, FRAMES));
    assert_true(correlation < 0);
    for (int f = 0; f < FRAMES; f++)
        want[f][0] = want[f][1] = 30;
    assert_false(table_path_agreement(&correlation, &distance, seen, want, FRAMES));
    memset(clip.pixels, 90, FRAMES * H * W * 3);
    CHECK_OK(&ctx, table_track(&ctx, &clip, seen)); /* nothing moves: somewhere, but a number */
    assert_true(isfinite(seen[3][0]) && isfinite(seen[3][1]));
    for (int f = 0; f < FRAMES; f++) /* agreement with what moves is not 0, there is none */
        want[f][0] = 4 * f;
    assert_false(table_path_agreement(&correlation, &distance, seen, want, FRAMES));
    assert_true(isfinite(correlation) && isnan(distance));
    vmt_clip_free(&clip);
}

/* ---- against the definition in Python: tools/quality/path_golden.py */

enum { GOLDEN_FRAMES = 24, GOLDEN_WIDTH = 96, GOLDEN_HEIGHT = 64 };

/* Where the object is drawn. */
static int golden_x(int frame)
{
    return 12 + 3 * frame;
}

static int golden_y(int frame)
{
    return 20 + frame * frame % 37 / 2;
}

/* A patterned ground with noise, an object, a weaker one that moves the other way. */
static uint8_t golden_pixel(int f, int y, int x, int c)
{
    const uint32_t noise = ((uint32_t)f * 73856093u ^ (uint32_t)y * 19349663u ^
                            (uint32_t)x * 83492791u ^ (uint32_t)c * 2654435761u) >>
                           13;
    const int ground = 60 + (x * 7 + y * 13 + c * 29) % 50 + (int)(noise % 9);

    if (abs(x - golden_x(f)) <= 7 && abs(y - golden_y(f)) <= 5)
        return (uint8_t)(230 - 60 * c);
    return (uint8_t)(abs(x - (95 - golden_x(f))) + abs(y - 12) <= 5 ? ground + 35 : ground);
}

static void paths_are_those_of_the_definition(void **state)
{
    static const double places[GOLDEN_FRAMES][2] = {
        {12.476960970, 20.483578666}, {15.493327902, 20.489359745}, {18.505011292, 22.497108766},
        {21.512488841, 24.482486278}, {24.495772542, 28.487664887}, {27.477481145, 32.513393838},
        {30.492361111, 32.513393838}, {33.509775238, 33.482102002}, {36.500673490, 26.499260903},
        {39.501465172, 33.482102002}, {42.495041939, 25.480635362}, {45.497097793, 33.493027954},
        {48.504495598, 30.496613191}, {51.512355352, 30.496613191}, {54.509226451, 25.488052151},
        {57.515379355, 25.488052151}, {60.483336721, 35.483795995}, {63.477147351, 35.483795995},
        {66.494754532, 34.482985147}, {69.509649015, 34.482985147}, {72.527466818, 35.482427227},
        {75.531468185, 35.482427227}, {78.502142428, 25.533791836}, {81.507452565, 25.533791836},
    };
    static const struct {
        int frames;
        double slope, correlation, distance; /* slope 0.1: y moves less than 4 px */
    } rows[] = {{24, 1.0, 0.973087186, 4.411638256},
                {23, 1.0, 0.971154754, 4.471536667},
                {24, 0.1, 0.999241571, 4.165867439}};
    double seen[GOLDEN_FRAMES][2], want[GOLDEN_FRAMES][2], correlation, distance;
    vmt_clip clip;
    (void)state;

    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, GOLDEN_FRAMES, GOLDEN_HEIGHT, GOLDEN_WIDTH, 16));
    for (int i = 0; i < GOLDEN_FRAMES * GOLDEN_HEIGHT * GOLDEN_WIDTH * 3; i++)
        clip.pixels[i] =
            golden_pixel(i / (GOLDEN_HEIGHT * GOLDEN_WIDTH * 3),
                         i / (GOLDEN_WIDTH * 3) % GOLDEN_HEIGHT, i / 3 % GOLDEN_WIDTH, i % 3);
    CHECK_OK(&ctx, table_track(&ctx, &clip, seen));
    for (int f = 0; f < GOLDEN_FRAMES; f++)
        for (int axis = 0; axis < 2; axis++)
            if (!(fabs(seen[f][axis] - places[f][axis]) < 1e-8))
                fail_msg("frame %d: %.9f, %.9f", f, seen[f][0], seen[f][1]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        clip.frames = rows[i].frames;
        CHECK_OK(&ctx, table_track(&ctx, &clip, seen));
        for (int f = 0; f < clip.frames; f++) {
            want[f][0] = golden_x(f) + f % 3 - 0.5;
            want[f][1] = 30 + rows[i].slope * (1.1 * golden_y(f) - 30);
        }
        assert_true(table_path_agreement(&correlation, &distance, seen, want, clip.frames));
        if (!(fabs(correlation - rows[i].correlation) < 1e-9) ||
            !(fabs(distance - rows[i].distance) < 1e-9))
            fail_msg("row %d: %.9f, %.9f", (int)i, correlation, distance);
    }
    vmt_clip_free(&clip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mover_is_found),
        cmocka_unit_test(paths_are_those_of_the_definition),
    };

    vmt_ctx_init(&ctx);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
