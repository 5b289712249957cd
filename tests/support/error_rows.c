/* SPDX-License-Identifier: MIT */
#include "error_rows.h"

#include "bad_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAFETENSORS_DATA = 16 };

/* ---- the files the rows hand over, each made when its row is run */

static void make_nothing(void)
{
    folder_new("nothing");
}

static void make_empty(void)
{
    file_write("empty", "", 0);
}

static void make_cut_header(void)
{
    write_start("cut.safetensors", MODEL "/dit.safetensors", 1000);
}

static void make_cut_data(void)
{
    write_start("cut.safetensors", MODEL "/vae.safetensors", 3000000);
}

static void make_long_header(void)
{
    file_write("bad.safetensors", "\xff\xff\xff\x7f\0\0\0\0{}", 10);
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": " offsets "}"

static void header(const char *text)
{
    write_safetensors("bad.safetensors", text, SAFETENSORS_DATA);
}

static void make_no_json(void)
{
    header("{\"a\": ");
}

static void make_past_end(void)
{
    header("{\"a\": " ENTRY("F32", "[8]", "[0, 32]") "}");
}

static void make_other_size(void)
{
    header("{\"a\": " ENTRY("F32", "[3]", "[0, 16]") "}");
}

static void make_overflow(void)
{
    header("{\"a\": " ENTRY("F32", "[4294967296, 4294967296, 4]", "[0, 16]") "}");
}

static void make_overlap(void)
{
    header(
        "{\"a\": " ENTRY("F32", "[3]", "[0, 12]") ", \"b\": " ENTRY("F32", "[2]", "[8, 16]") "}");
}

static void make_hole(void)
{
    header("{\"a\": " ENTRY("F32", "[1]", "[0, 4]") ", \"b\": " ENTRY("F32", "[2]", "[8, 16]") "}");
}

static void make_foreign_lora(void)
{
    header("{\"lora_te_layers_0.lora_down.weight\": " ENTRY("F32", "[1, 4]", "[0, 16]") "}");
}

static void make_half_lora(void)
{
    header("{\"lora_unet_blocks_0_self_attn_q.lora_down.weight\": " ENTRY("F32", "[1, 4]",
                                                                          "[0, 16]") "}");
}

static void make_lora_size(void)
{
    header("{\"transformer.blocks.0.attn1.to_q.lora_A.weight\": " ENTRY(
        "F32", "[1, 2]",
        "[0, 8]") ", \"transformer.blocks.0.attn1.to_q.lora_B.weight\": " ENTRY("F32", "[2, 1]",
                                                                                "[8, 16]") "}");
}

static void make_dora(void)
{
    header("{\"lora_unet_blocks_0_self_attn_q.dora_scale\": " ENTRY("F32", "[4]", "[0, 16]") "}");
}

/* A model of two transformers, the second absent. */
static void make_half(void)
{
    folder_new("half");
    folder_new("half/high_noise_model");
    file_write("half/high_noise_model/diffusion_pytorch_model.safetensors", "x", 1);
}

static void make_dtype(void)
{
    header("{\"a\": " ENTRY("F8_E5M2", "[16]", "[0, 16]") "}");
}

static void make_axes(void)
{
    header("{\"a\": " ENTRY("F32", "[1, 1, 1, 1, 1, 4]", "[0, 16]") "}");
}

static void make_twice(void)
{
    header("{\"a\": " ENTRY("F32", "[2]", "[0, 8]") ", \"a\": " ENTRY("F32", "[2]", "[8, 16]") "}");
}

static void make_gguf(void)
{
    file_write("m.gguf", "GGUF\3\0\0\0aaaaaaaaaaaaaaaaaaaaaaaa", 32);
}

static void make_none(void)
{
    write_safetensors("none.safetensors", "{}", 0);
}

/* A copy of a file with one text replaced by another of the same length; `to` NULL: cut there. */
static void edit(const char *path, const char *source, const char *from, const char *to)
{
    size_t length;
    unsigned char *bytes = file_read(source, &length);
    unsigned char *found = memmem(bytes, length, from, strlen(from));

    if (!found || strlen(from) != strlen(to))
        fail_msg("%s: no '%s' to replace", source, from);
    memcpy(found, to, strlen(to));
    file_write(path, bytes, length);
    free(bytes);
}

static void make_pickle(void)
{
    edit("bad.pth", TEST_DATA "/golden/umt5_a.pth", "_rebuild_tensor_v2", "_rebuild_tensor_v7");
}

static void make_bare_pickle(void)
{
    file_write("bad.pth",
               "\x80\x02"
               "cposix\nsystem\nX\x02\0\0\0ls\x85R.",
               26);
}

static void make_cut_archive(void)
{
    write_start("bad.pth", TEST_DATA "/golden/umt5_a.pth", 100000);
}

static void shard_index(const char *text)
{
    file_write("m.safetensors.index.json", text, strlen(text));
}

static void make_absent_shard(void)
{
    shard_index("{\"weight_map\": {\"a\": \"absent.safetensors\"}}");
}

static void make_outside_shard(void)
{
    shard_index("{\"weight_map\": {\"a\": \"../x.safetensors\"}}");
}

static void make_empty_index(void)
{
    shard_index("{\"weight_map\": {}}");
}

static void make_nan(void)
{
    link_model("bad", "dit.safetensors");
    write_with_element("bad/dit.safetensors", MODEL "/dit.safetensors", "blocks.3.ffn.0.weight",
                       0x7fc0);
}

/* The model's config.json with one text replaced. */
static void config(const char *from, const char *to)
{
    size_t length;

    link_model("bad", "config.json");
    unsigned char *bytes = file_read(MODEL "/config.json", &length);
    const char *found = strstr((char *)bytes, from);
    const size_t room = length + strlen(to) + 1;
    char *text = malloc(room);
    if (!found || !text)
        fail_msg("no '%s' in config.json", from);
    snprintf(text, room, "%.*s%s%s", (int)(found - (char *)bytes), (char *)bytes, to,
             found + strlen(from));
    file_write("bad/config.json", text, strlen(text));
    free(text);
    free(bytes);
}

static void make_config_text(void)
{
    config("\"dim\": 256", "\"dim\" 256");
}

static void make_config_empty(void)
{
    link_model("bad", "config.json");
    file_write("bad/config.json", "", 0);
}

static void make_config_range(void)
{
    config("\"num_layers\": 8", "\"num_layers\": 1000000000");
}

static void make_config_kind(void)
{
    config("\"dim\": 256", "\"dim\": \"256\"");
}

static void make_config_heads(void)
{
    config("\"num_heads\": 4", "\"num_heads\": 3");
}

static void make_config_layers(void)
{
    config("\"num_layers\": 8", "\"num_layers\": 9");
}

static void make_config_path(void)
{
    config("dit.safetensors", "../../secret");
}

static void make_config_key(void)
{
    config("\"lr_start\"", "\"lr_begin\"");
}

static void make_config_inner(void)
{
    config("\"inner_steps\": 10", "\"inner_steps\": 0");
}

static void make_cut_tokenizer(void)
{
    write_start("cut.model", MODEL "/spiece.model", 16000);
}

static void make_text(void)
{
    file_write("text.mp4", "this is no video\n", 17);
}

/* RIFF WAVE, a tenth of a second. */
static void make_sound(void)
{
    static const unsigned char wave[44 + 1600] = {
        'R', 'I', 'F', 'F', 0x64, 6, 0,   0,   'W', 'A',  'V',  'E', 'f', 'm',  't',
        ' ', 16,  0,   0,   0,    1, 0,   1,   0,   0x40, 0x1f, 0,   0,   0x80, 0x3e,
        0,   0,   2,   0,   16,   0, 'd', 'a', 't', 'a',  0x40, 6,   0,   0};

    file_write("sound.wav", wave, sizeof wave);
}

static void make_two_sizes(void)
{
    folder_new("pictures");
    file_write("pictures/0.ppm", "P6\n2 1\n255\nabcdef", 17);
    file_write("pictures/1.ppm", "P6\n1 2\n255\nabcdef", 17);
}

static void make_cut_picture(void)
{
    folder_new("pictures");
    file_write("pictures/0.ppm", "P6\n9 9\n255\n", 11);
}

static void make_one_frame(void)
{
    write_y4m("bad.y4m", "YUV4MPEG2 W64 H48 F16:1 C444", 1, 3 * 64 * 48);
}

static void make_no_frame(void)
{
    write_y4m("bad.y4m", "YUV4MPEG2 W64 H48 F16:1 C444", 0, 0);
}

static void make_no_width(void)
{
    write_y4m("bad.y4m", "YUV4MPEG2 H48 F16:1 C444", 2, 3 * 64 * 48);
}

static void make_huge(void)
{
    write_y4m("bad.y4m", "YUV4MPEG2 W2147483647 H2147483647 F16:1 C444", 2, 64);
}

static void make_sampling(void)
{
    write_y4m("bad.y4m", "YUV4MPEG2 W64 H48 F16:1 C999", 2, 3 * 64 * 48);
}

static void make_cut_frame(void)
{
    write_start("bad.y4m", "ref.y4m", 18000);
}

static void make_frame_mark(void)
{
    size_t length;
    unsigned char *bytes = file_read("ref.y4m", &length);
    unsigned char *mark = memmem(bytes + 100, length - 100, "FRAME", 5);

    assert_non_null(mark);
    *mark = 'G';
    file_write("bad.y4m", bytes, length);
    free(bytes);
}

static void make_cut_mkv(void)
{
    write_start("bad.mkv", SOURCE_ROOT "/demo/refs/06_vertical.mkv", 60);
}

/* Bytes in the middle of a clip are zero. */
static void make_hole_mkv(void)
{
    enum { HOLE = 400 };
    size_t length;
    unsigned char *bytes = file_read(SOURCE_ROOT "/demo/refs/07_swing.mkv", &length);

    memset(bytes + length / 2, 0, HOLE);
    file_write("bad.mkv", bytes, length);
    free(bytes);
}

static void make_png(void)
{
    file_write("p.png", "", 0);
}

/* ---- files of ours, damaged */

static void make_cut_motion(void)
{
    write_start("cut.fvm", "motion.fvm", 600);
}

static void make_newer_motion(void)
{
    edit("bad.fvm", "motion.fvm", "\"format_version\":\"1\"", "\"format_version\":\"9\"");
}

static void make_method(void)
{
    edit("bad.fvm", "motion.fvm", "\"method\":\"fastvmt\"", "\"method\":\"slowvmt\"");
}

static void make_counts(void)
{
    edit("bad.fvm", "motion.fvm", "\"flow_count\":\"1\"", "\"flow_count\":\"7\"");
}

static void make_hash(void)
{
    edit("bad.fvm", "motion.fvm", "\"hash.dit\":\"6", "\"hash.dit\":\"0");
}

/* The last value of a file is no number. */
static void spoil(const char *path, const char *from)
{
    size_t length;
    unsigned char *bytes = file_read(from, &length);

    memcpy(bytes + length - 4, "\0\0\xc0\x7f", 4);
    file_write(path, bytes, length);
    free(bytes);
}

static void make_nan_motion(void)
{
    spoil("bad.fvm", "motion.fvm");
}

/* A VAE whose checksum is not that of its data. */
static void make_checksum(void)
{
    size_t length;
    unsigned char *bytes = file_read(TEST_DATA "/golden/umt5_a.pth", &length);

    bytes[length / 2] ^= 1;
    file_write("bad.pth", bytes, length);
    free(bytes);
}

static void make_cut_state(void)
{
    write_start("cut.state", "run.state", 600);
}

static void make_step(void)
{
    edit("bad.state", "run.state", "\"step\":\"2\"", "\"step\":\"9\"");
}

static void make_cut_latent(void)
{
    write_start("cut.latent", "clip.latent", 600);
}

static void make_nan_latent(void)
{
    spoil("nan.latent", "clip.latent");
}

static void make_short_latent(void)
{
    edit("bad.latent", "clip.latent", "\"width\":\"64\"", "\"width\":\"99\"");
}

static void make_width(void)
{
    write_safetensors("bad.emb", "{\"prompt\": " ENTRY("F32", "[2, 2]", "[0, 16]") "}", 16);
}

static void make_no_null(void)
{
    edit("bad.emb", "prompt.emb", "\"null\":", "\"nill\":");
}

static void make_magic(void)
{
    write_safetensors("case", "{\"__metadata__\": {\"kind\": \"magic\"}}", 0);
}

static void make_adamw(void)
{
    write_safetensors("case", "{\"__metadata__\": {\"kind\": \"adamw\"}}", 0);
}

static void make_no_weights(void)
{
    write_safetensors("case", "{\"__metadata__\": {\"kind\": \"dit\", \"weights\": \"w\"}}", 0);
}

#define QUICK "-q", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1"
#define PREPARE(...)                                                                               \
    do {                                                                                           \
        cli_result result_ = CLI(120, __VA_ARGS__);                                                \
        if (result_.code)                                                                          \
            fail_msg("%s", result_.errors);                                                        \
        cli_free(&result_);                                                                        \
    } while (0)

void error_rows_prepare(void)
{
    PREPARE("encode", "-m", "model", "-r", "ref.y4m", "-o", "clip.latent", "-q");
    PREPARE("extract", "-m", "model", "-r", "ref.y4m", "-o", "motion.fvm", QUICK);
    PREPARE("embed", "-m", "model", "-p", "a red car", "-o", "prompt.emb", "-q");
    PREPARE("transfer", "-m", "model", "-r", "ref.y4m", "-p", "x", "-o", "run.y4m", QUICK,
            "--checkpoint", "1", "--checkpoint-file", "run.state");
}

/* ---- the table */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* One row a line. */
/* clang-format off */
const error_row error_rows[] = {
    {"Command line", "no such command", ARGS("trasnfer"), 2, "no command \"trasnfer\": did you mean transfer; see fastvmt --help", NULL},
    {"Command line", "no such option", ARGS("transfer", "--setps", "4"), 2, "transfer knows no option --setps: did you mean --steps; see fastvmt transfer --help", NULL},
    {"Command line", "a value is missing", ARGS("transfer", "--steps"), 2, "--steps needs a value: N", NULL},
    {"Command line", "a value too many", ARGS("transfer", "--quiet=1"), 2, "--quiet takes no value", NULL},
    {"Command line", "letters joined", ARGS("transfer", "-qv"), 2, "-qv: letters stand alone, as in -o FILE", NULL},
    {"Command line", "a word too many", ARGS("transfer", "ref.mp4"), 2, "transfer takes no \"ref.mp4\"; see fastvmt transfer --help", NULL},
    {"Command line", "no reference", ARGS("transfer", "-m", "model", "-p", "x", "-o", "out.y4m"), 2, "transfer needs a reference: -r VIDEO, or --motion FILE", NULL},
    {"Command line", "no model", ARGS("generate", "-p", "x", "-o", "out.y4m"), 2, "no model: name its folder with -m, or its parts with --dit, --vae, --text", NULL},
    {"Command line", "no prompt", ARGS("generate", "-m", "model", "-o", "out.y4m"), 2, "generate needs a prompt: -p TEXT", NULL},
    {"Command line", "no output", ARGS("generate", "-m", "model", "-p", "x"), 2, "generate needs an output: -o FILE", NULL},
    {"Command line", "extract without a video", ARGS("extract", "-m", "model", "-o", "m.fvm"), 2, "extract needs a video: -r VIDEO", NULL},
    {"Command line", "embed without a prompt", ARGS("embed", "-m", "model", "-o", "p.emb"), 2, "embed needs a prompt: -p TEXT", NULL},
    {"Command line", "decode without a latent", ARGS("decode", "-m", "model", "-o", "out.y4m"), 2, "decode needs one latent file", NULL},
    {"Command line", "info of nothing", ARGS("info"), 2, "info needs one file or folder", NULL},
    {"Command line", "probe without an output", ARGS("probe", "case"), 2, "probe needs a case file and an output: CASE -o OUT", NULL},
    {"Command line", "make-model without a folder", ARGS("make-model"), 2, "make-model needs the folder to write", NULL},
    {"Command line", "convert without a file", ARGS("convert", "-o", "x", "--type", "bf16"), 2, "convert needs one file of weights", NULL},
    {"Command line", "convert without a type", ARGS("convert", "model/dit.safetensors", "-o", "x"), 2, "convert needs --type bf16, f16, fp8, fp8_scaled, q8_0 or q4_k", NULL},
    {"Command line", "no such type", ARGS("convert", "model/dit.safetensors", "-o", "x", "--type", "q3"), 2, "--type is 'q3', expected bf16, f16, fp8, fp8_scaled, q8_0 or q4_k", NULL},
    {"Command line", "a text encoder in ComfyUI's 8 bits", ARGS("convert", "model/text.safetensors", "-o", "x", "--type", "fp8_scaled"), 9, "model/text.safetensors: fp8_scaled is for transformers: ComfyUI's text encoders hold their tokenizer, too; expected --type fp8", NULL},
    {"Command line", "reference and motion file", ARGS("transfer", "--motion", "motion.fvm"), 2, "-r and --motion: one of the two", NULL},
    {"Command line", "motion file and stored run", ARGS("transfer", "--motion", "motion.fvm", "--resume", "run.state"), 2, "--resume holds its motion: leave out --motion", NULL},
    {"Command line", "comparison without a reference", ARGS("transfer", "-m", "model", "--motion", "motion.fvm", "-p", "x", "-o", "out.y4m", "--compare", "c.y4m"), 2, "--compare shows the reference: give it with -r", NULL},
    {"Command line", "help of no command", ARGS("help", "trasnfer"), 2, "no command \"trasnfer\": did you mean transfer; see fastvmt --help", NULL},
    {"Command line", "completion of no shell", ARGS("completion"), 2, "completion needs a shell: bash, zsh or fish", NULL},
    {"Command line", "completion of another shell", ARGS("completion", "tcsh"), 2, "completion tcsh: one of bash, zsh, fish", NULL},
    {"Command line", "manual of a command", ARGS("manual", "transfer"), 2, "manual takes no \"transfer\"; see fastvmt manual --help", NULL},
    {"Command line", "one device named", ARGS("devices", "0"), 2, "devices takes no \"0\"; see fastvmt devices --help", NULL},
    {"Values of options", "no number", ARGS("transfer", "--steps", "many"), 2, "--steps many: N from 1 to 10000", NULL},
    {"Values of options", "too small", ARGS("transfer", "--steps", "0"), 2, "--steps 0: N from 1 to 10000", NULL},
    {"Values of options", "too large", ARGS("transfer", "--steps", "1e9"), 2, "--steps 1e9: N from 1 to 10000", NULL},
    {"Values of options", "empty", ARGS("transfer", "--steps", ""), 2, "--steps \"\": N from 1 to 10000", NULL},
    {"Values of options", "not a number", ARGS("transfer", "--strength", "nan"), 2, "--strength nan: X from 0.01 to 1", NULL},
    {"Values of options", "infinite", ARGS("transfer", "--cfg", "inf"), 2, "--cfg inf: X from 0 to 100", NULL},
    {"Values of options", "unknown method", ARGS("transfer", "--method", "slowvmt"), 2, "--method slowvmt: one of fastvmt|ditflow|ditflow-10|moft|smm|motionclone|flowmotion|none|noise", NULL},
    {"Values of options", "steps guided by no method", ARGS("transfer", "--method", "none", "--guided-steps", "3"), 2, "--method none guides no step: leave --guided-steps and --guide-until out", NULL},
    {"Values of options", "no such mode", ARGS("transfer", "--mode", "faster"), 2, "--mode faster: one of exact|fast", NULL},
    {"Values of options", "an estimate that this model's shape lacks", ARGS("transfer", "--cache", "0.1", "--cache-scale", "published"), 2, "--cache-scale published: known of Wan2.1 text-to-video 1.3B and 14B only", NULL},
    {"Values of options", "released arithmetic of another method", ARGS("transfer", "--method", "smm", "--variant", "released"), 2, "--variant released is arithmetic of method fastvmt: smm takes paper", NULL},
    {"Values of options", "even window in the released arithmetic", ARGS("transfer", "--variant", "released", "--amf-window", "4"), 2, "variant released on 3x4 tokens: amf-window 4 must be odd and less than 6; choose it so, or variant paper", NULL},
    {"Values of options", "codec and ending differ", ARGS("transfer", "-o", "out.mp4", "--codec", "ffv1"), 2, "out.mp4: no --codec ffv1 there: .mp4 and .mov hold h264, .mkv h264, ffv1 or vp9, .webm vp9", NULL},
    {"Values of options", "no such codec", ARGS("transfer", "-o", "out.mkv", "--codec", "av2"), 2, "--codec av2: one of h264|ffv1|vp9", NULL},
    {"Values of options", "one side only", ARGS("transfer", "--size", "64"), 2, "--size 64: WxH from 1 to 16384", NULL},
    {"Values of options", "negative size", ARGS("transfer", "--size", "-64x48"), 2, "--size -64x48: WxH from 1 to 16384", NULL},
    {"Values of options", "a size of nothing", ARGS("transfer", "--size", "0x0"), 2, "--size 0x0: WxH from 1 to 16384", NULL},
    {"Values of options", "seed in words", ARGS("transfer", "--seed", "abc"), 2, "--seed abc: a whole number from 0 to 2^64 - 1", NULL},
    {"Values of options", "no such choice", ARGS("transfer", "--variant", "best"), 2, "--variant best: one of paper|released", NULL},
    {"Values of options", "an empty tile", ARGS("transfer", "--amf-tile", "0x2"), 2, "--amf-tile 0x2: RxC from 1 to 1024", NULL},
    {"Values of options", "a block the model lacks", ARGS("transfer", "--block", "8"), 2, "--block 8: the model has blocks 0 to 7", NULL},
    {"Values of options", "a box of nothing", ARGS("transfer", "--attention-window", "0,1,1"), 2, "--attention-window 0,1,1: T,H,W, each a number of tokens from 1 on or a share such as 50%", NULL},
    {"Values of options", "no such phase", ARGS("transfer", "--local-phases", "decode"), 2, "--local-phases decode: some of reference,guidance,sampling", NULL},
    {"Values of options", "blocks the wrong way round", ARGS("transfer", "--local-blocks", "5-2"), 2, "--local-blocks 5-2: A-B from 0 to 999", NULL},
    {"Values of options", "blocks that the model lacks", ARGS("transfer", "--attention", "local", "--local-blocks", "8-9"), 2, "--local-blocks 8-9: the model has blocks 0 to 7", NULL},
    {"Values of options", "a tile larger than its box", ARGS("transfer", "--attention", "local", "--attention-window", "1,1,1", "--attention-tile", "2,1,1"), 2, "--attention-tile: 2 tokens of axis 0 (0: time), more than the 1 that --attention-window gives", NULL},
    {"Values of options", "no such preset", ARGS("transfer", "--preset", "none"), 2, "--preset none: one of paper|released|tiny|wan", NULL},
    {"Values of options", "no such backend", ARGS("transfer", "--backend", "quantum"), 2, "backend quantum: one of auto, cuda, cpu, ref, ref64", NULL},
    {"Values of options", "no such type", ARGS("transfer", "--dtype", "int3"), 2, "dtype int3: one of auto, f32, bf16", NULL},
    {"Values of options", "too many threads", ARGS("transfer", "--threads", "5000"), 2, "--threads 5000: a whole number from 0 to 4096", NULL},
    {"Values of options", "a limit that is no size", ARGS("transfer", "--max-ram", "8Q"), 2, "--max-ram 8Q: a size, such as 64M or 2G", NULL},
    {"Values of options", "a device's limit without one", ARGS("transfer", "--backend", "ref", "--max-vram", "8G"), 2, "--max-vram: backend ref computes in memory of the host: limit it by --max-ram", NULL},
    {"Values of options", "no such way to fit", ARGS("transfer", "--fit", "squeeze"), 2, "--fit squeeze: one of crop|pad|stretch", NULL},
    {"Values of options", "no such progress", ARGS("transfer", "--progress", "loud"), 2, "--progress loud: one of bar|json|none", NULL},
    {"Values of options", "quality out of range", ARGS("transfer", "--crf", "99"), 2, "--crf 99: a whole number from 0 to 63", NULL},
    {"Values of options", "stride of nothing", ARGS("transfer", "--stride", "0"), 2, "--stride 0: a whole number from 1 to 1000", NULL},
    {"Values of options", "start past the end", ARGS("transfer", "--start", "9"), 2, "ref.y4m: --start lies behind its end: it has 9 frames", NULL},
    {"Values of options", "more frames than there are", ARGS("transfer", "--frames", "10"), 2, "ref.y4m: 10 frames asked for, only 9 there: ask for fewer with --frames, or lower --start or --stride", NULL},
    {"Values of options", "prompt that is no UTF-8", ARGS("transfer", "-p", "a \xff dog"), 2, "text is not UTF-8: byte 2 of 7 is 0xff; convert it to UTF-8", NULL},
    {"Values of options", "device in words", ARGS("transfer", "--device", "first"), 2, "--device first: a whole number from 0 to 1023", NULL},
    {"Values of options", "negative device", ARGS("transfer", "--device", "-1"), 2, "--device -1: a whole number from 0 to 1023", NULL},
    {"Values of options", "too large a device", ARGS("transfer", "--device", "1024"), 2, "--device 1024: a whole number from 0 to 1023", NULL},
    {"Values of options", "device of the CPU", ARGS("transfer", "--backend", "cpu", "--device", "1"), 2, "--device 1: backend cpu has none, only cuda does", NULL},
    {"Values of options", "device of the plain backend", ARGS("transfer", "--backend", "ref", "--device", "1"), 2, "--device 1: backend ref has none, only cuda does", NULL},
    {"Values of options", "type of the double backend", ARGS("transfer", "--backend", "ref64", "--dtype", "bf16"), 2, "backend ref64: dtype bf16, only auto (double) exists", NULL},
    {"Values of options", "no such way with damage", ARGS("transfer", "--damaged", "skip"), 2, "--damaged skip: one of error|conceal", NULL},
    {"Values of options", "no optimiser step", ARGS("transfer", "--inner-steps", "0"), 2, "--inner-steps 0: N from 1 to 1000", NULL},
    {"Outputs", "no such folder", ARGS("transfer", "-o", "absent/out.y4m"), 4, "absent/out.y4m: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "below a file", ARGS("transfer", "-o", "ref.y4m/out.y4m"), 4, "ref.y4m/out.y4m: cannot be written: folder ref.y4m/: Not a directory", NULL},
    {"Outputs", "unknown ending", ARGS("transfer", "-o", "out.xyz"), 2, "out.xyz: unknown kind of output: end it in .mp4, .mov, .mkv, .webm, .gif, .y4m, \"/\" (PNG files), %05d.png, %05d.jpg or %05d.ppm", NULL},
    {"Outputs", "no ending", ARGS("transfer", "-o", "out"), 2, "out: unknown kind of output: end it in .mp4, .mov, .mkv, .webm, .gif, .y4m, \"/\" (PNG files), %05d.png, %05d.jpg or %05d.ppm", NULL},
    {"Outputs", "a device", ARGS("transfer", "-o", "/dev/full"), 2, "/dev/full: unknown kind of output: end it in .mp4, .mov, .mkv, .webm, .gif, .y4m, \"/\" (PNG files), %05d.png, %05d.jpg or %05d.ppm", NULL},
    {"Outputs", "it is there already", ARGS("transfer", "-o", "ref.y4m"), 2, "ref.y4m exists; -y overwrites it", NULL},
    {"Outputs", "its comparison has no folder", ARGS("transfer", "--compare", "absent/c.y4m"), 4, "absent/c.y4m: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "motion file in no folder", ARGS("extract", "-m", "model", "-r", "ref.y4m", "-o", "absent/m.fvm", "-q"), 4, "absent/m.fvm: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "latent in no folder", ARGS("encode", "-m", "model", "-r", "ref.y4m", "-o", "absent/l", "-q"), 4, "absent/l: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "embeddings in no folder", ARGS("embed", "-m", "model", "-p", "x", "-o", "absent/p", "-q"), 4, "absent/p: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "stored run in no folder", ARGS("transfer", "--checkpoint", "1", "--checkpoint-file", "absent/s"), 4, "absent/s: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "kept latent in no folder", ARGS("transfer", "--latent", "absent/l", "--steps", "1"), 4, "absent/l: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "a folder where a file should be", ARGS("extract", "-m", "model", "-r", "ref.y4m", "-o", "model", "-y", "-q"), 4, "model: is a folder, expected the name of a file", NULL},
    {"Outputs", "preview never", ARGS("transfer", "--preview", "0"), 2, "--preview 0: a whole number from 1 to 1e+09", NULL},
    {"Outputs", "a place for no preview", ARGS("transfer", "--preview-path", "p.png"), 2, "--preview-path: say how often with --preview N", NULL},
    {"Outputs", "preview of another kind", ARGS("transfer", "--preview", "1", "--preview-path", "p.jpg"), 2, "p.jpg: unknown kind of picture: end it in .png or .ppm", NULL},
    {"Outputs", "preview in no folder", ARGS("transfer", "--preview", "1", "--preview-path", "absent/p.png"), 4, "absent/p.png: cannot be written: folder absent/: No such file or directory", NULL},
    {"Outputs", "preview that is there already", ARGS("transfer", "--preview", "1", "--preview-path", "p.png"), 2, "p.png exists; -y overwrites it", make_png},
    {"Model files", "no such folder", ARGS("transfer", "-m", "nowhere"), 4, "nowhere: No such file or directory", NULL},
    {"Model files", "a folder without a model", ARGS("transfer", "-m", "nothing"), 6, "nothing: no model in this folder; expected config.json with a section 'dit', or the official files (diffusion_pytorch_model.safetensors, Wan2.1_VAE.pth, models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl/spiece.model), or diffusers' folders (transformer, vae, text_encoder, tokenizer)", make_nothing},
    {"Model files", "no such file", ARGS("transfer", "--dit", "absent.safetensors"), 4, "absent.safetensors: No such file or directory", NULL},
    {"Model files", "a folder as a file", ARGS("transfer", "--dit", "model"), 4, "model: is a folder, expected a file", NULL},
    {"Model files", "empty file", ARGS("transfer", "--dit", "empty"), 5, "empty: the file is empty", make_empty},
    {"Model files", "cut within the header", ARGS("transfer", "--dit", "cut.safetensors"), 5, "cut.safetensors: a header of 21952 bytes in a file of 1000 (at most 100000000): truncated, or no safetensors file", make_cut_header},
    {"Model files", "cut within the data", ARGS("transfer", "--vae", "cut.safetensors"), 5, "cut.safetensors: tensor 'decoder.upsamples.5.residual.2.weight' ends at byte 3156166 of 2979728 bytes of data: the file is truncated", make_cut_data},
    {"Model files", "header longer than the file", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: neither safetensors, nor an index of shards, nor torch .pth, nor GGUF (10 bytes, beginning ff ff)", make_long_header},
    {"Model files", "header that is no JSON", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: not valid JSON at byte 5 of 6", make_no_json},
    {"Model files", "offsets past the end", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a' ends at byte 32 of 16 bytes of data: the file is truncated", make_past_end},
    {"Model files", "size and shape differ", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a' has 16 bytes of data, expected 12 by its shape", make_other_size},
    {"Model files", "shape that overflows", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a': the shape's size overflows", make_overflow},
    {"Model files", "two tensors in one place", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: data of tensor 'b' begins at byte 8, expected 12: tensors overlap", make_overlap},
    {"Model files", "a hole between tensors", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: data of tensor 'b' begins at byte 8, expected 4: there is a hole", make_hole},
    {"Model files", "unknown type", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a' is of type 'F8_E5M2', expected F32, F16, BF16, F64, I32, I64, U8 or F8_E4M3", make_dtype},
    {"Model files", "too many axes", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a' has more than 5 axes", make_axes},
    {"Model files", "name that occurs twice", ARGS("transfer", "--dit", "bad.safetensors"), 5, "bad.safetensors: tensor 'a' is there twice", make_twice},
    {"Model files", "damaged GGUF", ARGS("transfer", "--dit", "m.gguf"), 5, "m.gguf: 7016996765293437281 tensors and 7016996765293437281 metadata keys, expected at most 1048576 and 4096", make_gguf},
    {"Model files", "no file of tensors", ARGS("transfer", "--dit", "ref.y4m"), 5, "ref.y4m: neither safetensors, nor an index of shards, nor torch .pth, nor GGUF (83035 bytes, beginning 59 55)", NULL},
    {"Model files", "VAE as DiT", ARGS("transfer", "--dit", "model/vae.safetensors"), 6, "model/vae.safetensors: these are not the tensors of the DiT: 231 missing: patch_embedding.weight, patch_embedding.bias, text_embedding.0.weight, text_embedding.0.bias, …; 194 not part of this model: conv1.bias, conv1.weight, conv2.bias, conv2.weight, …", NULL},
    {"Model files", "text encoder as DiT", ARGS("transfer", "--dit", "model/text.safetensors"), 6, "model/text.safetensors: these are not the tensors of the DiT: 231 missing: patch_embedding.weight, patch_embedding.bias, text_embedding.0.weight, text_embedding.0.bias, …; 22 not part of this model: blocks.0.attn.k.weight, blocks.0.attn.o.weight, blocks.0.attn.q.weight, blocks.0.attn.v.weight, …", NULL},
    {"Model files", "no tensor at all", ARGS("transfer", "--dit", "none.safetensors"), 6, "none.safetensors: the patch size cannot be told from 'patch_embedding.weight': not the weights of a Wan2.1 transformer?", make_none},
    {"Model files", "pickle that calls a function", ARGS("transfer", "--text", "bad.pth"), 5, "bad.pth: data.pkl asks for 'torch._utils._rebuild_tensor_v7', which is no tensor: refused (only a dict of tensors is read)", make_pickle},
    {"Model files", "bare pickle", ARGS("transfer", "--text", "bad.pth"), 5, "bad.pth: a pickle of torch before 1.6; save it again with a newer torch, or as safetensors", make_bare_pickle},
    {"Model files", "cut archive", ARGS("transfer", "--text", "bad.pth"), 5, "bad.pth: no end of a zip directory: a damaged or truncated archive (100000 bytes); fetch the file again", make_cut_archive},
    {"Model files", "shard that is absent", ARGS("transfer", "--dit", "m.safetensors.index.json"), 4, "absent.safetensors: No such file or directory", make_absent_shard},
    {"Model files", "shard outside the folder", ARGS("transfer", "--dit", "m.safetensors.index.json"), 5, "m.safetensors.index.json: tensor 'a' lies in '../x.safetensors', expected the plain name of a file in the same folder", make_outside_shard},
    {"Model files", "index of nothing", ARGS("transfer", "--dit", "m.safetensors.index.json"), 5, "m.safetensors.index.json: no weight_map, or nothing in it: not an index of shards", make_empty_index},
    {"Model files", "one transformer of two", ARGS("transfer", "-m", "half"), 6, "half: a model of two transformers, of which that of low noise has no weights there: fetch them, or name its file with --dit-low", make_half},
    {"Model files", "low noise alone", ARGS("generate", "--dit-low", "model/dit.safetensors", "-p", "x", "-o", "out.y4m"), 2, "--dit-low model/dit.safetensors: name the transformer of high noise, too: --dit FILE", NULL},
    {"Model files", "LoRA of something else", ARGS("transfer", "--lora", "bad.safetensors"), 6, "bad.safetensors: none of its 1 keys is of this transformer (lora_te_layers_0.lora_down.weight): no LoRA of it", make_foreign_lora},
    {"Model files", "half a LoRA", ARGS("transfer", "--lora", "bad.safetensors"), 5, "bad.safetensors: blocks.0.self_attn.q.weight: one matrix of the pair is missing", make_half_lora},
    {"Model files", "LoRA for another size", ARGS("transfer", "--lora", "bad.safetensors"), 6, "bad.safetensors: blocks.0.self_attn.q.weight: 1x2 and 2x1 do not fit the transformer's 256x256: made for a model of another size?", make_lora_size},
    {"Model files", "another kind of adapter", ARGS("transfer", "--lora", "bad.safetensors"), 9, "bad.safetensors: lora_unet_blocks_0_self_attn_q.dora_scale: a kind of adapter (DoRA, LoHa, LoKr) that this version cannot apply", make_dora},
    {"Model files", "weight of a LoRA", ARGS("transfer", "--lora", "model/vae.safetensors:1e3"), 2, "model/vae.safetensors: a weight of 1000, from -100 to 100 are taken", NULL},
    {"Model files", "LoRA for the second of one", ARGS("transfer", "--lora-low", "a.safetensors"), 2, "--lora-low a.safetensors: the model has no second transformer", NULL},
    {"Model files", "NaN in the weights", ARGS("transfer", "-m", "bad", "--steps", "1"), 8, "reference, step 0: DiT block 3: hidden state: NaN or infinity", make_nan},
    {"config.json", "no JSON", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: not valid JSON at byte 128 of 2376", make_config_text},
    {"config.json", "empty", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: the file is empty", make_config_empty},
    {"config.json", "value out of range", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: 'num_layers' is not an integer from 1 to 1000", make_config_range},
    {"config.json", "text for a number", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: 'dim' is not an integer from 2 to 65536", make_config_kind},
    {"config.json", "heads do not divide dim", ARGS("transfer", "-m", "bad"), 6, "bad/config.json: dim 256 does not split into 3 heads of even width", make_config_heads},
    {"config.json", "other weights", ARGS("transfer", "-m", "bad"), 6, "bad/dit.safetensors: these are not the tensors of the DiT: 27 missing: blocks.8.modulation, blocks.8.self_attn.q.weight, blocks.8.self_attn.q.bias, blocks.8.self_attn.k.weight, …", make_config_layers},
    {"config.json", "file outside the folder", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: dit.file is not the plain name of a file in the same folder", make_config_path},
    {"config.json", "unknown key of the method", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: motion.lr_begin is no known setting", make_config_key},
    {"config.json", "no optimiser step", ARGS("transfer", "-m", "bad"), 5, "bad/config.json: 'inner_steps' is not an integer from 1 to 1000", make_config_inner},
    {"Tokenizer", "no such file", ARGS("transfer", "--tokenizer", "nowhere"), 4, "nowhere: No such file or directory", NULL},
    {"Tokenizer", "empty", ARGS("transfer", "--tokenizer", "empty"), 5, "empty: the file is empty", make_empty},
    {"Tokenizer", "another kind of file", ARGS("transfer", "--tokenizer", "ref.y4m"), 5, "ref.y4m: a field has an unknown wire type at byte 12; this is not a whole SentencePiece model", NULL},
    {"Tokenizer", "cut", ARGS("transfer", "--tokenizer", "cut.model"), 5, "cut.model: a field reaches past the end at byte 15990; this is not a whole SentencePiece model", make_cut_tokenizer},
    {"References", "no such file", ARGS("transfer", "-r", "absent.mp4"), 4, "absent.mp4: cannot be opened: No such file or directory", NULL},
    {"References", "empty", ARGS("transfer", "-r", "empty"), 5, "empty: empty file, expected a video", make_empty},
    {"References", "text", ARGS("transfer", "-r", "text.mp4"), 5, "text.mp4: not a video that libav knows, or its head is damaged", make_text},
    {"References", "sound only", ARGS("transfer", "-r", "sound.wav"), 5, "sound.wav: no video stream (1 streams, 1 of them audio): name a video", make_sound},
    {"References", "folder without pictures", ARGS("transfer", "-r", "nothing"), 5, "nothing: no pictures (.png, .ppm, .jpg) there: name a video or a folder of frames", make_nothing},
    {"References", "pictures of two sizes", ARGS("transfer", "-r", "pictures"), 5, "pictures/1.ppm: 1x2 pixels, the pictures before have 2x1: give all the same size", make_two_sizes},
    {"References", "cut picture", ARGS("transfer", "-r", "pictures"), 5, "pictures/0.ppm: the picture is cut off: 0 of 243 bytes", make_cut_picture},
    {"References", "one frame", ARGS("transfer", "-r", "bad.y4m"), 2, "the reference has one frame, in which nothing moves: give a video of two or more, or leave the motion out (generate)", make_one_frame},
    {"References", "no frame", ARGS("transfer", "-r", "bad.y4m"), 5, "bad.y4m: no frame in it: name a video with at least one", make_no_frame},
    {"References", "Y4M without a width", ARGS("transfer", "-r", "bad.y4m"), 5, "bad.y4m: frames of 0x48 pixels, expected at least 1x1", make_no_width},
    {"References", "Y4M of impossible size", ARGS("transfer", "-r", "bad.y4m"), 5, "bad.y4m: frames of 2147483647x2147483647 pixels, at most 8192 in each direction: scale it down first", make_huge},
    {"References", "Y4M of unknown sampling", ARGS("transfer", "-r", "bad.y4m"), 9, "bad.y4m: Y4M with samples C999: convert it to 8 bit C420jpeg, C422, C444 or Cmono", make_sampling},
    {"References", "Y4M cut within a frame", ARGS("transfer", "-r", "bad.y4m"), 5, "bad.y4m: frame 1 of the Y4M is cut off: 8735 of 9216 bytes; fetch the file again or take fewer frames (--frames)", make_cut_frame},
    {"References", "Y4M with a damaged frame mark", ARGS("transfer", "-r", "bad.y4m"), 5, "bad.y4m: frame 1 of the Y4M has no FRAME line", make_frame_mark},
    {"References", "cut Matroska head", ARGS("transfer", "-r", "bad.mkv"), 5, "bad.mkv: not a video that libav knows, or its head is damaged", make_cut_mkv},
    {"References", "damaged in the middle", ARGS("transfer", "-r", "bad.mkv"), 5, "bad.mkv: damaged at frame …, … s (…): fetch the file again, use frames before or behind (--start, --frames), or mend it (--damaged conceal)", make_hole_mkv},
    {"Motion files", "no such file", ARGS("transfer", "-m", "model", "--motion", "absent.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 4, "absent.fvm: No such file or directory", NULL},
    {"Motion files", "latent as motion", ARGS("transfer", "-m", "model", "--motion", "clip.latent", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 5, "clip.latent: is a fastvmt-latent, expected a fastvmt-motion file", NULL},
    {"Motion files", "cut", ARGS("transfer", "-m", "model", "--motion", "cut.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 5, "cut.fvm: a header of … bytes in a file of 600 (at most 100000000): truncated, or no safetensors file", make_cut_motion},
    {"Motion files", "newer version", ARGS("transfer", "-m", "model", "--motion", "bad.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 5, "bad.fvm: format version 9, this program knows up to 1", make_newer_motion},
    {"Motion files", "unknown method", ARGS("transfer", "-m", "model", "--motion", "bad.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 7, "bad.fvm: method is \"slowvmt\", which this program does not know", make_method},
    {"Motion files", "impossible counts", ARGS("transfer", "-m", "model", "--motion", "bad.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 5, "bad.fvm: impossible counts of guided steps, flows or pairs", make_counts},
    {"Motion files", "other settings", ARGS("transfer", "-m", "model", "--motion", "motion.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1", "--steps", "3"), 7, "motion.fvm: was made with --steps 2, this run has 3", NULL},
    {"Motion files", "another method's", ARGS("transfer", "-m", "model", "--motion", "motion.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--method", "smm", "--guided-steps", "1"), 7, "motion.fvm: was made with --method fastvmt, this run has smm", NULL},
    {"Motion files", "other size", ARGS("transfer", "-m", "model", "--motion", "motion.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1", "--size", "32x32"), 7, "motion.fvm: was made for 64x48 with 9 frames, this run asks for another size", NULL},
    {"Motion files", "other weights", ARGS("transfer", "-m", "model", "--motion", "bad.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 7, "bad.fvm: was made with another dit (hash 0b52f20140a3, now 6b52f20140a3)", make_hash},
    {"Motion files", "NaN", ARGS("transfer", "-m", "model", "--motion", "bad.fvm", "-p", "x", "-o", "out.y4m", "-q", "--steps", "2", "--guided-steps", "1"), 8, "bad.fvm: \"flows\" holds a value that is no number", make_nan_motion},
    {"Show", "no video", ARGS("show"), 2, "show needs the video whose motion to draw", NULL},
    {"Show", "two videos", ARGS("show", "ref.y4m", "-r", "ref.y4m", "--motion", "motion.fvm", "-o", "flow.y4m"), 2, "show takes one video", NULL},
    {"Show", "neither motion nor model", ARGS("show", "ref.y4m", "-o", "flow.y4m"), 2, "show needs a motion file or a model: --motion FILE or -m DIR, one of the two", NULL},
    {"Show", "motion and model", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "-m", "model", "-o", "flow.y4m"), 2, "show needs a motion file or a model: --motion FILE or -m DIR, one of the two", NULL},
    {"Show", "a method without flow", ARGS("show", "ref.y4m", "-m", "model", "--method", "smm", "-o", "flow.y4m"), 9, "method smm measures no flow to show", NULL},
    {"Show", "no output", ARGS("show", "ref.y4m", "--motion", "motion.fvm"), 2, "show needs an output: -o FILE", NULL},
    {"Show", "settings beside a motion file", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "--steps", "3", "-o", "flow.y4m"), 2, "--motion: the settings are those of the file; leave out --steps", NULL},
    {"Show", "video that is absent", ARGS("show", "absent.mp4", "--motion", "motion.fvm", "-o", "flow.y4m"), 4, "absent.mp4: cannot be opened: No such file or directory", NULL},
    {"Show", "motion file that is absent", ARGS("show", "ref.y4m", "--motion", "absent.fvm", "-o", "flow.y4m"), 4, "absent.fvm: No such file or directory", NULL},
    {"Show", "latent as motion", ARGS("show", "ref.y4m", "--motion", "clip.latent", "-o", "flow.y4m"), 5, "clip.latent: is a fastvmt-latent, expected a fastvmt-motion file", NULL},
    {"Show", "motion file as video", ARGS("show", "motion.fvm", "--motion", "motion.fvm", "-o", "flow.y4m"), 5, "motion.fvm: not a video that libav knows, or its head is damaged", NULL},
    {"Show", "fewer frames than the motion file", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "--start", "4", "-o", "flow.y4m"), 2, "ref.y4m: 9 frames asked for, only 5 there: ask for fewer with --frames, or lower --start or --stride", NULL},
    {"Show", "unknown ending", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "-o", "flow.xyz"), 2, "flow.xyz: unknown kind of output: end it in .mp4, .mov, .mkv, .webm, .gif, .y4m, \"/\" (PNG files), %05d.png, %05d.jpg or %05d.ppm", NULL},
    {"Show", "output in no folder", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "-o", "absent/flow.y4m"), 4, "absent/flow.y4m: cannot be written: folder absent/: No such file or directory", NULL},
    {"Show", "output that is there already", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "-o", "ref.y4m"), 2, "ref.y4m exists; -y overwrites it", NULL},
    {"Show", "quality that the codec lacks", ARGS("show", "ref.y4m", "--motion", "motion.fvm", "-o", "flow.mp4", "--crf", "60"), 2, "--crf 60: 0 to 51 for h264", NULL},
    {"Stored runs", "no such file", ARGS("transfer", "--resume", "absent.state", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "-p", "x"), 4, "absent.state: No such file or directory", NULL},
    {"Stored runs", "motion file as stored run", ARGS("transfer", "--resume", "motion.fvm", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "-p", "x"), 5, "motion.fvm: is a fastvmt-motion, expected a fastvmt-state file", NULL},
    {"Stored runs", "cut", ARGS("transfer", "--resume", "cut.state", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "-p", "x"), 5, "cut.state: a header of … bytes in a file of 600 (at most 100000000): truncated, or no safetensors file", make_cut_state},
    {"Stored runs", "other prompt", ARGS("transfer", "--resume", "run.state", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "-p", "y"), 7, "run.state: was made with --prompt x, this run has y", NULL},
    {"Stored runs", "of another command", ARGS("generate", "-m", "model", "-p", "x", "-o", "out.y4m", "-q", "--resume", "run.state"), 7, "run.state: is the state of a transfer run, not of generate", NULL},
    {"Stored runs", "impossible step", ARGS("transfer", "--resume", "bad.state", "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "-p", "x"), 5, "bad.state: impossible step 9, inner step 0", make_step},
    {"Latents and embeddings", "weights as latent", ARGS("decode", "-m", "model", "model/vae.safetensors", "-o", "out.y4m", "-q"), 5, "model/vae.safetensors: is no file of fastvmt's, expected a fastvmt-latent file", NULL},
    {"Latents and embeddings", "video as latent", ARGS("decode", "-m", "model", "ref.y4m", "-o", "out.y4m", "-q"), 5, "ref.y4m: neither safetensors, nor an index of shards, nor torch .pth, nor GGUF (83035 bytes, beginning 59 55)", NULL},
    {"Latents and embeddings", "cut latent", ARGS("decode", "-m", "model", "cut.latent", "-o", "out.y4m", "-q"), 5, "cut.latent: a header of … bytes in a file of 600 (at most 100000000): truncated, or no safetensors file", make_cut_latent},
    {"Latents and embeddings", "NaN in a latent", ARGS("decode", "-m", "model", "nan.latent", "-o", "out.y4m", "-q"), 8, "nan.latent: \"latent\" holds a value that is no number", make_nan_latent},
    {"Latents and embeddings", "latent smaller than it says", ARGS("decode", "-m", "model", "bad.latent", "-o", "out.y4m", "-q"), 5, "bad.latent: a latent of 16x3x6x8 does not hold 9 frames of 99x48", make_short_latent},
    {"Latents and embeddings", "latent as embeddings", ARGS("transfer", "--embeddings", "clip.latent"), 5, "clip.latent: no tensor \"prompt\"; a file of prompt embeddings has it", NULL},
    {"Latents and embeddings", "rows of another width", ARGS("transfer", "--embeddings", "bad.emb"), 6, "bad.emb: prompt is 2x2, this model reads 1 to 64 rows of 128; make the embeddings with the model's own text encoder", make_width},
    {"Latents and embeddings", "embeddings without the empty prompt", ARGS("transfer", "--embeddings", "bad.emb"), 5, "bad.emb: no tensor \"null\", which this run needs", make_no_null},
    {"Cases of probe", "no such file", ARGS("probe", "absent", "-o", "out"), 4, "absent: No such file or directory", NULL},
    {"Cases of probe", "no case", ARGS("probe", "model/text.safetensors", "-o", "out"), 5, "model/text.safetensors: no metadata \"kind\": not a case file", NULL},
    {"Cases of probe", "unknown kind", ARGS("probe", "case", "-o", "out"), 9, "case: unknown kind of case \"magic\"", make_magic},
    {"Cases of probe", "inputs are missing", ARGS("probe", "case", "-o", "out"), 5, "case adamw: case: no tensor in.x", make_adamw},
    {"Cases of probe", "weights that are not beside it", ARGS("probe", "case", "-o", "out"), 4, "case dit: ./w.safetensors: No such file or directory", make_no_weights},
    {"Info", "no such file", ARGS("info", "absent"), 4, "absent: No such file or directory", NULL},
    {"Info", "empty file", ARGS("info", "empty"), 5, "empty: the file is empty", make_empty},
    {"Info", "a folder without a model", ARGS("info", "nothing"), 6, "nothing: no model in this folder; expected config.json with a section 'dit', or the official files (diffusion_pytorch_model.safetensors, Wan2.1_VAE.pth, models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl/spiece.model), or diffusers' folders (transformer, vae, text_encoder, tokenizer)", make_nothing},
    {"Info", "two files", ARGS("info", "ref.y4m", "model"), 2, "info needs one file or folder", NULL},
    {"Info", "check of nothing", ARGS("info", "--check"), 2, "info needs one file or folder", NULL},
    {"Info", "check of an absent model", ARGS("info", "--check", "absent"), 4, "absent: No such file or directory", NULL},
    {"Info", "check of a video", ARGS("info", "--check", "ref.y4m"), 2, "ref.y4m: --check is for models and files of tensors", NULL},
    {"Info", "check of a file cut short", ARGS("info", "--check", "cut.safetensors"), 5, "cut.safetensors: tensor 'decoder.upsamples.5.residual.2.weight' ends at byte 3156166 of 2979728 bytes of data: the file is truncated", make_cut_data},
    {"Info", "check of a file with a wrong byte", ARGS("info", "--check", "bad.pth"), 5, "bad.pth: entry 'umt5_a/data/23' has checksum b91d6969, its directory says d064620c: damaged, or saved without checksums", make_checksum},
    {"Info", "check of weights with NaN", ARGS("info", "--check", "bad"), 8, "bad/dit.safetensors: tensor 'blocks.3.ffn.0.weight': value 3 is NaN or infinite", make_nan},
    {"Score", "no result", ARGS("score", "ref.y4m"), 2, "score takes a reference and at least one result", NULL},
    {"Score", "reference that is absent", ARGS("score", "absent.mp4", "ref.y4m"), 4, "absent.mp4: cannot be opened: No such file or directory", NULL},
    {"Score", "result that is no video", ARGS("score", "ref.y4m", "motion.fvm"), 5, "motion.fvm: not a video that libav knows, or its head is damaged", NULL},
    {"Score", "too small a size", ARGS("score", "ref.y4m", "ref.y4m", "--size", "64x16"), 2, "a clip of 64x16 pixels is too small to score: 32 in each direction at least", NULL},
    {"Score", "one frame", ARGS("score", "ref.y4m", "ref.y4m", "--frames", "1"), 2, "a clip of 1 frame has no motion to score", NULL},
    {"Score", "more frames than there are", ARGS("score", "ref.y4m", "ref.y4m", "--frames", "10"), 2, "ref.y4m: 10 frames asked for, only 9 there: ask for fewer with --frames, or lower --start or --stride", NULL},
    {"Score", "pictures of two results", ARGS("score", "ref.y4m", "ref.y4m", "ref.y4m", "--picture", "p.png"), 2, "--picture shows one result; score the others without it", NULL},
    {"Score", "settings of a model that is not named", ARGS("score", "ref.y4m", "ref.y4m", "--block", "3"), 2, "--block needs a model: -m DIR", NULL},
    {"Score", "kind of picture", ARGS("score", "ref.y4m", "ref.y4m", "--picture", "p.bmp"), 2, "p.bmp: unknown kind of picture: end it in .png or .ppm", NULL},
    {"Bench", "no such part", ARGS("bench", "--parts", "dit,vae"), 2, "the bench has no part 'vae'; it has dit, block, attention, text, encode, decode, load, memory, ops", NULL},
    {"Bench", "no part", ARGS("bench", "--parts", ""), 2, "the bench is asked for no part", NULL},
    {"Bench", "no such bench", ARGS("bench", "speed"), 2, "bench speed: bench takes nothing, ops, transfer, methods, reuse or table", NULL},
    {"Bench", "methods without a model", ARGS("bench", "methods"), 2, "bench methods needs a model: -m DIR", NULL},
    {"Bench", "parts of methods", ARGS("bench", "methods", "-m", "model", "--parts", "dit"), 2, "bench methods takes no --parts, --op or --shape", NULL},
    {"Bench", "two lengths of methods", ARGS("bench", "methods", "-m", "model", "--full", "--runs", "2"), 2, "bench methods takes --full or --runs: both say how many steps", NULL},
    {"Bench", "embeddings of parts", ARGS("bench", "--embeddings", "prompt.emb"), 2, "--embeddings belongs to bench methods and bench reuse", NULL},
    {"Bench", "table without a manifest", ARGS("bench", "table", "-m", "model", "-o", "t"), 2, "bench table takes one manifest: bench table FILE.jsonl", NULL},
    {"Bench", "table without a folder", ARGS("bench", "table", "ref.y4m", "-m", "model"), 2, "bench table needs a folder for its results: -o DIR", NULL},
    {"Bench", "table without a model", ARGS("bench", "table", "ref.y4m", "-o", "t"), 2, "bench table needs a model: -m DIR", NULL},
    {"Bench", "manifest that is absent", ARGS("bench", "table", "absent.jsonl", "-m", "model", "-o", "t"), 4, "absent.jsonl: No such file or directory", NULL},
    {"Bench", "a part that is none", ARGS("bench", "table", "ref.y4m", "-m", "model", "-o", "t", "--shard", "3/2"), 2, "--shard 3/2: expected I/N with 1 <= I <= N", NULL},
    {"Bench", "kind of videos", ARGS("bench", "table", "ref.y4m", "-m", "model", "-o", "t", "--videos", "avi"), 2, "--videos avi: one of mp4|gif|y4m|none", NULL},
    {"Bench", "report of no results", ARGS("bench", "table", "--report", "-o", "absent"), 4, "absent: cannot be read: No such file or directory", NULL},
    {"Bench", "options of a table", ARGS("bench", "--jobs", "2"), 2, "--jobs belongs to bench table", NULL},
    {"Bench", "no such op", ARGS("bench", "ops", "--op", "dot"), 2, "no op 'dot'; such as linear, attention, conv3d", NULL},
    {"Bench", "op of other parts", ARGS("bench", "--op", "linear"), 2, "--op belongs to part ops", NULL},
    {"Bench", "parts of ops", ARGS("bench", "ops", "--parts", "dit"), 2, "bench ops takes no --parts", NULL},
    {"Bench", "no such shape", ARGS("bench", "--shape", "7b"), 2, "shape 7b: one of tiny, 1.3b, 14b", NULL},
    {"Bench", "no run", ARGS("bench", "--runs", "0"), 2, "--runs 0: a whole number from 1 to 1000", NULL},
    {"Bench", "frames too large", ARGS("bench", "--size", "9000x9000"), 2, "bench of 9000x9000, 17 frames, 5 runs; possible are sides up to 8192, 1024 frames, 1000 runs", NULL},
    {"Bench", "settings of a transfer", ARGS("bench", "--steps", "3"), 2, "--steps belongs to bench transfer", NULL},
    {"Bench", "transfer without a model", ARGS("bench", "transfer"), 2, "bench transfer needs a model: -m DIR", NULL},
    {"Bench", "parts of a transfer", ARGS("bench", "transfer", "-m", "model", "--parts", "dit"), 2, "bench transfer takes no --parts, --op, --full or --shape", NULL},
    {"Bench", "model that is absent", ARGS("bench", "-m", "absent"), 4, "absent: No such file or directory", NULL},
    {"Bench", "other weights than the transformer's", ARGS("bench", "--vae", "model/vae.safetensors"), 2, "bench reads a model's transformer only: -m DIR or --dit FILE", NULL},
    {"Bench", "in double precision", ARGS("bench", "--backend", "ref64"), 9, "the bench computes in f32 or bf16, not in F64", NULL},
    {"Made-up models", "a folder that holds a model", ARGS("make-model", "model"), 2, "model: a folder with something in it: name a new one", NULL},
    {"Made-up models", "a file for the folder", ARGS("make-model", "ref.y4m"), 4, "ref.y4m: Not a directory", NULL},
    {"Made-up models", "below no folder", ARGS("make-model", "absent/new"), 4, "absent/new: cannot be made: No such file or directory", NULL},
    {"Made-up models", "no such shape", ARGS("make-model", "new", "--shape", "huge"), 2, "shape huge: one of tiny, 1.3b, 14b", NULL},
    {"Made-up models", "no such type", ARGS("make-model", "new", "--type", "q4_k"), 2, "--type q4_k: one of f32, bf16, f16", NULL},
    {"Made-up models", "no such text encoder", ARGS("make-model", "new", "--text-shape", "large"), 2, "text shape large: one of small, xxl", NULL},
    {"Made-up models", "no such VAE", ARGS("make-model", "new", "--vae-shape", "large"), 2, "VAE shape large: one of small, wan", NULL},
    {"Made-up models", "tokenizer that is absent", ARGS("make-model", "new", "--tokenizer", "absent"), 4, "absent: No such file or directory", NULL},
    {"Limits", "more memory than there is", ARGS("transfer", "--size", "8192x8192", "--frames", "81"), 3, "sample needs … MiB at least, usable are …: --size … or --frames … fits", NULL},
    {"Limits", "a limit that cannot be kept", ARGS("transfer", "--size", "320x192", "--frames", "33", "--max-ram", "64M"), 3, "sample needs … MiB at least, --max-ram allows 64: raise it; --size … or --frames … fits", NULL},
    {"Limits", "an extract within a limit that cannot be kept", ARGS("extract", "-m", "model", "-r", "ref.y4m", "-o", "new.fvm", "-q", "--max-ram", "33M"), 3, "… frames of … need … MiB at least, the limit is 33", NULL},
    {"Limits", "a prompt within a limit that cannot be kept", ARGS("embed", "-m", "model", "-p", "a red car", "-o", "new.emb", "-q", "--max-ram", "3M"), 3, "needs … MiB at least, --max-ram allows 3.0", NULL},
    {"Limits", "an encode within a limit that cannot be kept", ARGS("encode", "-m", "model", "-r", "ref.y4m", "-o", "new.latent", "-q", "--max-ram", "33M"), 3, "needs … MiB at least, --max-ram allows 33.0", NULL},
    {"Limits", "a size too large", ARGS("transfer", "--size", "99999x9"), 2, "--size 99999x9: WxH from 1 to 16384", NULL},
};
/* clang-format on */

const size_t error_row_count = sizeof error_rows / sizeof *error_rows;
