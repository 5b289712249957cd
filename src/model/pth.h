/* SPDX-License-Identifier: MIT
 *
 * torch.save's archive: STEM/data.pkl (the pickle), STEM/data/KEY (one storage each), STEM/version,
 * STEM/byteorder.  Source: torch/serialization.py, _save and _load.
 */
#ifndef VMT_MODEL_PTH_H
#define VMT_MODEL_PTH_H

#include "model/tensor_table.h"
#include "model/zip_reader.h"

/* Adds all tensors; views point into `bytes`.  `label` names the file in messages.
 * Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_pth_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                              size_t length, const char *label);

#endif
