/* SPDX-License-Identifier: MIT
 *
 * Which build of a program or library runs: what the linker's --build-id says of its code.
 */
#ifndef VMT_BASE_BUILD_ID_H
#define VMT_BASE_BUILD_ID_H

#include <stdint.h>

enum { VMT_BUILD_ID_BYTES = 65 };

/* Hex digits of the build that holds `address` (of a function, say), and a NUL; "" where the linker
 * left none. */
void vmt_build_id(uintptr_t address, char text[VMT_BUILD_ID_BYTES]);

#endif
