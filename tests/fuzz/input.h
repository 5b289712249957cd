/* SPDX-License-Identifier: MIT
 *
 * What fuzz targets share.  A target may look at its input and return 0, nothing else: no output,
 * no file left.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "base/ctx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* A file in memory with these bytes, for parsers that want a path.  The path is valid until the
 * next call. */
const char *fuzz_file(const uint8_t *bytes, size_t length);

/* Opens them as a tensor file of any kind; every tensor's first and last byte must be mapped, and a
 * refusal must say why. */
void fuzz_tensor_file(const uint8_t *bytes, size_t length);

/* For inputs that are refused: aborts when the message is empty. */
#define FUZZ_REFUSED(ctx)                                                                          \
    do {                                                                                           \
        if (!(ctx).message[0])                                                                     \
            abort();                                                                               \
    } while (0)

#endif
