/* SPDX-License-Identifier: MIT
 *
 * Source: sentencepiece_model.proto (field numbers); protobuf's wire format; Darts-clone (units of
 * the double array).
 */
#include "text/spiece_check.h"

#include <string.h>

enum {
    MAX_PIECES = 1 << 20,
    MAX_PIECE_BYTES = 1024, /* the library's trie is built by recursion over a piece's bytes */
    MAX_USER_BYTES = 64,    /* it keeps at most 64 user symbols that are prefixes of each other */
    MAX_RULES = 32,         /* and 32 rules of the normaliser that are prefixes of each other */
    MAX_RULE_BYTES = 256,   /* text one rule may write: bounds what a prompt can grow to */
    MAX_CHARSMAP_BYTES = 4 << 20
};

typedef struct reader {
    vmt_ctx *ctx;
    const char *label;
    const unsigned char *start; /* of the file: messages give offsets into it */
    const unsigned char *at, *end;
} reader;

typedef struct field {
    uint64_t number; /* of the field */
    unsigned wire;   /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;  /* of a varint */
    reader bytes;    /* of wire type 2 */
} field;

static enum vmt_status fault(const reader *r, const char *what)
{
    return vmt_fail(r->ctx, VMT_E_FORMAT,
                    "%s: %s at byte %zu; this is not a whole SentencePiece model", r->label, what,
                    (size_t)(r->at - r->start));
}

static enum vmt_status read_varint(reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end)
            return fault(r, "a number is cut short");
        const unsigned char byte = *r->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return VMT_OK;
    }
    return fault(r, "a number is longer than ten bytes");
}

static enum vmt_status read_field(reader *r, field *f)
{
    uint64_t tag, size = 0;
    VMT_TRY(read_varint(r, &tag));
    *f = (field){.number = tag >> 3, .wire = tag & 7};
    if (f->number == 0 || f->number > 0x1fffffff)
        return fault(r, "a field has no valid number");
    if (f->wire == 0)
        return read_varint(r, &f->value);
    if (f->wire == 1)
        size = 8;
    else if (f->wire == 5)
        size = 4;
    else if (f->wire == 2)
        VMT_TRY(read_varint(r, &size));
    else
        return fault(r, "a field has an unknown wire type");
    if (size > (uint64_t)(r->end - r->at))
        return fault(r, "a field reaches past the end");
    f->bytes = *r;
    f->bytes.end = r->at + size;
    r->at += size;
    return VMT_OK;
}

/* ---------------------------------------------------------------- normaliser */

/* A double array: child c of the unit at p is at (p ^ offset) ^ c and carries c as its label; a
 * unit with a leaf has its value at (p ^ offset). */
typedef struct trie {
    uint32_t *units;
    uint32_t count;  /* units */
    uint8_t *chain;  /* of each unit: 1 + rules met at most from here on; 0: not yet known */
    uint32_t *stack; /* units on the way down; each appears once */
    uint16_t *child; /* of each: next child to look at */
} trie;

enum { IN_PROGRESS = 255 };
#define LABEL_BITS 0x800000ffu /* a leaf's value has the highest bit set, so it is no label */

static uint32_t unit_base(const trie *t, uint32_t at)
{
    const uint32_t unit = t->units[at];
    return at ^ ((unit >> 10) << ((unit & 0x200) >> 6));
}

static bool unit_has_leaf(uint32_t unit)
{
    return unit >> 8 & 1;
}

/* Every jump stays inside, and every value is inside the rules' text. */
static enum vmt_status check_units(const reader *r, const trie *t, size_t text_bytes)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const uint32_t unit = t->units[i];
        if (unit >> 31) {
            if ((unit & 0x7fffffff) >= text_bytes)
                return fault(r, "a normaliser rule points past its text");
        } else if ((unit_base(t, i) | 0xff) >= t->count) {
            return fault(r, "the normaliser's trie leaves its array");
        } else if (unit_has_leaf(unit) && !(t->units[unit_base(t, i)] >> 31)) {
            return fault(r, "a normaliser rule has no value");
        }
    }
    return VMT_OK;
}

/* Longest chain of rules from the root, by depth-first search without recursion.  Label 0 is never
 * followed: cleaned text holds no zero byte. */
static enum vmt_status check_chains(const reader *r, trie *t)
{
    uint32_t depth = 0;
    if (t->units[0] >> 31)
        return fault(r, "the normaliser's trie has no root");
    t->stack[0] = 0;
    t->child[0] = 1;
    t->chain[0] = IN_PROGRESS;
    for (;;) {
        const uint32_t at = t->stack[depth];
        const uint32_t base = unit_base(t, at);
        bool descend = false;
        while (t->child[at] < 256 && !descend) {
            const uint32_t label = t->child[at]++;
            const uint32_t next = base ^ label;
            if ((t->units[next] & LABEL_BITS) != label)
                continue;
            if (t->chain[next] == IN_PROGRESS)
                return fault(r, "the normaliser's trie runs in a circle");
            if (t->chain[next])
                continue;
            t->chain[next] = IN_PROGRESS;
            t->child[next] = 1;
            t->stack[++depth] = next;
            descend = true;
        }
        if (descend)
            continue;
        unsigned longest = 1;
        for (uint32_t label = 1; label < 256; label++)
            if ((t->units[base ^ label] & LABEL_BITS) == label &&
                t->chain[base ^ label] != IN_PROGRESS && t->chain[base ^ label] > longest)
                longest = t->chain[base ^ label];
        longest += unit_has_leaf(t->units[at]);
        if (longest > 1 + MAX_RULES)
            return fault(r, "too many normaliser rules begin alike");
        t->chain[at] = (uint8_t)longest;
        if (depth-- == 0)
            return VMT_OK;
    }
}

static enum vmt_status check_trie(const reader *r, const unsigned char *units, uint32_t count,
                                  size_t text_bytes)
{
    trie t = {.count = count};
    void *memory[4] = {NULL};
    enum vmt_status status = vmt_alloc(r->ctx, &memory[0], count, sizeof *t.units);
    if (status == VMT_OK)
        status = vmt_alloc(r->ctx, &memory[1], count, sizeof *t.chain);
    if (status == VMT_OK)
        status = vmt_alloc(r->ctx, &memory[2], count, sizeof *t.stack);
    if (status == VMT_OK)
        status = vmt_alloc(r->ctx, &memory[3], count, sizeof *t.child);
    if (status == VMT_OK) {
        t.units = memory[0];
        t.chain = memory[1];
        t.stack = memory[2];
        t.child = memory[3];
        memcpy(t.units, units, (size_t)count * sizeof *t.units);
        status = check_units(r, &t, text_bytes);
    }
    if (status == VMT_OK)
        status = check_chains(r, &t);
    for (int i = 0; i < 4; i++)
        vmt_free(memory[i]);
    return status;
}

/* <u32 bytes of the trie> <trie> <rules' texts, each ended by a NUL>; empty: no rules. */
static enum vmt_status check_charsmap(const reader *r)
{
    const size_t size = (size_t)(r->end - r->at);
    uint32_t trie_bytes;
    if (size == 0)
        return VMT_OK;
    if (size < sizeof trie_bytes || size > MAX_CHARSMAP_BYTES)
        return fault(r, "the normaliser's table has an impossible size");
    memcpy(&trie_bytes, r->at, sizeof trie_bytes);
    if (trie_bytes % 1024 != 0 || trie_bytes == 0 || trie_bytes >= size - sizeof trie_bytes)
        return fault(r, "the normaliser's trie has an impossible size");
    const unsigned char *text = r->at + sizeof trie_bytes + trie_bytes;
    const unsigned char *word = text;
    if (r->end[-1] != 0)
        return fault(r, "the normaliser's text is not ended");
    for (const unsigned char *p = text; p < r->end; p++) {
        if (p - word > MAX_RULE_BYTES)
            return fault(r, "a normaliser rule writes too much");
        word = *p ? word : p + 1;
    }
    return check_trie(r, r->at + sizeof trie_bytes, trie_bytes / 4, (size_t)(r->end - text));
}

/* ---------------------------------------------------------------- messages */

/* NormalizerSpec: 2 = precompiled_charsmap. */
static enum vmt_status check_normalizer(reader r)
{
    field f;
    while (r.at < r.end) {
        VMT_TRY(read_field(&r, &f));
        if (f.number == 2) {
            if (f.wire != 2)
                return fault(&r, "the normaliser's table is no bytes");
            VMT_TRY(check_charsmap(&f.bytes));
        }
    }
    return VMT_OK;
}

/* TrainerSpec: 3 = model_type, 1 unigram to 4 characters. */
static enum vmt_status check_trainer(reader r)
{
    field f;
    while (r.at < r.end) {
        VMT_TRY(read_field(&r, &f));
        if (f.number == 3 && (f.wire != 0 || f.value < 1 || f.value > 4))
            return fault(&r, "the model is of an unknown type");
    }
    return VMT_OK;
}

/* SentencePiece: 1 = piece, 2 = score, 3 = type (4: defined by the user). */
static enum vmt_status check_piece(reader r)
{
    field f;
    int64_t bytes = 0;
    bool user = false;
    while (r.at < r.end) {
        VMT_TRY(read_field(&r, &f));
        if (f.number == 1) {
            if (f.wire != 2)
                return fault(&r, "a piece is no text");
            bytes = f.bytes.end - f.bytes.at;
            if (bytes > MAX_PIECE_BYTES || (bytes && memchr(f.bytes.at, 0, (size_t)bytes)))
                return fault(&r, "a piece is too long or holds a zero byte");
        }
        user = user || (f.number == 3 && f.value == 4);
    }
    if (bytes == 0 || (user && bytes > MAX_USER_BYTES))
        return fault(&r, "a piece is empty or too long");
    return VMT_OK;
}

/* ModelProto: 1 = pieces, 2 = trainer_spec, 3 = normalizer_spec. */
static enum vmt_status copy_checked(reader r, unsigned char *out, size_t *out_bytes)
{
    int64_t pieces = 0;
    field f;
    while (r.at < r.end) {
        const unsigned char *from = r.at;
        VMT_TRY(read_field(&r, &f));
        if (f.number < 1 || f.number > 3)
            continue;
        if (f.wire != 2)
            return fault(&r, "a part of the model is no message");
        if (f.number == 1 && ++pieces > MAX_PIECES)
            return fault(&r, "more than a million pieces");
        VMT_TRY(f.number == 1   ? check_piece(f.bytes)
                : f.number == 2 ? check_trainer(f.bytes)
                                : check_normalizer(f.bytes));
        memcpy(out + *out_bytes, from, (size_t)(r.at - from));
        *out_bytes += (size_t)(r.at - from);
    }
    return pieces ? VMT_OK : fault(&r, "no pieces");
}

enum vmt_status vmt_spiece_check(vmt_ctx *ctx, void **model, size_t *model_bytes, const void *bytes,
                                 size_t length, const char *label)
{
    *model = NULL;
    *model_bytes = 0;
    if (length > VMT_SPIECE_BYTES)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: %zu bytes; a SentencePiece model has at most %d",
                        label, length, VMT_SPIECE_BYTES);
    VMT_TRY(vmt_alloc(ctx, model, length, 1));
    const reader r = {ctx, label, bytes, bytes, (const unsigned char *)bytes + length};
    const enum vmt_status status = copy_checked(r, *model, model_bytes);
    if (status != VMT_OK) {
        vmt_free(*model);
        *model = NULL;
    }
    return status;
}
