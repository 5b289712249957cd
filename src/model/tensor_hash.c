/* SPDX-License-Identifier: MIT */
#include "base/sha256.h"
#include "model/tensor_table.h"

#include <stdio.h>
#include <string.h>

enum { SAMPLE = 4096 }; /* bytes from each end of a tensor: two pages of a mapped file */

void vmt_tensor_file_hash(const vmt_tensor_file *file, char text[65])
{
    const vmt_tensor_entry *entries = file->entries.items;
    vmt_sha256 hash;

    vmt_sha256_init(&hash);
    for (size_t i = 0; i < file->entries.count; i++) {
        const vmt_tensor_entry *entry = &entries[file->sorted[i]];
        const size_t bytes = vmt_tensor_bytes(&entry->tensor);
        const size_t sample = bytes < SAMPLE ? bytes : SAMPLE;
        char shape[128], line[160];
        vmt_sha256_add(&hash, entry->name, strlen(entry->name) + 1);
        snprintf(line, sizeof line, "%s %d %s", vmt_dtype_name(entry->tensor.dtype),
                 entry->tensor.rank, vmt_shape_text(&entry->tensor, shape));
        vmt_sha256_add(&hash, line, strlen(line) + 1);
        if (sample > 0) {
            vmt_sha256_add(&hash, entry->tensor.data, sample);
            vmt_sha256_add(&hash, (const char *)entry->tensor.data + bytes - sample, sample);
        }
    }
    vmt_sha256_text(&hash, text);
}
