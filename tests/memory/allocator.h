/* SPDX-License-Identifier: MIT
 *
 * An allocator that fails on purpose.  allocator.c defines malloc and its kin for the whole
 * process, libraries included, and asks a hook before each allocation; the caller's address tells
 * who asks.
 */
#ifndef ALLOCATOR_H
#define ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>

enum caller {
    CALLER_OWN,  /* this program and its libav module */
    CALLER_LIBC, /* strdup, fopen, opendir, … */
    CALLER_LIB,  /* any other library */
    CALLER_LOADER,
    CALLER_COUNT
};

/* Returns false to let the allocation fail.  Called for every allocation while set. */
typedef bool allocator_hook(enum caller caller, const void *address, size_t bytes);

void allocator_set(allocator_hook *hook);

/* Blocks that CALLER_OWN took since the hook was set and nobody has freed. */
int allocator_live(void);
/* Bytes and the address of the caller of one of them, or false. */
bool allocator_find_live(size_t *bytes, const void **caller);

#endif
