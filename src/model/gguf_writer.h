/* SPDX-License-Identifier: MIT
 *
 * The header of a GGUF file, version 3; the data is the caller's to write.
 */
#ifndef VMT_MODEL_GGUF_WRITER_H
#define VMT_MODEL_GGUF_WRITER_H

#include "base/atomic_file.h"
#include "model/tensor_file.h"

enum { VMT_GGUF_ALIGNMENT = 32 };

/* Writes all that comes before the data: architecture, `meta` (pairs key, value, NULL-terminated)
 * as texts "fastvmt.KEY", and the tensors in their order (pointers are not followed).  Each
 * tensor's data begins at a multiple of VMT_GGUF_ALIGNMENT.  A tensor of five axes has its first
 * two in one, as GGML has four at most, and its shape in "comfy.gguf.orig_shape.NAME". Errors:
 * VMT_E_IO, VMT_E_MEMORY, VMT_E_INTERNAL (a dtype that GGUF has not). */
enum vmt_status vmt_gguf_write_header(vmt_ctx *ctx, vmt_atomic_file *file, const char *architecture,
                                      const vmt_named_tensor *tensors, int64_t count,
                                      const char *const *meta);

/* Zeros up to the next multiple of the alignment. */
enum vmt_status vmt_gguf_write_padding(vmt_ctx *ctx, vmt_atomic_file *file);

#endif
