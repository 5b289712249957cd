/* SPDX-License-Identifier: MIT
 *
 * Rows of encoded prompts kept on disk from run to run, so that the encoder reads its gigabytes
 * once per prompt.  An entry is taken only when everything that decides its bits is the same:
 * cleaned prompt, weights, tokenizer, sizes, build, backend, types, threads and machine.  Several
 * processes may use one folder at once.  What is in the files, and why: docs/text.md.
 */
#ifndef VMT_TEXT_PROMPT_CACHE_H
#define VMT_TEXT_PROMPT_CACHE_H

#include "text/prompt.h"

enum { VMT_PROMPT_KEY_BYTES = 1536 };

/* What encodes. */
typedef struct vmt_prompt_encoder {
    const vmt_tensor_file *file;
    const char *hash;      /* vmt_tensor_file_hash */
    const char *tokenizer; /* path of spiece.model */
    const vmt_text_config *config;
} vmt_prompt_encoder;

typedef struct vmt_prompt_cache {
    char *folder; /* owned; NULL: nothing is kept */
    uint64_t most;
    int64_t dim, text_len;
    char encoder[VMT_PROMPT_KEY_BYTES]; /* all of an entry's key but the prompt */
    bool failed;                        /* to write: said once, then left alone */
} vmt_prompt_cache;

/* The cache of ctx->cache_dir for this encoder; one that is always empty when that is NULL.
 * Errors: VMT_E_IO (the tokenizer cannot be read), VMT_E_MEMORY. */
enum vmt_status vmt_prompt_cache_open(vmt_ctx *ctx, vmt_prompt_cache *cache,
                                      const vmt_prompt_encoder *encoder);
void vmt_prompt_cache_close(vmt_prompt_cache *cache);

/* Rows of the text (NULL is "") into *prompt; its rows are NULL when they are not there, or the
 * entry is damaged or of something else.  Errors: VMT_E_ARG (not UTF-8, too long), VMT_E_MEMORY. */
enum vmt_status vmt_prompt_cache_find(vmt_ctx *ctx, const vmt_prompt_cache *cache,
                                      vmt_prompt *prompt, const char *text);

/* Keeps rows just encoded, and removes the entries used longest ago as long as all together are
 * larger than the limit.  What fails is said as a warning. */
void vmt_prompt_cache_keep(vmt_ctx *ctx, vmt_prompt_cache *cache, const vmt_prompt *prompt,
                           const char *text);

#endif
