/* SPDX-License-Identifier: MIT
 *
 * Local attention of a backend whose tensors lie in the host's memory: tile by tile through the
 * backend's own attention.
 */
#ifndef VMT_LOCAL_HOST_H
#define VMT_LOCAL_HOST_H

#include "tensor/tensor.h"

/* Memory is kept in the state's vmt_ref_scratch, apart from that of the ops called. */
enum vmt_status vmt_local_forward(vmt_ctx *ctx, vmt_op_attention *attention, vmt_tensor *o,
                                  vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_local_geometry *geometry,
                                  double scale);
enum vmt_status vmt_local_backward(vmt_ctx *ctx, vmt_op_attention_bwd *attention_bwd,
                                   vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   const vmt_local_geometry *geometry, double scale);
/* What they keep, beside the ops' own scratch. */
size_t vmt_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads, int64_t d,
                       bool backward);

#endif
