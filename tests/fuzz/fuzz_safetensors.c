/* SPDX-License-Identifier: MIT
 *
 * safetensors: header, metadata, views.
 */
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    fuzz_tensor_file(bytes, length);
    return 0;
}
