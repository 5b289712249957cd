/* SPDX-License-Identifier: MIT
 *
 * What the official program does to a prompt before it is cut into tokens, minus the repair of
 * wrongly decoded text ("mojibake").  Steps in order, and what is left out: docs/text.md.
 */
#ifndef VMT_TEXT_CLEAN_H
#define VMT_TEXT_CLEAN_H

#include "base/ctx.h"

/* Longest prompt, in bytes: far above what text_len tokens can hold, far below what is slow. */
enum { VMT_PROMPT_BYTES = 65536 };

/* Cleans `length` bytes of UTF-8.  *cleaned: NUL-terminated UTF-8, freed with vmt_free; it holds no
 * NUL.  Errors: VMT_E_ARG (too long; not UTF-8, with the byte offset), VMT_E_MEMORY. */
enum vmt_status vmt_text_clean(vmt_ctx *ctx, char **cleaned, const char *text, size_t length);

#endif
