/* SPDX-License-Identifier: MIT
 *
 * A whole file, mapped read-only.
 */
#ifndef VMT_BASE_MAPPED_FILE_H
#define VMT_BASE_MAPPED_FILE_H

#include "base/ctx.h"

typedef struct vmt_mapped_file {
    unsigned char *bytes; /* page-aligned; writing to it is a fault */
    size_t length;        /* > 0 */
} vmt_mapped_file;

/* Errors: VMT_E_IO (absent, unreadable, no regular file), VMT_E_FORMAT (empty). */
enum vmt_status vmt_mapped_file_open(vmt_ctx *ctx, vmt_mapped_file *file, const char *path);
void vmt_mapped_file_close(vmt_mapped_file *file);

#endif
