/* SPDX-License-Identifier: MIT
 *
 * YUV4MPEG2 as mjpegtools and ffmpeg write it.  8 bit; 4:2:0 (jpeg, mpeg2, paldv), 4:2:2, 4:4:4,
 * mono.  Range: XCOLORRANGE=FULL or LIMITED (default LIMITED).  Matrix: XCOLORMATRIX=BT601 or BT709
 * (ours); without it as for any untagged video, by size.  Interlacing is not undone.
 */
#include "media/colour.h"
#include "media/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 1024 };

typedef struct y4m {
    FILE *file;
    media_planes planes;
    uint8_t *frame; /* y, cb, cr in one block */
    size_t bytes;
    int64_t index;
} y4m;

/* A line without its newline; false when none ends within MAX_LINE. */
static bool read_line(FILE *file, char line[MAX_LINE])
{
    for (size_t i = 0; i < MAX_LINE; i++) {
        const int c = fgetc(file);
        if (c == EOF || c == '\0')
            return false;
        line[i] = (char)(c == '\n' ? '\0' : c);
        if (c == '\n')
            return true;
    }
    return false;
}

/* "30000:1001"; 0 when it is unknown (0:0) or nonsense. */
static double parse_ratio(const char *text)
{
    char *end;
    const long a = strtol(text, &end, 10);
    const long b = *end == ':' ? strtol(end + 1, &end, 10) : 0;
    return *end || a < 1 || b < 1 ? 0 : (double)a / (double)b;
}

static bool parse_chroma(media_planes *p, const char *name)
{
    static const struct {
        const char *name;
        int shift_x, shift_y;
        bool centred;
    } known[] = {
        {"420", 1, 1, true},       {"420jpeg", 1, 1, true}, {"420mpeg2", 1, 1, false},
        {"420paldv", 1, 1, false}, {"422", 1, 0, false},    {"444", 0, 0, false},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            p->shift_x = known[i].shift_x;
            p->shift_y = known[i].shift_y;
            p->centred = known[i].centred;
            return true;
        }
    return false;
}

typedef struct header {
    media_planes planes;
    double fps, pixel_aspect;
    bool mono, has_matrix;
} header;

static enum vmt_status parse_tag(vmt_ctx *ctx, header *h, const char *path, const char *tag)
{
    const char *value = tag + 1;

    switch (tag[0]) {
    case 'W':
        h->planes.width = strtoll(value, NULL, 10);
        return VMT_OK;
    case 'H':
        h->planes.height = strtoll(value, NULL, 10);
        return VMT_OK;
    case 'F':
        h->fps = parse_ratio(value);
        return VMT_OK;
    case 'A':
        h->pixel_aspect = parse_ratio(value);
        return VMT_OK;
    case 'C':
        h->mono = !strcmp(value, "mono");
        if (h->mono || parse_chroma(&h->planes, value))
            return VMT_OK;
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: Y4M with samples C%s: convert it to 8 bit C420jpeg, C422, C444 or "
                        "Cmono",
                        path, value);
    case 'X':
        if (!strcmp(value, "COLORRANGE=FULL"))
            h->planes.full = true;
        if (!strcmp(value, "COLORMATRIX=BT601") || !strcmp(value, "COLORMATRIX=BT709")) {
            h->has_matrix = true;
            h->planes.matrix = value[strlen(value) - 3] == '7' ? MEDIA_BT709 : MEDIA_BT601;
        }
        return VMT_OK;
    default: /* I: interlacing; letters of later versions */
        return VMT_OK;
    }
}

/* The file stands behind "YUV4MPEG2 ". */
static enum vmt_status parse_header(vmt_ctx *ctx, header *h, const char *path, FILE *file)
{
    char line[MAX_LINE], *rest = line;

    *h = (header){.pixel_aspect = 1};
    parse_chroma(&h->planes, "420jpeg");
    if (!read_line(file, line))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: the Y4M header does not end", path);
    for (const char *tag = strsep(&rest, " "); tag; tag = strsep(&rest, " "))
        if (*tag)
            VMT_TRY(parse_tag(ctx, h, path, tag));
    VMT_TRY(media_check_size(ctx, path, h->planes.width, h->planes.height));
    if (!(h->fps > 0 && h->fps <= 1000))
        h->fps = 25; /* F0:0, unknown */
    if (!(h->pixel_aspect >= 0.01 && h->pixel_aspect <= 100))
        h->pixel_aspect = 1;
    if (!h->has_matrix)
        h->planes.matrix = media_guess_matrix(h->planes.width, h->planes.height);
    return VMT_OK;
}

static enum vmt_status y4m_next(vmt_ctx *ctx, media_source *source, bool *more, double *time)
{
    y4m *m = source->state;
    char line[MAX_LINE];
    const int first = fgetc(m->file);

    *more = first != EOF;
    if (!*more)
        return ferror(m->file) ? vmt_fail(ctx, VMT_E_IO, "%s: reading failed", source->path)
                               : VMT_OK;
    ungetc(first, m->file);
    if (!read_line(m->file, line) || strncmp(line, "FRAME", 5) || (line[5] && line[5] != ' '))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: frame %" PRId64 " of the Y4M has no FRAME line",
                        source->path, m->index);
    const size_t have = fread(m->frame, 1, m->bytes, m->file);
    if (have < m->bytes)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: frame %" PRId64 " of the Y4M is cut off: %zu of %zu bytes; fetch the "
                        "file again or take fewer frames (--frames)",
                        source->path, m->index, have, m->bytes);
    *time = (double)m->index++ / source->fps;
    return VMT_OK;
}

static enum vmt_status y4m_rgb(vmt_ctx *ctx, media_source *source, uint8_t *pixels)
{
    const y4m *m = source->state;

    (void)ctx; /* cannot fail */
    media_planes_to_rgb(pixels, &m->planes);
    return VMT_OK;
}

static void y4m_close(media_source *source)
{
    y4m *m = source->state;

    if (m->file != stdin)
        fclose(m->file);
    vmt_free(m->frame);
    vmt_free(m);
    source->state = NULL;
}

static enum vmt_status place_planes(vmt_ctx *ctx, y4m *m, bool mono)
{
    media_planes *p = &m->planes;
    const int64_t chroma_w = (p->width + p->shift_x) >> p->shift_x;
    const int64_t chroma_h = (p->height + p->shift_y) >> p->shift_y;
    void *frame;

    m->bytes = (size_t)(p->width * p->height + (mono ? 0 : 2 * chroma_w * chroma_h));
    VMT_TRY(vmt_alloc(ctx, &frame, m->bytes, 1));
    m->frame = frame;
    p->stride_y = p->width;
    p->stride_c = chroma_w;
    p->y = m->frame;
    if (!mono) {
        p->cb = p->y + p->width * p->height;
        p->cr = p->cb + chroma_w * chroma_h;
    }
    return VMT_OK;
}

enum vmt_status media_open_y4m(vmt_ctx *ctx, media_source *source, const char *path, FILE *file)
{
    header h;
    void *memory;
    y4m *m = NULL;
    enum vmt_status status = parse_header(ctx, &h, path, file);

    if (status == VMT_OK)
        status = vmt_alloc(ctx, &memory, 1, sizeof *m);
    if (status != VMT_OK) {
        if (file != stdin)
            fclose(file);
        return status;
    }
    m = memory;
    m->file = file;
    m->planes = h.planes;
    *source = (media_source){.state = m,
                             .path = path,
                             .fps = h.fps,
                             .pixel_aspect = h.pixel_aspect,
                             .width = h.planes.width,
                             .height = h.planes.height,
                             .next = y4m_next,
                             .rgb = y4m_rgb,
                             .close = y4m_close};
    status = place_planes(ctx, m, h.mono);
    if (status != VMT_OK)
        y4m_close(source);
    return status;
}
