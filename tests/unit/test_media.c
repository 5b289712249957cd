/* SPDX-License-Identifier: MIT
 *
 * Media without libav: Y4M, PPM, choice of frames, resizing, bad input, failed writes.
 */
#include "cli_run.h"
#include "clips.h"

#include "base/sha256.h"
#include "media/colour.h"
#include "media/media.h"
#include "media/resize.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static vmt_ctx ctx;

static int setup(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    return 0;
}

static void write_clip(const vmt_clip *clip, const char *path)
{
    CHECK_OK(&ctx, media_write(&ctx, clip, path, NULL));
}

static vmt_clip read_clip(const char *path, const media_read_options *options)
{
    vmt_clip clip;
    CHECK_OK(&ctx, media_read(&ctx, &clip, path, options));
    return clip;
}

/* Reading fails with this status, and a message that names the file and holds `part`. */
static void check_refused(const char *path, const media_read_options *options,
                          enum vmt_status expected, const char *part)
{
    vmt_clip clip;
    const enum vmt_status status = media_read(&ctx, &clip, path, options);

    if (status != expected || !strstr(ctx.message, part) || strchr(ctx.message, '\n'))
        fail_msg("%s: status %d, message \"%s\"; expected %d, \"%s\"", path, (int)status,
                 ctx.message, (int)expected, part);
    assert_null(clip.pixels);
}

/* ---- resizing: hashes are of what Pillow 13.0 gives (resize, BICUBIC) for the same bytes */

static void resize_as_pillow(void **state)
{
    static const struct {
        int64_t w, h, to_w, to_h;
        const char *hash;
    } cases[] = {
        {13, 9, 7, 5, "53bd28dc1d5ea47c5eeb9320cc3035ba319f26d96ea47f08bfa206f122efb2f2"},
        {13, 9, 40, 31, "a24d8cb8c3db94b635efd335ee1910eacf886159e7428d36c3a8169407050eeb"},
        {160, 96, 57, 96, "110331b6b8fc30582b0ba505ec2696d8ecbff825fc80f8079b54d1952ca01006"},
        {64, 48, 64, 11, "0d4aa0e42c65462d6e22c5126899e8c3f58a36f1d23b4614d8daec6388c1793f"},
        {1, 1, 5, 4, "a53e5a766bed0671a6e0bb653046f8581c48edb67a4182c036f65f55d9698ae3"},
        {100, 3, 9, 17, "d6f65a533daf9e2e28f3f9bbb3b9aa838302f86971cb390609c8239d33012e2a"},
        {31, 37, 1, 1, "a1a4a354c9935583386a0c84d8ece48df6a0bbe9b998693fa5741fda58d163c1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmt_clip from = test_clip_noise(&ctx, 1, cases[i].w, cases[i].h, 1), to;
        const media_view view = {from.pixels, from.width, from.height, 3 * from.width};
        vmt_sha256 hash;
        char text[65];
        CHECK_OK(&ctx, vmt_clip_new(&ctx, &to, 1, cases[i].to_h, cases[i].to_w, 1));
        CHECK_OK(&ctx, media_resize(&ctx, to.pixels, to.width, to.height, 3 * to.width, &view));
        vmt_sha256_init(&hash);
        vmt_sha256_add(&hash, to.pixels, (size_t)(3 * to.width * to.height));
        vmt_sha256_text(&hash, text);
        assert_string_equal(text, cases[i].hash);
        vmt_clip_free(&from);
        vmt_clip_free(&to);
    }
}

/* A white frame with a black left third, 30x10, made 10x10. */
static void fit_modes(void **state)
{
    vmt_clip from;
    uint8_t to[300];
    (void)state;
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &from, 1, 10, 30, 1));
    memset(from.pixels, 255, 900);
    for (int y = 0; y < 10; y++)
        memset(from.pixels + 90 * y, 0, 30);
    const media_view view = {from.pixels, 30, 10, 90};

    CHECK_OK(&ctx, media_fit_frame(&ctx, to, 10, 10, MEDIA_FIT_CROP, &view, 1));
    assert_int_equal(to[0], 255); /* the middle third only */
    CHECK_OK(&ctx, media_fit_frame(&ctx, to, 10, 10, MEDIA_FIT_STRETCH, &view, 1));
    assert_int_equal(to[0], 0);
    assert_int_equal(to[27], 255);
    CHECK_OK(&ctx, media_fit_frame(&ctx, to, 10, 10, MEDIA_FIT_PAD, &view, 1));
    assert_int_equal(to[27], 0);            /* bar above */
    assert_int_equal(to[4 * 30 + 27], 255); /* all of it in the middle 3 rows */
    assert_int_equal(to[4 * 30], 0);
    assert_int_equal(to[8 * 30 + 27], 0);
    /* pixels three times as high as wide: the frame is square as shown */
    CHECK_OK(&ctx, media_fit_frame(&ctx, to, 10, 10, MEDIA_FIT_CROP, &view, 1.0 / 3));
    assert_int_equal(to[0], 0);
    assert_int_equal(to[27], 255);
    vmt_clip_free(&from);
}

/* ---- colour */

/* The primaries of BT.709 in limited range: known values of the standard's table. */
static void known_colours(void **state)
{
    static const uint8_t rgb[5][3] = {
        {255, 255, 255}, {0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
    static const uint8_t bt709[5][3] = {
        {235, 128, 128}, {16, 128, 128}, {63, 102, 240}, {173, 42, 26}, {32, 240, 118}};
    static const uint8_t bt601[5][3] = {
        {235, 128, 128}, {16, 128, 128}, {81, 90, 240}, {145, 54, 34}, {41, 240, 110}};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int m = 0; m < 2; m++) {
            uint8_t yuv[3], back[3];
            const uint8_t *want = m ? bt709[i] : bt601[i];
            media_planes p = {.y = yuv,
                              .cb = yuv + 1,
                              .cr = yuv + 2,
                              .stride_y = 1,
                              .stride_c = 1,
                              .width = 1,
                              .height = 1,
                              .matrix = m ? MEDIA_BT709 : MEDIA_BT601};
            media_planes_from_rgb(&p, rgb[i]);
            assert_memory_equal(yuv, want, 3);
            media_planes_to_rgb(back, &p);
            for (int c = 0; c < 3; c++)
                assert_in_range(abs(back[c] - rgb[i][c]), 0, 2);
        }
}

static void full_range_is_nearly_exact(void **state)
{
    vmt_clip clip = test_clip_noise(&ctx, 1, 64, 64, 1), back;
    uint8_t yuv[3 * 64 * 64];
    media_planes p = {.y = yuv,
                      .cb = yuv + 4096,
                      .cr = yuv + 8192,
                      .stride_y = 64,
                      .stride_c = 64,
                      .width = 64,
                      .height = 64,
                      .full = true,
                      .matrix = MEDIA_BT709};
    (void)state;
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &back, 1, 64, 64, 1));
    media_planes_from_rgb(&p, clip.pixels);
    media_planes_to_rgb(back.pixels, &p);
    assert_in_range(test_clip_distance(&clip, &back), 0, 2);
    vmt_clip_free(&clip);
    vmt_clip_free(&back);
}

/* ---- Y4M and PPM there and back */

static void y4m_roundtrip(void **state)
{
    static const int64_t sizes[][2] = {{160, 96}, {33, 17}, {1, 1}, {2, 3}};
    static const double rates[] = {16, 30000 / 1001.0, 12.5, 23.976};
    (void)state;
    for (int i = 0; i < 4; i++) {
        vmt_clip clip = test_clip_smooth(&ctx, 5, sizes[i][0], sizes[i][1], rates[i]);
        write_clip(&clip, "media_a.y4m");
        vmt_clip back = read_clip("media_a.y4m", NULL);
        assert_in_range(test_clip_distance(&clip, &back), 0, 3);
        assert_true(back.fps > rates[i] - 1e-3 && back.fps < rates[i] + 1e-3);
        vmt_clip_free(&clip);
        vmt_clip_free(&back);
    }
    unlink("media_a.y4m");
}

/* 4x2 pixels: chroma of the left half differs from that of the right. */
static void y4m_chroma_siting(void **state)
{
    static const struct {
        const char *tag;
        int red[4]; /* of the first row */
    } cases[] = {
        {"420jpeg", {128, 153, 203, 228}},  /* 1/4 and 3/4 of the way from column to column */
        {"420mpeg2", {128, 178, 228, 228}}, /* on column 0 and 2 */
    };
    (void)state;
    for (int i = 0; i < 2; i++) {
        char file[128];
        int length = snprintf(file, sizeof file,
                              "YUV4MPEG2 W4 H2 F16:1 C%s XCOLORRANGE=FULL XCOLORMATRIX=BT709\n"
                              "FRAME\n",
                              cases[i].tag);
        memset(file + length, 128, 12);
        file[length + 11] = (char)(128 + 64); /* Cr of the right half: red + 100.8 */
        file_write("media_b.y4m", file, (size_t)length + 12);
        vmt_clip clip = read_clip("media_b.y4m", NULL);
        for (int x = 0; x < 4; x++)
            assert_in_range(clip.pixels[3 * x], cases[i].red[x] - 1, cases[i].red[x] + 1);
        vmt_clip_free(&clip);
    }
    unlink("media_b.y4m");
}

static void ppm_roundtrip(void **state)
{
    vmt_clip clip = test_clip_noise(&ctx, 3, 21, 13, 24);
    const media_read_options as24 = {.fps = 24};
    (void)state;
    folder_new("media_ppm");
    write_clip(&clip, "media_ppm/f%03d.ppm");
    assert_int_equal(access("media_ppm/f002.ppm", R_OK), 0);
    vmt_clip back = read_clip("media_ppm/f%03d.ppm", &as24);
    assert_int_equal(test_clip_distance(&clip, &back), 0);
    vmt_clip_free(&back);
    back = read_clip("media_ppm", NULL);
    assert_int_equal(test_clip_distance(&clip, &back), 0);
    assert_true(back.fps > 15.9 && back.fps < 16.1);
    vmt_clip_free(&back);
    assert_true(media_would_replace("media_ppm/f%03d.ppm"));
    assert_false(media_would_replace("media_ppm/g%03d.ppm"));
    clip.frames = 2; /* a shorter one takes the place of the longer one */
    write_clip(&clip, "media_ppm/f%03d.ppm");
    assert_int_not_equal(access("media_ppm/f002.ppm", F_OK), 0);
    vmt_clip_free(&clip);
    unlink("media_ppm/f000.ppm");
    unlink("media_ppm/f001.ppm");
    assert_int_equal(rmdir("media_ppm"), 0); /* nothing else was left */
}

/* ---- which frames */

static void check_frames(const media_read_options *options, const char *expected)
{
    vmt_clip clip = read_clip("media_c.y4m", options);
    char found[256] = "";

    for (int64_t t = 0; t < clip.frames; t++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%d ",
                 (int)test_frame_number(&clip, t));
    assert_string_equal(found, expected);
    vmt_clip_free(&clip);
}

static void choice_of_frames(void **state)
{
    vmt_clip clip = test_clip_smooth(&ctx, 12, 48, 32, 12); /* one second */
    (void)state;
    write_clip(&clip, "media_c.y4m");
    vmt_clip_free(&clip);
    check_frames(&(media_read_options){.start_frame = 3, .frames = 4}, "3 4 5 6 ");
    check_frames(&(media_read_options){.start_frame = 1, .stride = 4}, "1 5 9 ");
    check_frames(&(media_read_options){.start_seconds = 0.5, .frames = 2}, "6 7 ");
    check_frames(&(media_read_options){.fps = 6}, "0 2 4 6 8 10 ");
    check_frames(&(media_read_options){.fps = 24, .frames = 5}, "0 0 1 1 2 ");
    check_frames(&(media_read_options){.fps = 8, .start_frame = 2, .frames = 4}, "2 3 5 6 ");
    check_frames(&(media_read_options){.fps = 6, .stride = 2}, "0 2 4 6 8 10 ");
    check_frames(&(media_read_options){.fps = 2.4, .stride = 5}, "0 5 10 ");
    check_frames(&(media_read_options){.fps = 12}, "0 1 2 3 4 5 6 7 8 9 10 11 ");
    check_refused("media_c.y4m", &(media_read_options){.frames = 13}, VMT_E_ARG, "only 12");
    check_refused("media_c.y4m", &(media_read_options){.start_frame = 12}, VMT_E_ARG, "--start");
    check_refused("media_c.y4m", &(media_read_options){.stride = -1}, VMT_E_ARG, "--stride");
    check_refused("media_c.y4m", &(media_read_options){.width = 8}, VMT_E_ARG, "--size");
    check_frames(&(media_read_options){.most_frames = 3}, "0 1 2 ");
    check_frames(&(media_read_options){.most_frames = 99, .start_frame = 10}, "10 11 ");
    vmt_clip least =
        read_clip("media_c.y4m", &(media_read_options){.most_width = 20, .most_height = 30});
    assert_int_equal(least.width, 30); /* the clip lies */
    assert_int_equal(least.height, 20);
    vmt_clip_free(&least);
    least = read_clip("media_c.y4m", &(media_read_options){.most_width = 40, .most_height = 40});
    assert_int_equal(least.width, 48); /* fewer pixels */
    vmt_clip_free(&least);
    vmt_clip small = read_clip("media_c.y4m", &(media_read_options){.width = 20, .height = 20});
    assert_int_equal(small.width, 20);
    assert_int_equal(small.height, 20);
    vmt_clip_free(&small);
    unlink("media_c.y4m");
}

/* ---- bad input */

static void check_bytes(const char *bytes, size_t count, enum vmt_status expected, const char *part)
{
    file_write("media_bad.y4m", bytes, count);
    check_refused("media_bad.y4m", NULL, expected, part);
}

#define CHECK_TEXT(text, expected, part) check_bytes(text, sizeof(text) - 1, expected, part)

static void bad_input(void **state)
{
    (void)state;
    check_refused("media_none.y4m", NULL, VMT_E_IO, "media_none.y4m: cannot be opened");
    check_refused("", NULL, VMT_E_ARG, "empty");
    CHECK_TEXT("", VMT_E_FORMAT, "empty file");
    CHECK_TEXT("YUV4MPEG2 W16 H16", VMT_E_FORMAT, "does not end");
    CHECK_TEXT("YUV4MPEG2 W16 H16 F16:1\n", VMT_E_FORMAT, "no frame");
    CHECK_TEXT("YUV4MPEG2 W2 H2 F16:1\nFRAME\n12345", VMT_E_FORMAT, "cut off: 5 of 6");
    CHECK_TEXT("YUV4MPEG2 W2 H2 F16:1\nFRAMES123456", VMT_E_FORMAT, "no FRAME line");
    CHECK_TEXT("YUV4MPEG2 W16384 H16 F16:1\nFRAME\n", VMT_E_FORMAT, "16384x16");
    CHECK_TEXT("YUV4MPEG2 W99999999999999999999 H9 F16:1\nFRAME\n", VMT_E_FORMAT, "at most");
    CHECK_TEXT("YUV4MPEG2 W-4 H9 F16:1\nFRAME\n", VMT_E_FORMAT, "-4x9");
    CHECK_TEXT("YUV4MPEG2 W8192 H8192 F1:1\nFRAME\n", VMT_E_FORMAT, "cut off: 0 of");
    CHECK_TEXT("YUV4MPEG2 W4 H4 F16:1 C420p10\nFRAME\n", VMT_E_UNSUPPORTED, "C420p10");
    CHECK_TEXT("P6\n2 2\n255\n12345678901", VMT_E_FORMAT, "cut off: 11 of 12");
    CHECK_TEXT("P6\n2 2\n65535\n123456789012", VMT_E_UNSUPPORTED, "65535");
    CHECK_TEXT("P6\n2 x\n255\n123456789012", VMT_E_FORMAT, "2x-1");
    unlink("media_bad.y4m");
    folder_new("media_empty");
    check_refused("media_empty", NULL, VMT_E_FORMAT, "no pictures");
    rmdir("media_empty");
}

/* ---- writes that fail leave nothing */

static void check_write_refused(const vmt_clip *clip, const char *path, enum vmt_status expected,
                                const char *part)
{
    const enum vmt_status status = media_write(&ctx, clip, path, NULL);

    if (status != expected || !strstr(ctx.message, part))
        fail_msg("%s: status %d, message \"%s\"; expected %d, \"%s\"", path, (int)status,
                 ctx.message, (int)expected, part);
}

static int files_in(const char *folder)
{
    DIR *stream = opendir(folder);
    int count = -2; /* . and .. */

    assert_non_null(stream);
    while (readdir(stream))
        count++;
    closedir(stream);
    return count;
}

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void failed_writes(void **state)
{
    vmt_clip clip = test_clip_noise(&ctx, 4, 64, 64, 16);
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    folder_new("media_out");
    limit_file_size(20000);
    check_write_refused(&clip, "media_out/a.y4m", VMT_E_IO, "media_out/a.y4m: writing failed");
    assert_int_equal(files_in("media_out"), 0);
    limit_file_size(10000);
    check_write_refused(&clip, "media_out/%d.ppm", VMT_E_IO, "writing failed");
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(files_in("media_out"), 0);
    check_write_refused(&clip, "/dev/full", VMT_E_ARG, "unknown kind");
    check_write_refused(&clip, "media_out/a.xyz", VMT_E_ARG, "unknown kind");
    check_write_refused(&clip, "media_out/no/a.y4m", VMT_E_IO, "media_out/no/");
    clip.frames = 0;
    check_write_refused(&clip, "media_out/a.y4m", VMT_E_ARG, "empty");
    clip.frames = 4;
    vmt_cancel(&ctx);
    check_write_refused(&clip, "media_out/a.y4m", VMT_E_CANCELLED, "stopped");
    assert_int_equal(files_in("media_out"), 0);
    assert_int_equal(rmdir("media_out"), 0);
    vmt_clip_free(&clip);
}

/* ---- picture of the comparison */

/* 300x200 pixels as 3x2 tokens, frame t on until latent frame 1. */
static vmt_motion_field test_field(float *flow)
{
    return (vmt_motion_field){.flow = flow,
                              .frames = 2,
                              .grid_h = 2,
                              .grid_w = 3,
                              .cell_h = 100,
                              .cell_w = 100,
                              .frames_per_latent = 2};
}

static void comparison(void **state)
{
    vmt_clip reference = test_clip_smooth(&ctx, 3, 300, 200, 16);
    vmt_clip result = test_clip_smooth(&ctx, 4, 300, 200, 16), picture;
    float flow[2][2][3][2] = {0};
    vmt_motion_field field = test_field(&flow[0][0][0][0]);
    (void)state;
    flow[0][1][2][1] = -80; /* one arrow to the left, from (250, 150) to (170, 150) */
    CHECK_OK(&ctx, media_compare(&ctx, &picture, &reference, &result, &field));
    assert_int_equal(picture.frames, 3);
    assert_int_equal(picture.width, 1200);
    assert_int_equal(picture.height, 400);
    const uint8_t *row = picture.pixels + (int64_t)300 * 1200 * 3;
    assert_int_equal(row[3 * 400], 255); /* on the arrow (enlarged twice): yellow */
    assert_true(row[3 * 400 + 2] < 60);
    assert_true(row[3 * 324] < 120);           /* beyond its head: the reference */
    assert_true(row[3 * 1000] < 120);          /* result: no arrow */
    row += picture.width * picture.height * 3; /* frame 1 leads to latent frame 1: no arrow */
    assert_true(row[3 * 400] < 120);
    vmt_clip_free(&picture);
    result.width = 299;
    assert_int_equal(media_compare(&ctx, &picture, &reference, &result, NULL), VMT_E_ARG);
    vmt_clip_free(&reference);
    vmt_clip_free(&result);
}

/* The colour at a place of the right half, in pixels of the reference. */
static void check_colour(const vmt_clip *picture, int64_t frame, int64_t x, int64_t y, int red,
                         int green, int blue)
{
    const uint8_t *rgb =
        picture->pixels +
        ((frame * picture->height + 2 * y) * picture->width + picture->width / 2 + 2 * x) * 3;

    if (abs(rgb[0] - red) > 3 || abs(rgb[1] - green) > 3 || abs(rgb[2] - blue) > 3)
        fail_msg("frame %d at (%d, %d): %d %d %d, expected %d %d %d", (int)frame, (int)x, (int)y,
                 rgb[0], rgb[1], rgb[2], red, green, blue);
}

static void colour_wheel(void **state)
{
    vmt_clip reference = test_clip_smooth(&ctx, 3, 300, 200, 16), picture;
    float flow[2][2][3][2] = {0}, confidence[2][2][3];
    vmt_motion_field field = test_field(&flow[0][0][0][0]);
    (void)state;
    for (int i = 0; i < 12; i++)
        (&confidence[0][0][0])[i] = 1;
    flow[0][0][0][1] = 80;                          /* right: red */
    flow[0][0][1][0] = 80;                          /* down: between yellow and green */
    flow[0][0][2][1] = -80;                         /* left: cyan */
    flow[0][1][1][0] = -80;                         /* up: between blue and magenta */
    flow[0][1][2][1] = 40;                          /* half as far right: half as red */
    flow[1][0][0][1] = 80, confidence[1][0][0] = 0; /* unsure: as if it stood still */
    CHECK_OK(&ctx, media_compare(&ctx, &picture, &reference, NULL, &field));
    assert_int_equal(picture.frames, 3);
    assert_int_equal(picture.width, 1200);
    check_colour(&picture, 0, 25, 25, 255, 0, 0);
    check_colour(&picture, 0, 150, 25, 128, 255, 0);
    check_colour(&picture, 0, 275, 25, 0, 255, 255);
    check_colour(&picture, 0, 150, 160, 128, 0, 255);
    check_colour(&picture, 0, 275, 160, 255, 127, 127);
    check_colour(&picture, 0, 100, 50, 255, 211, 75);  /* half way from right to down */
    check_colour(&picture, 1, 150, 25, 255, 255, 255); /* frame 1 leads to latent frame 1 */
    check_colour(&picture, 1, 275, 160, 255, 255, 255);
    field.confidence = &confidence[0][0][0];
    vmt_clip_free(&picture);
    CHECK_OK(&ctx, media_compare(&ctx, &picture, &reference, NULL, &field));
    check_colour(&picture, 0, 25, 25, 255, 0, 0);
    check_colour(&picture, 1, 25, 25, 255, 255, 255);
    /* the arrow of it is gone too: the left half is the reference */
    const uint8_t *at = picture.pixels + ((picture.height + 100) * picture.width + 180) * 3;
    assert_true(at[0] - at[2] < 100);
    vmt_clip_free(&picture);
    assert_int_equal(media_compare(&ctx, &picture, &reference, NULL, NULL), VMT_E_ARG);
    vmt_clip_free(&reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(resize_as_pillow, setup),
        cmocka_unit_test_setup(fit_modes, setup),
        cmocka_unit_test_setup(known_colours, setup),
        cmocka_unit_test_setup(full_range_is_nearly_exact, setup),
        cmocka_unit_test_setup(y4m_roundtrip, setup),
        cmocka_unit_test_setup(y4m_chroma_siting, setup),
        cmocka_unit_test_setup(ppm_roundtrip, setup),
        cmocka_unit_test_setup(choice_of_frames, setup),
        cmocka_unit_test_setup(bad_input, setup),
        cmocka_unit_test_setup(failed_writes, setup),
        cmocka_unit_test_setup(comparison, setup),
        cmocka_unit_test_setup(colour_wheel, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
