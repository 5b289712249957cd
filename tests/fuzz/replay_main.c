/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target without libFuzzer: over every seed of a folder, over each seed cut at many
 * lengths, and over copies with damaged bytes.  The same inputs every time.
 */
#include "input.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUTS = 64, DAMAGES = 256 };

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A copy of exactly this length, so that AddressSanitizer sees the first byte read past it. */
static void run(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    LLVMFuzzerTestOneInput(copy, length);
    free(copy);
}

static void run_seed(uint8_t *bytes, size_t length)
{
    /* Values on which length checks break. */
    static const uint8_t edges[] = {0x00, 0xff, 0x7f, 0x80, 0x01, '"', '{', '-'};
    uint32_t state = (uint32_t)length;

    run(bytes, length);
    for (size_t i = 0; i < CUTS; i++)
        run(bytes, length * i / CUTS);
    for (size_t i = 0; i < DAMAGES && length; i++) {
        /* Half of the damage goes where headers are. */
        const size_t span = i % 2 && length > 64 ? 64 : length;
        const size_t at = next_random(&state) % span;
        const size_t count = 1 + next_random(&state) % 8;
        const uint8_t value = edges[next_random(&state) % sizeof edges];
        uint8_t old[8];

        for (size_t j = 0; j < count && at + j < length; j++) {
            old[j] = bytes[at + j];
            bytes[at + j] = value;
        }
        run(bytes, length);
        for (size_t j = 0; j < count && at + j < length; j++)
            bytes[at + j] = old[j];
    }
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        return -1;
    const long length = ftell(file);
    uint8_t *bytes = length >= 0 ? malloc((size_t)length + 1) : NULL;
    rewind(file);
    const int failed = !bytes || fread(bytes, 1, (size_t)length, file) != (size_t)length;
    fclose(file);
    if (!failed)
        run_seed(bytes, (size_t)length);
    free(bytes);
    return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    int seeds = 0;

    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER_OF_SEEDS\n", argv[0]);
        return 2;
    }
    run((const uint8_t *)"", 0);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (run_file(path)) {
            fprintf(stderr, "cannot read %s\n", path);
            return 1;
        }
        seeds++;
    }
    closedir(folder);
    printf("%d seeds, each cut %d times and damaged %d times\n", seeds, CUTS, DAMAGES);
    return seeds ? 0 : 1;
}
