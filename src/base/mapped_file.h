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
    int fd;               /* of the file, as long as it is mapped */
} vmt_mapped_file;

/* Errors: VMT_E_IO (absent, unreadable, no regular file), VMT_E_FORMAT (empty). */
enum vmt_status vmt_mapped_file_open(vmt_ctx *ctx, vmt_mapped_file *file, const char *path);

/* How bytes of a mapping are read from now on, so that the system fetches what is wanted and no
 * more.  Advice: nothing happens where it cannot be taken. */
enum vmt_reading {
    VMT_READ_ANY,  /* as it was opened: some of what lies around comes along */
    VMT_READ_FEW,  /* here and there: nothing around comes along */
    VMT_READ_SOON, /* all of it: reading begins now, the caller goes on */
    VMT_READ_DONE  /* not any more: this process lets go of it; read again, it comes again */
};
void vmt_mapped_reading(const void *bytes, size_t length, enum vmt_reading reading);

void vmt_mapped_file_close(vmt_mapped_file *file);

#endif
