/* SPDX-License-Identifier: MIT */
#include "input.h"

#include "model/model_config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(const uint8_t *bytes, size_t length)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("fuzz", 0);
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, bytes, length, 0) != (ssize_t)length)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Sizes of each part from shapes and metadata. */
static void read_sizes(vmt_ctx *ctx, const vmt_tensor_file *file)
{
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;

    if (vmt_dit_config_read(ctx, &dit, NULL, file) != VMT_OK)
        FUZZ_REFUSED(*ctx);
    if (vmt_vae_config_read(ctx, &vae, NULL, file) != VMT_OK)
        FUZZ_REFUSED(*ctx);
    if (vmt_text_config_read(ctx, &text, NULL, file) != VMT_OK)
        FUZZ_REFUSED(*ctx);
}

void fuzz_tensor_file(const uint8_t *bytes, size_t length)
{
    vmt_tensor_file *file = NULL;
    char hash[65];
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (length > 0 && bytes[0] == '{') /* an index would open files of this machine */
        return;
    unsigned char *copy = malloc(length ? length : 1); /* exact: ASan sees a byte read too far */
    if (!copy)
        abort();
    if (length > 0)
        memcpy(copy, bytes, length);
    if (vmt_tensor_file_open_bytes(&ctx, &file, copy, length, "input") != VMT_OK) {
        FUZZ_REFUSED(ctx);
        free(copy);
        return;
    }
    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const vmt_tensor *tensor = vmt_tensor_file_find(file, vmt_tensor_file_name(file, i));
        if (!tensor)
            abort();
        const size_t size = vmt_tensor_bytes(tensor);
        const volatile unsigned char *data = tensor->data;
        if (size > 0) {
            (void)data[0];
            (void)data[size - 1];
        }
    }
    vmt_tensor_file_hash(file, hash);
    read_sizes(&ctx, file);
    vmt_tensor_file_close(file);
    free(copy);
}
