/* SPDX-License-Identifier: MIT
 *
 * One arena per phase and place.  The same layout code runs twice: on an arena that only counts
 * (base NULL, capacity SIZE_MAX), then on one of exactly the counted size.  So a plan cannot drift
 * from use.  The block under `base` belongs to whoever opened the arena (see vmt_arena_open in
 * tensor/tensor.h, which takes it from the backend).
 */
#ifndef VMT_BASE_ARENA_H
#define VMT_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

enum { VMT_ARENA_ALIGN = 64 };

typedef struct vmt_arena {
    unsigned char *base; /* NULL: measure only */
    size_t capacity;     /* bytes */
    size_t used;         /* bytes, always <= capacity */
    size_t peak;         /* highest `used` ever */
} vmt_arena;

/* An arena that only counts. */
vmt_arena vmt_arena_measure(void);

/* True when it only counts: pointers taken from it must not be followed. */
bool vmt_arena_measures(const vmt_arena *arena);

/* `bytes` aligned to VMT_ARENA_ALIGN, or NULL when they do not fit.  While measuring a non-NULL
 * pointer that must not be followed. */
void *vmt_arena_take(vmt_arena *arena, size_t bytes);

/* Everything taken since `mark` (an earlier `used`) is given back. */
void vmt_arena_reset(vmt_arena *arena, size_t mark);

/* The memory under an arena that is done serves other things from here on: AddressSanitizer forgets
 * the arena's gaps. */
void vmt_arena_forget(void *memory, size_t bytes);

#endif
