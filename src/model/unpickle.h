/* SPDX-License-Identifier: MIT
 *
 * The part of Python's pickle protocol 2 that torch.save uses for a dict of tensors, and nothing
 * else: no object is ever made, no name outside a short list is followed.
 * Source: CPython Lib/pickletools.py (opcodes), torch/_utils.py (_rebuild_tensor_v2).
 */
#ifndef VMT_MODEL_UNPICKLE_H
#define VMT_MODEL_UNPICKLE_H

#include "tensor/tensor.h"

/* A string inside the pickle, not terminated. */
typedef struct vmt_span {
    const char *text;
    size_t length;
} vmt_span;

/* One tensor as the pickle describes it: numbers unchecked but for their type. */
typedef struct vmt_pickled_tensor {
    vmt_span name;
    vmt_span storage_key; /* entry data/KEY of the archive */
    enum vmt_dtype dtype;
    int64_t storage_count;  /* elements of the storage */
    int64_t storage_offset; /* elements before the first one */
    int rank;
    int64_t shape[VMT_MAX_RANK];
    int64_t stride[VMT_MAX_RANK]; /* elements */
} vmt_pickled_tensor;

/* Tensors of the dict, or of the dict under its key "model_state", in order; allocated, freed with
 * vmt_free.  `label` names the file in messages.  Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_unpickle(vmt_ctx *ctx, const unsigned char *bytes, size_t length,
                             const char *label, vmt_pickled_tensor **tensors, int64_t *count);

#endif
