/* SPDX-License-Identifier: MIT
 *
 * GGUF: metadata, tensors' places, blocks of few bits read as floats.
 */
#include "input.h"

#include "base/quant.h"
#include "model/tensor_file.h"

#include <string.h>

/* First and last elements of what was found. */
static void read_values(const vmt_tensor *t)
{
    const int64_t count = vmt_numel(t);
    float values[3];

    if (!vmt_is_quantised(t->dtype) || count == 0)
        return;
    const int64_t some = count < 3 ? count : 3;
    vmt_unpack(values, t->dtype, t->data, 0, some);
    vmt_unpack(values, t->dtype, t->data, count - some, some);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static vmt_ctx ctx;
    vmt_tensor_file *file = NULL;

    fuzz_tensor_file(bytes, length);
    if (length == 0 || bytes[0] != 'G')
        return 0;
    vmt_ctx_init(&ctx);
    unsigned char *copy = malloc(length);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    if (vmt_tensor_file_open_bytes(&ctx, &file, copy, length, "input") == VMT_OK) {
        for (int64_t i = 0; i < vmt_tensor_file_count(file); i++)
            read_values(vmt_tensor_file_find(file, vmt_tensor_file_name(file, i)));
        if (vmt_tensor_file_check(&ctx, file) != VMT_OK)
            FUZZ_REFUSED(ctx);
        vmt_tensor_file_close(file);
    }
    free(copy);
    return 0;
}
