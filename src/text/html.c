/* SPDX-License-Identifier: MIT
 *
 * Source: HTML5, "Numeric character reference end state" and "Named character references";
 * Python's html.unescape for what happens to text that is almost a reference.
 */
#include "text/html.h"

#include <string.h>

enum { REPLACEMENT = 0xfffd, CODE_MAX = 0x10ffff, STRICT_CHARS = 24 };

uint32_t vmt_windows_1252(uint32_t code)
{
    static const uint16_t table[32] = {
        0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178};
    return code >= 0x80 && code <= 0x9f ? table[code - 0x80] : code;
}

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* 0..15, or 16 for anything else. */
static uint32_t hex_value(uint32_t c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* The entry whose name is exactly the `count` characters, or NULL. */
static const vmt_html_entity *find_name(const vmt_html_entity *table, size_t entries,
                                        const uint32_t *name, size_t count)
{
    char key[VMT_HTML_NAME_CHARS + 1];
    if (count > VMT_HTML_NAME_CHARS)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (name[i] == 0 || name[i] > 0x7f)
            return NULL;
        key[i] = (char)name[i];
    }
    key[count] = '\0';
    for (size_t low = 0, high = entries; low < high;) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(key, table[middle].name);
        if (order == 0)
            return &table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static enum vmt_status push_entity(vmt_ctx *ctx, vmt_codepoints *out, const vmt_html_entity *entity)
{
    for (size_t i = 0; i < VMT_HTML_TEXT_CHARS && entity->text[i]; i++)
        VMT_TRY(vmt_codepoints_push(ctx, out, entity->text[i]));
    return VMT_OK;
}

static enum vmt_status push_all(vmt_ctx *ctx, vmt_codepoints *out, const uint32_t *codes,
                                size_t count)
{
    for (size_t i = 0; i < count; i++)
        VMT_TRY(vmt_codepoints_push(ctx, out, codes[i]));
    return VMT_OK;
}

/* The character of a numeric reference; false: it stands for nothing. */
static bool numeric_character(uint32_t *code, uint32_t number)
{
    *code = vmt_windows_1252(number);
    if (number >= 0x80 && number <= 0x9f)
        return true;
    if (number == 0 || number > CODE_MAX || (number >= 0xd800 && number <= 0xdfff)) {
        *code = REPLACEMENT;
        return true;
    }
    return !(number <= 0x08 || number == 0x0b || (number >= 0x0e && number <= 0x1f) ||
             number == 0x7f || (number >= 0xfdd0 && number <= 0xfdef) ||
             (number & 0xfffe) == 0xfffe);
}

/* Length of the numeric reference at text[0] = '&', its semicolon included; 0: there is none.
 * *number saturates above CODE_MAX. */
static size_t numeric_length(uint32_t *number, const uint32_t *text, size_t left)
{
    if (left < 3 || text[1] != '#')
        return 0;
    const uint32_t base = text[2] == 'x' || text[2] == 'X' ? 16 : 10;
    const size_t first = base == 16 ? 3 : 2;
    size_t at = first;
    for (*number = 0; at < left && hex_value(text[at]) < base; at++)
        if (*number <= CODE_MAX)
            *number = *number * base + hex_value(text[at]);
    if (at == first)
        return 0;
    return at < left && text[at] == ';' ? at + 1 : at;
}

/* Up to 32 characters that may be a name, and a semicolon after them; 0: there is none. */
static size_t name_length(const uint32_t *text, size_t left)
{
    size_t at = 1;
    while (at < left && at <= VMT_HTML_NAME_CHARS && text[at] != '\t' && text[at] != '\n' &&
           text[at] != '\f' && text[at] != ' ' && text[at] != '<' && text[at] != '&' &&
           text[at] != '#' && text[at] != ';')
        at++;
    if (at == 1)
        return 0;
    return at < left && text[at] == ';' ? at + 1 : at;
}

/* text: "&name" or "&name;", whole.  A prefix of one character never counts. */
static enum vmt_status push_name(vmt_ctx *ctx, vmt_codepoints *out, const uint32_t *text,
                                 size_t count)
{
    const uint32_t *name = text + 1;
    for (size_t used = count - 1; used >= 1; used--) {
        if (used == 1 && count - 1 > 1)
            break;
        const vmt_html_entity *entity = find_name(vmt_html_names, vmt_html_names_count, name, used);
        if (entity) {
            VMT_TRY(push_entity(ctx, out, entity));
            return push_all(ctx, out, name + used, count - 1 - used);
        }
    }
    return push_all(ctx, out, text, count);
}

enum vmt_status vmt_html_unescape(vmt_ctx *ctx, vmt_codepoints *out, const vmt_codepoints *text)
{
    for (size_t at = 0; at < text->count;) {
        const uint32_t *here = text->items + at;
        const size_t left = text->count - at;
        uint32_t number, code;
        size_t used = *here == '&' ? numeric_length(&number, here, left) : 0;
        if (used) {
            if (numeric_character(&code, number))
                VMT_TRY(vmt_codepoints_push(ctx, out, code));
        } else if (*here == '&' && (used = name_length(here, left)) > 0) {
            VMT_TRY(push_name(ctx, out, here, used));
        } else {
            VMT_TRY(vmt_codepoints_push(ctx, out, *here));
            used = 1;
        }
        at += used;
    }
    return VMT_OK;
}

/* Length of "&name;" or "&#digits;" at text[0] = '&', or 0. */
static size_t strict_length(const uint32_t *text, size_t left)
{
    const size_t first = left > 1 && text[1] == '#' ? 2 : 1;
    size_t at = first;
    while (at < left && at - first < STRICT_CHARS && (is_digit(text[at]) || is_letter(text[at])))
        at++;
    return at > first && at < left && text[at] == ';' ? at + 1 : 0;
}

/* Replaces the reference "&…;" if it is one; *done tells. */
static enum vmt_status push_strict(vmt_ctx *ctx, vmt_codepoints *out, const uint32_t *text,
                                   size_t count, bool *done)
{
    *done = true;
    if (text[1] == '#') {
        uint32_t number, code;
        const bool whole = numeric_length(&number, text, count) == count;
        if (whole && !numeric_character(&code, number))
            return VMT_OK;
        /* ftfy looks for a semicolon in what came out: "&#59;" counts as not understood. */
        if (whole && code != ';')
            return vmt_codepoints_push(ctx, out, code);
    } else {
        const vmt_html_entity *entity =
            find_name(vmt_html_names, vmt_html_names_count, text + 1, count - 1);
        if (!entity)
            entity =
                find_name(vmt_html_upper_names, vmt_html_upper_names_count, text + 1, count - 1);
        if (entity)
            return push_entity(ctx, out, entity);
    }
    *done = false;
    return VMT_OK;
}

enum vmt_status vmt_html_unescape_strict(vmt_ctx *ctx, vmt_codepoints *out,
                                         const vmt_codepoints *text)
{
    for (size_t at = 0; at < text->count;) {
        const uint32_t *here = text->items + at;
        const size_t used = *here == '&' ? strict_length(here, text->count - at) : 0;
        bool done = false;
        if (used)
            VMT_TRY(push_strict(ctx, out, here, used, &done));
        if (!done)
            VMT_TRY(push_all(ctx, out, here, used ? used : 1));
        at += used ? used : 1;
    }
    return VMT_OK;
}
