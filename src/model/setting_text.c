/* SPDX-License-Identifier: MIT */
#include "model/setting_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 100000 };

static bool parse_number(const char **text, int64_t low, int64_t high, int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(*text, &end, 10);
    if (end == *text || errno || *value < low || *value > high)
        return false;
    *text = end;
    return true;
}

bool vmt_extent_parse(const char *text, int32_t low, int32_t extent[3])
{
    for (int a = 0; a < 3; a++) {
        int64_t value;
        if (!parse_number(&text, low, MOST_TOKENS, &value))
            return false;
        if (*text == '%' && (value < 1 || value > 100))
            return false;
        extent[a] = (int32_t)(*text == '%' ? -value : value);
        text += *text == '%';
        if (*text != (a < 2 ? ',' : '\0'))
            return false;
        text++;
    }
    return true;
}

int vmt_extent_print(char *text, size_t size, const int32_t extent[3])
{
    const char *share[3];
    int32_t value[3];

    for (int a = 0; a < 3; a++) {
        share[a] = extent[a] < 0 ? "%" : "";
        value[a] = extent[a] < 0 ? -extent[a] : extent[a];
    }
    return snprintf(text, size, "%" PRId32 "%s,%" PRId32 "%s,%" PRId32 "%s", value[0], share[0],
                    value[1], share[1], value[2], share[2]);
}

/* Number of the word in `all`, or -1. */
static int word_at(const char *word, size_t length, const char *all)
{
    for (int i = 0; *all; i++) {
        const size_t own = strcspn(all, ",");
        if (own == length && !memcmp(all, word, length))
            return i;
        all += own + (all[own] == ',');
    }
    return -1;
}

bool vmt_words_parse(const char *text, const char *all, int32_t *bits)
{
    *bits = 0;
    for (;;) {
        const size_t length = strcspn(text, ",");
        const int word = word_at(text, length, all);
        if (word < 0)
            return false;
        *bits |= 1 << word;
        if (!text[length])
            return true;
        text += length + 1;
    }
}

int vmt_words_print(char *text, size_t size, const char *all, int32_t bits)
{
    int used = 0;

    text[0] = '\0';
    for (int i = 0; *all; i++) {
        const int length = (int)strcspn(all, ",");
        if (bits >> i & 1)
            used += snprintf(text + used, size > (size_t)used ? size - (size_t)used : 0, "%s%.*s",
                             used ? "," : "", length, all);
        all += length + (all[length] == ',');
    }
    return used;
}

bool vmt_range_parse(const char *text, int32_t low, int32_t high, int32_t range[2])
{
    int64_t first, last;

    if (!parse_number(&text, low, high, &first))
        return false;
    last = first;
    if (*text == '-') {
        text++;
        if (!parse_number(&text, first, high, &last))
            return false;
    }
    range[0] = (int32_t)first;
    range[1] = (int32_t)last;
    return !*text;
}
