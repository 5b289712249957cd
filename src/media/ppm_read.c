/* SPDX-License-Identifier: MIT
 *
 * One picture in PPM, binary, 8 bit (P6).
 */
#include "media/source.h"

#include <ctype.h>
#include <inttypes.h>

typedef struct ppm {
    FILE *file;
    bool taken;
} ppm;

/* White space and comments, then a number of at most 9 digits; -1: there is none. */
static int64_t read_number(FILE *file)
{
    int64_t value = -1;
    int c = fgetc(file);

    while (c == '#' || isspace(c)) {
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = fgetc(file);
        c = fgetc(file);
    }
    for (int digits = 0; c >= '0' && c <= '9' && digits < 9; digits++) {
        value = (value < 0 ? 0 : value * 10) + (c - '0');
        c = fgetc(file);
    }
    return isspace(c) ? value : -1; /* one white space ends each number */
}

static enum vmt_status ppm_next(vmt_ctx *ctx, media_source *source, bool *more, double *time)
{
    ppm *p = source->state;

    (void)ctx; /* cannot fail */
    *more = !p->taken;
    *time = 0;
    p->taken = true;
    return VMT_OK;
}

static enum vmt_status ppm_rgb(vmt_ctx *ctx, media_source *source, uint8_t *pixels)
{
    const ppm *p = source->state;
    const size_t bytes = (size_t)(source->width * source->height * 3);
    const size_t have = fread(pixels, 1, bytes, p->file);

    if (have < bytes)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: the picture is cut off: %zu of %zu bytes",
                        source->path, have, bytes);
    return VMT_OK;
}

static void ppm_close(media_source *source)
{
    ppm *p = source->state;

    fclose(p->file);
    vmt_free(p);
    source->state = NULL;
}

enum vmt_status media_open_ppm(vmt_ctx *ctx, media_source *source, const char *path, FILE *file)
{
    void *memory;
    enum vmt_status status = vmt_alloc(ctx, &memory, 1, sizeof(ppm));

    if (status != VMT_OK) {
        fclose(file);
        return status;
    }
    ppm *p = memory;
    p->file = file;
    *source = (media_source){.state = p,
                             .path = path,
                             .fps = MEDIA_FOLDER_FPS,
                             .pixel_aspect = 1,
                             .next = ppm_next,
                             .rgb = ppm_rgb,
                             .close = ppm_close};
    fgetc(file); /* "P6", seen before */
    fgetc(file);
    source->width = read_number(file);
    source->height = read_number(file);
    status = media_check_size(ctx, path, source->width, source->height);
    const int64_t most = read_number(file);
    if (status == VMT_OK && most != 255)
        status =
            vmt_fail(ctx, VMT_E_UNSUPPORTED,
                     "%s: PPM with %" PRId64 " as the largest value, expected 255", path, most);
    if (status != VMT_OK)
        ppm_close(source);
    return status;
}
