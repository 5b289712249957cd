/* SPDX-License-Identifier: MIT
 *
 * Sources: diffusers models/transformers/transformer_wan.py and autoencoders/autoencoder_kl_wan.py,
 * transformers models/umt5/modeling_umt5.py, llama.cpp gguf-py/gguf/tensor_mapping.py (T5 encoder);
 * official names: tensor_list.c.
 */
#include "model/tensor_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * In `theirs`, # is a number, and a * at its end any rest (".weight", …).  In `ours`, each # is the
 * next number of theirs, and @ two of them in one: a level and an index in it, counted through.
 */
typedef struct rule {
    const char *theirs, *ours;
} rule;

enum { MAX_NUMBERS = 2, MAX_NUMBER = 99999 };

typedef struct scheme {
    const char *name;
    const char *markers[2]; /* tensors that all files of this scheme have, and no others */
    const rule *rules;
    /* what a file may hold besides the model, by its name in the file; a second name: only if that
     * tensor is there too */
    const char *extra[4][2];
} scheme;

/* ---------------------------------------------------------------- diffusers' transformer */

#define ATTENTION(theirs, ours)                                                                    \
    {"blocks.#." theirs ".to_q*", "blocks.#." ours ".q*"},                                         \
        {"blocks.#." theirs ".to_k*", "blocks.#." ours ".k*"},                                     \
        {"blocks.#." theirs ".to_v*", "blocks.#." ours ".v*"},                                     \
        {"blocks.#." theirs ".to_out.0*", "blocks.#." ours ".o*"},                                 \
        {"blocks.#." theirs ".norm_q*", "blocks.#." ours ".norm_q*"},                              \
    {                                                                                              \
        "blocks.#." theirs ".norm_k*", "blocks.#." ours ".norm_k*"                                 \
    }

static const rule DIFFUSERS_DIT[] = {
    {"condition_embedder.text_embedder.linear_1*", "text_embedding.0*"},
    {"condition_embedder.text_embedder.linear_2*", "text_embedding.2*"},
    {"condition_embedder.time_embedder.linear_1*", "time_embedding.0*"},
    {"condition_embedder.time_embedder.linear_2*", "time_embedding.2*"},
    {"condition_embedder.time_proj*", "time_projection.1*"},
    {"blocks.#.scale_shift_table", "blocks.#.modulation"},
    ATTENTION("attn1", "self_attn"),
    ATTENTION("attn2", "cross_attn"),
    {"blocks.#.norm2*", "blocks.#.norm3*"},
    {"blocks.#.ffn.net.0.proj*", "blocks.#.ffn.0*"},
    {"blocks.#.ffn.net.2*", "blocks.#.ffn.2*"},
    {"scale_shift_table", "head.modulation"},
    {"proj_out*", "head.head*"},
    {NULL, NULL}};

/* ---------------------------------------------------------------- diffusers' autoencoder */

#define RESIDUAL(theirs, ours)                                                                     \
    {theirs ".norm1.gamma", ours ".residual.0.gamma"}, {theirs ".conv1*", ours ".residual.2*"},    \
        {theirs ".norm2.gamma", ours ".residual.3.gamma"},                                         \
        {theirs ".conv2*", ours ".residual.6*"},                                                   \
    {                                                                                              \
        theirs ".conv_shortcut*", ours ".shortcut*"                                                \
    }

#define ENDS(half)                                                                                 \
    {half ".conv_in*", half ".conv1*"}, {half ".norm_out.gamma", half ".head.0.gamma"},            \
        {half ".conv_out*", half ".head.2*"},                                                      \
        RESIDUAL(half ".mid_block.resnets.0", half ".middle.0"),                                   \
        RESIDUAL(half ".mid_block.resnets.1", half ".middle.2"),                                   \
    {                                                                                              \
        half ".mid_block.attentions.0*", half ".middle.1*"                                         \
    }

static const rule DIFFUSERS_VAE[] = {
    ENDS("encoder"),
    ENDS("decoder"),
    RESIDUAL("encoder.down_blocks.#", "encoder.downsamples.#"),
    {"encoder.down_blocks.#.resample*", "encoder.downsamples.#.resample*"},
    {"encoder.down_blocks.#.time_conv*", "encoder.downsamples.#.time_conv*"},
    RESIDUAL("decoder.up_blocks.#.resnets.#", "decoder.upsamples.@"),
    {"decoder.up_blocks.#.upsamplers.#*", "decoder.upsamples.@*"},
    {"quant_conv*", "conv1*"},
    {"post_quant_conv*", "conv2*"},
    {NULL, NULL}};

/* ---------------------------------------------------------------- text encoders */

static const rule TRANSFORMERS_T5[] = {
    {"shared*", "token_embedding*"},
    {"encoder.embed_tokens*", "token_embedding*"},
    {"encoder.block.#.layer.0.layer_norm*", "blocks.#.norm1*"},
    {"encoder.block.#.layer.0.SelfAttention.relative_attention_bias*",
     "blocks.#.pos_embedding.embedding*"},
    {"encoder.block.#.layer.0.SelfAttention.q*", "blocks.#.attn.q*"},
    {"encoder.block.#.layer.0.SelfAttention.k*", "blocks.#.attn.k*"},
    {"encoder.block.#.layer.0.SelfAttention.v*", "blocks.#.attn.v*"},
    {"encoder.block.#.layer.0.SelfAttention.o*", "blocks.#.attn.o*"},
    {"encoder.block.#.layer.1.layer_norm*", "blocks.#.norm2*"},
    {"encoder.block.#.layer.1.DenseReluDense.wi_0*", "blocks.#.ffn.gate.0*"},
    {"encoder.block.#.layer.1.DenseReluDense.wi_1*", "blocks.#.ffn.fc1*"},
    {"encoder.block.#.layer.1.DenseReluDense.wo*", "blocks.#.ffn.fc2*"},
    {"encoder.final_layer_norm*", "norm*"},
    {NULL, NULL}};

static const rule LLAMA_T5[] = {{"token_embd*", "token_embedding*"},
                                {"enc.blk.#.attn_norm*", "blocks.#.norm1*"},
                                {"enc.blk.#.attn_rel_b*", "blocks.#.pos_embedding.embedding*"},
                                {"enc.blk.#.attn_q*", "blocks.#.attn.q*"},
                                {"enc.blk.#.attn_k*", "blocks.#.attn.k*"},
                                {"enc.blk.#.attn_v*", "blocks.#.attn.v*"},
                                {"enc.blk.#.attn_o*", "blocks.#.attn.o*"},
                                {"enc.blk.#.ffn_norm*", "blocks.#.norm2*"},
                                {"enc.blk.#.ffn_gate*", "blocks.#.ffn.gate.0*"},
                                {"enc.blk.#.ffn_up*", "blocks.#.ffn.fc1*"},
                                {"enc.blk.#.ffn_down*", "blocks.#.ffn.fc2*"},
                                {"enc.output_norm*", "norm*"},
                                {NULL, NULL}};

/* ---------------------------------------------------------------- schemes and prefixes */

static const rule NO_RULES[] = {{NULL, NULL}};

static const scheme SCHEMES[] = {
    {"official", {"patch_embedding.weight", "head.modulation"}, NO_RULES, {{NULL}}},
    {"official", {"encoder.conv1.weight", "decoder.head.0.gamma"}, NO_RULES, {{NULL}}},
    {"official", {"token_embedding.weight", "blocks.0.ffn.gate.0.weight"}, NO_RULES, {{NULL}}},
    {"diffusers",
     {"condition_embedder.time_proj.weight", "scale_shift_table"},
     DIFFUSERS_DIT,
     {{NULL}}},
    {"diffusers", {"decoder.conv_in.weight", "quant_conv.weight"}, DIFFUSERS_VAE, {{NULL}}},
    {"transformers",
     {"encoder.final_layer_norm.weight",
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
     TRANSFORMERS_T5,
     {{"encoder.embed_tokens.weight", "shared.weight"}, {"spiece_model", NULL}}},
    {"llama.cpp", {"enc.output_norm.weight", "enc.blk.0.attn_rel_b.weight"}, LLAMA_T5, {{NULL}}},
};

/* ComfyUI's and stable-diffusion.cpp's single files; the first whose scheme is found is taken. */
static const char *const PREFIXES[] = {
    "",
    "model.diffusion_model.",
    "diffusion_model.",
    "model.",
    "first_stage_model.",
    "vae.",
    "text_encoders.umt5xxl.transformer.",
    "cond_stage_model.transformer.",
    "text_encoder.",
};

static bool has(const vmt_tensor_file *file, const char *prefix, const char *name)
{
    char whole[VMT_TENSOR_NAME_BYTES];

    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return vmt_table_find(file, whole) >= 0;
}

static const scheme *find_scheme(const vmt_tensor_file *file, const char **prefix)
{
    for (size_t p = 0; p < sizeof PREFIXES / sizeof *PREFIXES; p++)
        for (size_t s = 0; s < sizeof SCHEMES / sizeof *SCHEMES; s++)
            if (has(file, PREFIXES[p], SCHEMES[s].markers[0]) &&
                has(file, PREFIXES[p], SCHEMES[s].markers[1])) {
                *prefix = PREFIXES[p];
                return &SCHEMES[s];
            }
    return NULL;
}

/* ---------------------------------------------------------------- renaming */

/* Digits of a number without leading zeros, at most MAX_NUMBER. */
static bool read_number(const char **text, int *number)
{
    const char *p = *text;

    *number = 0;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        *number = 10 * *number + (*p - '0');
        if (*number > MAX_NUMBER)
            return false;
    }
    *text = p;
    return true;
}

/* Whether a name is of the pattern; then its numbers, and the rest that * stands for. */
static bool match(const char *pattern, const char *name, int numbers[MAX_NUMBERS],
                  const char **rest)
{
    int count = 0;

    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            *rest = name;
            return *name == '.';
        }
        if (*pattern == '#') {
            if (!read_number(&name, &numbers[count++]))
                return false;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    *rest = "";
    return *name == '\0';
}

/* Entries of a level of the decoder: its residual blocks and the upsampler behind them. */
static int level_entries(const vmt_tensor_file *file, const char *prefix)
{
    char name[VMT_TENSOR_NAME_BYTES];
    int count = 0;

    do
        snprintf(name, sizeof name, "decoder.up_blocks.0.resnets.%d.conv1.weight", count);
    while (has(file, prefix, name) && ++count < MAX_NUMBER);
    return count + 1;
}

/* The official name into `name`; false: it does not fit. */
static bool write_name(const rule *r, const int numbers[MAX_NUMBERS], const char *rest, int entries,
                       char name[VMT_TENSOR_NAME_BYTES])
{
    const bool is_sampler = strstr(r->theirs, "upsamplers");
    size_t used = 0;
    int n = 0;

    for (const char *p = r->ours; *p; p++) {
        const size_t room = VMT_TENSOR_NAME_BYTES - used;
        int length;
        if (*p == '#')
            length = snprintf(name + used, room, "%d", numbers[n++]);
        else if (*p == '@')
            length = snprintf(name + used, room, "%lld",
                              (long long)numbers[0] * entries +
                                  (is_sampler ? entries - 1 + numbers[1] : numbers[1]));
        else if (*p == '*')
            length = snprintf(name + used, room, "%s", rest);
        else
            length = snprintf(name + used, room, "%c", *p);
        if (length < 0 || (size_t)length >= room)
            return false;
        used += (size_t)length;
    }
    return true;
}

/* The rules read from right to left. */
static bool turn_back(const rule *rules, const char *official, char theirs[VMT_TENSOR_NAME_BYTES])
{
    int numbers[MAX_NUMBERS] = {0};
    const char *rest = NULL;

    for (const rule *r = rules; r->theirs; r++) {
        const rule turned = {.theirs = r->ours, .ours = r->theirs};
        if (match(turned.theirs, official, numbers, &rest))
            return write_name(&turned, numbers, rest, 0, theirs);
    }
    return false;
}

bool vmt_name_to_llama(const char *official, char theirs[VMT_TENSOR_NAME_BYTES])
{
    return turn_back(LLAMA_T5, official, theirs);
}

bool vmt_name_to_diffusers(const char *official, char theirs[VMT_TENSOR_NAME_BYTES])
{
    return turn_back(DIFFUSERS_DIT, official, theirs);
}

static bool is_extra(const vmt_tensor_file *file, const scheme *s, const char *prefix,
                     const char *name)
{
    for (int i = 0; i < 4 && s->extra[i][0]; i++)
        if (strcmp(name, s->extra[i][0]) == 0)
            return !s->extra[i][1] || has(file, prefix, s->extra[i][1]);
    return false;
}

/* `name` without the prefix. */
static enum vmt_status rename_entry(vmt_ctx *ctx, vmt_tensor_entry *entry, const scheme *s,
                                    const char *name, int entries)
{
    char official[VMT_TENSOR_NAME_BYTES];
    int numbers[MAX_NUMBERS] = {0};
    const char *rest = NULL, *renamed = name;

    for (const rule *r = s->rules; r->theirs; r++)
        if (match(r->theirs, name, numbers, &rest)) {
            if (write_name(r, numbers, rest, entries, official))
                renamed = official;
            break;
        }
    if (renamed == entry->name)
        return VMT_OK;
    char *copy = strdup(renamed);
    if (!copy)
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: the name of a tensor");
    free(entry->name);
    entry->name = copy;
    return VMT_OK;
}

/* stable-diffusion.cpp's GGUF files have four axes at most: the first is [out, in] in one. */
static void unfold_patch(vmt_tensor_file *file)
{
    vmt_tensor_entry *entries = file->entries.items;
    const int64_t weight = vmt_table_find(file, "patch_embedding.weight");
    const vmt_tensor *bias = vmt_tensor_file_find(file, "patch_embedding.bias");

    if (weight < 0 || !bias || bias->rank != 1 || bias->shape[0] < 1)
        return;
    vmt_tensor *t = &entries[weight].tensor;
    const int64_t out = bias->shape[0];
    if (t->rank == 4 && t->shape[0] % out == 0)
        *t = vmt_reshape(t,
                         VMT_SHAPE(out, t->shape[0] / out, t->shape[1], t->shape[2], t->shape[3]));
}

enum vmt_status vmt_names_to_official(vmt_ctx *ctx, vmt_tensor_file *file)
{
    const char *prefix = NULL;
    const scheme *s = find_scheme(file, &prefix);
    vmt_tensor_entry *entries = file->entries.items;
    const size_t count = file->entries.count;

    file->scheme = s ? s->name : NULL;
    if (!s)
        return VMT_OK;
    if (s->rules == NO_RULES && !*prefix) {
        unfold_patch(file);
        return VMT_OK;
    }
    const size_t skip = strlen(prefix);
    const int level = level_entries(file, prefix);
    void *memory;
    VMT_TRY(vmt_alloc(ctx, &memory, count, sizeof(bool)));
    bool *drop = memory;
    for (size_t i = 0; i < count; i++)
        drop[i] = strncmp(entries[i].name, prefix, skip) == 0 &&
                  is_extra(file, s, prefix, entries[i].name + skip);
    vmt_table_drop(file, drop);
    vmt_free(drop);
    for (size_t i = 0; i < file->entries.count; i++)
        if (strncmp(entries[i].name, prefix, skip) == 0)
            VMT_TRY(rename_entry(ctx, &entries[i], s, entries[i].name + skip, level));
    VMT_TRY(vmt_table_seal(ctx, file));
    unfold_patch(file);
    return VMT_OK;
}
