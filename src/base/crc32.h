/* SPDX-License-Identifier: MIT
 *
 * CRC-32 as zip has it (polynomial 0xedb88320, reflected), eight bytes a step.
 */
#ifndef VMT_BASE_CRC32_H
#define VMT_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* [j][i]: CRC of byte i, followed by j zero bytes. */
typedef struct vmt_crc32 {
    uint32_t table[8][256];
} vmt_crc32;

void vmt_crc32_init(vmt_crc32 *c);

/* The checksum of what `crc` was the checksum of (0: nothing), followed by these bytes. */
uint32_t vmt_crc32_add(const vmt_crc32 *c, uint32_t crc, const void *bytes, size_t length);

#endif
