/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
static const size_t gap = 64; /* poisoned, so that an overrun inside the arena is found */
#define POISON(address, bytes) ASAN_POISON_MEMORY_REGION(address, bytes)
#define UNPOISON(address, bytes) ASAN_UNPOISON_MEMORY_REGION(address, bytes)
#else
static const size_t gap = 0;
#define POISON(address, bytes) ((void)(address), (void)(bytes))
#define UNPOISON(address, bytes) ((void)(address), (void)(bytes))
#endif

static unsigned char measure_only[1]; /* its address is never followed */

vmt_arena vmt_arena_measure(void)
{
    return (vmt_arena){.base = NULL, .capacity = SIZE_MAX};
}

bool vmt_arena_measures(const vmt_arena *arena)
{
    return !arena->base;
}

void *vmt_arena_take(vmt_arena *arena, size_t bytes)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    const size_t start = arena->used > SIZE_MAX - mask ? SIZE_MAX : (arena->used + mask) & ~mask;

    if (start > arena->capacity || bytes > arena->capacity - start ||
        gap > arena->capacity - start - bytes)
        return NULL;
    arena->used = start + bytes + gap;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    if (!arena->base)
        return measure_only;
    UNPOISON(arena->base + start, bytes);
    POISON(arena->base + start + bytes, gap);
    return arena->base + start;
}

void vmt_arena_reset(vmt_arena *arena, size_t mark)
{
    if (arena->base)
        POISON(arena->base + mark, arena->used - mark);
    arena->used = mark;
}

void vmt_arena_forget(void *memory, size_t bytes)
{
    UNPOISON(memory, bytes);
}
