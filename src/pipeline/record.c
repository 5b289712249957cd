/* SPDX-License-Identifier: MIT */
#include "pipeline/record.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {"fastvmt-latent", "fastvmt-motion", "fastvmt-state",
                                         "fastvmt-embeddings"};

/* ---- writing */

static enum vmt_status add_text(vmt_ctx *ctx, vmt_record *record, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy;

    VMT_TRY(vmt_alloc(ctx, (void **)&copy, bytes, 1));
    memcpy(copy, text, bytes);
    record->meta[record->meta_count++] = copy;
    return VMT_OK;
}

static enum vmt_status add_pair(vmt_ctx *ctx, vmt_record *record, const char *key,
                                const char *value)
{
    if (record->meta_count + 2 > 2 * VMT_RECORD_MAX_META)
        return vmt_fail(ctx, VMT_E_INTERNAL, "a record of more than %d metadata",
                        VMT_RECORD_MAX_META);
    VMT_TRY(add_text(ctx, record, key));
    return add_text(ctx, record, value);
}

enum vmt_status vmt_record_meta(vmt_ctx *ctx, vmt_record *record, const char *key,
                                const char *format, ...)
{
    char value[256];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    return add_pair(ctx, record, key, value);
}

enum vmt_status vmt_record_tensor(vmt_ctx *ctx, vmt_record *record, const char *name,
                                  const vmt_tensor *host)
{
    if (record->tensor_count == VMT_RECORD_MAX_TENSORS)
        return vmt_fail(ctx, VMT_E_INTERNAL, "a record of more than %d tensors",
                        VMT_RECORD_MAX_TENSORS);
    record->tensors[record->tensor_count++] = (vmt_named_tensor){.name = name, .tensor = *host};
    return VMT_OK;
}

static enum vmt_status add_settings(vmt_ctx *ctx, vmt_record *record, const vmt_settings *settings)
{
    const vmt_option *option;

    for (size_t i = 0; (option = vmt_option_at(i)); i++) {
        char key[64], value[128];
        snprintf(key, sizeof key, "option.%s", option->name);
        if (!strcmp(option->name, "prompt") || !strcmp(option->name, "negative")) {
            const char *text = option->name[0] == 'p' ? settings->prompt : settings->negative;
            VMT_TRY(add_pair(ctx, record, key, text ? text : ""));
            continue;
        }
        VMT_TRY(vmt_settings_get(ctx, settings, option->name, value, sizeof value));
        VMT_TRY(add_pair(ctx, record, key, value));
    }
    return VMT_OK;
}

enum vmt_status vmt_record_begin(vmt_ctx *ctx, vmt_record *record, enum vmt_record_kind kind,
                                 const vmt_model *model, const vmt_settings *settings,
                                 const vmt_geometry *g)
{
    *record = (vmt_record){.kind = kind};
    VMT_TRY(vmt_record_meta(ctx, record, "format", "%s", kind_names[kind]));
    VMT_TRY(vmt_record_meta(ctx, record, "format_version", "%d", VMT_RECORD_VERSION));
    VMT_TRY(vmt_record_meta(ctx, record, "program", "fastvmt %s", vmt_version()));
    VMT_TRY(vmt_record_meta(ctx, record, "preset", "%s", settings->preset));
    VMT_TRY(vmt_record_meta(ctx, record, "backend", "%s %s", vmt_backend_name(ctx),
                            vmt_dtype_name(ctx->act)));
    VMT_TRY(vmt_record_meta(ctx, record, "width", "%" PRId64, g->width));
    VMT_TRY(vmt_record_meta(ctx, record, "height", "%" PRId64, g->height));
    VMT_TRY(vmt_record_meta(ctx, record, "frames", "%" PRId64, g->frames));
    VMT_TRY(vmt_record_meta(ctx, record, "fps", "%.17g", g->fps));
    for (int part = 0; part < VMT_PART_COUNT; part++)
        if (model->files[part]) {
            char key[32];
            snprintf(key, sizeof key, "hash.%s", vmt_part_name((enum vmt_part)part));
            VMT_TRY(add_pair(ctx, record, key, model->hashes[part]));
        }
    if (model->loras[0])
        VMT_TRY(add_pair(ctx, record, "lora", model->loras));
    return add_settings(ctx, record, settings);
}

enum vmt_status vmt_record_write(vmt_ctx *ctx, const vmt_record *record, const char *path)
{
    return vmt_safetensors_write(ctx, path, record->tensors, record->tensor_count,
                                 (const char *const *)record->meta);
}

void vmt_record_free(vmt_record *record)
{
    for (int64_t i = 0; i < record->meta_count; i++)
        vmt_free(record->meta[i]);
    *record = (vmt_record){0};
}

/* ---- reading */

enum vmt_status vmt_record_open(vmt_ctx *ctx, vmt_tensor_file **file, enum vmt_record_kind kind,
                                const char *path)
{
    int64_t version;

    VMT_TRY(vmt_tensor_file_open(ctx, file, path));
    const char *format = vmt_tensor_file_meta(*file, "format");
    const bool ours = format && !strncmp(format, "fastvmt-", 8); /* torch writes "pt" */
    enum vmt_status status = VMT_OK;
    if (!ours || strcmp(format, kind_names[kind]))
        status =
            vmt_fail(ctx, VMT_E_FORMAT, "%s: is %s%s, expected a %s file", path, ours ? "a " : "",
                     ours ? format : "no file of fastvmt's", kind_names[kind]);
    if (status == VMT_OK)
        status = vmt_tensor_file_meta_int(ctx, *file, "format_version", NULL, &version);
    if (status == VMT_OK && (version < 1 || version > VMT_RECORD_VERSION))
        status = vmt_fail(ctx, VMT_E_FORMAT,
                          "%s: format version %" PRId64 ", this program knows up to %d", path,
                          version, VMT_RECORD_VERSION);
    if (status != VMT_OK) {
        vmt_tensor_file_close(*file);
        *file = NULL;
    }
    return status;
}

enum vmt_status vmt_record_geometry(vmt_ctx *ctx, const vmt_tensor_file *file,
                                    const vmt_model *model, vmt_geometry *g)
{
    vmt_settings sizes = {0};

    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "width", NULL, &sizes.width));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "height", NULL, &sizes.height));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "frames", NULL, &sizes.frames));
    VMT_TRY(vmt_tensor_file_meta_real(ctx, file, "fps", NULL, &sizes.fps));
    if (sizes.width < 1 || sizes.height < 1 || sizes.frames < 1)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: a size below 1", vmt_tensor_file_path(file));
    return vmt_prefix(ctx, vmt_geometry_make(ctx, g, model, &sizes, NULL), "%s",
                      vmt_tensor_file_path(file));
}

/* Options that files of the first version do not name, and what they had. */
static const struct {
    const char *name, *value;
} newer[] = {{"method", "fastvmt"},
             {"top-k", "8"},
             {"smm-pool", "4"},
             {"moft-channels", "0.125"},
             {"attention", "full"},
             {"attention-window", "100%,67%,50%"},
             {"attention-tile", "0,0,0"},
             {"local-phases", "reference,guidance,sampling"},
             {"local-blocks", "0-999"},
             {"mode", "exact"},
             {"cfg-until", "0"},
             {"cfg-low", "0"},
             {"boundary", "0.875"},
             {"cache", "0"},
             {"cache-from", "velocity"},
             {"cache-scale", "auto"},
             {"fp8", "off"},
             {"reuse", "inner"},
             {"reuse-steps", "3"},
             {"reuse-cosine", "0.5"},
             {"adamw-state", "reset"},
             {"ref-interval", "1"}};

static enum vmt_status match_one(vmt_ctx *ctx, const vmt_tensor_file *file,
                                 const vmt_settings *settings, const char *name)
{
    const char *text[2] = {settings->prompt, settings->negative};
    char key[64], value[128];
    const char *now = value;

    snprintf(key, sizeof key, "option.%s", name);
    const char *then = vmt_tensor_file_meta(file, key);
    if (!strcmp(name, "prompt") || !strcmp(name, "negative"))
        now = text[name[0] == 'n'] ? text[name[0] == 'n'] : "";
    else
        VMT_TRY(vmt_settings_get(ctx, settings, name, value, sizeof value));
    for (size_t i = 0; !then && i < sizeof newer / sizeof *newer; i++)
        if (!strcmp(newer[i].name, name))
            then = newer[i].value;
    if (!then)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no metadata \"%s\"", vmt_tensor_file_path(file),
                        key);
    if (strcmp(then, now))
        return vmt_fail(ctx, VMT_E_MISMATCH, "%s: was made with --%s %s, this run has %s",
                        vmt_tensor_file_path(file), name, then, now);
    return VMT_OK;
}

enum vmt_status vmt_record_match_settings(vmt_ctx *ctx, const vmt_tensor_file *file,
                                          const vmt_settings *settings, const char *const *names)
{
    const vmt_option *option;

    for (size_t i = 0; names && names[i]; i++)
        VMT_TRY(match_one(ctx, file, settings, names[i]));
    for (size_t i = 0; !names && (option = vmt_option_at(i)); i++)
        VMT_TRY(match_one(ctx, file, settings, option->name));
    return VMT_OK;
}

enum vmt_status vmt_record_match_model(vmt_ctx *ctx, const vmt_tensor_file *file,
                                       const vmt_model *model, enum vmt_part part)
{
    char key[32];

    snprintf(key, sizeof key, "hash.%s", vmt_part_name((enum vmt_part)part));
    const char *then = vmt_tensor_file_meta(file, key);
    const char *loras = vmt_tensor_file_meta(file, "lora");
    if (then && model->files[part] && !strcmp(then, model->hashes[part]))
        return VMT_OK;
    if (then && (part == VMT_PART_DIT || part == VMT_PART_DIT_LOW) &&
        strcmp(loras ? loras : "", model->loras) != 0)
        return vmt_fail(ctx, VMT_E_MISMATCH, "%s: was made with LoRA %.300s, this run has %.300s",
                        vmt_tensor_file_path(file), loras ? loras : "none",
                        model->loras[0] ? model->loras : "none");
    return vmt_fail(ctx, VMT_E_MISMATCH, "%s: was made with another %s (hash %.12s, now %.12s)",
                    vmt_tensor_file_path(file), vmt_part_name((enum vmt_part)part),
                    then ? then : "none", model->files[part] ? model->hashes[part] : "none");
}

enum vmt_status vmt_record_read(vmt_ctx *ctx, const vmt_tensor_file *file, const char *name,
                                int rank, const int64_t *shape, float **data)
{
    const vmt_tensor *t = vmt_tensor_file_find(file, name);
    const vmt_tensor want = vmt_tensor_over(NULL, VMT_F32, rank, shape);
    char have_text[128], want_text[128];

    *data = NULL;
    if (!t)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: no tensor \"%s\"", vmt_tensor_file_path(file),
                        name);
    if (t->dtype != VMT_F32 || !vmt_same_shape(t, &want))
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: \"%s\" is %s %s, expected F32 %s",
                        vmt_tensor_file_path(file), name, vmt_dtype_name(t->dtype),
                        vmt_shape_text(t, have_text), vmt_shape_text(&want, want_text));
    const int64_t count = vmt_numel(t);
    const float *values = t->data;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return vmt_fail(ctx, VMT_E_NUMERIC, "%s: \"%s\" holds a value that is no number",
                            vmt_tensor_file_path(file), name);
    VMT_TRY(vmt_alloc(ctx, (void **)data, (size_t)count, sizeof **data));
    memcpy(*data, values, (size_t)count * sizeof **data);
    return VMT_OK;
}

/* ---- motion */

void vmt_motion_free(vmt_motion *motion)
{
    vmt_free(motion->clean);
    vmt_free(motion->features);
    *motion = (vmt_motion){0};
}

/* The tensor of all features: a flow's under its own name, as the first version wrote it. */
static const char *features_name(const vmt_motion_method *method)
{
    return method->row.flow ? "flows" : "features";
}

enum vmt_status vmt_motion_record(vmt_ctx *ctx, vmt_record *record, const vmt_motion *motion)
{
    const vmt_geometry *g = &motion->geometry;
    const vmt_motion_method *method = motion->method;
    const vmt_tensor clean = vmt_tensor_over(
        motion->clean, VMT_F32, VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w));
    vmt_tensor features = vmt_tensor_over(motion->features, VMT_F32, motion->shape.rank + 1,
                                          (int64_t[VMT_MAX_RANK]){motion->feature_count});

    memcpy(features.shape + 1, motion->shape.axes,
           (size_t)motion->shape.rank * sizeof *motion->shape.axes);
    VMT_TRY(vmt_record_meta(ctx, record, "method", "%s", method->row.name));
    VMT_TRY(vmt_record_meta(ctx, record, "feature", "%s", method->feature ? method->feature : ""));
    VMT_TRY(vmt_record_meta(ctx, record, "attention", "full"));
    VMT_TRY(vmt_record_meta(ctx, record, "ref_seed", "%" PRIu64, motion->ref_seed));
    VMT_TRY(vmt_record_meta(ctx, record, "grid", "%" PRId64 "x%" PRId64 "x%" PRId64, g->grid_f,
                            g->grid_h, g->grid_w));
    VMT_TRY(vmt_record_meta(ctx, record, "frames_per_latent", "%" PRId64, g->time));
    VMT_TRY(vmt_record_meta(ctx, record, "guided", "%" PRId64, motion->guided));
    VMT_TRY(vmt_record_meta(ctx, record, "flow_count", "%" PRId64, motion->feature_count));
    VMT_TRY(vmt_record_meta(ctx, record, "pairs", "%" PRId64,
                            method->row.flow ? motion->shape.axes[0] : 0));
    VMT_TRY(vmt_record_tensor(ctx, record, "clean", &clean));
    return motion->feature_count ? vmt_record_tensor(ctx, record, features_name(method), &features)
                                 : VMT_OK;
}

static enum vmt_status expect_text(vmt_ctx *ctx, const vmt_tensor_file *file, const char *key,
                                   const char *want)
{
    const char *have = vmt_tensor_file_meta(file, key);

    if (!have || strcmp(have, want))
        return vmt_fail(ctx, VMT_E_MISMATCH, "%s: %s is \"%s\", this run needs \"%s\"",
                        vmt_tensor_file_path(file), key, have ? have : "", want);
    return VMT_OK;
}

/* The method that the file's features are of. */
static enum vmt_status read_method(vmt_ctx *ctx, const vmt_tensor_file *file, vmt_motion *motion)
{
    const char *name = vmt_tensor_file_meta(file, "method");

    motion->method = name ? vmt_method_find(name) : NULL;
    if (!motion->method)
        return vmt_fail(ctx, VMT_E_MISMATCH,
                        "%s: method is \"%s\", which this program does not know",
                        vmt_tensor_file_path(file), name ? name : "");
    VMT_TRY(
        expect_text(ctx, file, "feature", motion->method->feature ? motion->method->feature : ""));
    return expect_text(ctx, file, "attention", "full");
}

/* Features that are no flow have the axes that the file gives; a run compares them with its own. */
static enum vmt_status read_axes(vmt_ctx *ctx, const vmt_tensor_file *file, vmt_motion *motion)
{
    const vmt_tensor *t = vmt_tensor_file_find(file, features_name(motion->method));

    if (!t || t->rank < 2 || t->rank > VMT_MAX_RANK || t->shape[0] != motion->feature_count)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: no tensor \"features\" of %" PRId64 " features of a reference",
                        vmt_tensor_file_path(file), motion->feature_count);
    motion->shape.rank = t->rank - 1;
    memcpy(motion->shape.axes, t->shape + 1, (size_t)motion->shape.rank * sizeof *t->shape);
    return vmt_record_read(ctx, file, "features", t->rank, t->shape, &motion->features);
}

enum vmt_status vmt_motion_read_features(vmt_ctx *ctx, const vmt_tensor_file *file,
                                         vmt_motion *motion)
{
    const vmt_geometry *g = &motion->geometry;
    int64_t pairs;

    VMT_TRY(read_method(ctx, file, motion));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "guided", NULL, &motion->guided));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "flow_count", NULL, &motion->feature_count));
    VMT_TRY(vmt_tensor_file_meta_int(ctx, file, "pairs", NULL, &pairs));
    if (motion->guided < 0 || motion->feature_count < 0 || motion->feature_count > motion->guided ||
        motion->guided > 100000 || pairs < 0 || pairs > g->grid_f * g->grid_f)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: impossible counts of guided steps, flows or pairs",
                        vmt_tensor_file_path(file));
    if (!motion->feature_count)
        return VMT_OK;
    if (!motion->method->row.flow)
        return read_axes(ctx, file, motion);
    motion->shape = (vmt_feature_shape){.rank = 3, .axes = {pairs, g->grid_h * g->grid_w, 2}};
    return vmt_record_read(ctx, file, "flows",
                           VMT_SHAPE(motion->feature_count, pairs, g->grid_h * g->grid_w, 2),
                           &motion->features);
}

enum vmt_status vmt_motion_read(vmt_ctx *ctx, const vmt_tensor_file *file, const vmt_model *model,
                                vmt_motion *motion)
{
    vmt_geometry *g = &motion->geometry;
    const char *seed = vmt_tensor_file_meta(file, "ref_seed");

    *motion = (vmt_motion){0};
    VMT_TRY(vmt_record_geometry(ctx, file, model, g));
    motion->ref_seed = seed ? strtoull(seed, NULL, 10) : 0;
    VMT_TRY(vmt_record_read(ctx, file, "clean",
                            VMT_SHAPE(g->channels, g->latent_f, g->latent_h, g->latent_w),
                            &motion->clean));
    return vmt_motion_read_features(ctx, file, motion);
}
