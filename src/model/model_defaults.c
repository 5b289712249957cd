/* SPDX-License-Identifier: MIT */
#include "base/mapped_file.h"
#include "model/config_file.h"
#include "model/setting_text.h"

#include <stddef.h>
#include <string.h>

enum field_kind {
    FIELD_INT32,
    FIELD_INT64,
    FIELD_FLOAT,
    FIELD_DOUBLE,
    FIELD_PAIR,
    FIELD_CHOICE,
    FIELD_EXTENT, /* text, as the option takes it; so are the two below */
    FIELD_PHASES,
    FIELD_RANGE
};

/* One key of config.json and the setting that it gives; sampling and motion have the range of the
 * option of the same setting (src/pipeline/settings.c). */
struct field {
    const char *section, *key;
    enum field_kind kind;
    size_t offset; /* into vmt_settings */
    double low, high;
    const char *const *choices; /* FIELD_CHOICE: value 0, 1, …, NULL */
};

static const char *const SOLVERS[] = {"euler", "unipc", "dpmpp", NULL};
static const char *const STARTS[] = {"reference", "noise", NULL};
static const char *const VARIANTS[] = {"paper", "released", NULL};
static const char *const ATTENTIONS[] = {"full", "local", NULL};
static const char *const REF_TIMES[] = {"step", "clean", NULL};

#define AT(name) offsetof(vmt_settings, name)
#define MOTION(name) offsetof(vmt_settings, motion.name)
static const struct field FIELDS[] = {
    {"video", "frames", FIELD_INT64, AT(frames), 1, 100000, NULL},
    {"video", "height", FIELD_INT64, AT(height), 16, 65536, NULL},
    {"video", "width", FIELD_INT64, AT(width), 16, 65536, NULL},
    {"video", "fps", FIELD_DOUBLE, AT(fps), 0.01, 1000, NULL},
    {"sampling", "solver", FIELD_CHOICE, AT(sampler), 0, 0, SOLVERS},
    {"sampling", "steps", FIELD_INT32, AT(steps), 1, 10000, NULL},
    {"sampling", "guide_scale", FIELD_FLOAT, AT(cfg_scale), 0, 100, NULL},
    {"sampling", "guide_scale_low", FIELD_FLOAT, AT(cfg_low), 0, 100, NULL},
    {"sampling", "boundary", FIELD_FLOAT, AT(boundary), 0, 1, NULL},
    {"sampling", "shift", FIELD_FLOAT, AT(shift), 0.01, 100, NULL},
    {"motion", "variant", FIELD_CHOICE, MOTION(variant), 0, 0, VARIANTS},
    {"motion", "ref_time", FIELD_CHOICE, MOTION(ref_time), 0, 0, REF_TIMES},
    {"motion", "start", FIELD_CHOICE, AT(init), 0, 0, STARTS},
    {"motion", "denoising_strength", FIELD_FLOAT, AT(strength), 0.01, 1, NULL},
    {"motion", "block", FIELD_INT32, MOTION(block), 0, 999, NULL},
    {"motion", "guided_steps", FIELD_INT32, MOTION(guided_steps), 0, 10000, NULL},
    {"motion", "guide_until", FIELD_FLOAT, MOTION(guide_until), 0, 1, NULL},
    {"motion", "inner_steps", FIELD_INT32, MOTION(inner_steps), 1, 1000, NULL},
    {"motion", "grad_interval", FIELD_INT32, MOTION(grad_reuse_interval), 1, 1000, NULL},
    {"motion", "lr_start", FIELD_FLOAT, MOTION(lr_first), 0, 10, NULL},
    {"motion", "lr_end", FIELD_FLOAT, MOTION(lr_last), 0, 10, NULL},
    {"motion", "temperature", FIELD_FLOAT, MOTION(logit_scale), 1e-3, 1000, NULL},
    {"motion", "frame_range", FIELD_INT32, MOTION(max_frame_gap), 1, 1000, NULL},
    {"motion", "tile", FIELD_PAIR, MOTION(amf_tile), 1, 1024, NULL},
    {"motion", "window", FIELD_INT32, MOTION(amf_window), 0, 1024, NULL},
    {"motion", "amf_weight", FIELD_FLOAT, MOTION(amf_weight), 0, 1e6, NULL},
    {"motion", "track_weight", FIELD_FLOAT, MOTION(track_weight), 0, 1e6, NULL},
    {"motion", "last_pair_weight", FIELD_FLOAT, MOTION(last_pair_weight), 0, 1, NULL},
    {"motion", "attention", FIELD_CHOICE, AT(attention.kind), 0, 0, ATTENTIONS},
    {"motion", "attention_window", FIELD_EXTENT, AT(attention.window), 1, 0, NULL},
    {"motion", "attention_tile", FIELD_EXTENT, AT(attention.tile), 0, 0, NULL},
    {"motion", "local_phases", FIELD_PHASES, AT(attention.phases), 0, 0, NULL},
    {"motion", "local_blocks", FIELD_RANGE, AT(attention.blocks), 0, 999, NULL},
    {"motion", "weight_decay", FIELD_FLOAT, MOTION(weight_decay), 0, 1, NULL},
    {"motion", "beta1", FIELD_FLOAT, MOTION(beta1), 0, 0.9999999, NULL},
    {"motion", "beta2", FIELD_FLOAT, MOTION(beta2), 0, 0.9999999, NULL},
    {"motion", "adam_eps", FIELD_FLOAT, MOTION(adam_eps), 1e-30, 1, NULL},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };
_Static_assert(FIELD_COUNT <= 64, "vmt_model_defaults.named has 64 bits");

static const size_t FIELD_BYTES[] = {
    [FIELD_INT32] = sizeof(int32_t),      [FIELD_INT64] = sizeof(int64_t),
    [FIELD_FLOAT] = sizeof(float),        [FIELD_DOUBLE] = sizeof(double),
    [FIELD_PAIR] = 2 * sizeof(int32_t),   [FIELD_CHOICE] = sizeof(int32_t),
    [FIELD_EXTENT] = 3 * sizeof(int32_t), [FIELD_PHASES] = sizeof(int32_t),
    [FIELD_RANGE] = 2 * sizeof(int32_t)};

static enum vmt_status read_choice(vmt_ctx *ctx, const char *label, const struct field *field,
                                   const cJSON *item, int32_t *value)
{
    for (int32_t i = 0; cJSON_IsString(item) && field->choices[i]; i++)
        if (strcmp(item->valuestring, field->choices[i]) == 0) {
            *value = i;
            return VMT_OK;
        }
    return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is none of the known words (such as \"%s\")",
                    label, field->key, field->choices[0]);
}

static enum vmt_status read_text(vmt_ctx *ctx, const char *label, const struct field *field,
                                 const cJSON *item, int32_t values[3])
{
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    const int32_t low = (int32_t)field->low, high = (int32_t)field->high;
    const bool good = field->kind == FIELD_EXTENT ? vmt_extent_parse(text, low, values)
                      : field->kind == FIELD_PHASES
                          ? vmt_words_parse(text, VMT_LOCAL_PHASES, values)
                          : vmt_range_parse(text, low, high, values);

    if (good)
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is no text that the option takes", label,
                    field->key);
}

static enum vmt_status read_field(vmt_ctx *ctx, const char *label, const struct field *field,
                                  const cJSON *item, vmt_settings *values)
{
    unsigned char *to = (unsigned char *)values + field->offset;
    const int64_t low = (int64_t)field->low, high = (int64_t)field->high;
    int32_t pair[3] = {0};
    int64_t integer = 0;
    double real = 0;

    switch (field->kind) {
    case FIELD_CHOICE:
        VMT_TRY(read_choice(ctx, label, field, item, &pair[0]));
        break;
    case FIELD_INT32:
    case FIELD_INT64:
        VMT_TRY(vmt_config_int(ctx, label, item, low, high, &integer));
        pair[0] = (int32_t)integer;
        break;
    case FIELD_FLOAT:
    case FIELD_DOUBLE:
        VMT_TRY(vmt_config_real(ctx, label, item, field->low, field->high, &real));
        break;
    case FIELD_EXTENT:
    case FIELD_PHASES:
    case FIELD_RANGE:
        VMT_TRY(read_text(ctx, label, field, item, pair));
        break;
    case FIELD_PAIR:
        if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: '%s' is not a list of 2 integers", label,
                            field->key);
        for (int i = 0; i < 2; i++) {
            VMT_TRY(vmt_config_int(ctx, label, cJSON_GetArrayItem(item, i), low, high, &integer));
            pair[i] = (int32_t)integer;
        }
        break;
    }
    const float single = (float)real;
    const void *from = field->kind == FIELD_INT64    ? (const void *)&integer
                       : field->kind == FIELD_FLOAT  ? (const void *)&single
                       : field->kind == FIELD_DOUBLE ? (const void *)&real
                                                     : (const void *)pair;
    memcpy(to, from, FIELD_BYTES[field->kind]);
    return VMT_OK;
}

/* A misspelt key of the motion section must not silently leave the default. */
static enum vmt_status check_motion_keys(vmt_ctx *ctx, const char *label, const cJSON *motion)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, motion)
    {
        bool known = strcmp(item->string, "optimizer") == 0;
        for (size_t i = 0; i < FIELD_COUNT && !known; i++)
            known = strcmp(FIELDS[i].section, "motion") == 0 &&
                    strcmp(FIELDS[i].key, item->string) == 0;
        if (!known)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: motion.%.80s is no known setting", label,
                            item->string);
    }
    item = cJSON_GetObjectItemCaseSensitive(motion, "optimizer");
    if (item && (!cJSON_IsString(item) || strcmp(item->valuestring, "adamw") != 0))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "%s: motion.optimizer is not \"adamw\"", label);
    return VMT_OK;
}

static enum vmt_status check_sampling(vmt_ctx *ctx, const char *label, const cJSON *sampling,
                                      vmt_model_defaults *d)
{
    const cJSON *timesteps = cJSON_GetObjectItemCaseSensitive(sampling, "num_train_timesteps");
    const cJSON *negative = cJSON_GetObjectItemCaseSensitive(sampling, "negative_prompt");
    int64_t thousand;

    if (timesteps) /* the network's timestep is 1000 sigma */
        VMT_TRY(vmt_config_int(ctx, label, timesteps, 1000, 1000, &thousand));
    if (!negative)
        return VMT_OK;
    if (!cJSON_IsString(negative) || strlen(negative->valuestring) >= sizeof d->negative)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: negative_prompt is no text below %d bytes", label,
                        (int)sizeof d->negative);
    strcpy(d->negative, negative->valuestring);
    d->values.negative = ""; /* marks it as named; apply points it at the text */
    return VMT_OK;
}

enum vmt_status vmt_model_defaults_read(vmt_ctx *ctx, vmt_model_defaults *defaults,
                                        const vmt_config_file *config)
{
    memset(defaults, 0, sizeof *defaults);
    if (!config)
        return VMT_OK;
    /* vmt_config_section is for parts: it takes an official config.json as a whole */
    const cJSON *motion = cJSON_GetObjectItemCaseSensitive(config->root, "motion");
    const cJSON *sampling = cJSON_GetObjectItemCaseSensitive(config->root, "sampling");
    defaults->has_motion = motion != NULL;
    VMT_TRY(check_motion_keys(ctx, config->label, motion));
    VMT_TRY(check_sampling(ctx, config->label, sampling, defaults));
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const cJSON *section = cJSON_GetObjectItemCaseSensitive(config->root, FIELDS[i].section);
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(section, FIELDS[i].key);
        if (!item)
            continue;
        VMT_TRY(read_field(ctx, config->label, &FIELDS[i], item, &defaults->values));
        defaults->named |= (uint64_t)1 << i;
    }
    return VMT_OK;
}

enum vmt_status vmt_model_index_boundary(vmt_ctx *ctx, const char *path, float *boundary)
{
    vmt_mapped_file map;
    cJSON *root = NULL;
    double value = 0;

    VMT_TRY(vmt_mapped_file_open(ctx, &map, path));
    enum vmt_status status = vmt_json_parse(ctx, &root, map.bytes, map.length, path);
    vmt_mapped_file_close(&map);
    VMT_TRY(status);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "boundary_ratio");
    status = !item || cJSON_IsNull(item)
                 ? vmt_fail(ctx, VMT_E_MODEL,
                            "%s: two transformers, but no boundary_ratio between them", path)
                 : vmt_config_real(ctx, path, item, 0, 1, &value);
    cJSON_Delete(root);
    *boundary = (float)value;
    return status;
}

void vmt_model_defaults_apply(const vmt_model_defaults *defaults, vmt_settings *settings)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if ((defaults->named >> i & 1) && strcmp(FIELDS[i].section, "video") != 0)
            memcpy((unsigned char *)settings + FIELDS[i].offset,
                   (const unsigned char *)&defaults->values + FIELDS[i].offset,
                   FIELD_BYTES[FIELDS[i].kind]);
    if (defaults->values.negative)
        settings->negative = defaults->negative;
}
