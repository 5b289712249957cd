/* SPDX-License-Identifier: MIT
 *
 * `fastvmt show` as a user runs it: the same pictures from a motion file as from the model, in any
 * format, and one line for what cannot be shown.
 */
#include "bad_input.h"

#include "media/media.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHORT "--steps", "2", "--guided-steps", "1", "--threads", "1", "-q"

enum { TIMEOUT = 300 };

static vmt_ctx ctx;

static void check_done(cli_result result)
{
    if (result.code != 0)
        fail_msg("exit code %d: %s", result.code, result.errors);
    assert_string_equal(result.output, "");
    cli_free(&result);
}

static void check_clip(const char *path, int64_t frames)
{
    vmt_clip clip;

    CHECK_OK(&ctx, media_read(&ctx, &clip, path, NULL));
    assert_int_equal(clip.frames, frames);
    assert_int_equal(clip.width, 2 * 448); /* 64 pixels, enlarged 7 times */
    assert_int_equal(clip.height, 336);
    vmt_clip_free(&clip);
}

static void pictures(void **state)
{
    size_t a, b;

    (void)state;
    check_done(CLI(TIMEOUT, "show", REFERENCE, "--motion", "motion.fvm", "-o", "file.y4m", "-q"));
    check_clip("file.y4m", 9);
    check_done(CLI(TIMEOUT, "show", "-r", REFERENCE, "-m", MODEL, "-o", "model.y4m", SHORT));
    unsigned char *file = file_read("file.y4m", &a), *model = file_read("model.y4m", &b);
    assert_int_equal(a, b);
    assert_memory_equal(file, model, a);
    free(file);
    free(model);
    check_done(CLI(TIMEOUT, "show", REFERENCE, "--motion", "motion.fvm", "-o", "flow/", "-q"));
    assert_int_equal(folder_count("flow"), 9);
    check_clip("flow/", 9);
    check_done(CLI(TIMEOUT, "show", REFERENCE, "--motion", "motion.fvm", "-o", "flow.mp4", "-q"));
    check_clip("flow.mp4", 9);
    /* a clip of another size and rate is brought to the file's */
    write_y4m("wide.y4m", "YUV4MPEG2 W90 H48 F25:1 Ip A1:1 C444", 12, 3 * 90 * 48);
    check_done(
        CLI(TIMEOUT, "show", "wide.y4m", "--motion", "motion.fvm", "-o", "wide_flow.y4m", "-q"));
    check_clip("wide_flow.y4m", 9);
}

#define SHOW "show", REFERENCE, "-o", "x.y4m"

static void refused(void **state)
{
    (void)state;
    REFUSED("no motion", VMT_E_ARG, "one of the two", SHOW);
    REFUSED("both", VMT_E_ARG, "one of the two", SHOW, "-m", MODEL, "--motion", "motion.fvm");
    REFUSED("no video", VMT_E_ARG, "needs the video", "show", "-o", "x.y4m", "--motion", "m.fvm");
    REFUSED("two videos", VMT_E_ARG, "one video", SHOW, REFERENCE, "--motion", "motion.fvm");
    REFUSED("no output", VMT_E_ARG, "-o FILE", "show", REFERENCE, "--motion", "motion.fvm");
    REFUSED("settings", VMT_E_ARG, "leave out --size", SHOW, "--motion", "motion.fvm", "--size",
            "64x48");
    REFUSED("output there", VMT_E_ARG, "-y overwrites", "show", REFERENCE, "-o", REFERENCE,
            "--motion", "motion.fvm");
    REFUSED("kind of output", VMT_E_ARG, "unknown kind", "show", REFERENCE, "-o", "x.abc",
            "--motion", "motion.fvm");
    REFUSED("no file", VMT_E_IO, "none.fvm", SHOW, "--motion", "none.fvm");
    REFUSED("a video", VMT_E_FORMAT, REFERENCE, SHOW, "--motion", REFERENCE);
    REFUSED("weights", VMT_E_FORMAT, "expected a fastvmt-motion", SHOW, "--motion",
            MODEL "/vae.safetensors");
    write_start("cut.fvm", "motion.fvm", 4000);
    REFUSED("cut", VMT_E_FORMAT, "cut.fvm", SHOW, "--motion", "cut.fvm");
    write_y4m("short.y4m", "YUV4MPEG2 W64 H48 F16:1 Ip A1:1 C444", 5, 3 * 64 * 48);
    REFUSED("short video", VMT_E_ARG, "only 5", "show", "short.y4m", "--motion", "motion.fvm", "-o",
            "x.y4m");
    REFUSED("nothing compared", VMT_E_UNSUPPORTED, "no flow from frame to frame", SHOW, "-m", MODEL,
            SHORT, "--max-frame-gap", "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures),
        cmocka_unit_test(refused),
    };

    vmt_ctx_init(&ctx);
    folder_new("show");
    if (chdir("show"))
        return 1;
    write_reference();
    check_done(CLI(TIMEOUT, "extract", "-m", MODEL, "-r", REFERENCE, "-o", "motion.fvm", SHORT));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
