/* SPDX-License-Identifier: MIT
 *
 * From a prompt to the rows the transformer reads: cleaned, cut into tokens, encoded; or read from
 * a file that another program (or machine) made.
 */
#ifndef VMT_TEXT_PROMPT_H
#define VMT_TEXT_PROMPT_H

#include "text/tokenizer.h"
#include "text/umt5.h"

/* Rows of one prompt's tokens, the end token included; zero rows up to text_len are the reader's.
 */
typedef struct vmt_prompt {
    float *rows;   /* [count, dim], host; NULL: no prompt */
    int64_t count; /* tokens */
    int64_t dim;
    int32_t *ids; /* [count], or NULL when read from a file */
} vmt_prompt;

/* Frees the arrays and zeroes the struct. */
void vmt_prompt_free(vmt_prompt *prompt);

/* Tokenizes and encodes `count` texts into prompts[count] in one pass over the encoder's weights.
 * NULL is "".  On failure all of them are empty.
 * Errors: VMT_E_ARG (not UTF-8, too long), VMT_E_MODEL (tokenizer and encoder differ). */
enum vmt_status vmt_prompt_encode(vmt_ctx *ctx, vmt_prompt *prompts, const char *const *texts,
                                  int64_t count, const vmt_tokenizer *tokenizer, vmt_umt5 *umt5,
                                  vmt_umt5_progress_fn *progress, void *user);

/* Embeddings of a run, from a file. */
typedef struct vmt_prompt_embeddings {
    vmt_prompt prompt;
    vmt_prompt negative; /* rows NULL: the file has none */
    vmt_prompt null;     /* of the empty text; rows NULL: the file has none */
} vmt_prompt_embeddings;

/* Frees the arrays and zeroes the struct. */
void vmt_prompt_embeddings_free(vmt_prompt_embeddings *embeddings);

/* Reads a safetensors file with the tensors "prompt" and, if they are there, "negative" and "null":
 * each [rows, text_dim] F32, F16 or BF16, 1 to text_len rows.  Zero rows at the end are padding and
 * are dropped.
 * Errors: VMT_E_IO, VMT_E_FORMAT, VMT_E_MODEL (shapes), VMT_E_NUMERIC (NaN or infinity). */
enum vmt_status vmt_prompt_embeddings_read(vmt_ctx *ctx, vmt_prompt_embeddings *embeddings,
                                           const char *path, int64_t text_dim, int64_t text_len);

#endif
