/* SPDX-License-Identifier: MIT
 *
 * ELF: a note of type NT_GNU_BUILD_ID and name "GNU" in a loaded segment.
 */
#include "base/build_id.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct search {
    uintptr_t address;
    char *text;
} search;

static size_t padded(size_t bytes)
{
    return (bytes + 3) / 4 * 4;
}

/* Notes of one segment: header, name and contents, each padded to four bytes. */
static bool find_note(const unsigned char *notes, size_t length, char *text)
{
    ElfW(Nhdr) note;

    for (size_t at = 0; at + sizeof note <= length;) {
        memcpy(&note, notes + at, sizeof note);
        const size_t name = at + sizeof note, id = name + padded(note.n_namesz);
        const size_t end = id + padded(note.n_descsz);
        if (end > length || end < at)
            return false;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes + name, "GNU", 4))
            for (size_t i = 0; i < note.n_descsz && 2 * i + 2 < VMT_BUILD_ID_BYTES; i++)
                snprintf(text + 2 * i, 3, "%02x", notes[id + i]);
        at = end;
    }
    return text[0] != '\0';
}

static int look(struct dl_phdr_info *info, size_t size, void *user)
{
    const search *s = user;
    bool ours = false;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        ours |= p->p_type == PT_LOAD && s->address - info->dlpi_addr - p->p_vaddr < p->p_memsz;
    }
    for (int i = 0; ours && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        union {
            uintptr_t address;
            const unsigned char *bytes;
        } notes = {.address = info->dlpi_addr + p->p_vaddr};
        if (p->p_type == PT_NOTE && find_note(notes.bytes, p->p_memsz, s->text))
            break;
    }
    return ours;
}

void vmt_build_id(uintptr_t address, char text[VMT_BUILD_ID_BYTES])
{
    search s = {address, text};

    text[0] = '\0';
    dl_iterate_phdr(look, &s);
}
