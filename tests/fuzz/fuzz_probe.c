/* SPDX-License-Identifier: MIT
 *
 * Case files, run to the end: constants, shapes and names come from an untrusted file.  A case may
 * name the weight files of tests/data/golden.
 */
#include "input.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const weights[] = {"dit_b.weights", "guided_a.weights", "umt5_a.weights",
                                      "vae_a.weights"};
static char folder[] = "/tmp/fuzz_probe.XXXXXX";

static void name_in_folder(char *path, size_t size, const char *stem)
{
    snprintf(path, size, "%s/%s.safetensors", folder, stem);
}

static void remove_folder(void)
{
    char path[256];

    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        name_in_folder(path, sizeof path, weights[i]);
        unlink(path);
    }
    name_in_folder(path, sizeof path, "case");
    unlink(path);
    rmdir(folder);
}

/* The weights by links, and a link to the input of the moment. */
static void make_folder(const char *input)
{
    char path[256], target[512];

    if (!mkdtemp(folder) || atexit(remove_folder))
        abort();
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        snprintf(target, sizeof target, FUZZ_DATA "/golden/%s.safetensors", weights[i]);
        name_in_folder(path, sizeof path, weights[i]);
        if (symlink(target, path))
            abort();
    }
    name_in_folder(path, sizeof path, "case");
    if (symlink(input, path))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static vmt_ctx *ctx;
    char path[256];

    if (length > 0 && bytes[0] == '{') /* an index would open files of this machine */
        return 0;
    const char *input = fuzz_file(bytes, length);
    if (!ctx) {
        make_folder(input);
        if (vmt_ctx_open(&ctx, &(vmt_config){.backend = "ref", .threads = 1}) != VMT_OK)
            abort();
    }
    ctx->message[0] = '\0';
    name_in_folder(path, sizeof path, "case");
    if (vmt_probe(ctx, path, "/dev/null") != VMT_OK)
        FUZZ_REFUSED(*ctx);
    return 0;
}
