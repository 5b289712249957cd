/* SPDX-License-Identifier: MIT
 *
 * safetensors: u64 length of the header (little endian), JSON header {name: {dtype, shape,
 * data_offsets}}, data without holes.  Source: huggingface/safetensors, README, "Format".
 */
#ifndef VMT_MODEL_SAFETENSORS_H
#define VMT_MODEL_SAFETENSORS_H

#include "base/atomic_file.h"
#include "model/tensor_table.h"

/* True when the bytes begin like one: a small enough header length, then '{'. */
bool vmt_safetensors_looks(const unsigned char *bytes, size_t length);

/* Adds all tensors and the metadata; views point into `bytes`.  `label` names the file in messages.
 * Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_safetensors_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                                      size_t length, const char *label);

/* Writes the length and the header; the data (pointers are not followed) is then the caller's to
 * write, in the given order for tensors of one width.  Errors: VMT_E_IO, VMT_E_MEMORY. */
enum vmt_status vmt_safetensors_write_header(vmt_ctx *ctx, vmt_atomic_file *file,
                                             const vmt_named_tensor *tensors, int64_t count,
                                             const char *const *meta);

#endif
