/* SPDX-License-Identifier: MIT
 *
 * Text to the token ids of CLIP: byte-level byte-pair encoding of Sennrich et al. 2016, lower case,
 * a mark at the end of words.  Its tables are untrusted files.
 */
#ifndef VMT_CLIP_TOKENIZER_H
#define VMT_CLIP_TOKENIZER_H

#include "base/ctx.h"

enum { VMT_CLIP_TEXT_BYTES = 2048 }; /* far above what 77 tokens hold */

typedef struct vmt_clip_tokenizer vmt_clip_tokenizer;

/* From a folder: vocab.json and merges.txt, else tokenizer.json.
 * Errors: VMT_E_IO, VMT_E_FORMAT (a table that does not hold together), VMT_E_MEMORY. */
enum vmt_status vmt_clip_tokenizer_open(vmt_ctx *ctx, vmt_clip_tokenizer **tokenizer,
                                        const char *folder);

/* The same from memory: tokenizer.json, or vocab.json with the text of merges.txt (`merges` NULL:
 * the former). */
enum vmt_status vmt_clip_tokenizer_parse(vmt_ctx *ctx, vmt_clip_tokenizer **tokenizer,
                                         const void *json, size_t json_length, const void *merges,
                                         size_t merges_length, const char *label);

/* NULL is allowed. */
void vmt_clip_tokenizer_close(vmt_clip_tokenizer *tokenizer);

/* Begin, the first most - 2 tokens of the text, end.   ids: [most], most >= 2; *count of them.
 * Errors: VMT_E_ARG (too long, not UTF-8), VMT_E_MEMORY. */
enum vmt_status vmt_clip_tokenizer_encode(vmt_ctx *ctx, const vmt_clip_tokenizer *tokenizer,
                                          int32_t *ids, int64_t *count, int64_t most,
                                          const char *text);

#endif
