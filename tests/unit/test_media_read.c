/* SPDX-License-Identifier: MIT
 *
 * What ffmpeg makes, read by us: orientation, sample formats, times, damage.  Compared with
 * ffmpeg's own reading or with what is known of the clip.  Needs libav and the program ffmpeg:
 * skipped without.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static vmt_ctx ctx;
static char warnings[1024]; /* what was logged since the last read_clip */

static void keep_warning(void *user, enum vmt_log_level level, const char *line)
{
    (void)user;
    if (level <= VMT_LOG_INFO)
        snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", line);
}

static int setup(void **state)
{
    (void)state;
    vmt_ctx_init(&ctx);
    ctx.log = keep_warning;
    return 0;
}

static vmt_clip read_clip(const char *path, const media_read_options *options)
{
    vmt_clip clip;

    warnings[0] = '\0';
    CHECK_OK(&ctx, media_read(&ctx, &clip, path, options));
    return clip;
}

#define FLAGS "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"

/* The same through ffmpeg and its filter. */
static vmt_clip their_clip(const char *path, const char *filter, const vmt_clip *like)
{
    vmt_clip clip;
    char arguments[512];
    size_t length;

    snprintf(arguments, sizeof arguments, "-i %s -vf %s,format=rgb24 -f rawvideo read_raw", path,
             filter);
    test_ffmpeg(arguments);
    uint8_t *bytes = file_read("read_raw", &length);
    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, like->frames, like->height, like->width, like->fps));
    if (length != (size_t)(3 * clip.frames * clip.height * clip.width))
        fail_msg("%s: ffmpeg has %zu bytes, we %dx%dx%d", path, length, (int)clip.frames,
                 (int)clip.height, (int)clip.width);
    memcpy(clip.pixels, bytes, length);
    free(bytes);
    unlink("read_raw");
    return clip;
}

static void check_like_ffmpeg(const char *path, const char *filter, int tolerance, const char *what)
{
    vmt_clip ours = read_clip(path, NULL), theirs = their_clip(path, filter, &ours);

    if (test_clip_distance(&ours, &theirs) > tolerance)
        fail_msg("%s, %s: differs by %d: %s", path, filter, test_clip_distance(&ours, &theirs),
                 what);
    vmt_clip_free(&ours);
    vmt_clip_free(&theirs);
}

/* ---- orientation */

static void put_be32(uint8_t *to, int value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)((uint32_t)value >> (24 - 8 * i));
}

/* The four turns and their mirrored forms: shown x = a x + c y, shown y = b x + d y. */
static void orientations(void **state)
{
    static const int turns[8][4] = {
        {1, 0, 0, 1},  {0, 1, -1, 0}, {-1, 0, 0, -1}, {0, -1, 1, 0},
        {-1, 0, 0, 1}, {1, 0, 0, -1}, {0, 1, 1, 0},   {0, -1, -1, 0},
    };
    enum { W = 22, H = 14 };
    vmt_clip clip = test_clip_noise(&ctx, 2, W, H, 16);
    size_t length;
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "read_o%d.ppm", NULL));
    test_ffmpeg("-framerate 16 -i read_o%d.ppm -c:v png read_o.mov");
    uint8_t *bytes = file_read("read_o.mov", &length);
    uint8_t *head = memmem(bytes, length, "tkhd", 4);
    assert_non_null(head);
    for (int i = 0; i < 8; i++) {
        const int *m = turns[i];
        put_be32(head + 44, m[0] * 65536);
        put_be32(head + 48, m[1] * 65536);
        put_be32(head + 56, m[2] * 65536);
        put_be32(head + 60, m[3] * 65536);
        file_write("read_o.mov", bytes, length);
        vmt_clip back = read_clip("read_o.mov", NULL);
        assert_int_equal(back.width, m[0] ? W : H);
        assert_int_equal(back.height, m[0] ? H : W);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                const int64_t to_x = m[0] * x + m[2] * y + (m[0] + m[2] < 0 ? back.width - 1 : 0);
                const int64_t to_y = m[1] * x + m[3] * y + (m[1] + m[3] < 0 ? back.height - 1 : 0);
                assert_memory_equal(back.pixels + 3 * (to_y * back.width + to_x),
                                    clip.pixels + 3 * (y * W + x), 3);
            }
        vmt_clip_free(&back);
        check_like_ffmpeg("read_o.mov", "null", 0, "turned");
    }
    free(bytes);
    vmt_clip_free(&clip);
    unlink("read_o.mov");
    unlink("read_o0.ppm");
    unlink("read_o1.ppm");
}

/* ---- sample formats, matrices, ranges */

static void sample_formats(void **state)
{
    static const char *const formats[] = {
        "yuv420p",     "yuv422p",  "yuv444p",      "yuv411p",     "yuv410p",     "yuv440p",
        "yuva420p",    "gray",     "gray10le",     "yuv420p10le", "yuv422p10le", "yuv444p12le",
        "yuv420p16le", "gbrp10le", "yuva444p10le", "rgb48le",     "bgra",        "ya8",
        "nv12",        "yuyv422",  "uyvy422",      "rgb24",       "rgb565le",    "pal8",
        "monow",       "yuvj420p", "yuvj444p",     "p010le",      "gbrp",        "rgba64le",
    };
    char arguments[512];
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int odd = 0; odd < 2; odd++) {
            snprintf(arguments, sizeof arguments,
                     "-f lavfi -i testsrc2=s=%s:d=0.25:r=8 -pix_fmt %s -c:v rawvideo read_f.nut",
                     odd ? "71x53" : "72x52", formats[i]);
            test_ffmpeg(arguments);
            check_like_ffmpeg("read_f.nut", "scale=" FLAGS, 1, arguments);
        }
    unlink("read_f.nut");
}

/* Tagged in a lossless file; ffmpeg is told the matrix and range in words. */
static void matrices_and_ranges(void **state)
{
    static const struct {
        const char *tag, *filter, *size;
    } matrices[] = {
        {"-colorspace bt709", "bt709", "72x52"},
        {"-colorspace smpte170m", "smpte170m", "72x52"},
        {"-colorspace bt470bg", "bt470bg", "1280x8"},
        {"-colorspace bt2020nc", "bt2020", "72x52"},
        {"-colorspace smpte240m", "smpte240m", "72x52"},
        {"-colorspace fcc", "fcc", "72x52"},
        {"", "bt601", "1278x576"}, /* untagged: by size */
        {"", "bt709", "1280x8"},
        {"", "bt709", "32x578"},
    };
    static const char *const formats[] = {"yuv420p", "yuv444p10le"};
    char arguments[512], filter[256];
    (void)state;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        for (int k = 0; k < 4; k++) {
            const char *range = k & 1 ? "pc" : "tv";
            snprintf(arguments, sizeof arguments,
                     "-f lavfi -i testsrc2=s=%s:d=0.1:r=10 -pix_fmt %s -c:v ffv1 -color_range %s "
                     "%s read_m.mkv",
                     matrices[i].size, formats[k / 2], range, matrices[i].tag);
            test_ffmpeg(arguments);
            snprintf(filter, sizeof filter, "scale=in_color_matrix=%s:in_range=%s:" FLAGS,
                     matrices[i].filter, range);
            check_like_ffmpeg("read_m.mkv", filter, 1, arguments);
        }
    unlink("read_m.mkv");
}

/* 10 bit through the codecs that phones and the web use. */
static void ten_bits(void **state)
{
    static const char *const codecs[] = {
        "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le read_t.mp4",
        "-c:v libvpx-vp9 -pix_fmt yuv420p10le -b:v 0 -crf 20 read_t.webm",
        "-c:v ffv1 -pix_fmt yuv422p10le read_t.mkv",
        "-c:v libx264 -pix_fmt yuv422p10le read_t.mov",
        "-c:v prores_ks -pix_fmt yuv422p10le read_t.avi",
    };
    char arguments[512];
    (void)state;
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        snprintf(arguments, sizeof arguments, "-f lavfi -i testsrc2=s=96x64:d=0.5:r=10 %s",
                 codecs[i]);
        test_ffmpeg(arguments);
        const char *path = strstr(codecs[i], "read_t");
        vmt_clip clip = read_clip(path, NULL);
        assert_int_equal(clip.frames, 5);
        vmt_clip_free(&clip);
        check_like_ffmpeg(path, "scale=" FLAGS, 1, arguments);
        unlink(path);
    }
}

/* ---- times */

static void check_frames(const char *path, const media_read_options *options, double fps,
                         const char *expected)
{
    vmt_clip clip = read_clip(path, options);
    char found[512] = "";

    for (int64_t t = 0; t < clip.frames; t++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%d ",
                 (int)test_frame_number(&clip, t));
    if (strcmp(found, expected) != 0)
        fail_msg("%s: frames %s, expected %s", path, found, expected);
    if (fabs(clip.fps - fps) > 1e-6)
        fail_msg("%s: %.9g fps, expected %.9g", path, clip.fps, fps);
    vmt_clip_free(&clip);
}

/* 24 numbered frames at these times (in tenths, of N), every frame kept. */
static void make_timed(const char *times, const char *path)
{
    vmt_clip clip = test_clip_smooth(&ctx, 24, 48, 32, 10);
    char arguments[512];

    CHECK_OK(&ctx, media_write(&ctx, &clip, "read_v.y4m", NULL));
    snprintf(arguments, sizeof arguments,
             "-i read_v.y4m -vf \"settb=1/1000,%s\" -fps_mode passthrough -enc_time_base 1:1000 "
             "-c:v ffv1 %s",
             times, path);
    test_ffmpeg(arguments);
    vmt_clip_free(&clip);
    unlink("read_v.y4m");
}

static void variable_rate(void **state)
{
    (void)state;
    /* 13 frames a tenth of a second apart, 11 twice as far: 23 gaps in 3.4 s */
    make_timed("setpts='100*if(lt(N,12),N,2*N-12)'", "read_v.mkv");
    check_frames("read_v.mkv", NULL, 23 / 3.4,
                 "0 1 3 4 6 7 9 10 12 13 13 14 15 16 16 17 18 19 19 20 21 22 22 23 ");
    assert_non_null(strstr(warnings, "variable frame rate, read at 6.76"));
    /* what is used of it may be steady, at another rate than the whole */
    check_frames("read_v.mkv", &(media_read_options){.frames = 9}, 10, "0 1 2 3 4 5 6 7 8 ");
    check_frames("read_v.mkv", &(media_read_options){.start_frame = 13, .frames = 6}, 5,
                 "13 14 15 16 17 18 ");
    assert_string_equal(warnings, "");
    check_frames("read_v.mkv", &(media_read_options){.fps = 10, .start_frame = 10, .frames = 7}, 10,
                 "10 11 12 12 13 13 14 ");
    check_frames("read_v.mkv", &(media_read_options){.stride = 4, .frames = 3}, 2.5, "0 4 8 ");
    /* a file that lacks a frame keeps its rate: the frame before stands in */
    make_timed("select='not(eq(n,7))'", "read_v.mkv");
    check_frames("read_v.mkv", NULL, 10,
                 "0 1 2 3 4 5 6 6 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 ");
    /* stamps that jitter by less than half a period are no reason to repeat frames */
    make_timed("setpts='100*N+40*mod(N,2)'", "read_v.mkv");
    check_frames("read_v.mkv", &(media_read_options){.frames = 12}, 10,
                 "0 1 2 3 4 5 6 7 8 9 10 11 ");
    unlink("read_v.mkv");
}

static void ntsc_and_stride(void **state)
{
    vmt_clip clip = test_clip_smooth(&ctx, 12, 48, 32, 30000 / 1001.0);
    double start = -1;
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "read_n.mp4", NULL));
    check_frames("read_n.mp4", NULL, 30000 / 1001.0, "0 1 2 3 4 5 6 7 8 9 10 11 ");
    check_frames("read_n.mp4",
                 &(media_read_options){.stride = 3, .start_frame = 3, .start_time = &start},
                 10000 / 1001.0, "3 6 9 ");
    assert_true(fabs(start - 0.1001) < 1e-6);
    check_frames("read_n.mp4", &(media_read_options){.fps = 15, .start_time = &start}, 15,
                 "0 2 4 6 8 10 11 ");
    assert_true(fabs(start) < 1e-6);
    vmt_clip_free(&clip);
    unlink("read_n.mp4");
}

/* Frames that are shown in another order than decoded, in a file that has the times of decoding
 * alone, as box.mp4 of opencv's documentation does. */
static void times_of_decoding(void **state)
{
    vmt_clip clip = test_clip_smooth(&ctx, 24, 48, 32, 10);
    double start = -1;
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "read_o.y4m", NULL));
    test_ffmpeg("-i read_o.y4m -c:v libx264 -crf 4 -bf 3 -b_strategy 0 -g 12 read_right.mp4");
    test_ffmpeg("-i read_right.mp4 -c copy -bsf:v setts=ts=DTS-STARTDTS read_o.mp4");
    check_frames("read_right.mp4", NULL, 10,
                 "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 ");
    assert_string_equal(warnings, "");
    check_frames("read_o.mp4", NULL, 10,
                 "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 ");
    assert_string_equal(warnings,
                        "read_o.mp4: its frames have the times of their decoding: shown in order, "
                        "one for each\n");
    check_frames("read_o.mp4",
                 &(media_read_options){.start_frame = 5, .stride = 4, .start_time = &start}, 2.5,
                 "5 9 13 17 21 ");
    assert_true(fabs(start - 0.5) < 1e-3);
    check_frames("read_o.mp4", &(media_read_options){.fps = 5, .start_seconds = 0.7}, 5,
                 "7 9 11 13 15 17 19 21 23 ");
    vmt_clip_free(&clip);
    unlink("read_o.y4m");
    unlink("read_o.mp4");
    unlink("read_right.mp4");
}

/* ---- damage */

/* Where the packet of this number lies. */
static void find_packet(const char *path, int number, size_t *begin, size_t *length)
{
    char arguments[256], text[4096];

    snprintf(arguments, sizeof arguments,
             "-select_streams v -show_entries packet=pos,size -of csv=p=0:s=x %s", path);
    test_ffprobe(text, sizeof text, arguments);
    const char *at = text;
    for (int i = 0; i < number; i++) {
        at = strchr(at, ' ');
        assert_non_null(at);
        at++;
    }
    assert_int_equal(sscanf(at, "%zux%zu", length, begin), 2);
}

/* The same file with most of these packets overwritten. */
static void damage_packets(const char *to, const char *from, int first, int last)
{
    size_t count, begin, length;
    uint8_t *bytes = file_read(from, &count);

    for (int k = first; k <= last; k++) {
        find_packet(from, k, &begin, &length);
        for (size_t i = begin + 5; i < begin + length; i++) /* behind the unit's length and kind */
            bytes[i] = (uint8_t)(bytes[i] * 73 + 41);
    }
    file_write(to, bytes, count);
    free(bytes);
}

static void refuse(const char *path, const char *part)
{
    vmt_clip clip;

    assert_int_equal(media_read(&ctx, &clip, path, NULL), VMT_E_FORMAT);
    if (!strstr(ctx.message, part))
        fail_msg("%s: \"%s\", expected \"%s\"", path, ctx.message, part);
}

/* Key frames at 0, 8, 16, 24. */
static void damage(void **state)
{
    const media_read_options conceal = {.damaged = MEDIA_DAMAGED_CONCEAL};
    double start;
    const media_read_options with_start = {.start_time = &start};
    vmt_clip clip = test_clip_smooth(&ctx, 32, 160, 96, 16), back;
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "read_d.y4m", NULL));
    test_ffmpeg("-i read_d.y4m -c:v libx264 -crf 12 -bf 0 -g 8 -keyint_min 8 -sc_threshold 0 "
                "-x264-params slices=4 read_whole.mp4");
    damage_packets("read_d.mp4", "read_whole.mp4", 0, 0);
    back = read_clip("read_d.mp4", &with_start);
    assert_non_null(strstr(warnings, "read_d.mp4: frames at its beginning that cannot be decoded "
                                     "are left out: 8\n"));
    assert_int_equal(back.frames, 24);
    assert_int_equal(test_frame_number(&back, 0), 8);
    assert_true(fabs(start - 0.5) < 1e-6);
    vmt_clip_free(&back);

    damage_packets("read_d.mp4", "read_whole.mp4", 18, 18);
    refuse("read_d.mp4", "damaged at frame 18, 1.12 s");
    refuse("read_d.mp4", "--damaged conceal");
    back = read_clip("read_d.mp4", &(media_read_options){.frames = 18});
    assert_string_equal(warnings, ""); /* what is not used does not matter */
    vmt_clip_free(&back);
    back = read_clip("read_d.mp4", &conceal);
    assert_non_null(strstr(warnings, "damaged: frames lost or taken as the decoder mended them: "));
    assert_int_equal(back.frames, 32);
    for (int i = 0; i < 32; i++)
        if (i < 18 || i > 23)
            assert_int_equal(test_frame_number(&back, i), i);
    vmt_clip_free(&back);

    size_t count, begin, length;
    void *bytes = file_read("read_whole.mp4", &count);
    find_packet("read_whole.mp4", 20, &begin, &length);
    test_ffmpeg("-i read_whole.mp4 -c copy -movflags faststart read_fast.mp4");
    free(bytes);
    bytes = file_read("read_fast.mp4", &count);
    find_packet("read_fast.mp4", 20, &begin, &length);
    file_write("read_d.mp4", bytes, begin);
    free(bytes);
    refuse("read_d.mp4", "cut off after frame 20 of 32");
    back = read_clip("read_d.mp4", &conceal);
    assert_int_equal(back.frames, 20);
    assert_non_null(strstr(warnings, "damaged: frames lost"));
    vmt_clip_free(&back);
    damage_packets("read_d.mp4", "read_whole.mp4", 0, 31);
    refuse("read_d.mp4", "none of its frames can be decoded");
    vmt_clip_free(&clip);
    unlink("read_d.y4m");
    unlink("read_d.mp4");
    unlink("read_whole.mp4");
    unlink("read_fast.mp4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(orientations, setup),
        cmocka_unit_test_setup(sample_formats, setup),
        cmocka_unit_test_setup(matrices_and_ranges, setup),
        cmocka_unit_test_setup(ten_bits, setup),
        cmocka_unit_test_setup(variable_rate, setup),
        cmocka_unit_test_setup(ntsc_and_stride, setup),
        cmocka_unit_test_setup(times_of_decoding, setup),
        cmocka_unit_test_setup(damage, setup),
    };
    if (!media_has_libav() || !test_has_ffmpeg())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
