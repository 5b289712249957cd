/* SPDX-License-Identifier: MIT
 *
 * libsentencepiece through C: only what cutting text needs, no exception leaves it.  A message that
 * stays empty on failure means: out of memory.
 */
#ifndef VMT_TEXT_SENTENCEPIECE_SHIM_H
#define VMT_TEXT_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { VMT_SPIECE_MESSAGE_BYTES = 256 };

typedef struct vmt_spiece vmt_spiece;

/* Loads a model from memory (checked before, spiece_check.h).  NULL on failure, then `message` says
 * why. */
vmt_spiece *vmt_spiece_open(const void *bytes, size_t length,
                            char message[VMT_SPIECE_MESSAGE_BYTES]);
void vmt_spiece_close(vmt_spiece *model);

/* Id of a piece by its exact text; the unknown piece's id when there is none. */
int64_t vmt_spiece_find(const vmt_spiece *model, const char *piece);

/* Writes the first `room` ids of the text's pieces; *count: how many it has.  0, or -1 with a
 * message. */
int vmt_spiece_encode(const vmt_spiece *model, const char *text, size_t length, int32_t *ids,
                      size_t room, size_t *count, char message[VMT_SPIECE_MESSAGE_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
