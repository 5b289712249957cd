/* SPDX-License-Identifier: MIT
 *
 * LoRA files, added to a small transformer.
 */
#include "input.h"

#include "dit/dit.h"
#include "model/lora_names.h"

#include <string.h>

static vmt_ctx *ctx;
static vmt_tensor_file *weights;
static vmt_dit_config config;

static void open_once(void)
{
    if (weights)
        return;
    if (vmt_ctx_open(&ctx, &(vmt_config){.backend = "ref", .threads = 1}) != VMT_OK ||
        vmt_tensor_file_open(ctx, &weights, FUZZ_DATA "/golden/guided_a.weights.safetensors") !=
            VMT_OK ||
        vmt_dit_config_read(ctx, &config, NULL, weights) != VMT_OK)
        abort();
}

static void try_file(const vmt_tensor_file *file)
{
    vmt_dit *dit;

    (void)vmt_lora_summarise(file);
    if (vmt_dit_open(ctx, &dit, weights, &config) != VMT_OK)
        abort();
    ctx->message[0] = '\0';
    if (vmt_dit_add_lora(ctx, dit, file, 1.0) != VMT_OK)
        FUZZ_REFUSED(*ctx);
    vmt_dit_close(ctx, dit);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    vmt_tensor_file *file;

    open_once();
    if (length == 0 || bytes[0] == '{') /* an index would open files of this machine */
        return 0;
    unsigned char *copy = malloc(length);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    if (vmt_tensor_file_open_bytes(ctx, &file, copy, length, "input") == VMT_OK) {
        try_file(file);
        vmt_tensor_file_close(file);
    }
    free(copy);
    return 0;
}
