/* SPDX-License-Identifier: MIT */
#include "model/config_file.h"

#include <stdio.h>
#include <string.h>

/* Limits that keep every product of sizes far below 2^63, and any real model inside. */
enum {
    MAX_DIM = 65536,
    MAX_HEADS = 1024,
    MAX_LAYERS = 1000,
    MAX_VOCAB = 1 << 24,
    MAX_PATCH = 16,
    MAX_MULT = 64,
    MAX_RES_BLOCKS = 16,
    MAX_BUCKETS = 4096,
    MAX_DISTANCE = 1 << 20,
    UNKNOWN = -1
};

/* What the official checkpoints mean where nothing is said. */
enum {
    WAN_HEAD_DIM = 128,
    WAN_TEXT_LEN = 512,
    WAN_RES_BLOCKS = 2,
    WAN_Z = 16,
    UMT5_DISTANCE = 128
};
static const double WAN_EPS = 1e-6, WAN_ROPE_THETA = 10000.0;

/* Source: Wan-Video/Wan2.1, wan/modules/vae.py, WanVAE.__init__. */
static const double WAN_MEAN[WAN_Z] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                       -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                       -0.1922, -0.9497, 0.2503,  -0.2921};
static const double WAN_STD[WAN_Z] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708,
                                      2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
                                      1.6382, 1.1253, 2.8251, 1.9160};

/* Where the values of one part may stand. */
struct source {
    vmt_ctx *ctx;
    const vmt_config_file *config; /* may be NULL */
    const cJSON *section;          /* may be NULL */
    const vmt_tensor_file *weights;
};

static const char *label(const struct source *s)
{
    return s->config ? s->config->label : vmt_tensor_file_path(s->weights);
}

/* Keys that diffusers and transformers spell their own way. */
static const char *const ALIASES[][2] = {{"num_heads", "num_attention_heads"},
                                         {"in_dim", "in_channels"},
                                         {"out_dim", "out_channels"},
                                         {"dim", "base_dim"},
                                         {"dim", "d_model"},
                                         {"temporal_downsample", "temperal_downsample"},
                                         {"mean", "latents_mean"},
                                         {"std", "latents_std"},
                                         {"dim_ffn", "d_ff"},
                                         {"num_buckets", "relative_attention_num_buckets"},
                                         {"max_distance", "relative_attention_max_distance"},
                                         {"eps", "layer_norm_epsilon"},
                                         {"pad_id", "pad_token_id"},
                                         {"eos_id", "eos_token_id"}};

/* The section's value of a key, in whatever spelling; NULL: none. */
static const cJSON *find(const struct source *s, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(s->section, key);

    for (size_t i = 0; !item && i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strcmp(ALIASES[i][0], key) == 0)
            item = cJSON_GetObjectItemCaseSensitive(s->section, ALIASES[i][1]);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

/* Size of an axis of a tensor, or UNKNOWN. */
static int64_t axis(const struct source *s, const char *tensor, int rank, int i)
{
    const vmt_tensor *t = vmt_tensor_file_find(s->weights, tensor);
    return t && t->rank == rank ? t->shape[i] : UNKNOWN;
}

/* How many tensors blocks.0.X, blocks.1.X, … there are. */
static int64_t count_blocks(const struct source *s, const char *tensor)
{
    char name[VMT_TENSOR_NAME_BYTES];
    int64_t count = 0;

    do {
        snprintf(name, sizeof name, "blocks.%d.%s", (int)count, tensor);
    } while (vmt_tensor_file_find(s->weights, name) && ++count <= MAX_LAYERS);
    return count;
}

/* The config's value, else the weight file's metadata, else `deduced`. */
static enum vmt_status read_int(const struct source *s, const char *key, const char *meta,
                                int64_t deduced, int64_t low, int64_t high, int64_t *value)
{
    const cJSON *item = find(s, key);

    if (item)
        return vmt_config_int(s->ctx, label(s), item, low, high, value);
    VMT_TRY(vmt_tensor_file_meta_int(s->ctx, s->weights, meta, &deduced, value));
    if (*value == UNKNOWN)
        return vmt_fail(s->ctx, VMT_E_MODEL,
                        "%s: '%s' is neither in a config.json nor to be told from the tensors: "
                        "not the weights of this part of a model?",
                        vmt_tensor_file_path(s->weights), key);
    if (*value < low || *value > high)
        return vmt_fail(s->ctx, VMT_E_FORMAT, "%s: '%s' is %lld, expected %lld to %lld",
                        vmt_tensor_file_path(s->weights), key, (long long)*value, (long long)low,
                        (long long)high);
    return VMT_OK;
}

static enum vmt_status read_real(const struct source *s, const char *key, double fallback,
                                 double low, double high, double *value)
{
    const cJSON *item = find(s, key);

    if (item)
        return vmt_config_real(s->ctx, label(s), item, low, high, value);
    VMT_TRY(vmt_tensor_file_meta_real(s->ctx, s->weights, key, &fallback, value));
    if (!(*value >= low && *value <= high))
        return vmt_fail(s->ctx, VMT_E_FORMAT, "%s: '%s' is %g, expected %g to %g",
                        vmt_tensor_file_path(s->weights), key, *value, low, high);
    return VMT_OK;
}

/* A list of exactly `count` entries, or NULL when the key is absent. */
static enum vmt_status find_list(const struct source *s, const char *key, int count,
                                 const cJSON **list)
{
    *list = find(s, key);
    if (*list && (!cJSON_IsArray(*list) || cJSON_GetArraySize(*list) != count))
        return vmt_fail(s->ctx, VMT_E_FORMAT, "%s: '%s' is not a list of %d entries", label(s), key,
                        count);
    return VMT_OK;
}

/* Refuses what this program computes in one way only, if the config asks for another. */
static enum vmt_status require_bool(const struct source *s, const char *key, bool wanted)
{
    const cJSON *item = find(s, key);

    if (!item || (wanted ? cJSON_IsTrue(item) : cJSON_IsFalse(item)))
        return VMT_OK;
    return vmt_fail(s->ctx, VMT_E_UNSUPPORTED, "%s: '%s' other than %s is not supported", label(s),
                    key, wanted ? "true" : "false");
}

static enum vmt_status require_int(const struct source *s, const char *key, int64_t wanted)
{
    const cJSON *item = find(s, key);
    int64_t value;

    if (!item || (vmt_json_int(item, &value) && value == wanted))
        return VMT_OK;
    return vmt_fail(s->ctx, VMT_E_UNSUPPORTED, "%s: '%s' other than %lld is not supported",
                    label(s), key, (long long)wanted);
}

/* ---------------------------------------------------------------- diffusion transformer */

static enum vmt_status read_patch(const struct source *s, int64_t patch[3])
{
    const cJSON *list;

    VMT_TRY(find_list(s, "patch_size", 3, &list));
    for (int i = 0; i < 3; i++) {
        if (list) {
            VMT_TRY(vmt_config_int(s->ctx, label(s), cJSON_GetArrayItem(list, i), 1, MAX_PATCH,
                                   &patch[i]));
            continue;
        }
        patch[i] = axis(s, "patch_embedding.weight", 5, 2 + i);
        if (patch[i] < 1 || patch[i] > MAX_PATCH)
            return vmt_fail(s->ctx, VMT_E_MODEL,
                            "%s: the patch size cannot be told from 'patch_embedding.weight': not "
                            "the weights of a Wan2.1 transformer?",
                            vmt_tensor_file_path(s->weights));
    }
    return VMT_OK;
}

/* A config that names its class names one of these. */
static enum vmt_status require_text(const struct source *s, const char *key, const char *one,
                                    const char *other)
{
    const cJSON *item = find(s, key);
    const char *text = cJSON_IsString(item) ? item->valuestring : "(no text)";

    if (!item || strcmp(text, one) == 0 || strcmp(text, other) == 0)
        return VMT_OK;
    return vmt_fail(s->ctx, VMT_E_UNSUPPORTED, "%s: '%s' is '%.60s', expected '%s'", label(s), key,
                    text, one);
}

/* diffusers says how many heads and how wide, not the product. */
static enum vmt_status check_head_dim(const struct source *s, const vmt_dit_config *d)
{
    const cJSON *item = find(s, "attention_head_dim");
    int64_t width = d->dim / d->heads;

    return item ? vmt_config_int(s->ctx, label(s), item, width, width, &width) : VMT_OK;
}

static enum vmt_status check_dit_kind(const struct source *s)
{
    const cJSON *type = find(s, "model_type"), *norm = find(s, "qk_norm");

    if (type && (!cJSON_IsString(type) || strcmp(type->valuestring, "t2v") != 0))
        return vmt_fail(s->ctx, VMT_E_UNSUPPORTED,
                        "%s: model_type is '%.40s'; only text-to-video models (t2v) are supported",
                        label(s), cJSON_IsString(type) ? type->valuestring : "(no text)");
    VMT_TRY(require_text(s, "_class_name", "WanTransformer3DModel", "WanModel"));
    if (cJSON_IsString(norm))
        VMT_TRY(require_text(s, "qk_norm", "rms_norm_across_heads", "rms_norm_across_heads"));
    else
        VMT_TRY(require_bool(s, "qk_norm", true));
    return require_bool(s, "cross_attn_norm", true);
}

enum vmt_status vmt_dit_config_read(vmt_ctx *ctx, vmt_dit_config *dit,
                                    const vmt_config_file *config, const vmt_tensor_file *weights)
{
    const struct source s = {ctx, config, vmt_config_section(config, "dit"), weights};
    vmt_dit_config d = {0};

    VMT_TRY(check_dit_kind(&s));
    VMT_TRY(read_patch(&s, d.patch));
    VMT_TRY(
        read_int(&s, "dim", "dim", axis(&s, "patch_embedding.weight", 5, 0), 2, MAX_DIM, &d.dim));
    VMT_TRY(read_int(&s, "ffn_dim", "ffn_dim", axis(&s, "blocks.0.ffn.0.weight", 2, 0), 1, MAX_DIM,
                     &d.ffn_dim));
    VMT_TRY(read_int(&s, "num_heads", "heads",
                     d.dim % WAN_HEAD_DIM == 0 ? d.dim / WAN_HEAD_DIM : UNKNOWN, 1, MAX_HEADS,
                     &d.heads));
    VMT_TRY(read_int(&s, "num_layers", "layers", count_blocks(&s, "modulation"), 1, MAX_LAYERS,
                     &d.layers));
    VMT_TRY(read_int(&s, "freq_dim", "freq_dim", axis(&s, "time_embedding.0.weight", 2, 1), 2,
                     MAX_DIM, &d.freq_dim));
    VMT_TRY(read_int(&s, "text_dim", "text_dim", axis(&s, "text_embedding.0.weight", 2, 1), 1,
                     MAX_DIM, &d.text_dim));
    VMT_TRY(read_int(&s, "text_len", "text_len", WAN_TEXT_LEN, 1, MAX_DIM, &d.text_len));
    VMT_TRY(read_int(&s, "in_dim", "in_dim", axis(&s, "patch_embedding.weight", 5, 1), 1, MAX_DIM,
                     &d.in_dim));
    const int64_t head = axis(&s, "head.head.weight", 2, 0);
    const int64_t cells = d.patch[0] * d.patch[1] * d.patch[2];
    VMT_TRY(read_int(&s, "out_dim", "out_dim",
                     head > 0 && head % cells == 0 ? head / cells : UNKNOWN, 1, MAX_DIM,
                     &d.out_dim));
    VMT_TRY(read_real(&s, "eps", WAN_EPS, 1e-12, 1.0, &d.eps));
    VMT_TRY(read_real(&s, "rope_theta", WAN_ROPE_THETA, 1.0, 1e12, &d.rope_theta));
    if (d.dim % d.heads != 0 || d.dim / d.heads % 2 != 0)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: dim %lld does not split into %lld heads of even width", label(&s),
                        (long long)d.dim, (long long)d.heads);
    VMT_TRY(check_head_dim(&s, &d));
    if (d.freq_dim % 2 != 0)
        return vmt_fail(ctx, VMT_E_MODEL, "%s: freq_dim %lld is odd", label(&s),
                        (long long)d.freq_dim);
    *dit = d;
    return VMT_OK;
}

/* ---------------------------------------------------------------- autoencoder */

static enum vmt_status read_levels(const struct source *s, vmt_vae_config *v)
{
    static const int64_t wan_mult[VMT_VAE_LEVELS] = {1, 2, 4, 4};
    static const bool wan_time_down[VMT_VAE_LEVELS - 1] = {false, true, true};
    const cJSON *list;

    VMT_TRY(find_list(s, "dim_mult", VMT_VAE_LEVELS, &list));
    for (int i = 0; i < VMT_VAE_LEVELS; i++) {
        v->mult[i] = wan_mult[i];
        if (list)
            VMT_TRY(vmt_config_int(s->ctx, label(s), cJSON_GetArrayItem(list, i), 1, MAX_MULT,
                                   &v->mult[i]));
    }
    VMT_TRY(find_list(s, "temporal_downsample", VMT_VAE_LEVELS - 1, &list));
    for (int i = 0; i < VMT_VAE_LEVELS - 1; i++) {
        const cJSON *item = list ? cJSON_GetArrayItem(list, i) : NULL;
        if (item && !cJSON_IsBool(item))
            return vmt_fail(s->ctx, VMT_E_FORMAT, "%s: temporal_downsample is not true or false",
                            label(s));
        v->time_down[i] = item ? cJSON_IsTrue(item) : wan_time_down[i];
    }
    VMT_TRY(find_list(s, "attn_scales", 0, &list));
    return VMT_OK;
}

/* The upsamplers halve the channels, so a level's count must be even where one follows. */
static enum vmt_status check_levels(const struct source *s, const vmt_vae_config *v)
{
    for (int i = 1; i < VMT_VAE_LEVELS; i++)
        if (v->dim * v->mult[i] % 2 != 0)
            return vmt_fail(s->ctx, VMT_E_MODEL, "%s: level %d has an odd number of channels",
                            label(s), i);
    return VMT_OK;
}

/* A config's stride says again what temporal_downsample says. */
static enum vmt_status check_stride(const struct source *s, const vmt_vae_config *v)
{
    int64_t expected[3] = {1, 1 << (VMT_VAE_LEVELS - 1), 1 << (VMT_VAE_LEVELS - 1)}, value;
    const cJSON *list;

    for (int i = 0; i < VMT_VAE_LEVELS - 1; i++)
        expected[0] *= v->time_down[i] ? 2 : 1;
    VMT_TRY(find_list(s, "stride", 3, &list));
    for (int i = 0; list && i < 3; i++)
        VMT_TRY(vmt_config_int(s->ctx, label(s), cJSON_GetArrayItem(list, i), expected[i],
                               expected[i], &value));
    return VMT_OK;
}

static enum vmt_status read_normalisation(const struct source *s, vmt_vae_config *v)
{
    const cJSON *mean, *std;

    VMT_TRY(find_list(s, "mean", (int)v->z_dim, &mean));
    VMT_TRY(find_list(s, "std", (int)v->z_dim, &std));
    if ((!mean || !std) && v->z_dim > WAN_Z)
        return vmt_fail(s->ctx, VMT_E_MODEL,
                        "%s: mean and std of %lld latent channels are unknown (a config.json can "
                        "give them)",
                        label(s), (long long)v->z_dim);
    for (int i = 0; i < v->z_dim; i++) {
        v->mean[i] = mean ? 0.0 : WAN_MEAN[i];
        v->std[i] = std ? 0.0 : WAN_STD[i];
        if (mean)
            VMT_TRY(vmt_config_real(s->ctx, label(s), cJSON_GetArrayItem(mean, i), -1e6, 1e6,
                                    &v->mean[i]));
        if (std)
            VMT_TRY(vmt_config_real(s->ctx, label(s), cJSON_GetArrayItem(std, i), 1e-6, 1e6,
                                    &v->std[i]));
    }
    return VMT_OK;
}

static enum vmt_status read_vae(const struct source *s, vmt_vae_config *v)
{
    VMT_TRY(require_bool(s, "is_residual", false));
    VMT_TRY(
        read_int(s, "dim", "dim", axis(s, "encoder.conv1.weight", 5, 0), 1, MAX_DIM / 16, &v->dim));
    VMT_TRY(read_int(s, "z_dim", "z_dim", axis(s, "decoder.conv1.weight", 5, 1), 1, VMT_VAE_MAX_Z,
                     &v->z_dim));
    VMT_TRY(read_int(s, "num_res_blocks", "res_blocks", WAN_RES_BLOCKS, 1, MAX_RES_BLOCKS,
                     &v->res_blocks));
    VMT_TRY(read_levels(s, v));
    VMT_TRY(check_levels(s, v));
    VMT_TRY(check_stride(s, v));
    return read_normalisation(s, v);
}

enum vmt_status vmt_vae_config_read(vmt_ctx *ctx, vmt_vae_config *vae,
                                    const vmt_config_file *config, const vmt_tensor_file *weights)
{
    struct source s = {ctx, config, vmt_config_section(config, "vae"), weights};
    const char *own = vmt_tensor_file_meta(weights, VMT_VAE_META);
    vmt_vae_config v = {0};
    cJSON *root = NULL;

    if (!s.section && own) { /* lists: metadata holds texts alone */
        char where[VMT_MESSAGE_BYTES];
        snprintf(where, sizeof where, "%s: metadata '" VMT_VAE_META "'",
                 vmt_tensor_file_path(weights));
        VMT_TRY(vmt_json_parse(ctx, &root, own, strlen(own), where));
        s.config = NULL;
        s.section = root;
    }
    const enum vmt_status status = read_vae(&s, &v);
    cJSON_Delete(root);
    if (status == VMT_OK)
        *vae = v;
    return status;
}

/* One list of the JSON below; false: out of memory. */
static bool add_list(cJSON *root, const char *key, const double *values, int64_t count)
{
    cJSON *list = cJSON_AddArrayToObject(root, key);

    for (int64_t i = 0; list && i < count; i++) {
        cJSON *number = cJSON_CreateNumber(values[i]);
        if (!number || !cJSON_AddItemToArray(list, number)) {
            cJSON_Delete(number);
            return false;
        }
    }
    return list != NULL;
}

static bool add_vae(cJSON *root, const vmt_vae_config *v)
{
    double mult[VMT_VAE_LEVELS];
    cJSON *times;

    for (int i = 0; i < VMT_VAE_LEVELS; i++)
        mult[i] = (double)v->mult[i];
    if (!root || !cJSON_AddNumberToObject(root, "num_res_blocks", (double)v->res_blocks) ||
        !add_list(root, "dim_mult", mult, VMT_VAE_LEVELS) ||
        !(times = cJSON_AddArrayToObject(root, "temporal_downsample")))
        return false;
    for (int i = 0; i < VMT_VAE_LEVELS - 1; i++) {
        cJSON *item = cJSON_CreateBool(v->time_down[i]);
        if (!item || !cJSON_AddItemToArray(times, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return add_list(root, "mean", v->mean, v->z_dim) && add_list(root, "std", v->std, v->z_dim);
}

enum vmt_status vmt_vae_config_text(vmt_ctx *ctx, char **text, const vmt_vae_config *vae)
{
    cJSON *root = cJSON_CreateObject();

    *text = add_vae(root, vae) ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return *text ? VMT_OK : vmt_fail(ctx, VMT_E_MEMORY, "out of memory");
}

/* ---------------------------------------------------------------- text encoder */

/* Rows of the text: said in the text's section, or in the transformer's. */
static enum vmt_status read_text_len(const struct source *s, int64_t *text_len)
{
    const cJSON *dit = vmt_config_section(s->config, "dit");
    const cJSON *item = find(s, "text_len");

    if (!item)
        item = cJSON_GetObjectItemCaseSensitive(dit, "text_len");
    if (item)
        return vmt_config_int(s->ctx, label(s), item, 1, MAX_DIM, text_len);
    return read_int(s, "text_len", "text_len", WAN_TEXT_LEN, 1, MAX_DIM, text_len);
}

enum vmt_status vmt_text_config_read(vmt_ctx *ctx, vmt_text_config *text,
                                     const vmt_config_file *config, const vmt_tensor_file *weights)
{
    static const char bias[] = "blocks.0.pos_embedding.embedding.weight";
    const struct source s = {ctx, config, vmt_config_section(config, "text"), weights};
    vmt_text_config t = {.eps = WAN_EPS};

    VMT_TRY(require_bool(&s, "shared_pos", false));
    VMT_TRY(require_text(&s, "feed_forward_proj", "gated-gelu", "gated-gelu"));
    VMT_TRY(require_int(&s, "pad_id", 0));
    VMT_TRY(require_int(&s, "eos_id", 1));
    VMT_TRY(read_int(&s, "vocab_size", "vocab", axis(&s, "token_embedding.weight", 2, 0), 2,
                     MAX_VOCAB, &t.vocab));
    VMT_TRY(
        read_int(&s, "dim", "dim", axis(&s, "token_embedding.weight", 2, 1), 1, MAX_DIM, &t.dim));
    VMT_TRY(read_int(&s, "dim_attn", "dim_attn", axis(&s, "blocks.0.attn.q.weight", 2, 0), 1,
                     MAX_DIM, &t.dim_attn));
    VMT_TRY(read_int(&s, "dim_ffn", "dim_ffn", axis(&s, "blocks.0.ffn.gate.0.weight", 2, 0), 1,
                     MAX_DIM, &t.dim_ffn));
    VMT_TRY(read_int(&s, "num_heads", "heads", axis(&s, bias, 2, 1), 1, MAX_HEADS, &t.heads));
    VMT_TRY(read_int(&s, "num_layers", "layers", count_blocks(&s, "norm1.weight"), 1, MAX_LAYERS,
                     &t.layers));
    VMT_TRY(
        read_int(&s, "num_buckets", "buckets", axis(&s, bias, 2, 0), 4, MAX_BUCKETS, &t.buckets));
    VMT_TRY(read_int(&s, "max_distance", "max_distance", UMT5_DISTANCE, 1, MAX_DISTANCE,
                     &t.max_distance));
    VMT_TRY(read_real(&s, "eps", WAN_EPS, 1e-12, 1.0, &t.eps));
    VMT_TRY(read_text_len(&s, &t.text_len));
    if (t.dim_attn % t.heads != 0)
        return vmt_fail(ctx, VMT_E_MODEL, "%s: dim_attn %lld does not split into %lld heads",
                        label(&s), (long long)t.dim_attn, (long long)t.heads);
    if (t.max_distance <= t.buckets / 2 / 2)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: %lld buckets up to distance %lld; expected a distance above a quarter "
                        "of them",
                        label(&s), (long long)t.buckets, (long long)t.max_distance);
    *text = t;
    return VMT_OK;
}
