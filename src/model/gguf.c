/* SPDX-License-Identifier: MIT */
#include "model/gguf.h"

#include "base/half.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TENSORS = 1 << 20,
    MAX_KEYS = 4096,
    MAX_NAME = 1024,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32
};

/* Types of metadata. */
enum { U8, I8, U16, I16, U32, I32, REAL32, BOOL, TEXT, LIST, U64, I64, REAL64, KINDS };
static const unsigned char KIND_BYTES[KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const struct {
    uint32_t number;
    enum vmt_dtype dtype;
} TYPES[] = {{0, VMT_F32},   {1, VMT_F16},   {2, VMT_Q4_0},  {8, VMT_Q8_0},
             {12, VMT_Q4_K}, {13, VMT_Q5_K}, {14, VMT_Q6_K}, {26, VMT_I32},
             {27, VMT_I64},  {28, VMT_F64},  {30, VMT_BF16}};
enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

/* Names of types that exist and are not read. */
static const char *const OTHERS[] = {
    [3] = "Q4_1",   [6] = "Q5_0",    [7] = "Q5_1",     [9] = "Q8_1",    [10] = "Q2_K",
    [11] = "Q3_K",  [15] = "Q8_K",   [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
    [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",   [22] = "IQ2_S",  [23] = "IQ4_XS",
    [24] = "I8",    [25] = "I16",    [29] = "IQ1_M",   [34] = "TQ1_0",  [35] = "TQ2_0",
    [39] = "MXFP4"};

int vmt_gguf_type(enum vmt_dtype dtype)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (TYPES[i].dtype == dtype)
            return (int)TYPES[i].number;
    return -1;
}

bool vmt_gguf_looks(const unsigned char *bytes, size_t length)
{
    return length >= 4 && memcmp(bytes, "GGUF", 4) == 0;
}

/* ---------------------------------------------------------------- bytes */

/* What is left to read of the header. */
typedef struct reader {
    vmt_ctx *ctx;
    vmt_tensor_file *file;
    const char *label;
    const unsigned char *bytes;
    size_t length, at; /* at <= length */
    uint64_t alignment;
} reader;

static enum vmt_status need(reader *r, uint64_t bytes, const char *what)
{
    if (bytes <= r->length - r->at)
        return VMT_OK;
    return vmt_fail(r->ctx, VMT_E_FORMAT,
                    "%s: %s at byte %zu takes %" PRIu64 " bytes of %zu: the file is truncated",
                    r->label, what, r->at, bytes, r->length);
}

/* Little-endian, of up to 8 bytes, which are there. */
static uint64_t take(reader *r, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = bytes; i > 0; i--)
        value = value << 8 | r->bytes[r->at + i - 1];
    r->at += bytes;
    return value;
}

static enum vmt_status read_number(reader *r, size_t bytes, const char *what, uint64_t *value)
{
    VMT_TRY(need(r, bytes, what));
    *value = take(r, bytes);
    return VMT_OK;
}

/* A text's bytes, in the file. */
static enum vmt_status read_text(reader *r, const char *what, const char **text, size_t *length)
{
    uint64_t count;

    VMT_TRY(read_number(r, 8, what, &count));
    VMT_TRY(need(r, count, what));
    *text = (const char *)r->bytes + r->at;
    *length = (size_t)count;
    r->at += (size_t)count;
    return VMT_OK;
}

/* A text as a name: short, without NUL. */
static enum vmt_status read_name(reader *r, const char *what, char name[MAX_NAME + 1])
{
    const char *text;
    size_t length;

    VMT_TRY(read_text(r, what, &text, &length));
    if (length == 0 || length > MAX_NAME || memchr(text, 0, length))
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: %s of %zu bytes, expected 1 to %d and no zero among them", r->label,
                        what, length, (int)MAX_NAME);
    memcpy(name, text, length);
    name[length] = '\0';
    return VMT_OK;
}

/* ---------------------------------------------------------------- metadata */

static int64_t signed_of(uint64_t value, size_t bytes)
{
    const unsigned shift = 64 - 8 * (unsigned)bytes;
    return (int64_t)(value << shift) >> shift;
}

static void number_text(char text[64], uint32_t kind, uint64_t value)
{
    double wide;

    memcpy(&wide, &value, sizeof wide);
    if (kind == REAL32 || kind == REAL64)
        snprintf(text, 64, "%.9g",
                 kind == REAL64 ? wide : (double)vmt_f32_of_bits((uint32_t)value));
    else if (kind == I8 || kind == I16 || kind == I32 || kind == I64)
        snprintf(text, 64, "%" PRId64, signed_of(value, KIND_BYTES[kind]));
    else
        snprintf(text, 64, "%" PRIu64, value);
}

static enum vmt_status add_meta(reader *r, const char *key, const char *value)
{
    static const char own[] = "fastvmt.";
    const size_t skip = strncmp(key, own, sizeof own - 1) == 0 ? sizeof own - 1 : 0;

    if (vmt_table_find_meta(r->file, key + skip) >= 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: metadata key '%.200s' is there twice", r->label,
                        key);
    return vmt_table_add_meta(r->ctx, r->file, key + skip, value);
}

/* Texts longer than a name (templates, licences) are passed over. */
static enum vmt_status read_text_value(reader *r, const char *key)
{
    char value[MAX_NAME + 1];
    const char *text;
    size_t length;

    VMT_TRY(read_text(r, "a text of the metadata", &text, &length));
    if (length > MAX_NAME || memchr(text, 0, length))
        return VMT_OK;
    memcpy(value, text, length);
    value[length] = '\0';
    return add_meta(r, key, value);
}

/* Lists are passed over, but for a tensor's true shape: kept as "2 3 4". */
static enum vmt_status read_list(reader *r, const char *key)
{
    uint64_t kind, count;
    const char *text;
    size_t length;
    char shape[VMT_MAX_RANK * 24] = "";

    VMT_TRY(read_number(r, 4, "a list of the metadata", &kind));
    VMT_TRY(read_number(r, 8, "a list of the metadata", &count));
    if (kind >= KINDS || kind == LIST)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: metadata key '%.200s' is a list of type %" PRIu64
                        ", expected 0 to 12 and no list",
                        r->label, key, kind);
    if (kind == TEXT) {
        for (uint64_t i = 0; i < count; i++)
            VMT_TRY(read_text(r, "a list of the metadata", &text, &length));
        return VMT_OK;
    }
    if (count > SIZE_MAX / 8)
        count = SIZE_MAX / 8;
    VMT_TRY(need(r, count * KIND_BYTES[kind], "a list of the metadata"));
    if (strncmp(key, "comfy.gguf.orig_shape.", 22) != 0 || count > VMT_MAX_RANK) {
        r->at += (size_t)count * KIND_BYTES[kind];
        return VMT_OK;
    }
    for (uint64_t i = 0; i < count; i++) {
        const size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? " " : "",
                 signed_of(take(r, KIND_BYTES[kind]), KIND_BYTES[kind]));
    }
    return add_meta(r, key, shape);
}

static enum vmt_status read_alignment(reader *r, const char *key, uint64_t value)
{
    if (strcmp(key, "general.alignment") != 0)
        return VMT_OK;
    if (value < 1 || value > MAX_ALIGNMENT || (value & (value - 1)) != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: general.alignment is %" PRIu64 ", expected a power of two up to %d",
                        r->label, value, (int)MAX_ALIGNMENT);
    r->alignment = value;
    return VMT_OK;
}

static enum vmt_status read_pair(reader *r)
{
    char key[MAX_NAME + 1], text[64];
    uint64_t kind, value;

    VMT_TRY(read_name(r, "a metadata key", key));
    VMT_TRY(read_number(r, 4, "a type of the metadata", &kind));
    if (kind >= KINDS)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: metadata key '%.200s' is of type %" PRIu64 ", expected 0 to 12",
                        r->label, key, kind);
    if (kind == TEXT)
        return read_text_value(r, key);
    if (kind == LIST)
        return read_list(r, key);
    VMT_TRY(read_number(r, KIND_BYTES[kind], "a value of the metadata", &value));
    if (kind == U32 || kind == U64)
        VMT_TRY(read_alignment(r, key, value));
    number_text(text, (uint32_t)kind, value);
    return add_meta(r, key, text);
}

/* ---------------------------------------------------------------- tensors */

typedef struct place {
    char *name;
    int64_t shape[VMT_MAX_RANK];
    enum vmt_dtype dtype;
    int rank;
    uint64_t offset; /* from the start of the data */
    size_t bytes;
} place;

static enum vmt_status read_type(reader *r, const char *name, enum vmt_dtype *dtype)
{
    uint64_t number;

    VMT_TRY(read_number(r, 4, "a tensor's type", &number));
    for (int i = 0; i < TYPE_COUNT; i++)
        if (TYPES[i].number == number) {
            *dtype = TYPES[i].dtype;
            return VMT_OK;
        }
    const char *other = number < sizeof OTHERS / sizeof *OTHERS ? OTHERS[number] : NULL;
    return vmt_fail(r->ctx, VMT_E_FORMAT,
                    "%s: tensor '%.200s' is of type %s (%" PRIu64
                    "), expected F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K or Q4_0",
                    r->label, name, other ? other : "unknown", number);
}

/* Axes are stored innermost first. */
static enum vmt_status read_shape(reader *r, place *p)
{
    uint64_t rank, side;

    VMT_TRY(read_number(r, 4, "a tensor's rank", &rank));
    if (rank < 1 || rank > VMT_MAX_RANK)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' has %" PRIu64 " axes, expected 1 to %d", r->label,
                        p->name, rank, (int)VMT_MAX_RANK);
    p->rank = (int)rank;
    for (int i = p->rank - 1; i >= 0; i--) {
        VMT_TRY(read_number(r, 8, "a tensor's shape", &side));
        if (side > INT64_MAX)
            return vmt_fail(r->ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s' has an axis of %" PRIu64 " elements", r->label,
                            p->name, side);
        p->shape[i] = (int64_t)side;
    }
    return VMT_OK;
}

static enum vmt_status read_place(reader *r, place *p)
{
    char name[MAX_NAME + 1];

    VMT_TRY(read_name(r, "a tensor's name", name));
    p->name = strdup(name);
    if (!p->name)
        return vmt_fail(r->ctx, VMT_E_MEMORY, "%s: out of memory", r->label);
    VMT_TRY(read_shape(r, p));
    VMT_TRY(read_type(r, name, &p->dtype));
    VMT_TRY(read_number(r, 8, "a tensor's offset", &p->offset));
    if (p->shape[p->rank - 1] % vmt_dtype_block(p->dtype) != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s': rows of %" PRId64 " elements, expected a multiple of "
                        "%" PRId64 " for %s",
                        r->label, name, p->shape[p->rank - 1], vmt_dtype_block(p->dtype),
                        vmt_dtype_name(p->dtype));
    if (!vmt_shape_bytes(p->dtype, p->rank, p->shape, &p->bytes))
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: tensor '%.200s': the shape's size overflows",
                        r->label, name);
    if (p->offset % r->alignment != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' begins at byte %" PRIu64 " of the data, expected a "
                        "multiple of %" PRIu64,
                        r->label, name, p->offset, r->alignment);
    return VMT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Each tensor inside the data and behind the one before it. */
static enum vmt_status check_places(reader *r, place *places, size_t count, size_t data)
{
    uint64_t end = 0;

    qsort(places, count, sizeof *places, by_offset);
    for (size_t i = 0; i < count; i++) {
        const place *p = &places[i];
        if (p->offset > data || p->bytes > data - p->offset)
            return vmt_fail(r->ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s' has %zu bytes at byte %" PRIu64 " of %zu bytes of "
                            "data: the file is truncated",
                            r->label, p->name, p->bytes, p->offset, data);
        if (p->offset < end)
            return vmt_fail(r->ctx, VMT_E_FORMAT,
                            "%s: data of tensor '%.200s' begins at byte %" PRIu64 ", expected "
                            "%" PRIu64 " at least: tensors overlap",
                            r->label, p->name, p->offset, end);
        end = p->offset + p->bytes;
    }
    return VMT_OK;
}

/* ComfyUI's converter folds tensors that GGML has too few axes for, and says their true shape. */
static enum vmt_status true_shape(reader *r, place *p)
{
    char key[MAX_NAME + 32];
    int64_t shape[VMT_MAX_RANK] = {0};
    size_t bytes = 0;
    int rank = 0;

    snprintf(key, sizeof key, "comfy.gguf.orig_shape.%s", p->name);
    const char *text = vmt_tensor_file_meta(r->file, key);
    if (!text)
        return VMT_OK;
    for (char *end = NULL; *text && rank < VMT_MAX_RANK; text = end) {
        shape[rank++] = strtoll(text, &end, 10);
        if (end == text)
            break;
    }
    if (rank < 1 || !vmt_shape_bytes(VMT_U8, rank, shape, &bytes) ||
        (int64_t)bytes != vmt_numel(&(vmt_tensor){.rank = p->rank,
                                                  .shape = {p->shape[0], p->shape[1], p->shape[2],
                                                            p->shape[3], p->shape[4]}}) ||
        shape[rank - 1] % vmt_dtype_block(p->dtype) != 0)
        return vmt_fail(r->ctx, VMT_E_FORMAT, "%s: '%.200s' does not fit the tensor", r->label,
                        key);
    memcpy(p->shape, shape, sizeof shape);
    p->rank = rank;
    return VMT_OK;
}

static enum vmt_status add_tensors(reader *r, place *places, size_t count, unsigned char *bytes)
{
    for (size_t i = 0; i < count; i++)
        VMT_TRY(read_place(r, &places[i]));
    uint64_t begin = (r->at + r->alignment - 1) & ~(r->alignment - 1);
    if (begin > r->length) /* no data, and no padding before it */
        begin = r->length;
    VMT_TRY(check_places(r, places, count, r->length - (size_t)begin));
    for (size_t i = 0; i < count; i++) {
        VMT_TRY(true_shape(r, &places[i]));
        VMT_TRY(vmt_table_add(r->ctx, r->file, places[i].name, places[i].dtype, places[i].rank,
                              places[i].shape, bytes + begin + places[i].offset, places[i].bytes));
    }
    return VMT_OK;
}

enum vmt_status vmt_gguf_parse(vmt_ctx *ctx, vmt_tensor_file *file, unsigned char *bytes,
                               size_t length, const char *label)
{
    reader r = {.ctx = ctx,
                .file = file,
                .label = label,
                .bytes = bytes,
                .length = length,
                .at = 4,
                .alignment = DEFAULT_ALIGNMENT};
    uint64_t version, tensors, keys;
    void *places;

    VMT_TRY(read_number(&r, 4, "the version", &version));
    if (version != 2 && version != 3)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: GGUF version %" PRIu64 ", expected 2 or 3, little-endian", label,
                        version);
    VMT_TRY(read_number(&r, 8, "the number of tensors", &tensors));
    VMT_TRY(read_number(&r, 8, "the number of metadata keys", &keys));
    if (tensors > MAX_TENSORS || keys > MAX_KEYS)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: %" PRIu64 " tensors and %" PRIu64
                        " metadata keys, expected at most %d and %d",
                        label, tensors, keys, (int)MAX_TENSORS, (int)MAX_KEYS);
    for (uint64_t i = 0; i < keys; i++)
        VMT_TRY(read_pair(&r));
    VMT_TRY(need(&r, tensors * 33, "the list of tensors")); /* a name of a letter, one axis */
    VMT_TRY(vmt_alloc(ctx, &places, (size_t)tensors, sizeof(place)));
    const enum vmt_status status = add_tensors(&r, places, (size_t)tensors, bytes);
    for (size_t i = 0; i < tensors; i++)
        free(((place *)places)[i].name);
    vmt_free(places);
    return status;
}
