/* SPDX-License-Identifier: MIT
 *
 * 8-bit floats as ComfyUI's files have them: a matrix X.weight with its factors X.scale_weight.
 */
#ifndef VMT_MODEL_TENSOR_SCALES_H
#define VMT_MODEL_TENSOR_SCALES_H

#include "model/tensor_table.h"

/* In a sealed file of a model, names official: gives each matrix of 8-bit floats its factors,
 * leaves out those of activations and marks, widens what is no matrix (into copies that count), and
 * seals it anew.  Errors: VMT_E_FORMAT (factors that do not fit), VMT_E_MEMORY. */
enum vmt_status vmt_scales_attach(vmt_ctx *ctx, vmt_tensor_file *file);

#endif
