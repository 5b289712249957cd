/* SPDX-License-Identifier: MIT
 *
 * From a model's folder to the files of its parts.
 */
#ifndef VMT_MODEL_PATHS_H
#define VMT_MODEL_PATHS_H

#include "base/ctx.h"

/* DIT_LOW: the transformer of low noise, where a model has two; DIT is that of high noise then. */
enum vmt_part {
    VMT_PART_DIT = 0,
    VMT_PART_VAE,
    VMT_PART_TEXT,
    VMT_PART_DIT_LOW,
    VMT_PART_TOKENIZER,
    VMT_PART_COUNT
};

/* One part: allocated paths, or NULL. */
typedef struct vmt_part_file {
    char *path;   /* NULL: the part is absent */
    char *config; /* the config.json that describes it: in the same folder; NULL: none there */
} vmt_part_file;

typedef struct vmt_model_files {
    vmt_part_file parts[VMT_PART_COUNT];
    char *config; /* the folder's own config.json, or NULL */
    char *index;  /* its model_index.json (diffusers), or NULL */
} vmt_model_files;

/* "dit", "vae", "text", "dit-low", "tokenizer". */
const char *vmt_part_name(enum vmt_part part);

/* Finds the files; opens none of them but config.json.  A part that is named wins over the
 * folder's.  Errors: VMT_E_ARG (nothing named), VMT_E_IO (no such folder), VMT_E_FORMAT (bad
 * config.json), VMT_E_MODEL (no part of a model in the folder, or one transformer of two); then
 * *files is empty. */
enum vmt_status vmt_model_paths_resolve(vmt_ctx *ctx, vmt_model_files *files,
                                        const vmt_model_paths *paths);
void vmt_model_files_free(vmt_model_files *files);

#endif
