/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "model/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmt_ctx bare;

/* ---------------------------------------------------------------- archives made here */

struct bytes {
    unsigned char data[8192];
    size_t length;
};

static void put(struct bytes *b, const void *data, size_t length)
{
    assert_true(length <= sizeof b->data - b->length);
    if (length > 0)
        memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void put_number(struct bytes *b, uint64_t value, int count)
{
    for (int i = 0; i < count; i++) {
        const unsigned char byte = (unsigned char)(i < 8 ? value >> (8 * i) : 0);
        put(b, &byte, 1);
    }
}

struct entry {
    const char *name;
    const void *data;
    size_t length;
};

/* What a hostile archive changes; all zero: a good one. */
struct twist {
    bool zip64;          /* all sizes and offsets in zip64 records */
    uint64_t method;     /* of the last entry */
    uint64_t flags;      /* of the last entry */
    uint64_t add_size;   /* to the last entry's size in the directory */
    uint64_t add_offset; /* to the last entry's local header offset */
    uint64_t add_count;  /* to the number of entries */
    uint64_t add_start;  /* to the directory's offset */
    bool other_name;     /* the last local header has another name */
    size_t cut;          /* bytes missing at the end */
    const char *comment;
};

static void zip_make(struct bytes *zip, const struct entry *entries, size_t count,
                     const struct twist *t)
{
    struct bytes directory = {.length = 0};

    zip->length = 0;
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        const bool last = i + 1 == count;
        const uint64_t size = e->length + (last ? t->add_size : 0);
        const uint64_t offset = zip->length + (last ? t->add_offset : 0);
        const size_t name = strlen(e->name);
        put_number(zip, 0x04034b50, 4);
        put_number(zip, 0, 4);
        put_number(zip, last ? t->method : 0, 2);
        put_number(zip, 0, 8);
        put_number(zip, e->length, 4);
        put_number(zip, e->length, 4);
        put_number(zip, name, 2);
        put_number(zip, 3, 2);
        if (last && t->other_name)
            put(zip, "?", 1), put(zip, e->name + 1, name - 1);
        else
            put(zip, e->name, name);
        put(zip, "FB", 3); /* some extra bytes: data stays unaligned */
        put(zip, e->data, e->length);

        put_number(&directory, 0x02014b50, 4);
        put_number(&directory, 0, 4);
        put_number(&directory, last ? t->flags : 0, 2);
        put_number(&directory, last ? t->method : 0, 2);
        put_number(&directory, 0, 8);
        put_number(&directory, t->zip64 ? UINT32_MAX : size, 4);
        put_number(&directory, t->zip64 ? UINT32_MAX : size, 4);
        put_number(&directory, name, 2);
        put_number(&directory, t->zip64 ? 28 : 0, 2);
        put_number(&directory, 0, 10);
        put_number(&directory, t->zip64 ? UINT32_MAX : offset, 4);
        put(&directory, e->name, name);
        if (t->zip64) {
            put_number(&directory, 1, 2);
            put_number(&directory, 24, 2);
            put_number(&directory, size, 8);
            put_number(&directory, size, 8);
            put_number(&directory, offset, 8);
        }
    }
    const uint64_t start = zip->length + t->add_start, all = count + t->add_count;
    put(zip, directory.data, directory.length);
    if (t->zip64) {
        const uint64_t end64 = zip->length;
        put_number(zip, 0x06064b50, 4);
        put_number(zip, 44, 8);
        put_number(zip, 0, 12);
        put_number(zip, all, 8);
        put_number(zip, all, 8);
        put_number(zip, directory.length, 8);
        put_number(zip, start, 8);
        put_number(zip, 0x07064b50, 4);
        put_number(zip, 0, 4);
        put_number(zip, end64, 8);
        put_number(zip, 1, 4);
    }
    put_number(zip, 0x06054b50, 4);
    put_number(zip, 0, 4);
    put_number(zip, t->zip64 ? UINT16_MAX : all, 2);
    put_number(zip, t->zip64 ? UINT16_MAX : all, 2);
    put_number(zip, t->zip64 ? UINT32_MAX : directory.length, 4);
    put_number(zip, t->zip64 ? UINT32_MAX : start, 4);
    put_number(zip, t->comment ? strlen(t->comment) : 0, 2);
    put(zip, t->comment, t->comment ? strlen(t->comment) : 0);
    zip->length -= t->cut;
}

/* ---------------------------------------------------------------- pickles made here */

#define LEN(c) c "\0\0\0"
#define STORAGE(count)                                                                             \
    "(X" LEN("\7") "storagectorch\nFloatStorage\nX" LEN("\1") "0X" LEN("\3") "cpuK" count "tQ"
/* K offset, shape and stride tuples, requires_grad, hooks */
#define REBUILD(storage, rest)                                                                     \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage rest "\x89"                                     \
    "ccollections\nOrderedDict\n)RtR"
#define GOOD_TENSOR                                                                                \
    REBUILD(STORAGE("\6"), "K\0"                                                                   \
                           "K\2K\3\x86"                                                            \
                           "K\3K\1\x86")
#define NAMED(name) "X" LEN("\1") name

struct pickle {
    const char *what;
    const char *bytes;
    size_t length;
    const char *reason; /* NULL: good */
};
#define PICKLE(what, reason, text)                                                                 \
    {                                                                                              \
        what, text, sizeof text - 1, reason                                                        \
    }

static const struct pickle pickles[] = {
    PICKLE("plain dict", NULL, "\x80\2}(" NAMED("w") GOOD_TENSOR "u."),
    PICKLE("one item", NULL, "\x80\2}" NAMED("w") GOOD_TENSOR "s."),
    PICKLE("ordered dict", NULL,
           "\x80\2"
           "ccollections\nOrderedDict\n)R(" NAMED("w") GOOD_TENSOR "u."),
    PICKLE("attributes", NULL, "\x80\2}(" NAMED("w") GOOD_TENSOR "u}X" LEN("\4") "metaK\1sb."),
    PICKLE("wrapped", NULL,
           "\x80\2}(X" LEN("\x0b") "model_state}" NAMED("w") GOOD_TENSOR "s" NAMED("e") "K\1u."),
    PICKLE("memo", NULL, "\x80\2}q\0X" LEN("\1") "wr" LEN("\5") GOOD_TENSOR "s}q\1b."),
    PICKLE("offset", NULL,
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\2"
                                                       "K\2K\2\x86"
                                                       "K\2K\1\x86") "s."),
    PICKLE("stride of an axis of one", NULL,
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "K\1K\3\x86"
                                                       "K\x09K\1\x86") "s."),
    PICKLE("long integers", NULL,
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "\x8a\0"
                                                       "\x8a\1\2J\3\0\0\0\x86"
                                                       "M\3\0K\1\x86") "s."),
    PICKLE("list", NULL, "\x80\2}(" NAMED("w") GOOD_TENSOR "u}" NAMED("l") "](K\1K\2esb."),

    PICKLE("foreign function", "posix.system",
           "\x80\2"
           "cposix\nsystem\n(X" LEN("\2") "lstR."),
    PICKLE("foreign class", "builtins.eval", "\x80\2}" NAMED("w") "cbuiltins\neval\ns."),
    PICKLE("foreign storage", "torch.QInt8Storage",
           "\x80\2}" NAMED("w") "(X" LEN("\7") "storagectorch\nQInt8Storage\n"),
    PICKLE("protocol", "protocol 2", "\x80\4}."),
    PICKLE("no protocol", "protocol 2", "}."),
    PICKLE("opcode", "opcode 0x93", "\x80\2\x93."),
    PICKLE("no dict", "no dict", "\x80\2K\1."),
    PICKLE("empty", "truncated", "\x80\2"),
    PICKLE("nothing on the stack", "missing", "\x80\2."),
    PICKLE("a mark is no value", "missing", "\x80\2(."),
    PICKLE("tuple of missing values", "missing", "\x80\2K\1\x86."),
    PICKLE("tuple over a mark", "missing", "\x80\2K\1(K\1\x86."),
    PICKLE("no mark", "mark", "\x80\2K\1t."),
    PICKLE("items without dict", "missing", "\x80\2(K\1K\1u."),
    PICKLE("odd items", "missing", "\x80\2}(K\1u."),
    PICKLE("items for an integer", "no dict", "\x80\2K\1(K\1K\1u."),
    PICKLE("item over a mark", "missing", "\x80\2}(K\1s."),
    PICKLE("attributes for an integer", "no dict", "\x80\2K\1}b."),
    PICKLE("append to a dict", "no list", "\x80\2}K\1a."),
    PICKLE("memo read before written", "not there before", "\x80\2h\5."),
    PICKLE("memo index", "more values", "\x80\2}r\xff\xff\xff\xff."),
    PICKLE("text past the end", "truncated",
           "\x80\2X\xff\xff\xff\xff"
           "abc."),
    PICKLE("global past the end", "truncated",
           "\x80\2"
           "ccollections\nOrd"),
    PICKLE("wide integer", "64 bits",
           "\x80\2\x8a\x09"
           "123456789."),
    PICKLE("call of a dict", "does not make", "\x80\2})R."),
    PICKLE("storage of no tuple", "no storage", "\x80\2K\1Q."),
    PICKLE("short storage", "no storage", "\x80\2(X" LEN("\7") "storagetQ."),
    PICKLE("not a tensor", "no tensor", "\x80\2}" NAMED("w") "K\1s."),
    PICKLE("name no text", "no tensor", "\x80\2}K\1" GOOD_TENSOR "s."),
    PICKLE("name twice", "there twice",
           "\x80\2}(" NAMED("w") GOOD_TENSOR NAMED("w") GOOD_TENSOR "u."),
    PICKLE("storage count", "storage of 24 bytes",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\7"), "K\0"
                                                       "K\2K\3\x86"
                                                       "K\3K\1\x86") "s."),
    PICKLE("past the storage", "past its storage",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\1"
                                                       "K\2K\3\x86"
                                                       "K\3K\1\x86") "s."),
    PICKLE("negative offset", "past its storage",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "J\xff\xff\xff\xff"
                                                       "K\2K\2\x86"
                                                       "K\2K\1\x86") "s."),
    PICKLE("negative size", "overflows",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "J\xff\xff\xff\xffK\3\x86"
                                                       "K\3K\1\x86") "s."),
    PICKLE("overflow", "overflows",
           "\x80\2}" NAMED("w")
               REBUILD(STORAGE("\6"), "K\0"
                                      "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\3\x86"
                                      "K\3K\1\x86") "s."),
    PICKLE("transposed", "transposed",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "K\2K\3\x86"
                                                       "K\1K\2\x86") "s."),
    PICKLE("too many axes", "axes",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "(K\1K\1K\1K\1K\1K\1t"
                                                       "(K\1K\1K\1K\1K\1K\1t") "s."),
    PICKLE("strides missing", "axes",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "K\2K\3\x86"
                                                       "K\1\x85") "s."),
    PICKLE("size no integer", "integers",
           "\x80\2}" NAMED("w") REBUILD(STORAGE("\6"), "K\0"
                                                       "K\2}\x86"
                                                       "K\3K\1\x86") "s."),
};

static const float VALUES[6] = {1, 2, 3, 4, 5, 6};

static enum vmt_status open_pickle(vmt_tensor_file **file, struct bytes *zip, const char *pickle,
                                   size_t length, const struct twist *twist)
{
    const struct entry entries[] = {{"m/version", "3\n", 2},
                                    {"m/data.pkl", pickle, length},
                                    {"m/byteorder", "little", 6},
                                    {"m/data/0", VALUES, sizeof VALUES}};
    zip_make(zip, entries, 4, twist);
    return vmt_tensor_file_open_bytes(&bare, file, zip->data, zip->length, "m.pth");
}

static void pickles_good_and_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
        const struct pickle *p = &pickles[i];
        static struct bytes zip;
        vmt_tensor_file *file;
        const enum vmt_status status =
            open_pickle(&file, &zip, p->bytes, p->length, &(struct twist){0});
        if (status != (p->reason ? VMT_E_FORMAT : VMT_OK) ||
            (p->reason && !strstr(bare.message, p->reason)))
            fail_msg("%s: status %d, '%s'", p->what, status, bare.message);
        if (!p->reason) {
            const vmt_tensor *w = vmt_tensor_file_find(file, "w");
            assert_int_equal(vmt_tensor_file_count(file), 1);
            assert_non_null(w);
            assert_int_equal(w->dtype, VMT_F32);
            assert_int_equal((uintptr_t)w->data % 4, 0);
            const size_t first = strcmp(p->what, "offset") == 0 ? 2 : 0;
            assert_memory_equal(w->data, VALUES + first, vmt_tensor_bytes(w));
        }
        vmt_tensor_file_close(file);
    }
}

static void archives_good_and_bad(void **state)
{
    static const char good[] = "\x80\2}" NAMED("w") GOOD_TENSOR "s.";
    static const struct {
        const char *reason; /* NULL: good */
        struct twist twist;
    } cases[] = {
        {NULL, {0}},
        {NULL, {.zip64 = true}},
        {NULL, {.comment = "a comment PK\5\6"}},
        {"compressed", {.method = 8}},
        {"compressed", {.flags = 1}},
        {"past the end", {.add_size = 100000}},
        {"past the end", {.add_size = UINT64_MAX / 2, .zip64 = true}},
        {"local header", {.add_offset = 1}},
        {"local header", {.add_offset = UINT64_MAX / 2, .zip64 = true}},
        {"bad record", {.add_count = 1, .zip64 = true}},
        {"past the end", {.add_count = 1ull << 40, .zip64 = true}},
        {"past the end", {.add_start = 1ull << 60, .zip64 = true}},
        {"bad record", {.add_start = 1}},
        {"contradicts", {.other_name = true}},
        {"no end", {.cut = 1}},
        {"no end", {.cut = 30}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct bytes zip;
        vmt_tensor_file *file;
        const enum vmt_status status =
            open_pickle(&file, &zip, good, sizeof good - 1, &cases[i].twist);
        if (status != (cases[i].reason ? VMT_E_FORMAT : VMT_OK) ||
            (cases[i].reason && !strstr(bare.message, cases[i].reason)))
            fail_msg("case %zu: status %d, '%s'", i, status, bare.message);
        vmt_tensor_file_close(file);
    }
}

/* Every prefix of a good archive must be refused, never read past its end (ASan watches). */
static void truncated(void **state)
{
    static const char good[] = "\x80\2}" NAMED("w") GOOD_TENSOR "s.";
    static struct bytes zip;
    vmt_tensor_file *file;

    (void)state;
    CHECK_OK(&bare, open_pickle(&file, &zip, good, sizeof good - 1, &(struct twist){0}));
    vmt_tensor_file_close(file);
    for (size_t length = 1; length < zip.length; length++) {
        unsigned char *exact = malloc(length);
        assert_non_null(exact);
        memcpy(exact, zip.data, length);
        assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, exact, length, "m.pth"),
                         VMT_E_FORMAT);
        free(exact);
    }
}

static void big_endian_and_foreign(void **state)
{
    static const char good[] = "\x80\2}" NAMED("w") GOOD_TENSOR "s.";
    const struct entry big[] = {{"m/data.pkl", good, sizeof good - 1},
                                {"m/byteorder", "big", 3},
                                {"m/data/0", VALUES, sizeof VALUES}};
    const struct entry no_pickle[] = {{"readme", "x", 1}};
    static struct bytes zip;
    vmt_tensor_file *file;

    (void)state;
    zip_make(&zip, big, 3, &(struct twist){0});
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, zip.data, zip.length, "m"),
                     VMT_E_FORMAT);
    assert_non_null(strstr(bare.message, "big-endian"));
    zip_make(&zip, big, 1, &(struct twist){0});
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, zip.data, zip.length, "m"),
                     VMT_E_FORMAT);
    assert_non_null(strstr(bare.message, "storage is not in the file"));
    zip_make(&zip, no_pickle, 1, &(struct twist){0});
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, zip.data, zip.length, "m"),
                     VMT_E_FORMAT);
    assert_non_null(strstr(bare.message, "without data.pkl"));
    memcpy(zip.data, "\x80\2\x8a", 3); /* torch before 1.6 */
    assert_int_equal(vmt_tensor_file_open_bytes(&bare, &file, zip.data, zip.length, "m"),
                     VMT_E_FORMAT);
    assert_non_null(strstr(bare.message, "before 1.6"));
}

/* What torch.save wrote must equal the safetensors of the same name, bit for bit. */
static void same_as_safetensors(const char *stem, int64_t count)
{
    char path[512];
    vmt_tensor_file *pth, *weights;

    snprintf(path, sizeof path, TEST_DATA "/golden/%s.pth", stem);
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &pth, path));
    snprintf(path, sizeof path, TEST_DATA "/golden/%s.weights.safetensors", stem);
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &weights, path));
    assert_int_equal(vmt_tensor_file_count(pth), count);
    assert_int_equal(vmt_tensor_file_count(weights), count);
    for (int64_t i = 0; i < count; i++) {
        const vmt_tensor *a = vmt_tensor_file_find(weights, vmt_tensor_file_name(weights, i));
        const vmt_tensor *b = vmt_tensor_file_find(pth, vmt_tensor_file_name(weights, i));
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_true(vmt_same_shape(a, b));
        assert_memory_equal(a->data, b->data, vmt_tensor_bytes(a));
    }
    vmt_tensor_file_close(pth);
    vmt_tensor_file_close(weights);
}

static void torch_files(void **state)
{
    (void)state;
    same_as_safetensors("vae_a", 194);
    same_as_safetensors("umt5_a", 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pickles_good_and_bad),
        cmocka_unit_test(archives_good_and_bad),
        cmocka_unit_test(truncated),
        cmocka_unit_test(big_endian_and_foreign),
        cmocka_unit_test(torch_files),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
