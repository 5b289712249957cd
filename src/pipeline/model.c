/* SPDX-License-Identifier: MIT
 *
 * Opening a model: its files, configurations and parts.
 */
#include "base/sha256.h"
#include "model/lora_names.h"
#include "pipeline/pipeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The second transformer, of the first one's sizes: runs and prompts are laid out for both. */
static enum vmt_status open_low(vmt_ctx *ctx, vmt_model *model, const vmt_config_file *config)
{
    const vmt_tensor_file *file = model->files[VMT_PART_DIT_LOW];
    const vmt_dit_config *high = &model->dit_config;
    vmt_dit_config c;

    VMT_TRY(vmt_dit_config_read(ctx, &c, config, file));
    if (!model->dit)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--dit-low %s: name the transformer of high noise, too: "
                        "--dit FILE",
                        vmt_tensor_file_path(file));
    if (c.dim != high->dim || c.ffn_dim != high->ffn_dim || c.heads != high->heads ||
        c.layers != high->layers || c.text_dim != high->text_dim || c.text_len != high->text_len ||
        c.freq_dim != high->freq_dim || c.in_dim != high->in_dim || c.out_dim != high->out_dim ||
        memcmp(c.patch, high->patch, sizeof c.patch) != 0 || c.eps != high->eps ||
        c.rope_theta != high->rope_theta)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: a transformer of other sizes than %s: they do not "
                        "belong together",
                        vmt_tensor_file_path(file),
                        vmt_tensor_file_path(model->files[VMT_PART_DIT]));
    return vmt_dit_open(ctx, &model->dit_low, file, &model->dit_config);
}

static enum vmt_status open_part(vmt_ctx *ctx, vmt_model *model, enum vmt_part part,
                                 const vmt_config_file *config)
{
    const vmt_tensor_file *file = model->files[part];

    switch (part) {
    case VMT_PART_DIT:
        VMT_TRY(vmt_dit_config_read(ctx, &model->dit_config, config, file));
        return vmt_dit_open(ctx, &model->dit, file, &model->dit_config);
    case VMT_PART_DIT_LOW:
        return open_low(ctx, model, config);
    case VMT_PART_VAE:
        VMT_TRY(vmt_vae_config_read(ctx, &model->vae_config, config, file));
        return vmt_vae_open(ctx, &model->vae, file, &model->vae_config);
    case VMT_PART_TEXT:
        VMT_TRY(vmt_text_config_read(ctx, &model->text_config, config, file));
        return vmt_umt5_open(ctx, &model->text, file, &model->text_config);
    case VMT_PART_TOKENIZER:
    case VMT_PART_COUNT:
        break;
    }
    return vmt_fail(ctx, VMT_E_INTERNAL, "part %d holds no tensors", (int)part);
}

/* "name.safetensors:0.8 1a2b3c4d5e6f, …", for records; the DiT's hash becomes that of all of them.
 */
static void note_lora(vmt_model *model, const vmt_tensor_file *file, double weight,
                      enum vmt_part part)
{
    const char *path = vmt_tensor_file_path(file), *slash = strrchr(path, '/');
    char *const dit_hash = model->hashes[part];
    const size_t used = strlen(model->loras);
    char hash[65], line[64];
    vmt_sha256 all;

    vmt_tensor_file_hash(file, hash);
    snprintf(model->loras + used, sizeof model->loras - used, "%s%s%.100s:%g %.12s",
             used ? ", " : "", part == VMT_PART_DIT ? "" : "low ", slash ? slash + 1 : path, weight,
             hash);
    for (char *c = model->loras + used; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* a name may be cut within a character */
            *c = '?';
    const char *said = vmt_tensor_file_meta(file, "lora_adapter_metadata"); /* its alpha */
    vmt_sha256_init(&all);
    vmt_sha256_add(&all, dit_hash, 64);
    vmt_sha256_add(&all, hash, 64);
    if (said)
        vmt_sha256_add(&all, said, strlen(said));
    snprintf(line, sizeof line, "%.9g", weight);
    vmt_sha256_add(&all, line, strlen(line));
    vmt_sha256_text(&all, dit_hash);
}

static enum vmt_status add_lora(vmt_ctx *ctx, vmt_model *model, const char *text,
                                enum vmt_part part)
{
    vmt_tensor_file *file;
    double weight;
    char *path;

    VMT_TRY(vmt_lora_split(ctx, text, &path, &weight));
    enum vmt_status status = vmt_tensor_file_open(ctx, &file, path);
    vmt_free(path);
    VMT_TRY(status);
    status =
        vmt_dit_add_lora(ctx, part == VMT_PART_DIT ? model->dit : model->dit_low, file, weight);
    if (status == VMT_OK)
        note_lora(model, file, weight, part);
    vmt_tensor_file_close(file);
    return status;
}

static enum vmt_status add_loras(vmt_ctx *ctx, vmt_model *model, const char *const *loras,
                                 enum vmt_part part)
{
    if (loras[0] && part == VMT_PART_DIT_LOW && !model->dit_low)
        return vmt_fail(ctx, VMT_E_ARG, "--lora-low %s: the model has no second transformer",
                        loras[0]);
    if (loras[0] && !model->dit)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--lora %s: no transformer to add it to: -m DIR or --dit FILE", loras[0]);
    for (int i = 0; i < VMT_MAX_LORAS && loras[i]; i++)
        VMT_TRY(add_lora(ctx, model, loras[i], part));
    return VMT_OK;
}

static enum vmt_status open_file(vmt_ctx *ctx, vmt_model *model, enum vmt_part part,
                                 const vmt_part_file *source)
{
    vmt_config_file *config = NULL;

    VMT_TRY(vmt_tensor_file_open(ctx, &model->files[part], source->path));
    vmt_tensor_file_hash(model->files[part], model->hashes[part]);
    vmt_log(ctx, VMT_LOG_DEBUG, "%s: %" PRId64 " tensors, %zu bytes of them unaligned and copied",
            source->path, vmt_tensor_file_count(model->files[part]),
            vmt_tensor_file_copied_bytes(model->files[part]));
    if (source->config)
        VMT_TRY(vmt_config_file_open(ctx, &config, source->config));
    const enum vmt_status status = open_part(ctx, model, part, config);
    vmt_config_file_close(config);
    return status; /* its message names the file */
}

/* The first config.json that names any: the folder's, else that beside the DiT, the VAE, …. */
static enum vmt_status read_defaults(vmt_ctx *ctx, vmt_model *model, const vmt_model_files *files)
{
    for (int part = -1; part < VMT_PART_COUNT; part++) {
        const char *path = part < 0 ? files->config : files->parts[part].config;
        vmt_config_file *config;
        if (!path)
            continue;
        VMT_TRY(vmt_config_file_open(ctx, &config, path));
        const enum vmt_status status = vmt_model_defaults_read(ctx, &model->defaults, config);
        vmt_config_file_close(config);
        if (status != VMT_OK)
            return status;
        if (model->defaults.has_motion || model->defaults.named) {
            vmt_log(ctx, VMT_LOG_DEBUG, "the model's settings: %s", path);
            return VMT_OK;
        }
    }
    return VMT_OK;
}

/* The parts must fit one another. */
static enum vmt_status check_parts(vmt_ctx *ctx, const vmt_model *model)
{
    const vmt_dit_config *dit = &model->dit_config;

    if (model->dit && model->vae && model->vae_config.z_dim != dit->in_dim)
        return vmt_fail(
            ctx, VMT_E_MODEL,
            "the VAE has %d latent channels, the DiT takes %d: they do not belong together",
            (int)model->vae_config.z_dim, (int)dit->in_dim);
    if (model->dit && model->text && model->text_config.dim != dit->text_dim)
        return vmt_fail(
            ctx, VMT_E_MODEL,
            "the text encoder gives rows of %d, the DiT takes %d: they do not belong together",
            (int)model->text_config.dim, (int)dit->text_dim);
    if (model->dit && dit->in_dim != dit->out_dim)
        return vmt_fail(
            ctx, VMT_E_UNSUPPORTED,
            "the DiT takes %d channels and gives %d: an image-to-video model, which this "
            "version cannot run",
            (int)dit->in_dim, (int)dit->out_dim);
    return VMT_OK;
}

static enum vmt_status open_all(vmt_ctx *ctx, vmt_model *model, vmt_model_files *files)
{
    for (int part = 0; part < VMT_PART_TOKENIZER; part++) {
        vmt_part_file source = files->parts[part];
        if (part == VMT_PART_DIT_LOW && !source.config) /* of the same sizes */
            source.config = files->parts[VMT_PART_DIT].config;
        if (source.path)
            VMT_TRY(open_file(ctx, model, (enum vmt_part)part, &source));
    }
    VMT_TRY(read_defaults(ctx, model, files));
    model->boundary = 0.875F; /* Wan2.2 T2V-A14B's */
    if (model->dit_low && files->index)
        VMT_TRY(vmt_model_index_boundary(ctx, files->index, &model->boundary));
    model->tokenizer = files->parts[VMT_PART_TOKENIZER].path;
    files->parts[VMT_PART_TOKENIZER].path = NULL;
    return check_parts(ctx, model);
}

enum vmt_status vmt_model_open(vmt_ctx *ctx, vmt_model **result, const vmt_model_paths *paths)
{
    vmt_model_files files = {0};
    vmt_model *model = NULL;

    *result = NULL;
    VMT_TRY(vmt_model_paths_resolve(ctx, &files, paths));
    enum vmt_status status = vmt_alloc(ctx, (void **)&model, 1, sizeof *model);
    if (status == VMT_OK)
        status = open_all(ctx, model, &files);
    if (status == VMT_OK)
        status = add_loras(ctx, model, paths->loras, VMT_PART_DIT);
    if (status == VMT_OK)
        status = add_loras(ctx, model, paths->loras_low, VMT_PART_DIT_LOW);
    vmt_model_files_free(&files);
    if (status != VMT_OK) {
        vmt_model_close(ctx, model);
        return status;
    }
    *result = model;
    return VMT_OK;
}

void vmt_model_close(vmt_ctx *ctx, vmt_model *model)
{
    if (!model)
        return;
    vmt_dit_close(ctx, model->dit);
    vmt_dit_close(ctx, model->dit_low);
    vmt_vae_close(ctx, model->vae);
    vmt_umt5_close(ctx, model->text);
    for (int part = 0; part < VMT_PART_COUNT; part++)
        vmt_tensor_file_close(model->files[part]);
    vmt_free(model->tokenizer);
    vmt_free(model);
}

vmt_dit *vmt_model_dit_at(const vmt_model *model, const vmt_settings *settings, float timestep)
{
    const bool low = (double)timestep < 1000.0 * (double)settings->boundary;

    return low && model->dit_low ? model->dit_low : model->dit;
}

size_t vmt_model_held_now(const vmt_model *model)
{
    return (model->dit ? vmt_dit_held_now(model->dit) : 0) +
           (model->dit_low ? vmt_dit_held_now(model->dit_low) : 0);
}

void vmt_model_release(vmt_ctx *ctx, const vmt_model *model)
{
    if (model->dit)
        vmt_dit_release(ctx, model->dit);
    if (model->dit_low)
        vmt_dit_release(ctx, model->dit_low);
}

bool vmt_model_needs_negative(const vmt_model *model, const vmt_settings *settings)
{
    const bool own = model->dit_low && settings->cfg_low > 0;

    return settings->cfg_scale != 1.0F || (own && settings->cfg_low != 1.0F);
}

enum vmt_status vmt_model_require(vmt_ctx *ctx, const vmt_model *model, enum vmt_part part)
{
    if (model->files[part])
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_MODEL, "the model has no %s: name its file with --%s",
                    vmt_part_name(part), vmt_part_name(part));
}
