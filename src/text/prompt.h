/* SPDX-License-Identifier: MIT
 *
 * From a prompt as a person types it to the rows the DiT reads: clean, cut into tokens, encode.
 */
#ifndef VMT_TEXT_PROMPT_H
#define VMT_TEXT_PROMPT_H

#include "text/umt5.h"

/**
 *   rows   out  [*count, dim] F32 in new memory (vmt_free)
 *   prompt in   UTF-8
 * tokenizer: path of spiece.model; NULL is VMT_E_MODEL.  Other errors: those of clean.h,
 * tokenizer.h and umt5.h.
 */
enum vmt_status vmt_prompt_encode(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_text_config *config,
                                  const char *tokenizer, const char *prompt, float **rows,
                                  int64_t *count);

#endif
