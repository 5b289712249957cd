/* SPDX-License-Identifier: MIT
 *
 * Checks a SentencePiece model before libsentencepiece sees it: that library trusts its file (it
 * follows the normaliser's tables without bounds, and aborts the process on some faults).
 */
#ifndef VMT_TEXT_SPIECE_CHECK_H
#define VMT_TEXT_SPIECE_CHECK_H

#include "base/ctx.h"

enum { VMT_SPIECE_BYTES = 32 << 20 }; /* of a model file; the official one has 4.5 MB */

/* Checks the model and copies the parts that cutting text needs (pieces, trainer and normaliser
 * settings; self tests and the way back to text are left out).  *model is freed with vmt_free;
 * `label` names the file in messages.  Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_spiece_check(vmt_ctx *ctx, void **model, size_t *model_bytes, const void *bytes,
                                 size_t length, const char *label);

#endif
