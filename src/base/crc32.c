/* SPDX-License-Identifier: MIT */
#include "base/crc32.h"

void vmt_crc32_init(vmt_crc32 *c)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
        c->table[0][i] = crc;
    }
    for (int j = 1; j < 8; j++)
        for (int i = 0; i < 256; i++)
            c->table[j][i] = c->table[j - 1][i] >> 8 ^ c->table[0][c->table[j - 1][i] & 0xff];
}

uint32_t vmt_crc32_add(const vmt_crc32 *c, uint32_t crc, const void *bytes, size_t length)
{
    const uint32_t(*t)[256] = c->table;
    const unsigned char *p = bytes;

    crc = ~crc;
    for (; length >= 8; length -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = t[7][crc & 0xff] ^ t[6][crc >> 8 & 0xff] ^ t[5][crc >> 16 & 0xff] ^ t[4][crc >> 24] ^
              t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
    }
    for (; length > 0; length--, p++)
        crc = t[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return ~crc;
}
