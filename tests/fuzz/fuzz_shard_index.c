/* SPDX-License-Identifier: MIT
 *
 * model.safetensors.index.json.
 */
#include "input.h"

#include "model/shard_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    vmt_shard_index index;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_shard_index_parse(&ctx, &index, bytes, length, "input") != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    for (int64_t i = 0; i < index.tensor_count; i++)
        if (vmt_shard_index_find(&index, index.tensors[i].name) != index.tensors[i].shard)
            abort();
    vmt_shard_index_free(&index);
    return 0;
}
