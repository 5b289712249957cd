/* SPDX-License-Identifier: MIT
 *
 * The table of the oracle.
 */
#include "backend/local_host.h"
#include "backend/ref/ref.h"

/* Nothing is packed: the ops read the mapped weights. */
static enum vmt_status weight_prepare(vmt_ctx *ctx, vmt_weight *weight, unsigned use)
{
    (void)ctx, (void)weight, (void)use;
    return VMT_OK;
}

static size_t weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use)
{
    (void)ctx, (void)weight, (void)use;
    return 0;
}

static void weight_release(vmt_ctx *ctx, vmt_weight *weight)
{
    (void)ctx, (void)weight;
}

const vmt_ops REF(vmt_ops) = {
#if VMT_REF_BITS == 64
    .name = "ref64",
#else
    .name = "ref",
#endif
    .alloc = REF(alloc),
    .release = REF(release),
    .close = REF(close),
    .trim = REF(trim),
    .spill_alloc = REF(alloc),
    .spill_release = REF(release),
    .spill_out = REF(spill_out),
    .spill_back = REF(spill_back),
    .upload = REF(upload),
    .download = REF(upload),
    .copy = REF(upload),
    .zero = REF(zero),
    .all_finite = REF(all_finite),
    .mark_bad = REF(mark_bad),
    .weight_prepare = weight_prepare,
    .weight_prepare_bytes = weight_prepare_bytes,
    .weight_release = weight_release,
    .linear = REF(linear),
    .linear_fp8 = REF(linear_fp8),
    .linear_bwd = REF(linear_bwd),
    .linear_bwd_acc = REF(linear_bwd_acc),
    .lincomb = REF(lincomb),
    .gelu = REF(gelu),
    .gelu_bwd = REF(gelu_bwd),
    .silu = REF(silu),
    .gelu_gate = REF(gelu_gate),
    .gate_residual = REF(gate_residual),
    .gate_residual_bwd = REF(gate_residual_bwd),
    .norm_modulate = REF(norm_modulate),
    .norm_modulate_bwd_acc = REF(norm_modulate_bwd_acc),
    .layer_norm = REF(layer_norm),
    .layer_norm_bwd_acc = REF(layer_norm_bwd_acc),
    .rms_norm_rope = REF(rms_norm_rope),
    .rms_norm_rope_bwd = REF(rms_norm_rope_bwd),
    .rms_norm_channel = REF(rms_norm_channel),
    .attention = REF(attention),
    .attention_bwd = REF(attention_bwd),
    .attention_local = REF(attention_local),
    .attention_local_bwd = REF(attention_local_bwd),
    .attention_local_bytes = vmt_local_bytes,
    .patchify = REF(patchify),
    .patchify_bwd = REF(patchify_bwd),
    .unpatchify = REF(unpatchify),
    .unpatchify_bwd = REF(unpatchify_bwd),
    .embed = REF(embed),
    .conv3d = REF(conv3d),
    .upsample2 = REF(upsample2),
    .split_frames = REF(split_frames),
    .add = REF(add),
    .qk_reduce = REF(qk_reduce),
    .qk_reduce_bwd = REF(qk_reduce_bwd),
    .flow_full = REF(flow_full),
    .flow_full_bwd_acc = REF(flow_full_bwd_acc),
    .flow_top = REF(flow_top),
    .flow_top_bwd_acc = REF(flow_top_bwd_acc),
    .flow_windows = REF(flow_windows),
    .flow_windowed = REF(flow_windowed),
    .flow_windowed_bwd_acc = REF(flow_windowed_bwd_acc),
    .flow_loss = REF(flow_loss),
    .window_mean = REF(window_mean),
    .window_mean_bwd_acc = REF(window_mean_bwd_acc),
    .track_loss = REF(track_loss),
    .pool = REF(pool),
    .pool_bwd = REF(pool_bwd),
    .centre = REF(centre),
    .unit_rows = REF(unit_rows),
    .unit_rows_bwd = REF(unit_rows_bwd),
    .adamw_step = REF(adamw_step),
};

#if VMT_REF_BITS == 64
enum vmt_status vmt_backend_open_ref64(vmt_ctx *ctx)
#else
enum vmt_status vmt_backend_open_ref32(vmt_ctx *ctx)
#endif
{
    ctx->ops = &REF(vmt_ops);
    return vmt_alloc(ctx, &ctx->backend, 1, sizeof(vmt_host_state));
}
