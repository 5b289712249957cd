/* SPDX-License-Identifier: MIT
 *
 * Media through libav: H.264 and PNG there and back, colour, rotation, damaged files.  Inputs are
 * made by the program ffmpeg, an implementation that is not ours; without it or libav: skipped.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"

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

static vmt_clip read_clip(const char *path, const media_read_options *options)
{
    vmt_clip clip;
    CHECK_OK(&ctx, media_read(&ctx, &clip, path, options));
    return clip;
}

static void check_refused(const char *path, enum vmt_status expected, const char *part)
{
    vmt_clip clip;
    const enum vmt_status status = media_read(&ctx, &clip, path, NULL);

    if (status != expected || !strstr(ctx.message, part) ||
        strncmp(ctx.message, path, strlen(path)))
        fail_msg("%s: status %d, message \"%s\"; expected %d, \"%s\"", path, (int)status,
                 ctx.message, (int)expected, part);
    assert_null(clip.pixels);
}

/* Red, green, blue, white, black, grey and two mixed patches, 32 pixels each. */
static const uint8_t patches[8][3] = {{220, 30, 30},   {30, 200, 40}, {40, 30, 210},
                                      {255, 255, 255}, {0, 0, 0},     {128, 128, 128},
                                      {230, 180, 40},  {60, 160, 190}};

static vmt_clip patch_clip(int64_t width, int64_t height)
{
    vmt_clip clip;

    CHECK_OK(&ctx, vmt_clip_new(&ctx, &clip, 4, height, width, 16));
    for (int64_t i = 0; i < 4 * height * width; i++)
        memcpy(clip.pixels + 3 * i, patches[i % width * 8 / width], 3);
    return clip;
}

/* Centres of the patches in the second frame. */
static void check_patches(const vmt_clip *clip, int tolerance, const char *what)
{
    for (int i = 0; i < 8; i++) {
        const int64_t x = (2 * i + 1) * clip->width / 16, y = clip->height / 2;
        const uint8_t *rgb = clip->pixels + ((clip->height + y) * clip->width + x) * 3;
        for (int c = 0; c < 3; c++)
            if (abs(rgb[c] - patches[i][c]) > tolerance)
                fail_msg("%s: patch %d is %d,%d,%d, expected %d,%d,%d", what, i, rgb[0], rgb[1],
                         rgb[2], patches[i][0], patches[i][1], patches[i][2]);
    }
}

static void video_roundtrip(void **state)
{
    static const int64_t sizes[][2] = {{256, 64}, {255, 63}, {256, 33}};
    static const char *const names[] = {"video_a.mp4", "video_a.mkv", "video_a.mov"};
    (void)state;
    for (int i = 0; i < 9; i++) {
        vmt_clip clip = patch_clip(sizes[i % 3][0], sizes[i % 3][1]);
        CHECK_OK(&ctx, media_write(&ctx, &clip, names[i / 3], NULL));
        vmt_clip back = read_clip(names[i / 3], NULL);
        assert_int_equal(back.frames, clip.frames);
        assert_int_equal(back.width, clip.width);
        assert_int_equal(back.height, clip.height);
        assert_true(back.fps > 15.99 && back.fps < 16.01);
        check_patches(&back, 4, names[i / 3]);
        vmt_clip_free(&clip);
        vmt_clip_free(&back);
    }
    for (int i = 0; i < 3; i++)
        unlink(names[i]);
}

/* ffmpeg, told nothing, must see our colours through the tags. */
static void tags_are_right(void **state)
{
    vmt_clip clip = patch_clip(256, 64), back;
    char line[256] = "", *text, *comment;
    const media_write_options options = {.crf = 12, .comment = "{\"seed\": 1, \"x\": \"ä\\\"\"}"};
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_t.mp4", &options));
    FILE *probe = popen("ffprobe -v error -select_streams v -of csv=p=0 -show_entries stream="
                        "codec_name,pix_fmt,color_range,color_space,color_transfer,color_primaries "
                        "video_t.mp4",
                        "r");
    assert_non_null(probe);
    assert_non_null(fgets(line, sizeof line, probe));
    pclose(probe);
    assert_string_equal(line, "h264,yuv420p,tv,bt709,bt709,bt709\n");
    test_ffmpeg("-i video_t.mp4 -vf scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd"
                "+full_chroma_int,format=rgb24 video_t_%d.ppm");
    back = read_clip("video_t_%d.ppm", NULL);
    check_patches(&back, 4, "ffmpeg's reading");
    vmt_clip_free(&back);
    CHECK_OK(&ctx, media_describe(&ctx, "video_t.mp4", &text, &comment));
    assert_non_null(strstr(text, "h264, 256x64, 16 fps, 4 frames"));
    assert_non_null(strstr(text, "bt709"));
    assert_string_equal(comment, options.comment);
    free(text);
    free(comment);
    size_t first_bytes, second_bytes;
    void *first = file_read("video_t.mp4", &first_bytes);
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_t.mp4", &options));
    void *second = file_read("video_t.mp4", &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    const void *moov = memmem(first, first_bytes, "moov", 4);
    assert_true(moov && moov < memmem(first, first_bytes, "mdat", 4)); /* index before the data */
    free(first);
    free(second);
    vmt_clip_free(&clip);
    unlink("video_t.mp4");
    for (int i = 1; i <= 4; i++) {
        snprintf(line, sizeof line, "video_t_%d.ppm", i);
        unlink(line);
    }
}

/* The same picture in other matrices, ranges and sample formats, made and tagged by ffmpeg. */
static void other_colours(void **state)
{
    static const char *const kinds[] = {
        "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p -color_range tv "
        "-colorspace smpte170m",
        "scale=out_color_matrix=bt709:out_range=pc,format=yuv444p -color_range pc "
        "-colorspace bt709",
        "scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p -color_range pc "
        "-colorspace bt470bg",
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p10le -color_range tv "
        "-colorspace bt709",
        "scale=out_color_matrix=bt709:out_range=pc,format=yuv420p10le -color_range pc "
        "-colorspace bt709",
        "scale=out_color_matrix=bt2020:out_range=tv,format=yuv422p -color_range tv "
        "-colorspace bt2020nc",
        "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p", /* untagged: by size */
    };
    vmt_clip clip = patch_clip(256, 64);
    char arguments[512];
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_c%d.ppm", NULL));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(arguments, sizeof arguments,
                 "-framerate 16 -i video_c%%d.ppm -sws_flags accurate_rnd+full_chroma_int "
                 "-vf %s -c:v libx264 -crf 4 video_c.mp4",
                 kinds[i]);
        test_ffmpeg(arguments);
        vmt_clip back = read_clip("video_c.mp4", NULL);
        check_patches(&back, 5, kinds[i]);
        vmt_clip_free(&back);
    }
    test_ffmpeg("-framerate 16 -i video_c%d.ppm -c:v libx264rgb -crf 0 video_c.mkv");
    vmt_clip back = read_clip("video_c.mkv", NULL);
    assert_int_equal(test_clip_distance(&clip, &back), 0);
    vmt_clip_free(&back);
    test_ffmpeg("-framerate 16 -i video_c%d.ppm -pix_fmt yuv444p video_c.y4m");
    back = read_clip("video_c.y4m", NULL); /* our own parser on ffmpeg's Y4M */
    check_patches(&back, 5, "ffmpeg's Y4M");
    vmt_clip_free(&back);
    vmt_clip_free(&clip);
    for (int i = 0; i < 4; i++) {
        snprintf(arguments, sizeof arguments, "video_c%d.ppm", i);
        unlink(arguments);
    }
    unlink("video_c.mp4");
    unlink("video_c.mkv");
    unlink("video_c.y4m");
}

static void rotation(void **state)
{
    vmt_clip clip = test_clip_smooth(&ctx, 2, 64, 32, 16);
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_r.mp4", NULL));
    test_ffmpeg("-i video_r.mp4 -c copy -metadata:s:v rotate=90 video_rotated.mp4");
    vmt_clip back = read_clip("video_rotated.mp4", NULL);
    assert_int_equal(back.width, 32);
    assert_int_equal(back.height, 64);
    /* "rotate" of ffmpeg 5.1 turns it to the left: the right edge (most red) comes to the top */
    const uint8_t *top = back.pixels + 3 * 16, *bottom = back.pixels + 3 * (63 * 32 + 16);
    assert_true(top[0] > bottom[0] + 40);
    /* and the bottom (most green) to the right */
    const uint8_t *left = back.pixels + 3 * 32 * 32, *right = left + 3 * 31;
    assert_true(left[1] + 40 < right[1]);
    vmt_clip_free(&back);
    /* the program turns it as we do */
    test_ffmpeg("-i video_rotated.mp4 -frames:v 2 video_r%d.png");
    vmt_clip theirs = read_clip("video_r%d.png", NULL);
    back = read_clip("video_rotated.mp4", NULL);
    assert_in_range(test_clip_distance(&theirs, &back), 0, 12);
    vmt_clip_free(&theirs);
    vmt_clip_free(&back);
    vmt_clip_free(&clip);
    unlink("video_r.mp4");
    unlink("video_rotated.mp4");
    unlink("video_r1.png");
    unlink("video_r2.png");
}

static void png_folder(void **state)
{
    vmt_clip clip = test_clip_noise(&ctx, 3, 33, 17, 16);
    (void)state;
    folder_new("video_png");
    assert_int_equal(rmdir("video_png"), 0);
    assert_false(media_would_replace("video_png/"));
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_png/", NULL));
    assert_true(media_would_replace("video_png"));
    vmt_clip back = read_clip("video_png", NULL);
    assert_int_equal(test_clip_distance(&clip, &back), 0);
    vmt_clip_free(&back);
    back = read_clip("video_png/00001.png", NULL);
    assert_int_equal(back.frames, 1);
    vmt_clip_free(&back);
    vmt_clip small = test_clip_noise(&ctx, 1, 8, 8, 16);
    CHECK_OK(&ctx, media_write(&ctx, &small, "video_png/a%d.png", NULL));
    check_refused("video_png/a0.png.none", VMT_E_IO, "cannot be opened");
    vmt_clip_free(&small);
    vmt_clip broken;
    assert_int_equal(media_read(&ctx, &broken, "video_png", NULL), VMT_E_FORMAT);
    assert_non_null(strstr(ctx.message, "same size"));
    vmt_clip_free(&clip);
    unlink("video_png/a0.png");
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "video_png/0000%d.png", i);
        assert_int_equal(unlink(name), 0);
    }
    assert_int_equal(rmdir("video_png"), 0);
}

/* Where the packet of this number begins. */
static size_t packet_position(const char *path, int number)
{
    char command[256], line[64] = "";

    snprintf(command, sizeof command,
             "ffprobe -v error -select_streams v -show_entries packet=pos -of csv=p=0 %s", path);
    FILE *probe = popen(command, "r");
    assert_non_null(probe);
    for (int i = 0; i <= number; i++)
        assert_non_null(fgets(line, sizeof line, probe));
    while (fgets(command, sizeof command, probe))
        continue;
    pclose(probe);
    return strtoul(line, NULL, 10);
}

static void bad_videos(void **state)
{
    size_t count;
    (void)state;
    test_ffmpeg("-f lavfi -i sine=d=1 video_audio.m4a");
    check_refused("video_audio.m4a", VMT_E_FORMAT, "no video stream (1 streams, 1 of them audio)");
    test_ffmpeg("-f lavfi -i color=s=8256x16:d=0.2:r=5 -c:v ffv1 video_wide.mkv");
    check_refused("video_wide.mkv", VMT_E_FORMAT, "8256x16");
    file_write("video_text.mp4", "this is not a video\n", 20);
    check_refused("video_text.mp4", VMT_E_FORMAT, "not a video");
    file_write("video_empty.mp4", "", 0);
    check_refused("video_empty.mp4", VMT_E_FORMAT, "empty file");

    test_ffmpeg("-f lavfi -i testsrc2=s=160x96:d=2:r=16 -c:v libx264 -movflags faststart "
                "video_whole.mp4");
    uint8_t *bytes = file_read("video_whole.mp4", &count);
    file_write("video_cut.mp4", bytes, count / 2);
    check_refused("video_cut.mp4", VMT_E_FORMAT, "video_cut.mp4");
    file_write("video_cut.mp4", bytes, packet_position("video_whole.mp4", 20));
    check_refused("video_cut.mp4", VMT_E_FORMAT, "cut off after frame 20 of 32");
    file_write("video_cut.mp4", bytes, 100);
    check_refused("video_cut.mp4", VMT_E_FORMAT, "video_cut.mp4");
    for (size_t i = count / 2; i < count / 2 + 800; i++)
        bytes[i] = (uint8_t)(bytes[i] * 73 + 41);
    file_write("video_cut.mp4", bytes, count);
    check_refused("video_cut.mp4", VMT_E_FORMAT, "damaged at frame");
    free(bytes);
    test_ffmpeg("-i video_whole.mp4 -frames:v 1 -c:v libx264 video_one.mp4");
    vmt_clip one = read_clip("video_one.mp4", NULL);
    assert_int_equal(one.frames, 1);
    vmt_clip_free(&one);
    file_write("video_list.m3u8", "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", 44);
    check_refused("video_list.m3u8", VMT_E_FORMAT, "video_list.m3u8");
    static const char *const made[] = {"video_audio.m4a", "video_wide.mkv",  "video_text.mp4",
                                       "video_empty.mp4", "video_whole.mp4", "video_cut.mp4",
                                       "video_one.mp4",   "video_list.m3u8"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        unlink(made[i]);
}

/* 30 fps to 16, against the times themselves. */
static void resampling(void **state)
{
    vmt_clip clip = test_clip_smooth(&ctx, 40, 64, 48, 30);
    const media_read_options to16 = {.fps = 16, .frames = 20};
    (void)state;
    CHECK_OK(&ctx, media_write(&ctx, &clip, "video_f.mp4", NULL));
    vmt_clip back = read_clip("video_f.mp4", &to16);
    for (int64_t k = 0; k < 20; k++) /* 30 k / 16, halves down */
        assert_int_equal(test_frame_number(&back, k), (60 * k + 15) / 32);
    vmt_clip_free(&back);
    vmt_clip_free(&clip);
    unlink("video_f.mp4");
}

static void full_disk(void **state)
{
    vmt_clip clip = test_clip_noise(&ctx, 8, 64, 64, 16);
    struct rlimit limit;
    DIR *stream;
    int left = -2;
    (void)state;
    memset(clip.pixels, 0, 64 * 64 * 3); /* the first picture is small enough */
    folder_new("video_out");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const enum vmt_status video = media_write(&ctx, &clip, "video_out/a.mp4", NULL);
    const bool named = strstr(ctx.message, "video_out/a.mp4") != NULL;
    const enum vmt_status folder = media_write(&ctx, &clip, "video_out/b/", NULL);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(video, VMT_E_IO);
    assert_true(named);
    assert_int_equal(folder, VMT_E_IO);
    stream = opendir("video_out");
    while (readdir(stream))
        left++;
    closedir(stream);
    assert_int_equal(left, 0);
    rmdir("video_out");
    vmt_clip_free(&clip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(video_roundtrip, setup),
        cmocka_unit_test_setup(tags_are_right, setup),
        cmocka_unit_test_setup(other_colours, setup),
        cmocka_unit_test_setup(rotation, setup),
        cmocka_unit_test_setup(png_folder, setup),
        cmocka_unit_test_setup(bad_videos, setup),
        cmocka_unit_test_setup(resampling, setup),
        cmocka_unit_test_setup(full_disk, setup),
    };
    if (!media_has_libav() || !test_has_ffmpeg())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
