/* SPDX-License-Identifier: MIT
 *
 * What `show` reads of a motion file, without a model.
 */
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    vmt_motion_field field;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_motion_field_read(&ctx, &field, NULL, fuzz_file(bytes, length)) != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    for (int64_t i = 0; i < field.frames * field.grid_h * field.grid_w; i++)
        if (!(field.confidence[i] >= 0 && field.confidence[i] <= 1))
            abort();
    vmt_motion_field_free(&field);
    return 0;
}
