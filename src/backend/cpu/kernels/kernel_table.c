/* SPDX-License-Identifier: MIT
 *
 * The kernels of one level.
 */
#include "backend/cpu/kernels/kernel.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

const cpu_kernels KERNEL_PASTE(vmt_cpu_, kernels, VMT_CPU_LEVEL) = {
    .level = TEXT(VMT_CPU_LEVEL),
    .panel = PANEL,
#ifdef __AVX512BF16__
    .pairs = true,
#endif
    .f32_of_bf16 = KERNEL(f32_of_bf16),
    .f32_of_f16 = KERNEL(f32_of_f16),
    .bf16_of_f32 = KERNEL(bf16_of_f32),
    .gelu = KERNEL(gelu),
    .gelu_bwd = KERNEL(gelu_bwd),
    .silu = KERNEL(silu),
    .gelu_gate = KERNEL(gelu_gate),
    .lincomb = KERNEL(lincomb),
    .add = KERNEL(add),
    .mul = KERNEL(mul),
    .mul_add = KERNEL(mul_add),
    .scale = KERNEL(scale),
    .norm = KERNEL(norm),
    .norm_bwd_acc = KERNEL(norm_bwd_acc),
    .rms_rope = KERNEL(rms_rope),
    .rms_rope_bwd = KERNEL(rms_rope_bwd),
    .rms_channel = KERNEL(rms_channel),
    .softmax = KERNEL(softmax),
    .softmax_bwd = KERNEL(softmax_bwd),
    .dot = KERNEL(dot),
    .pack_rows = KERNEL(pack_rows),
    .pack_across = KERNEL(pack_across),
    .pack_along = KERNEL(pack_along),
    .product = KERNEL(product),
    .softmax_next = KERNEL(softmax_next),
    .softmax_grad = KERNEL(softmax_grad),
    .flow_mean = KERNEL(flow_mean),
    .flow_grad = KERNEL(flow_grad),
};
