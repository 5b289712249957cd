/* SPDX-License-Identifier: MIT
 *
 * Writes torch.save's archive piece by piece, as torch does: entries stored, their data aligned to
 * 64 bytes, zip64 where an offset needs it.  Whole or not at all.
 */
#ifndef VMT_MODEL_PTH_WRITER_H
#define VMT_MODEL_PTH_WRITER_H

#include "base/atomic_file.h"
#include "base/crc32.h"
#include "model/tensor_list.h"
#include "model/tensor_table.h"

typedef struct vmt_pth_writer {
    vmt_atomic_file file;
    char stem[64];
    vmt_list entries; /* of finished entries and the open one */
    vmt_crc32 crc;
} vmt_pth_writer;

/* Begins the archive: data.pkl is a dict (`ordered`: an OrderedDict) of the listed tensors, each
 * with a storage of its own.  After VMT_OK exactly one of commit and abort must follow. */
enum vmt_status vmt_pth_writer_open(vmt_ctx *ctx, vmt_pth_writer *writer, const char *path,
                                    const vmt_tensor_list *list, enum vmt_dtype dtype,
                                    bool ordered);

/* Storage i of the list: begin, then its bytes in pieces.  Storages go in order. */
enum vmt_status vmt_pth_writer_begin(vmt_ctx *ctx, vmt_pth_writer *writer, int64_t i);
enum vmt_status vmt_pth_writer_add(vmt_ctx *ctx, vmt_pth_writer *writer, const void *bytes,
                                   size_t length);

enum vmt_status vmt_pth_writer_commit(vmt_ctx *ctx, vmt_pth_writer *writer);
void vmt_pth_writer_abort(vmt_pth_writer *writer);

#endif
