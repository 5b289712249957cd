/* SPDX-License-Identifier: MIT
 *
 * Text as a growing array of Unicode code points: what the cleaning steps read and write.
 */
#ifndef VMT_TEXT_CODEPOINTS_H
#define VMT_TEXT_CODEPOINTS_H

#include "base/ctx.h"

typedef struct vmt_codepoints {
    uint32_t *items;
    size_t count, capacity;
} vmt_codepoints;

/* Frees the array and zeroes the struct. */
void vmt_codepoints_free(vmt_codepoints *text);

/* Appends one.  Errors: VMT_E_MEMORY. */
enum vmt_status vmt_codepoints_push(vmt_ctx *ctx, vmt_codepoints *text, uint32_t code);

/* Appends `length` bytes of UTF-8.
 * Errors: VMT_E_ARG with the offset of the first byte that is no UTF-8 (overlong forms, surrogates
 * and values above U+10FFFF included); VMT_E_MEMORY. */
enum vmt_status vmt_codepoints_decode(vmt_ctx *ctx, vmt_codepoints *text, const char *bytes,
                                      size_t length);

/* The text as NUL-terminated UTF-8, freed with vmt_free; *length (may be NULL) without the NUL.
 * Surrogates must not occur.  Errors: VMT_E_MEMORY. */
enum vmt_status vmt_codepoints_encode(vmt_ctx *ctx, char **bytes, size_t *length,
                                      const vmt_codepoints *text);

#endif
