/* SPDX-License-Identifier: MIT
 *
 * A libav that was built without an encoder or decoder: one line before anything is computed, no
 * file, and what does not need it works.  The program runs with tests/interpose/without_codec.c in
 * front of the real library.
 */
#include "bad_input.h"
#include "clips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DECODE "decode", "-m", MODEL, "clip.latent", "-q"

static void without(const char *codecs)
{
    setenv("LD_PRELOAD", TEST_WITHOUT_CODEC, 1);
    setenv("WITHOUT_CODECS", codecs, 1);
}

/* AddressSanitizer wants to be the first library; ours is no part of what it watches. */
static void let_preload_pass(void)
{
    const char *asan = getenv("ASAN_OPTIONS");
    char options[1024];

    snprintf(options, sizeof options, "%s:verify_asan_link_order=0", asan ? asan : "");
    setenv("ASAN_OPTIONS", options, 1);
}

static int with_all(void **state)
{
    (void)state;
    unsetenv("LD_PRELOAD");
    unsetenv("WITHOUT_CODECS");
    return 0;
}

static cli_result done(cli_result r)
{
    if (r.code)
        fail_msg("exit code %d: %s", r.code, r.errors);
    return r;
}

static void made(const char *path, cli_result r)
{
    done(r);
    cli_free(&r);
    assert_true(file_exists(path));
    folder_remove(path);
}

static void video_encoders(void **state)
{
    (void)state;
    without("libx264");
    REFUSED("mp4", VMT_E_UNSUPPORTED,
            "out.mp4: this libav has no libx264: install one that has, or write --codec ffv1 in "
            ".mkv, .gif, .y4m or \"/\" (PNG)",
            TRANSFER, "-o", "out.mp4");
    REFUSED("mkv", VMT_E_UNSUPPORTED, "no libx264", DECODE, "-o", "out.mkv");
    REFUSED("compare", VMT_E_UNSUPPORTED, "c.mov: this libav has no libx264", TRANSFER, "--compare",
            "c.mov");
    REFUSED("show", VMT_E_UNSUPPORTED, "f.mp4: this libav has no libx264", "show", REFERENCE, "-m",
            MODEL, "-o", "f.mp4");
    made("out.mkv", CLI(120, DECODE, "-o", "out.mkv", "--codec", "ffv1"));
    made("out.gif", CLI(120, DECODE, "-o", "out.gif"));
    made("out", CLI(120, DECODE, "-o", "out/"));
    without("libvpx-vp9");
    REFUSED("webm", VMT_E_UNSUPPORTED, "out.webm: this libav has no libvpx-vp9", DECODE, "-o",
            "out.webm");
    made("out.mp4", CLI(120, DECODE, "-o", "out.mp4"));
    without("ffv1 libx264");
    REFUSED("ffv1", VMT_E_UNSUPPORTED, "out.mkv: this libav has no ffv1", DECODE, "-o", "out.mkv",
            "--codec", "ffv1");
}

static void picture_encoders(void **state)
{
    (void)state;
    without("png");
    REFUSED("folder", VMT_E_UNSUPPORTED,
            "out/: this libav has no png: install one that has, or write NAME%05d.ppm", TRANSFER,
            "-o", "out/");
    REFUSED("pattern", VMT_E_UNSUPPORTED, "f%05d.png: this libav has no png", DECODE, "-o",
            "f%05d.png");
    REFUSED("preview", VMT_E_UNSUPPORTED,
            "out.y4m.preview.png: this libav has no png: install one that has, or write .ppm",
            TRANSFER, "--preview", "1");
    made("f0.jpg", CLI(120, DECODE, "-o", "f%d.jpg"));
    without("mjpeg");
    REFUSED("JPEG", VMT_E_UNSUPPORTED, "g%05d.jpg: this libav has no mjpeg", DECODE, "-o",
            "g%05d.jpg");
}

/* The result is there, and a line says what it lacks. */
static void sound_encoders(void **state)
{
    static const char *const cases[][4] = {
        {"aac", "out.mp4", "h264", "Encoder not found"},
        {"libopus libvorbis", "out.webm", "vp9", "Encoder not found"},
        {"flac", "out.mkv", "ffv1", "Encoder not found"},
        {"pcm_s16le", "out.mp4", "h264", "Decoder not found"},
    };

    (void)state;
    if (!file_exists("sound.mov"))
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        without(cases[i][0]);
        cli_result r = done(CLI(120, "decode", "-m", MODEL, "clip.latent", "-r", "sound.mov",
                                "--start", "3", "-o", cases[i][1], "--codec", cases[i][2]));
        assert_non_null(strstr(r.errors, "warning: sound.mov: its sound is left out: "));
        assert_non_null(strstr(r.errors, cases[i][3]));
        cli_free(&r);
        assert_true(file_exists(cases[i][1]));
        unlink(cases[i][1]);
    }
}

static void decoders(void **state)
{
    (void)state;
    without("h264");
    REFUSED("video", VMT_E_UNSUPPORTED,
            "07_swing.mkv: this libav has no decoder for h264: install one that has, or convert "
            "the file",
            TRANSFER, "-r", SOURCE_ROOT "/demo/refs/07_swing.mkv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(video_encoders, with_all),
        cmocka_unit_test_teardown(picture_encoders, with_all),
        cmocka_unit_test_teardown(sound_encoders, with_all),
        cmocka_unit_test_teardown(decoders, with_all),
    };

    let_preload_pass();
    folder_new("missing_codec");
    if (chdir("missing_codec"))
        return 1;
    write_reference();
    cli_result r = CLI(120, "encode", "-m", MODEL, "-r", REFERENCE, "-o", "clip.latent", "-q");
    if (r.code)
        return 1;
    cli_free(&r);
    if (test_has_ffmpeg())
        test_ffmpeg("-f lavfi -i testsrc2=s=64x48:r=16:d=2 -f lavfi -i sine=d=2 -c:v libx264 "
                    "-c:a pcm_s16le sound.mov");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
