/* SPDX-License-Identifier: MIT
 *
 * References that are absent, empty, cut, of another kind, hostile or too large; bad options about
 * them; foreign motion, latent and state files.
 */
#include "bad_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void no_video(void **state)
{
    (void)state;
    static const char text[] = "this is no video\n";

    REFUSED("absent", VMT_E_IO, "absent.mp4", TRANSFER, "-r", "absent.mp4");
    REFUSED("a missing folder", VMT_E_IO, "absent/a.mp4", TRANSFER, "-r", "absent/a.mp4");
    file_write("empty.mp4", "", 0);
    REFUSED("empty", VMT_E_FORMAT, "empty.mp4", TRANSFER, "-r", "empty.mp4");
    file_write("empty.y4m", "", 0);
    REFUSED("empty Y4M", VMT_E_FORMAT, "empty.y4m", TRANSFER, "-r", "empty.y4m");
    file_write("text.mp4", text, sizeof text - 1);
    REFUSED("text", TEST_HAS_LIBAV ? VMT_E_FORMAT : VMT_E_UNSUPPORTED, "text.mp4", TRANSFER, "-r",
            "text.mp4");
    file_write("text.y4m", text, sizeof text - 1);
    REFUSED("text as Y4M", TEST_HAS_LIBAV ? VMT_E_FORMAT : VMT_E_UNSUPPORTED, "text.y4m", TRANSFER,
            "-r", "text.y4m");
    folder_new("pictures");
    REFUSED("an empty folder", VMT_E_FORMAT, "pictures", TRANSFER, "-r", "pictures");
    file_write("pictures/00000.ppm", "P6\n9 9\n255\n", 11);
    REFUSED("a cut picture", VMT_E_FORMAT, "00000.ppm", TRANSFER, "-r", "pictures");
    file_write("pictures/00000.png", "\x89PNG\r\n\x1a\n", 8);
    unlink("pictures/00000.ppm");
    REFUSED("a cut PNG", TEST_HAS_LIBAV ? VMT_E_FORMAT : VMT_E_UNSUPPORTED, "00000.png", TRANSFER,
            "-r", "pictures");
    REFUSED("weights", TEST_HAS_LIBAV ? VMT_E_FORMAT : VMT_E_UNSUPPORTED, "text.safetensors",
            TRANSFER, "-r", MODEL "/text.safetensors");
}

/* RIFF WAVE, a tenth of a second: a file libav reads, without any video. */
static void sound_only(void **state)
{
    (void)state;
    static const unsigned char head[44] = {
        'R', 'I', 'F', 'F', 0x64, 6, 0,   0,   'W', 'A',  'V',  'E', 'f', 'm',  't',
        ' ', 16,  0,   0,   0,    1, 0,   1,   0,   0x40, 0x1f, 0,   0,   0x80, 0x3e,
        0,   0,   2,   0,   16,   0, 'd', 'a', 't', 'a',  0x40, 6,   0,   0};
    unsigned char *bytes = calloc(1, 44 + 1600);

    if (!TEST_HAS_LIBAV)
        skip();
    assert_non_null(bytes);
    memcpy(bytes, head, sizeof head);
    file_write("sound.wav", bytes, 44 + 1600);
    free(bytes);
    REFUSED("sound only", VMT_E_FORMAT, "no video", TRANSFER, "-r", "sound.wav");
}

static void broken_y4m(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "YUV4MPEG2",
        "YUV4MPEG2 W64 F16:1 C444",
        "YUV4MPEG2 H48 F16:1 C444",
        "YUV4MPEG2 W0 H48 F16:1 C444",
        "YUV4MPEG2 W64 H0 F16:1 C444",
        "YUV4MPEG2 W-64 H48 F16:1 C444",
        "YUV4MPEG2 W99999999999999999999 H48 F16:1 C444",
        "YUV4MPEG2 W2147483647 H2147483647 F16:1 C444",
        "YUV4MPEG2 W16384 H16 F16:1 C444",
        "YUV4MPEG2 W16 H16384 F16:1 C444",
        "YUV4MPEG2 W64 H48 F16:1 C999",
    };
    char label[100];

    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        write_y4m("bad.y4m", headers[i], 2, 3 * 64 * 48);
        snprintf(label, sizeof label, "%s", headers[i]);
        cli_result result = CLI(60, TRANSFER, "-r", "bad.y4m");
        if (result.code != VMT_E_FORMAT && result.code != VMT_E_UNSUPPORTED)
            fail_msg("%s: exit code %d: %s", label, result.code, result.errors);
        cli_check_refused(label, &result, result.code, "bad.y4m");
    }
    write_y4m("bad.y4m", "YUV4MPEG2 W64 H48 F16:1 C444", 0, 0);
    REFUSED("no frame", VMT_E_FORMAT, "no frame", TRANSFER, "-r", "bad.y4m");

    static const size_t cuts[] = {40, 45, 5000, 18000};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_start("bad.y4m", REFERENCE, cuts[i]);
        REFUSED("cut", VMT_E_FORMAT, "bad.y4m", TRANSFER, "-r", "bad.y4m");
    }
    size_t length;
    unsigned char *bytes = file_read(REFERENCE, &length);
    unsigned char *frame = memmem(bytes + 100, length - 100, "FRAME", 5);
    assert_non_null(frame);
    frame[0] = 'G';
    file_write("bad.y4m", bytes, length);
    free(bytes);
    REFUSED("a damaged frame mark", VMT_E_FORMAT, "bad.y4m", TRANSFER, "-r", "bad.y4m");
}

/* Cut and damaged at many places: whatever comes, it is a result or one line. */
static void damaged_container(void **state)
{
    (void)state;
    const char *const clip = SOURCE_ROOT "/demo/refs/06_vertical.mkv";
    size_t length;

    if (!TEST_HAS_LIBAV)
        skip();
    unsigned char *bytes = file_read(clip, &length);
    for (size_t cut = 1; cut < length; cut = cut * 3 + 1) {
        file_write("bad.mkv", bytes, cut);
        cli_result result = CLI(60, TRANSFER, "-r", "bad.mkv", "--plan");
        if (result.code)
            cli_check_refused("cut", &result, VMT_E_FORMAT, "bad.mkv");
        cli_free(&result);
    }
    unsigned seed = 5;
    for (int round = 0; round < 12; round++) {
        unsigned char old[40];
        size_t at[40];
        for (int i = 0; i < 40; i++) {
            seed = seed * 1103515245U + 12345U;
            at[i] = (seed >> 8) % (round % 2 ? 600 : length);
            old[i] = bytes[at[i]];
            bytes[at[i]] = (unsigned char)(seed >> 20);
        }
        file_write("bad.mkv", bytes, length);
        for (int i = 39; i >= 0; i--)
            bytes[at[i]] = old[i];
        cli_result result = CLI(60, TRANSFER, "-r", "bad.mkv", "--plan");
        if (result.code)
            cli_check_refused("damaged", &result,
                              result.code == VMT_E_UNSUPPORTED ? result.code : VMT_E_FORMAT,
                              "bad.mkv"); /* the codec's name may be what was hit */
        cli_free(&result);
    }
    free(bytes);
}

static void one_frame(void **state)
{
    (void)state;
    write_y4m("one.y4m", "YUV4MPEG2 W64 H48 F16:1 C444", 1, 3 * 64 * 48);
    REFUSED("nothing moves in one frame", VMT_E_ARG, "one frame", TRANSFER, "-r", "one.y4m");
    REFUSED("extract", VMT_E_ARG, "one frame", "extract", "-m", MODEL, "-r", "one.y4m", "-o",
            "m.fvm", "-q");
    REFUSED("one is left", VMT_E_ARG, "one frame", TRANSFER, "--start", "8");
}

static void bad_options(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--steps", "0"},          {"--steps", "many"},      {"--steps", "1e9"},
        {"--steps", ""},           {"--size", "0x0"},        {"--size", "64"},
        {"--size", "-64x48"},      {"--size", "99999999x9"}, {"--frames", "-1"},
        {"--frames", "99999999"},  {"--strength", "0"},      {"--strength", "nan"},
        {"--strength", "1.5"},     {"--cfg", "inf"},         {"--shift", "0"},
        {"--block", "8"},          {"--block", "-1"},        {"--amf-window", "-1"},
        {"--amf-tile", "0x2"},     {"--amf-tile", "2"},      {"--variant", "best"},
        {"--init", "zeros"},       {"--seed", "abc"},        {"--preset", "none"},
        {"--backend", "quantum"},  {"--dtype", "int3"},      {"--threads", "-1"},
        {"--fit", "squeeze"},      {"--start", "9"},         {"--stride", "0"},
        {"--no-such-option", "1"}, {"--lr-first", "-1"},     {"--grad-reuse-interval", "0"},
    };
    char label[80];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(label, sizeof label, "%s %s", bad[i][0], bad[i][1]);
        REFUSED(label, VMT_E_ARG, NULL, TRANSFER, bad[i][0], bad[i][1]);
    }
    REFUSED("no command", VMT_E_ARG, "--help", NULL);
    REFUSED("a mistyped command", VMT_E_ARG, "transfer", "trasnfer");
    REFUSED("a value is missing", VMT_E_ARG, "--steps", TRANSFER, "--steps");
    REFUSED("no reference", VMT_E_ARG, "reference", "transfer", "-m", MODEL, "-p", "x", "-o",
            "out.y4m");
    REFUSED("no model", VMT_E_ARG, "model", "generate", "-p", "x", "-o", "out.y4m");
    REFUSED("no output", VMT_E_ARG, "-o", "generate", "-m", MODEL, "-p", "x");
    REFUSED("no UTF-8", VMT_E_ARG, "UTF-8", TRANSFER, "-p", "a \xff\xfe dog");
}

/* Files of ours in the wrong place, and cut ones. */
static void foreign_own_files(void **state)
{
    (void)state;
    cli_result result = CLI(120, "encode", "-m", MODEL, "-r", REFERENCE, "-o", "clip.latent", "-q");
    assert_int_equal(result.code, 0);
    cli_free(&result);

    REFUSED("latent as motion", VMT_E_FORMAT, "clip.latent", "transfer", "-m", MODEL, "--motion",
            "clip.latent", "-p", "x", "-o", "out.y4m", "-q");
    REFUSED("latent as state", VMT_E_FORMAT, "clip.latent", TRANSFER, "--resume", "clip.latent");
    REFUSED("latent as embeddings", VMT_E_FORMAT, "clip.latent", TRANSFER, "--embeddings",
            "clip.latent");
    REFUSED("weights as latent", VMT_E_FORMAT, "vae.safetensors", "decode", "-m", MODEL,
            MODEL "/vae.safetensors", "-o", "out.y4m", "-q");
    REFUSED("a video as latent", VMT_E_FORMAT, REFERENCE, "decode", "-m", MODEL, REFERENCE, "-o",
            "out.y4m", "-q");
    static const size_t cuts[] = {0, 5, 60, 600};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_start("cut.latent", "clip.latent", cuts[i]);
        REFUSED("cut latent", VMT_E_FORMAT, "cut.latent", "decode", "-m", MODEL, "cut.latent", "-o",
                "out.y4m", "-q");
        REFUSED("cut state", VMT_E_FORMAT, "cut.latent", TRANSFER, "--resume", "cut.latent");
        REFUSED("info", VMT_E_FORMAT, "cut.latent", "info", "cut.latent");
    }

    /* One value of the latent that is no number. */
    size_t length;
    unsigned char *bytes = file_read("clip.latent", &length);
    memcpy(bytes + length - 400, "\x00\x00\xc0\x7f", 4);
    file_write("nan.latent", bytes, length);
    free(bytes);
    REFUSED("NaN in a latent", VMT_E_NUMERIC, "nan.latent", "decode", "-m", MODEL, "nan.latent",
            "-o", "out.y4m", "-q");
}

static void bad_cases(void **state)
{
    (void)state;
    write_safetensors("case", "{\"__metadata__\": {\"kind\": \"magic\"}}", 0);
    REFUSED("unknown kind", VMT_E_UNSUPPORTED, "magic", "probe", "case", "-o", "out");
    write_safetensors("case", "{}", 0);
    REFUSED("no kind", VMT_E_FORMAT, "kind", "probe", "case", "-o", "out");
    write_safetensors("case", "{\"__metadata__\": {\"kind\": \"adamw\"}}", 0);
    REFUSED("nothing in it", VMT_E_FORMAT, "case", "probe", "case", "-o", "out");
    REFUSED("absent", VMT_E_IO, "absent", "probe", "absent", "-o", "out");
    REFUSED("a video", VMT_E_FORMAT, REFERENCE, "probe", REFERENCE, "-o", "out");
}

static int remove_output(void **state)
{
    (void)state;
    unlink("out.y4m");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_video, remove_output),
        cmocka_unit_test_setup(sound_only, remove_output),
        cmocka_unit_test_setup(broken_y4m, remove_output),
        cmocka_unit_test_setup(damaged_container, remove_output),
        cmocka_unit_test_setup(one_frame, remove_output),
        cmocka_unit_test_setup(bad_options, remove_output),
        cmocka_unit_test_setup(foreign_own_files, remove_output),
        cmocka_unit_test_setup(bad_cases, remove_output),
    };

    if (!TEST_HAS_SENTENCEPIECE) {
        puts("SKIPPED: this build reads no prompts, so no run gets as far as these files");
        return 77;
    }
    folder_new("bad_video");
    if (chdir("bad_video"))
        return 1;
    write_reference();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
