/* SPDX-License-Identifier: MIT
 *
 * JSON of untrusted files: cJSON with a limit on the number of nodes, so that a small file cannot
 * take much memory, and lookups that check types.
 */
#ifndef VMT_BASE_JSON_H
#define VMT_BASE_JSON_H

#include "base/ctx.h"

#include <cJSON.h>

/* Parses an object that fills `length` bytes (white space after it is allowed).  `label` names the
 * file in messages.  Free with cJSON_Delete.  Errors: VMT_E_FORMAT, VMT_E_MEMORY. */
enum vmt_status vmt_json_parse(vmt_ctx *ctx, cJSON **root, const void *bytes, size_t length,
                               const char *label);

/* The value as an integer; false if it is none, or its magnitude is above 2^53. */
bool vmt_json_int(const cJSON *item, int64_t *value);

#endif
