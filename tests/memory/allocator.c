/* SPDX-License-Identifier: MIT */
#include "allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Where the memory really comes from: AddressSanitizer's allocator when it is there. */
#ifdef ALLOCATOR_ASAN
#define REAL(name) __interceptor_##name
#define REAL_ALIGNED __interceptor_memalign
#else
#define REAL(name) __libc_##name
#define REAL_ALIGNED __libc_memalign
#endif
void *REAL(malloc)(size_t bytes);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *memory, size_t bytes);
void REAL(free)(void *memory);
void *REAL_ALIGNED(size_t alignment, size_t bytes);

/* ---- who asks */

extern const char __executable_start, etext;

static enum caller caller_of(const void *address)
{
    const char *at = address;
    Dl_info info;

    if (at >= &__executable_start && at < &etext)
        return CALLER_OWN;
    if (!dladdr(address, &info) || !info.dli_fname)
        return CALLER_LIB;
    const char *slash = strrchr(info.dli_fname, '/'), *name = slash ? slash + 1 : info.dli_fname;
    if (!strncmp(name, "fastvmt_libav", 13))
        return CALLER_OWN;
    if (!strncmp(name, "libc.so", 7) || !strncmp(name, "libc-", 5))
        return CALLER_LIBC;
    return !strncmp(name, "ld-", 3) ? CALLER_LOADER : CALLER_LIB;
}

/* ---- blocks in use: a table of addresses, linear probing */

enum { SLOTS = 1 << 16 };

static struct {
    void *memory; /* NULL: never used; GONE: freed */
    size_t bytes;
    const void *caller;
} slots[SLOTS];
static char gone;
#define GONE ((void *)&gone)

static allocator_hook *hook;
static bool inside; /* of the hook: what it allocates itself is not asked about */
static int live;

static size_t place_of(const void *memory)
{
    return ((uintptr_t)memory >> 4) * 2654435761u % SLOTS;
}

static void remember(void *memory, size_t bytes, const void *caller)
{
    size_t i = place_of(memory);

    if (!memory || live > SLOTS / 2)
        return;
    while (slots[i].memory && slots[i].memory != GONE)
        i = (i + 1) % SLOTS;
    slots[i].memory = memory;
    slots[i].bytes = bytes;
    slots[i].caller = caller;
    live++;
}

static void forget(const void *memory)
{
    if (!memory || !live)
        return;
    for (size_t i = place_of(memory), tries = 0; slots[i].memory && tries < SLOTS;
         i = (i + 1) % SLOTS, tries++)
        if (slots[i].memory == memory) {
            slots[i].memory = GONE;
            live--;
            return;
        }
}

void allocator_set(allocator_hook *new_hook)
{
    hook = new_hook;
}

int allocator_live(void)
{
    return live;
}

bool allocator_find_live(size_t *bytes, const void **caller)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].memory && slots[i].memory != GONE) {
            *bytes = slots[i].bytes;
            *caller = slots[i].caller;
            return true;
        }
    return false;
}

/* ---- the functions every library finds first */

/* Asks the hook; *kept: the block is to be remembered. */
static bool may(const void *address, size_t bytes, bool *kept)
{
    *kept = false;
    if (!hook || inside)
        return true;
    const enum caller caller = caller_of(address);
    inside = true;
    const bool granted = hook(caller, address, bytes);
    inside = false;
    *kept = caller == CALLER_OWN;
    if (!granted)
        errno = ENOMEM;
    return granted;
}

static void *note(void *memory, size_t bytes, const void *address, bool kept)
{
    if (kept)
        remember(memory, bytes, address);
    return memory;
}

void *malloc(size_t bytes)
{
    const void *from = __builtin_return_address(0);
    bool kept;
    return may(from, bytes, &kept) ? note(REAL(malloc)(bytes), bytes, from, kept) : NULL;
}

void *calloc(size_t count, size_t size)
{
    const void *from = __builtin_return_address(0);
    bool kept;
    return may(from, count * size, &kept)
               ? note(REAL(calloc)(count, size), count * size, from, kept)
               : NULL;
}

void *realloc(void *memory, size_t bytes)
{
    const void *from = __builtin_return_address(0);
    bool kept;

    if (!may(from, bytes, &kept))
        return NULL;
    void *moved = REAL(realloc)(memory, bytes);
    if (moved || !bytes)
        forget(memory);
    return note(moved, bytes, from, kept);
}

static void *aligned(size_t alignment, size_t bytes, const void *from)
{
    bool kept;
    return may(from, bytes, &kept) ? note(REAL_ALIGNED(alignment, bytes), bytes, from, kept) : NULL;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return aligned(alignment, bytes, __builtin_return_address(0));
}

void *memalign(size_t alignment, size_t bytes)
{
    return aligned(alignment, bytes, __builtin_return_address(0));
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    void *taken = aligned(alignment, bytes, __builtin_return_address(0));

    if (!taken)
        return ENOMEM;
    *memory = taken;
    return 0;
}

void free(void *memory)
{
    forget(memory);
    REAL(free)(memory);
}
