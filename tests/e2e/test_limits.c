/* SPDX-License-Identifier: MIT
 *
 * Limits that the system sets: address space (RLIMIT_AS) and file size (RLIMIT_FSIZE), at many
 * values.  Whatever the limit, it is a result or one line, and never half a file.
 */
#include "bad_input.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { MIB = 1 << 20, TIMEOUT = 120 };

#define SHORT                                                                                      \
    "-q", "--size", "32x32", "--frames", "5", "--steps", "2", "--guided-steps", "1",               \
        "--inner-steps", "1"

static void limit(__rlimit_resource_t kind, rlim_t bytes)
{
    struct rlimit old;

    assert_int_equal(getrlimit(kind, &old), 0);
    old.rlim_cur = bytes;
    assert_int_equal(setrlimit(kind, &old), 0);
}

/* Runs under a limit: done, or refused with this status and nothing new in the folder. */
static bool run(__rlimit_resource_t kind, rlim_t bytes, int code, const char *output,
                const char *const *arguments)
{
    const int before = folder_count(".");
    char label[64];

    snprintf(label, sizeof label, "%s limited to %llu bytes", arguments[0],
             (unsigned long long)bytes);
    limit(kind, bytes);
    cli_result result = cli_run(arguments, TIMEOUT);
    limit(kind, RLIM_INFINITY);
    const bool done = result.code == 0;
    if (done && result.errors[0])
        fail_msg("%s: done, but: %s", label, result.errors);
    if (done)
        cli_free(&result);
    else
        cli_check_refused(label, &result, code, NULL);
    folder_remove(output);
    char json[256];
    snprintf(json, sizeof json, "%s.json", output);
    unlink(json);
    if (folder_count(".") != before)
        fail_msg("%s: %d entries in the folder, %d before", label, folder_count("."), before);
    return done;
}
#define RUN(kind, bytes, code, output, ...)                                                        \
    run(kind, bytes, code, output, (const char *const[]){__VA_ARGS__, NULL})

/* Below some 50 MiB the loader cannot even map the libraries, and oneDNN (backend cpu) follows null
 * pointers where its generated code finds no memory: neither is ours to say. */
static void address_space(void **state)
{
    (void)state;
    int done = 0, refused = 0;

#ifdef SANITIZED
    skip(); /* AddressSanitizer itself reserves terabytes */
#endif
    for (rlim_t mib = 52; mib <= 100; mib += 3)
        for (int threads = 1; threads <= 2; threads++) {
            const bool good = RUN(RLIMIT_AS, mib * MIB, VMT_E_MEMORY, "out.y4m", "transfer", "-m",
                                  MODEL, "-r", REFERENCE, "-p", "a red car", "-o", "out.y4m", SHORT,
                                  "--backend", "ref", "--threads", threads == 1 ? "1" : "2");
            done += good;
            refused += !good;
        }
    print_message("%d runs done, %d refused\n", done, refused);
    assert_true(done > 0 && refused > 0);
}

/* A file may not grow beyond the limit (which holds for the file that takes stderr, too): each kind
 * of output at many of them. */
static void file_size(void **state)
{
    (void)state;
    static const rlim_t limits[] = {500, 700, 1000, 1500, 2000, 3000, 6000, 12000};
    int done = 0;

    signal(SIGXFSZ, SIG_IGN); /* so that writing fails with an error instead */
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const rlim_t most = limits[i];
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.latent", "encode", "-m", MODEL, "-r",
                    REFERENCE, "-o", "out.latent", SHORT);
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.fvm", "extract", "-m", MODEL, "-r",
                    REFERENCE, "-o", "out.fvm", SHORT);
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.emb", "embed", "-m", MODEL, "-p", "x", "-o",
                    "out.emb", "-q");
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.case", "probe",
                    TEST_DATA "/golden/adamw_a.safetensors", "-o", "out.case");
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out/", "decode", "-m", MODEL, "clip.latent",
                    "-o", "out/", "-q");
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.mp4", "decode", "-m", MODEL, "clip.latent",
                    "-o", "out.mp4", "-q");
        done += RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.y4m", "decode", "-m", MODEL, "clip.latent",
                    "-o", "out.y4m", "-q");
    }
    print_message("%d of %zu were done\n", done, 7 * sizeof limits / sizeof *limits);
    assert_true(done > 0);
}

/* The state, the latent, then the JSON beside the result meet the limit first. */
static void parts_of_a_transfer(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t most = 600; most < 3500; most += 700)
        RUN(RLIMIT_FSIZE, most, VMT_E_IO, "out.y4m", "transfer", "-m", MODEL, "-r", REFERENCE, "-p",
            "x", "-o", "out.y4m", SHORT, "--checkpoint", "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_space),
        cmocka_unit_test(file_size),
        cmocka_unit_test(parts_of_a_transfer),
    };

    folder_new("limits");
    if (chdir("limits"))
        return 1;
    write_y4m(REFERENCE, "YUV4MPEG2 W32 H32 F16:1 C444", 5, 3 * 32 * 32);
    cli_result result =
        CLI(TIMEOUT, "encode", "-m", MODEL, "-r", REFERENCE, "-o", "clip.latent", "-q");
    assert_int_equal(result.code, 0);
    cli_free(&result);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
