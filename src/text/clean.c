/* SPDX-License-Identifier: MIT
 *
 * Source: ftfy 6, fix_text with its default configuration but fix_encoding off; then Wan2.1
 * wan/modules/tokenizers.py, basic_clean and whitespace_clean.
 */
#include "text/clean.h"

#include "text/html.h"

#include <string.h>

#include "utf8proc.h"

/* Two buffers that the passes of one line read and write in turn. */
typedef struct line_buffers {
    vmt_codepoints now, next;
} line_buffers;

static void swap(line_buffers *line)
{
    const vmt_codepoints now = line->now;
    line->now = line->next;
    line->next = now;
    line->next.count = 0;
}

/* ---------------------------------------------------------------- character by character */

/* Letters of a Latin ligature or digraph, 0 after the last; NULL for other characters. */
static const uint16_t *ligature_letters(uint32_t code)
{
    static const uint16_t dutch[][3] = {{'I', 'J'}, {'i', 'j'}};
    static const uint16_t afrikaans[] = {0x2bc, 'n', 0};
    static const uint16_t serbian[][3] = {{'D', 0x17d}, {'D', 0x17e}, {'d', 0x17e},
                                          {'L', 'J'},   {'L', 'j'},   {'l', 'j'},
                                          {'N', 'J'},   {'N', 'j'},   {'n', 'j'}};
    static const uint16_t dz[][3] = {{'D', 'Z'}, {'D', 'z'}, {'d', 'z'}};
    static const uint16_t typographic[][4] = {{'f', 'f'},      {'f', 'i'},      {'f', 'l'},
                                              {'f', 'f', 'i'}, {'f', 'f', 'l'}, {0x17f, 't'},
                                              {'s', 't'}};
    if (code == 0x132 || code == 0x133)
        return dutch[code - 0x132];
    if (code == 0x149)
        return afrikaans;
    if (code >= 0x1c4 && code <= 0x1cc)
        return serbian[code - 0x1c4];
    if (code >= 0x1f1 && code <= 0x1f3)
        return dz[code - 0x1f1];
    if (code >= 0xfb00 && code <= 0xfb06)
        return typographic[code - 0xfb00];
    return NULL;
}

static uint32_t uncurl_quote(uint32_t code)
{
    if (code >= 0x201c && code <= 0x201f)
        return '"';
    return code == 0x2bc || (code >= 0x2018 && code <= 0x201b) ? '\'' : code;
}

/* Full- and half-width forms become what Unicode says they are compatible with; quotes become
 * straight. */
static enum vmt_status push_plain(vmt_ctx *ctx, vmt_codepoints *out, uint32_t code)
{
    if (code == 0x3000)
        return vmt_codepoints_push(ctx, out, ' ');
    if (code < 0xff01 || code > 0xffef)
        return vmt_codepoints_push(ctx, out, uncurl_quote(code));
    const int compatible = UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE;
    utf8proc_int32_t wide[4];
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        (utf8proc_int32_t)code, wide, 4, (utf8proc_option_t)compatible, &boundary);
    if (count < 1 || count > 4)
        return vmt_fail(ctx, VMT_E_INTERNAL, "U+%04X has no compatible form", (unsigned)code);
    for (utf8proc_ssize_t i = 0; i < count; i++)
        VMT_TRY(vmt_codepoints_push(ctx, out, uncurl_quote((uint32_t)wide[i])));
    return VMT_OK;
}

/* fix_c1_controls, fix_latin_ligatures, fix_character_width, uncurl_quotes: each looks at single
 * characters only, so one pass is the same as four. */
static enum vmt_status fix_characters(vmt_ctx *ctx, line_buffers *line)
{
    for (size_t i = 0; i < line->now.count; i++) {
        const uint32_t code = vmt_windows_1252(line->now.items[i]);
        const uint16_t *letters = ligature_letters(code);
        if (!letters)
            VMT_TRY(push_plain(ctx, &line->next, code));
        for (; letters && *letters; letters++)
            VMT_TRY(push_plain(ctx, &line->next, *letters));
    }
    swap(line);
    return VMT_OK;
}

/* ---------------------------------------------------------------- sequences */

static enum vmt_status fix_line_breaks(vmt_ctx *ctx, line_buffers *line)
{
    const vmt_codepoints *now = &line->now;
    for (size_t i = 0; i < now->count; i++) {
        uint32_t code = now->items[i];
        if (code == '\r' && i + 1 < now->count && now->items[i + 1] == '\n')
            continue;
        if (code == '\r' || code == 0x85 || code == 0x2028 || code == 0x2029)
            code = '\n';
        VMT_TRY(vmt_codepoints_push(ctx, &line->next, code));
    }
    swap(line);
    return VMT_OK;
}

/* Length of ESC [ (digits or semicolons) letter, or 0.  Digits of every script count. */
static size_t escape_length(const uint32_t *text, size_t left)
{
    if (left < 3 || text[0] != 0x1b || text[1] != '[')
        return 0;
    size_t at = 2;
    while (at < left && (text[at] == ';' ||
                         utf8proc_category((utf8proc_int32_t)text[at]) == UTF8PROC_CATEGORY_ND))
        at++;
    const bool letter =
        at < left && ((text[at] >= 'a' && text[at] <= 'z') || (text[at] >= 'A' && text[at] <= 'Z'));
    return letter ? at + 1 : 0;
}

static enum vmt_status remove_terminal_escapes(vmt_ctx *ctx, line_buffers *line)
{
    for (size_t at = 0; at < line->now.count;) {
        const size_t used = escape_length(line->now.items + at, line->now.count - at);
        if (!used)
            VMT_TRY(vmt_codepoints_push(ctx, &line->next, line->now.items[at]));
        at += used ? used : 1;
    }
    swap(line);
    return VMT_OK;
}

/* In place: characters that show nothing and that no script needs. */
static void remove_control_chars(vmt_codepoints *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++) {
        const uint32_t c = text->items[i];
        const bool control = c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
                             (c >= 0x206a && c <= 0x206f) || c == 0xfeff ||
                             (c >= 0xfff9 && c <= 0xfffc);
        if (!control)
            text->items[kept++] = c;
    }
    text->count = kept;
}

/* Code points that one character's canonical decomposition has at most. */
enum { NFD_CODES = 4 };

static enum vmt_status push_nfc(vmt_ctx *ctx, vmt_codepoints *out, const char *bytes, size_t length,
                                utf8proc_int32_t *codes, size_t room)
{
    const utf8proc_option_t nfc = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    utf8proc_ssize_t count =
        utf8proc_decompose((const utf8proc_uint8_t *)bytes, (utf8proc_ssize_t)length, codes,
                           (utf8proc_ssize_t)room, nfc);
    if (count >= 0 && (size_t)count <= room)
        count = utf8proc_normalize_utf32(codes, count, nfc);
    if (count < 0 || (size_t)count > room)
        return vmt_fail(ctx, VMT_E_INTERNAL, "Unicode normalisation of %zu bytes failed (%lld)",
                        length, (long long)count);
    for (utf8proc_ssize_t i = 0; i < count; i++)
        VMT_TRY(vmt_codepoints_push(ctx, out, (uint32_t)codes[i]));
    return VMT_OK;
}

static enum vmt_status normalize_nfc(vmt_ctx *ctx, line_buffers *line)
{
    bool ascii = true;
    for (size_t i = 0; i < line->now.count && ascii; i++)
        ascii = line->now.items[i] < 0x80;
    if (ascii)
        return VMT_OK;

    const size_t room = line->now.count * NFD_CODES;
    char *bytes;
    size_t length;
    void *codes;
    VMT_TRY(vmt_codepoints_encode(ctx, &bytes, &length, &line->now));
    enum vmt_status status = vmt_alloc(ctx, &codes, room, sizeof(utf8proc_int32_t));
    if (status == VMT_OK)
        status = push_nfc(ctx, &line->next, bytes, length, codes, room);
    vmt_free(codes);
    vmt_free(bytes);
    swap(line);
    return status;
}

/* ---------------------------------------------------------------- ftfy */

/* All steps, over and over until nothing changes: one step's result may be another's case. */
static enum vmt_status fix_line(vmt_ctx *ctx, line_buffers *line, vmt_codepoints *before,
                                bool unescape)
{
    for (;;) {
        before->count = 0;
        for (size_t i = 0; i < line->now.count; i++)
            VMT_TRY(vmt_codepoints_push(ctx, before, line->now.items[i]));
        if (unescape) {
            VMT_TRY(vmt_html_unescape_strict(ctx, &line->next, &line->now));
            swap(line);
        }
        VMT_TRY(fix_characters(ctx, line));
        VMT_TRY(fix_line_breaks(ctx, line));
        VMT_TRY(remove_terminal_escapes(ctx, line));
        remove_control_chars(&line->now);
        VMT_TRY(normalize_nfc(ctx, line));
        if (line->now.count == before->count &&
            (before->count == 0 ||
             memcmp(line->now.items, before->items, before->count * sizeof *before->items) == 0))
            return VMT_OK;
    }
}

/* Line by line.  From the first line with a "<" on, references are left alone: the text is HTML. */
static enum vmt_status fix_text(vmt_ctx *ctx, vmt_codepoints *fixed, const vmt_codepoints *text)
{
    line_buffers line = {0};
    vmt_codepoints before = {0};
    enum vmt_status status = VMT_OK;
    bool unescape = true;
    for (size_t at = 0; status == VMT_OK && at < text->count;) {
        line.now.count = line.next.count = 0;
        for (bool more = true; more && status == VMT_OK && at < text->count; at++) {
            unescape = unescape && text->items[at] != '<';
            more = text->items[at] != '\n';
            status = vmt_codepoints_push(ctx, &line.now, text->items[at]);
        }
        if (status == VMT_OK)
            status = fix_line(ctx, &line, &before, unescape);
        for (size_t i = 0; status == VMT_OK && i < line.now.count; i++)
            status = vmt_codepoints_push(ctx, fixed, line.now.items[i]);
    }
    vmt_codepoints_free(&line.now);
    vmt_codepoints_free(&line.next);
    vmt_codepoints_free(&before);
    return status;
}

/* ---------------------------------------------------------------- the official cleaning */

/* Python's str.isspace, which \s and strip() follow. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* In place: ends stripped, every run of white space one blank. */
static void collapse_space(vmt_codepoints *text)
{
    size_t kept = 0;
    bool gap = false;
    for (size_t i = 0; i < text->count; i++) {
        if (is_space(text->items[i])) {
            gap = true;
            continue;
        }
        if (gap && kept)
            text->items[kept++] = ' ';
        gap = false;
        text->items[kept++] = text->items[i];
    }
    text->count = kept;
}

static enum vmt_status clean(vmt_ctx *ctx, vmt_codepoints *a, vmt_codepoints *b, const char *text,
                             size_t length)
{
    VMT_TRY(vmt_codepoints_decode(ctx, a, text, length));
    VMT_TRY(fix_text(ctx, b, a));
    a->count = 0;
    VMT_TRY(vmt_html_unescape(ctx, a, b));
    b->count = 0;
    VMT_TRY(vmt_html_unescape(ctx, b, a));
    collapse_space(b);
    return VMT_OK;
}

enum vmt_status vmt_text_clean(vmt_ctx *ctx, char **cleaned, const char *text, size_t length)
{
    *cleaned = NULL;
    if (length > VMT_PROMPT_BYTES)
        return vmt_fail(ctx, VMT_E_ARG, "the prompt has %zu bytes, at most %d are read; shorten it",
                        length, VMT_PROMPT_BYTES);
    vmt_codepoints a = {0}, b = {0};
    enum vmt_status status = clean(ctx, &a, &b, text, length);
    if (status == VMT_OK)
        status = vmt_codepoints_encode(ctx, cleaned, NULL, &b);
    vmt_codepoints_free(&a);
    vmt_codepoints_free(&b);
    return status;
}
