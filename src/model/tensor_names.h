/* SPDX-License-Identifier: MIT
 *
 * One tensor has many names: those of the official files, of diffusers, of transformers, of
 * llama.cpp, and prefixes that programs put before them.  A table is renamed to the official ones
 * as soon as it is read, so that nothing else knows of any other.
 */
#ifndef VMT_MODEL_TENSOR_NAMES_H
#define VMT_MODEL_TENSOR_NAMES_H

#include "model/tensor_table.h"

/* Renames the tensors of a sealed file whose contents show a scheme this program knows, leaves out
 * what such files hold besides the model (a second copy of the embedding, a tokenizer), and seals
 * it anew; names without a rule stay as they are.  A file of another kind is left alone.
 * Errors: VMT_E_FORMAT (two tensors of one official name), VMT_E_MEMORY. */
enum vmt_status vmt_names_to_official(vmt_ctx *ctx, vmt_tensor_file *file);

/* llama.cpp's name of a text encoder's tensor; false: it has none. */
bool vmt_name_to_llama(const char *official, char theirs[VMT_TENSOR_NAME_BYTES]);

/* diffusers' name of a transformer's tensor; false: the same as the official one. */
bool vmt_name_to_diffusers(const char *official, char theirs[VMT_TENSOR_NAME_BYTES]);

#endif
