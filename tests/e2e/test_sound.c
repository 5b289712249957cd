/* SPDX-License-Identifier: MIT
 *
 * The reference's sound through the program: in a result, out of it, after a resume, from a latent.
 * How it is cut is tested in test_media_sound.c.
 */
#include "cli_run.h"
#include "clips.h"

#include "media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL SOURCE_ROOT "/models/tiny"
#define RUN                                                                                        \
    "transfer", "-m", MODEL, "-r", "reference.mp4", "-p", "a red car", "--size", "64x48",          \
        "--frames", "5", "--start", "3", "--steps", "2", "--guided-steps", "1", "--inner-steps",   \
        "1", "--cfg", "1", "-q", "-y"

static void done(cli_result r)
{
    if (r.code)
        fail_msg("exit code %d: %s", r.code, r.errors);
    assert_string_equal(r.output, "");
    cli_free(&r);
}

static void check_sound(const char *path, const char *codec, double video, double sound)
{
    char arguments[256], found[256], name[32] = "";
    double length = 0;

    snprintf(arguments, sizeof arguments,
             "-of csv=p=0:s=x -select_streams a -show_entries stream=codec_name,duration %s", path);
    test_ffprobe(found, sizeof found, arguments);
    sscanf(found, "%31[^x]x%lf", name, &length);
    assert_string_equal(name, codec);
    assert_true(fabs(length - sound) < 0.03);
    snprintf(arguments, sizeof arguments,
             "-of csv=p=0 -select_streams v -show_entries stream=duration %s", path);
    test_ffprobe(found, sizeof found, arguments);
    assert_true(fabs(strtod(found, NULL) - video) < 1e-3);
}

static void same_files(const char *a, const char *b)
{
    size_t a_bytes, b_bytes;
    void *first = file_read(a, &a_bytes), *second = file_read(b, &b_bytes);

    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(first, second, a_bytes);
    free(first);
    free(second);
}

static void along_and_left_out(void **state)
{
    (void)state;
    done(CLI(300, RUN, "-o", "out.mp4"));
    check_sound("out.mp4", "aac", 0.5, 0.5);
    done(CLI(300, RUN, "-o", "stride.mp4", "--stride", "3")); /* 5 frames of 0.3 s */
    check_sound("stride.mp4", "aac", 1.5, 1.5);
    done(CLI(300, RUN, "-o", "mute.mp4", "--no-audio"));
    check_sound("mute.mp4", "", 0.5, 0);
    cli_result r = CLI(60, "info", "mute.mp4");
    assert_non_null(strstr(r.output, " --no-audio --"));
    assert_null(strstr(r.output, "--stride"));
    cli_free(&r);
}

static void resumed_and_decoded(void **state)
{
    (void)state;
    done(CLI(300, RUN, "-o", "whole.mp4", "--checkpoint", "1", "--checkpoint-file", "run.state",
             "--latent", "run.latent"));
    done(CLI(300, RUN, "-o", "resumed.mp4", "--resume", "run.state"));
    check_sound("resumed.mp4", "aac", 0.5, 0.5);
    done(CLI(300, "decode", "-m", MODEL, "run.latent", "-o", "mute.mp4", "-q", "-y"));
    check_sound("mute.mp4", "", 0.5, 0);
    done(CLI(300, "decode", "-m", MODEL, "run.latent", "-o", "with.mp4", "-q", "-y", "-r",
             "reference.mp4", "--start", "3"));
    check_sound("with.mp4", "aac", 0.5, 0.5);
    done(CLI(300, "decode", "-m", MODEL, "run.latent", "-o", "again.mp4", "-q", "-y", "-r",
             "reference.mp4", "--start-seconds", "0.3"));
    same_files("with.mp4", "again.mp4");
    done(CLI(300, "decode", "-m", MODEL, "run.latent", "-o", "none.mp4", "-q", "-y", "-r",
             "reference.mp4", "--start", "3", "--no-audio"));
    same_files("mute.mp4", "none.mp4");
}

/* Formats that hold none say so with -v alone. */
static void dropped(void **state)
{
    (void)state;
    cli_result r = CLI(300, "transfer", "-m", MODEL, "-r", "reference.mp4", "-p", "a red car",
                       "--size", "64x48", "--frames", "2", "--steps", "2", "--guided-steps", "1",
                       "--inner-steps", "1", "--cfg", "1", "-o", "out.gif", "-v");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.errors, "out.gif: holds no sound, that of reference.mp4 is left out"));
    cli_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(along_and_left_out),
        cmocka_unit_test(resumed_and_decoded),
        cmocka_unit_test(dropped),
    };

    if (!media_has_libav() || !test_has_ffmpeg())
        return 77;
    folder_new("sound");
    if (chdir("sound"))
        return 1;
    test_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=10:d=3 -f lavfi -i sine=f=440:r=44100:d=3 -c:v "
                "libx264 -c:a aac reference.mp4");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
