/* SPDX-License-Identifier: MIT
 *
 * Sources of names: kohya-ss/musubi-tuner networks/lora.py (lora_unet_…, lora_down, lora_up,
 * alpha), diffusers loaders/lora_conversion_utils.py and lora_base.py (diffusion_model.,
 * transformer., lora_A, lora_B, diff, diff_b, lora_adapter_metadata), PEFT (base_model.model., an
 * adapter's name behind lora_A), ComfyUI comfy/lora.py, DiffSynth-Studio (pipe.dit.,
 * lora_A.default), LightX2V utils/lora_loader.py (diff_m).
 */
#include "model/lora_names.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const PREFIXES[] = {"base_model.model.",
                                       "model.diffusion_model.",
                                       "diffusion_model.",
                                       "transformer.",
                                       "pipe.dit.",
                                       "dit.",
                                       "model.",
                                       "lora_unet_",
                                       "lora_transformer_"};

static const struct {
    const char *end;
    enum vmt_lora_part part;
    const char *instead; /* of the end; NULL: nothing */
} ENDS[] = {{".lora_down.weight", VMT_LORA_DOWN, NULL},
            {".lora_up.weight", VMT_LORA_UP, NULL},
            {".lora_A.weight", VMT_LORA_DOWN, NULL},
            {".lora_B.weight", VMT_LORA_UP, NULL},
            {".lora_A.default.weight", VMT_LORA_DOWN, NULL},
            {".lora_B.default.weight", VMT_LORA_UP, NULL},
            {".lora.down.weight", VMT_LORA_DOWN, NULL},
            {".lora.up.weight", VMT_LORA_UP, NULL},
            {".lora_B.bias", VMT_LORA_UP_BIAS, NULL},
            {".lora_B.default.bias", VMT_LORA_UP_BIAS, NULL},
            {".alpha", VMT_LORA_ALPHA, NULL},
            {".diff", VMT_LORA_DIFF, NULL},
            {".diff_b", VMT_LORA_DIFF_BIAS, NULL},
            {".diff_m", VMT_LORA_DIFF, "_modulation"}};

static const char *without_prefixes(const char *name)
{
    bool again;

    do {
        again = false;
        for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES && !again; i++) {
            const size_t length = strlen(PREFIXES[i]);
            again = !strncmp(name, PREFIXES[i], length);
            name += again ? length : 0;
        }
    } while (again);
    return name;
}

void vmt_lora_plain(const char *name, char plain[VMT_TENSOR_NAME_BYTES])
{
    snprintf(plain, VMT_TENSOR_NAME_BYTES, "%s", name);
    for (; *plain; plain++)
        if (*plain == '.')
            *plain = '_';
}

bool vmt_lora_name(const char *name, enum vmt_lora_part *part, char module[VMT_TENSOR_NAME_BYTES])
{
    const char *start = without_prefixes(name);
    const size_t length = strlen(start);

    if (length >= VMT_TENSOR_NAME_BYTES)
        return false;
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        const size_t end = strlen(ENDS[i].end);
        if (length <= end || strcmp(start + length - end, ENDS[i].end) != 0)
            continue;
        const char *instead = ENDS[i].instead ? ENDS[i].instead : "";
        if (length - end + strlen(instead) >= VMT_TENSOR_NAME_BYTES)
            return false;
        *part = ENDS[i].part;
        vmt_lora_plain(start, module);
        strcpy(module + length - end, instead);
        return true;
    }
    return false;
}

bool vmt_lora_name_of_others(const char *name)
{
    static const char *const marks[] = {"dora_scale", ".hada_w", ".lokr_w", ".lora_mid.",
                                        "lora_magnitude_vector"};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strstr(name, marks[i]))
            return true;
    return false;
}

enum vmt_status vmt_lora_split(vmt_ctx *ctx, const char *text, char **path, double *weight)
{
    const char *colon = strrchr(text, ':');
    size_t length = strlen(text);
    char *end;

    *weight = 1.0;
    if (colon && colon[1] && colon[1 + strspn(colon + 1, "0123456789.+-eE")] == '\0') {
        const double value = strtod(colon + 1, &end);
        if (!*end) {
            *weight = value;
            length = (size_t)(colon - text);
        }
    }
    VMT_TRY(vmt_alloc(ctx, (void **)path, length + 1, 1));
    memcpy(*path, text, length);
    return VMT_OK;
}

/* ---- metadata */

/* An entry of PEFT's configuration, under diffusers' prefix or under none. */
static const cJSON *entry(const cJSON *root, const char *name)
{
    char prefixed[64];
    snprintf(prefixed, sizeof prefixed, "transformer.%s", name);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, prefixed);
    return item ? item : cJSON_GetObjectItemCaseSensitive(root, name);
}

static enum vmt_status read_entries(vmt_ctx *ctx, const cJSON *root, const char *path,
                                    vmt_lora_scaling *scaling)
{
    const cJSON *alpha = entry(root, "lora_alpha"), *each = entry(root, "alpha_pattern");

    if (cJSON_IsTrue(entry(root, "use_dora")))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: is a DoRA, which this version cannot apply",
                        path);
    if (cJSON_GetArraySize(each) > 0)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: its metadata has alphas module by module (alpha_pattern), which this "
                        "version cannot apply",
                        path);
    scaling->by_root = cJSON_IsTrue(entry(root, "use_rslora"));
    if (!alpha)
        return VMT_OK;
    if (!cJSON_IsNumber(alpha) || !(fabs(alpha->valuedouble) <= 1e6))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: lora_alpha of its metadata is no number", path);
    scaling->alpha = alpha->valuedouble;
    return VMT_OK;
}

enum vmt_status vmt_lora_scaling_read(vmt_ctx *ctx, const vmt_tensor_file *file,
                                      vmt_lora_scaling *scaling)
{
    const char *path = vmt_tensor_file_path(file);
    const char *text = vmt_tensor_file_meta(file, "lora_adapter_metadata");
    cJSON *root;

    *scaling = (vmt_lora_scaling){0};
    if (!text)
        return VMT_OK;
    VMT_TRY(vmt_json_parse(ctx, &root, text, strlen(text), path));
    const enum vmt_status status = read_entries(ctx, root, path, scaling);
    cJSON_Delete(root);
    return status;
}

/* ---- a file in numbers */

vmt_lora_summary vmt_lora_summarise(const vmt_tensor_file *file)
{
    vmt_lora_summary s = {0};
    char module[VMT_TENSOR_NAME_BYTES];
    enum vmt_lora_part part;

    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const char *name = vmt_tensor_file_name(file, i);
        if (!vmt_lora_name(name, &part, module))
            continue;
        s.has_alpha = s.has_alpha || part == VMT_LORA_ALPHA;
        s.differences += part == VMT_LORA_DIFF || part == VMT_LORA_DIFF_BIAS;
        if (part != VMT_LORA_DOWN)
            continue;
        const int64_t rank = vmt_tensor_file_find(file, name)->shape[0];
        s.least_rank = s.pairs && s.least_rank < rank ? s.least_rank : rank;
        s.most_rank = s.most_rank > rank ? s.most_rank : rank;
        s.pairs++;
    }
    return s;
}
