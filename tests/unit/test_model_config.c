/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "model/model_config.h"
#include "model/model_paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static vmt_ctx bare;

static vmt_tensor_file *open_golden(const char *name)
{
    char path[512];
    vmt_tensor_file *file;

    snprintf(path, sizeof path, TEST_DATA "/golden/%s", name);
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, path));
    return file;
}

/* Metadata of the weight file, and what the shapes tell. */
static void from_metadata(void **state)
{
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;
    vmt_tensor_file *file = open_golden("dit_a.weights.safetensors");

    (void)state;
    CHECK_OK(&bare, vmt_dit_config_read(&bare, &dit, NULL, file));
    vmt_tensor_file_close(file);
    assert_int_equal(dit.dim, 64);
    assert_int_equal(dit.ffn_dim, 160);
    assert_int_equal(dit.heads, 4);
    assert_int_equal(dit.layers, 3);
    assert_int_equal(dit.freq_dim, 256);
    assert_int_equal(dit.text_dim, 32);
    assert_int_equal(dit.text_len, 512);
    assert_int_equal(dit.in_dim, 16);
    assert_int_equal(dit.out_dim, 16);
    assert_int_equal(dit.patch[0] * 100 + dit.patch[1] * 10 + dit.patch[2], 122);
    assert_true(dit.eps == 1e-6 && dit.rope_theta == 10000.0);

    file = open_golden("vae_a.weights.safetensors");
    CHECK_OK(&bare, vmt_vae_config_read(&bare, &vae, NULL, file));
    vmt_tensor_file_close(file);
    assert_int_equal(vae.dim, 4);
    assert_int_equal(vae.z_dim, 16);
    assert_int_equal(vae.mult[3], 4);
    assert_true(!vae.time_down[0] && vae.time_down[2]);
    assert_true(vae.mean[15] == -0.2921 && vae.std[0] == 2.8184);

    file = open_golden("umt5_a.weights.safetensors");
    CHECK_OK(&bare, vmt_text_config_read(&bare, &text, NULL, file));
    vmt_tensor_file_close(file);
    assert_int_equal(text.vocab, 100);
    assert_int_equal(text.dim, 48);
    assert_int_equal(text.dim_attn, 64);
    assert_int_equal(text.dim_ffn, 80);
    assert_int_equal(text.heads, 4);
    assert_int_equal(text.layers, 3);
    assert_int_equal(text.buckets, 32);
    assert_int_equal(text.max_distance, 128);
}

/* .pth files have no metadata: all from the shapes. */
static void from_shapes(void **state)
{
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;
    vmt_tensor_file *file = open_golden("vae_a.pth");

    (void)state;
    CHECK_OK(&bare, vmt_vae_config_read(&bare, &vae, NULL, file));
    assert_int_equal(vae.dim, 4);
    assert_int_equal(vae.z_dim, 16);
    assert_int_equal(vmt_dit_config_read(&bare, &dit, NULL, file), VMT_E_MODEL);
    assert_int_equal(vmt_text_config_read(&bare, &text, NULL, file), VMT_E_MODEL);
    vmt_tensor_file_close(file);
    file = open_golden("umt5_a.pth");
    CHECK_OK(&bare, vmt_text_config_read(&bare, &text, NULL, file));
    assert_int_equal(text.dim_attn, 64);
    assert_int_equal(text.layers, 3);
    assert_int_equal(text.heads, 4);
    vmt_tensor_file_close(file);
}

static vmt_config_file *parse(const char *text)
{
    vmt_config_file *config;
    CHECK_OK(&bare, vmt_config_file_parse(&bare, &config, text, strlen(text), "config.json"));
    return config;
}

/* The official config.json of the 1.3B model, keys and values as published. */
static void official_config(void **state)
{
    vmt_tensor_file *file = open_golden("dit_a.weights.safetensors");
    vmt_config_file *config = parse(
        "{\"_class_name\":\"WanModel\",\"_diffusers_version\":\"0.30.0\",\"dim\":1536,\"eps\":1e-"
        "06,"
        "\"ffn_dim\":8960,\"freq_dim\":256,\"in_dim\":16,\"model_type\":\"t2v\",\"num_heads\":12,"
        "\"num_layers\":30,\"out_dim\":16,\"text_len\":512}");
    vmt_model_defaults defaults;
    vmt_dit_config dit;

    (void)state;
    CHECK_OK(&bare, vmt_dit_config_read(&bare, &dit, config, file));
    assert_int_equal(dit.dim, 1536);
    assert_int_equal(dit.heads, 12);
    assert_int_equal(dit.layers, 30);
    CHECK_OK(&bare, vmt_model_defaults_read(&bare, &defaults, config));
    assert_false(defaults.has_motion);
    assert_int_equal(defaults.named, 0);
    assert_null(vmt_config_file_part(config, "dit"));
    vmt_config_file_close(config);
    vmt_tensor_file_close(file);
}

static void refuse(const char *json, enum vmt_status expected, const char *reason)
{
    vmt_tensor_file *dit_file = open_golden("dit_a.weights.safetensors");
    vmt_tensor_file *vae_file = open_golden("vae_a.weights.safetensors");
    vmt_tensor_file *text_file = open_golden("umt5_a.weights.safetensors");
    vmt_config_file *config = NULL;
    vmt_model_defaults defaults;
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;

    enum vmt_status status =
        vmt_config_file_parse(&bare, &config, json, strlen(json), "config.json");
    if (status == VMT_OK)
        status = vmt_dit_config_read(&bare, &dit, config, dit_file);
    if (status == VMT_OK)
        status = vmt_vae_config_read(&bare, &vae, config, vae_file);
    if (status == VMT_OK)
        status = vmt_text_config_read(&bare, &text, config, text_file);
    if (status == VMT_OK)
        status = vmt_model_defaults_read(&bare, &defaults, config);
    if (status != expected || (reason && !strstr(bare.message, reason)))
        fail_msg("%s: status %d, '%s'", json, status, bare.message);
    vmt_config_file_close(config);
    vmt_tensor_file_close(dit_file);
    vmt_tensor_file_close(vae_file);
    vmt_tensor_file_close(text_file);
}

/* A VAE whose metadata says this. */
static void refuse_metadata(const char *json, enum vmt_status expected, const char *reason)
{
    float values[32] = {0};
    const vmt_named_tensor tensors[] = {
        {"decoder.conv1.weight", vmt_tensor_over(values, VMT_F32, VMT_SHAPE(2, 16, 1, 1, 1))},
        {"encoder.conv1.weight", vmt_tensor_over(values, VMT_F32, VMT_SHAPE(2, 3, 1, 1, 1))}};
    const char *const meta[] = {VMT_VAE_META, json, NULL};
    vmt_vae_config vae;
    vmt_tensor_file *file;

    CHECK_OK(&bare, vmt_safetensors_write(&bare, "meta.safetensors", tensors, 2, meta));
    CHECK_OK(&bare, vmt_tensor_file_open(&bare, &file, "meta.safetensors"));
    const enum vmt_status status = vmt_vae_config_read(&bare, &vae, NULL, file);
    if (status != expected || (reason && !strstr(bare.message, reason)))
        fail_msg("%.80s: status %d, '%s'", json, status, bare.message);
    if (reason && !strstr(bare.message, "meta.safetensors"))
        fail_msg("'%s' names no file", bare.message);
    vmt_tensor_file_close(file);
    unlink("meta.safetensors");
}

/* The section of an autoencoder in its weights' metadata is as little trusted as a file. */
static void bad_metadata(void **state)
{
    char deep[5000], wide[40001];

    (void)state;
    refuse_metadata("{}", VMT_OK, NULL);
    refuse_metadata("{\"z_dim\":2,\"mean\":[1,2],\"std\":[1,2]}", VMT_OK, NULL);
    refuse_metadata("", VMT_E_FORMAT, "metadata 'vae_config'");
    refuse_metadata("[1,2]", VMT_E_FORMAT, "expected one JSON object");
    refuse_metadata("{\"std\":\"all\"}", VMT_E_FORMAT, "'std' is not a list of 16");
    refuse_metadata("{\"z_dim\":2,\"mean\":[0,0],\"std\":[1,1e999]}", VMT_E_FORMAT, "from 1e-06");
    refuse_metadata("{\"dim_mult\":[1,2,{},4]}", VMT_E_FORMAT, "integer from");
    refuse_metadata("{\"temporal_downsample\":[0,1,1]}", VMT_E_FORMAT, "true or false");
    refuse_metadata("{\"num_res_blocks\":1e9}", VMT_E_FORMAT, "num_res_blocks");
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"mean\":", 8);
    deep[sizeof deep - 1] = 0;
    refuse_metadata(deep, VMT_E_FORMAT, "not valid JSON");
    memcpy(wide, "{\"mean\":[", 10);
    for (size_t i = 9; i < sizeof wide - 3; i++)
        wide[i] = i % 2 ? '1' : ',';
    memcpy(wide + sizeof wide - 3, "]}", 3);
    refuse_metadata(wide, VMT_E_FORMAT, "16 entries");
}

static void bad_values(void **state)
{
    (void)state;
    refuse("{\"dit\":{}}", VMT_OK, NULL);
    refuse("{\"dit\":{\"dim\":0}}", VMT_E_FORMAT, "'dim'");
    refuse("{\"dit\":{\"dim\":65538}}", VMT_E_FORMAT, "'dim'");
    refuse("{\"dit\":{\"dim\":64.5}}", VMT_E_FORMAT, "'dim'");
    refuse("{\"dit\":{\"dim\":\"64\"}}", VMT_E_FORMAT, "'dim'");
    refuse("{\"dit\":{\"dim\":1e300}}", VMT_E_FORMAT, "'dim'");
    /* keys of diffusers and transformers */
    refuse("{\"_class_name\":\"WanTransformer3DModel\",\"num_attention_heads\":4,"
           "\"attention_head_dim\":16,\"qk_norm\":\"rms_norm_across_heads\",\"image_dim\":null}",
           VMT_OK, NULL);
    refuse("{\"num_attention_heads\":8,\"attention_head_dim\":16}", VMT_E_FORMAT, "8 to 8");
    refuse("{\"_class_name\":\"WanVACETransformer3DModel\"}", VMT_E_UNSUPPORTED, "VACE");
    refuse("{\"qk_norm\":\"layer_norm\"}", VMT_E_UNSUPPORTED, "layer_norm");
    refuse("{\"_class_name\":\"AutoencoderKLWan\",\"is_residual\":true}", VMT_E_UNSUPPORTED,
           "is_residual");
    refuse("{\"_class_name\":\"AutoencoderKLWan\",\"latents_std\":[1]}", VMT_E_FORMAT,
           "16 entries");
    refuse("{\"model_type\":\"umt5\",\"feed_forward_proj\":\"relu\"}", VMT_E_UNSUPPORTED, "relu");
    refuse("{\"model_type\":\"umt5\",\"d_model\":0}", VMT_E_FORMAT, "d_model");
    refuse("{\"dit\":{\"num_heads\":5}}", VMT_E_MODEL, "5 heads");
    refuse("{\"dit\":{\"num_heads\":64}}", VMT_E_MODEL, "64 heads");
    refuse("{\"dit\":{\"freq_dim\":255}}", VMT_E_MODEL, "odd");
    refuse("{\"dit\":{\"num_layers\":1001}}", VMT_E_FORMAT, "num_layers");
    refuse("{\"dit\":{\"patch_size\":[1,2]}}", VMT_E_FORMAT, "3 entries");
    refuse("{\"dit\":{\"patch_size\":[1,2,-2]}}", VMT_E_FORMAT, "1 to 16");
    refuse("{\"dit\":{\"eps\":0}}", VMT_E_FORMAT, "eps");
    refuse("{\"dit\":{\"model_type\":\"i2v\"}}", VMT_E_UNSUPPORTED, "text-to-video");
    refuse("{\"dit\":{\"qk_norm\":false}}", VMT_E_UNSUPPORTED, "qk_norm");
    refuse("{\"dit\":{\"file\":\"../x\"}}", VMT_E_FORMAT, "dit.file");
    refuse("{\"dit\":[]}", VMT_E_FORMAT, "no object");
    refuse("{\"vae\":{\"z_dim\":65}}", VMT_E_FORMAT, "z_dim");
    refuse("{\"vae\":{\"z_dim\":17}}", VMT_E_MODEL, "mean and std");
    refuse("{\"vae\":{\"z_dim\":2,\"mean\":[0,0],\"std\":[1,1]}}", VMT_OK, NULL);
    refuse("{\"vae\":{\"z_dim\":2,\"mean\":[0,0],\"std\":[1,0]}}", VMT_E_FORMAT, "number from");
    refuse("{\"vae\":{\"std\":[1,1]}}", VMT_E_FORMAT, "16 entries");
    refuse("{\"vae\":{\"dim_mult\":[1,2,4]}}", VMT_E_FORMAT, "4 entries");
    refuse("{\"vae\":{\"dim\":3,\"dim_mult\":[1,1,2,2]}}", VMT_E_MODEL, "odd number");
    refuse("{\"vae\":{\"stride\":[4,8,16]}}", VMT_E_FORMAT, "from 8 to 8");
    refuse("{\"text\":{\"num_heads\":5}}", VMT_E_MODEL, "5 heads");
    refuse("{\"text\":{\"num_buckets\":3}}", VMT_E_FORMAT, "num_buckets");
    refuse("{\"text\":{\"max_distance\":8}}", VMT_E_MODEL, "a quarter");
    refuse("{\"text\":{\"shared_pos\":true}}", VMT_E_UNSUPPORTED, "shared_pos");
    refuse("{\"text\":{\"eos_id\":2}}", VMT_E_UNSUPPORTED, "eos_id");
    refuse("{\"motion\":{\"windw\":5}}", VMT_E_FORMAT, "motion.windw");
    refuse("{\"motion\":{\"inner_steps\":0}}", VMT_E_FORMAT, "from 1 to 1000");
    refuse("{\"motion\":{\"window\":-1}}", VMT_E_FORMAT, "window");
    refuse("{\"motion\":{\"tile\":[2]}}", VMT_E_FORMAT, "2 integers");
    refuse("{\"motion\":{\"start\":\"middle\"}}", VMT_E_FORMAT, "start");
    refuse("{\"motion\":{\"optimizer\":\"sgd\"}}", VMT_E_UNSUPPORTED, "optimizer");
    refuse("{\"sampling\":{\"num_train_timesteps\":100}}", VMT_E_FORMAT, "num_train_timesteps");
    refuse("{\"dit\":", VMT_E_FORMAT, "JSON");
}

/* A key of config.json takes what the option of the same setting takes, and no other number. */
static void same_ranges(void **state)
{
    static const struct {
        const char *section, *key, *option;
        bool pair;
    } keys[] = {
        {"sampling", "steps", "steps", false},
        {"sampling", "guide_scale", "cfg", false},
        {"sampling", "shift", "shift", false},
        {"motion", "denoising_strength", "strength", false},
        {"motion", "block", "block", false},
        {"motion", "guided_steps", "guided-steps", false},
        {"motion", "guide_until", "guide-until", false},
        {"motion", "inner_steps", "inner-steps", false},
        {"motion", "grad_interval", "grad-reuse-interval", false},
        {"motion", "lr_start", "lr-first", false},
        {"motion", "lr_end", "lr-last", false},
        {"motion", "temperature", "logit-scale", false},
        {"motion", "frame_range", "max-frame-gap", false},
        {"motion", "tile", "amf-tile", true},
        {"motion", "window", "amf-window", false},
        {"motion", "amf_weight", "amf-weight", false},
        {"motion", "track_weight", "track-weight", false},
        {"motion", "last_pair_weight", "last-pair-weight", false},
        {"motion", "weight_decay", "weight-decay", false},
        {"motion", "beta1", "beta1", false},
        {"motion", "beta2", "beta2", false},
        {"motion", "adam_eps", "adam-eps", false},
    };
    static const char *const values[] = {
        "-1",        "0",    "1e-31", "1e-30", "0.0009", "0.001", "0.009",  "0.01",   "0.5",
        "0.9999999", "1",    "1.1",   "2",     "10",     "10.5",  "100",    "101",    "999",
        "1000",      "1001", "1024",  "1025",  "10000",  "10001", "999999", "1000001"};
    vmt_settings settings = {0};
    char json[200], text[40];

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            const char *v = values[k];
            vmt_config_file *config;
            vmt_model_defaults defaults;
            if (keys[i].pair) {
                snprintf(text, sizeof text, "%sx%s", v, v);
                snprintf(json, sizeof json, "{\"%s\":{\"%s\":[%s,%s]}}", keys[i].section,
                         keys[i].key, v, v);
            } else {
                snprintf(text, sizeof text, "%s", v);
                snprintf(json, sizeof json, "{\"%s\":{\"%s\":%s}}", keys[i].section, keys[i].key,
                         v);
            }
            CHECK_OK(&bare,
                     vmt_config_file_parse(&bare, &config, json, strlen(json), "config.json"));
            const bool by_file = vmt_model_defaults_read(&bare, &defaults, config) == VMT_OK;
            const bool by_option =
                vmt_settings_set(&bare, &settings, keys[i].option, text) == VMT_OK;
            vmt_config_file_close(config);
            if (by_file != by_option)
                fail_msg("%s: %s, --%s %s: %s", json, by_file ? "taken" : "refused", keys[i].option,
                         text, by_option ? "taken" : "refused");
        }
}

static void defaults_of_sections(void **state)
{
    vmt_config_file *config = parse(
        "{\"dit\":{\"file\":\"d.safetensors\"},"
        "\"video\":{\"frames\":33,\"height\":96,\"width\":160,\"fps\":16},"
        "\"sampling\":{\"solver\":\"unipc\",\"steps\":25,\"guide_scale\":5.5,\"shift\":4.0,"
        "\"negative_prompt\":\"blurred\"},"
        "\"motion\":{\"block\":5,\"start\":\"noise\",\"denoising_strength\":0.9,\"temperature\":10,"
        "\"frame_range\":4,\"tile\":[2,3],\"window\":5,\"lr_start\":0.01,\"optimizer\":\"adamw\"}"
        "}");
    vmt_model_defaults defaults;
    vmt_settings settings = {.steps = 50, .width = 7, .motion = {.inner_steps = 9}};

    (void)state;
    assert_string_equal(vmt_config_file_part(config, "dit"), "d.safetensors");
    CHECK_OK(&bare, vmt_model_defaults_read(&bare, &defaults, config));
    vmt_config_file_close(config);
    assert_true(defaults.has_motion);
    assert_int_equal(defaults.values.frames, 33);
    assert_int_equal(defaults.values.width, 160);
    assert_true(defaults.values.fps == 16.0);
    vmt_model_defaults_apply(&defaults, &settings);
    assert_int_equal(settings.width, 7);
    assert_int_equal(settings.steps, 25);
    assert_int_equal(settings.sampler, VMT_SAMPLER_UNIPC);
    assert_true(settings.cfg_scale == 5.5f && settings.shift == 4.0f && settings.strength == 0.9f);
    assert_string_equal(settings.negative, "blurred");
    assert_int_equal(settings.init, VMT_INIT_NOISE);
    assert_int_equal(settings.motion.block, 5);
    assert_true(settings.motion.logit_scale == 10.0f && settings.motion.lr_first == 0.01f);
    assert_int_equal(settings.motion.max_frame_gap, 4);
    assert_int_equal(settings.motion.amf_tile[0], 2);
    assert_int_equal(settings.motion.amf_tile[1], 3);
    assert_int_equal(settings.motion.amf_window, 5);
    assert_int_equal(settings.motion.inner_steps, 9);
}

static void touch(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void folders(void **state)
{
    static const char *const written[] = {"pf/diffusion_pytorch_model.safetensors",
                                          "pf/Wan2.1_VAE.pth", "pf/models_t5_umt5-xxl-enc-bf16.pth",
                                          "pf/google/umt5-xxl/spiece.model"};
    vmt_model_files files;

    (void)state;
    assert_int_equal(system("rm -rf pf"), 0); /* of a run that failed */
    mkdir("pf", 0777);
    assert_int_equal(vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "pf"}),
                     VMT_E_MODEL);
    mkdir("pf/google", 0777);
    mkdir("pf/google/umt5-xxl", 0777);
    for (int i = 0; i < 4; i++)
        touch(written[i], "x");
    CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files,
                                            &(vmt_model_paths){.dir = "pf/", .vae = "other.pth"}));
    assert_string_equal(files.parts[VMT_PART_DIT].path, written[0]);
    assert_string_equal(files.parts[VMT_PART_VAE].path, "other.pth");
    assert_string_equal(files.parts[VMT_PART_TEXT].path, written[2]);
    assert_string_equal(files.parts[VMT_PART_TOKENIZER].path, written[3]);
    assert_null(files.parts[VMT_PART_DIT].config);
    vmt_model_files_free(&files);

    touch("pf/diffusion_pytorch_model.safetensors.index.json", "{}");
    touch("pf/config.json", "{\"dim\":1536}");
    CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "pf"}));
    assert_string_equal(files.parts[VMT_PART_DIT].path,
                        "pf/diffusion_pytorch_model.safetensors.index.json");
    assert_string_equal(files.parts[VMT_PART_DIT].config, "pf/config.json");
    vmt_model_files_free(&files);

    touch("pf/config.json", "{\"dit\":{\"file\":\"d\"},\"text\":{\"tokenizer\":\"t\"}}");
    CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "pf"}));
    assert_string_equal(files.parts[VMT_PART_DIT].path, "pf/d");
    assert_string_equal(files.parts[VMT_PART_TOKENIZER].path, "pf/t");
    vmt_model_files_free(&files);

    touch("pf/config.json", "{\"dit\":{\"file\":\"/etc/passwd\"}}");
    assert_int_equal(vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "pf"}),
                     VMT_E_FORMAT);
    assert_int_equal(vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "absent"}),
                     VMT_E_IO);
    assert_int_equal(
        vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = "pf/config.json"}),
        VMT_E_IO);
    assert_int_equal(vmt_model_paths_resolve(&bare, &files, &(vmt_model_paths){.dir = NULL}),
                     VMT_E_ARG);
    for (int i = 0; i < 4; i++)
        unlink(written[i]);
    unlink("pf/diffusion_pytorch_model.safetensors.index.json");
    unlink("pf/config.json");
    rmdir("pf/google/umt5-xxl");
    rmdir("pf/google");
    rmdir("pf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_metadata),        cmocka_unit_test(from_shapes),
        cmocka_unit_test(official_config),      cmocka_unit_test(bad_values),
        cmocka_unit_test(bad_metadata),         cmocka_unit_test(same_ranges),
        cmocka_unit_test(defaults_of_sections), cmocka_unit_test(folders),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
