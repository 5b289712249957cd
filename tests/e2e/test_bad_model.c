/* SPDX-License-Identifier: MIT
 *
 * Model files that are absent, cut, corrupt, hostile, of another kind, of another model, or full of
 * what is no number.
 */
#include "bad_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void cut_and_foreign_weights(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 7, 8, 9, 100, 20000, 7000000, 15067207};

    REFUSED("absent", VMT_E_IO, "absent.safetensors", TRANSFER, "--dit", "absent.safetensors");
    REFUSED("a folder", VMT_E_IO, "folder", TRANSFER, "--dit", "..");
    REFUSED("a device", VMT_E_IO, "/dev/null", TRANSFER, "--dit", "/dev/null");
    file_write("empty", "", 0);
    REFUSED("empty DiT", VMT_E_FORMAT, "empty", TRANSFER, "--dit", "empty");
    REFUSED("empty VAE", VMT_E_FORMAT, "empty", TRANSFER, "--vae", "empty");
    REFUSED("empty text encoder", VMT_E_FORMAT, "empty", TRANSFER, "--text", "empty");
    write_start("cut.safetensors", MODEL "/vae.safetensors", 3000000);
    REFUSED("cut VAE", VMT_E_FORMAT, "truncated", TRANSFER, "--vae", "cut.safetensors");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_start("cut.safetensors", MODEL "/dit.safetensors", lengths[i]);
        REFUSED("cut", VMT_E_FORMAT, "cut.safetensors", TRANSFER, "--dit", "cut.safetensors");
    }

    REFUSED("a video", VMT_E_FORMAT, REFERENCE, TRANSFER, "--dit", REFERENCE);
    REFUSED("a tokenizer", VMT_E_FORMAT, "spiece.model", TRANSFER, "--text", MODEL "/spiece.model");
    file_write("m.gguf", "GGUF\3\0\0\0aaaaaaaaaaaaaaaaaaaaaaaa", 32);
    REFUSED("GGUF", VMT_E_FORMAT, "metadata keys", TRANSFER, "--dit", "m.gguf");
    file_write("random", "\x93\xfe\x01\x02\x03\xee\xff\x00\x10\x99", 10);
    REFUSED("random bytes", VMT_E_FORMAT, "random", TRANSFER, "--dit", "random");
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": " offsets "}"
#define HEADER(dtype, shape, offsets) "{\"a\": " ENTRY(dtype, shape, offsets) "}"

static void hostile_headers(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "",
        "{",
        "[]",
        "{\"a\": 5}",
        HEADER("F32", "[2]", "[0, 9999]"),
        HEADER("F32", "[2]", "[8, 0]"),
        HEADER("F32", "[2]", "[-8, 0]"),
        HEADER("F32", "[2]", "[0, 1e300]"),
        HEADER("F32", "[2]", "[0, 4]"),
        HEADER("F32", "[2]", "[0]"),
        HEADER("F32", "[-2, -1]", "[0, 8]"),
        HEADER("F32", "[0.5]", "[0, 2]"),
        HEADER("F32", "\"2\"", "[0, 8]"),
        HEADER("Q99", "[2]", "[0, 8]"),
        HEADER("F32", "[4294967296, 4294967296, 4]", "[0, 0]"),
        HEADER("F32", "[4611686018427387904, 4]", "[0, 0]"),
        HEADER("F32", "[9007199254740992, 2048]", "[0, 8]"),
        HEADER("F32", "[1, 1, 1, 1, 1, 1, 2]", "[0, 8]"),
        "{\"a\": " ENTRY("F32", "[2]", "[0, 8]") ", \"a\": " ENTRY("F32", "[2]", "[8, 16]") "}",
        "{\"__metadata__\": 7, \"a\": " ENTRY("F32", "[4]", "[0, 16]") "}",
        "{\"\x1b[2J\\n\": " ENTRY("F32", "[3]", "[0, 8]") "}",
    };
    static const unsigned char lengths[][9] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'},
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, '{'},
        {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'},
        {2, 0, 0, 0, 0, 0, 0, 0, '{'},
        {0, 0, 0, 0, 0, 0, 0, 0, '{'},
    };
    char label[100];

    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        write_safetensors("bad.safetensors", headers[i], 16);
        snprintf(label, sizeof label, "header %zu: %.80s", i, headers[i]);
        REFUSED(label, VMT_E_FORMAT, "bad.safetensors", TRANSFER, "--dit", "bad.safetensors");
    }
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        file_write("bad.safetensors", lengths[i], sizeof lengths[i]);
        REFUSED("length of the header", VMT_E_FORMAT, "bad.safetensors", TRANSFER, "--dit",
                "bad.safetensors");
    }

    /* Nested deeper than any stack. */
    enum { DEEP = 2000000 };
    char *deep = malloc(DEEP + 1);
    assert_non_null(deep);
    memset(deep, '[', DEEP);
    memcpy(deep, "{\"a\":", 5);
    deep[DEEP] = 0;
    write_safetensors("bad.safetensors", deep, 0);
    free(deep);
    REFUSED("deep", VMT_E_FORMAT, "bad.safetensors", TRANSFER, "--dit", "bad.safetensors");
}

static void weights_of_another_model(void **state)
{
    (void)state;
    REFUSED("VAE as DiT", VMT_E_MODEL, "missing", TRANSFER, "--dit", MODEL "/vae.safetensors");
    REFUSED("DiT as VAE", VMT_E_MODEL, "missing", TRANSFER, "--vae", MODEL "/dit.safetensors");
    REFUSED("DiT as text encoder", VMT_E_MODEL, "missing", TRANSFER, "--text",
            MODEL "/dit.safetensors");
    REFUSED("text encoder as DiT", VMT_E_MODEL, "missing", TRANSFER, "--dit",
            MODEL "/text.safetensors");
    write_safetensors("none.safetensors", "{}", 0);
    REFUSED("no tensor at all", VMT_E_MODEL, "patch_embedding", TRANSFER, "--dit",
            "none.safetensors");
    folder_new("nothing");
    REFUSED("a folder without a model", VMT_E_MODEL, "nothing", TRANSFER, "-m", "nothing");
    REFUSED("no such folder", VMT_E_IO, "nowhere", TRANSFER, "-m", "nowhere");
}

/* A .pth whose pickle asks for a function that is no tensor's: nothing is called. */
static void hostile_pickle(void **state)
{
    (void)state;
    static const char from[] = "_rebuild_tensor_v2", to[] = "_rebuild_tensor_v7";
    static const char shell[] = "\x80\x02"
                                "cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.";
    size_t length;
    unsigned char *bytes = file_read(TEST_DATA "/golden/umt5_a.pth", &length);
    unsigned char *found = memmem(bytes, length, from, sizeof from - 1);

    assert_non_null(found);
    memcpy(found, to, sizeof to - 1);
    file_write("bad.pth", bytes, length);
    REFUSED("another function", VMT_E_FORMAT, "refused", TRANSFER, "--text", "bad.pth");
    for (size_t cut = length - 1; cut > 16; cut /= 3) {
        file_write("bad.pth", bytes, cut);
        REFUSED("cut .pth", VMT_E_FORMAT, "bad.pth", TRANSFER, "--text", "bad.pth");
    }
    free(bytes);
    file_write("bad.pth", shell, sizeof shell - 1);
    REFUSED("a bare pickle", VMT_E_FORMAT, "bad.pth", TRANSFER, "--text", "bad.pth");
    assert_false(file_exists("pwned"));
}

/* The real config.json with one piece of text replaced. */
static void write_config(const char *path, const char *from, const char *to)
{
    size_t length;
    unsigned char *bytes = file_read(MODEL "/config.json", &length);
    char *found = strstr((char *)bytes, from);
    FILE *file = fopen(path, "wb");

    if (!found || !file)
        fail_msg("no '%s' in config.json", from);
    *found = 0;
    fprintf(file, "%s%s%s", (char *)bytes, to, found + strlen(from));
    assert_int_equal(fclose(file), 0);
    free(bytes);
}

static void broken_configs(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        int code;
    } cases[] = {
        {"\"dim\": 256", "\"dim\": 0", VMT_E_FORMAT},
        {"\"dim\": 256", "\"dim\": -256", VMT_E_FORMAT},
        {"\"dim\": 256", "\"dim\": 1e18", VMT_E_FORMAT},
        {"\"dim\": 256", "\"dim\": \"256\"", VMT_E_FORMAT},
        {"\"dim\": 256", "\"dim\": 255", VMT_E_MODEL},
        {"\"dim\": 256", "\"dim\": 512", VMT_E_MODEL},
        {"\"num_layers\": 8", "\"num_layers\": 9", VMT_E_MODEL},
        {"\"num_layers\": 8", "\"num_layers\": 1000000000", VMT_E_FORMAT},
        {"\"num_heads\": 4", "\"num_heads\": 0", VMT_E_FORMAT},
        {"\"num_heads\": 4", "\"num_heads\": 3", VMT_E_MODEL},
        {"\"vocab_size\": 1280", "\"vocab_size\": 128000", VMT_E_MODEL},
        {"\"z_dim\": 16", "\"z_dim\": 17", VMT_E_FORMAT},
        {"dit.safetensors", "../../secret", VMT_E_FORMAT},
        {"dit.safetensors", "other.safetensors", VMT_E_IO},
        {"\"steps\": 25", "\"steps\": -1", VMT_E_FORMAT},
        {"\"window\": 5", "\"window\": 1e300", VMT_E_FORMAT},
        {"\"lr_start\": 0.01", "\"lr_start\": \"fast\"", VMT_E_FORMAT},
        {"{", "", VMT_E_FORMAT},
    };

    link_model("m", "config.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_config("m/config.json", cases[i].from, cases[i].to);
        REFUSED(cases[i].to, cases[i].code, NULL, TRANSFER, "-m", "m");
    }
    write_start("m/config.json", MODEL "/config.json", 700);
    REFUSED("cut config", VMT_E_FORMAT, "config.json", TRANSFER, "-m", "m");
    file_write("m/config.json", "", 0);
    REFUSED("empty config", VMT_E_FORMAT, "config.json", TRANSFER, "-m", "m");
}

static void broken_shards(void **state)
{
    (void)state;
    static const char *const indexes[][2] = {
        {"{\"weight_map\": {\"a\": \"absent.safetensors\"}}", "absent.safetensors"},
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "../x"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "/etc/passwd"},
        {"{\"weight_map\": {\"a\": 5}}", "index"},
        {"{\"weight_map\": []}", "index"},
        {"{\"weight_map\": {}}", "index"},
        {"{\"weight_map\": {\"a\": \"m.safetensors.index.json\"}}", "index"},
    };

    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        file_write("m.safetensors.index.json", indexes[i][0], strlen(indexes[i][0]));
        REFUSED(indexes[i][0], i ? VMT_E_FORMAT : VMT_E_IO, indexes[i][1], TRANSFER, "--dit",
                "m.safetensors.index.json");
    }
}

static void broken_tokenizers(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 1000, 16000, 200000, 255632};

    file_write("empty", "", 0);
    REFUSED("empty", VMT_E_FORMAT, "empty", TRANSFER, "--tokenizer", "empty");
    REFUSED("absent", VMT_E_IO, "nowhere", TRANSFER, "--tokenizer", "nowhere");
    REFUSED("weights", VMT_E_FORMAT, "SentencePiece", TRANSFER, "--tokenizer",
            MODEL "/text.safetensors");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_start("cut.model", MODEL "/spiece.model", lengths[i]);
        REFUSED("cut", VMT_E_FORMAT, "cut.model", TRANSFER, "--tokenizer", "cut.model");
    }
}

/* A model whose file has one element of these bits. */
static void damage(const char *file, const char *tensor, unsigned bits)
{
    char path[64], from[4096];

    link_model("m", file);
    snprintf(path, sizeof path, "m/%s", file);
    snprintf(from, sizeof from, MODEL "/%s", file);
    write_with_element(path, from, tensor, bits);
}

static void what_is_no_number(void **state)
{
    (void)state;
    enum { NAN_BF16 = 0x7fc0, INF_BF16 = 0x7f80, NAN_F16 = 0x7e00 };

    damage("dit.safetensors", "blocks.3.ffn.0.weight", NAN_BF16);
    REFUSED("NaN in block 3", VMT_E_NUMERIC, "block 3", TRANSFER, "-m", "m");
    damage("dit.safetensors", "blocks.7.self_attn.o.weight", INF_BF16);
    REFUSED("infinity in block 7", VMT_E_NUMERIC, "block 7", TRANSFER, "-m", "m");
    REFUSED("generate", VMT_E_NUMERIC, "block 7", "generate", "-m", "m", "-p", "x", "--size",
            "64x48", "--frames", "5", "--steps", "1", "-o", "out.y4m", "-q");
    damage("dit.safetensors", "head.head.weight", NAN_BF16);
    REFUSED("NaN in the head", VMT_E_NUMERIC, "DiT head", TRANSFER, "-m", "m");
    damage("text.safetensors", "blocks.1.ffn.fc1.weight", NAN_BF16);
    REFUSED("NaN in the text encoder", VMT_E_NUMERIC, "text", TRANSFER, "-m", "m");
    damage("vae.safetensors", "encoder.conv1.weight", NAN_F16);
    REFUSED("NaN in the encoder", VMT_E_NUMERIC, "encode", TRANSFER, "-m", "m");

    /* Here the latent is done: it is kept, and the program says so. */
    damage("vae.safetensors", "decoder.conv1.weight", NAN_F16);
    cli_result result = CLI(120, TRANSFER, "-m", "m");
    assert_int_equal(result.code, VMT_E_NUMERIC);
    assert_non_null(strstr(result.errors, "decode"));
    assert_false(file_exists("out.y4m"));
    assert_true(file_exists("out.y4m.latent.safetensors"));
    unlink("out.y4m.latent.safetensors");
    cli_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_and_foreign_weights),  cmocka_unit_test(hostile_headers),
        cmocka_unit_test(weights_of_another_model), cmocka_unit_test(hostile_pickle),
        cmocka_unit_test(broken_configs),           cmocka_unit_test(broken_shards),
        cmocka_unit_test(broken_tokenizers),        cmocka_unit_test(what_is_no_number),
    };

    if (!TEST_HAS_SENTENCEPIECE) {
        puts("SKIPPED: this build reads no prompts, so no run gets as far as these files");
        return 77;
    }
    folder_new("bad_model");
    if (chdir("bad_model"))
        return 1;
    write_reference();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
