/* SPDX-License-Identifier: MIT
 *
 * Backend "cpu": products and convolutions by oneDNN, the rest by own kernels compiled for several
 * instruction sets and chosen at run time.
 */
#ifndef VMT_CPU_BACKEND_H
#define VMT_CPU_BACKEND_H

#include "tensor/tensor.h"

/* Fills ctx->ops and ctx->backend.  ctx->act (F32 or BF16) and ctx->threads are set before.
 * Errors: VMT_E_ARG (another act), VMT_E_MEMORY, VMT_E_INTERNAL (oneDNN refuses to start). */
enum vmt_status vmt_backend_cpu_open(vmt_ctx *ctx);

/* Instruction set whose kernels run: "base", "avx2", "avx512", "avx512_bf16" or "amx". */
const char *vmt_backend_cpu_level(const vmt_ctx *ctx);

/* Runs another set's kernels from now on; tests compare them.  "amx" runs on any machine (oneDNN
 * chooses the instructions).  VMT_E_UNSUPPORTED: not here. */
enum vmt_status vmt_backend_cpu_set_level(vmt_ctx *ctx, const char *level);

#endif
