/* SPDX-License-Identifier: MIT
 *
 * What is written, read back by ffprobe and ffmpeg: lossless formats to the bit, the others above a
 * measured PSNR.  Needs libav and the program ffmpeg: skipped without.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/format.h"
#include "media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vmt_ctx ctx;

static int setup(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    return 0;
}

static vmt_clip read_clip(const char *path)
{
    vmt_clip clip;
    CHECK_OK(&ctx, media_read(&ctx, &clip, path, NULL));
    return clip;
}

/* Detail, motion and all colours: noise, smoothed, that drifts. */
static vmt_clip lively_clip(int64_t frames, int64_t width, int64_t height, double fps)
{
    vmt_clip clip;
    uint8_t *rgb;

    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, frames, height, width, fps));
    rgb = clip.pixels;
    for (int64_t t = 0; t < frames; t++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++, rgb += 3) {
                const double u = 0.13 * (double)(x + t), v = 0.11 * (double)(y - t);
                rgb[0] = (uint8_t)lrint(127 + 60 * sin(u) + 60 * cos(v + 0.3 * u));
                rgb[1] = (uint8_t)lrint(127 + 60 * cos(0.7 * u + v) + 60 * sin(0.4 * v));
                rgb[2] = (uint8_t)lrint(127 + 60 * sin(0.5 * v - u) + 60 * sin(0.9 * u));
            }
    return clip;
}

static void check_probe(const char *path, const char *entries, const char *expected)
{
    char arguments[512], found[512];

    snprintf(arguments, sizeof arguments,
             "-count_frames -select_streams v -of compact=p=0:nk=1 -show_entries %s %s", entries,
             path);
    test_ffprobe(found, sizeof found, arguments);
    if (strcmp(found, expected) != 0)
        fail_msg("%s: \"%s\", expected \"%s\"", path, found, expected);
}

/* The pixels ffmpeg sees, as one hash; the same of our clip. */
static void check_hash(const vmt_clip *clip, const char *path)
{
    char arguments[512];
    size_t length, expected = (size_t)(3 * clip->frames * clip->width * clip->height);

    snprintf(arguments, sizeof arguments, "-i %s -f rawvideo -pix_fmt rgb24 write_raw", path);
    test_ffmpeg(arguments);
    uint8_t *theirs = file_read("write_raw", &length);
    assert_int_equal(length, expected);
    assert_memory_equal(theirs, clip->pixels, length);
    free(theirs);
    unlink("write_raw");
}

/* Writing twice gives the same bytes. */
static void check_repeats(const vmt_clip *clip, const char *path, const media_write_options *o)
{
    size_t first_bytes, second_bytes;

    CHECK_OK(&ctx, media_write(&ctx, clip, path, o));
    void *first = file_read(path, &first_bytes);
    CHECK_OK(&ctx, media_write(&ctx, clip, path, o));
    void *second = file_read(path, &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    free(first);
    free(second);
}

static void ffv1_is_exact(void **state)
{
    static const int64_t sizes[][2] = {{64, 48}, {401, 17}, {33, 2}, {7, 6},
                                       {3, 5},   {1, 9},    {1, 1}};
    const media_write_options options = {
        .codec = "ffv1", .crf = MEDIA_DEFAULT_CRF, .comment = "{\"seed\": 5}"};
    char *text, *comment;
    (void)state;
    for (int i = 0; i < 7; i++) {
        vmt_clip clip = test_clip_noise(&ctx, 5, sizes[i][0], sizes[i][1], 16);
        check_repeats(&clip, "write_a.mkv", &options);
        vmt_clip back = read_clip("write_a.mkv");
        assert_int_equal(test_clip_distance(&clip, &back), 0);
        check_hash(&clip, "write_a.mkv");
        vmt_clip_free(&clip);
        vmt_clip_free(&back);
    }
    CHECK_OK(&ctx, media_describe(&ctx, "write_a.mkv", &text, &comment));
    assert_string_equal(comment, options.comment);
    free(text);
    free(comment);
    check_probe("write_a.mkv", "stream=codec_name,pix_fmt,color_range,color_space,nb_read_frames",
                "ffv1|bgr0|pc|gbr|5");
    unlink("write_a.mkv");
}

/* Measured: 38.7 and 38.3 dB. */
static void webm(void **state)
{
    static const int64_t sizes[][2] = {{128, 96}, {75, 51}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        vmt_clip clip = lively_clip(12, sizes[i][0], sizes[i][1], 24);
        double psnr[2];
        for (int k = 0; k < 2; k++) {
            const media_write_options o = {.crf = k ? 50 : MEDIA_DEFAULT_CRF};
            check_repeats(&clip, "write_b.webm", &o);
            vmt_clip back = read_clip("write_b.webm");
            psnr[k] = test_clip_psnr(&clip, &back);
            vmt_clip_free(&back);
        }
        print_message("vp9 %dx%d: %.2f dB, crf 50 %.2f dB\n", (int)sizes[i][0], (int)sizes[i][1],
                      psnr[0], psnr[1]);
        assert_true(psnr[0] > 37.5 && psnr[1] < psnr[0] - 2);
        check_probe("write_b.webm",
                    "stream=codec_name,width,height,pix_fmt,color_range,color_space,r_frame_rate,"
                    "nb_read_frames:format=duration",
                    i ? "vp9|75|51|yuv420p|tv|bt709|24/1|12 0.500000"
                      : "vp9|128|96|yuv420p|tv|bt709|24/1|12 0.500000");
        vmt_clip_free(&clip);
    }
    vmt_clip clip = lively_clip(3, 64, 48, 16);
    const media_write_options vp9 = {.codec = "vp9", .crf = 20};
    CHECK_OK(&ctx, media_write(&ctx, &clip, "write_b.mkv", &vp9));
    check_probe("write_b.mkv", "stream=codec_name", "vp9");
    vmt_clip_free(&clip);
    unlink("write_b.mkv");
    unlink("write_b.webm");
}

/* At most 255 colours come through as they are, and unchanged places stay. */
static void gif_of_few_colours(void **state)
{
    static const int64_t sizes[][2] = {{64, 48}, {33, 17}, {1, 1}, {640, 400}};
    (void)state;
    for (int i = 0; i < 4; i++) {
        vmt_clip clip = test_clip_noise(&ctx, 4, sizes[i][0], sizes[i][1], 16);
        const int64_t area = clip.width * clip.height;
        for (int64_t k = 0; k < 4 * area; k++) { /* 6 * 6 * 7 = 252 colours */
            uint8_t *rgb = clip.pixels + 3 * k;
            rgb[0] = (uint8_t)(rgb[0] % 6 * 51);
            rgb[1] = (uint8_t)(rgb[1] % 6 * 50);
            rgb[2] = (uint8_t)(rgb[2] % 7 * 42);
        }
        memcpy(clip.pixels + 3 * area, clip.pixels, (size_t)(3 * area - 3 * area / 2));
        check_repeats(&clip, "write_c.gif", NULL);
        vmt_clip back = read_clip("write_c.gif");
        assert_int_equal(test_clip_distance(&clip, &back), 0);
        check_hash(&clip, "write_c.gif");
        vmt_clip_free(&clip);
        vmt_clip_free(&back);
    }
    unlink("write_c.gif");
}

/* At least as near to the clip as ffmpeg's own palette with ordered dither.  Measured: 46.8 dB
 * (ffmpeg: 40.3) for the demo's clip, 28.4 dB (28.4) for one of all colours. */
static void check_gif(const vmt_clip *clip, double least)
{
    const media_write_options ffv1 = {.codec = "ffv1", .crf = MEDIA_DEFAULT_CRF};
    const media_write_options told = {.crf = MEDIA_DEFAULT_CRF, .comment = "{\"prompt\": \"ä\"}"};
    char *text, *comment;

    CHECK_OK(&ctx, media_write(&ctx, clip, "write_d.mkv", &ffv1));
    check_repeats(clip, "write_d.gif", &told);
    test_ffmpeg("-i write_d.mkv -lavfi \"split[a][b];[a]palettegen[p];[b][p]paletteuse=dither="
                "bayer:bayer_scale=3\" write_theirs.gif");
    vmt_clip ours = read_clip("write_d.gif"), theirs = read_clip("write_theirs.gif");
    const double our_psnr = test_clip_psnr(clip, &ours);
    const double their_psnr = test_clip_psnr(clip, &theirs);
    print_message("gif: %.2f dB, ffmpeg's %.2f dB\n", our_psnr, their_psnr);
    assert_true(our_psnr > least && our_psnr > their_psnr - 0.2);
    CHECK_OK(&ctx, media_describe(&ctx, "write_d.gif", &text, &comment));
    assert_string_equal(comment, told.comment);
    free(text);
    free(comment);
    vmt_clip_free(&ours);
    vmt_clip_free(&theirs);
    unlink("write_d.mkv");
    unlink("write_d.gif");
    unlink("write_theirs.gif");
}

static void gif_of_many_colours(void **state)
{
    vmt_clip clip = lively_clip(8, 160, 120, 16);
    (void)state;
    check_gif(&clip, 27);
    vmt_clip_free(&clip);
    clip = read_clip(SOURCE_ROOT "/demo/refs/07_swing.mkv");
    check_gif(&clip, 45);
    vmt_clip_free(&clip);
}

/* Hundredths of a second: no delay below 2, the whole as long as the clip. */
static void gif_times(void **state)
{
    static const struct {
        double fps;
        const char *delays;
    } cases[] = {
        {16, "6 6 7 6 6 7"},
        {30000 / 1001.0, "3 4 3 3 4 3"},
        {100, "2 2 2"}, /* every other frame */
        {0.5, "200 200 200 200 200 200"},
    };
    (void)state;
    for (int i = 0; i < 4; i++) {
        vmt_clip clip = test_clip_noise(&ctx, 6, 9, 7, cases[i].fps);
        char found[256] = "";
        size_t length;
        CHECK_OK(&ctx, media_write(&ctx, &clip, "write_e.gif", NULL));
        uint8_t *bytes = file_read("write_e.gif", &length);
        for (size_t k = 0; k + 8 < length; k++)
            if (!memcmp(bytes + k, "!\xf9\x04\x05", 4))
                snprintf(found + strlen(found), sizeof found - strlen(found), "%s%d",
                         *found ? " " : "", bytes[k + 4] + 256 * bytes[k + 5]);
        assert_string_equal(found, cases[i].delays);
        assert_non_null(memmem(bytes, length, "NETSCAPE2.0\x03\x01\0\0", 15));
        free(bytes);
        vmt_clip_free(&clip);
    }
    unlink("write_e.gif");
}

/* Measured: 45.9 dB. */
static void jpeg_pictures(void **state)
{
    vmt_clip clip = lively_clip(2, 75, 51, 16);
    (void)state;
    folder_new("write_jpg");
    CHECK_OK(&ctx, media_write(&ctx, &clip, "write_jpg/%03d.jpg", NULL));
    vmt_clip back = read_clip("write_jpg");
    print_message("jpeg: %.2f dB\n", test_clip_psnr(&clip, &back));
    assert_true(test_clip_psnr(&clip, &back) > 44);
    check_probe("write_jpg/000.jpg", "stream=codec_name,width,height,pix_fmt,nb_read_frames",
                "mjpeg|75|51|yuvj444p|1");
    vmt_clip_free(&clip);
    vmt_clip_free(&back);
    unlink("write_jpg/000.jpg");
    unlink("write_jpg/001.jpg");
    assert_int_equal(rmdir("write_jpg"), 0);
}

/* Rates stay exact ratios in every container that can say one. */
static void rates(void **state)
{
    static const struct {
        double fps;
        int over, under;
    } cases[] = {{30000 / 1001.0, 30000, 1001},
                 {24000 / 1001.0, 24000, 1001},
                 {15000 / 1001.0, 15000, 1001},
                 {30000 / 7007.0, 30000, 7007},
                 {16, 16, 1},
                 {12.5, 25, 2},
                 {23.976, 2997, 125},
                 {0.1, 1, 10}};
    static const char *const names[] = {"write_f.mp4", "write_f.mov", "write_f.mkv", "write_f.webm",
                                        "write_f.y4m"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t over, under;
        media_rate(cases[i].fps, &over, &under);
        assert_int_equal(over, cases[i].over);
        assert_int_equal(under, cases[i].under);
    }
    for (int i = 0; i < 3; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            vmt_clip clip = test_clip_smooth(&ctx, 9, 32, 32, cases[i].fps);
            char expected[64];
            CHECK_OK(&ctx, media_write(&ctx, &clip, names[k], NULL));
            snprintf(expected, sizeof expected, "%d/%d|9", cases[i].over, cases[i].under);
            check_probe(names[k], "stream=r_frame_rate,nb_read_frames", expected);
            vmt_clip back = read_clip(names[k]);
            if (fabs(back.fps - cases[i].fps) > 1e-9)
                fail_msg("%s: %.12g, expected %.12g", names[k], back.fps, cases[i].fps);
            vmt_clip_free(&back);
            vmt_clip_free(&clip);
        }
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        unlink(names[k]);
}

static void check_refused(const char *path, const media_write_options *o, const char *part)
{
    if (media_check_output(&ctx, path, o) != VMT_E_ARG || !strstr(ctx.message, part))
        fail_msg("%s: \"%s\", expected \"%s\"", path, ctx.message, part);
}

static void formats_and_options(void **state)
{
    const int none = MEDIA_DEFAULT_CRF;
    (void)state;
    check_refused("a.mp4", &(media_write_options){.codec = "ffv1", .crf = none},
                  "no --codec ffv1 there");
    check_refused("a.webm", &(media_write_options){.codec = "h264", .crf = none},
                  "no --codec h264 there");
    check_refused("a.gif", &(media_write_options){.codec = "vp9", .crf = none}, "--codec is for");
    check_refused("a.mkv", &(media_write_options){.codec = "av1", .crf = none},
                  "one of h264|ffv1|vp9");
    check_refused("a.mkv", &(media_write_options){.codec = "ffv1", .crf = 3}, "--crf is for");
    check_refused("a.y4m", &(media_write_options){.crf = 3}, "--crf is for");
    check_refused("a.mp4", &(media_write_options){.crf = 52}, "0 to 51 for h264");
    check_refused("a.webm", &(media_write_options){.crf = 64}, "0 to 63 for vp9");
    check_refused("a%d.gif", NULL, "unknown kind");
    check_refused("a.jpg", NULL, "unknown kind");
    CHECK_OK(&ctx,
             media_check_output(&ctx, "a.WebM", &(media_write_options){.codec = "vp9", .crf = 63}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ffv1_is_exact, setup),
        cmocka_unit_test_setup(webm, setup),
        cmocka_unit_test_setup(gif_of_few_colours, setup),
        cmocka_unit_test_setup(gif_of_many_colours, setup),
        cmocka_unit_test_setup(gif_times, setup),
        cmocka_unit_test_setup(jpeg_pictures, setup),
        cmocka_unit_test_setup(rates, setup),
        cmocka_unit_test_setup(formats_and_options, setup),
    };
    if (!media_has_libav() || !test_has_ffmpeg())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
