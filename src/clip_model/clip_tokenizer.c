/* SPDX-License-Identifier: MIT */
#include "clip_model/clip_tokenizer.h"

#include "base/json.h"
#include "base/mapped_file.h"
#include "text/clean.h"
#include "text/codepoints.h"

#include <utf8proc.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TOKENS = 1 << 20, TOKEN_BYTES = 1024 };

static const char end_of_word[] = "</w>";

/* A hash table of whole numbers; key 0 is none. */
typedef struct table_entry {
    uint64_t key;
    int32_t rank, id;
} table_entry;

typedef struct word_entry {
    const char *text; /* of the JSON */
    int32_t id;
} word_entry;

struct vmt_clip_tokenizer {
    cJSON *root;
    word_entry *words;              /* open addressing, by text */
    table_entry *merges;            /* by pair of ids */
    size_t word_slots, merge_slots; /* powers of two, at least twice the number of items */
    int32_t bytes[2][256];          /* ids of single bytes; [1] at the end of a word */
    int32_t begin, end;
};

static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h ^ (h >> 29);
}

static uint64_t hash_pair(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return key ^ (key >> 32);
}

static size_t slots_for(size_t count)
{
    size_t slots = 16;

    while (slots < 2 * count + 2)
        slots *= 2;
    return slots;
}

/* The slot that holds a text, or the free one where it belongs. */
static word_entry *word_slot(const vmt_clip_tokenizer *t, const char *text, size_t length)
{
    size_t i = hash_text(text, length) & (t->word_slots - 1);

    while (t->words[i].text &&
           (strncmp(t->words[i].text, text, length) || t->words[i].text[length]))
        i = (i + 1) & (t->word_slots - 1);
    return &t->words[i];
}

static int32_t word_id(const vmt_clip_tokenizer *t, const char *text, size_t length)
{
    const word_entry *w = word_slot(t, text, length);

    return w->text ? w->id : -1;
}

static uint64_t pair_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static table_entry *merge_slot(const vmt_clip_tokenizer *t, uint64_t key)
{
    size_t i = hash_pair(key) & (t->merge_slots - 1);

    while (t->merges[i].key && t->merges[i].key != key)
        i = (i + 1) & (t->merge_slots - 1);
    return &t->merges[i];
}

/* ---- tables */

static enum vmt_status take_words(vmt_ctx *ctx, vmt_clip_tokenizer *t, const cJSON *vocab,
                                  const char *label)
{
    const cJSON *item;
    size_t count = 0;

    if (!cJSON_IsObject(vocab))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no vocabulary", label);
    cJSON_ArrayForEach(item, vocab) count++;
    if (count > MOST_TOKENS)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: a vocabulary of %zu tokens", label, count);
    t->word_slots = slots_for(count);
    VMT_TRY(vmt_alloc(ctx, (void **)&t->words, t->word_slots, sizeof *t->words));
    cJSON_ArrayForEach(item, vocab)
    {
        int64_t id;
        if (!vmt_json_int(item, &id) || id < 0 || id >= MOST_TOKENS ||
            strlen(item->string) >= TOKEN_BYTES)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: token '%.40s' has no id from 0 to %d", label,
                            item->string, MOST_TOKENS - 1);
        *word_slot(t, item->string, strlen(item->string)) = (word_entry){item->string, (int32_t)id};
    }
    return VMT_OK;
}

/* UTF-8 of the letter that stands for a byte in the tables: itself where it is printable in
 * Latin-1, else the next free one from 256 on. */
static size_t byte_letter(char letter[4], int byte)
{
    int code = byte, free_code = 256;

    for (int b = 0; b <= byte; b++) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        code = printable ? b : free_code++;
    }
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)letter);
}

static enum vmt_status take_bytes(vmt_ctx *ctx, vmt_clip_tokenizer *t, const char *label)
{
    for (int b = 0; b < 256; b++) {
        char text[16];
        const size_t length = byte_letter(text, b);
        memcpy(text + length, end_of_word, sizeof end_of_word);
        t->bytes[0][b] = word_id(t, text, length);
        t->bytes[1][b] = word_id(t, text, strlen(text));
        if (t->bytes[0][b] < 0 || t->bytes[1][b] < 0)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: no token for byte %d", label, b);
    }
    t->begin = word_id(t, "<|startoftext|>", strlen("<|startoftext|>"));
    t->end = word_id(t, "<|endoftext|>", strlen("<|endoftext|>"));
    if (t->begin < 0 || t->end < 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no token <|startoftext|> or <|endoftext|>", label);
    return VMT_OK;
}

static enum vmt_status add_merge(vmt_ctx *ctx, vmt_clip_tokenizer *t, const char *left,
                                 size_t left_length, const char *right, size_t right_length,
                                 int32_t rank, const char *label)
{
    char both[2 * TOKEN_BYTES];

    if (!left_length || !right_length || left_length >= TOKEN_BYTES || right_length >= TOKEN_BYTES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: merge %d is not two tokens", label, rank + 1);
    memcpy(both, left, left_length);
    memcpy(both + left_length, right, right_length);
    const int32_t a = word_id(t, left, left_length), b = word_id(t, right, right_length);
    const int32_t merged = word_id(t, both, left_length + right_length);
    if (a < 0 || b < 0 || merged < 0)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: merge %d: not in the vocabulary: %.*s", label,
                        rank + 1, (int)(left_length + right_length), both);
    table_entry *slot = merge_slot(t, pair_key(a, b));
    if (!slot->key) /* of two equal ones the first counts */
        *slot = (table_entry){pair_key(a, b), rank, merged};
    return VMT_OK;
}

static enum vmt_status merges_memory(vmt_ctx *ctx, vmt_clip_tokenizer *t, size_t count,
                                     const char *label)
{
    if (count > MOST_TOKENS)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %zu merges", label, count);
    t->merge_slots = slots_for(count);
    return vmt_alloc(ctx, (void **)&t->merges, t->merge_slots, sizeof *t->merges);
}

/* merges.txt: a line each, "left right"; the first may be a comment. */
static enum vmt_status take_merge_lines(vmt_ctx *ctx, vmt_clip_tokenizer *t, const char *text,
                                        size_t length, const char *label)
{
    const char *end = text + length;
    size_t lines = 1;
    int32_t rank = 0;

    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    VMT_TRY(merges_memory(ctx, t, lines, label));
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((stop ? stop : end) - text);
        if (line && text[line - 1] == '\r')
            line--;
        const char *space = memchr(text, ' ', line);
        const bool comment = !rank && line >= 8 && !memcmp(text, "#version", 8);
        if (line && !comment) {
            if (!space)
                return vmt_fail(ctx, VMT_E_FORMAT, "%s: merge %d is not two tokens", label,
                                rank + 1);
            VMT_TRY(add_merge(ctx, t, text, (size_t)(space - text), space + 1,
                              line - (size_t)(space - text) - 1, rank, label));
            rank++;
        }
        text = stop ? stop + 1 : end;
    }
    return VMT_OK;
}

/* tokenizer.json: "left right" or ["left", "right"]. */
static enum vmt_status take_merge_array(vmt_ctx *ctx, vmt_clip_tokenizer *t, const cJSON *merges,
                                        const char *label)
{
    const cJSON *item;
    int32_t rank = 0;

    if (!cJSON_IsArray(merges))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no merges", label);
    VMT_TRY(merges_memory(ctx, t, (size_t)cJSON_GetArraySize(merges), label));
    cJSON_ArrayForEach(item, merges)
    {
        const cJSON *a = cJSON_IsArray(item) ? item->child : NULL, *b = a ? a->next : NULL;
        const char *left = cJSON_GetStringValue(a), *right = cJSON_GetStringValue(b);
        const char *line = cJSON_GetStringValue(item), *space = line ? strchr(line, ' ') : NULL;
        if (left && right)
            VMT_TRY(add_merge(ctx, t, left, strlen(left), right, strlen(right), rank, label));
        else if (space)
            VMT_TRY(add_merge(ctx, t, line, (size_t)(space - line), space + 1, strlen(space + 1),
                              rank, label));
        else
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: merge %d is not two tokens", label, rank + 1);
        rank++;
    }
    return VMT_OK;
}

static enum vmt_status fill(vmt_ctx *ctx, vmt_clip_tokenizer *t, const void *json,
                            size_t json_length, const char *merges, size_t merges_length,
                            const char *label)
{
    VMT_TRY(vmt_json_parse(ctx, &t->root, json, json_length, label));
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(t->root, "model");
    const cJSON *vocab = merges ? t->root : cJSON_GetObjectItemCaseSensitive(model, "vocab");
    VMT_TRY(take_words(ctx, t, vocab, label));
    VMT_TRY(take_bytes(ctx, t, label));
    return merges
               ? take_merge_lines(ctx, t, merges, merges_length, label)
               : take_merge_array(ctx, t, cJSON_GetObjectItemCaseSensitive(model, "merges"), label);
}

enum vmt_status vmt_clip_tokenizer_parse(vmt_ctx *ctx, vmt_clip_tokenizer **tokenizer,
                                         const void *json, size_t json_length, const void *merges,
                                         size_t merges_length, const char *label)
{
    *tokenizer = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)tokenizer, 1, sizeof **tokenizer));
    const enum vmt_status status =
        fill(ctx, *tokenizer, json, json_length, merges, merges_length, label);
    if (status != VMT_OK) {
        vmt_clip_tokenizer_close(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

enum vmt_status vmt_clip_tokenizer_open(vmt_ctx *ctx, vmt_clip_tokenizer **tokenizer,
                                        const char *folder)
{
    char vocab[4096], merges[4096];
    vmt_mapped_file json, lines = {0};

    *tokenizer = NULL;
    snprintf(vocab, sizeof vocab, "%s/vocab.json", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    const bool pair = !access(vocab, F_OK) && !access(merges, F_OK);
    if (!pair)
        snprintf(vocab, sizeof vocab, "%s/tokenizer.json", folder);
    VMT_TRY(vmt_mapped_file_open(ctx, &json, vocab));
    enum vmt_status status = pair ? vmt_mapped_file_open(ctx, &lines, merges) : VMT_OK;
    if (status == VMT_OK)
        status = vmt_clip_tokenizer_parse(ctx, tokenizer, json.bytes, json.length, lines.bytes,
                                          lines.length, pair ? merges : vocab);
    if (status == VMT_OK || lines.bytes)
        if (pair)
            vmt_mapped_file_close(&lines);
    vmt_mapped_file_close(&json);
    return status;
}

void vmt_clip_tokenizer_close(vmt_clip_tokenizer *t)
{
    if (!t)
        return;
    cJSON_Delete(t->root);
    vmt_free(t->words);
    vmt_free(t->merges);
    vmt_free(t);
}

/* ---- text */

enum letter { SPACE, LETTER, DIGIT, OTHER };

static enum letter kind_of(uint32_t code)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);

    if (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO)
        return LETTER;
    if (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO)
        return DIGIT;
    if (c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP ||
        (code >= 9 && code <= 13) || (code >= 28 && code <= 31) || code == 133)
        return SPACE;
    return OTHER;
}

/* Code points of the word that begins at `at`: 's 't 're 've 'm 'll 'd, letters, one digit, or a
 * run of anything else but spaces. */
static size_t word_length(const vmt_codepoints *text, size_t at)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    const uint32_t *c = text->items + at;
    const size_t left = text->count - at;
    const enum letter kind = kind_of(c[0]);
    size_t n = 1;

    for (size_t i = 0; c[0] == '\'' && i < sizeof endings / sizeof *endings; i++) {
        const size_t length = strlen(endings[i]);
        if (left > length && c[1] == (unsigned char)endings[i][0] &&
            (length == 1 || c[2] == (unsigned char)endings[i][1]))
            return length + 1;
    }
    while (kind != DIGIT && n < left && kind_of(c[n]) == kind)
        n++;
    return n;
}

/* Joins the pair of lowest rank, everywhere, until there is none. */
static size_t join(const vmt_clip_tokenizer *t, int32_t *ids, size_t count)
{
    for (;;) {
        const table_entry *best = NULL;
        for (size_t i = 0; i + 1 < count; i++) {
            const table_entry *m = merge_slot(t, pair_key(ids[i], ids[i + 1]));
            if (m->key && (!best || m->rank < best->rank))
                best = m;
        }
        if (!best)
            return count;
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            const bool here = i + 1 < count && pair_key(ids[i], ids[i + 1]) == best->key;
            ids[kept++] = here ? best->id : ids[i];
            i += here;
        }
        count = kept;
    }
}

static enum vmt_status encode_words(vmt_ctx *ctx, const vmt_clip_tokenizer *t, int32_t *ids,
                                    int64_t *count, int64_t most, const vmt_codepoints *text)
{
    int32_t word[4 * VMT_CLIP_TEXT_BYTES];

    for (size_t at = 0; at < text->count && *count < most - 1;) {
        if (kind_of(text->items[at]) == SPACE) {
            at++;
            continue;
        }
        const size_t length = word_length(text, at);
        size_t symbols = 0;
        for (size_t i = 0; i < length; i++) {
            utf8proc_uint8_t bytes[4];
            const utf8proc_ssize_t n =
                utf8proc_encode_char((utf8proc_int32_t)text->items[at + i], bytes);
            for (utf8proc_ssize_t b = 0; b < n; b++) {
                if (symbols == sizeof word / sizeof *word)
                    return vmt_fail(ctx, VMT_E_ARG, "a word of the prompt is too long for CLIP");
                word[symbols++] = t->bytes[i + 1 == length && b + 1 == n][bytes[b]];
            }
        }
        symbols = join(t, word, symbols);
        for (size_t i = 0; i < symbols && *count < most - 1; i++)
            ids[(*count)++] = word[i];
        at += length;
    }
    return VMT_OK;
}

enum vmt_status vmt_clip_tokenizer_encode(vmt_ctx *ctx, const vmt_clip_tokenizer *t, int32_t *ids,
                                          int64_t *count, int64_t most, const char *text)
{
    vmt_codepoints codes = {0};
    char *cleaned;

    *count = 0;
    if (strlen(text) > VMT_CLIP_TEXT_BYTES)
        return vmt_fail(ctx, VMT_E_ARG, "a prompt of %zu bytes; CLIP takes up to %d", strlen(text),
                        VMT_CLIP_TEXT_BYTES);
    VMT_TRY(vmt_text_clean(ctx, &cleaned, text, strlen(text)));
    enum vmt_status status = vmt_codepoints_decode(ctx, &codes, cleaned, strlen(cleaned));
    vmt_free(cleaned);
    for (size_t i = 0; status == VMT_OK && i < codes.count; i++)
        codes.items[i] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)codes.items[i]);
    ids[(*count)++] = t->begin;
    if (status == VMT_OK)
        status = encode_words(ctx, t, ids, count, most, &codes);
    ids[(*count)++] = t->end;
    vmt_codepoints_free(&codes);
    return status;
}
