/* SPDX-License-Identifier: MIT
 *
 * Outputs that cannot be written: known beforehand where possible, whole or absent always.
 */
#include "bad_input.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void unwritable_places(void **state)
{
    (void)state;
    REFUSED("no such folder", VMT_E_IO, "absent/out.y4m", TRANSFER, "-o", "absent/out.y4m");
    REFUSED("below a file", VMT_E_IO, REFERENCE, TRANSFER, "-o", REFERENCE "/out.y4m");
    REFUSED("unknown ending", VMT_E_ARG, "out.xyz", TRANSFER, "-o", "out.xyz");
    REFUSED("no ending", VMT_E_ARG, "out", TRANSFER, "-o", "out");
    REFUSED("/dev/full", VMT_E_ARG, "/dev/full", TRANSFER, "-o", "/dev/full");
    file_write("there.y4m", "precious", 8);
    REFUSED("never unasked", VMT_E_ARG, "exists", TRANSFER, "-o", "there.y4m");
    REFUSED("compare in no folder", VMT_E_IO, "absent", TRANSFER, "--compare", "absent/c.y4m");
    REFUSED("extract in no folder", VMT_E_IO, "absent", "extract", "-m", MODEL, "-r", REFERENCE,
            "-o", "absent/m.fvm", "-q");
    REFUSED("encode in no folder", VMT_E_IO, "absent", "encode", "-m", MODEL, "-r", REFERENCE, "-o",
            "absent/l.latent", "-q");
    REFUSED("probe in no folder", VMT_E_IO, "absent", "probe",
            TEST_DATA "/golden/adamw_a.safetensors", "-o", "absent/o");
    size_t length;
    unsigned char *bytes = file_read("there.y4m", &length);
    assert_int_equal(length, 8);
    assert_memory_equal(bytes, "precious", 8);
    free(bytes);
}

/* For root every folder is writable: then this is left out. */
static void folder_without_permission(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip();
    folder_new("locked");
    assert_int_equal(chmod("locked", 0555), 0);
    REFUSED("locked folder", VMT_E_IO, "locked", TRANSFER, "-o", "locked/out.y4m");
    assert_int_equal(chmod("locked", 0755), 0);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* No file may grow beyond this: what a full disk does to a program, without needing one. */
static void full_disk(void **state)
{
    (void)state;
    cli_result result = CLI(120, "encode", "-m", MODEL, "-r", REFERENCE, "-o", "clip.latent", "-q");
    assert_int_equal(result.code, 0);
    cli_free(&result);

    signal(SIGXFSZ, SIG_IGN); /* so that writing fails with an error instead */
    limit_files(2000);
    REFUSED("latent", VMT_E_IO, "l.latent", "encode", "-m", MODEL, "-r", REFERENCE, "-o",
            "l.latent", "-q");
    REFUSED("motion", VMT_E_IO, "m.fvm", "extract", "-m", MODEL, "-r", REFERENCE, "-o", "m.fvm",
            "-q", "--steps", "2", "--guided-steps", "1", "--threads", "1");
    REFUSED("result", VMT_E_IO, "out.y4m", "decode", "-m", MODEL, "clip.latent", "-o", "out.y4m",
            "-q");
    REFUSED("state", VMT_E_IO, "out.state", TRANSFER, "--checkpoint", "1", "--checkpoint-file",
            "out.state");
    REFUSED("transfer", VMT_E_IO, "out.y4m.latent.safetensors", TRANSFER);
    REFUSED("pictures", VMT_E_IO, ".ppm", "decode", "-m", MODEL, "clip.latent", "-o", "f%05d.ppm",
            "-q");
    REFUSED("case", VMT_E_IO, "out", "probe", TEST_DATA "/golden/adamw_a.safetensors", "-o", "out");
    if (TEST_HAS_LIBAV)
        REFUSED("mp4", VMT_E_IO, "out.mp4", "decode", "-m", MODEL, "clip.latent", "-o", "out.mp4",
                "-q");
    limit_files(RLIM_INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unwritable_places),
        cmocka_unit_test(folder_without_permission),
        cmocka_unit_test(full_disk),
    };

    if (!TEST_HAS_SENTENCEPIECE) {
        puts("SKIPPED: this build reads no prompts, so no run gets as far as its output");
        return 77;
    }
    folder_new("bad_output");
    if (chdir("bad_output"))
        return 1;
    write_reference();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
