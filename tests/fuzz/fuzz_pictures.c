/* SPDX-License-Identifier: MIT
 *
 * A folder and a pattern of pictures.  The input holds up to three, each after a line with its
 * name: a name has no "/".
 */
#include "input.h"

#include "media/media.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 3 };

static char folder[] = "/tmp/fuzz_pictures.XXXXXX";

static void remove_folder(void)
{
    rmdir(folder);
}

static void read_as(const char *path)
{
    const media_read_options options = {.stride = 2, .width = 3, .height = 4};
    vmt_clip clip;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (media_read(&ctx, &clip, path, &options) == VMT_OK)
        vmt_clip_free(&clip);
    else
        FUZZ_REFUSED(ctx);
}

/* Writes the picture at `bytes`; returns where the next one begins. */
static size_t write_picture(char *path, size_t size, const uint8_t *bytes, size_t length)
{
    static const char mark[] = "\n--\n";
    const uint8_t *line = memchr(bytes, '\n', length < 24 ? length : 24);

    path[0] = '\0';
    if (!line || line == bytes || memchr(bytes, '/', (size_t)(line - bytes)) ||
        memchr(bytes, '\0', (size_t)(line - bytes)) || bytes[0] == '.')
        return length;
    const size_t start = (size_t)(line - bytes) + 1;
    if (start == length || bytes[start] != 'P') /* everything else is libav's: fuzz_video */
        return length;
    const uint8_t *end = memmem(bytes + start, length - start, mark, sizeof mark - 1);
    const size_t stop = end ? (size_t)(end - bytes) : length;
    snprintf(path, size, "%s/%.*s", folder, (int)(line - bytes), (const char *)bytes);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes + start, 1, stop - start, file) != stop - start || fclose(file))
        abort();
    return end ? stop + sizeof mark - 1 : length;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static bool made;
    char paths[MOST][128], pattern[128];

    if (!made && (!mkdtemp(folder) || atexit(remove_folder)))
        abort();
    made = true;
    int count = 0;
    for (size_t at = 0; at < length && count < MOST; count++)
        at += write_picture(paths[count], sizeof paths[count], bytes + at, length - at);
    read_as(folder);
    snprintf(pattern, sizeof pattern, "%s/%%02d.ppm", folder);
    read_as(pattern);
    for (int i = 0; i < count; i++)
        if (paths[i][0])
            unlink(paths[i]);
    return 0;
}
