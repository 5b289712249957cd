/* SPDX-License-Identifier: MIT
 *
 * LoRA beside the DiT's matrices, which stay as they are:
 *
 *   y  = x Wᵀ + b + (x Aᵀ) Bᵀ     with B = weight · alpha / r times the file's
 *   dx = dy W + (dy B) A
 *
 * Several files' ranks are stacked into one pair a matrix.  B is held turned, so that (x Aᵀ) Bᵀ is
 * what linear_bwd_acc computes and dy B what linear does.
 */
#include "dit/dit_lora.h"

#include "dit/dit_internal.h"

enum { PASS_USE = VMT_USE_LINEAR | VMT_USE_BACKWARD };

static const dit_lora_branch *branch_of(const vmt_dit *dit, const vmt_weight *w)
{
    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++)
        if (dit->matrices[i] == w)
            return dit->lora->branches[i].a.w.data ? &dit->lora->branches[i] : NULL;
    return NULL;
}

int64_t dit_lora_rank(const vmt_dit *dit)
{
    return dit->lora ? dit->lora->rank : 0;
}

/* x Aᵀ or dy B, in the buffer. */
static vmt_tensor low_rank(const vmt_tensor *buffer, const vmt_tensor *x, const dit_lora_branch *b)
{
    return vmt_tensor_over(buffer->data, buffer->dtype, VMT_SHAPE(x->shape[0], b->a.w.shape[0]));
}

enum vmt_status dit_linear(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                           vmt_op_linear *linear, vmt_tensor *y, const vmt_tensor *x,
                           const vmt_weight *w, enum vmt_epilogue epilogue)
{
    const dit_lora_branch *b = branch_of(dit, w);

    if (!b)
        return linear(ctx, y, x, w, epilogue);
    vmt_tensor t = low_rank(buffer, x, b);
    VMT_TRY(linear(ctx, y, x, w, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &t, x, &b->a, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear_bwd_acc(ctx, y, &t, &b->b));
    switch (epilogue) {
    case VMT_EPILOGUE_GELU:
        return vmt_gelu(ctx, y, y);
    case VMT_EPILOGUE_SILU:
        return vmt_silu(ctx, y, y);
    case VMT_EPILOGUE_NONE:
        break;
    }
    return VMT_OK;
}

static enum vmt_status add_backward(vmt_ctx *ctx, const vmt_tensor *buffer,
                                    const dit_lora_branch *b, vmt_tensor *dx, const vmt_tensor *dy)
{
    vmt_tensor t = low_rank(buffer, dy, b);

    VMT_TRY(vmt_linear(ctx, &t, dy, &b->b, VMT_EPILOGUE_NONE));
    return vmt_linear_bwd_acc(ctx, dx, &t, &b->a);
}

enum vmt_status dit_linear_bwd(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                               vmt_tensor *dx, const vmt_tensor *dy, const vmt_weight *w)
{
    const dit_lora_branch *b = branch_of(dit, w);

    VMT_TRY(vmt_linear_bwd(ctx, dx, dy, w));
    return b ? add_backward(ctx, buffer, b, dx, dy) : VMT_OK;
}

enum vmt_status dit_linear_bwd_acc(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                   vmt_tensor *dx, const vmt_tensor *dy, const vmt_weight *w)
{
    const dit_lora_branch *b = branch_of(dit, w);

    VMT_TRY(vmt_linear_bwd_acc(ctx, dx, dy, w));
    return b ? add_backward(ctx, buffer, b, dx, dy) : VMT_OK;
}

enum vmt_status dit_linear_gelu(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                vmt_tensor *y, vmt_tensor *u, const vmt_tensor *x,
                                const vmt_weight *w)
{
    if (!branch_of(dit, w))
        return vmt_linear_gelu(ctx, y, u, x, w);
    VMT_TRY(dit_linear(ctx, dit, buffer, vmt_linear, u, x, w, VMT_EPILOGUE_NONE));
    return vmt_gelu(ctx, y, u);
}

enum vmt_status dit_linear_bwd_gelu(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                    vmt_tensor *du, const vmt_tensor *dy, const vmt_weight *w,
                                    const vmt_tensor *u)
{
    if (!branch_of(dit, w))
        return vmt_linear_bwd_gelu(ctx, du, dy, w, u);
    VMT_TRY(dit_linear_bwd(ctx, dit, buffer, du, dy, w));
    return vmt_gelu_bwd(ctx, du, du, u);
}

enum vmt_status dit_lora_prepare(vmt_ctx *ctx, const vmt_dit *dit)
{
    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++) {
        dit_lora_branch *b = &dit->lora->branches[i];
        if (!b->a.w.data)
            continue;
        VMT_TRY(vmt_weight_prepare(ctx, &b->a, PASS_USE));
        VMT_TRY(vmt_weight_prepare(ctx, &b->b, PASS_USE));
    }
    return VMT_OK;
}

void dit_lora_release(vmt_ctx *ctx, const vmt_dit *dit)
{
    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++) {
        ctx->ops->weight_release(ctx, &dit->lora->branches[i].a);
        ctx->ops->weight_release(ctx, &dit->lora->branches[i].b);
    }
}

void dit_lora_close(vmt_ctx *ctx, vmt_dit *dit)
{
    dit_lora_release(ctx, dit);
    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++) {
        vmt_free(dit->lora->branches[i].a.w.data);
        vmt_free(dit->lora->branches[i].b.w.data);
        vmt_free(dit->lora->branches[i].bias);
    }
    if (dit->lora)
        vmt_free(dit->lora->branches);
    vmt_free(dit->lora);
    dit->lora = NULL;
}

size_t dit_lora_bytes(vmt_ctx *ctx, const vmt_dit *dit)
{
    size_t bytes = 0;

    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++)
        if (dit->lora->branches[i].a.w.data)
            bytes += ctx->ops->weight_prepare_bytes(ctx, &dit->lora->branches[i].a, PASS_USE) +
                     ctx->ops->weight_prepare_bytes(ctx, &dit->lora->branches[i].b, PASS_USE);
    return bytes;
}

size_t vmt_dit_lora_host_bytes(const vmt_dit *dit)
{
    size_t bytes = 0;

    for (int64_t i = 0; dit && dit->lora && i < dit->matrix_count; i++) {
        const dit_lora_branch *b = &dit->lora->branches[i];
        if (b->a.w.data)
            bytes += vmt_tensor_bytes(&b->a.w) + vmt_tensor_bytes(&b->b.w);
        if (b->bias)
            bytes += (size_t)dit->matrices[i]->w.shape[0] * sizeof *b->bias;
    }
    return bytes;
}

size_t dit_lora_held_now(const vmt_dit *dit)
{
    size_t bytes = 0;

    for (int64_t i = 0; dit->lora && i < dit->matrix_count; i++)
        bytes += dit->lora->branches[i].a.packed_bytes + dit->lora->branches[i].b.packed_bytes;
    return bytes;
}
