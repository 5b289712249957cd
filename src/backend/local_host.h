/* SPDX-License-Identifier: MIT
 *
 * Local attention of a backend whose tensors lie in the host's memory: tiles and their boxes are
 * gathered and run through the backend's own attention.
 */
#ifndef VMT_LOCAL_HOST_H
#define VMT_LOCAL_HOST_H

#include "tensor/tensor.h"

/* `sequences` attentions of one shape, their tokens one behind another: q: [sequences · queries, n,
 * d], k: [sequences · keys, n, d], lse: [sequences · n, queries]. */
typedef enum vmt_status vmt_sequences_attention(vmt_ctx *ctx, int64_t sequences, vmt_tensor *o,
                                                vmt_tensor *lse, const vmt_tensor *q,
                                                const vmt_tensor *k, const vmt_tensor *v,
                                                double scale);
typedef enum vmt_status vmt_sequences_attention_bwd(vmt_ctx *ctx, int64_t sequences, vmt_tensor *dq,
                                                    vmt_tensor *dk, vmt_tensor *dv,
                                                    const vmt_tensor *dout, const vmt_tensor *q,
                                                    const vmt_tensor *k, const vmt_tensor *v,
                                                    const vmt_tensor *o, const vmt_tensor *lse,
                                                    double scale);

/* Memory is kept in the state's vmt_host_state. */
enum vmt_status vmt_local_forward(vmt_ctx *ctx, vmt_sequences_attention *attention, vmt_tensor *o,
                                  vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_local_geometry *geometry,
                                  double scale);
enum vmt_status vmt_local_backward(vmt_ctx *ctx, vmt_sequences_attention_bwd *attention_bwd,
                                   vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   const vmt_local_geometry *geometry, double scale);

/* Sequences one after another through an attention of one. */
enum vmt_status vmt_each_sequence(vmt_ctx *ctx, vmt_op_attention *attention, int64_t sequences,
                                  vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                                  const vmt_tensor *k, const vmt_tensor *v, double scale);
enum vmt_status vmt_each_sequence_bwd(vmt_ctx *ctx, vmt_op_attention_bwd *attention_bwd,
                                      int64_t sequences, vmt_tensor *dq, vmt_tensor *dk,
                                      vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                                      const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o,
                                      const vmt_tensor *lse, double scale);

/* What they keep, beside the ops' own scratch (*scratch: not counted). */
size_t vmt_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads, int64_t d,
                       bool backward, size_t *scratch);

#endif
