/* SPDX-License-Identifier: MIT
 *
 * torch .pth: zip directory, pickle, storages; or (first byte 0x80) the pickle alone, which no zip
 * header then shields.
 */
#include "input.h"

#include "model/unpickle.h"

static void read_pickle(const uint8_t *bytes, size_t length)
{
    vmt_pickled_tensor *tensors;
    int64_t count;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_unpickle(&ctx, bytes, length, "input", &tensors, &count) != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return;
    }
    for (int64_t i = 0; i < count; i++) /* spans must lie inside the input */
        if (tensors[i].name.length > length || tensors[i].storage_key.length > length)
            abort();
    vmt_free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length > 0 && bytes[0] == 0x80)
        read_pickle(bytes, length);
    else
        fuzz_tensor_file(bytes, length);
    return 0;
}
