/* SPDX-License-Identifier: MIT
 *
 * One checked call per entry of the op table: `vmt_linear(ctx, y, x, w, epilogue)`.  Arguments,
 * formulas, shapes and dtypes: vmt_op_linear and so on in tensor/tensor.h.  A wrong shape or dtype
 * is a fault of the caller: VMT_E_INTERNAL, naming op, argument and shapes.
 */
#ifndef VMT_TENSOR_OPS_H
#define VMT_TENSOR_OPS_H

#ifndef VMT_TENSOR_H
#error "include tensor/tensor.h"
#endif

vmt_op_upload vmt_upload;
vmt_op_download vmt_download;
vmt_op_download_begin vmt_download_begin;
vmt_op_download_end vmt_download_end;
vmt_op_copy vmt_copy;
vmt_op_zero vmt_zero;
vmt_op_all_finite vmt_all_finite;
vmt_op_mark_bad vmt_mark_bad;
vmt_op_weight_prepare vmt_weight_prepare;
vmt_op_linear vmt_linear;
vmt_op_linear_fp8 vmt_linear_fp8;
vmt_op_linear_bwd vmt_linear_bwd;
vmt_op_linear_bwd_acc vmt_linear_bwd_acc;
vmt_op_linear_gelu vmt_linear_gelu;
vmt_op_linear_bwd_gelu vmt_linear_bwd_gelu;
vmt_op_lincomb vmt_lincomb;
vmt_op_gelu vmt_gelu;
vmt_op_gelu_bwd vmt_gelu_bwd;
vmt_op_silu vmt_silu;
vmt_op_gelu_gate vmt_gelu_gate;
vmt_op_gate_residual vmt_gate_residual;
vmt_op_gate_residual_bwd vmt_gate_residual_bwd;
vmt_op_norm_modulate vmt_norm_modulate;
vmt_op_norm_modulate_bwd_acc vmt_norm_modulate_bwd_acc;
vmt_op_layer_norm vmt_layer_norm;
vmt_op_layer_norm_bwd_acc vmt_layer_norm_bwd_acc;
vmt_op_residual_norm_modulate vmt_residual_norm_modulate;
vmt_op_residual_layer_norm vmt_residual_layer_norm;
vmt_op_rms_norm_rope vmt_rms_norm_rope;
vmt_op_rms_norm_rope_bwd vmt_rms_norm_rope_bwd;
vmt_op_rms_norm_channel vmt_rms_norm_channel;
vmt_op_attention vmt_attention;
vmt_op_attention_bwd vmt_attention_bwd;
vmt_op_attention_local vmt_attention_local;
vmt_op_attention_local_bwd vmt_attention_local_bwd;
vmt_op_patchify vmt_patchify;
vmt_op_patchify_bwd vmt_patchify_bwd;
vmt_op_unpatchify vmt_unpatchify;
vmt_op_unpatchify_bwd vmt_unpatchify_bwd;
vmt_op_embed vmt_embed;
vmt_op_conv3d vmt_conv3d;
vmt_op_upsample2 vmt_upsample2;
vmt_op_split_frames vmt_split_frames;
vmt_op_add vmt_add;
vmt_op_qk_reduce vmt_qk_reduce;
vmt_op_qk_reduce_bwd vmt_qk_reduce_bwd;
vmt_op_flow_full vmt_flow_full;
vmt_op_flow_full_bwd_acc vmt_flow_full_bwd_acc;
vmt_op_flow_top vmt_flow_top;
vmt_op_flow_top_bwd_acc vmt_flow_top_bwd_acc;
vmt_op_flow_windows vmt_flow_windows;
vmt_op_flow_windowed vmt_flow_windowed;
vmt_op_flow_windowed_bwd_acc vmt_flow_windowed_bwd_acc;
vmt_op_flow_loss vmt_flow_loss;
vmt_op_window_mean vmt_window_mean;
vmt_op_window_mean_bwd_acc vmt_window_mean_bwd_acc;
vmt_op_track_loss vmt_track_loss;
vmt_op_pool vmt_pool;
vmt_op_pool_bwd vmt_pool_bwd;
vmt_op_centre vmt_centre;
vmt_op_unit_rows vmt_unit_rows;
vmt_op_unit_rows_bwd vmt_unit_rows_bwd;
vmt_op_adamw_step vmt_adamw_step;

/* Whether preparing copies the matrix or filter, so that the file's is not read any more.  A bias
 * may be copied all the same. */
bool vmt_weight_is_copied(vmt_ctx *ctx, const vmt_weight *weight, unsigned use);
/* What weight_use_bytes of the table says; 0 without it. */
size_t vmt_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight);

#endif
