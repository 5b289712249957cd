/* SPDX-License-Identifier: MIT */
#include "text/codepoints.h"

#include <assert.h>
#include <string.h>

void vmt_codepoints_free(vmt_codepoints *text)
{
    vmt_free(text->items);
    *text = (vmt_codepoints){0};
}

enum vmt_status vmt_codepoints_push(vmt_ctx *ctx, vmt_codepoints *text, uint32_t code)
{
    if (text->count == text->capacity) {
        const size_t capacity = text->capacity ? 2 * text->capacity : 256;
        void *items;
        VMT_TRY(vmt_alloc(ctx, &items, capacity, sizeof *text->items));
        if (text->count)
            memcpy(items, text->items, text->count * sizeof *text->items);
        vmt_free(text->items);
        text->items = items;
        text->capacity = capacity;
    }
    text->items[text->count++] = code;
    return VMT_OK;
}

/* Reads one character of at most `left` bytes; 0 bytes when it is not UTF-8.  The smallest value of
 * each length excludes overlong forms. */
static size_t decode_one(uint32_t *code, const unsigned char *bytes, size_t left)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned first = bytes[0];
    const size_t size = first < 0x80             ? 1
                        : (first & 0xe0) == 0xc0 ? 2
                        : (first & 0xf0) == 0xe0 ? 3
                        : (first & 0xf8) == 0xf0 ? 4
                                                 : 0;
    if (size == 0 || size > left)
        return 0;
    uint32_t value = size == 1 ? first : first & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (value < smallest[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return size;
}

enum vmt_status vmt_codepoints_decode(vmt_ctx *ctx, vmt_codepoints *text, const char *bytes,
                                      size_t length)
{
    const unsigned char *in = (const unsigned char *)bytes;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        const size_t size = decode_one(&code, in + at, length - at);
        if (size == 0)
            return vmt_fail(ctx, VMT_E_ARG,
                            "text is not UTF-8: byte %zu of %zu is 0x%02x; convert it to UTF-8", at,
                            length, in[at]);
        VMT_TRY(vmt_codepoints_push(ctx, text, code));
        at += size;
    }
    return VMT_OK;
}

static char *encode_one(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    const int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *out++ = (char)((0xf00u >> (tail + 1) & 0xff) | code >> (6 * tail));
    for (int i = tail - 1; i >= 0; i--)
        *out++ = (char)(0x80 | (code >> (6 * i) & 0x3f));
    return out;
}

enum vmt_status vmt_codepoints_encode(vmt_ctx *ctx, char **bytes, size_t *length,
                                      const vmt_codepoints *text)
{
    void *memory;
    VMT_TRY(vmt_alloc(ctx, &memory, text->count + 1, 4));
    char *end = memory;
    for (size_t i = 0; i < text->count; i++) {
        assert(text->items[i] <= 0x10ffff && (text->items[i] & 0x1ff800) != 0xd800);
        end = encode_one(end, text->items[i]);
    }
    *end = '\0';
    *bytes = memory;
    if (length)
        *length = (size_t)(end - *bytes);
    return VMT_OK;
}
