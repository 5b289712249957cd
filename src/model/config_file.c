/* SPDX-License-Identifier: MIT */
#include "model/config_file.h"

#include "base/mapped_file.h"
#include "model/shard_index.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20 };

/* The sections of our own config.json, and the keys in them that name files. */
static const struct {
    const char *part, *section, *key;
} PARTS[] = {{"dit", "dit", "file"},
             {"vae", "vae", "file"},
             {"text", "text", "file"},
             {"tokenizer", "text", "tokenizer"}};
enum { PART_COUNT = sizeof PARTS / sizeof *PARTS };

static bool says(const cJSON *root, const char *key, const char *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    return cJSON_IsString(item) && strcmp(item->valuestring, value) == 0;
}

/* Without sections a config.json is one part's: an official one the transformer's, one of diffusers
 * or transformers says whose. */
const cJSON *vmt_config_section(const vmt_config_file *config, const char *name)
{
    if (!config)
        return NULL;
    const cJSON *section = cJSON_GetObjectItemCaseSensitive(config->root, name);
    if (section)
        return section;
    const bool is_vae = says(config->root, "_class_name", "AutoencoderKLWan");
    const bool is_text = says(config->root, "model_type", "umt5");
    const bool is_asked = strcmp(name, "vae") == 0    ? is_vae
                          : strcmp(name, "text") == 0 ? is_text
                          : strcmp(name, "dit") == 0  ? !is_vae && !is_text
                                                      : false;
    return is_asked ? config->root : NULL;
}

static const cJSON *part_item(const vmt_config_file *config, size_t i)
{
    const cJSON *section = cJSON_GetObjectItemCaseSensitive(config->root, PARTS[i].section);
    return cJSON_GetObjectItemCaseSensitive(section, PARTS[i].key);
}

static enum vmt_status check(vmt_ctx *ctx, const vmt_config_file *config)
{
    static const char *const sections[] = {"dit", "vae", "text", "video", "sampling", "motion"};

    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        const cJSON *section = cJSON_GetObjectItemCaseSensitive(config->root, sections[i]);
        if (section && !cJSON_IsObject(section))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is no object", config->label, sections[i]);
    }
    for (size_t i = 0; i < PART_COUNT; i++) {
        const cJSON *item = part_item(config, i);
        if (item && (!cJSON_IsString(item) || !vmt_plain_file_name(item->valuestring)))
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: %s.%s is not the plain name of a file in the same folder",
                            config->label, PARTS[i].section, PARTS[i].key);
    }
    return VMT_OK;
}

enum vmt_status vmt_config_file_parse(vmt_ctx *ctx, vmt_config_file **config, const void *bytes,
                                      size_t length, const char *label)
{
    void *memory = NULL;

    *config = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof **config));
    vmt_config_file *made = memory;
    enum vmt_status status = VMT_OK;
    if (length > MAX_CONFIG)
        status = vmt_fail(ctx, VMT_E_FORMAT, "%s: %zu bytes, expected at most %d", label, length,
                          (int)MAX_CONFIG);
    else if (!(made->label = strdup(label)))
        status = vmt_fail(ctx, VMT_E_MEMORY, "%s: out of memory", label);
    if (status == VMT_OK)
        status = vmt_json_parse(ctx, &made->root, bytes, length, label);
    if (status == VMT_OK)
        status = check(ctx, made);
    if (status == VMT_OK)
        *config = made;
    else
        vmt_config_file_close(made);
    return status;
}

enum vmt_status vmt_config_file_open(vmt_ctx *ctx, vmt_config_file **config, const char *path)
{
    vmt_mapped_file map;

    *config = NULL;
    VMT_TRY(vmt_mapped_file_open(ctx, &map, path));
    const enum vmt_status status = vmt_config_file_parse(ctx, config, map.bytes, map.length, path);
    vmt_mapped_file_close(&map);
    return status;
}

void vmt_config_file_close(vmt_config_file *config)
{
    if (!config)
        return;
    cJSON_Delete(config->root);
    free(config->label);
    free(config);
}

const char *vmt_config_file_part(const vmt_config_file *config, const char *part)
{
    for (size_t i = 0; config && i < PART_COUNT; i++)
        if (strcmp(PARTS[i].part, part) == 0) {
            const cJSON *item = part_item(config, i);
            return item ? item->valuestring : NULL;
        }
    return NULL;
}

enum vmt_status vmt_config_int(vmt_ctx *ctx, const char *label, const cJSON *item, int64_t low,
                               int64_t high, int64_t *value)
{
    int64_t number;

    if (!vmt_json_int(item, &number) || number < low || number > high)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is not an integer from %lld to %lld", label,
                        item->string ? item->string : "an entry of a list", (long long)low,
                        (long long)high);
    *value = number;
    return VMT_OK;
}

enum vmt_status vmt_config_real(vmt_ctx *ctx, const char *label, const cJSON *item, double low,
                                double high, double *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is not a number from %g to %g", label,
                        item->string ? item->string : "an entry of a list", low, high);
    *value = item->valuedouble;
    return VMT_OK;
}
