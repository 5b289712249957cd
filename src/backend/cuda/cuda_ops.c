/* SPDX-License-Identifier: MIT
 *
 * Elementwise ops, norms and rearrangements: each entry of the table hands its tensors to a kernel.
 */
#include "backend/cuda/cuda_state.h"
#include "base/quant.h"

#include <string.h>

#define LAUNCH(op, call) return cuda_check(ctx, #op, cuda_##call)
#define STREAM cuda_of(ctx)->stream

static const cuda_view none = {NULL, VMT_F32};

/* ---- elementwise */

static enum vmt_status lincomb(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                               const vmt_tensor *z, double a, double b)
{
    LAUNCH(lincomb, lincomb(STREAM, y->data, x->data, z->data, (float)a, (float)b, vmt_numel(y)));
}

static enum vmt_status gelu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    LAUNCH(gelu, map(STREAM, CUDA_GELU, cuda_view_of(y), cuda_view_of(x), none, vmt_numel(y)));
}

static enum vmt_status gelu_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                const vmt_tensor *x)
{
    LAUNCH(gelu_bwd, map(STREAM, CUDA_GELU_BWD, cuda_view_of(dx), cuda_view_of(dy), cuda_view_of(x),
                         vmt_numel(dx)));
}

static enum vmt_status silu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    LAUNCH(silu, map(STREAM, CUDA_SILU, cuda_view_of(y), cuda_view_of(x), none, vmt_numel(y)));
}

static enum vmt_status gelu_gate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                 const vmt_tensor *gate)
{
    LAUNCH(gelu_gate, map(STREAM, CUDA_GELU_GATE, cuda_view_of(y), cuda_view_of(x),
                          cuda_view_of(gate), vmt_numel(y)));
}

static enum vmt_status add(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z)
{
    LAUNCH(add,
           map(STREAM, CUDA_ADD, cuda_view_of(y), cuda_view_of(x), cuda_view_of(z), vmt_numel(y)));
}

static enum vmt_status gate_residual(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *gate, const vmt_tensor *branch)
{
    LAUNCH(gate_residual, gate_residual(STREAM, y->data, x->data, gate ? gate->data : NULL,
                                        cuda_view_of(branch), x->shape[0], x->shape[1]));
}

static enum vmt_status gate_residual_bwd(vmt_ctx *ctx, vmt_tensor *dbranch, const vmt_tensor *gate,
                                         const vmt_tensor *dy)
{
    LAUNCH(gate_residual_bwd,
           gate_residual_bwd(STREAM, cuda_view_of(dbranch), gate ? gate->data : NULL, dy->data,
                             dy->shape[0], dy->shape[1]));
}

/* ---- norms */

static enum vmt_status norm_modulate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *shift, const vmt_tensor *scale, double eps)
{
    LAUNCH(norm_modulate, norm(STREAM, cuda_view_of(y), x->data, scale->data, shift->data, 1, eps,
                               x->shape[0], x->shape[1]));
}

static enum vmt_status norm_modulate_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                             const vmt_tensor *x, const vmt_tensor *scale,
                                             double eps)
{
    LAUNCH(norm_modulate_bwd_acc, norm_bwd_acc(STREAM, dx->data, cuda_view_of(dy), x->data,
                                               scale->data, 1, eps, x->shape[0], x->shape[1]));
}

static enum vmt_status layer_norm(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *weight, const vmt_tensor *bias, double eps)
{
    LAUNCH(layer_norm, norm(STREAM, cuda_view_of(y), x->data, weight->data, bias->data, 0, eps,
                            x->shape[0], x->shape[1]));
}

static enum vmt_status residual_norm_modulate(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *normed,
                                              const vmt_tensor *x, const vmt_tensor *gate,
                                              const vmt_tensor *branch, const vmt_tensor *shift,
                                              const vmt_tensor *scale, double eps)
{
    LAUNCH(residual_norm_modulate,
           residual_norm(STREAM, y->data, cuda_view_of(normed), x->data, gate ? gate->data : NULL,
                         cuda_view_of(branch), scale->data, shift->data, 1, eps, x->shape[0],
                         x->shape[1]));
}

static enum vmt_status residual_layer_norm(vmt_ctx *ctx, vmt_tensor *y, vmt_tensor *normed,
                                           const vmt_tensor *x, const vmt_tensor *gate,
                                           const vmt_tensor *branch, const vmt_tensor *weight,
                                           const vmt_tensor *bias, double eps)
{
    LAUNCH(residual_layer_norm,
           residual_norm(STREAM, y->data, cuda_view_of(normed), x->data, gate ? gate->data : NULL,
                         cuda_view_of(branch), weight->data, bias->data, 0, eps, x->shape[0],
                         x->shape[1]));
}

static enum vmt_status layer_norm_bwd_acc(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                          const vmt_tensor *x, const vmt_tensor *weight, double eps)
{
    LAUNCH(layer_norm_bwd_acc, norm_bwd_acc(STREAM, dx->data, cuda_view_of(dy), x->data,
                                            weight->data, 0, eps, x->shape[0], x->shape[1]));
}

static enum vmt_status rms_norm_rope(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                     const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                     const vmt_tensor *angle_sin, double eps)
{
    LAUNCH(rms_norm_rope,
           rms_rope(STREAM, cuda_view_of(y), cuda_view_of(x), weight->data,
                    angle_cos ? angle_cos->data : NULL, angle_sin ? angle_sin->data : NULL, eps,
                    y->shape[0], y->shape[1], y->shape[2]));
}

static enum vmt_status rms_norm_rope_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                         const vmt_tensor *x, const vmt_tensor *weight,
                                         const vmt_tensor *angle_cos, const vmt_tensor *angle_sin,
                                         double eps)
{
    LAUNCH(rms_norm_rope_bwd,
           rms_rope_bwd(STREAM, cuda_view_of(dx), cuda_view_of(dy), cuda_view_of(x), weight->data,
                        angle_cos ? angle_cos->data : NULL, angle_sin ? angle_sin->data : NULL, eps,
                        dy->shape[0], dy->shape[1], dy->shape[2]));
}

static enum vmt_status rms_norm_channel(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                        const vmt_tensor *gamma, bool with_silu)
{
    const int64_t channels = gamma->shape[0];
    LAUNCH(rms_norm_channel, rms_channel(STREAM, cuda_view_of(y), cuda_view_of(x), gamma->data,
                                         with_silu, vmt_numel(x) / channels, channels));
}

/* ---- rearrangements */

static cuda_patches patches(const vmt_tensor *latent, const int64_t patch[3], bool channel_last,
                            bool to_tokens)
{
    return (cuda_patches){.channels = latent->shape[0],
                          .frames = latent->shape[1],
                          .height = latent->shape[2],
                          .width = latent->shape[3],
                          .pt = patch[0],
                          .ph = patch[1],
                          .pw = patch[2],
                          .channel_last = channel_last,
                          .to_tokens = to_tokens};
}

static enum vmt_status patchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const int64_t patch[3])
{
    LAUNCH(patchify,
           move_patches(STREAM, cuda_view_of(y), cuda_view_of(x), patches(x, patch, false, true)));
}

static enum vmt_status patchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                    const int64_t patch[3])
{
    LAUNCH(patchify_bwd, move_patches(STREAM, cuda_view_of(dx), cuda_view_of(dy),
                                      patches(dx, patch, false, false)));
}

static enum vmt_status unpatchify(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const int64_t patch[3])
{
    LAUNCH(unpatchify,
           move_patches(STREAM, cuda_view_of(y), cuda_view_of(x), patches(y, patch, true, false)));
}

static enum vmt_status unpatchify_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                                      const int64_t patch[3])
{
    LAUNCH(unpatchify_bwd, move_patches(STREAM, cuda_view_of(dx), cuda_view_of(dy),
                                        patches(dy, patch, true, true)));
}

/* The table stays where the file is mapped: the few rows asked for are gathered there. */
static enum vmt_status embed(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *ids,
                             const vmt_weight *table)
{
    const bool is_packed = vmt_is_quantised(table->w.dtype);
    const size_t row =
        (size_t)y->shape[1] * (is_packed ? sizeof(float) : vmt_dtype_bytes(table->w.dtype));
    const int64_t count = ids->shape[0];
    vmt_tensor host_ids = *ids, rows = *y;
    void *id_memory = NULL, *memory = NULL;

    VMT_TRY(vmt_alloc(ctx, &id_memory, (size_t)count, sizeof(int32_t)));
    host_ids.data = id_memory;
    enum vmt_status status = cuda_download(ctx, &host_ids, ids);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &memory, (size_t)count, row);
    if (status == VMT_OK) {
        for (int64_t i = 0; i < count; i++) {
            const int64_t id = ((const int32_t *)id_memory)[i];
            unsigned char *to = (unsigned char *)memory + (size_t)i * row;
            if (is_packed)
                vmt_tensor_unpack((float *)(void *)to, &table->w, id * y->shape[1], y->shape[1]);
            else
                memcpy(to, (const unsigned char *)table->w.data + (size_t)id * row, row);
        }
        rows.data = memory;
        rows.dtype = is_packed ? VMT_F32 : table->w.dtype;
        status = cuda_upload(ctx, y, &rows);
    }
    vmt_free(memory);
    vmt_free(id_memory);
    return status;
}

static enum vmt_status upsample2(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    LAUNCH(upsample2, upsample2(STREAM, cuda_view_of(y), cuda_view_of(x), x->shape[0], x->shape[1],
                                x->shape[2], x->shape[3]));
}

static enum vmt_status split_frames(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    LAUNCH(split_frames, split_frames(STREAM, cuda_view_of(y), cuda_view_of(x), y->shape[0],
                                      y->shape[1] * y->shape[2], y->shape[3]));
}

void cuda_table_rows(vmt_ops *ops)
{
    ops->lincomb = lincomb;
    ops->gelu = gelu;
    ops->gelu_bwd = gelu_bwd;
    ops->silu = silu;
    ops->gelu_gate = gelu_gate;
    ops->add = add;
    ops->gate_residual = gate_residual;
    ops->gate_residual_bwd = gate_residual_bwd;
    ops->norm_modulate = norm_modulate;
    ops->norm_modulate_bwd_acc = norm_modulate_bwd_acc;
    ops->layer_norm = layer_norm;
    ops->layer_norm_bwd_acc = layer_norm_bwd_acc;
    ops->residual_norm_modulate = residual_norm_modulate;
    ops->residual_layer_norm = residual_layer_norm;
    ops->rms_norm_rope = rms_norm_rope;
    ops->rms_norm_rope_bwd = rms_norm_rope_bwd;
    ops->rms_norm_channel = rms_norm_channel;
    ops->patchify = patchify;
    ops->patchify_bwd = patchify_bwd;
    ops->unpatchify = unpatchify;
    ops->unpatchify_bwd = unpatchify_bwd;
    ops->embed = embed;
    ops->upsample2 = upsample2;
    ops->split_frames = split_frames;
}
