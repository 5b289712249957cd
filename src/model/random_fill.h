/* SPDX-License-Identifier: MIT
 *
 * Weights drawn at random, the same for the same seed and tensor name, whatever the file, the dtype
 * or the piece asked for.  For made-up models only: sampling noise comes from another generator.
 */
#ifndef VMT_MODEL_RANDOM_FILL_H
#define VMT_MODEL_RANDOM_FILL_H

#include "model/tensor_list.h"

/* Elements first..first+count-1 of the tensor, as dtype (F32, F16 or BF16). */
void vmt_random_fill(void *out, enum vmt_dtype dtype, const vmt_tensor_spec *spec, uint64_t seed,
                     int64_t first, int64_t count);

#endif
