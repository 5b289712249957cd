/* SPDX-License-Identifier: MIT
 *
 * Cleaned text to token ids, as SentencePiece and the UMT5 rules have them (docs/text.md).
 */
#ifndef VMT_TEXT_TOKENIZER_H
#define VMT_TEXT_TOKENIZER_H

#include "base/ctx.h"

enum { VMT_PAD_ID = 0, VMT_EOS_ID = 1 };

typedef struct vmt_tokenizer vmt_tokenizer;

/* Loads a SentencePiece model (spiece.model).
 * Errors: VMT_E_IO, VMT_E_FORMAT (no such model), VMT_E_MODEL (its piece 1 is not </s>),
 * VMT_E_UNSUPPORTED (built without sentencepiece). */
enum vmt_status vmt_tokenizer_open(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const char *path);

/* The same from memory, which is not kept; `label` takes the place of the path in messages. */
enum vmt_status vmt_tokenizer_parse(vmt_ctx *ctx, vmt_tokenizer **tokenizer, const void *bytes,
                                    size_t length, const char *label);

/* NULL is allowed. */
void vmt_tokenizer_close(vmt_tokenizer *tokenizer);

/* Ids of the text (of vmt_text_clean): its first text_len - 1 pieces, then </s>; a warning in the
 * log when there are more.  The empty text is </s> alone.   ids: [text_len], *count of them
 * written; text_len >= 1. Errors: VMT_E_MODEL (an id is not below `vocab`: tokenizer and encoder do
 * not belong together).
 */
enum vmt_status vmt_tokenizer_encode(vmt_ctx *ctx, const vmt_tokenizer *tokenizer, int32_t *ids,
                                     int64_t *count, const char *text, int64_t text_len,
                                     int64_t vocab);

#endif
