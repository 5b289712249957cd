/* SPDX-License-Identifier: MIT
 *
 * SHA-256, FIPS 180-4.
 */
#ifndef VMT_BASE_SHA256_H
#define VMT_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct vmt_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
} vmt_sha256;

void vmt_sha256_init(vmt_sha256 *hash);
void vmt_sha256_add(vmt_sha256 *hash, const void *bytes, size_t length);

/* 64 lower-case hex digits and a NUL; the hash is spent. */
void vmt_sha256_text(vmt_sha256 *hash, char text[65]);

#endif
