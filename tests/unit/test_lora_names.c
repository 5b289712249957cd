/* SPDX-License-Identifier: MIT
 *
 * Names in LoRA files: the parts, the modules, what is none; FILE:WEIGHT; what metadata says.
 */
#include "testing.h"

#include "model/lora_names.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH "lora_names.safetensors"

static void names(void **state)
{
    static const struct {
        const char *name;
        enum vmt_lora_part part;
        const char *module;
    } cases[] = {
        {"lora_unet_blocks_0_self_attn_q.lora_down.weight", VMT_LORA_DOWN, "blocks_0_self_attn_q"},
        {"lora_unet_blocks_12_ffn_2.lora_up.weight", VMT_LORA_UP, "blocks_12_ffn_2"},
        {"lora_unet_blocks_12_ffn_2.alpha", VMT_LORA_ALPHA, "blocks_12_ffn_2"},
        {"diffusion_model.blocks.0.cross_attn.k.lora_A.weight", VMT_LORA_DOWN,
         "blocks_0_cross_attn_k"},
        {"diffusion_model.blocks.0.cross_attn.k.lora_up.weight", VMT_LORA_UP,
         "blocks_0_cross_attn_k"},
        {"diffusion_model.head.head.diff", VMT_LORA_DIFF, "head_head"},
        {"diffusion_model.head.head.diff_b", VMT_LORA_DIFF_BIAS, "head_head"},
        {"diffusion_model.blocks.1.diff_m", VMT_LORA_DIFF, "blocks_1_modulation"},
        {"transformer.blocks.0.attn1.to_out.0.lora_B.weight", VMT_LORA_UP,
         "blocks_0_attn1_to_out_0"},
        {"transformer.proj_out.lora_B.bias", VMT_LORA_UP_BIAS, "proj_out"},
        {"base_model.model.blocks.0.attn1.to_q.lora_A.weight", VMT_LORA_DOWN,
         "blocks_0_attn1_to_q"},
        {"base_model.model.diffusion_model.blocks.0.ffn.0.lora_A.default.weight", VMT_LORA_DOWN,
         "blocks_0_ffn_0"},
        {"pipe.dit.blocks.3.self_attn.o.lora_B.default.weight", VMT_LORA_UP,
         "blocks_3_self_attn_o"},
        {"blocks.3.self_attn.o.lora.down.weight", VMT_LORA_DOWN, "blocks_3_self_attn_o"}};
    static const char *const none[] = {"",
                                       ".alpha",
                                       "lora_unet_",
                                       "lora_unet_.alpha",
                                       "blocks.0.self_attn.q.weight",
                                       "blocks.0.self_attn.q.lora_A",
                                       "blocks.0.self_attn.q.dora_scale",
                                       "blocks.0.self_attn.q.diffuse"};
    char module[VMT_TENSOR_NAME_BYTES], longest[300];
    enum vmt_lora_part part;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!vmt_lora_name(cases[i].name, &part, module))
            fail_msg("%s is none", cases[i].name);
        assert_int_equal(part, cases[i].part);
        assert_string_equal(module, cases[i].module);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (vmt_lora_name(none[i], &part, module))
            fail_msg("%s is taken for %s", none[i], module);
    memset(longest, 'a', sizeof longest);
    strcpy(longest + sizeof longest - 7, ".alpha");
    assert_false(vmt_lora_name(longest, &part, module));
    assert_true(vmt_lora_name(longest + sizeof longest - VMT_TENSOR_NAME_BYTES, &part, module));
    assert_true(vmt_lora_name_of_others("lora_unet_x.dora_scale"));
    assert_true(vmt_lora_name_of_others("x.hada_w1_a"));
    assert_false(vmt_lora_name_of_others("x.lora_A.weight"));
}

static void weights(void **state)
{
    static const struct {
        const char *text, *path;
        double weight;
    } cases[] = {{"a.safetensors", "a.safetensors", 1},
                 {"a:0.8", "a", 0.8},
                 {"a:-1", "a", -1},
                 {"a:1e-1", "a", 0.1},
                 {"a:b:2", "a:b", 2},
                 {"a:", "a:", 1},
                 {"a:0.8x", "a:0.8x", 1},
                 {"a:nan", "a:nan", 1},
                 {"a:0x10", "a:0x10", 1},
                 {"a:1-1", "a:1-1", 1},
                 {"C:/x", "C:/x", 1},
                 {":2", "", 2}};
    static vmt_ctx ctx;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double weight;
        char *path;
        CHECK_OK(&ctx, vmt_lora_split(&ctx, cases[i].text, &path, &weight));
        assert_string_equal(path, cases[i].path);
        assert_true(weight == cases[i].weight);
        vmt_free(path);
    }
}

static enum vmt_status scaling_of(vmt_ctx *ctx, const char *text, vmt_lora_scaling *scaling)
{
    static float value;
    const char *const meta[] = {"lora_adapter_metadata", text, NULL};
    const vmt_named_tensor one = {"x", vmt_tensor_over(&value, VMT_F32, VMT_SHAPE(1))};
    vmt_tensor_file *file;

    CHECK_OK(ctx, vmt_safetensors_write(ctx, PATH, &one, 1, meta));
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, PATH));
    unlink(PATH);
    const enum vmt_status status = vmt_lora_scaling_read(ctx, file, scaling);
    vmt_tensor_file_close(file);
    return status;
}

static void metadata(void **state)
{
    static vmt_ctx ctx;
    vmt_lora_scaling s;

    (void)state;
    vmt_ctx_init(&ctx);
    CHECK_OK(&ctx, scaling_of(&ctx, "{\"transformer.lora_alpha\": 8, \"transformer.r\": 4}", &s));
    assert_true(s.alpha == 8 && !s.by_root);
    CHECK_OK(&ctx, scaling_of(&ctx, "{\"lora_alpha\": 2, \"use_rslora\": true}", &s));
    assert_true(s.alpha == 2 && s.by_root);
    CHECK_OK(&ctx, scaling_of(&ctx, "{\"transformer.alpha_pattern\": {}}", &s));
    assert_true(s.alpha == 0 && !s.by_root);
    assert_int_equal(scaling_of(&ctx, "{\"transformer.alpha_pattern\": {\"a\": 1}}", &s),
                     VMT_E_UNSUPPORTED);
    assert_int_equal(scaling_of(&ctx, "{\"transformer.use_dora\": true}", &s), VMT_E_UNSUPPORTED);
    assert_int_equal(scaling_of(&ctx, "{\"lora_alpha\": \"8\"}", &s), VMT_E_FORMAT);
    assert_int_equal(scaling_of(&ctx, "{\"lora_alpha\": 1e300}", &s), VMT_E_FORMAT);
    assert_int_equal(scaling_of(&ctx, "{", &s), VMT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(weights),
        cmocka_unit_test(metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
