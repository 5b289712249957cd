/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "base/sha256.h"
#include "model/tensor_file.h"

#include <string.h>
#include <unistd.h>

/* FIPS 180-4 examples, the empty message, a million times 'a' in uneven pieces. */
static void standard_vectors(void **state)
{
    static const struct {
        const char *message, *digest;
    } vectors[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "mnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    static char a[1000];
    vmt_sha256 hash;
    char text[65];

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        vmt_sha256_init(&hash);
        vmt_sha256_add(&hash, vectors[i].message, strlen(vectors[i].message));
        vmt_sha256_text(&hash, text);
        assert_string_equal(text, vectors[i].digest);
    }
    memset(a, 'a', sizeof a);
    vmt_sha256_init(&hash);
    for (size_t left = 1000000, part = 1; left > 0; part = part * 7 % 997 + 1) {
        const size_t n = part < left ? part : left;
        vmt_sha256_add(&hash, a, n);
        left -= n;
    }
    vmt_sha256_text(&hash, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void file_hash(vmt_ctx *ctx, const char *path, char text[65])
{
    vmt_tensor_file *file;
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, path));
    vmt_tensor_file_hash(file, text);
    vmt_tensor_file_close(file);
}

/* Equal over containers; another as soon as one value or shape is. */
static void hash_of_tensors(void **state)
{
    char pth[65], safetensors[65], other[65];
    float values[2] = {1, 2};
    vmt_named_tensor t = {"t", vmt_tensor_over(values, VMT_F32, VMT_SHAPE(2))};
    vmt_ctx ctx;

    (void)state;
    vmt_ctx_init(&ctx);
    file_hash(&ctx, TEST_DATA "/golden/umt5_a.pth", pth);
    file_hash(&ctx, TEST_DATA "/golden/umt5_a.weights.safetensors", safetensors);
    assert_string_equal(pth, safetensors);
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, "hash.safetensors", &t, 1, NULL));
    file_hash(&ctx, "hash.safetensors", pth);
    t.tensor = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(2, 1));
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, "hash.safetensors", &t, 1, NULL));
    file_hash(&ctx, "hash.safetensors", other);
    assert_string_not_equal(pth, other);
    t.tensor = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(2));
    values[1] = 3;
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, "hash.safetensors", &t, 1, NULL));
    file_hash(&ctx, "hash.safetensors", other);
    assert_string_not_equal(pth, other);
    unlink("hash.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard_vectors),
        cmocka_unit_test(hash_of_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
