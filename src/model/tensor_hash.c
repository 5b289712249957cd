/* SPDX-License-Identifier: MIT */
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "model/tensor_table.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SAMPLE = 4096, /* bytes from each end of a tensor: two pages of a mapped file */
    SMALL = 64 << 10
};

static void advise_all(const vmt_tensor_file *file, enum vmt_reading reading)
{
    const vmt_mapped_file *maps = file->maps.items;

    for (size_t i = 0; i < file->maps.count; i++)
        vmt_mapped_reading(maps[i].bytes, maps[i].length, reading);
}

/* Lets the samples come side by side and nothing else with them; small tensors, which whoever opens
 * a model copies next, as a whole. */
static void fetch_samples(const vmt_tensor_file *file)
{
    const vmt_tensor_entry *entries = file->entries.items;

    advise_all(file, VMT_READ_FEW);
    for (size_t i = 0; i < file->entries.count; i++) {
        const char *data = entries[i].tensor.data;
        const size_t bytes = vmt_tensor_bytes(&entries[i].tensor);
        if (bytes <= SMALL) {
            vmt_mapped_reading(data, bytes, VMT_READ_SOON);
            continue;
        }
        vmt_mapped_reading(data, SAMPLE, VMT_READ_SOON);
        vmt_mapped_reading(data + bytes - SAMPLE, SAMPLE, VMT_READ_SOON);
    }
}

void vmt_tensor_file_hash(const vmt_tensor_file *file, char text[65])
{
    const vmt_tensor_entry *entries = file->entries.items;
    vmt_sha256 hash;

    fetch_samples(file);
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
        const vmt_tensor *t = &entry->tensor;
        if (t->scale)
            vmt_sha256_add(&hash, t->scale, (size_t)t->scales * sizeof *t->scale);
        if (sample > 0) {
            vmt_sha256_add(&hash, entry->tensor.data, sample);
            vmt_sha256_add(&hash, (const char *)entry->tensor.data + bytes - sample, sample);
        }
    }
    advise_all(file, VMT_READ_ANY);
    vmt_sha256_text(&hash, text);
}

void vmt_tensor_file_stamp(const vmt_tensor_file *file, char text[65])
{
    const vmt_mapped_file *maps = file->maps.items;
    vmt_sha256 hash;

    vmt_sha256_init(&hash);
    for (size_t i = 0; i < file->maps.count; i++) {
        struct stat info = {0};
        (void)fstat(maps[i].fd, &info);
        const int64_t stamp[3] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
        vmt_sha256_add(&hash, stamp, sizeof stamp);
    }
    vmt_sha256_text(&hash, text);
}
