/* SPDX-License-Identifier: MIT
 *
 * The prompts of a run as rows: read from a file, found in the cache, or encoded.
 */
#ifndef VMT_PIPELINE_TEXTS_H
#define VMT_PIPELINE_TEXTS_H

#include "pipeline/sample.h"

/* Names in an embeddings file. */
extern const char *const vmt_text_names[VMT_TEXT_COUNT];

/* The needed ones: those that the cache has not are encoded in one pass over the weights, each text
 * once, and kept.  The rows are the caller's (vmt_free), on failure too. */
enum vmt_status vmt_texts_encode(vmt_ctx *ctx, vmt_text_rows texts[VMT_TEXT_COUNT],
                                 const vmt_model *model, const vmt_settings *settings,
                                 const bool needed[VMT_TEXT_COUNT], vmt_reporter *reporter);

/* The needed ones out of a file that another run has written. */
enum vmt_status vmt_texts_read(vmt_ctx *ctx, vmt_text_rows texts[VMT_TEXT_COUNT],
                               const vmt_model *model, const bool needed[VMT_TEXT_COUNT],
                               const char *path);

/* Whether the cache has all needed ones, so that the encoder will not be asked. */
bool vmt_texts_kept(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                    const bool needed[VMT_TEXT_COUNT]);

#endif
