/* SPDX-License-Identifier: MIT */
#include "model/unpickle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A real state dict has 1,100 tensors of about 20 nodes. */
enum { MAX_NODES = 1 << 20, MAX_STACK = 1 << 16, PICKLE_PROTOCOL = 2 };

enum kind {
    IS_NONE, /* also: a list, whose contents nobody needs */
    IS_MARK,
    IS_BOOL,
    IS_INT,
    IS_TEXT,
    IS_TUPLE,
    IS_DICT,
    IS_ORDERED_DICT_TYPE,
    IS_REBUILD_TENSOR,
    IS_STORAGE_TYPE,
    IS_STORAGE,
    IS_TENSOR
};

/* A value.  Values refer to each other by index into unpickler.nodes; 0 is never a value. */
struct node {
    enum kind kind;
    enum vmt_dtype dtype; /* STORAGE_TYPE */
    union {
        int64_t integer; /* INT */
        vmt_span text;   /* TEXT */
        struct {
            uint32_t first, count; /* TUPLE, STORAGE, TENSOR: cells of items */
        } items;
        struct {
            uint32_t first, last; /* DICT: cells {key, value, next cell} */
        } pairs;
    } as;
};

struct unpickler {
    vmt_ctx *ctx;
    const char *label;
    const unsigned char *bytes;
    size_t length, at;
    struct node *nodes; /* counts and capacities below; all growing by doubling */
    uint32_t *cells, *stack, *memo;
    size_t node_count, cell_count, stack_count, memo_count;
    size_t node_capacity, cell_capacity, stack_capacity, memo_capacity;
};

static enum vmt_status bad(const struct unpickler *u, const char *what)
{
    return vmt_fail(u->ctx, VMT_E_FORMAT, "%s: data.pkl, byte %zu of %zu: %s", u->label, u->at,
                    u->length, what);
}

/* ---------------------------------------------------------------- storage of values */

static enum vmt_status grow(struct unpickler *u, void **items, size_t bytes, size_t wanted,
                            size_t *capacity, size_t limit)
{
    if (wanted > limit)
        return bad(u, "more values than any state dict has");
    if (wanted <= *capacity)
        return VMT_OK;
    size_t larger = *capacity ? *capacity : 64;
    while (larger < wanted)
        larger *= 2;
    void *grown = realloc(*items, larger * bytes);
    if (!grown)
        return vmt_fail(u->ctx, VMT_E_MEMORY, "%s: out of memory", u->label);
    memset((char *)grown + *capacity * bytes, 0, (larger - *capacity) * bytes);
    *items = grown;
    *capacity = larger;
    return VMT_OK;
}

static enum vmt_status push_index(struct unpickler *u, uint32_t index)
{
    void *items = u->stack;
    VMT_TRY(grow(u, &items, sizeof *u->stack, u->stack_count + 1, &u->stack_capacity, MAX_STACK));
    u->stack = items;
    u->stack[u->stack_count++] = index;
    return VMT_OK;
}

static enum vmt_status push(struct unpickler *u, struct node node)
{
    void *items = u->nodes;
    VMT_TRY(grow(u, &items, sizeof *u->nodes, u->node_count + 1, &u->node_capacity, MAX_NODES));
    u->nodes = items;
    u->nodes[u->node_count] = node;
    return push_index(u, (uint32_t)u->node_count++);
}

static enum vmt_status push_kind(struct unpickler *u, enum kind kind)
{
    return push(u, (struct node){.kind = kind});
}

static enum vmt_status push_int(struct unpickler *u, int64_t integer)
{
    return push(u, (struct node){.kind = IS_INT, .as.integer = integer});
}

static struct node *node_at(const struct unpickler *u, uint32_t index)
{
    return &u->nodes[index];
}

/* Takes the topmost value, which must not be a mark. */
static enum vmt_status pop(struct unpickler *u, uint32_t *index)
{
    if (u->stack_count == 0 || node_at(u, u->stack[u->stack_count - 1])->kind == IS_MARK)
        return bad(u, "a value is missing");
    *index = u->stack[--u->stack_count];
    return VMT_OK;
}

/* The topmost value stays. */
static enum vmt_status top(struct unpickler *u, struct node **node)
{
    uint32_t index;
    VMT_TRY(pop(u, &index));
    u->stack_count++;
    *node = node_at(u, index);
    return VMT_OK;
}

/* How many values lie above the topmost mark. */
static enum vmt_status above_mark(struct unpickler *u, size_t *count)
{
    for (size_t i = u->stack_count; i-- > 0;)
        if (node_at(u, u->stack[i])->kind == IS_MARK) {
            *count = u->stack_count - i - 1;
            return VMT_OK;
        }
    return bad(u, "a mark is missing");
}

static enum vmt_status add_cells(struct unpickler *u, const uint32_t *values, size_t count,
                                 uint32_t *first)
{
    void *items = u->cells;
    VMT_TRY(grow(u, &items, sizeof *u->cells, u->cell_count + count, &u->cell_capacity,
                 (size_t)4 * MAX_NODES));
    u->cells = items;
    memcpy(u->cells + u->cell_count, values, count * sizeof *values);
    *first = (uint32_t)u->cell_count;
    u->cell_count += count;
    return VMT_OK;
}

/* The topmost `count` values become one of `kind`. */
static enum vmt_status push_items(struct unpickler *u, enum kind kind, size_t count)
{
    struct node node = {.kind = kind};

    if (count > u->stack_count)
        return bad(u, "a value is missing");
    const uint32_t *values = u->stack + (u->stack_count - count);
    for (size_t i = 0; i < count; i++)
        if (node_at(u, values[i])->kind == IS_MARK)
            return bad(u, "a value is missing");
    if (count > 0)
        VMT_TRY(add_cells(u, values, count, &node.as.items.first));
    node.as.items.count = (uint32_t)count;
    u->stack_count -= count;
    return push(u, node);
}

/* Item i of a tuple if it is of that kind, else NULL. */
static const struct node *item(const struct unpickler *u, const struct node *tuple, uint32_t i,
                               enum kind kind)
{
    if (i >= tuple->as.items.count)
        return NULL;
    const struct node *node = node_at(u, u->cells[tuple->as.items.first + i]);
    return node->kind == kind ? node : NULL;
}

/* ---------------------------------------------------------------- reading bytes */

static enum vmt_status need(struct unpickler *u, size_t count)
{
    return count <= u->length - u->at ? VMT_OK : bad(u, "the pickle is truncated");
}

static enum vmt_status read_number(struct unpickler *u, int bytes, uint64_t *value)
{
    VMT_TRY(need(u, (size_t)bytes));
    *value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *value = *value << 8 | u->bytes[u->at + (size_t)i];
    u->at += (size_t)bytes;
    return VMT_OK;
}

static enum vmt_status read_line(struct unpickler *u, vmt_span *line)
{
    const unsigned char *start = u->bytes + u->at;
    const unsigned char *end = memchr(start, '\n', u->length - u->at);

    if (!end)
        return bad(u, "the pickle is truncated");
    *line = (vmt_span){(const char *)start, (size_t)(end - start)};
    u->at += line->length + 1;
    return VMT_OK;
}

static bool is(vmt_span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.text, text, span.length) == 0;
}

/* ---------------------------------------------------------------- opcodes with some meaning */

static enum vmt_status op_global(struct unpickler *u)
{
    static const struct {
        const char *module, *name;
        enum kind kind;
        enum vmt_dtype dtype;
    } known[] = {
        {"collections", "OrderedDict", IS_ORDERED_DICT_TYPE, VMT_U8},
        {"torch._utils", "_rebuild_tensor_v2", IS_REBUILD_TENSOR, VMT_U8},
        {"torch", "FloatStorage", IS_STORAGE_TYPE, VMT_F32},
        {"torch", "HalfStorage", IS_STORAGE_TYPE, VMT_F16},
        {"torch", "BFloat16Storage", IS_STORAGE_TYPE, VMT_BF16},
        {"torch", "DoubleStorage", IS_STORAGE_TYPE, VMT_F64},
        {"torch", "IntStorage", IS_STORAGE_TYPE, VMT_I32},
        {"torch", "LongStorage", IS_STORAGE_TYPE, VMT_I64},
        {"torch", "ByteStorage", IS_STORAGE_TYPE, VMT_U8},
    };
    vmt_span module, name;

    VMT_TRY(read_line(u, &module));
    VMT_TRY(read_line(u, &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (is(module, known[i].module) && is(name, known[i].name))
            return push(u, (struct node){.kind = known[i].kind, .dtype = known[i].dtype});
    return vmt_fail(u->ctx, VMT_E_FORMAT,
                    "%s: data.pkl asks for '%.*s.%.*s', which is no tensor: refused (only a dict "
                    "of tensors is read)",
                    u->label, module.length < 100 ? (int)module.length : 100, module.text,
                    name.length < 100 ? (int)name.length : 100, name.text);
}

/* ('storage', type, key, place, count) */
static enum vmt_status op_persistent_id(struct unpickler *u)
{
    uint32_t index;

    VMT_TRY(pop(u, &index));
    struct node storage = *node_at(u, index);
    const struct node *word = storage.kind == IS_TUPLE ? item(u, &storage, 0, IS_TEXT) : NULL;
    if (!word || !is(word->as.text, "storage") || !item(u, &storage, 1, IS_STORAGE_TYPE) ||
        !item(u, &storage, 2, IS_TEXT) || !item(u, &storage, 3, IS_TEXT) ||
        !item(u, &storage, 4, IS_INT) || storage.as.items.count != 5)
        return bad(u, "a reference to something that is no storage");
    storage.kind = IS_STORAGE;
    return push(u, storage);
}

/* OrderedDict(), or _rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks). */
static enum vmt_status op_reduce(struct unpickler *u)
{
    uint32_t arguments, function;

    VMT_TRY(pop(u, &arguments));
    VMT_TRY(pop(u, &function));
    struct node tensor = *node_at(u, arguments);
    const enum kind kind = node_at(u, function)->kind;
    if (tensor.kind == IS_TUPLE && kind == IS_ORDERED_DICT_TYPE && tensor.as.items.count == 0)
        return push_kind(u, IS_DICT);
    if (tensor.kind != IS_TUPLE || kind != IS_REBUILD_TENSOR || !item(u, &tensor, 0, IS_STORAGE) ||
        !item(u, &tensor, 1, IS_INT) || !item(u, &tensor, 2, IS_TUPLE) ||
        !item(u, &tensor, 3, IS_TUPLE) || !item(u, &tensor, 4, IS_BOOL) ||
        !item(u, &tensor, 5, IS_DICT) || tensor.as.items.count != 6)
        return bad(u, "a call that does not make a tensor or an empty dict");
    tensor.kind = IS_TENSOR;
    return push(u, tensor);
}

/* The topmost `count` values, in pairs, go into the dict below them. */
static enum vmt_status set_items(struct unpickler *u, size_t count, bool marked)
{
    const size_t below = count + (marked ? 1 : 0);

    if (count % 2 != 0 || below >= u->stack_count)
        return bad(u, "a dict or a value is missing");
    const uint32_t dict = u->stack[u->stack_count - below - 1];
    if (node_at(u, dict)->kind != IS_DICT)
        return bad(u, "items for something that is no dict");
    for (size_t i = u->stack_count - count; i < u->stack_count; i += 2) {
        const uint32_t pair[3] = {u->stack[i], u->stack[i + 1], 0};
        uint32_t cell;
        if (node_at(u, pair[0])->kind == IS_MARK || node_at(u, pair[1])->kind == IS_MARK)
            return bad(u, "a value is missing");
        VMT_TRY(add_cells(u, pair, 3, &cell));
        struct node *node = node_at(u, dict);
        if (node->as.pairs.first)
            u->cells[node->as.pairs.last + 2] = cell;
        else
            node->as.pairs.first = cell;
        node->as.pairs.last = cell;
    }
    u->stack_count -= below;
    return VMT_OK;
}

/* Attributes of an OrderedDict (_metadata): of no use here. */
static enum vmt_status op_build(struct unpickler *u)
{
    uint32_t state;
    struct node *node;

    VMT_TRY(pop(u, &state));
    VMT_TRY(top(u, &node));
    return node->kind == IS_DICT ? VMT_OK : bad(u, "attributes for something that is no dict");
}

/* Items of a list are dropped: no tensor is found through one. */
static enum vmt_status op_appends(struct unpickler *u, bool marked)
{
    size_t count = 1;
    struct node *list;

    if (marked)
        VMT_TRY(above_mark(u, &count));
    const size_t below = count + (marked ? 1 : 0);
    if (below > u->stack_count)
        return bad(u, "a value is missing");
    u->stack_count -= below;
    VMT_TRY(top(u, &list));
    return list->kind == IS_NONE ? VMT_OK : bad(u, "items for something that is no list");
}

static enum vmt_status op_put(struct unpickler *u, int bytes)
{
    uint64_t slot;
    void *items = u->memo;
    struct node *node;

    VMT_TRY(read_number(u, bytes, &slot));
    VMT_TRY(top(u, &node));
    VMT_TRY(grow(u, &items, sizeof *u->memo, (size_t)slot + 1, &u->memo_capacity, MAX_NODES));
    u->memo = items;
    assert(u->memo && slot < u->memo_capacity);
    u->memo[slot] = u->stack[u->stack_count - 1];
    if (slot >= u->memo_count)
        u->memo_count = (size_t)slot + 1;
    return VMT_OK;
}

static enum vmt_status op_get(struct unpickler *u, int bytes)
{
    uint64_t slot;

    VMT_TRY(read_number(u, bytes, &slot));
    if (slot >= u->memo_count || u->memo[slot] == 0)
        return bad(u, "a reference to a value that was not there before");
    return push_index(u, u->memo[slot]);
}

static enum vmt_status op_text(struct unpickler *u)
{
    uint64_t length;

    VMT_TRY(read_number(u, 4, &length));
    VMT_TRY(need(u, (size_t)length));
    const vmt_span text = {(const char *)u->bytes + u->at, (size_t)length};
    u->at += text.length;
    return push(u, (struct node){.kind = IS_TEXT, .as.text = text});
}

/* `bytes` bytes, little endian; two's complement when `is_signed`. */
static enum vmt_status op_int(struct unpickler *u, int bytes, bool is_signed)
{
    uint64_t value;

    VMT_TRY(read_number(u, bytes, &value));
    if (is_signed && bytes > 0 && bytes < 8 && value >> (8 * bytes - 1))
        value |= UINT64_MAX << (8 * bytes);
    return push_int(u, (int64_t)value);
}

static enum vmt_status op_long(struct unpickler *u)
{
    uint64_t bytes;

    VMT_TRY(read_number(u, 1, &bytes));
    if (bytes > 8)
        return bad(u, "an integer of more than 64 bits");
    return op_int(u, (int)bytes, true);
}

static enum vmt_status op_tuple(struct unpickler *u)
{
    size_t count = 0;
    uint32_t tuple;

    VMT_TRY(above_mark(u, &count));
    VMT_TRY(push_items(u, IS_TUPLE, count));
    VMT_TRY(pop(u, &tuple));
    u->stack_count--; /* the mark */
    return push_index(u, tuple);
}

static enum vmt_status op_set_items(struct unpickler *u)
{
    size_t count = 0;

    VMT_TRY(above_mark(u, &count));
    return set_items(u, count, true);
}

static enum vmt_status run_opcode(struct unpickler *u, unsigned char opcode)
{
    switch (opcode) {
    case '(':
        return push_kind(u, IS_MARK);
    case '}':
        return push_kind(u, IS_DICT);
    case ']':
    case 'N':
        return push_kind(u, IS_NONE);
    case ')':
        return push_items(u, IS_TUPLE, 0);
    case 't':
        return op_tuple(u);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_items(u, IS_TUPLE, (size_t)(opcode - 0x84));
    case 0x88:
    case 0x89:
        return push_kind(u, IS_BOOL);
    case 'J':
        return op_int(u, 4, true);
    case 'K':
        return op_int(u, 1, false);
    case 'M':
        return op_int(u, 2, false);
    case 0x8a:
        return op_long(u);
    case 'X':
        return op_text(u);
    case 'q':
        return op_put(u, 1);
    case 'r':
        return op_put(u, 4);
    case 'h':
        return op_get(u, 1);
    case 'j':
        return op_get(u, 4);
    case 'c':
        return op_global(u);
    case 'Q':
        return op_persistent_id(u);
    case 'R':
        return op_reduce(u);
    case 'b':
        return op_build(u);
    case 's':
        return set_items(u, 2, false);
    case 'u':
        return op_set_items(u);
    case 'a':
        return op_appends(u, false);
    case 'e':
        return op_appends(u, true);
    default:
        return vmt_fail(u->ctx, VMT_E_FORMAT,
                        "%s: data.pkl, byte %zu: opcode 0x%02x, which no dict of tensors needs",
                        u->label, u->at - 1, (unsigned)opcode);
    }
}

/* Runs up to the opcode STOP; *result is the value then on top. */
static enum vmt_status run(struct unpickler *u, uint32_t *result)
{
    uint64_t opcode, protocol;
    uint32_t cell;

    /* node 0 and cell 0 are taken, so that 0 can mean "none" */
    VMT_TRY(push_kind(u, IS_NONE));
    VMT_TRY(add_cells(u, u->stack, 1, &cell));
    u->stack_count = 0;
    VMT_TRY(read_number(u, 1, &opcode));
    VMT_TRY(read_number(u, 1, &protocol));
    if (opcode != 0x80 || protocol != PICKLE_PROTOCOL)
        return bad(u, "expected a pickle of protocol 2");
    for (;;) {
        VMT_TRY(read_number(u, 1, &opcode));
        if (opcode == '.')
            return pop(u, result);
        VMT_TRY(run_opcode(u, (unsigned char)opcode));
    }
}

/* ---------------------------------------------------------------- the result */

/* Value of a key of a dict if it is a dict itself, else 0. */
static uint32_t dict_in(const struct unpickler *u, const struct node *dict, const char *key)
{
    for (uint32_t cell = dict->as.pairs.first; cell; cell = u->cells[cell + 2])
        if (node_at(u, u->cells[cell])->kind == IS_TEXT &&
            is(node_at(u, u->cells[cell])->as.text, key) &&
            node_at(u, u->cells[cell + 1])->kind == IS_DICT)
            return u->cells[cell + 1];
    return 0;
}

static enum vmt_status describe(struct unpickler *u, const struct node *key,
                                const struct node *value, vmt_pickled_tensor *tensor)
{
    if (key->kind != IS_TEXT || value->kind != IS_TENSOR)
        return vmt_fail(u->ctx, VMT_E_FORMAT, "%s: entry '%.*s' is no tensor", u->label,
                        key->kind != IS_TEXT        ? 0
                        : key->as.text.length < 200 ? (int)key->as.text.length
                                                    : 200,
                        key->kind == IS_TEXT ? key->as.text.text : "");
    const struct node *storage = item(u, value, 0, IS_STORAGE);
    const struct node *shape = item(u, value, 2, IS_TUPLE), *stride = item(u, value, 3, IS_TUPLE);
    const uint32_t rank = shape->as.items.count;

    tensor->name = key->as.text;
    if (rank > VMT_MAX_RANK || stride->as.items.count != rank)
        return vmt_fail(u->ctx, VMT_E_FORMAT, "%s: tensor '%.*s' has %u axes, expected at most %d",
                        u->label, tensor->name.length < 200 ? (int)tensor->name.length : 200,
                        tensor->name.text, rank, (int)VMT_MAX_RANK);
    tensor->rank = (int)rank;
    for (uint32_t i = 0; i < rank; i++) {
        const struct node *size = item(u, shape, i, IS_INT), *step = item(u, stride, i, IS_INT);
        if (!size || !step)
            return bad(u, "a shape that is not made of integers");
        tensor->shape[i] = size->as.integer;
        tensor->stride[i] = step->as.integer;
    }
    tensor->dtype = item(u, storage, 1, IS_STORAGE_TYPE)->dtype;
    tensor->storage_key = item(u, storage, 2, IS_TEXT)->as.text;
    tensor->storage_count = item(u, storage, 4, IS_INT)->as.integer;
    tensor->storage_offset = item(u, value, 1, IS_INT)->as.integer;
    return VMT_OK;
}

static enum vmt_status collect(struct unpickler *u, uint32_t result, vmt_pickled_tensor **tensors,
                               int64_t *count)
{
    const struct node *dict = node_at(u, result);
    size_t entries = 0;
    void *memory;

    if (dict->kind != IS_DICT)
        return vmt_fail(u->ctx, VMT_E_FORMAT, "%s: data.pkl holds no dict of tensors", u->label);
    const uint32_t inner = dict_in(u, dict, "model_state");
    if (inner)
        dict = node_at(u, inner);
    for (uint32_t cell = dict->as.pairs.first; cell; cell = u->cells[cell + 2])
        entries++;
    VMT_TRY(vmt_alloc(u->ctx, &memory, entries, sizeof **tensors));
    *tensors = memory;
    for (uint32_t cell = dict->as.pairs.first; cell; cell = u->cells[cell + 2]) {
        VMT_TRY(describe(u, node_at(u, u->cells[cell]), node_at(u, u->cells[cell + 1]),
                         &(*tensors)[*count]));
        ++*count;
    }
    return VMT_OK;
}

enum vmt_status vmt_unpickle(vmt_ctx *ctx, const unsigned char *bytes, size_t length,
                             const char *label, vmt_pickled_tensor **tensors, int64_t *count)
{
    struct unpickler u = {.ctx = ctx, .label = label, .bytes = bytes, .length = length};
    uint32_t result = 0;

    *tensors = NULL;
    *count = 0;
    enum vmt_status status = run(&u, &result);
    if (status == VMT_OK)
        status = collect(&u, result, tensors, count);
    free(u.nodes);
    free(u.cells);
    free(u.stack);
    free(u.memo);
    if (status != VMT_OK) {
        vmt_free(*tensors);
        *tensors = NULL;
        *count = 0;
    }
    return status;
}
