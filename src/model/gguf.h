/* SPDX-License-Identifier: MIT
 *
 * GGUF: a header of metadata and of tensors' names, shapes, types and places, then aligned data.
 * Source: ggml-org/ggml docs/gguf.md.
 */
#ifndef VMT_MODEL_GGUF_H
#define VMT_MODEL_GGUF_H

#include "model/tensor_table.h"

/* True when the bytes begin with "GGUF". */
bool vmt_gguf_looks(const unsigned char *bytes, size_t length);

/* Adds all tensors, and the metadata that is no list as text ("fastvmt.KEY" as KEY); views point
 * into `bytes`.  `label` names the file in messages.  Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_gguf_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                               size_t length, const char *label);

/* GGML's number of a type that this program reads; -1: none. */
int vmt_gguf_type(enum vmt_dtype dtype);

#endif
