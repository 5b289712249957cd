/* SPDX-License-Identifier: MIT
 *
 * Values in few bits: blocks of elements that share scales, and 8-bit floats.  Blocks are as GGML
 * defines them, little-endian, read byte by byte: they need no alignment.
 * Source: ggml-org/ggml src/ggml-common.h, ggml-quants.c.
 */
#ifndef VMT_BASE_QUANT_H
#define VMT_BASE_QUANT_H

#include "base/ctx.h"

enum { VMT_QUANT_BLOCK = 256 }; /* a multiple of every type's block */

/* Whether a dtype is one of those below; then elements of a block and its bytes.  F8_E4M3: 1, 1. */
bool vmt_is_quantised(enum vmt_dtype dtype);
int64_t vmt_quant_elements(enum vmt_dtype dtype);
size_t vmt_quant_bytes(enum vmt_dtype dtype);

/* y[i] = value of element first + i, i < count; exact products of scale and integer in float, in
 * the order that GGML rounds them.  Any `first`. */
void vmt_unpack(float *y, enum vmt_dtype dtype, const void *blocks, int64_t first, int64_t count);

/* Packs `count` elements, a multiple of the block.  F8_E4M3 (nearest, ties to even, beyond 448
 * saturates), Q8_0 and Q4_K; NaN and infinity are the caller's to refuse. */
void vmt_pack(void *blocks, enum vmt_dtype dtype, const float *x, int64_t count);

#endif
