/* SPDX-License-Identifier: MIT
 *
 * A file that appears whole or not at all: written beside its place under a temporary name, synced,
 * then renamed.  Whatever goes wrong, the old file of that name (if any) stays as it was.
 */
#ifndef VMT_BASE_ATOMIC_FILE_H
#define VMT_BASE_ATOMIC_FILE_H

#include "base/ctx.h"

typedef struct vmt_atomic_file {
    char *path, *temporary; /* owned */
    int fd;
    uint64_t written; /* bytes so far */
} vmt_atomic_file;

/* Errors: VMT_E_IO, VMT_E_MEMORY.  After VMT_OK exactly one of commit and abort must follow. */
enum vmt_status vmt_atomic_file_open(vmt_ctx *ctx, vmt_atomic_file *file, const char *path);

/* Appends.  Errors: VMT_E_IO (disk full, …); the caller then aborts. */
enum vmt_status vmt_atomic_file_write(vmt_ctx *ctx, vmt_atomic_file *file, const void *bytes,
                                      size_t length);

/* Syncs and renames; on failure nothing is left.  Errors: VMT_E_IO. */
enum vmt_status vmt_atomic_file_commit(vmt_ctx *ctx, vmt_atomic_file *file);

/* Removes what was written.  Does nothing on a zeroed, committed or aborted file. */
void vmt_atomic_file_abort(vmt_atomic_file *file);

#endif
