/* SPDX-License-Identifier: MIT */
#include "model/model_paths.h"

#include "model/model_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CANDIDATES = 7 };

/* Where official folders, then diffusers', keep a part; the first that exists is taken. */
static const struct {
    const char *name;
    const char *names[CANDIDATES];
} PARTS[VMT_PART_COUNT] = {
    [VMT_PART_DIT] = {"dit",
                      {"diffusion_pytorch_model.safetensors.index.json",
                       "diffusion_pytorch_model.safetensors",
                       "high_noise_model/diffusion_pytorch_model.safetensors.index.json",
                       "high_noise_model/diffusion_pytorch_model.safetensors",
                       "transformer/diffusion_pytorch_model.safetensors.index.json",
                       "transformer/diffusion_pytorch_model.safetensors", NULL}},
    [VMT_PART_VAE] = {"vae",
                      {"Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors",
                       "vae/diffusion_pytorch_model.safetensors", NULL}},
    [VMT_PART_TEXT] = {"text",
                       {"models_t5_umt5-xxl-enc-bf16.pth",
                        "models_t5_umt5-xxl-enc-bf16.safetensors",
                        "text_encoder/model.safetensors.index.json",
                        "text_encoder/model.safetensors", NULL}},
    [VMT_PART_DIT_LOW] = {"dit-low",
                          {"low_noise_model/diffusion_pytorch_model.safetensors.index.json",
                           "low_noise_model/diffusion_pytorch_model.safetensors",
                           "transformer_2/diffusion_pytorch_model.safetensors.index.json",
                           "transformer_2/diffusion_pytorch_model.safetensors", NULL}},
    [VMT_PART_TOKENIZER] = {"tokenizer",
                            {"google/umt5-xxl/spiece.model", "spiece.model",
                             "tokenizer/spiece.model", NULL}},
};

const char *vmt_part_name(enum vmt_part part)
{
    return PARTS[part].name;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* folder/name, allocated. */
static enum vmt_status join(vmt_ctx *ctx, char **path, const char *folder, size_t folder_length,
                            const char *name)
{
    const size_t size = folder_length + strlen(name) + 2;
    const bool slash = folder_length > 0 && folder[folder_length - 1] != '/';

    *path = malloc(size);
    if (!*path)
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: a path of %zu bytes", size);
    snprintf(*path, size, "%.*s%s%s", (int)folder_length, folder, slash ? "/" : "", name);
    return VMT_OK;
}

/* The folder's name of a part: what config.json says, else the known one that exists. */
static enum vmt_status find_in_folder(vmt_ctx *ctx, const char *dir, const vmt_config_file *config,
                                      enum vmt_part part, char **path)
{
    const char *named = vmt_config_file_part(config, PARTS[part].name);

    if (named)
        return join(ctx, path, dir, strlen(dir), named);
    for (int i = 0; PARTS[part].names[i]; i++) {
        VMT_TRY(join(ctx, path, dir, strlen(dir), PARTS[part].names[i]));
        if (is_file(*path))
            return VMT_OK;
        free(*path);
        *path = NULL;
    }
    return VMT_OK;
}

static enum vmt_status check_folder(vmt_ctx *ctx, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return vmt_fail(ctx, VMT_E_IO, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return vmt_fail(ctx, VMT_E_IO,
                        "%s: is a file, expected a model's folder (single parts are named by their "
                        "own options)",
                        dir);
    return VMT_OK;
}

/* folder/config.json, NULL when there is none. */
static enum vmt_status find_config(vmt_ctx *ctx, char **path, const char *folder,
                                   size_t folder_length)
{
    VMT_TRY(join(ctx, path, folder, folder_length, "config.json"));
    if (!is_file(*path)) {
        free(*path);
        *path = NULL;
    }
    return VMT_OK;
}

/* folder/model_index.json, NULL when there is none. */
static enum vmt_status find_index(vmt_ctx *ctx, char **path, const char *folder)
{
    VMT_TRY(join(ctx, path, folder, strlen(folder), "model_index.json"));
    if (!is_file(*path)) {
        free(*path);
        *path = NULL;
    }
    return VMT_OK;
}

/* One transformer of two would run, and give something else. */
static enum vmt_status require_both(vmt_ctx *ctx, const vmt_model_files *files, const char *dir)
{
    static const char *const folders[] = {"high_noise_model", "low_noise_model", "transformer_2"};
    const char *const high = files->parts[VMT_PART_DIT].path;
    const char *const low = files->parts[VMT_PART_DIT_LOW].path;
    struct stat st;

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *path;
        VMT_TRY(join(ctx, &path, dir, strlen(dir), folders[i]));
        const bool is_there = stat(path, &st) == 0;
        free(path);
        if (is_there && (!high || !low))
            return vmt_fail(ctx, VMT_E_MODEL,
                            "%s: a model of two transformers, of which that of %s noise has no "
                            "weights there: fetch them, or name its file with --%s",
                            dir, high ? "low" : "high",
                            PARTS[high ? VMT_PART_DIT_LOW : VMT_PART_DIT].name);
    }
    return VMT_OK;
}

static enum vmt_status read_folder(vmt_ctx *ctx, vmt_model_files *files, const char *dir)
{
    vmt_config_file *config = NULL;
    enum vmt_status status = VMT_OK;

    VMT_TRY(check_folder(ctx, dir));
    VMT_TRY(find_config(ctx, &files->config, dir, strlen(dir)));
    VMT_TRY(find_index(ctx, &files->index, dir));
    if (files->config)
        status = vmt_config_file_open(ctx, &config, files->config);
    for (int i = 0; i < VMT_PART_COUNT && status == VMT_OK; i++)
        if (!files->parts[i].path)
            status = find_in_folder(ctx, dir, config, (enum vmt_part)i, &files->parts[i].path);
    vmt_config_file_close(config);
    return status == VMT_OK ? require_both(ctx, files, dir) : status;
}

static enum vmt_status take_named(vmt_ctx *ctx, vmt_model_files *files,
                                  const vmt_model_paths *paths)
{
    const char *const named[VMT_PART_COUNT] = {[VMT_PART_DIT] = paths->dit,
                                               [VMT_PART_VAE] = paths->vae,
                                               [VMT_PART_TEXT] = paths->text,
                                               [VMT_PART_DIT_LOW] = paths->dit_low,
                                               [VMT_PART_TOKENIZER] = paths->tokenizer};

    for (int i = 0; i < VMT_PART_COUNT; i++)
        if (named[i])
            VMT_TRY(join(ctx, &files->parts[i].path, "", 0, named[i]));
    return VMT_OK;
}

static enum vmt_status resolve(vmt_ctx *ctx, vmt_model_files *files, const vmt_model_paths *paths)
{
    bool any = false;

    VMT_TRY(take_named(ctx, files, paths));
    if (paths->dir)
        VMT_TRY(read_folder(ctx, files, paths->dir));
    for (int i = 0; i < VMT_PART_COUNT; i++) {
        vmt_part_file *part = &files->parts[i];
        const char *slash = part->path ? strrchr(part->path, '/') : NULL;
        any = any || part->path;
        if (part->path)
            VMT_TRY(find_config(ctx, &part->config, part->path,
                                slash ? (size_t)(slash + 1 - part->path) : 0));
    }
    if (any)
        return VMT_OK;
    if (!paths->dir)
        return vmt_fail(
            ctx, VMT_E_ARG,
            "no model: name its folder with -m, or its parts with --dit, --vae, --text");
    return vmt_fail(ctx, VMT_E_MODEL,
                    "%s: no model in this folder; expected config.json with a section 'dit', or "
                    "the official files (%s, %s, %s, %s), or diffusers' folders (transformer, vae, "
                    "text_encoder, tokenizer)",
                    paths->dir, PARTS[VMT_PART_DIT].names[1], PARTS[VMT_PART_VAE].names[0],
                    PARTS[VMT_PART_TEXT].names[0], PARTS[VMT_PART_TOKENIZER].names[0]);
}

enum vmt_status vmt_model_paths_resolve(vmt_ctx *ctx, vmt_model_files *files,
                                        const vmt_model_paths *paths)
{
    memset(files, 0, sizeof *files);
    const enum vmt_status status = resolve(ctx, files, paths);
    if (status != VMT_OK)
        vmt_model_files_free(files);
    return status;
}

void vmt_model_files_free(vmt_model_files *files)
{
    for (int i = 0; i < VMT_PART_COUNT; i++) {
        free(files->parts[i].path);
        free(files->parts[i].config);
    }
    free(files->config);
    free(files->index);
    memset(files, 0, sizeof *files);
}
