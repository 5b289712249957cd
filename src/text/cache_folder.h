/* SPDX-License-Identifier: MIT
 *
 * A folder of files that are worth keeping but nobody needs: named by a hash, limited in size, used
 * by several processes at once.  Nothing else that lies in it is touched.
 */
#ifndef VMT_TEXT_CACHE_FOLDER_H
#define VMT_TEXT_CACHE_FOLDER_H

#include "base/ctx.h"

/* "DIR/name" and "FOLDER/HASH.safetensors"; freed with vmt_free.  Errors: VMT_E_MEMORY. */
enum vmt_status vmt_cache_folder_name(vmt_ctx *ctx, char **folder, const char *dir,
                                      const char *name);
enum vmt_status vmt_cache_entry_path(vmt_ctx *ctx, char **path, const char *folder,
                                     const char hash[65]);

/* Makes the folder, and those that it lies in, for this user alone.  Errors: VMT_E_IO. */
enum vmt_status vmt_cache_folder_make(vmt_ctx *ctx, const char *folder);

/* A file as it is now, of at most `most` bytes; *bytes NULL: there is none that can be read.
 * Copied: a mapping would fault when somebody shortens the file.  Errors: VMT_E_MEMORY. */
enum vmt_status vmt_cache_entry_read(vmt_ctx *ctx, const char *path, size_t most,
                                     unsigned char **bytes, size_t *length);

/* It was worth keeping: its time becomes now. */
void vmt_cache_entry_used(const char *path);

/* Removes the entries used longest ago until the rest takes no more than `most` bytes, and what a
 * process that was killed left behind a day ago.  Errors: VMT_E_IO, VMT_E_MEMORY. */
enum vmt_status vmt_cache_folder_trim(vmt_ctx *ctx, const char *folder, uint64_t most);

#endif
