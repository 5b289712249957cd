/* SPDX-License-Identifier: MIT
 *
 * One part's weights from any file that is read into one of another type.
 */
#ifndef VMT_MODEL_CONVERT_H
#define VMT_MODEL_CONVERT_H

#include "base/ctx.h"

#define VMT_CONVERT_TYPES "bf16, f16, fp8, fp8_scaled, q8_0 or q4_k"

/* Called after each piece; anything but 0 stops with VMT_E_CANCELLED. */
typedef int vmt_convert_progress_fn(void *user, uint64_t done, uint64_t total);

typedef struct vmt_conversion {
    const char *in, *out;
    /* "bf16", "f16", "fp8", "fp8_scaled" (as ComfyUI writes it: one factor a matrix), all four in
     * safetensors; "q8_0", "q4_k" in GGUF */
    const char *type;
    vmt_convert_progress_fn *progress; /* bytes written; may be NULL */
    void *user;
} vmt_conversion;

/* Streams: beside the mapped input, memory is some MiB and the rows' factors of fp8.  The sizes
 * that a config.json beside the input says go into the output's metadata.
 * Errors: VMT_E_ARG (unknown type), VMT_E_MODEL (no part of a model), VMT_E_UNSUPPORTED (the VAE in
 * few bits, a text encoder in fp8_scaled), VMT_E_NUMERIC (NaN, infinity, or beyond F16), and those
 * of reading and writing; then no output appears. */
enum vmt_status vmt_convert(vmt_ctx *ctx, const vmt_conversion *conversion);

#endif
