/* SPDX-License-Identifier: MIT
 *
 * One checked call per entry of the op table.  Formulas, shapes and dtypes: vmt_ops in
 * tensor/tensor.h. A wrong shape or dtype is a fault of the caller: VMT_E_INTERNAL, naming op,
 * argument and shapes.
 */
#ifndef VMT_TENSOR_OPS_H
#define VMT_TENSOR_OPS_H

#ifndef VMT_TENSOR_H
#error "include tensor/tensor.h"
#endif

enum vmt_status vmt_upload(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *host);
enum vmt_status vmt_download(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x);
enum vmt_status vmt_download_begin(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x);
enum vmt_status vmt_download_end(vmt_ctx *ctx, vmt_tensor *host);
enum vmt_status vmt_copy(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x);
enum vmt_status vmt_zero(vmt_ctx *ctx, vmt_tensor *y);
enum vmt_status vmt_all_finite(vmt_ctx *ctx, bool *finite, const vmt_tensor *x);
enum vmt_status vmt_mark_bad(vmt_ctx *ctx, vmt_tensor *flag, const vmt_tensor *x);
enum vmt_status vmt_weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use);
/* Whether preparing copies the matrix or filter, so that the file's is not read any more.  A bias
 * may be copied all the same. */
bool vmt_weight_is_copied(vmt_ctx *ctx, const vmt_weight *weight, unsigned use);
enum vmt_status vmt_linear(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           enum vmt_epilogue epilogue);
enum vmt_status vmt_linear_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                               const vmt_weight *w);
enum vmt_status vmt_linear_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const vmt_weight *w);
enum vmt_status vmt_lincomb(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                            double a, double b);
enum vmt_status vmt_gelu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x);
enum vmt_status vmt_gelu_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                             const vmt_tensor *x);
enum vmt_status vmt_silu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x);
enum vmt_status vmt_gelu_gate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                              const vmt_tensor *gate);
enum vmt_status vmt_gate_residual(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *gate, const vmt_tensor *branch);
enum vmt_status vmt_gate_residual_bwd(vmt_ctx *ctx, vmt_tensor *dbranch, const vmt_tensor *gate,
                                      const vmt_tensor *dy);
enum vmt_status vmt_norm_modulate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *shift, const vmt_tensor *scale, double eps);
enum vmt_status vmt_norm_modulate_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                          const vmt_tensor *x, const vmt_tensor *scale, double eps);
enum vmt_status vmt_layer_norm(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *weight, const vmt_tensor *bias, double eps);
enum vmt_status vmt_layer_norm_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                       const vmt_tensor *x, const vmt_tensor *weight, double eps);
enum vmt_status vmt_rms_norm_rope(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                  const vmt_tensor *angle_sin, double eps);
enum vmt_status vmt_rms_norm_rope_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                      const vmt_tensor *x, const vmt_tensor *weight,
                                      const vmt_tensor *angle_cos, const vmt_tensor *angle_sin,
                                      double eps);
enum vmt_status vmt_rms_norm_channel(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *gamma, bool silu);
enum vmt_status vmt_attention(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                              double scale);
enum vmt_status vmt_attention_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                  const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                  double scale);
enum vmt_status vmt_patchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                             const int64_t patch[3]);
enum vmt_status vmt_patchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                 const int64_t patch[3]);
enum vmt_status vmt_unpatchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const int64_t patch[3]);
enum vmt_status vmt_unpatchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                   const int64_t patch[3]);
enum vmt_status vmt_embed(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *ids,
                          const vmt_weight *table);
enum vmt_status vmt_conv3d(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_weight *w,
                           const vmt_conv_geometry *geometry);
enum vmt_status vmt_upsample2(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x);
enum vmt_status vmt_split_frames(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x);
enum vmt_status vmt_add(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z);
enum vmt_status vmt_qk_reduce(vmt_ctx *ctx, vmt_tensor *Q, const vmt_tensor *q,
                              enum vmt_qk_reduction reduction);
enum vmt_status vmt_qk_reduce_bwd(vmt_ctx *ctx, vmt_tensor *dq, const vmt_tensor *dQ,
                                  enum vmt_qk_reduction reduction);
enum vmt_status vmt_flow_full(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_flow_geometry *geometry,
                              double logit_scale);
enum vmt_status vmt_flow_full_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                      const vmt_tensor *dflow, const vmt_tensor *flow,
                                      const vmt_tensor *q, const vmt_tensor *k,
                                      const vmt_flow_geometry *geometry, double logit_scale);
enum vmt_status vmt_flow_windows(vmt_ctx *ctx, vmt_tensor *rows, vmt_tensor *cols,
                                 const vmt_tensor *q, const vmt_tensor *k,
                                 const vmt_flow_geometry *geometry, double logit_scale);
enum vmt_status vmt_flow_windowed(vmt_ctx *ctx, vmt_tensor *flow, const vmt_tensor *q,
                                  const vmt_tensor *k, const vmt_tensor *rows,
                                  const vmt_tensor *cols, const vmt_flow_geometry *geometry,
                                  double logit_scale);
enum vmt_status vmt_flow_windowed_bwd_acc(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                          const vmt_tensor *dflow, const vmt_tensor *flow,
                                          const vmt_tensor *q, const vmt_tensor *k,
                                          const vmt_tensor *rows, const vmt_tensor *cols,
                                          const vmt_flow_geometry *geometry, double logit_scale);
enum vmt_status vmt_flow_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *dflow,
                              const vmt_tensor *flow, const vmt_tensor *ref,
                              const vmt_tensor *token_weights, double weight, double grad_scale);
enum vmt_status vmt_window_mean(vmt_ctx *ctx, vmt_tensor *mean, const vmt_tensor *k,
                                const vmt_tensor *rows, const vmt_tensor *cols,
                                const vmt_flow_geometry *geometry);
enum vmt_status vmt_window_mean_bwd_acc(vmt_ctx *ctx, vmt_tensor *dk, const vmt_tensor *dmean,
                                        const vmt_tensor *rows, const vmt_tensor *cols,
                                        const vmt_flow_geometry *geometry);
enum vmt_status vmt_track_loss(vmt_ctx *ctx, vmt_tensor *loss, vmt_tensor *da, vmt_tensor *db,
                               const vmt_tensor *a, const vmt_tensor *b,
                               const vmt_tensor *tile_weights, double weight, double grad_scale);
enum vmt_status vmt_adamw_step(vmt_ctx *ctx, vmt_tensor *x, vmt_tensor *m, vmt_tensor *v,
                               const vmt_tensor *g, const vmt_adamw *adamw);

#endif
