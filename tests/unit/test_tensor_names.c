/* SPDX-License-Identifier: MIT
 *
 * Names of other programs' files become the official ones; what is no model's is left alone.
 * Whole files of diffusers and transformers: golden/test_formats.c.
 */
#include "testing.h"

#include "model/model_paths.h"
#include "model/tensor_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH "names.safetensors"

static vmt_ctx bare;

/* A file of tensors of one value each, of these names (NULL ends them). */
static enum vmt_status open_names(vmt_tensor_file **file, const char *const *names)
{
    static float value;
    vmt_named_tensor tensors[16];
    int64_t count = 0;

    for (; names[count]; count++)
        tensors[count] =
            (vmt_named_tensor){names[count], vmt_tensor_over(&value, VMT_F32, VMT_SHAPE(1))};
    CHECK_OK(&bare, vmt_safetensors_write(&bare, PATH, tensors, count, NULL));
    const enum vmt_status status = vmt_tensor_file_open(&bare, file, PATH);
    unlink(PATH);
    return status;
}

/* Each of `theirs` is found as the one of `ours` beside it, and nothing else is there; ours "":
 * left out. */
static void expect(const char *scheme, const char *const *theirs, const char *const *ours)
{
    vmt_tensor_file *file;
    int64_t count = 0;

    CHECK_OK(&bare, open_names(&file, theirs));
    assert_string_equal(vmt_tensor_file_scheme(file), scheme);
    for (int i = 0; theirs[i]; i++) {
        if (ours[i][0] && !vmt_tensor_file_find(file, ours[i]))
            fail_msg("%s is not %s", theirs[i], ours[i]);
        count += ours[i][0] != '\0';
    }
    assert_int_equal(vmt_tensor_file_count(file), count);
    vmt_tensor_file_close(file);
}

#define DIT_MARKS "condition_embedder.time_proj.weight", "scale_shift_table"
#define OUR_MARKS "time_projection.1.weight", "head.modulation"

static void transformer(void **state)
{
    (void)state;
    expect("diffusers",
           (const char *const[]){DIT_MARKS, "blocks.12.attn1.to_out.0.bias",
                                 "blocks.3.norm2.weight", "blocks.0.ffn.net.0.proj.weight",
                                 "blocks.0.attn2.norm_k.weight", "proj_out.bias", NULL},
           (const char *const[]){OUR_MARKS, "blocks.12.self_attn.o.bias", "blocks.3.norm3.weight",
                                 "blocks.0.ffn.0.weight", "blocks.0.cross_attn.norm_k.weight",
                                 "head.head.bias"});
}

/* What no rule fits keeps its name, to be reported by it: neighbours of the patterns. */
static void names_without_rule(void **state)
{
    static const char *const names[] = {DIT_MARKS,
                                        "blocks.01.norm2.weight",
                                        "blocks.123456.norm2.weight",
                                        "blocks.x.norm2.weight",
                                        "blocks.0.norm2",
                                        "blocks.0.norm2x.weight",
                                        "blocks.0.attn1.to_q_loraA.weight",
                                        "blocks.0.scale_shift_table.x",
                                        NULL};
    const char *expected[16] = {OUR_MARKS};

    (void)state;
    for (int i = 2; names[i]; i++)
        expected[i] = names[i];
    expect("diffusers", names, expected);
}

/* Levels of the decoder are counted through: entries of a level = residual blocks + upsampler. */
static void decoder_levels(void **state)
{
    (void)state;
    expect("diffusers",
           (const char *const[]){
               "decoder.conv_in.weight", "quant_conv.weight", "post_quant_conv.bias",
               "decoder.up_blocks.0.resnets.0.conv1.weight",
               "decoder.up_blocks.0.resnets.1.conv1.weight",
               "decoder.up_blocks.0.resnets.2.conv1.weight",
               "decoder.up_blocks.0.upsamplers.0.time_conv.bias",
               "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
               "decoder.up_blocks.3.resnets.2.norm2.gamma", "encoder.down_blocks.5.resample.1.bias",
               "encoder.mid_block.attentions.0.to_qkv.weight", NULL},
           (const char *const[]){
               "decoder.conv1.weight", "conv1.weight", "conv2.bias",
               "decoder.upsamples.0.residual.2.weight", "decoder.upsamples.1.residual.2.weight",
               "decoder.upsamples.2.residual.2.weight", "decoder.upsamples.3.time_conv.bias",
               "decoder.upsamples.4.shortcut.weight", "decoder.upsamples.14.residual.3.gamma",
               "encoder.downsamples.5.resample.1.bias", "encoder.middle.1.to_qkv.weight"});
}

#define T5_BIAS "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
#define OUR_BIAS "blocks.0.pos_embedding.embedding.weight"

/* The second copy of the embedding and ComfyUI's tokenizer are left out, in any order. */
static void text_encoder(void **state)
{
    (void)state;
    expect("transformers",
           (const char *const[]){"spiece_model", "encoder.embed_tokens.weight", "shared.weight",
                                 T5_BIAS, "encoder.block.7.layer.1.layer_norm.weight",
                                 "encoder.block.7.layer.1.DenseReluDense.wi_1.weight",
                                 "encoder.final_layer_norm.weight", NULL},
           (const char *const[]){"", "", "token_embedding.weight", OUR_BIAS,
                                 "blocks.7.norm2.weight", "blocks.7.ffn.fc1.weight",
                                 "norm.weight"});
    expect("transformers",
           (const char *const[]){T5_BIAS, "encoder.final_layer_norm.weight",
                                 "encoder.embed_tokens.weight", NULL},
           (const char *const[]){OUR_BIAS, "norm.weight", "token_embedding.weight"});
    expect("llama.cpp",
           (const char *const[]){"token_embd.weight", "enc.output_norm.weight",
                                 "enc.blk.0.attn_rel_b.weight", "enc.blk.1.ffn_gate.weight",
                                 "enc.blk.1.ffn_up.weight", "enc.blk.1.attn_norm.weight", NULL},
           (const char *const[]){"token_embedding.weight", "norm.weight", OUR_BIAS,
                                 "blocks.1.ffn.gate.0.weight", "blocks.1.ffn.fc1.weight",
                                 "blocks.1.norm1.weight"});
}

/* Single files: a prefix before every name, official ones behind it. */
static void prefixes(void **state)
{
    (void)state;
    expect("official",
           (const char *const[]){"model.diffusion_model.patch_embedding.weight",
                                 "model.diffusion_model.head.modulation",
                                 "model.diffusion_model.blocks.0.self_attn.q.weight",
                                 "other.weight", NULL},
           (const char *const[]){"patch_embedding.weight", "head.modulation",
                                 "blocks.0.self_attn.q.weight", "other.weight"});
    expect("official",
           (const char *const[]){"first_stage_model.encoder.conv1.weight",
                                 "first_stage_model.decoder.head.0.gamma", NULL},
           (const char *const[]){"encoder.conv1.weight", "decoder.head.0.gamma"});
    expect("transformers",
           (const char *const[]){
               "text_encoders.umt5xxl.transformer." T5_BIAS,
               "text_encoders.umt5xxl.transformer.encoder.final_layer_norm.weight", NULL},
           (const char *const[]){OUR_BIAS, "norm.weight"});
}

static void two_of_one_name(void **state)
{
    static const char *const names[] = {DIT_MARKS, "blocks.0.norm2.weight", "blocks.0.norm3.weight",
                                        NULL};
    vmt_tensor_file *file;

    (void)state;
    assert_int_equal(open_names(&file, names), VMT_E_FORMAT);
    assert_non_null(strstr(bare.message, "blocks.0.norm3.weight' is there twice"));
}

static void other_files(void **state)
{
    static const char *const names[] = {"in.x", "scale_shift_table", NULL};
    vmt_tensor_file *file;

    (void)state;
    CHECK_OK(&bare, open_names(&file, names));
    assert_null(vmt_tensor_file_scheme(file));
    assert_non_null(vmt_tensor_file_find(file, "scale_shift_table"));
    vmt_tensor_file_close(file);
}

/* diffusers' folder: parts in folders of their own; one of two transformers is refused, in an
 * official folder too. */
static void folder(void **state)
{
    vmt_model_paths paths = {.dir = TEST_DATA "/formats/diffusers"};
    vmt_model_files files;

    (void)state;
    CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files, &paths));
    assert_non_null(strstr(files.parts[VMT_PART_DIT].path, "transformer/diffusion_pytorch_model"));
    assert_non_null(strstr(files.parts[VMT_PART_DIT].path, ".index.json"));
    assert_non_null(strstr(files.parts[VMT_PART_VAE].config, "vae/config.json"));
    assert_non_null(strstr(files.parts[VMT_PART_TEXT].path, "text_encoder/model.safetensors"));
    assert_null(files.parts[VMT_PART_TOKENIZER].path);
    vmt_model_files_free(&files);

    static const char *const halves[][2] = {{"transformer", "transformer_2"},
                                            {"high_noise_model", "low_noise_model"}};
    for (int i = 0; i < 2; i++) {
        char names[2][80], weights[2][128];
        mkdir("two", 0700);
        paths.dir = "two";
        for (int k = 0; k < 2; k++) {
            snprintf(names[k], sizeof names[k], "two/%s", halves[i][k]);
            snprintf(weights[k], sizeof weights[k], "%.70s/diffusion_pytorch_model.safetensors",
                     names[k]);
            mkdir(names[k], 0700);
        }
        for (int k = 1; k >= 0; k--) {
            assert_int_equal(vmt_model_paths_resolve(&bare, &files, &paths), VMT_E_MODEL);
            assert_non_null(strstr(bare.message, "two transformers"));
            fclose(fopen(weights[k], "w"));
        }
        CHECK_OK(&bare, vmt_model_paths_resolve(&bare, &files, &paths));
        assert_string_equal(files.parts[VMT_PART_DIT].path, weights[0]);
        assert_string_equal(files.parts[VMT_PART_DIT_LOW].path, weights[1]);
        vmt_model_files_free(&files);
        for (int k = 0; k < 2; k++) {
            unlink(weights[k]);
            rmdir(names[k]);
        }
        rmdir("two");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transformer),    cmocka_unit_test(names_without_rule),
        cmocka_unit_test(decoder_levels), cmocka_unit_test(text_encoder),
        cmocka_unit_test(prefixes),       cmocka_unit_test(two_of_one_name),
        cmocka_unit_test(other_files),    cmocka_unit_test(folder),
    };
    vmt_ctx_init(&bare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
