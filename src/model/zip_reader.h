/* SPDX-License-Identifier: MIT
 *
 * Zip archives as torch.save writes them: entries stored, not compressed; zip64 or not.
 * Source: PKWARE APPNOTE.TXT 6.3.9, sections 4.3 and 4.5.3.
 */
#ifndef VMT_MODEL_ZIP_READER_H
#define VMT_MODEL_ZIP_READER_H

#include "base/ctx.h"

typedef struct vmt_zip_entry {
    const char *name; /* inside the file, not terminated */
    size_t name_length;
    unsigned char *data; /* inside the file, unaligned */
    size_t length;
    uint32_t crc; /* as the directory says; not checked */
} vmt_zip_entry;

typedef struct vmt_zip {
    vmt_zip_entry *entries; /* sorted by name, each once */
    size_t count;
} vmt_zip;

/* True when the bytes begin like an archive. */
bool vmt_zip_looks(const unsigned char *bytes, size_t length);

/* Reads the directory.  Errors: VMT_E_FORMAT (damaged, compressed, encrypted, in parts),
 * VMT_E_MEMORY; then *zip is empty.  `label` names the file in messages. */
enum vmt_status vmt_zip_parse(vmt_ctx *ctx, vmt_zip *zip, unsigned char *bytes, size_t length,
                              const char *label);
void vmt_zip_free(vmt_zip *zip);

/* Entry of that name, or NULL. */
vmt_zip_entry *vmt_zip_find(const vmt_zip *zip, const char *name, size_t name_length);

#endif
